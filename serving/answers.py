"""One question about one customer, answered by the same recommender and segments as a batch."""

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.bundle import Adoption, Bundle, Churn, Recommender, Segmentation, Survival, reasons
from recsys.bundle.churn_reasons import ChurnReasons
from recsys.bundle.fits import check_fits, scoring_day
from recsys.bundle.segment_of import SegmentOf, segment_of_row
from recsys.churn.standing import standing
from recsys.errors import BundleError, DataError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from recsys.rules import Eligibility
from serving.customer_data import CustomerContract
from serving.request import BadRequest, Body, Who, read_leaving, read_question, read_who
from serving.rules import RulesInForce, removed_products

KEPT = 1000
"""Customers whose feature row and vector stay in memory, the latest asked for; some tens of kilobytes each."""


class Answers:
    """A loaded bundle, the lake of its known customers (or none) and the day they are seen from."""

    def __init__(
        self, bundle: Bundle, lake: Lake | None, as_of: date | None, rules: RulesInForce | None = None
    ) -> None:
        """`as_of` is the day to look from; `Answers.open` chooses it."""
        self.bundle = bundle
        self.rules = rules
        self.lake = lake
        self.as_of = as_of
        self.recommender, self.segmentation = Recommender.of(bundle), Segmentation.of(bundle)
        self.leaving = Churn.of(bundle)
        self.survival = Survival.of(bundle)
        self.why = ChurnReasons.of(self.leaving) if self.leaving else None
        if not self.paths:
            raise BundleError(
                f"{bundle.path}: has neither a recommender nor segments nor churn, so there is nothing to answer"
            )
        self.adoption = Adoption.of(bundle)
        known = self.recommender.products if self.recommender else bundle.encoder.products
        self.products: Mapping[str, int] = {product: i for i, product in enumerate(known)}
        self._kept: OrderedDict[str, _Customer] = OrderedDict()
        self.contract = CustomerContract(bundle.definition, lake, self.products, as_of)

    @property
    def paths(self) -> tuple[str, ...]:
        """The questions that the bundle can answer, as paths of the service."""
        parts = {"/recommend": self.recommender, "/segment": self.segmentation, "/churn": self.leaving}
        return tuple(path for path, part in parts.items() if part is not None)

    @classmethod
    def open(
        cls,
        bundle_path: str | Path,
        lake_path: str | Path | None,
        as_of: date | None,
        rules_path: str | Path | None = None,
    ) -> "Answers":
        """Load all and check that they fit; without a lake the day is that of the lake the bundle was trained on."""
        bundle = Bundle.load(bundle_path)
        lake = None if lake_path is None else Lake.open(lake_path)
        day = as_of or bundle.contents.lake.as_of
        if lake is not None:
            check_fits(bundle, lake)
            day = scoring_day(lake, as_of)
        return cls(bundle, lake, day, RulesInForce.read(rules_path, bundle, lake, day))

    def recommend(self, body: Body) -> dict[str, Any]:
        """The answer to the body of POST /recommend; BadRequest says what is wrong with it. One call at a time."""
        recommender = self.recommender
        if recommender is None:
            raise self._absent("no recommender")
        question = read_question(body, self.products)
        customer = self._asked(question)
        assert customer.vectors is not None
        allowed = recommender.allowed(
            customer.rows, question.exclude, question.candidates, eligibility=customer.eligibility
        )
        scores, index = recommender.rank(customer.vectors, allowed, question.k, question.diversity)
        listed = scores[0] > -math.inf
        index, values = index[:, listed], scores[0][listed].tolist()
        products = [recommender.products[i] for i in index[0]]
        pairs = enumerate(zip(products, values, strict=True), start=1)
        items: list[dict[str, Any]] = [
            {"rank": rank, "product_id": product, "score": score} for rank, (product, score) in pairs
        ]
        if self.adoption and customer.adoption is not None:
            when = self.adoption.asked(customer.rows, customer.adoption, index)[0]
            for item, values in zip(items, when.tolist(), strict=True):
                item["probability"] = self._by_horizon(values)
        if question.reasons:
            for item, found in zip(items, reasons(recommender, customer.rows, index[0], question.reasons), strict=True):
                item["reasons"] = [asdict(reason) for reason in found]
        answer = {**self._about(customer), "items": items}
        if question.removed:
            answer["removed"] = removed_products(
                recommender, customer.rows, customer.eligibility, question.exclude, question.candidates
            )
        return answer

    def segment(self, body: Body) -> dict[str, Any]:
        """The answer to the body of POST /segment; BadRequest says what is wrong with it. One call at a time."""
        if self.segmentation is None:
            raise self._absent("no segments")
        return self._about(self._asked(read_who(body)))

    def churn(self, body: Body) -> dict[str, Any]:
        """The answer to the body of POST /churn; BadRequest says what is wrong with it. One call at a time."""
        if self.leaving is None:
            raise self._absent("nothing about who will leave")
        who, most = read_leaving(body)
        customer = self._asked(who)
        if customer.standing == "joins_later":
            raise BadRequest(
                "customer_id",
                f"joins on {customer.joined}, and customers are seen from {self.as_of}: nothing is known of them yet; "
                "serve with a later --as-of, or ask about another customer",
            )
        answer: dict[str, Any] = {
            "bundle_id": self.bundle.bundle_id,
            "customer_id": customer.customer_id,
            "standing": customer.standing,
            "horizon_months": self.leaving.about.horizon_months,
        }
        if customer.standing == "left":
            return answer | {"probability": None, "tier": None, "act": False} | self._when_and_why(None, most)
        row = self.leaving.scored(customer.rows).row(0, named=True)
        told = {name: row[name] for name in ("probability", "tier", "act")}
        return answer | told | self._when_and_why(customer.rows, most)

    def _when_and_why(self, rows: pl.DataFrame | None, most: int) -> dict[str, Any]:
        """`survival` by horizon and `reasons`, where the bundle tells them; null and none for who has left."""
        answer: dict[str, Any] = {}
        if self.survival is not None:
            horizons = [f"{months}m" for months in self.survival.about.horizons_months]
            values = None if rows is None else self.survival.survival(rows)[0].tolist()
            answer["survival"] = None if values is None else dict(zip(horizons, values, strict=True))
        if self.why is not None and most:
            found = [] if rows is None else self.why.reasons(rows, most)[0]
            answer["reasons"] = [asdict(reason) for reason in found]
        return answer

    def _absent(self, what: str) -> BadRequest:
        return BadRequest("path", f"this bundle has {what}; it answers POST {', '.join(self.paths)}", 404)

    def _about(self, customer: "_Customer") -> dict[str, Any]:
        """Whose answer it is, and where they are, if the bundle has segments."""
        answer: dict[str, Any] = {"bundle_id": self.bundle.bundle_id, "customer_id": customer.customer_id}
        if (found := customer.segment) is not None:
            answer["segment"] = {"id": found.id, "name": found.name, "distance": found.distance}
            answer["unusual"] = None if found.unusual is None else list(found.unusual)
        return answer

    def _by_horizon(self, values: list[float]) -> dict[str, float] | None:
        """By horizon, such as {"1m": .01, …}; None for a product that the customer holds."""
        if self.adoption is None or math.isnan(values[0]):
            return None
        return {f"{months}m": value for months, value in zip(self.adoption.horizons_months, values, strict=True)}

    def warm_up(self) -> None:
        """Answer one invented question, so that the first caller does not wait for compilation and caches."""
        nobody = b'{"customer": {"customers": [{"customer_id": "nobody"}]}}'
        asked = {"/recommend": self.recommend, "/segment": self.segment, "/churn": self.churn}
        for path in self.paths:
            asked[path](nobody)
        if self.lake is not None:
            self.lake.customers(["nobody"])

    def _asked(self, who: Who) -> "_Customer":
        return self._known(who.customer_id) if who.customer_id is not None else self._own(who)

    def _known(self, customer_id: str) -> "_Customer":
        """A customer of the lake. What is read is kept: lake and day are fixed, so it stays true."""
        if customer_id in self._kept:
            self._kept.move_to_end(customer_id)
            return self._kept[customer_id]
        if self.lake is None:
            raise BadRequest("customer_id", "no lake is being served; send the customer's own data as customer", 404)
        tables = self.lake.customers([customer_id])
        if tables["customers"].is_empty():
            right = "check the id, or send the customer's own data as customer"
            raise BadRequest("customer_id", f"no such customer in the lake; {right}", 404)
        self._kept[customer_id] = self._seen(customer_id, tables)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return self._kept[customer_id]

    def _own(self, question: Who) -> "_Customer":
        assert question.customer is not None
        customer_id, tables = self.contract.tables(question.customer)
        try:
            return self._seen(customer_id, tables)
        except DataError as error:  # values that each keep the contract and yet lead to no finite vector
            raise BadRequest("customer", str(error)) from None

    def _seen(self, customer_id: str, tables: dict[str, pl.DataFrame]) -> "_Customer":
        rows = features(tables, scoring_examples([customer_id], self.as_of), self.bundle.definition)
        said, joined = "customer", None
        if self.leaving is not None:
            _, said, joined = standing(tables, self.as_of, self.leaving.about.rule).row(0)
        return _Customer(
            customer_id,
            rows,
            said,
            joined,
            self.recommender.vectors_from_rows(rows) if self.recommender else None,
            self.adoption.vectors_from_rows(rows) if self.adoption else None,
            segment_of_row(self.segmentation, rows) if self.segmentation else None,
            self.rules.eligible(tables, rows, self.as_of) if self.rules and self.recommender else None,
        )


@dataclass(frozen=True)
class _Customer:
    """A customer as the bundle sees them: one feature row, its vectors, float32 [1, D], and their segment."""

    customer_id: str
    rows: pl.DataFrame
    standing: str
    """Of `recsys.churn.standing`; where the bundle does not say who will leave, always `customer`."""
    joined: date | None
    vectors: np.ndarray | None
    adoption: np.ndarray | None
    segment: SegmentOf | None
    eligibility: Eligibility | None
    """What rules leave of the products; None without rules."""
