"""Whether predicted changes point where observed ones do."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scvi_sams.evaluation._profiles import (
    Array,
    Floats,
    paired,
    reference_profile,
    resolution,
)

_PERTURBENCH_SHIFT = 0.1


def pearson_delta(
    predicted: npt.ArrayLike, observed: npt.ArrayLike, *, reference: npt.ArrayLike
) -> Array:
    r"""Pearson correlation over genes of each condition's predicted and observed change.

    .. math::
        r_p = \mathrm{corr}_g(\hat x_{pg} - r_{pg}, \; \bar x_{pg} - r_{pg})

    with the predicted mean x̂ and the observed mean x̄ of gene g in condition p, and the reference
    r. With the mean of the control cells as reference, the shift that all perturbations share
    scores as well; with the mean over the perturbations of the training set only what is specific
    to a perturbation does.

    Parameters
    ----------
    predicted, observed
        Conditions × genes, both on one scale, such as log1p of counts scaled to 10,000.
    reference
        What changes are from, observed and on that scale: of genes, or conditions × genes. It is
        subtracted on both sides.

    Returns
    -------
    Array of shape ``(n_conditions,)``, in [-1, 1]; 0 where the predicted change is the
    same in all genes, NaN where the observed one is.

    Raises
    ------
    ValueError
        If the arrays are not finite, their shapes do not fit, or there are fewer than two genes.

    References
    ----------
    Systema, Nat Biotechnol 2025, for the reference of perturbed cells.
    """
    found, true, noise = _changes(predicted, observed, reference)
    return _cosine(found - _mean(found), true - _mean(true), noise)


def cosine_delta(
    predicted: npt.ArrayLike, observed: npt.ArrayLike, *, reference: npt.ArrayLike
) -> Array:
    r"""Cosine similarity over genes of each condition's predicted and observed change.

    .. math::
        c_p = \frac{\hat\delta_p \cdot \delta_p}{\|\hat\delta_p\| \|\delta_p\|}, \quad
        \hat\delta_p = \hat x_p - r_p, \; \delta_p = \bar x_p - r_p

    with symbols and errors as in :func:`pearson_delta`, from which it differs in that a shift of
    all genes counts.

    Parameters
    ----------
    predicted, observed, reference
        As in :func:`pearson_delta`.

    Returns
    -------
    Array of shape ``(n_conditions,)``, in [-1, 1]; 0 where nothing is predicted to
    change, NaN where nothing does.
    """
    return _cosine(*_changes(predicted, observed, reference))


def cosine_logfc(
    predicted: npt.ArrayLike,
    observed: npt.ArrayLike,
    *,
    control: npt.ArrayLike,
    pseudocount: float,
) -> Array:
    r"""Cosine similarity over genes of each condition's log fold changes.

    .. math::
        c_p = \cos(\hat\ell_p, \ell_p), \quad
        \ell_{pg} = \log_2 \frac{\bar x_{pg} + c}{\bar x_{0g} + c}, \;
        \hat\ell_{pg} = \log_2 \frac{\hat x_{pg} + c}{\bar x_{0g} + c}

    with the predicted mean x̂ and the observed mean x̄ of gene g in condition p, the observed mean
    x̄_0 of control cells, and a pseudocount c, which damps genes of few counts.

    Parameters
    ----------
    predicted, observed
        Conditions × genes: means of normalised counts on the linear scale, not of their logs.
    control
        Means of the control cells on the same scale, of genes or conditions × genes.
    pseudocount
        Added before the logarithm; positive, in units of the normalised counts.

    Returns
    -------
    Array of shape ``(n_conditions,)``, in [-1, 1]; 0 where nothing is predicted to
    change, NaN where nothing does.

    Raises
    ------
    ValueError
        If arrays are not finite, hold negative values, their shapes do not fit, there are fewer
        than two genes, or the pseudocount is not positive.
    """
    if not (np.isfinite(pseudocount) and pseudocount > 0):
        raise ValueError(f"`pseudocount` is {pseudocount:g}; it must be positive.")
    return _log_changes(predicted, observed, control, pseudocount, 0.0, "mean normalised counts")


def perturbench_cosine_logfc(
    predicted: npt.ArrayLike, observed: npt.ArrayLike, *, control: npt.ArrayLike
) -> Array:
    r"""Cosine of log fold changes as PerturBench has it, only to compare with its numbers.

    .. math::
        c_p = \cos\bigl(\log(\hat y_p + 0.1) - \log(\bar y_0 + 0.1), \;
            \log(\bar y_p + 0.1) - \log(\bar y_0 + 0.1)\bigr)

    with means ŷ, ȳ and, of control cells, ȳ_0 of values that are log-normalised *already*: a
    logarithm of a logarithm, that is no fold change. :func:`cosine_logfc` is.

    Parameters
    ----------
    predicted, observed
        Conditions × genes: means of log-normalised expression.
    control
        Means of the control cells on the same scale, of genes or conditions × genes.

    Returns
    -------
    Array of shape ``(n_conditions,)``, in [-1, 1]; 0 where nothing is predicted to
    change, NaN where nothing does.

    Raises
    ------
    ValueError
        If arrays are not finite, hold values of -0.1 or less, their shapes do not fit, or there
        are fewer than two genes.

    References
    ----------
    Wu et al., PerturBench, arXiv 2408.10609.
    """
    return _log_changes(
        predicted,
        observed,
        control,
        _PERTURBENCH_SHIFT,
        np.nextafter(-_PERTURBENCH_SHIFT, 0),
        "mean log-normalised expression",
    )


def perturbench_logfc(profiles: npt.ArrayLike, control: npt.ArrayLike) -> Array:
    """What :func:`perturbench_cosine_logfc` is the cosine of, conditions × genes."""
    values, start = np.asarray(profiles, dtype=float), np.asarray(control, dtype=float)
    return np.log(values + _PERTURBENCH_SHIFT) - np.log(start + _PERTURBENCH_SHIFT)


def _log_changes(
    predicted: npt.ArrayLike,
    observed: npt.ArrayLike,
    control: npt.ArrayLike,
    pseudocount: float,
    least: float,
    scale: str,
) -> Array:
    found, true = paired(predicted, observed, least_genes=2)
    start = reference_profile(control, "control", true)
    for name, array in (("predicted", found), ("observed", true), ("control", start)):
        lowest = array.min(initial=np.inf)
        if lowest < least:
            raise ValueError(
                f"`{name}` goes down to {lowest:g}, which has no logarithm; give {scale}, or clip "
                "predictions at 0."
            )
    logs = [np.log2(array.astype(float) + pseudocount) for array in (found, true, start)]
    # a log is resolved as well as its argument: relatively in the value, absolutely in the log
    step = max(np.finfo(array.dtype).eps for array in (found, true, start))
    noise = resolution(*logs) + 8 * step
    return _cosine(logs[0] - logs[2], logs[1] - logs[2], noise)


def _changes(
    predicted: npt.ArrayLike, observed: npt.ArrayLike, reference: npt.ArrayLike
) -> tuple[Array, Array, Array]:
    """Predicted and observed changes, and what rounding may leave where there is none."""
    found, true = paired(predicted, observed, least_genes=2)
    start = reference_profile(reference, "reference", true)
    noise = resolution(found, true, start)
    return found - start.astype(float), true - start.astype(float), noise


def _mean(changes: Array) -> Array:
    return changes.mean(axis=1, keepdims=True)


def _cosine(predicted: Floats, observed: Floats, noise: Array) -> Array:
    """Cosine of the rows; 0 or NaN where a predicted or observed one is no more than noise.

    A prediction of no change must not be left out of means over conditions: it would gain by
    saying nothing where it is hard to say something.
    """
    units, has_direction = [], []
    for rows in (predicted, observed):
        has_direction.append(np.abs(rows).max(axis=1) > noise[:, 0])
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        units.append(np.divide(rows, length, out=np.zeros(rows.shape), where=length > 0))
    # rounding may take a perfect cosine past 1
    cosine = np.clip(np.einsum("pg,pg->p", *units), -1, 1)
    return np.where(has_direction[1], np.where(has_direction[0], cosine, 0), np.nan)
