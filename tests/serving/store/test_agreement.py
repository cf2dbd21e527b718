"""Batch and online agree to the last bit for the same events, and a later load lets go of what the lake has by then."""

import json
import random
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa

from recsys.bundle import Bundle
from recsys.lake.append import append
from recsys.lake.contract import TABLES
from recsys.lake.store import Lake
from recsys.lake.update import LakeUpdate
from serving.answers import Answers
from serving.assign import assign
from serving.churn import score_churn
from serving.online import events
from serving.score import score
from serving.store import Store, schema
from serving.store.load import load
from tests.conftest import SmallBank
from tests.once import made_once
from tests.serving.small_bank import write_small_lake
from tests.serving.store.conftest import Open, Place
from training.config import parse_config
from training.fit import train

CUSTOMERS, EVENTS = 40, 160


def said(value: object) -> bytes:
    return json.dumps(value).encode()


def read(out: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted(out.glob("bucket=*.parquet"))])


def random_events(seed: int, lake: Lake) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of few customers, late and recent, some of the day that does not count yet."""
    draw = random.Random(seed)
    assert lake.as_of is not None
    ids = lake.read("customers")["customer_id"].sort().to_list()[:CUSTOMERS]
    accounts = lake.read("account_holders").filter(pl.col("customer_id").is_in(ids))["account_id"].sort().to_list()
    products = lake.read("products")["product_id"].to_list()
    end = datetime.combine(lake.as_of, datetime.min.time()) + timedelta(hours=12)
    for number in range(EVENTS):
        ago = timedelta(minutes=draw.choice([draw.randrange(2_000), draw.randrange(700_000)]))
        row = {"customer_id": draw.choice(ids), "at": (end - ago).isoformat()}
        kind = draw.choice(["interactions", "transactions", "transactions", "contacts"])
        if kind == "interactions":
            what = draw.choice(["acquired", "acquired", "closed", "viewed", "login"])
            row |= {"event_id": f"n{number}", "kind": what}
            row |= {"product_id": draw.choice(products)} if what != "login" else {}
        elif kind == "transactions":
            owner = {"account_id": draw.choice(accounts)} if draw.random() < 0.7 else {"customer_id": draw.choice(ids)}
            row = {"event_id": f"n{number}", "at": row["at"], "amount": draw.randrange(-90_000, 90_000), **owner}
            row |= {"category": draw.choice(["food", "rent", "other"])} if draw.random() < 0.8 else {}
        else:
            row |= {"contact_id": f"n{number}", "campaign_id": "K1", "channel": "mail", "contacted": True}
        yield kind, row


def grown(lake: Path, sent: list[tuple[str, dict[str, Any]]], to: Path) -> Lake:
    """The lake with the same rows appended."""
    shutil.copytree(lake, to)
    opened = Lake.open(to)
    frames = {}
    for name in {name for name, _ in sent}:
        schema_ = opened.schema(name)
        rows = [{column: row.get(column) for column in schema_} for table, row in sent if table == name]
        frame = pl.DataFrame(rows, schema={c: pl.String if c == "at" else t for c, t in schema_.items()})
        frames[name] = frame.with_columns(pl.col("at").str.to_datetime(time_unit="us"))
    with LakeUpdate(to) as update:
        append(update, {name: frames[name] for name in TABLES if name in frames}, opened.until)
    return Lake.open(to)


def post_in_disorder(answers: Answers, sent: list[tuple[str, dict[str, Any]]], seed: int) -> None:
    """In shuffled batches, some events more than once."""
    draw = random.Random(seed)
    queue = sent + draw.sample(sent, len(sent) // 4)
    draw.shuffle(queue)
    for start in range(0, len(queue), 7):
        tables: dict[str, list[dict[str, Any]]] = {}
        for name, row in queue[start : start + 7]:
            tables.setdefault(name, []).append(row)
        assert events(answers, said(tables), {})["refused"] == 0


def online(answers: Answers, ids: list[str]) -> dict[str, Any]:
    return {i: answers.recommend({"customer_id": i}) for i in ids}


def test_recommendations_and_segments_are_those_of_a_lake_with_the_same_rows(state: Open, tmp_path: Path) -> None:
    seed = 1
    lake = Lake.open(state.bank.lake)
    sent = list(random_events(seed, lake))
    answers = state.answers()
    ids = lake.read("customers")["customer_id"].sort().to_list()[: CUSTOMERS + 5]
    before = online(answers, ids)  # so that there is something in memory to become stale
    post_in_disorder(answers, sent, seed)
    found = online(state.answers(), ids)
    assert sum(found[i] != before[i] for i in ids) > CUSTOMERS / 2
    assert online(answers, ids) == found
    later = grown(state.bank.lake, sent, tmp_path / "lake")
    score(state.bank.bundle, later.path, tmp_path / "scores", as_of=lake.as_of)
    assign(state.bank.bundle, later.path, tmp_path / "segments", as_of=lake.as_of)
    scored, placed = read(tmp_path / "scores"), read(tmp_path / "segments")
    for customer_id, answer in found.items():
        rows = scored.filter(pl.col("customer_id") == customer_id)
        assert [item["product_id"] for item in answer["items"]] == rows["product_id"].to_list()
        values = np.array([item["score"] for item in answer["items"]])
        assert np.array_equal(values, rows["score"].to_numpy().astype(np.float64))
        (place,) = placed.filter(pl.col("customer_id") == customer_id).to_dicts()
        assert answer["segment"] == {"id": place["segment_id"], "name": place["segment"], "distance": place["distance"]}
        assert answer["unusual"] == (place["unusual_features"] if place["unusual"] else None)
    loaded = load(str(state.bank.bundle), later.path, state.name, as_of=lake.as_of, threads=1)
    assert not loaded.already and loaded.customers == 600
    store = state.store()
    with store.reads() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(schema.events)).scalar_one() == 0
    assert online(state.answers(), ids) == found
    post_in_disorder(answers, sent, seed)  # repeated, though the store has let go of them
    assert online(answers, ids) == found


@pytest.fixture(scope="session")
def quiet_bank(tmp_path_factory: pytest.TempPathFactory) -> SmallBank:
    """The small bank, and a bundle that says who will be quiet for long, and when."""
    bundle = made_once("quiet_bank", tmp_path_factory, _make_quiet_bank)
    return SmallBank(bundle.parent.parent / "lake", bundle)


def _make_quiet_bank(folder: Path) -> Path:
    lake = write_small_lake(folder / "lake")
    churn = {
        "rule": {"inactive_days": 40},
        "models": {"candidates": ["logistic"]},
        "survival": {"trees": 10, "learning_rate": 0.1, "least_in_leaf": 30, "stayed": 5},
    }
    config = parse_config({"name": "quiet", "threads": 1, "recommender": False, "churn": churn}, "the test")
    return train(config, lake, folder / "bundles", lambda done, total, what: None)


def test_churn_and_survival_are_those_of_a_lake_with_the_same_rows(
    place: Place, quiet_bank: SmallBank, tmp_path: Path
) -> None:
    name, lake = place.empty(), Lake.open(quiet_bank.lake)
    load(str(quiet_bank.bundle), str(quiet_bank.lake), name, threads=1)
    store = Store.open(name)
    answers = Answers.open(quiet_bank.bundle, None, None, None, store)
    ids = lake.read("customers")["customer_id"].sort().to_list()[:CUSTOMERS]
    before = {i: answers.churn({"customer_id": i, "reasons": 0}) for i in ids}
    sent = list(random_events(3, lake))
    post_in_disorder(answers, sent, 3)
    later = grown(quiet_bank.lake, sent, tmp_path / "lake")
    score_churn(quiet_bank.bundle, later.path, tmp_path / "churn", as_of=lake.as_of)
    scored = {row["customer_id"]: row for row in read(tmp_path / "churn").to_dicts()}
    changed = 0
    for customer_id in ids:
        answer, row = answers.churn({"customer_id": customer_id, "reasons": 0}), scored[customer_id]
        assert [answer[n] for n in ("standing", "probability", "tier")] == [
            row[n] for n in ("standing", "probability", "tier")
        ]
        assert answer["act"] == bool(row["act"])
        told = {n: row[f"survival_{n}"] for n in answer["survival"] or ()}
        assert told == (answer["survival"] or {}) and bool(told) == (answer["standing"] == "customer")
        changed += answer != before[customer_id]
    assert changed > CUSTOMERS / 2
    store.close()


def test_what_is_stored_comes_back_to_the_last_bit(state: Open) -> None:
    from recsys.features.features import row_schema
    from serving.seen import seen_from, stored

    answers = state.answers()
    definition = Bundle.load(state.bank.bundle).definition
    store = answers.store
    assert store is not None
    for customer_id in ("C0000", "C0001", "C0099"):
        found = store.rows_of(customer_id)
        assert found is not None
        tables = {**answers.customers.bank.tables, **found[1]}
        (seen,) = answers.sight.see(tables, [customer_id], answers.as_of)
        again = seen_from(stored(seen), definition, lambda: {})
        assert seen.rows.schema == row_schema(definition)
        assert again.rows.equals(seen.rows) and again.facts == seen.facts
        assert again.vectors is not None and np.array_equal(again.vectors, seen.vectors)  # type: ignore[arg-type]
        looked = store.look(customer_id, answers.bundle.bundle_id, answers.as_of, None)
        assert looked is not None and looked.stored == stored(seen)
