"""Customers who are known by their id: of a lake, read once, or of a store, where an event or a new day makes stale."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from threading import Lock
from typing import Generic, Protocol, TypeVar

import polars as pl

from recsys.lake.store import Lake
from serving.metrics import stage
from serving.seen import CustomerRows, Seen, Sight, seen_from, stored
from serving.store import Store

KEPT = 1000
"""Customers of whom answers are made from memory, the latest asked for; some tens of kilobytes each."""
ROWS = 200
"""Customers whose rows stay in memory, the latest whose new events came with a question."""


T = TypeVar("T")
_Rows = tuple[int, CustomerRows]
"""The version of a customer, and their rows by table."""


class Known(Protocol):
    """Where the customers are that a question may name."""

    where: str
    """As an answer about an unknown id says it: the lake, the store."""

    def seen(self, customer_id: str, day: date | None) -> Seen | None:
        """The customer as seen from a day; None if they are not there."""

    def at_hand(self, customer_id: str, day: date | None) -> Seen | None:
        """What `seen` has in memory, where it neither reads nor computes anything; else None."""

    def tables(self, customer_id: str) -> CustomerRows | None:
        """Their rows in the lake's tables, with those of the bank; None if they are not there."""

    def kept(self) -> set[str]:
        """Of whom something stays in memory."""

    def forget(self, customer_id: str) -> None:
        """Keep nothing of a customer in memory."""


@dataclass(frozen=True)
class _Kept:
    version: int
    day: date | None
    seen: Seen


class _Memory(Generic[T]):
    """Of the customers asked for last, one thing each."""

    def __init__(self, most: int) -> None:
        self._kept: OrderedDict[str, T] = OrderedDict()
        self._most, self._lock = most, Lock()

    def get(self, customer_id: str) -> T | None:
        """What is kept of a customer."""
        with self._lock:
            if customer_id in self._kept:
                self._kept.move_to_end(customer_id)
            return self._kept.get(customer_id)

    def put(self, customer_id: str, kept: T) -> None:
        """Keep it in place of what was there; the customer asked for longest ago goes."""
        with self._lock:
            self._kept[customer_id] = kept
            self._kept.move_to_end(customer_id)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def ids(self) -> set[str]:
        """Who is kept."""
        with self._lock:
            return set(self._kept)

    def drop(self, customer_id: str) -> None:
        """Forget a customer."""
        with self._lock:
            self._kept.pop(customer_id, None)


class OfLake:
    """Customers of one version of a lake, which never changes: what was read stays true for its day."""

    where = "the lake"

    def __init__(self, lake: Lake, sight: Sight) -> None:
        self._lake, self._sight = lake, sight
        self._memory, self._rows = _Memory[_Kept](KEPT), _Memory[CustomerRows](ROWS)

    def seen(self, customer_id: str, day: date | None) -> Seen | None:
        """As `Known.seen`."""
        kept = self._memory.get(customer_id)
        if kept is not None and kept.day == day:
            return kept.seen
        tables = self.tables(customer_id)
        if tables is None:
            return None
        (found,) = self._sight.see(tables, [customer_id], day)
        self._memory.put(customer_id, _Kept(0, day, found))
        return found

    def at_hand(self, customer_id: str, day: date | None) -> Seen | None:
        """As `Known.at_hand`."""
        kept = self._memory.get(customer_id)
        return kept.seen if kept is not None and kept.day == day else None

    def tables(self, customer_id: str) -> CustomerRows | None:
        """As `Known.tables`."""
        if (kept := self._rows.get(customer_id)) is not None:
            return kept
        with stage("store"):
            found = CustomerRows(self._lake.customers([customer_id]))
        if found["customers"].is_empty():
            return None
        self._rows.put(customer_id, found)
        return found

    def kept(self) -> set[str]:
        """As `Known.kept`."""
        return self._memory.ids() | self._rows.ids()

    def forget(self, customer_id: str) -> None:
        """As `Known.forget`."""
        self._memory.drop(customer_id)
        self._rows.drop(customer_id)


class OfStore:
    """Customers of a store. Each answer reads the customer's version there, whatever is in memory.

    So an event that any worker took counts in every worker's next answer, and nobody answers for who was erased.
    """

    where = "the store"

    def __init__(self, store: Store, sight: Sight, bank: Mapping[str, pl.DataFrame]) -> None:
        """`bank` has products and campaigns."""
        self._store, self._sight, self._bank = store, sight, bank
        self._memory, self._rows = _Memory[_Kept](KEPT), _Memory[_Rows](ROWS)
        self._bundle_id = sight.bundle.bundle_id

    def seen(self, customer_id: str, day: date | None) -> Seen | None:
        """As `Known.seen`. Raises StoreDown."""
        kept = self._memory.get(customer_id)
        kept = kept if kept is not None and kept.day == day else None
        with stage("store"):
            looked = self._store.look(customer_id, self._bundle_id, day, kept.version if kept else None)
        if looked is None:
            self.forget(customer_id)
            return None
        if kept is not None and kept.version == looked.version:
            return kept.seen
        if looked.stored is not None:
            rows = partial(self._tables, customer_id)
            found = _Kept(looked.version, day, seen_from(looked.stored, self._sight.bundle.definition, rows))
        else:
            fresh = self._computed(customer_id, day)
            if fresh is None:
                return None
            found = fresh
        self._memory.put(customer_id, found)
        return found.seen

    def at_hand(self, customer_id: str, day: date | None) -> Seen | None:
        """As `Known.at_hand`: never, for each answer looks into the store."""
        return None

    def tables(self, customer_id: str) -> CustomerRows | None:
        """As `Known.tables`. Raises StoreDown."""
        rows = self._rows_of(customer_id)
        return None if rows is None else self._with_bank(rows[1])

    def kept(self) -> set[str]:
        """As `Known.kept`."""
        return self._memory.ids() | self._rows.ids()

    def forget(self, customer_id: str) -> None:
        """As `Known.forget`."""
        self._memory.drop(customer_id)
        self._rows.drop(customer_id)

    def _tables(self, customer_id: str) -> CustomerRows:
        """All rows, as they are by now; those of nobody for who was erased since."""
        rows = self._rows_of(customer_id)
        return self._with_bank(CustomerRows(self._store.loaded().empty()) if rows is None else rows[1])

    def _with_bank(self, rows: CustomerRows) -> CustomerRows:
        return CustomerRows({**self._bank, **rows}, rows.worked_out)

    def _rows_of(self, customer_id: str) -> _Rows | None:
        """Version and rows, read again only if they have changed; None for who is not, or no longer, there."""
        kept = self._rows.get(customer_id)
        with stage("store"):
            if kept is not None:
                looked = self._store.look(customer_id, self._bundle_id, None, kept[0])
                if looked is not None and looked.version == kept[0]:
                    return kept
            stored_rows = self._store.rows_of(customer_id)
        if stored_rows is None:
            self.forget(customer_id)
            return None
        found = stored_rows[0], CustomerRows(stored_rows[1])
        self._rows.put(customer_id, found)
        return found

    def _computed(self, customer_id: str, day: date | None) -> _Kept | None:
        """From all rows, written back for the other workers and the next start."""
        rows = self._rows_of(customer_id)
        if rows is None:
            return None
        version, tables = rows
        (found,) = self._sight.see(self._with_bank(tables), [customer_id], day)
        with stage("store"):
            self._store.keep(customer_id, version, self._bundle_id, day, stored(found))
        return _Kept(version, day, found)
