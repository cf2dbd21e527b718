"""Next best actions written to the store: once, on the disk, counted by caps and pacing, told, and erased."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys.lake.store import Lake
from serving.answers import Answers
from serving.application import REQUEST_ID
from serving.day import Clock
from serving.next_action import NextAction
from serving.online import consent, customer, erasure
from serving.questions import decide
from serving.store import Store
from serving.store.load import load
from tests.conftest import ROOT, SmallBank, called
from tests.serving.store.conftest import Place


@pytest.fixture(scope="module")
def prices(small_bank: SmallBank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prices")
    plan = yaml.safe_load((ROOT / "docs" / "campaign_plan.yaml").read_text()) | {"budget": 40_000, "holdout": 0}
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    words = (str(folder / "plan.yaml"), str(small_bank.bundle), str(small_bank.lake), str(folder / "out"))
    called("campaign", "plan", *words)
    return folder / "out" / "prices.json"


@pytest.fixture(scope="module")
def begun(place: Place, small_bank: SmallBank) -> str:
    name = place.empty()
    load(str(small_bank.bundle), str(small_bank.lake), name, threads=1)
    return name


class Bank:
    """Workers on one store, at one moment of the bank's time."""

    def __init__(self, name: str, bank: SmallBank, prices: Path) -> None:
        self.name, self.bank, self.prices = name, bank, prices
        self.now = datetime(2025, 1, 2, 10)
        self.opened: list[Store] = []

    def worker(self, clock: bool = True) -> Answers:
        self.opened.append(Store.open(self.name))
        found = Answers.open(
            self.bank.bundle, None, None, None, self.opened[-1], Clock(lambda: self.now) if clock else None
        )
        found.next_action = NextAction.open(self.prices, found.bundle, 2)
        return found


@pytest.fixture
def bank(begun: str, place: Place, small_bank: SmallBank, prices: Path) -> Any:
    made = Bank(place.copy(begun), small_bank, prices)
    yield made
    for store in made.opened:
        store.close()


def ask(worker: Answers, customer_id: str, request_id: str = "r1") -> dict[str, Any]:
    REQUEST_ID.set(request_id)
    try:
        return decide(worker, json.dumps({"customer_id": customer_id}).encode(), {})["next_best_action"]
    finally:
        REQUEST_ID.set("")


def kept(worker: Answers, customer_id: str) -> list[dict[str, Any]]:
    return customer(worker, b"", {"id": customer_id})["decisions"]


def contacted(worker: Answers, bank: Bank, wanted: Callable[[dict[str, Any]], bool]) -> tuple[str, dict[str, Any]]:
    """A customer whom a trial question would contact, and the answer of a first real one."""
    for customer_id in Lake.open(bank.bank.lake).bucket(0)["customers"]["customer_id"].unique().sort():
        if wanted(ask(worker, customer_id, "")):
            return customer_id, ask(worker, customer_id)
    raise AssertionError("nobody is contacted like that")


def by(channel: str) -> Callable[[dict[str, Any]], bool]:
    return lambda told: [one["channel"] for one in told["actions"]] == [channel]


def test_a_decision_is_written_once_and_told(bank: Bank) -> None:
    one, other = bank.worker(), bank.worker()
    customer_id, told = contacted(one, bank, by("email"))
    (row,) = kept(other, customer_id)
    assert row["decision_id"] == told["decision_id"] and row["propensity"] == told["propensity"]
    assert row["action"] == told["actions"][0]["action"] and row["product_id"] == told["actions"][0]["product_id"]
    assert row["bundle_id"] == one.bundle.bundle_id and row["prices"] == told["prices"] and row["request_id"] == "r1"
    assert row["at"] == bank.now.isoformat()
    bank.now += timedelta(hours=3)
    assert ask(other, customer_id, "r2") == told, "today's decision stands, whichever worker is asked"
    assert kept(one, customer_id) == [row]
    untold = contacted(one, bank, lambda told: not told["actions"] and told["propensity"] is not None)[0]
    assert [row["action"] for row in kept(one, untold)] == ["none"]


def test_a_trial_writes_nothing(bank: Bank) -> None:
    worker = bank.worker()
    for customer_id in Lake.open(bank.bank.lake).bucket(0)["customers"]["customer_id"].unique().sort().head(20):
        assert "decision_id" not in ask(worker, customer_id, "")
        assert kept(worker, customer_id) == []


def test_a_decided_contact_rests_its_channel(bank: Bank) -> None:
    worker = bank.worker()
    customer_id, told = contacted(worker, bank, by("email"))
    bank.now += timedelta(days=1)
    after = ask(bank.worker(), customer_id)
    assert "email" not in [one["channel"] for one in after["actions"]], "seven days of rest after an e-mail"
    bank.now += timedelta(days=8)
    again = ask(bank.worker(), customer_id)
    assert again.get("decision_id") not in (None, told["decision_id"])


def test_a_withdrawn_consent_ends_what_stood(bank: Bank) -> None:
    worker = bank.worker()
    customer_id, told = contacted(worker, bank, by("email"))
    body = json.dumps({"purpose": "marketing", "channel": None, "granted": False}).encode()
    consent(worker, body, {"id": customer_id})
    after = ask(bank.worker(), customer_id)
    assert after["actions"] == [] and after["reason"].startswith("no consent")
    assert [row["decision_id"] for row in kept(worker, customer_id)] == [after["decision_id"], told["decision_id"]]


def test_workers_and_restarts_agree_on_what_is_spent(bank: Bank) -> None:
    one, other = bank.worker(), bank.worker()
    ids = Lake.open(bank.bank.lake).bucket(0)["customers"]["customer_id"].unique().sort().head(40).to_list()
    told = [ask(one if place % 2 else other, customer_id) for place, customer_id in enumerate(ids)]
    spent = sum(action["cost"] for answer in told for action in answer["actions"])
    assert spent > 0 and one.next_action is not None and one.next_action.prices.limits[0].name == "budget"
    assert spent <= one.next_action.prices.limits[0].limit

    def state() -> dict[str, Any]:
        from serving.store.decisions import made

        found = made(bank.opened[0], ids[0], told[0]["prices"]).pacing
        assert found is not None
        return found

    assert state()["used"][0] == pytest.approx(spent)
    before = state()
    assert [ask(bank.worker(), ids[0])["actions"]] == [told[0]["actions"]] and state() == before, "a restart"


def test_what_is_used_up_is_not_written(bank: Bank) -> None:
    worker = bank.worker()
    customer_id, _ = contacted(worker, bank, by("email"))
    assert worker.next_action is not None
    whole = worker.next_action.spend.whole
    whole.limit = whole.limit * 0.0
    others = Lake.open(bank.bank.lake).bucket(0)["customers"]["customer_id"].unique().sort().to_list()
    told = {other: ask(worker, other) for other in others[:30] if other != customer_id}
    full = [other for other, answer in told.items() if "used up" in answer["reason"]]
    assert full and all(kept(worker, other) == [] for other in full)
    assert all(not answer["actions"] for answer in told.values())


def test_erasure_takes_the_decisions_along(bank: Bank) -> None:
    worker = bank.worker(clock=False)
    customer_id, told = contacted(worker, bank, lambda told: bool(told["actions"]))
    assert kept(worker, customer_id)[0]["at"] == "2024-12-31T23:59:59", "just before the day that is fixed"
    erasure(worker, b"", {"id": customer_id})
    with bank.opened[0].reads() as connection:
        from serving.store import schema

        rows = connection.execute(schema.events.select()).all()
    assert not any(customer_id in str(row) for row in rows) and told["decision_id"] not in str(rows)
