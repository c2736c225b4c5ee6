"""Metrics, as functions."""

from scvi_sams.evaluation._latents import latent_r2, mean_correlation_coefficient
from scvi_sams.evaluation._masks import mask_recovery, match_dimensions

__all__ = ["latent_r2", "mask_recovery", "match_dimensions", "mean_correlation_coefficient"]
