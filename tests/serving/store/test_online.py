"""Events, consent and erasure as callers and other workers see them, on SQLite and on PostgreSQL."""

import json
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from recsys.errors import ConfigError
from recsys.lake.store import Lake
from serving.answers import Answers
from serving.day import Clock, clock_in
from serving.online import consent, customer, erasure, events
from serving.request import BadRequest
from serving.store import schema
from serving.store.customer import lift
from serving.store.load import load
from serving.store.store import Store
from tests.conftest import called
from tests.serving.store.conftest import Open, sqlite_files

WHO, JOINT = "C0000", "C0001"
"""Both hold account A0000."""


def said(value: object) -> bytes:
    return json.dumps(value).encode()


def post(answers: Answers, **tables: list[dict[str, Any]]) -> dict[str, Any]:
    return events(answers, said(tables), {})


def login(event_id: str, at: str, who: str = WHO) -> dict[str, Any]:
    return {"event_id": event_id, "customer_id": who, "kind": "login", "at": at}


def paid(event_id: str, at: str, **more: Any) -> dict[str, Any]:
    return {"event_id": event_id, "at": at, "amount": -50_000, **more}


def segment(answers: Answers, who: str = WHO) -> dict[str, Any]:
    return answers.segment(said({"customer_id": who}))


def gone(answers: Answers, who: str = WHO) -> bool:
    with pytest.raises(BadRequest) as refused:
        segment(answers, who)
    return refused.value.status == 404


