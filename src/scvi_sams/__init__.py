"""SAMS-VAE for perturbation screens in single cells, as a scvi-tools extension."""

from importlib.metadata import version

from scvi_sams import baselines, datasets, metrics, pl, pp, splits, tl
from scvi_sams._ensemble import fit_ensemble
from scvi_sams.evaluation._evaluate import evaluate
from scvi_sams.model._conditional import ConditionalVAE
from scvi_sams.model._cpavae import CPAVAE
from scvi_sams.model._samsvae import SAMSVAE
from scvi_sams.model._svaeplus import SVAEPlus

from scvi_sams import hub  # isort: skip - it needs the models

__all__ = [
    "CPAVAE",
    "SAMSVAE",
    "ConditionalVAE",
    "SVAEPlus",
    "baselines",
    "datasets",
    "evaluate",
    "fit_ensemble",
    "hub",
    "metrics",
    "pl",
    "pp",
    "splits",
    "tl",
]
__version__ = version("scvi-sams")
