"""From a lake to a bundle and its judgement, end to end, on a small synthetic bank."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from recsys.__main__ import application
from recsys.bundle import Bundle
from recsys.errors import ConfigError, DataError
from recsys.features.examples import cuts
from recsys.lake.parts import MEMORY, PROGRAM, BucketReader, table_bytes
from recsys.lake.store import Lake, LakeWriter
from tests.conftest import ROOT, SmallBank
from tests.training.reconfigured import reconfigured
from training.config import load_config
from training.evaluate import evaluate, fit_baselines, membership, outcome_on_test
from training.fit import train
from training.preflight import preflight
from training.rows import copies

QUICK = [
    "threads=1",
    "training.epochs=1",
    "evaluation.snapshots=2",
    "adoption.epochs=1",
    "adoption.snapshots=6",
    "embedding=null",
    "churn=null",
    "segments=null",
]


def silent(done: int, total: int, what: str) -> None:
    """No progress."""


def test_the_same_lake_and_configuration_give_the_same_bundle(small_bank: SmallBank, tmp_path: Path) -> None:
    again = train(load_config("demo", QUICK), Lake.open(small_bank.lake), tmp_path, silent)
    assert again.name == small_bank.bundle.name
    assert Bundle.load(again).bundle_id == Bundle.load(small_bank.bundle).bundle_id
    assert not list(tmp_path.glob(".work-*"))


def test_a_small_budget_reads_in_parts_and_gives_the_same_bundle(small_bank: SmallBank, tmp_path: Path) -> None:
    lake = Lake.open(small_bank.lake)
    memory = PROGRAM + table_bytes(lake, 0) // 4 + 1
    assert BucketReader(lake, memory).count(0, copies(load_config("demo", QUICK).evaluation)) >= 8
    again = train(load_config("demo", QUICK), lake, tmp_path, silent, memory)
    assert Bundle.load(again).bundle_id == Bundle.load(small_bank.bundle).bundle_id


def test_a_sample_of_customers_gives_the_examples_and_the_report_says_so(small_bank: SmallBank, tmp_path: Path) -> None:
    lake = Lake.open(small_bank.lake)
    settings = [*QUICK, "training.customers=150", "adoption=null"]
    sampled, again = (
        Bundle.load(train(load_config("demo", settings), lake, tmp_path / str(memory), silent, memory))
        for memory in (MEMORY, PROGRAM + table_bytes(lake, 0) // 4)
    )
    assert again.bundle_id == sampled.bundle_id, "parts do not change who is chosen"
    reports = [json.loads(b.read("report/metrics.json")) for b in (Bundle.load(small_bank.bundle), sampled)]
    assert [report["share_of_customers"] for report in reports] == [1.0, 0.5]
    whole, half = (report["train_examples"] for report in reports)
    assert 0.3 * whole < half < 0.7 * whole
    assert any("50.0% of the customers" in line for line in preflight(load_config("demo", settings), lake))


def test_a_killed_training_goes_on_and_gives_the_undisturbed_bundle(small_bank: SmallBank, tmp_path: Path) -> None:
    settings = [*QUICK, "training.epochs=3", "adoption=null"]
    undisturbed = train(load_config("demo", settings), Lake.open(small_bank.lake), tmp_path / "calm", silent)
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "recsys", "train", "demo", "--lake", str(small_bank.lake), "--out", str(out)]
    command += [word for key in settings for word in ("--set", key)]
    environment = {**os.environ, "POLARS_MAX_THREADS": "4"}  # where `make test` has one: the bundle is the same
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, **quiet)  # type: ignore[call-overload]
    deadline = time.monotonic() + 120
    while not list(out.glob(".work-*/checkpoints/last.ckpt")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert list(out.glob(".work-*/checkpoints/last.ckpt")) and not list(out.glob("demo-*")), "killed in the middle"
    finished = CliRunner().invoke(application(command[3:]), command[3:], catch_exceptions=False)
    assert Path(finished.stdout.splitlines()[-1]).name == undisturbed.name


def test_what_happens_after_the_validation_horizon_does_not_reach_the_bundle(
    small_bank: SmallBank, tmp_path: Path
) -> None:
    lake = Lake.open(small_bank.lake)
    cut = cuts(load_config("demo", QUICK).evaluation, lake.as_of)["test"][0]
    changed = tmp_path / "changed"
    _copy_with_another_future(lake, changed, cut)
    other = Lake.open(changed)
    assert other.as_of == lake.as_of
    first, second = (
        Bundle.load(small_bank.bundle),
        Bundle.load(train(load_config("demo", QUICK), other, tmp_path, silent)),
    )
    for part in ("features", "recommender", "parity", "adoption"):
        assert first.manifest["parts"][part]["hash"] == second.manifest["parts"][part]["hash"], part


def _copy_with_another_future(lake: Lake, out: Path, cut: date) -> None:
    """The same lake, but everything from `cut` on is shuffled among customers and products; the last day stays."""
    attributes = {name: lake.attributes(name) for name in ("customers", "products", "campaigns")}
    rng = np.random.default_rng(0)
    with LakeWriter(
        out, buckets=lake.buckets, currency=lake.currency, until=lake.until, attributes=attributes
    ) as writer:
        for name in sorted(lake.tables, key=lambda table: table != "account_holders"):
            rows = lake.read(name)
            if "at" in rows.columns:
                later = rows["at"] >= datetime(cut.year, cut.month, cut.day)
                future = rows.filter(later)
                if name == "interactions":
                    ids, products = lake.read("customers")["customer_id"], lake.read("products")["product_id"]
                    future = future.with_columns(
                        customer_id=pl.Series(rng.choice(ids.to_numpy(), future.height)),
                        product_id=pl.Series(rng.choice(products.to_numpy(), future.height)),
                        kind=pl.Series(rng.choice(["acquired", "viewed"], future.height)),
                    )
                elif "amount" in future.columns:
                    future = future.with_columns(pl.col("amount") * 7 + 13)
                rows = pl.concat([rows.filter(~later), future])
            writer.append(name, rows)


def test_evaluation_reports_every_model_with_intervals_and_paired_differences(small_bank: SmallBank) -> None:
    report = evaluate(Bundle.load(small_bank.bundle), Lake.open(small_bank.lake), silent)
    assert report["protocol"] == "temporal" and report["customers"] > 20
    assert set(report["models"]) == {"two_tower", "popularity", "popularity_by_group", "item_knn", "als", "ease"}
    assert set(report["differences"]) == set(report["models"]) - {"two_tower"}
    for metrics in report["models"].values():
        assert {"ndcg@10", "recall@10", "hr@1", "mrr"} <= set(metrics)
        for interval in metrics.values():
            assert 0 <= interval["low"] <= interval["value"] <= interval["high"] <= 1
    two_tower, als = (report["models"][name]["mrr"]["value"] for name in ("two_tower", "als"))
    assert report["differences"]["als"]["mrr"]["value"] == pytest.approx(two_tower - als)


def test_json_is_one_object_and_nothing_else_on_standard_output(small_bank: SmallBank) -> None:
    words = ["evaluate", str(small_bank.bundle), "--lake", str(small_bank.lake), "--json"]
    result = CliRunner().invoke(application(words), words, catch_exceptions=False)
    assert json.loads(result.stdout)["protocol"] == "temporal"


def test_no_result_of_a_single_customer_is_in_the_bundle(small_bank: SmallBank) -> None:
    ids = Lake.open(small_bank.lake).read("customers")["customer_id"].to_list()
    for path in small_bank.bundle.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(name.encode() in content for name in ids[:100]), path


def test_newcomers_are_learned_from_and_do_not_weaken_popularity(small_bank: SmallBank) -> None:
    lake, encoder = Lake.open(small_bank.lake), Bundle.load(small_bank.bundle).encoder
    counted = []
    for newcomers in ("true", "false"):
        config = load_config("demo", [f"evaluation.newcomers={newcomers}"])
        fitted, _, _, _ = fit_baselines(encoder, lake, config, ("popularity",), silent)
        counted.append(fitted["popularity"].scores(membership(pl.Series([[]], dtype=pl.List(pl.String)), encoder)))
    assert (counted[0] == counted[1]).all() and counted[0].max() > 0


def test_a_baseline_above_its_memory_is_reported_as_refused(small_bank: SmallBank, tmp_path: Path) -> None:
    bundle = reconfigured(Bundle.load(small_bank.bundle), tmp_path, ["evaluation.baseline_memory=1KiB"])
    outcome = outcome_on_test(bundle, Lake.open(small_bank.lake), silent)
    assert "ease" not in outcome.metrics and "memory" in outcome.refused["ease"]


def test_preflight_says_what_training_would_do(small_bank: SmallBank) -> None:
    said = "\n".join(preflight(load_config("demo", QUICK), Lake.open(small_bank.lake)))
    for word in ("2 buckets", "income (number)", "2024-10-01 for test", "by group: region", "test: about"):
        assert word in said


@pytest.mark.parametrize(
    ("override", "error", "named"),
    [
        ("evaluation.group=regoin", ConfigError, "regoin"),
        ("features.exclude=[incme]", ConfigError, "incme"),
        ("features.protected=[income]", ConfigError, "role feature"),
        ("training.metric=ndcg@7", ConfigError, "ndcg@7"),
        ("evaluation.horizon_days=3000", DataError, "horizon_days"),
    ],
)
def test_preflight_finds_what_would_fail(
    small_bank: SmallBank, override: str, error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        preflight(load_config("demo", [*QUICK, override]), Lake.open(small_bank.lake))


def test_a_lake_without_dates_refuses_the_temporal_protocol_before_training(tmp_path: Path) -> None:
    with LakeWriter(tmp_path / "lake", buckets=2) as writer:
        writer.append("customers", pl.DataFrame({"customer_id": ["a", "b"]}))
        writer.append("products", pl.DataFrame({"product_id": ["x", "y"]}))
        holds = {"customer_id": ["a", "b"], "product_id": ["x", "y"], "kind": ["holds", "holds"]}
        writer.append("interactions", pl.DataFrame(holds))
    with pytest.raises(DataError, match="hold_one_out"):
        preflight(load_config("demo", ["churn=null"]), Lake.open(tmp_path / "lake"))
