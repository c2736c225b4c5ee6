"""Metrics, as functions."""

from scvi_sams.evaluation._masks import mask_recovery, match_dimensions

__all__ = ["mask_recovery", "match_dimensions"]
