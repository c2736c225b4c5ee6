"""Whether each prediction is nearest to its own truth, among those of all conditions."""

from __future__ import annotations

import hashlib
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from scvi_sams.evaluation._profiles import Array, Floats, paired

Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.intp]
Metric = Literal["euclidean", "cosine"]

_BLOCK_SIZE = 256  # conditions at a time


def rank_of_predictions(
    predicted: npt.ArrayLike,
    observed: npt.ArrayLike,
    *,
    metric: Metric = "euclidean",
    exclude: npt.ArrayLike | None = None,
    exclude_both: bool = False,
) -> Array:
    r"""Rank of each prediction among all predictions, by distance to its own truth.

    .. math::
        \mathrm{rank}_p = \frac{1}{n - 1} \sum_{q \neq p} \left(
            [d(\hat x_q, \bar x_p) < d(\hat x_p, \bar x_p)] +
            \tfrac12 [d(\hat x_q, \bar x_p) = d(\hat x_p, \bar x_p)] \right)

    with predicted and observed profiles x̂ and x̄ of n conditions, and a distance d. It is 0 where
    the prediction of p is the nearest to what was observed of p, 0.5 on average by chance, and 1
    at worst. Ties count half, so that a model which predicts the same for all conditions scores
    0.5 exactly.

    Parameters
    ----------
    predicted, observed
        Conditions × genes, both on one scale. For ``"cosine"`` give changes, such as differences
        from the mean of control cells: profiles themselves are all nearly parallel.
    metric
        ``"euclidean"``, which ranks as the root mean squared error does, or ``"cosine"``, 1 less
        the cosine similarity. A profile of zeros has no direction and cosine similarity 0 to any.
    exclude
        Booleans, conditions × genes: genes left out of all distances to the truth of a condition,
        such as those it perturbs, whose change is known beforehand.
    exclude_both
        Whether to leave out the genes of q too where q is compared with p, in the distances of
        both. Else the knowledge which gene a condition perturbs is enough for a perfect rank:
        others are far by the genes that *they* perturb.

    Returns
    -------
    Array of shape ``(n_conditions,)``, in [0, 1]; NaN where there are fewer than two conditions.

    Raises
    ------
    ValueError
        If the profiles are not finite matrices of one shape, the metric is unknown, or ``exclude``
        has another shape, is not boolean or leaves no gene to a condition.

    Notes
    -----
    Equal predictions tie exactly. Otherwise distances are resolved to about 1e-8 of the spread of
    the profiles. Memory is that of the profiles in double precision, twice with ``exclude``.

    References
    ----------
    Wu et al., PerturBench, arXiv 2408.10609, for ranks as a test of collapse.
    """
    found, true = paired(predicted, observed)
    return _middle(*_count(true, found, metric, exclude, exclude_both))


def rank_of_truths(
    predicted: npt.ArrayLike,
    observed: npt.ArrayLike,
    *,
    metric: Metric = "euclidean",
    exclude: npt.ArrayLike | None = None,
    exclude_both: bool = False,
) -> Array:
    r"""Rank of each truth among all truths, by distance to its own prediction.

    .. math::
        \mathrm{rank}_p = \frac{1}{n - 1} \sum_{q \neq p} \left(
            [d(\hat x_p, \bar x_q) < d(\hat x_p, \bar x_p)] +
            \tfrac12 [d(\hat x_p, \bar x_q) = d(\hat x_p, \bar x_p)] \right)

    with symbols and errors as in :func:`rank_of_predictions`, whose question this transposes: the
    condition that a prediction is most like is looked up. A model that predicts the same for all
    conditions scores 0.5 on average over them.

    Parameters
    ----------
    predicted, observed, metric, exclude_both
        As in :func:`rank_of_predictions`.
    exclude
        As there; it leaves genes out of all distances to the prediction of a condition.

    Returns
    -------
    Array of shape ``(n_conditions,)``, in [0, 1]; NaN where there are fewer than two conditions.
    """
    found, true = paired(predicted, observed)
    return _middle(*_count(found, true, metric, exclude, exclude_both))


def perturbench_rank(
    predicted: npt.ArrayLike,
    observed: npt.ArrayLike,
    *,
    metric: Metric = "cosine",
    seed: int = 0,
) -> Array:
    """Rank of predictions as PerturBench has it, ties broken at random, to compare with it.

    As :func:`rank_of_predictions`, but a prediction that ties with k others is placed anywhere
    among them with equal chance, which adds noise and is the same on average.

    Parameters
    ----------
    predicted, observed, metric
        As in :func:`rank_of_predictions`.
    seed
        Of the places among ties.

    Returns
    -------
    Array of shape ``(n_conditions,)``, in [0, 1]; NaN where there are fewer than two conditions.

    Raises
    ------
    ValueError
        If the profiles are not finite matrices of one shape, or the metric is unknown.

    References
    ----------
    Wu et al., PerturBench, arXiv 2408.10609.
    """
    found, true = paired(predicted, observed)
    n_nearer, n_tied = _count(true, found, metric, None, False)
    place = np.random.default_rng(seed).integers(n_tied, endpoint=True)
    return _share_of_others(n_nearer + place)


