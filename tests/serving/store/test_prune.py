"""Old events and decisions go, and no answer changes by it."""

import json
from datetime import date

import pytest
import sqlalchemy as sa

from recsys.errors import ConfigError
from serving.online import events
from serving.store import schema
from serving.store.prune import needed_days, prune
from tests.serving.store.conftest import Open

WHO = "C0000"


def _paid(event_id: str, at: str) -> dict[str, object]:
    return {"event_id": event_id, "account_id": "A0000", "at": at, "amount": -5_000}


def test_what_no_feature_needs_goes(state: Open) -> None:
    worker, store = state.answers(), state.store()
    days = ("2023-01-05", "2023-02-05", "2023-03-05", "2025-06-01")
    outcome = {"outcome_id": "O1", "customer_id": WHO, "kind": "refused", "at": "2023-01-05T08:00:00"}
    viewed = {
        "event_id": "E1",
        "customer_id": WHO,
        "product_id": "P03",
        "kind": "acquired",
        "at": "2023-01-01T08:00:00",
    }
    sent = {"transactions": [_paid(f"T{day}", f"{day}T09:00:00") for day in days]}
    answer = events(worker, json.dumps({**sent, "outcomes": [outcome], "interactions": [viewed]}).encode(), {})
    assert answer["new"] == 6
    before = state.answers().customers.known.seen(WHO, worker.as_of)  # type: ignore[union-attr]
    bundle = worker.bundle
    with pytest.raises(ConfigError, match="look back 365 days"):
        prune(store, bundle, needed_days(bundle) - 1)
    assert prune(store, bundle, 400) == {"transactions": 2, "outcomes": 1}
    assert prune(store, bundle, 400) == {}
    with store.reads() as connection:
        left = set(connection.execute(sa.select(schema.events.c.event_id)).scalars())
    assert left == {"T2023-03-05", "T2025-06-01", "E1"}
    with store.writes() as connection:
        connection.execute(sa.delete(schema.seen))
    after = state.answers().customers.known.seen(WHO, worker.as_of)  # type: ignore[union-attr]
    assert before is not None and after is not None
    assert after.rows.equals(before.rows), "made anew from what is left"
    assert prune(store, bundle, 365, date(2099, 1, 1)) == {"transactions": 1}
