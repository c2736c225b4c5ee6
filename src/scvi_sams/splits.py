"""Which cells to learn from, which to stop by, and which to judge by."""

from scvi_sams.evaluation._held_out import check_no_leak
from scvi_sams.evaluation._split_record import split_hash
from scvi_sams.evaluation._splits import (
    combinations,
    inverse_combinations,
    random,
    replicate,
    transfer,
)

__all__ = [
    "check_no_leak",
    "combinations",
    "inverse_combinations",
    "random",
    "replicate",
    "split_hash",
    "transfer",
]