def test_each_event_is_judged_alone_and_counts_once(state: Open) -> None:
    answers, lake = state.answers(), Lake.open(state.bank.lake)
    (known,) = lake.read("interactions").filter(pl.col("customer_id") == WHO).head(1).to_dicts()
    known = {n: v.isoformat() if isinstance(v, datetime) else v for n, v in known.items() if v is not None}
    sent = [
        login("new", "2025-06-01T08:00:00"),
        login("new", "2025-06-01T08:00:00"),
        login("late", "2024-02-01T08:00:00"),
        login("today", "2025-06-24T08:00:00"),
        login("tomorrow", "2025-06-25T08:00:00"),
        login("new", "2025-06-02T08:00:00"),
        known,
        {**known, "channel": "app"},
        login("stranger", "2025-06-01T08:00:00", "nobody"),
        {**login("product", "2025-06-01T08:00:00"), "kind": "acquired"},
        {"customer_id": WHO, "kind": "login", "at": "2025-06-01T08:00:00"},
        {**login("column", "2025-06-01T08:00:00"), "colour": "red"},
        "no row",
    ]
    answer = post(answers, interactions=sent)
    results = answer["results"]["interactions"]
    statuses = ["new", "repeated", "new", "new", "refused", "refused", "repeated", *["refused"] * 6]
    assert [result["status"] for result in results] == statuses
    assert (answer["new"], answer["repeated"], answer["refused"]) == (3, 2, 8)
    assert results[3]["counts_after"] == "2025-06-24" and "counts_after" not in results[0]
    fields = ["at", "event_id", "event_id", "customer_id", "product_id", "event_id", "colour", ""]
    refused = [result["field"] for result in results if result["status"] == "refused"]
    assert [field.partition("].")[2] for field in refused] == fields
    assert "--clock" in results[4]["reason"] and "other values" in results[5]["reason"]
    again = post(answers, interactions=sent[:4])
    assert (again["new"], again["repeated"]) == (0, 4)
    rows = customer(answers, b"", {"id": WHO})["rows"]["interactions"]
    assert sum(row["event_id"] in ("new", "late", "today") for row in rows) == 3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"interaction": []}, "interaction"),
        ({"decisions": []}, "decisions"),
        ({"interactions": {}}, "interactions"),
        ({"interactions": []}, "body"),
        ({"interactions": [{}] * 1001}, "body"),
    ],
)
def test_a_body_of_another_form_is_refused_whole(state: Open, body: object, field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        events(state.answers(), said(body), {})
    assert (refused.value.status, refused.value.field) == (422, field)


def test_an_event_that_one_worker_took_counts_in_the_next_answer_of_another(state: Open) -> None:
    one, other = state.answers(), state.answers()
    before = {who: segment(other, who) for who in (WHO, JOINT, "C0002")}
    assert post(one, transactions=[paid("t1", "2025-06-20T08:00:00", account_id="A0000")])["new"] == 1
    after = {who: segment(other, who) for who in before}
    assert after[WHO] != before[WHO] and after[JOINT] != before[JOINT]  # both hold the account
    assert after["C0002"] == before["C0002"]
    assert segment(one) == after[WHO] == segment(state.answers())


def test_exposures_outcomes_and_contacts_are_kept_as_sent(state: Open) -> None:
    answers, at = state.answers(), "2025-06-20T08:00:00"
    shown = {"exposure_id": "x", "customer_id": WHO, "at": at, "product_id": "P01", "propensity": 0.25}
    came = {"outcome_id": "o", "customer_id": WHO, "at": at, "product_id": "P01", "kind": "converted", "revenue": 900}
    met = {"contact_id": "c", "customer_id": WHO, "at": at, "campaign_id": "K1", "contacted": False}
    answer = post(answers, exposures=[shown, {**shown, "exposure_id": "y", "propensity": 0}], outcomes=[came])
    assert (answer["new"], answer["refused"]) == (2, 1)
    assert answer["results"]["exposures"][1]["field"] == "exposures[1].propensity"
    assert post(answers, contacts=[met])["new"] == 1
    rows = customer(answers, b"", {"id": WHO})["rows"]
    assert (rows["exposures"], rows["outcomes"]) == ([shown], [came])
    assert met in rows["contacts"]


def test_consent_is_a_history_of_which_the_last_counts(state: Open) -> None:
    answers = state.answers()

    def say(**fields: Any) -> dict[str, Any]:
        return consent(answers, said(fields), {"id": WHO})

    first = say(purpose="marketing", channel="email", granted=True)
    last = say(purpose="marketing", channel="email", granted=False)
    say(purpose="marketing", granted=True, at="2024-01-01T10:00:00")
    assert first["at"] < last["at"]
    found = customer(state.answers(), b"", {"id": WHO})
    assert len(found["rows"]["consents"]) == 3
    assert {(c["purpose"], c["channel"]): c["granted"] for c in found["consents"]} == {
        ("marketing", None): True,
        ("marketing", "email"): False,
    }
    for wrong, field in (({"granted": True}, "purpose"), ({"purpose": "x", "granted": 1}, "granted")):
        with pytest.raises(BadRequest) as refused:
            say(**wrong)
        assert refused.value.field == field
    with pytest.raises(BadRequest) as unknown:
        consent(answers, said({"purpose": "marketing", "granted": True}), {"id": "nobody"})
    assert unknown.value.status == 404


def everything(store: Store) -> str:
    """Every value of every table, as text."""
    with store.reads() as connection:
        return repr([connection.execute(sa.select(table)).all() for table in schema.metadata.sorted_tables])


def test_nothing_is_left_of_who_was_erased_and_no_worker_answers_for_them(state: Open) -> None:
    one, other = state.answers(), state.answers()
    segment(other)
    shared = segment(other, JOINT)
    post(one, interactions=[login("mine", "2025-06-20T08:00:00")])
    post(one, transactions=[paid("ours", "2025-06-20T08:00:00", account_id="A0000")])
    consent(one, said({"purpose": "marketing", "granted": True}), {"id": WHO})
    assert erasure(one, b"", {"id": WHO}) == {"customer_id": WHO, "erased": True}
    assert gone(other) and gone(one)
    assert erasure(one, b"", {"id": WHO})["erased"]
    rows = customer(other, b"", {"id": JOINT})["rows"]
    assert [row["customer_id"] for row in rows["account_holders"]] == [JOINT]
    assert segment(other, JOINT) != shared  # the account's payment still counts for who holds it now
    store = one.store
    assert store is not None
    assert "'C0000'" not in everything(store) and '"C0000"' not in everything(store) and "mine" not in everything(store)
    if store.engine.dialect.name == "sqlite":
        for opened in state.opened:
            opened.engine.dispose()
        store.forget_log()
        assert b"C0000" not in sqlite_files(state.name)


def test_who_was_erased_stays_away_until_they_are_let_in_again(state: Open) -> None:
    answers = state.answers()
    before = segment(answers)
    erasure(answers, b"", {"id": WHO})
    (result,) = post(answers, interactions=[login("e", "2025-06-20T08:00:00")])["results"]["interactions"]
    assert result["status"] == "refused" and "erased" in result["reason"]
    bundle, lake = str(state.bank.bundle), str(state.bank.lake)
    other = load(bundle, lake, state.name, as_of=Lake.open(lake).as_of - timedelta(days=1), threads=1)  # type: ignore[operator]
    assert (other.erased, other.customers) == (1, 599)
    assert gone(answers)
    assert called("state", "erased", state.name, lake) == [WHO], "by the lake's ids, since the store has hashes alone"
    assert lift(state.store(), WHO) and not lift(state.store(), WHO)
    assert load(bundle, lake, state.name, threads=1).customers == 600
    assert segment(answers) == before and called("state", "erased", state.name, lake) == []


def test_at_midnight_the_day_moves_and_what_happened_today_counts_at_once(state: Open) -> None:
    now = datetime(2025, 6, 24, 23, 59, 59)
    answers = state.answers(Clock(lambda: now))
    quiet = segment(answers)
    assert post(answers, interactions=[login("tonight", "2025-06-24T23:59:58")])["new"] == 1
    assert segment(answers) != quiet
    coming = post(answers, interactions=[login("tomorrow", "2025-06-25T00:00:01")])["results"]["interactions"][0]
    assert coming["counts_after"] == "2025-06-25"
    tonight = segment(answers)
    now += timedelta(seconds=2)
    assert segment(answers) != tonight
    fixed = Answers.open(state.bank.bundle, None, datetime(2025, 6, 26).date(), None, state.store())
    assert segment(answers) == segment(fixed)
    assert post(answers, interactions=[login("late", "2025-06-27T08:00:00")])["refused"] == 1


def test_a_clock_needs_a_store_a_zone_that_exists_and_no_day(state: Open) -> None:
    bundle, lake = state.bank.bundle, state.bank.lake
    with pytest.raises(ConfigError, match="--store"):
        Answers.open(bundle, lake, None, clock=clock_in("UTC"))
    with pytest.raises(ConfigError, match="Europe/Zurich"):
        clock_in("Mars/Olympus")
    with pytest.raises(ConfigError, match="one of them"):
        Answers.open(bundle, None, datetime(2025, 6, 1).date(), None, state.store(), clock_in("local"))
    today = Answers.open(bundle, None, None, None, state.store(), clock_in("UTC")).as_of
    assert today is not None and abs(today - datetime.now().date()) <= timedelta(days=2)


def test_without_a_store_the_endpoints_say_how_to_get_one(state: Open) -> None:
    answers = Answers.open(state.bank.bundle, state.bank.lake, None)
    with pytest.raises(BadRequest) as refused:
        post(answers, interactions=[login("e", "2025-06-20T08:00:00")])
    assert refused.value.status == 404 and "--store" in refused.value.message
