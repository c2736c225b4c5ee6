"""What training has to know of its cells before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from scvi import REGISTRY_KEYS as SCVI_KEYS

from scvi_sams._constants import REGISTRY_KEYS

if TYPE_CHECKING:
    from scvi.data import AnnDataManager

_ROWS_AT_ONCE = 20_000


class TrainingStatistics(NamedTuple):
    """Summary of the training cells.

    Attributes
    ----------
    n_cells_per_perturbation
        N_t, the number of training cells that received each perturbation; T.
    log_mean, log_sd
        Mean and standard deviation of log(1 + x) of each gene; G.
    mean_share
        Total counts of each gene over total library size (or over total size factor, scaled to a
        mean of one); G.
    mean_size_factor
        Mean of the size factors, 1 if none were given; a scalar.
    """

    n_cells_per_perturbation: torch.Tensor
    log_mean: torch.Tensor
    log_sd: torch.Tensor
    mean_share: torch.Tensor
    mean_size_factor: torch.Tensor


def training_statistics(
    manager: AnnDataManager, indices: npt.NDArray[np.intp], n_perturbations: int
) -> TrainingStatistics:
    """Summarise the training cells in one pass.

    Parameters
    ----------
    manager
        Manager of the data, in memory or backed.
    indices
        Training cells.
    n_perturbations
        Number of perturbations T of the model.
    """
    indices = np.sort(np.asarray(indices, dtype=np.intp))
    counts = manager.get_from_registry(SCVI_KEYS.X_KEY)
    n_genes = counts.shape[1]
    total, log_sum, log_square = (np.zeros(n_genes) for _ in range(3))
    for start in range(0, len(indices), _ROWS_AT_ONCE):
        rows = sparse.csr_matrix(counts[indices[start : start + _ROWS_AT_ONCE]], dtype=np.float64)
        logs = rows.log1p()
        total += np.asarray(rows.sum(axis=0)).ravel()
        log_sum += np.asarray(logs.sum(axis=0)).ravel()
        log_square += np.asarray(logs.multiply(logs).sum(axis=0)).ravel()
    log_mean = log_sum / len(indices)
    log_sd = np.sqrt(np.maximum(log_square / len(indices) - log_mean**2, 0))

    if SCVI_KEYS.SIZE_FACTOR_KEY in manager.data_registry:
        size_factors = manager.get_from_registry(SCVI_KEYS.SIZE_FACTOR_KEY)
        mean_size_factor = float(np.mean(np.asarray(size_factors, dtype=np.float64)[indices]))
        share = total / len(indices)
    else:
        mean_size_factor = 1.0
        # a gene without counts keeps a small share: half a count in all training cells
        share = (total + 0.5) / (total + 0.5).sum()

    packed = manager.get_from_registry(REGISTRY_KEYS.PERTURBATIONS)[indices]
    index, dosage = np.split(packed, 2, axis=1)
    n_cells = np.bincount(index[dosage != 0].astype(np.intp), minlength=n_perturbations)
    summaries = (n_cells, log_mean, log_sd, share, mean_size_factor)
    return TrainingStatistics(*(torch.as_tensor(x, dtype=torch.float32) for x in summaries))