def _middle(n_nearer: Counts, n_tied: Counts) -> Array:
    return _share_of_others(n_nearer + n_tied / 2)


def _share_of_others(place: npt.NDArray[np.number]) -> Array:
    n = len(place)
    return place.astype(float) / (n - 1) if n > 1 else np.full(n, np.nan)


def _count(
    anchors: Floats,
    candidates: Floats,
    metric: str,
    exclude: npt.ArrayLike | None,
    exclude_both: bool,
) -> tuple[Counts, Counts]:
    """Of each anchor, how many other candidates are nearer than its own, and how many as near."""
    if metric not in get_args(Metric):
        raise ValueError(f"No metric is called {metric!r}; choose one of {get_args(Metric)}.")
    keep = None if exclude is None else ~_checked(exclude, anchors.shape)
    kind = _kinds(candidates)
    origin: Array | float = 0.0
    if metric == "euclidean" and len(candidates):
        # distances do not depend on the origin, and rounding errors are least at the centre
        origin = candidates.mean(axis=0, dtype=float)
    distances = _Distances(candidates - np.asarray(origin), metric, keep, exclude_both)
    n_nearer, n_tied = (np.zeros(len(anchors), dtype=np.intp) for _ in range(2))
    for start in range(0, len(anchors), _BLOCK_SIZE):
        rows = slice(start, start + _BLOCK_SIZE)
        to_all, to_own = distances.compared(anchors[rows] - np.asarray(origin), rows)
        # products of matrices round by where an entry stands in them, while equal profiles tie
        is_equal = kind == kind[rows, None]
        n_nearer[rows] = ((to_all < to_own) & ~is_equal).sum(axis=1)
        n_tied[rows] = ((to_all == to_own) | is_equal).sum(axis=1) - 1  # itself
    return n_nearer, n_tied


class _Distances:
    """What orders candidates by their distance to anchors.

    Genes that no condition leaves out are kept apart from those that some do, which are few and
    need a mask.
    """

    def __init__(
        self, candidates: Array, metric: str, keep: Flags | None, exclude_both: bool
    ) -> None:
        self._metric, self._both = metric, exclude_both and keep is not None
        if keep is None:
            keep = np.ones_like(candidates, dtype=bool)
        self._is_masked = ~keep.all(axis=0)
        self._keep = keep[:, self._is_masked].astype(float)
        self._free, self._masked = self._parted(candidates)
        if self._both:
            self._masked = self._masked * self._keep
        self._sizes = np.einsum("qg,qg->q", self._free, self._free)

    def compared(self, anchors: Array, rows: slice) -> tuple[Array, Array]:
        """Order of all candidates for some anchors, and of each anchor's own, to compare it with.

        Both of shape anchors × candidates, or the second with one column. Of the squared Euclidean
        distance they lack what both share, of the cosine distance a factor that they share.
        """
        keep = self._keep[rows]
        free, masked = self._parted(anchors)
        masked = masked * keep
        to_all = self._order(
            self._sizes + keep @ (self._masked**2).T,
            free @ self._free.T + masked @ self._masked.T,
        )
        if not self._both:
            return to_all, _own(to_all, rows)
        own = self._masked[rows]
        products = np.einsum("pg,pg->p", free, self._free[rows])
        return to_all, self._order(
            self._sizes[rows, None] + own**2 @ self._keep.T,
            products[:, None] + (masked * own) @ self._keep.T,
        )

    def _parted(self, profiles: Array) -> tuple[Array, Array]:
        """Genes that all conditions keep, and the others."""
        if not self._is_masked.any():
            return profiles, profiles[:, :0]
        return profiles[:, ~self._is_masked], profiles[:, self._is_masked]

    def _order(self, sizes: Array, products: Array) -> Array:
        """By the squared length of the candidates and their product with the anchors."""
        if self._metric == "euclidean":
            return sizes - 2 * products
        lengths = np.broadcast_to(np.sqrt(sizes), products.shape)
        return -np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)


def _own(to_all: Array, rows: slice) -> Array:
    within = np.arange(len(to_all))
    return to_all[within, rows.start + within][:, None]


def _kinds(profiles: Floats) -> Counts:
    """A number for each profile, the same for equal ones."""
    number: dict[bytes, int] = {}
    return np.array(
        [
            # adding 0 makes -0 and 0 the same
            number.setdefault(hashlib.blake2b((profile + 0).tobytes()).digest(), len(number))
            for profile in profiles
        ],
        dtype=np.intp,
    )


def _checked(exclude: npt.ArrayLike, shape: tuple[int, ...]) -> Flags:
    flags = np.asarray(exclude)
    if flags.dtype != bool:
        raise ValueError(f"`exclude` is of {flags.dtype}; give booleans, true where left out.")
    if flags.shape != shape:
        raise ValueError(
            f"`exclude` has shape {flags.shape} and the profiles {shape}; give the same "
            "conditions and genes in the same order."
        )
    empty = np.flatnonzero(flags.all(axis=1))
    if len(empty):
        raise ValueError(
            f"`exclude` leaves no gene to {len(empty)} condition(s), first {empty[0]}. "
            "Leave these conditions out."
        )
    return flags
