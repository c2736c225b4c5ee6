"""Which rows are read together, and which make a mini-batch."""

import numpy as np
import pytest

from scvi_sams.data import _blocks
from scvi_sams.data._blocks import covering, in_order, n_batches, shuffled


def rows_of_batches(requests):
    """The rows of each mini-batch."""
    return [request.rows[batch] for request in requests for batch in request.batches]


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(_blocks, "BLOCK", 8)
    monkeypatch.setattr(_blocks, "AT_ONCE", 4)


WANTED = {
    "all": np.arange(1_000),
    "most": np.flatnonzero(np.random.default_rng(0).random(1_000) < 0.9),
    "few": np.flatnonzero(np.random.default_rng(1).random(1_000) < 0.05),
    "the end": np.arange(900, 1_000),
    "one": np.array([17]),
}


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("batch_size", [1, 7, 50, 5_000])
@pytest.mark.parametrize("rows", WANTED.values(), ids=WANTED.keys())
class TestShuffled:
    def test_every_row_once_in_batches_of_one_size(self, rows, batch_size):
        batches = rows_of_batches(shuffled(rows, batch_size, np.random.default_rng(2)))
        assert len(batches) == n_batches(len(rows), batch_size)
        assert np.array_equal(np.sort(np.concatenate(batches)), rows)
        sizes = np.array([len(batch) for batch in batches])
        mean = len(rows) / len(batches)
        # a request holds at least eight mini-batches, which round it up or down
        assert sizes.max() <= np.ceil(mean * 17 / 16)
        assert sizes.min() >= np.floor(mean * 15 / 16)

    def test_reads_each_block_once(self, rows, batch_size):
        read = [
            row
            for request in shuffled(rows, batch_size, np.random.default_rng(3))
            for row in request.rows
        ]
        assert len(set(read)) == len(read)

    def test_several_devices_share_rows_and_have_as_many_batches(self, rows, batch_size):
        if len(rows) < 3:
            pytest.skip("fewer cells than devices")
        shares = [
            rows_of_batches(
                shuffled(rows, batch_size, np.random.default_rng(4), replica=replica, n_replicas=3)
            )
            for replica in range(3)
        ]
        assert {len(share) for share in shares} == {n_batches(len(rows), 3 * batch_size)}
        assert min(len(batch) for share in shares for batch in share) > 0
        everything = np.concatenate([row for share in shares for row in share])
        assert np.array_equal(np.unique(everything), rows)
        # a device with fewer rows than mini-batches takes some twice
        assert len(everything) <= len(rows) + (len(rows) // 3 if batch_size == 1 else 0)


def test_few_cells_on_many_devices():
    rng = lambda: np.random.default_rng(0)  # noqa: E731
    shares = [
        rows_of_batches(shuffled(np.arange(300), 64, rng(), replica=r, n_replicas=8))
        for r in range(8)
    ]
    assert {len(share) for share in shares} == {1}
    assert np.array_equal(np.sort(np.concatenate([share[0] for share in shares])), np.arange(300))
    with pytest.raises(ValueError, match="3 cells are too few for 8 devices"):
        next(shuffled(np.arange(3), 64, rng(), n_replicas=8))


def test_order_is_random_and_new_at_each_pass():
    rng = np.random.default_rng(0)
    rows = np.arange(50_000)
    first, second = (np.concatenate(rows_of_batches(shuffled(rows, 512, rng))) for _ in range(2))
    assert not np.array_equal(first, second)
    # neighbours in the file land anywhere among the 256 blocks that are read with them
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.05


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(np.arange(100), id="sorted"),
        pytest.param(np.array([500, 3, 77, 3]), id="unsorted, one twice"),
        pytest.param(np.random.default_rng(0).integers(1_000, size=300), id="random"),
    ],
)
@pytest.mark.usefixtures("small_blocks")
def test_in_order_keeps_the_order(rows):
    batches = rows_of_batches(in_order(rows, 7))
    assert len(batches) == n_batches(len(rows), 7)
    assert np.array_equal(np.concatenate(batches), rows)
    assert {len(batch) for batch in batches[:-1]} <= {7}


def test_rows_far_apart_are_read_apart():
    assert covering(np.array([1, 2, 9, 500])) == [slice(1, 10), slice(500, 501)]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("step", [1, 10, 100])
def test_few_rows_are_held_at_once_however_far_apart(step):
    rows = np.arange(0, 100 * step, step)
    requests = list(in_order(rows, 4))
    assert np.array_equal(np.concatenate(rows_of_batches(requests)), rows)
    for request in requests:
        assert len(request.rows) <= 8 * 4 or len(request.batches) == 1
