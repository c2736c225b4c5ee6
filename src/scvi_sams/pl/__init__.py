"""Figures, by scanpy's conventions; imported as ``sams.pl``."""

from scvi_sams.pl._additivity import additivity
from scvi_sams.pl._agreement import ate_agreement
from scvi_sams.pl._collapse import collapse
from scvi_sams.pl._dimensions import dimension_genes
from scvi_sams.pl._dose_response import dose_response
from scvi_sams.pl._effects import effects
from scvi_sams.pl._embedding import perturbation_embedding
from scvi_sams.pl._history import training_history
from scvi_sams.pl._inclusion import inclusion_probability
from scvi_sams.pl._interactions import interactions
from scvi_sams.pl._predictive_check import posterior_predictive_check
from scvi_sams.pl._volcano import volcano

__all__ = [
    "additivity",
    "ate_agreement",
    "collapse",
    "dimension_genes",
    "dose_response",
    "effects",
    "inclusion_probability",
    "interactions",
    "perturbation_embedding",
    "posterior_predictive_check",
    "training_history",
    "volcano",
]
