"""The customers of questions, as the bundle sees them: known by id, with what has just happened, or brought along."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from typing import Any

from recsys.bundle.segment_of import with_events
from recsys.errors import DataError
from recsys.lake.store import Lake
from recsys.rules import Eligibility
from serving.customer_data import Bank, CustomerContract
from serving.feature_drift import FeatureDrift
from serving.known import Known, OfLake, OfStore
from serving.request import BadRequest, Unavailable, Who
from serving.rules import RulesInForce
from serving.seen import READ, CustomerRows, Seen, Sight
from serving.store import Store, StoreDown


class Customers:
    """Where customers are, what a question may say of them, and what rules leave of their products."""

    def __init__(self, sight: Sight, lake: Lake | None, store: Store | None, rules: RulesInForce | None) -> None:
        """At most one of lake and store; with neither, only customers who bring their own data can be asked about."""
        bundle, recommender = sight.bundle, sight.recommender
        self.sight, self.rules = sight, rules
        products = recommender.products if recommender else bundle.encoder.products
        self.products: Mapping[str, int] = {product: i for i, product in enumerate(products)}
        self.bank = Bank.of_store(store) if store else Bank.of_lake(lake)
        self.contract = CustomerContract(bundle.definition, self.bank, self.products)
        self.drift = FeatureDrift(sight.segmentation)
        self.known: Known | None = None
        if store is not None:
            self.known = OfStore(store, sight, self.bank.tables)
        elif lake is not None:
            self.known = OfLake(lake, sight)

    def asked(self, who: Who, day: date | None) -> Seen:
        """The customer of a question as seen from a day; BadRequest if they are not known or their data are wrong."""
        found = self._asked(who, day)
        self.drift.saw(found)
        return found

    def _asked(self, who: Who, day: date | None) -> Seen:
        if who.customer_id is None:
            return self._own(who, day)
        if self.known is None:
            raise BadRequest("customer_id", "no lake is being served; send the customer's own data as customer", 404)
        with reached():
            if who.events is not None:
                found = self._with_events(self.known, who.customer_id, who.events, day)
            else:
                found = self.known.seen(who.customer_id, day)
        if found is None:
            right = "check the id, or send the customer's own data as customer"
            raise BadRequest("customer_id", f"no such customer in {self.known.where}; {right}", 404)
        return found

    def eligible(self, customer: Seen, day: date | None) -> Eligibility | None:
        """What rules leave of the products, worked out once for what is kept of a customer; None without rules."""
        if self.rules is None:
            return None
        if customer.eligibility is None:
            with reached():
                customer.eligibility = self.rules.eligible(customer.tables(), customer.rows, day)
        return customer.eligibility

    def _with_events(self, known: Known, customer_id: str, events: Mapping[str, Any], day: date | None) -> Seen | None:
        """A known customer with what has just happened to them; nothing of it is kept."""
        tables = known.tables(customer_id)
        if tables is None:
            return None
        fresh = self.contract.events(customer_id, events, tables, day)
        try:
            rows = CustomerRows(with_events(tables, fresh), tables.worked_out if READ.isdisjoint(fresh) else None)
            (found,) = self.sight.see(rows, [customer_id], day)
        except DataError as error:
            raise BadRequest("events", str(error)) from None
        return found

    def _own(self, who: Who, day: date | None) -> Seen:
        assert who.customer is not None
        customer_id, tables = self.contract.tables(who.customer, day)
        try:
            (found,) = self.sight.see(tables, [customer_id], day)
        except DataError as error:  # values that each keep the contract and yet lead to no finite vector
            raise BadRequest("customer", str(error)) from None
        return found


@contextmanager
def reached() -> Iterator[None]:
    """Say 503 to who asks while the store cannot be reached."""
    try:
        yield
    except StoreDown as error:
        raise Unavailable(str(error)) from None
