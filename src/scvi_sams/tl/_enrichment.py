"""What latent dimensions are about, in terms of gene sets."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Protocol

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData
from scipy.stats import false_discovery_control, t

from scvi_sams._tables import dense, wrong_type
from scvi_sams.data._names import listed
from scvi_sams.tl._gene_sets import GeneSets, gene_sets_of, restricted


class _HasResponses(Protocol):
    def get_dimension_responses(self) -> AnnData: ...


def enrich_dimensions(
    responses: _HasResponses | AnnData, gene_sets: GeneSets, *, min_genes: int = 5
) -> pd.DataFrame:
    r"""Gene sets that respond to each latent dimension.

    .. math::
        t_{ks} = \frac{\bar y_{k,s} - \bar y_{k,\bar s}}
        {\hat\sigma_{ks} \sqrt{1 / n_s + 1 / (G - n_s)}}

    where :math:`y_{kg}` is the response of gene g to dimension k, :math:`\bar y_{k,s}` its mean
    over the :math:`n_s` genes of set s, :math:`\bar y_{k,\bar s}` that over the other genes among
    all G, and :math:`\hat\sigma_{ks}` their pooled standard deviation: the univariate linear
    model of decoupler (Badia-i-Mompel et al. 2022), with G - 2 degrees of freedom. It compares
    genes of the set with the other genes of the model, so a set can only stand out against the
    panel that was measured.

    Parameters
    ----------
    responses
        A trained model, or what its :meth:`~scvi_sams.SAMSVAE.get_dimension_responses` returned:
        AnnData, latent dimensions × genes, of the response of each gene to a dimension.
    gene_sets
        Dict of set names and genes, or the path of a .gmt file, such as those of MSigDB. Genes are
        named like the model's.
    min_genes
        Sets with fewer genes among the model's are left out; so are those of all of them.

    Returns
    -------
    DataFrame with one row per dimension and set, sorted by dimension, in the order of
    ``responses``, and by p-value:

    - ``dimension``, ``gene_set``
    - ``score``: :math:`t_{ks}`, above 0 if the set goes up, relative to the other genes, as the
      dimension is shifted by the perturbations that include it
    - ``pvalue``: two-sided
    - ``padj``: adjusted over all rows (Benjamini & Hochberg 1995)
    - ``n_genes``: :math:`n_s`, genes of the set among the model's
    - ``direction``: ``"up"`` or ``"down"``, the sign of the score; ``"none"`` of a dimension to
      which no gene responds differently

    Raises
    ------
    ImportError
        If decoupler is not installed; ``pip install scvi-sams[enrichment]`` does it.
    TypeError
        If ``responses`` is neither a model nor an AnnData, or ``gene_sets`` neither a dict nor a
        path.
    FileNotFoundError
        If there is no such .gmt file.
    ValueError
        If no set has enough genes among the model's (examples of both namings are given), gene
        names repeat, responses are not finite, or ``min_genes`` is below 1.
    RuntimeError
        If the model is not trained.

    Notes
    -----
    P-values treat genes as independent. Genes of a set are co-regulated, so they are too small;
    read them as a ranking. Sets of few genes against responses with heavy tails add to that: of
    random sets of 5 of 299 genes, 0.2 % had a p-value below 0.001.

    References
    ----------
    Badia-i-Mompel et al. (2022), decoupleR: ensemble of computational methods to infer biological
    activities from omics data, Bioinformatics Advances 2.

    Examples
    --------
    >>> enriched = sams.tl.enrich_dimensions(model, "h.all.v7.5.1.symbols.gmt")
    >>> top = enriched.query("padj < 0.05").groupby("dimension").head(3)
    """
    decoupler = _decoupler()
    if min_genes < 1:
        raise ValueError(f"`min_genes` must be at least 1; it is {min_genes}.")
    all_sets = gene_sets_of(gene_sets)
    data = _responses(responses)
    kept = restricted(all_sets, data.var_names, min_genes)
    frame = pd.DataFrame(dense(data.X), index=data.obs_names, columns=data.var_names)
    scores = _scores(decoupler, frame, kept).ravel()
    pvalues = 2 * t.sf(np.abs(scores), data.n_vars - 2)
    table = pd.DataFrame(
        {
            "dimension": np.repeat(data.obs_names, len(kept)),
            "gene_set": list(kept) * data.n_obs,
            "score": scores,
            "pvalue": pvalues,
            "padj": false_discovery_control(pvalues),
            "n_genes": [len(genes) for genes in kept.values()] * data.n_obs,
            "direction": np.array(["down", "none", "up"])[np.sign(scores).astype(int) + 1],
        }
    )
    # by p-value, were they not rounded to zero
    order = np.lexsort((-np.abs(scores), np.arange(data.n_obs).repeat(len(kept))))
    return table.iloc[order].reset_index(drop=True)


def _scores(
    decoupler: ModuleType, frame: pd.DataFrame, gene_sets: Mapping[str, frozenset[str]]
) -> npt.NDArray[np.float64]:
    """T statistics, dimensions × sets; 0 for dimensions to which all genes respond alike."""
    net = pd.DataFrame(
        [(name, gene) for name, genes in gene_sets.items() for gene in sorted(genes)],
        columns=["source", "target"],
    )
    scores = np.zeros((len(frame), len(gene_sets)))
    responding = np.ptp(frame.to_numpy(), axis=1) > 0
    if responding.any():
        # all genes are the background, those without response too
        found, _ = decoupler.mt.ulm(frame[responding], net, tmin=1, empty=False)
        scores[responding] = found[list(gene_sets)].to_numpy()
    return scores


def _responses(responses: _HasResponses | AnnData) -> AnnData:
    """Responses of dimensions, once they can be worked with."""
    if hasattr(responses, "get_dimension_responses"):
        responses = responses.get_dimension_responses()
    if not isinstance(responses, AnnData):
        wanted = "a trained model, or what its `get_dimension_responses()` returned"
        raise wrong_type(responses, "responses", wanted)
    for axis, names in (("dimensions", responses.obs_names), ("genes", responses.var_names)):
        if names.has_duplicates:
            repeated = names[names.duplicated()].unique()
            raise ValueError(f"Several {axis} are named {listed(repeated)}; make them unique.")
    if not np.isfinite(dense(responses.X)).all():
        names = responses.obs_names[~np.isfinite(dense(responses.X)).all(1)]
        raise ValueError(f"The responses to {listed(names)} are not finite; leave them out.")
    return responses


def _decoupler() -> ModuleType:
    try:
        # legends of all figures look different once its dependencies are imported
        with mpl.rc_context():
            import decoupler
    except ImportError as error:
        raise ImportError(
            "`enrich_dimensions` uses decoupler, which is not installed: "
            "`pip install scvi-sams[enrichment]`."
        ) from error
    return decoupler
