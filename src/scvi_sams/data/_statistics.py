"""What training has to know of its cells before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from scvi import REGISTRY_KEYS as SCVI_KEYS

from scvi_sams._constants import REGISTRY_KEYS
from scvi_sams.data._disk import rows_of

if TYPE_CHECKING:
    from scvi.data import AnnDataManager

_ROWS_AT_ONCE = 20_000


class TrainingStatistics(NamedTuple):
    """Summary of the training cells.

    Attributes
    ----------
    n_cells_per_perturbation
        N_t, the number of training cells that received each perturbation; T.
    input_mean, input_sd
        Mean and standard deviation of each gene, of log(1 + x) of counts and of real values
        themselves; G.
    mean_expression
        Of counts, the total of each gene over total library size (or over total size factor,
        scaled to a mean of one); of real values, their mean; G.
    mean_size_factor
        Mean of the size factors, 1 if none were given; a scalar.
    """

    n_cells_per_perturbation: torch.Tensor
    input_mean: torch.Tensor
    input_sd: torch.Tensor
    mean_expression: torch.Tensor
    mean_size_factor: torch.Tensor


def training_statistics(
    manager: AnnDataManager,
    indices: npt.NDArray[np.intp],
    n_perturbations: int,
    *,
    counts: bool = True,
) -> TrainingStatistics:
    """Summarise the training cells in one pass.

    Parameters
    ----------
    manager
        Manager of the data, in memory or on a disk.
    indices
        Training cells.
    n_perturbations
        Number of perturbations T of the model.
    counts
        Whether the data are counts.
    """
    indices = np.sort(np.asarray(indices, dtype=np.intp))
    x = manager.get_from_registry(SCVI_KEYS.X_KEY)
    total, input_sum, input_square = (np.zeros(x.shape[1]) for _ in range(3))
    for values in rows_of(x, indices, _ROWS_AT_ONCE):
        rows = sparse.csr_matrix(values, dtype=np.float64)
        inputs = rows.log1p() if counts else rows
        total += np.asarray(rows.sum(axis=0)).ravel()
        input_sum += np.asarray(inputs.sum(axis=0)).ravel()
        input_square += np.asarray(inputs.multiply(inputs).sum(axis=0)).ravel()
    input_mean = input_sum / len(indices)
    input_sd = np.sqrt(np.maximum(input_square / len(indices) - input_mean**2, 0))

    if SCVI_KEYS.SIZE_FACTOR_KEY in manager.data_registry:
        size_factors = manager.get_from_registry(SCVI_KEYS.SIZE_FACTOR_KEY)
        mean_size_factor = float(np.mean(np.asarray(size_factors, dtype=np.float64)[indices]))
        mean_expression = total / len(indices)
    elif not counts:
        mean_size_factor, mean_expression = 1.0, input_mean
    else:
        mean_size_factor = 1.0
        # a gene without counts keeps a small share: half a count in all training cells
        mean_expression = (total + 0.5) / (total + 0.5).sum()

    packed = manager.get_from_registry(REGISTRY_KEYS.PERTURBATIONS)[indices]
    index, dosage = np.split(packed, 2, axis=1)
    n_cells = np.bincount(index[dosage != 0].astype(np.intp), minlength=n_perturbations)
    summaries = (n_cells, input_mean, input_sd, mean_expression, mean_size_factor)
    return TrainingStatistics(*(torch.as_tensor(x, dtype=torch.float32) for x in summaries))
