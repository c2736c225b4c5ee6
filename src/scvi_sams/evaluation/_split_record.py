"""How a split stands in an AnnData, and what was done to get it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from scvi_sams.data._names import as_tuple
from scvi_sams.evaluation._condition_table import column
from scvi_sams.module._numbers import check_whole, is_number

if TYPE_CHECKING:
    from anndata import AnnData

Flags = npt.NDArray[np.bool_]
PARTS = ("train", "val", "test")


def write_split(
    adata: AnnData,
    is_test: Flags,
    is_validation: Flags,
    *,
    method: str,
    settings: dict[str, Any],
    seed: int,
    key_added: str,
) -> None:
    """Write ``obs[key_added]`` and, in ``uns``, its method, settings, seed and hash.

    Raises
    ------
    ValueError
        If no cell is left to train on, or none to test on, or the column to write is one that
        the split was made from.
    """
    if not isinstance(key_added, str):
        raise ValueError(f"`key_added` must be the name of a column; it is {key_added!r}.")
    names = ("perturbation_key", "batch_key", "covariate_keys", "stratify_keys")
    read = {key for name in names for key in as_tuple(settings.get(name))}
    if read & {key_added, f"{key_added}_parts_seen"}:
        raise ValueError(
            f"`key_added` is {key_added!r}, which the split is made from; it would be lost. Name "
            "another column."
        )
    split = np.select([is_test, is_validation], ["test", "val"], "train")
    for part in ("train", "test"):
        if not (split == part).any():
            raise ValueError(
                f"The split leaves no cell for {part}. Change the shares, such as "
                "`validation_share`, or give more cells."
            )
    adata.obs[key_added] = pd.Categorical(split, categories=list(PARTS))
    adata.uns[key_added] = {
        "method": method,
        "seed": seed,
        **settings,
        "hash": split_hash(adata, split_key=key_added),
    }


def split_hash(adata: AnnData, *, split_key: str = "split") -> str:
    """Hash of which cell is in which part: equal hashes are equal splits.

    Parameters
    ----------
    adata
        Cells, in any order.
    split_key
        Column of obs.

    Returns
    -------
    The first 16 hexadecimal digits of the SHA-256 of the sorted names of cells and their parts.

    Raises
    ------
    KeyError, ValueError
        If the column is missing, or some of its values.
    """
    split = column(adata, split_key)
    lines = sorted(f"{cell}\t{part}\n" for cell, part in zip(adata.obs_names, split, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def stratified_ranks(
    stratum: npt.NDArray[np.intp], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Random number of each cell in [0, 1), evenly spread over the cells of each stratum.

    Thresholds then cut the same shares from every stratum, to a cell; whole strata of one cell
    fall on either side by chance.

    Parameters
    ----------
    stratum
        Code of each cell's stratum, from 0, of shape ``(n_cells,)``.
    rng
        Source of randomness.
    """
    order = np.lexsort([rng.random(len(stratum)), stratum])
    size = np.bincount(stratum)
    first = np.cumsum(size) - size
    rank = np.empty(len(stratum))
    rank[order] = np.arange(len(stratum)) - np.repeat(first, size)
    return (rank + rng.random(len(size))[stratum]) / size[stratum]


def generator(seed: int, *stream: int) -> np.random.Generator:
    """Source of randomness of a seed; each ``stream`` of it is another.

    Raises
    ------
    ValueError
        If the seed is no integer, or negative: the same split could not be drawn again.
    """
    check_whole(seed, "seed")
    return np.random.default_rng([seed, *stream] if stream else seed)


def check_shares(**shares: float) -> None:
    """Check that shares of cells or conditions are between 0 and 1.

    Raises
    ------
    ValueError
        If one is not.
    """
    for name, share in shares.items():
        if not is_number(share) or not 0 <= share < 1:
            raise ValueError(f"`{name}` must be at least 0 and less than 1; it is {share!r}.")
