"""SAMS-VAE for perturbation screens in single cells, as a scvi-tools extension."""

from importlib.metadata import version

from scvi_sams import datasets, metrics, pl, pp
from scvi_sams.model._samsvae import SAMSVAE

__all__ = ["SAMSVAE", "datasets", "metrics", "pl", "pp"]
__version__ = version("scvi-sams")
