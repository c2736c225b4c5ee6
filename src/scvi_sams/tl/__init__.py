"""Working on with what models learned; imported as ``sams.tl``."""

from scvi_sams.tl._calls import call_effects
from scvi_sams.tl._check import posterior_predictive_check
from scvi_sams.tl._clusters import cluster_perturbations
from scvi_sams.tl._consensus import consensus
from scvi_sams.tl._enrichment import enrich_dimensions
from scvi_sams.tl._genes import rank_genes
from scvi_sams.tl._misfits import misfits
from scvi_sams.tl._similarity import nearest_perturbations, perturbation_similarity

__all__ = [
    "call_effects",
    "cluster_perturbations",
    "consensus",
    "enrich_dimensions",
    "misfits",
    "nearest_perturbations",
    "perturbation_similarity",
    "posterior_predictive_check",
    "rank_genes",
]
