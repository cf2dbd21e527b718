"""Ray's workers write what one process writes, to the byte, also when one of them is killed in the middle."""

import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import polars as pl
import pytest
import yaml

from recsys.bundle import Bundle
from recsys.campaigns.plan import CampaignPlan
from recsys.errors import ConfigError
from recsys.lake.store import Lake
from serving.batch import run_batch
from serving.campaign_job import open_job
from serving.campaign_plan import make_plan
from serving.engine import Engines, engine_of
from serving.score import recommending_all, score
from serving.store import Store
from serving.store.decisions import keep
from serving.store.load import load
from tests.conftest import ROOT, SmallBank, called
from tests.serving.killing import killing
from tests.serving.ruled_bank import ruled_lake, write_rules

ASK = partial(recommending_all, top=5, diversity=None, rules=None, rules_file="", threads=1)


def content(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """One Ray of two processes for this module."""
    if importlib.util.find_spec("ray") is None:
        if os.environ.get("CI"):
            pytest.fail("ray is missing; make environment installs it")
        pytest.skip("needs the extra cluster")
    from serving.engine_ray import started

    with started(workers=2, address=None, threads=1):
        yield


def test_the_files_are_those_of_one_process(
    ray_here: None, small_bundle: Path, small_lake: Path, tmp_path: Path
) -> None:
    ruled = ruled_lake(Lake.open(small_lake), tmp_path / "lake")
    rules = write_rules(tmp_path / "rules.yaml")
    score(small_bundle, ruled.path, tmp_path / "here", rules=rules, threads=1)
    seen: list[tuple[int, int]] = []
    there = tmp_path / "there"
    engine = engine_of(Engines.ray, 2, None, 1)
    score(
        small_bundle,
        ruled.path,
        there,
        rules=rules,
        threads=1,
        engine=engine,
        progress=lambda done, total, what: seen.append((done, total)),
    )
    assert content(there) == content(tmp_path / "here")
    assert seen == [(done, ruled.buckets) for done in range(ruled.buckets + 1)]


def test_the_bucket_of_a_worker_that_was_killed_is_redone(
    ray_here: None, small_bundle: Path, small_lake: Path, tmp_path: Path
) -> None:
    bundle = Bundle.load(small_bundle)
    run_batch(bundle, ASK, small_lake, tmp_path / "here")
    marker = tmp_path / "killed"
    engine = killing(engine_of(Engines.ray, 2, None, 1), "C0123", marker)
    run_batch(bundle, ASK, small_lake, tmp_path / "there", engine=engine)
    assert int(marker.read_text()) != os.getpid()
    assert content(tmp_path / "there") == content(tmp_path / "here")


def test_everything_else_is_answered_there_too(
    ray_here: None, whole_bank: SmallBank, staying_bank: SmallBank, tmp_path: Path
) -> None:
    lake, bundle = str(whole_bank.lake), str(whole_bank.bundle)
    own, left = str(staying_bank.lake), str(staying_bank.bundle)
    for name, more in (("here", []), ("there", ["--engine", "ray", "--workers", "2"])):
        options = ["--threads", "1", *more]
        called("segments", "assign", bundle, "--lake", lake, "--out", str(tmp_path / f"{name}-segments"), *options)
        called("churn", "score", left, own, str(tmp_path / f"{name}-churn"), *options)
        called("embed", bundle, lake, str(tmp_path / f"{name}-embed"), *options)
        called("features", bundle, lake, str(tmp_path / f"{name}-features"), *more)
    for what in ("segments", "churn", "embed", "features"):
        assert content(tmp_path / f"there-{what}") == content(tmp_path / f"here-{what}")


def test_a_plan_has_the_same_files_when_a_worker_was_killed_and_a_store_knows_of_contacts(
    ray_here: None, small_bank: SmallBank, tmp_path: Path
) -> None:
    file, bundle, lake = ROOT / "docs" / "campaign_plan.yaml", str(small_bank.bundle), str(small_bank.lake)
    state, there, marker = str(tmp_path / "state.db"), tmp_path / "there", tmp_path / "killed"
    load(bundle, lake, state, threads=1)
    ids = Lake.open(lake).read("customers")["customer_id"].unique().sort().to_list()
    _contact(state, ids[::2])
    called("campaign", "plan", str(file), bundle, lake, str(tmp_path / "here"), "--threads", "1", "--store", state)
    plan = CampaignPlan.model_validate(yaml.safe_load(file.read_text()))
    job = open_job(plan, bundle, lake, there, None, None, store=state)
    engine = killing(engine_of(Engines.ray, 2, None, 1), ids[7], marker)
    told = make_plan(job, 4 << 30, 1, lambda done, total, what: None, engine)
    assert int(marker.read_text()) != os.getpid()
    assert told["store"]["decisions"] == len(ids[::2])
    here = content(tmp_path / "here")
    assert {"bucket=0001.parquet", "plan.html", "plan.json", "prices.json"} <= set(here)
    assert content(there) == here
    called_up = set(pl.read_parquet(there / "bucket=*.parquet").filter(pl.col("channel") == "phone")["customer_id"])
    assert called_up and not called_up & set(ids[::2]), "30 days of rest after a call"


def _contact(state: str, ids: list[str]) -> None:
    """Have it stand in a store that /decide contacted these customers by phone, the day before the plan's."""
    store, at = Store.open(state), datetime(2024, 12, 31, 12)
    for customer_id in ids:
        made = {"decision_id": customer_id, "customer_id": customer_id, "at": at, "prices": "P"}
        keep(store, {**made, "actions": [{"channel": "phone"}]}, at)
    store.close()


def test_an_error_of_a_bucket_is_told_as_it_is_here(
    ray_here: None, small_bundle: Path, small_lake: Path, tmp_path: Path
) -> None:
    engine = engine_of(Engines.ray, 2, None, 1)
    assert engine is not None
    with pytest.raises(ConfigError, match=re.escape("is read in at most 1,024 parts; give at least")):
        score(small_bundle, small_lake, tmp_path / "out", memory=(1 << 30) + 10, engine=engine)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_options_of_another_engine_and_an_absent_package_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine_of(Engines.local, None, None, 1) is None
    with pytest.raises(ConfigError, match="--workers: belongs to --engine ray"):
        engine_of(Engines.local, 2, None, 1)
    with pytest.raises(ConfigError, match="--address: belongs to --engine ray"):
        engine_of(Engines.local, None, "x:1", 1)
    monkeypatch.delitem(sys.modules, "serving.engine_ray", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError) as missing:
        engine_of(Engines.ray, None, None, 1)
    assert missing.value.name == "ray"
