"""Token buckets: how many pass, when the next may, and that workers count together."""

import multiprocessing
from pathlib import Path

import pytest

from serving import rate
from serving.rate import Buckets


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(rate, "time", made)
    return made


def test_a_burst_passes_then_the_rate(tmp_path: Path, clock: Clock) -> None:
    buckets = Buckets(tmp_path / "limits")
    taken = [buckets.take("key", rate=2, burst=3) for _ in range(4)]
    assert [t.allowed for t in taken] == [True, True, True, False]
    assert [t.left for t in taken] == [2, 1, 0, 0]
    assert taken[-1].wait == pytest.approx(0.5)
    clock.now += 0.49
    assert not buckets.take("key", 2, 3).allowed
    clock.now += 0.02
    assert buckets.take("key", 2, 3).allowed
    clock.now += 3600
    assert sum(buckets.take("key", 2, 3).allowed for _ in range(10)) == 3, "a bucket never holds more than a burst"


def test_keys_have_buckets_of_their_own_and_workers_share_them(tmp_path: Path, clock: Clock) -> None:
    one, other = Buckets(tmp_path / "limits"), Buckets(tmp_path / "limits")
    assert [b.take("a", 1, 2).allowed for b in (one, other, one)] == [True, True, False]
    assert other.take("b", 1, 2).allowed


def test_more_keys_than_slots_are_counted_without_failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "SLOTS", 4)
    buckets = Buckets(tmp_path / "limits")
    assert all(buckets.take(f"key{i}", 0.001, 1).allowed for i in range(50))
    assert not buckets.take("key49", 0.001, 1).allowed


def _ask(path: Path, passed: "multiprocessing.Queue[int]") -> None:
    buckets = Buckets(path)
    passed.put(sum(buckets.take("key", 0.001, 100).allowed for _ in range(200)))


def test_processes_that_ask_at_once_pass_a_burst_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    passed: multiprocessing.Queue[int] = context.Queue()
    workers = [context.Process(target=_ask, args=(tmp_path / "limits", passed)) for _ in range(3)]
    for worker in workers:
        worker.start()
    total = sum(passed.get(timeout=30) for _ in workers)
    for worker in workers:
        worker.join(30)
    assert total == 100
