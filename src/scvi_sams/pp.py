"""Preparing screens: guide RNAs to labels, labels to dosages."""

from scvi_sams.data._encode import encode_perturbations
from scvi_sams.data._guides import assign_guides

__all__ = ["assign_guides", "encode_perturbations"]
