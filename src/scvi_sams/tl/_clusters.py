"""Groups of perturbations that do the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from scvi_sams.tl._similarity import Metric, perturbation_similarity

NO_EFFECT = "no sure effect"


def cluster_perturbations(
    data: AnnData,
    *,
    min_similarity: float = 0.5,
    metric: Metric = "cosine",
    max_false_rate: float = 0.05,
) -> None:
    """Group perturbations whose effects point the same way, in place.

    Clusters are merged, the most similar first, as long as the mean similarity between the
    members of one and of the other is at least ``min_similarity`` (average linkage, Sokal &
    Michener 1958). Nothing is random. A perturbation that resembles no other is a cluster of its
    own; those without any effect, which resemble each other in nothing but that, are set apart
    (see :func:`~scvi_sams.tl.perturbation_similarity` for which these are).

    Parameters
    ----------
    data
        As for :func:`~scvi_sams.tl.perturbation_similarity`: effects on latent dimensions or
        average treatment effects.
    min_similarity
        Least mean similarity at which two clusters are merged, from -1 to 1.
    metric
        ``"cosine"`` or ``"pearson"``.
    max_false_rate
        Probability up to which an effect may be false; a perturbation whose surest effect is
        more doubtful is without any.

    Returns
    -------
    None. Writes into ``data``, over what an earlier call left,

    - ``obs["cluster"]``: categorical, ``"0"`` for the largest cluster, ``"1"`` for the next and
      so on, of equally large ones that of the first perturbation first; last
      ``"no sure effect"``, if there are any
    - ``uns["cluster_perturbations"]``: ``min_similarity``, ``metric``, ``max_false_rate`` and
      ``n_clusters``, the last without ``"no sure effect"``

    Raises
    ------
    TypeError
        If ``data`` is not an AnnData.
    ValueError
        If ``min_similarity`` is out of range, or for what
        :func:`~scvi_sams.tl.perturbation_similarity` raises it.

    References
    ----------
    Sokal & Michener (1958), A statistical method for evaluating systematic relationships,
    University of Kansas Science Bulletin 38.

    Examples
    --------
    >>> effects = model.get_perturbation_effects()
    >>> sams.tl.cluster_perturbations(effects, min_similarity=0.7)
    >>> members = effects.obs_names.groupby(effects.obs["cluster"])
    """
    if not -1 <= min_similarity <= 1:
        raise ValueError(f"`min_similarity` is from -1 to 1; it is {min_similarity}.")
    similarity = perturbation_similarity(
        data, metric=metric, max_false_rate=max_false_rate
    ).to_numpy()
    has_effect = ~np.isnan(np.diag(similarity))
    clusters = _clusters(similarity[np.ix_(has_effect, has_effect)], min_similarity)
    n_clusters = int(clusters.max(initial=-1)) + 1

    labels = np.full(data.n_obs, NO_EFFECT, dtype=object)
    labels[has_effect] = clusters.astype(str)
    categories = [str(cluster) for cluster in range(n_clusters)]
    if not has_effect.all():
        categories.append(NO_EFFECT)
    data.obs["cluster"] = pd.Categorical(labels, categories=categories)
    data.uns["cluster_perturbations"] = {
        "min_similarity": float(min_similarity),
        "metric": metric,
        "max_false_rate": float(max_false_rate),
        "n_clusters": n_clusters,
    }


def _clusters(similarity: npt.NDArray[np.float64], min_similarity: float) -> npt.NDArray[np.intp]:
    """Cluster of each row, numbered from 0 by size, then by the first member."""
    if len(similarity) < 2:
        return np.zeros(len(similarity), dtype=np.intp)
    distance = 1 - similarity
    np.fill_diagonal(distance, 0)
    merges = linkage(squareform(distance, checks=False), method="average")
    # a similarity that equals the least may miss it by rounding
    found = fcluster(merges, 1 - min_similarity + 1e-9, criterion="distance")
    _, first, cluster, sizes = np.unique(
        found, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((first, -sizes))
    return np.argsort(order)[cluster]
