"""Metrics, as functions."""

from scvi_sams.evaluation._ates import ate_pearson, ate_r2, interval_coverage
from scvi_sams.evaluation._collapse import mean_similarity, variance_ratio
from scvi_sams.evaluation._deltas import (
    cosine_delta,
    cosine_logfc,
    pearson_delta,
    perturbench_cosine_logfc,
)
from scvi_sams.evaluation._differential import de_agreement
from scvi_sams.evaluation._distances import energy_distance, mmd
from scvi_sams.evaluation._errors import mae, r2, rmse, weighted_mse, weighted_r2_delta
from scvi_sams.evaluation._latents import latent_r2, mean_correlation_coefficient
from scvi_sams.evaluation._masks import mask_recovery, match_dimensions
from scvi_sams.evaluation._ranks import perturbench_rank, rank_of_predictions, rank_of_truths

__all__ = [
    "ate_pearson",
    "ate_r2",
    "cosine_delta",
    "cosine_logfc",
    "de_agreement",
    "energy_distance",
    "interval_coverage",
    "latent_r2",
    "mae",
    "mask_recovery",
    "match_dimensions",
    "mean_correlation_coefficient",
    "mean_similarity",
    "mmd",
    "pearson_delta",
    "perturbench_cosine_logfc",
    "perturbench_rank",
    "r2",
    "rank_of_predictions",
    "rank_of_truths",
    "rmse",
    "variance_ratio",
    "weighted_mse",
    "weighted_r2_delta",
]
