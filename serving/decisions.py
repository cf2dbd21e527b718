"""The decisions that a store keeps of a customer: what stands of today's, and which contacts were decided before."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any

import polars as pl

from recsys.lake.contract import schema_of
from serving.store import Store
from serving.store.decisions import Made, Pacing, keep, made

CONTACTS = ("contact_id", "customer_id", "campaign_id", "at", "channel", "contacted")
ANSWERED = ("actions", "arm", "propensity", "reason", "decision_id")
"""What of a decision is answered again while it stands."""


@dataclass(frozen=True)
class Ledger:
    """Where the decision of one question is written, at a moment of the bank's time."""

    store: Store
    bundle_id: str
    at: datetime
    request_id: str

    def of(self, customer_id: str, prices: str) -> "Decisions":
        """What was decided about a customer before. Raises StoreDown."""
        return Decisions(self, customer_id, prices, made(self.store, customer_id, prices))


@dataclass(frozen=True)
class Decisions:
    """What was decided about one customer, and the prices that decide now.

    Contacts decided on days before count as made. Today's decision stands as long as all of it is allowed: who asks
    again gets it again, and it counts once. Where it is no longer allowed its contacts count as made, too.
    """

    ledger: Ledger
    customer_id: str
    prices: str
    made: Made

    @property
    def pacing(self) -> Pacing | None:
        """How far the prices have moved."""
        return self.made.pacing

    @cached_property
    def today(self) -> tuple[dict[str, Any], ...]:
        """Today's, oldest first."""
        return tuple(row for row in self.made.decisions if _day(row) == self.ledger.at.date())

    @cached_property
    def before(self) -> tuple[dict[str, Any], ...]:
        """Those of earlier days."""
        return tuple(row for row in self.made.decisions if _day(row) < self.ledger.at.date())

    def standing(self, allowed: Collection[str]) -> dict[str, Any] | None:
        """Today's decision to contact, as it is answered, where all its actions are among the allowed."""
        for row in reversed(self.today):
            names = [action["action"] for action in row["actions"]]
            if row["prices"] == self.prices and names and set(names) <= set(allowed):
                return {name: row[name] for name in ANSWERED}
        return None

    def write(
        self, told: Mapping[str, Any], spend: Callable[[Pacing | None], Pacing | None] | None
    ) -> tuple[str, str | None]:
        """Write what is told: the decision's id, and why it may not be told, None if it may. Raises StoreDown."""
        actions: Sequence[Mapping[str, Any]] = told["actions"]
        names = " + ".join(sorted(action["action"] for action in actions))
        day = self.ledger.at.date()
        same = f"{self.prices}\n{self.customer_id}\n{day}\n{names}"
        decision_id = hashlib.sha256(same.encode()).hexdigest()[:32]
        if any(row["decision_id"] == decision_id for row in self.today):
            return decision_id, None
        row = {
            "decision_id": decision_id,
            "customer_id": self.customer_id,
            "at": self.ledger.at.replace(microsecond=0),
            "product_id": actions[0]["product_id"] if len(actions) == 1 else None,
            "action": names or "none",
            "propensity": told["propensity"],
            "bundle_id": self.ledger.bundle_id,
            "prices": self.prices,
            "arm": told["arm"],
            "reason": told["reason"],
            "actions": list(actions),
            "request_id": self.ledger.request_id,
        }
        became = keep(self.ledger.store, row, datetime.now(UTC), spend)
        why = {"full": "a limit of the plan is used up for now", "gone": "no such customer any more"}
        return decision_id, why.get(became)


def with_decided(
    contacts: pl.DataFrame | None, decided: Sequence[Mapping[str, Any]], customer_id: str
) -> pl.DataFrame | None:
    """The customer's contacts, with those that were decided and have no row of their own yet.

    A contact through the channel on the day of a decision or later is taken to be the one decided.
    """
    wanted = sorted((datetime.fromisoformat(row["at"]), one["channel"]) for row in decided for one in row["actions"])
    rows: list[tuple[Any, ...]] = []
    for channel in sorted({channel for _, channel in wanted}):
        for at in _open((at for at, own in wanted if own == channel), _made(contacts, customer_id, channel)):
            rows.append((f"decided {len(rows)}", customer_id, None, at, channel, True))
    return _with_rows(contacts, rows)


def with_all_decided(
    contacts: pl.DataFrame | None, decided: Iterable[tuple[str, datetime, str]]
) -> pl.DataFrame | None:
    """`with_decided` for many customers: (customer, time, channel) of every contact decided."""
    wanted: dict[tuple[str, str], list[datetime]] = defaultdict(list)
    for customer_id, at, channel in decided:
        wanted[customer_id, channel].append(at)
    real: dict[tuple[str, str], list[date]] = defaultdict(list)
    if wanted and contacts is not None and "channel" in contacts.columns:
        who = pl.Series(sorted({customer_id for customer_id, _ in wanted}))
        mine = contacts.filter(pl.col("contacted"), pl.col("customer_id").is_in(who.implode()))
        told = mine.select("customer_id", "channel", pl.col("at").dt.date()).drop_nulls()
        for customer_id, channel, day in told.iter_rows():
            real[customer_id, channel].append(day)
    rows: list[tuple[Any, ...]] = []
    for customer_id, channel in sorted(wanted):
        for at in _open(sorted(wanted[customer_id, channel]), real[customer_id, channel]):
            rows.append((f"decided {len(rows)}", customer_id, None, at, channel, True))
    return _with_rows(contacts, rows)


def _open(decided: Iterable[datetime], made: Iterable[date]) -> Iterator[datetime]:
    """Of decisions through a channel, in their order, those whose place no contact from their day on has taken."""
    real = sorted(made)
    for at in decided:
        found = next((day for day in real if day >= at.date()), None)
        if found is None:
            yield at
        else:
            real.remove(found)


def _with_rows(contacts: pl.DataFrame | None, rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame | None:
    if not rows:
        return contacts
    fresh = pl.DataFrame(rows, schema=schema_of("contacts", CONTACTS, ()), orient="row")
    return fresh if contacts is None else pl.concat([contacts, fresh], how="diagonal_relaxed")


def _made(contacts: pl.DataFrame | None, customer_id: str, channel: str) -> list[date]:
    """The days of a customer's contacts through a channel."""
    if contacts is None or "channel" not in contacts.columns:
        return []
    mine = contacts.filter(
        pl.col("contacted") & (pl.col("customer_id") == customer_id) & (pl.col("channel") == channel)
    )
    return mine["at"].drop_nulls().dt.date().to_list()


def _day(row: Mapping[str, Any]) -> date:
    return datetime.fromisoformat(row["at"]).date()
