r"""The sparse axes of a latent space that has none of its own."""

from __future__ import annotations

import torch

_MOST_STARTS = 20
_MAX_STEPS = 300


def sparse_rotation(shifts: torch.Tensor) -> torch.Tensor:
    r"""Find the rotation that makes shifts sparsest.

    .. math::
        R = \arg\min_{R^T R = I} \sum_{tk} \log\left(1 + \frac{(W R)_{tk}^2}{\epsilon^2}\right)

    With basal states :math:`z^b \sim N(0, I)`, a model without masks knows its shifts
    :math:`W` only up to a rotation: :math:`W R` with a decoder of :math:`z R^T` explains the data
    as well. Where the true shifts are sparse, their axes minimise a sum that charges many small
    entries more than few large ones; here the negative log density of a Cauchy distribution,
    whose scale ε is half the root mean square of W. Each step bounds the sum from above by a
    function that is linear in R, whose minimum is the polar factor of
    :math:`W^T ((1 - c) \circ W R)` with :math:`c = 1 / (1 + (W R)^2 / \epsilon^2)`. The best of
    several random starts is taken.

    Parameters
    ----------
    shifts
        Shifts W of T perturbations, of shape T x K.

    Returns
    -------
    Rotation R, of shape K x K, on the device of ``shifts``. The global random state is untouched.

    Raises
    ------
    ValueError
        If the shifts are not finite.
    """
    w = shifts.detach().double().cpu()
    if not torch.isfinite(w).all():
        raise ValueError(
            "The shifts of the perturbations are not finite: training diverged. Lower the "
            "learning rate, `plan_kwargs={'lr': ...}`, and look for extreme counts or doses."
        )
    identity = torch.eye(w.shape[1], dtype=w.dtype)
    if not torch.any(w):
        return identity.to(shifts)
    w = w / (0.5 * w.square().mean().sqrt())
    generator = torch.Generator().manual_seed(0)
    best, least = identity, float("inf")
    # a start takes K³ steps; more than 50 dimensions get fewer of them
    for _ in range(max(min(_MOST_STARTS, 1_000 // w.shape[1]), 3)):
        rotation = _polar(torch.randn(identity.shape, generator=generator, dtype=w.dtype))
        for _ in range(_MAX_STEPS):
            previous, rotated = rotation, w @ rotation
            rotation = _polar(w.T @ (rotated - rotated / (1 + rotated.square())))
            if torch.allclose(previous, rotation, rtol=0, atol=1e-4):
                break
        value = float(torch.log1p((w @ rotation).square()).sum())
        if value < least:
            best, least = rotation, value
    return best.to(shifts)


def _polar(matrix: torch.Tensor) -> torch.Tensor:
    """The orthogonal matrix that is nearest."""
    u, _, vh = torch.linalg.svd(matrix)
    return u @ vh
