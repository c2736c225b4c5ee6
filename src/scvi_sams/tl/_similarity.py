"""Which perturbations do the same."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData

from scvi_sams._tables import dense, find
from scvi_sams.data._names import listed
from scvi_sams.tl._calls import check_is_result, check_rate, rows_with_effect

Metric = Literal["cosine", "pearson"]


def perturbation_similarity(
    data: AnnData, *, metric: Metric = "cosine", max_false_rate: float = 0.05
) -> pd.DataFrame:
    r"""Similarity of the effects of each pair of perturbations.

    .. math::
        s_{tu} = \frac{\langle x_t, x_u \rangle}{\|x_t\| \, \|x_u\|}

    where :math:`x_t` are the effects of perturbation t on latent dimensions or genes, less their
    mean if ``metric`` is ``"pearson"``. It compares directions, not sizes: 1 for the same one, 0
    if two have nothing in common, -1 for opposite ones.

    A perturbation without effect has no direction. What a model estimates of it is small but
    rarely zero, and may point anywhere, so that its similarities would be noise; they are NaN.
    A perturbation has an effect if the surest one is false with a probability of at most
    ``max_false_rate``: by its inclusion probability on a latent dimension, or the local false
    sign rate on a gene (see :func:`~scvi_sams.tl.call_effects`). Where ``data`` has neither, or
    is of a model without masks, all perturbations but zeros count.

    Parameters
    ----------
    data
        What :meth:`~scvi_sams.SAMSVAE.get_perturbation_effects` or
        :func:`~scvi_sams.tl.consensus` returned, perturbations × latent dimensions, or
        :meth:`~scvi_sams.SAMSVAE.get_average_treatment_effects`, conditions × genes. The first
        compares what perturbations switch on; the second is in units of genes, where two latent
        dimensions that move the same genes are alike.
    metric
        ``"cosine"``, or ``"pearson"`` for the correlation over the dimensions or genes.
    max_false_rate
        Probability up to which an effect may be false, from 0 to 1. With 1 all perturbations
        but zeros count.

    Returns
    -------
    Symmetric DataFrame, perturbations × perturbations, with 1 on the diagonal; rows and columns
    of perturbations without effect are NaN, the diagonal too.

    Raises
    ------
    TypeError
        If ``data`` is not an AnnData.
    ValueError
        If ``metric`` is unknown, ``max_false_rate`` out of range, effects are not finite, or
        what says how sure they are holds no probabilities.

    Examples
    --------
    >>> effects = model.get_perturbation_effects()
    >>> similarity = sams.tl.perturbation_similarity(effects)
    >>> similarity.shape
    (6, 6)
    >>> with_effect = similarity.dropna(how="all").dropna(how="all", axis=1)
    """
    check_is_result(data)
    if metric not in ("cosine", "pearson"):
        raise ValueError(f"`metric` must be 'cosine' or 'pearson'; it is {metric!r}.")
    check_rate(max_false_rate)
    effects = dense(data.X)
    if not np.isfinite(effects).all():
        names = data.obs_names[~np.isfinite(effects).all(1)]
        raise ValueError(f"The effects of {listed(names)} are not finite; leave them out.")
    directions = _directions(effects, metric)
    directions[~rows_with_effect(data, max_false_rate)] = np.nan
    similarity = np.clip(directions @ directions.T, -1, 1)
    names = data.obs_names.copy()
    return pd.DataFrame((similarity + similarity.T) / 2, index=names, columns=names)


def nearest_perturbations(
    data: AnnData,
    perturbation: str,
    *,
    n: int = 10,
    metric: Metric = "cosine",
    max_false_rate: float = 0.05,
) -> pd.Series:
    """Perturbations that do most like a given one.

    Parameters
    ----------
    data
        As for :func:`perturbation_similarity`.
    perturbation
        One of ``data.obs_names``.
    n
        Number of perturbations, at most.
    metric, max_false_rate
        As for :func:`perturbation_similarity`.

    Returns
    -------
    Series of similarities indexed by perturbation, most similar first, without ``perturbation``
    itself. Perturbations without effect are not among them; if ``perturbation`` is one, the
    Series is empty.

    Raises
    ------
    TypeError
        If ``data`` is not an AnnData.
    ValueError
        If there is no such perturbation (the nearest names are given), ``n`` is below 1, or for
        what :func:`perturbation_similarity` raises it.

    Examples
    --------
    >>> effects = model.get_perturbation_effects()
    >>> alike = sams.tl.nearest_perturbations(effects, "STAT1", n=3)
    """
    check_is_result(data)
    if n < 1:
        raise ValueError(f"`n` must be at least 1; it is {n}.")
    row = find([perturbation], data.obs_names, "perturbation")[0]
    similarities = perturbation_similarity(data, metric=metric, max_false_rate=max_false_rate)
    similarity = similarities.iloc[row]
    others = similarity.drop(index=similarity.index[row]).dropna()
    ranked = others.sort_values(ascending=False, kind="stable").head(n)
    return ranked.rename("similarity")


def _directions(effects: npt.NDArray[np.float64], metric: Metric) -> npt.NDArray[np.float64]:
    """Rows of length one; NaN where a row has no direction."""
    sizes = np.abs(effects).max(1, keepdims=True, initial=0)
    if metric == "pearson" and effects.shape[1]:
        effects = effects - effects.mean(1, keepdims=True)
    norms = np.linalg.norm(effects, axis=1, keepdims=True)
    # what is left of equal values after the mean is rounding
    is_direction = norms > 1e-12 * sizes
    return np.where(is_direction, effects / np.where(is_direction, norms, 1), np.nan)
