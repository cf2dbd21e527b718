"""The same configuration judged at several cuts: each sees its past only, and a stopped run goes on."""

import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from recsys.__main__ import application
from recsys.bundle import Bundle
from recsys.errors import ConfigError
from recsys.lake.store import Lake, LakeWriter
from tests.conftest import SmallBank
from training.backtest import backtest, origins
from training.config import load_config
from training.evaluate import evaluate
from training.fit import train

QUICK = [
    "threads=1",
    "training.epochs=1",
    "evaluation.snapshots=2",
    "adoption=null",
    "churn=null",
    "embedding=null",
    "segments=null",
]
BASELINES = "evaluation.baselines=[popularity, ease]"


def silent(done: int, total: int, what: str) -> None:
    """No progress."""


def test_a_bundle_trained_until_a_day_equals_one_from_a_lake_that_ends_there(
    small_bank: SmallBank, tmp_path: Path
) -> None:
    lake, day = Lake.open(small_bank.lake), date(2024, 10, 1)
    moved = load_config("demo", [*QUICK, BASELINES, f"evaluation.until={day}"])
    ended = _until(lake, tmp_path / "ended", day)
    assert ended.as_of == day
    first = Bundle.load(train(moved, lake, tmp_path, silent))
    second = Bundle.load(train(load_config("demo", [*QUICK, BASELINES]), ended, tmp_path, silent))
    for part in ("recommender", "parity"):
        assert first.manifest["parts"][part]["hash"] == second.manifest["parts"][part]["hash"], part
    assert first.read("encoder.json") == second.read("encoder.json")
    judged = [evaluate(one, where, silent) for one, where in ((first, lake), (second, ended))]
    assert judged[0]["models"] == judged[1]["models"] and judged[0]["customers"] == judged[1]["customers"]


@dataclass(frozen=True)
class Stopped:
    """A backtest of two origins that was stopped at the second, and what the same one then gave."""

    first: dict[Path, int]
    """The files of the first origin's bundle as they were left, and when each was written."""
    report: dict[str, Any]
    progress: str


@pytest.fixture(scope="module")
def stopped(small_bank: SmallBank, tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    lake, out = Lake.open(small_bank.lake), tmp_path_factory.mktemp("backtest")
    at = origins(load_config("demo", [*QUICK, BASELINES]), lake, 2, None)

    def stop_at_the_second(done: int, total: int, what: str) -> None:
        if str(at[1].evaluation.until) in what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backtest(at, lake, out, stop_at_the_second)
    first = {path: path.stat().st_mtime_ns for path in out.glob("demo-*/*")}
    words = ["backtest", "demo", "--lake", str(small_bank.lake), "--out", str(out), "--origins", "2", "--json"]
    for key in (*QUICK, BASELINES):
        words += ["--set", key]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("recsys.progress.EVERY", 0.0)
        said = CliRunner().invoke(application(words), words, catch_exceptions=False)
    return Stopped(first, json.loads(said.stdout), said.stderr)


def test_each_origin_has_its_figures_and_the_spread_over_them(stopped: Stopped) -> None:
    said = stopped.report
    assert [one["until"] for one in said["origins"]] == ["2024-10-01", "2025-01-01"]
    values = [one["models"]["two_tower"]["ndcg@5"]["value"] for one in said["origins"]]
    spread = said["models"]["two_tower"]["ndcg@5"]
    assert spread["mean"] == pytest.approx(sum(values) / 2) and spread["min"] == min(values) < max(values)
    assert spread["sd"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert 0 <= said["differences"]["ease"]["mrr"]["ahead"] <= 2
    assert all(Path(one["bundle"]).is_dir() for one in said["origins"])


def test_a_stopped_backtest_goes_on_where_it_was(stopped: Stopped) -> None:
    (bundle,) = {path.parent for path in stopped.first}
    assert [Path(one["bundle"]) == bundle for one in stopped.report["origins"]] == [True, False]
    assert stopped.first == {path: path.stat().st_mtime_ns for path in bundle.glob("*")}, "not made again"
    assert "until 2025-01-01" in stopped.progress and "until 2024-10-01" not in stopped.progress


def test_what_cannot_be_moved_in_time_is_refused(small_bank: SmallBank) -> None:
    lake = Lake.open(small_bank.lake)
    with pytest.raises(ConfigError, match="temporal"):
        origins(load_config("demo", ["evaluation.protocol=hold_one_out"]), lake, 2, None)
    with pytest.raises(ConfigError, match="evaluation.until: 2030-01-01"):
        origins(load_config("demo", ["evaluation.until=2030-01-01"]), lake, 2, None)


def test_nothing_but_the_recommender_is_made_at_an_origin(small_bank: SmallBank) -> None:
    config = load_config("demo")
    parts = ("adoption", "churn", "embedding", "segments")
    assert all(getattr(config, part) is not None for part in parts)
    for one in origins(config, Lake.open(small_bank.lake), 2, None):
        assert one.recommender and not any(getattr(one, part) for part in (*parts, "uplift"))


def test_a_cut_before_the_data_begins_is_refused_before_anything_is_trained(
    small_bank: SmallBank, tmp_path: Path
) -> None:
    words = ["backtest", "demo", "--lake", str(small_bank.lake), "--out", str(tmp_path), "--origins", "60"]
    words += ["--stride", "365"]
    result = CliRunner().invoke(application(words), words)
    assert result.exit_code == 1 and "at the cut of 19" in str(result.exception)
    assert not list(tmp_path.iterdir())


def _until(lake: Lake, out: Path, day: date) -> Lake:
    """The same lake without anything dated on or after a day."""
    attributes = {name: lake.attributes(name) for name in ("customers", "products", "campaigns")}
    with LakeWriter(
        out, buckets=lake.buckets, currency=lake.currency, until=day - timedelta(days=1), attributes=attributes
    ) as writer:
        for name in sorted(lake.tables, key=lambda table: table != "account_holders"):
            rows = lake.read(name)
            writer.append(name, rows.filter(pl.col("at") < day) if "at" in rows.columns else rows)
    return Lake.open(out)
