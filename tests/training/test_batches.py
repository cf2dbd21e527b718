"""An epoch meets every example once, in an order that files larger than memory can keep up with."""

import numpy as np
import pytest

from training.batches import SHARDS, Epochs


class Rows:
    """Examples that are their own row numbers."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def batch(self, rows: np.ndarray | slice) -> np.ndarray:
        return np.arange(self.count)[rows]


def batches(rows: int, size: int, window: int | None, epoch: int = 0) -> list[np.ndarray]:
    epochs = Epochs(Rows(rows), size, seed=3, window=window)
    epochs.epoch = lambda: epoch
    found = list(epochs)
    assert len(found) == len(epochs)
    return found


@pytest.mark.parametrize(("rows", "size", "window"), [(1000, 64, 200), (1000, 64, 10), (7, 64, 3), (4096, 64, 512)])
def test_every_example_comes_once_an_epoch_in_full_batches(rows: int, size: int, window: int) -> None:
    found = batches(rows, size, window)
    assert sorted(np.concatenate(found).tolist()) == list(range(rows))
    assert all(len(batch) == size for batch in found[:-1])


def test_what_fits_is_one_permutation_of_all() -> None:
    order = np.random.default_rng((3, 1)).permutation(1000)
    for window in (None, 1000, 5000):
        found = batches(1000, 64, window, epoch=1)
        expected = [np.sort(order[start : start + 64]) for start in range(0, 1000, 64)]
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_what_does_not_fit_is_read_a_few_shards_at_a_time_and_mixed_within() -> None:
    window = 1600
    found = batches(16_000, 100, window)
    shard = window // SHARDS
    for first in range(0, len(found), 16):
        read = np.concatenate(found[first : first + 16])
        assert len(np.unique(read // shard)) == SHARDS
    assert np.mean([len(np.unique(batch // shard)) for batch in found]) > 0.9 * SHARDS


def test_the_order_depends_on_the_epoch_and_on_nothing_before() -> None:
    first, again, second = (np.concatenate(batches(5000, 64, 800, epoch)) for epoch in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, second)
