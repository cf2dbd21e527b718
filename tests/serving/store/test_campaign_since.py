"""A plan that knows what a store does: decided contacts count as made, and its allowed set is that of /decide."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa
import yaml

from recsys.campaigns.plan import CampaignPlan
from recsys.errors import DataError
from recsys.lake.store import Lake
from serving.answers import Answers
from serving.campaign_job import FOLDER, open_job
from serving.campaign_plan import valued
from serving.campaign_since import Since
from serving.decisions import Ledger
from serving.online import consent, erasure, events
from serving.store import StoreError, schema
from tests.conftest import SmallBank, called

# The bank with prices in force on a store; pytest finds these fixtures here by their names.
from tests.serving.store.test_decisions import Bank, ask, bank, begun, prices  # noqa: F401

DAY = "2025-01-04"
"""The day from which /decide sees customers on 3 January."""


def silent(done: int, total: int, what: str) -> None:
    pass


@pytest.fixture
def file(prices: Path, tmp_path: Path) -> Path:  # noqa: F811
    """The plan of the prices, but for its caps: one contact in 30 days, by whatever channel."""
    content = yaml.safe_load((prices.parent.parent / "plan.yaml").read_text())
    caps = {"contacts": 1, "window_days": 30, "in_window": 1}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(content | {"caps": caps}))
    return tmp_path / "plan.yaml"


def planned(file: Path, made: SmallBank, out: Path, *options: str) -> pl.DataFrame:
    called("campaign", "plan", str(file), str(made.bundle), str(made.lake), str(out), *options)
    return pl.read_parquet(out / "bucket=*.parquet")


def those(rows: pl.DataFrame) -> set[str]:
    return set(rows.filter(pl.col("action").is_not_null())["customer_id"])


def decided_about(bank: Bank, count: int = 24) -> set[str]:  # noqa: F811
    """Whom workers decided to contact, of the first customers."""
    worker = bank.worker()
    ids = Lake.open(bank.bank.lake).bucket(0)["customers"]["customer_id"].unique().sort().head(count)
    return {customer_id for customer_id in ids if ask(worker, customer_id)["actions"]}


def ask_held(worker: Answers, customer_id: str) -> tuple[str, ...]:
    assert worker.known is not None
    seen = worker.known.seen(customer_id, worker.as_of)
    assert seen is not None
    return seen.facts.holdings


def test_a_plan_leaves_alone_whom_decide_contacted(bank: Bank, file: Path, tmp_path: Path) -> None:  # noqa: F811
    decided = decided_about(bank)
    assert len(decided) > 3
    without = planned(file, bank.bank, tmp_path / "without", "--as-of", DAY)
    assert those(without) & decided, "the lake alone does not know"
    rows = planned(file, bank.bank, tmp_path / "with", "--as-of", DAY, "--store", bank.name)
    assert not those(rows) & decided and len(those(rows)) > 3
    why = rows.filter(pl.col("customer_id").is_in(decided))["reason"].unique().to_list()
    assert any("contacts" in reason for reason in why)
    told = json.loads((tmp_path / "with" / "plan.json").read_text())
    run = json.loads((tmp_path / "with" / ".run.json").read_text())
    assert told["store"] == run["store"] and run["store"]["name"] == bank.opened[0].name
    assert run["store"]["decisions"] >= len(decided) and run["store"]["last"] == "2025-01-02"
    assert any(f"{run['store']['decisions']:,} decisions" in note for note in told["notes"])
    assert not (tmp_path / "with" / FOLDER).exists()
    # Without a day the plan is seen from that after the last decision, so none of them is left out.
    assert not those(planned(file, bank.bank, tmp_path / "today", "--store", bank.name)) & decided
    assert json.loads((tmp_path / "today" / "plan.json").read_text())["as_of"] == "2025-01-03"
    early = planned(file, bank.bank, tmp_path / "early", "--as-of", "2025-01-02", "--store", bank.name)
    assert those(early) & decided
    assert "what is of 2025-01-02 or later does not count" in (tmp_path / "early" / "plan.json").read_text()


def test_the_plan_allows_and_values_what_decide_does(bank: Bank, prices: Path, tmp_path: Path) -> None:  # noqa: F811
    decided = sorted(decided_about(bank))
    worker = bank.worker()
    made, withdrew, gone, active = decided[:4]
    at = (bank.now + timedelta(hours=2)).isoformat()
    row = {"contact_id": "N1", "customer_id": made, "at": at, "channel": "phone", "contacted": True}
    lake = Lake.open(bank.bank.lake)
    row["campaign_id"] = lake.read("campaigns")["campaign_id"][0]
    holders = lake.read("account_holders").group_by("account_id")
    joint = holders.agg("customer_id").filter(pl.col("customer_id").list.n_unique() > 1).sort("account_id").row(0)
    acquires = next(p for p in worker.recommender.products if p not in ask_held(worker, active))
    sent = {
        "contacts": [row],
        "interactions": [
            {"event_id": "I1", "customer_id": active, "product_id": acquires, "kind": "acquired", "at": at},
            {"event_id": "I2", "customer_id": active, "product_id": acquires, "kind": "viewed", "at": at},
        ],
        "transactions": [{"event_id": "T1", "account_id": joint[0], "at": at, "amount": -1_234_500}],
    }
    told = events(worker, json.dumps(sent).encode(), {})
    assert told["refused"] == 0, told
    body = json.dumps({"purpose": "marketing", "channel": "email", "granted": False}).encode()
    consent(worker, body, {"id": withdrew})
    erasure(worker, b"", {"id": gone})
    bank.now = datetime(2025, 1, 3, 10)

    plan = CampaignPlan.model_validate(json.loads((prices.parent / ".run.json").read_text())["plan"])
    day = datetime.fromisoformat(DAY).date()
    job = open_job(plan, bank.bank.bundle, bank.bank.lake, tmp_path / "out", day, None, store=bank.name)
    for number in range(lake.buckets):
        tables = lake.bucket(number)
        ids = tables["customers"]["customer_id"].unique()
        came = Since.of(tmp_path / "out", lake).known(ids).joined(tables)["transactions"]
        assert (came["event_id"] == "T1").sum() == int(ids.is_in(joint[1]).any()), "once for all its holders"
    later = bank.worker()
    assert later.next_action is not None and later.known is not None
    ledger, compared = Ledger(bank.opened[-1], later.bundle.bundle_id, bank.now, "r"), 0
    for bucket in valued(job, 4 << 30, 1, None, silent):
        for place, customer_id in enumerate(bucket.ids):
            if customer_id not in {*decided, *joint[1]} and place % 8:
                continue
            seen = later.known.seen(customer_id, later.as_of)
            if seen is None:
                assert customer_id == gone and not bucket.allowed[:, place].any()
                continue
            before = ledger.of(customer_id, later.next_action.prices.version).before
            one = later.next_action._left(seen, later.as_of, None, before)
            assert (one.allowed[:, 0] == bucket.allowed[:, place]).all(), customer_id
            assert np.array_equal(one.part.values[:, 0], np.asarray(bucket.part.values)[:, place]), customer_id
            compared += 1
            if customer_id == active:
                assert acquires in seen.facts.holdings
    assert compared > 30


def test_a_run_that_was_begun_goes_on_from_the_store_as_it_was(
    bank: Bank,  # noqa: F811
    file: Path,
    tmp_path: Path,
) -> None:
    decided = decided_about(bank, 12)
    whole, out = tmp_path / "whole", tmp_path / "out"
    planned(file, bank.bank, whole, "--as-of", DAY, "--store", bank.name)
    plan, day = CampaignPlan.model_validate(yaml.safe_load(file.read_text())), datetime.fromisoformat(DAY).date()
    job = open_job(plan, bank.bank.bundle, bank.bank.lake, out, day, None, store=bank.name)
    assert job.store is not None and job.store["decisions"] >= len(decided)
    (out / FOLDER).rename(out / ".since.partial")  # as a process leaves it that is killed at the record
    decided_about(bank)
    for name in (path.name for path in whole.iterdir() if path.is_file()):
        assert name == ".run.json" or not (out / name).exists()
    planned(file, bank.bank, out, "--store", bank.name)
    for name in ("bucket=0000.parquet", "bucket=0001.parquet", "prices.json", "plan.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    with pytest.raises(DataError, match="another --store"):
        planned(file, bank.bank, out)


def test_a_store_of_other_customers_is_refused_and_leaves_nothing(
    bank: Bank,  # noqa: F811
    file: Path,
    tmp_path: Path,
) -> None:
    bank.worker()
    about = schema.about
    with bank.opened[0].writes() as connection:
        value = json.loads(connection.execute(sa.select(about.c.value).filter_by(name="lake")).scalar_one())
        changed: dict[str, Any] = {**value, "source": "another bank"}
        connection.execute(sa.update(about).filter_by(name="lake").values(value=json.dumps(changed)))
    with pytest.raises(StoreError, match="was loaded from 'another bank', and .* is 'synthetic'"):
        planned(file, bank.bank, tmp_path / "out", "--store", bank.name)
    assert not (tmp_path / "out").exists()
