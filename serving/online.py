"""The endpoints of the online state: events in, one customer's data out, consent, erasure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from recsys.lake.contract import TABLES
from serving.answers import Answers
from serving.customer_data import read_value
from serving.customers import reached
from serving.incoming import read_events, told
from serving.metrics import stage
from serving.request import BadRequest, kind_of, nearest, read_fields, read_id
from serving.store import Store
from serving.store.customer import Consent, erase, known_of, put_consent, was_erased
from serving.store.event_rows import EventRow
from serving.store.take import take

CONSENT = ("purpose", "channel", "granted", "at")
"""Fields of PUT /customers/{id}/consent."""


def events(answers: Answers, body: bytes, path: Mapping[str, str]) -> dict[str, Any]:
    """The answer to POST /events: for each event new, repeated or refused; what is new is on the disk by then."""
    store, day = _store(answers), answers.as_of
    sent = read_events(read_fields(body), answers.customers.contract, day)
    places = [i for i, row in enumerate(sent) if isinstance(row.event, EventRow)]
    with reached(), stage("store"):
        results = take(store, [row.event for row in sent if isinstance(row.event, EventRow)], _received())
    return told(sent, dict(zip(places, results, strict=True)), day)


def customer(answers: Answers, body: bytes, path: Mapping[str, str]) -> dict[str, Any]:
    """The answer to GET /customers/{id}: all that is stored, and where the bundle sees them."""
    store, customer_id = _store(answers), read_id(path["id"], "id")
    day = answers.as_of
    with reached(), stage("store"):
        known = known_of(store, customer_id)
        seen = answers.known.seen(customer_id, day) if answers.known and known is not None else None
    if known is None or seen is None:
        raise _nobody()
    about: dict[str, Any] = {"customer_id": customer_id, "as_of": day.isoformat() if day else None}
    facts = seen.facts
    if facts.segment is not None:
        about["segment"] = {"id": facts.segment.id, "name": facts.segment.name, "distance": facts.segment.distance}
    if facts.leaving is not None:
        about["leaving"] = dict(facts.leaving)
    return {**about, "holdings": list(facts.holdings), **known}


def consent(answers: Answers, body: bytes, path: Mapping[str, str]) -> dict[str, Any]:
    """The answer to PUT /customers/{id}/consent: what is on the disk now, and counts from the next answer on."""
    store, customer_id = _store(answers), read_id(path["id"], "id")
    fields = read_fields(body)
    for name in fields:
        if name not in CONSENT:
            raise BadRequest(name[:256], f"unknown field; {nearest(name, CONSENT)}")
    read: dict[str, Any] = {}
    for name in CONSENT:
        column = TABLES["consents"].column(name)
        assert column is not None
        if name != "at" or name in fields:
            read[name] = read_value(name, column, fields, answers.as_of)
    if read["purpose"] == "" or read["channel"] == "":
        empty = "purpose" if read["purpose"] == "" else "channel"
        raise BadRequest(empty, f"{kind_of('')} without a character; write a name such as marketing or email")
    said = Consent(read["purpose"], read["channel"], read["granted"])
    with reached(), stage("store"):
        at = put_consent(store, customer_id, said, read.get("at"), answers.day.now(), _received())
    if at is None:
        raise _nobody()
    return {"customer_id": customer_id, **vars(said), "at": at.isoformat()}


def erasure(answers: Answers, body: bytes, path: Mapping[str, str]) -> dict[str, Any]:
    """The answer to DELETE /customers/{id}; the same when asked again."""
    store, customer_id = _store(answers), read_id(path["id"], "id")
    with reached(), stage("store"):
        gone = erase(store, customer_id, _received()) or was_erased(store, customer_id)
    if not gone:
        raise _nobody()
    return {"customer_id": customer_id, "erased": True}


def _store(answers: Answers) -> Store:
    if answers.store is None:
        raise BadRequest("path", "no store is being served; start with recsys serve BUNDLE --store STORE", 404)
    return answers.store


def _nobody() -> BadRequest:
    return BadRequest("id", "no such customer in the store; check the id", 404)


def _received() -> datetime:
    """When a request came in: the machine's time, for the record alone."""
    return datetime.now(UTC)
