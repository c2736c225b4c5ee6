"""Figures, by scanpy's conventions; imported as ``sams.pl``."""

from scvi_sams.pl._agreement import ate_agreement
from scvi_sams.pl._inclusion import inclusion_probability

__all__ = ["ate_agreement", "inclusion_probability"]
