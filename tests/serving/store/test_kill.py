"""A worker and the whole server killed under write load: the short form of `benchmarks.chaos`."""

from pathlib import Path

import pytest

from benchmarks import chaos
from recsys.lake.store import Lake
from serving.store.load import load
from tests.ports import free_port
from tests.serving.conftest import environment


def test_no_acknowledged_event_is_lost_or_counted_twice(
    small_bundle: Path, small_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    name = str(tmp_path / "state.db")
    load(str(small_bundle), str(small_lake), name, threads=1)
    service = chaos.Service(small_bundle, name, free_port(), tmp_path)
    found = chaos.run(service, Lake.open(small_lake), 2, lambda done, total, what: None)
    assert (found.lost, found.counted_twice, found.refused) == (0, 0, [])
    assert found.acknowledged >= chaos.WRITERS and found.sent_again
    assert len(found.back_after_worker) == len(found.back_after_all) == 1
