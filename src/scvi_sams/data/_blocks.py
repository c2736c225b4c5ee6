r"""Which rows are read together, and which of them make a mini-batch.

Rows on a disk are read in blocks of neighbours. For training, blocks are drawn without
replacement, some at a time, and the wanted rows of these are shuffled and divided. Of n rows there
are :math:`\lceil n / B \rceil` mini-batches, of about equal size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.intp]

BLOCK = 64  # rows
AT_ONCE = 256  # blocks
_WIDEST_GAP = 32  # rows that are read though nobody wants them


class Request(NamedTuple):
    """Rows that are read at once.

    Attributes
    ----------
    blocks
        Slices to read, one after the other.
    batches
        For each mini-batch, positions among all rows of the blocks.
    """

    blocks: list[slice]
    batches: list[Rows]

    @property
    def rows(self) -> Rows:
        """All rows of the blocks."""
        return np.concatenate([np.arange(block.start, block.stop) for block in self.blocks])


def n_batches(n_rows: int, batch_size: int) -> int:
    """Number of mini-batches."""
    return -(-n_rows // batch_size)


def in_order(rows: Rows, batch_size: int) -> Iterator[Request]:
    """Mini-batches of rows in the order given.

    Parameters
    ----------
    rows
        Rows, in any order, with or without repetitions.
    batch_size
        Rows per mini-batch; the last may have fewer.
    """
    start = 0
    while start < len(rows):
        n_here = max(BLOCK * AT_ONCE // batch_size, 1)
        while True:
            some = rows[start : start + n_here * batch_size]
            blocks = covering(np.unique(some))
            n_read = sum(block.stop - block.start for block in blocks)
            if n_here == 1 or n_read <= BLOCK * AT_ONCE:
                break
            n_here //= 2  # what lies between rows that are far apart would fill the memory
        first = np.asarray([block.start for block in blocks])
        offset = np.cumsum([0, *(block.stop - block.start for block in blocks)])
        block = np.searchsorted(first, some, side="right") - 1
        position = offset[block] + some - first[block]
        yield Request(blocks, np.split(position, range(batch_size, len(some), batch_size)))
        start += len(some)


def covering(rows: Rows) -> list[slice]:
    """Few slices that hold all of the sorted rows."""
    ends = np.flatnonzero(np.diff(rows) > _WIDEST_GAP)
    first, last = rows[np.append(0, ends + 1)], rows[np.append(ends, len(rows) - 1)]
    return [slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True)]


def shuffled(
    rows: Rows,
    batch_size: int,
    rng: np.random.Generator,
    *,
    replica: int = 0,
    n_replicas: int = 1,
) -> Iterator[Request]:
    """Mini-batches of about ``batch_size`` rows in random order.

    Parameters
    ----------
    rows
        Rows, each once.
    batch_size
        Rows per mini-batch, give or take a sixteenth.
    rng
        Draws the blocks; the same for all replicas.
    replica, n_replicas
        Which of how many devices this is. Each has blocks of its own, and all have as many
        mini-batches.

    Raises
    ------
    ValueError
        If there are fewer rows than devices.
    """
    if len(rows) < n_replicas:
        raise ValueError(f"{len(rows)} cells are too few for {n_replicas} devices.")
    rows = np.sort(rows)
    # enough blocks for all devices to have about as many rows
    size = max(min(BLOCK, len(rows) // (16 * n_replicas)), 1)
    members = np.split(rows, np.flatnonzero(np.diff(rows // size)) + 1)
    mine = rng.permutation(len(members))[replica::n_replicas]
    within = rng.spawn(n_replicas)[replica]
    counts = np.asarray([len(members[block]) for block in mine])
    total = n_batches(len(rows), batch_size * n_replicas)
    done = made = 0
    for group in _grouped(counts, least=8 * n_batches(counts.sum(), total)):
        done += int(counts[group].sum())
        n_here = round(total * done / counts.sum()) - made
        made += n_here
        blocks = [_extent(members[block]) for block in mine[group]]
        offsets = np.cumsum([0, *(block.stop - block.start for block in blocks[:-1])])
        position = np.concatenate(
            [
                offset + members[block] - extent.start
                for block, extent, offset in zip(mine[group], blocks, offsets, strict=True)
            ]
        )
        if len(position) < n_here:  # of devices with few rows; some row is there twice
            position = np.resize(position, n_here)
        yield Request(blocks, np.array_split(within.permutation(position), n_here))


def _extent(rows: Rows) -> slice:
    return slice(int(rows[0]), int(rows[-1]) + 1)


def _grouped(counts: npt.NDArray[np.intp], least: int) -> list[slice]:
    """Blocks that are read at once: ``AT_ONCE``, or more until they hold ``least`` rows."""
    cuts, rows = [0], 0
    for block, count in enumerate(counts):
        if block - cuts[-1] >= AT_ONCE and rows >= least:
            cuts.append(block)
            rows = 0
        rows += count
    if len(cuts) > 1 and rows < least:
        cuts.pop()  # what is left goes with the group before
    return [slice(a, b) for a, b in zip(cuts, [*cuts[1:], len(counts)], strict=True)]
