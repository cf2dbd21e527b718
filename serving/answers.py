"""What is answered about one customer, by the same recommender, segments and churn as in a batch."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.bundle import Adoption, Bundle, Churn, CustomerEmbedding, Recommender, reasons
from recsys.bundle.churn_reasons import ChurnReasons
from recsys.bundle.fits import check_fits, scoring_day
from recsys.errors import BundleError, ConfigError
from recsys.lake.store import Lake
from serving.customers import Customers, reached
from serving.day import Clock, Day, FixedDay
from serving.decisions import Ledger
from serving.metrics import stage
from serving.neighbours import Neighbours
from serving.next_action import NextAction
from serving.request import (
    BadRequest,
    Body,
    Question,
    read_leaving,
    read_like,
    read_product,
    read_question,
    read_who,
)
from serving.rules import RulesInForce, removed_products
from serving.seen import Facts, Seen, Sight
from serving.similar import similar_products
from serving.store import Store, StoreError
from serving.store.event_rows import TABLES_IN
from serving.store.loaded import check_day


class Answers:
    """A loaded bundle, where its known customers are (a lake, a store or nowhere), and the day they are seen from."""

    def __init__(
        self,
        bundle: Bundle,
        day: Day,
        lake: Lake | None = None,
        store: Store | None = None,
        rules: RulesInForce | None = None,
    ) -> None:
        """At most one of lake and store; `Answers.open` chooses the day."""
        self.bundle, self.day = bundle, day
        self.next_action: NextAction | None = None
        """What decides about contacts, where the prices of a campaign plan are in force."""
        self.lake, self.store = lake, store
        self.sight = Sight(bundle)
        self.recommender, self.segmentation = self.sight.recommender, self.sight.segmentation
        self.leaving, self.survival, self.adoption = self.sight.leaving, self.sight.survival, self.sight.adoption
        self.embedding = self.segmentation.embedding if self.segmentation else CustomerEmbedding.of(bundle)
        self.comparable = self.recommender or self.embedding
        """What gives the vectors by which customers are compared."""
        self.why = ChurnReasons.of(self.leaving) if self.leaving else None
        self.customers = Customers(self.sight, lake, store, rules)
        self.known, self.products = self.customers.known, self.customers.products
        self.neighbours = Neighbours(self)
        if self.recommender is None and self.segmentation is None and self.leaving is None:
            raise BundleError(
                f"{bundle.path}: has neither a recommender nor segments nor churn, so there is nothing to answer"
            )

    @property
    def as_of(self) -> date | None:
        """The first day whose events do not count, at this moment."""
        return self.day.as_of()

    @property
    def paths(self) -> tuple[str, ...]:
        """The questions that the bundle can answer, as paths of the service."""
        parts: dict[str, object] = {"/recommend": self.recommender, "/segment": self.segmentation}
        parts |= {"/churn": self.leaving, "/similar_products": self.recommender, "/embed": self.comparable}
        parts["/similar_customers"] = self.comparable if self.known is not None else None
        return (*(path for path, part in parts.items() if part is not None), "/decide")

    @classmethod
    def open(
        cls,
        bundle_path: str | Path,
        lake_path: str | Path | None,
        as_of: date | None,
        rules_path: str | Path | None = None,
        store: Store | None = None,
        clock: Clock | None = None,
    ) -> "Answers":
        """Load everything and check that it fits.

        Without `as_of` and clock the day is that of the store's load, else the lake's, else that of the lake that the
        bundle was trained on. With a store its customers are the known ones, and the lake is not read.
        """
        bundle = Bundle.load(bundle_path)
        if store is not None:
            loaded = store.loaded()
            if not loaded.complete:
                raise StoreError(
                    f"{loaded.path}: its first load was cut short; say recsys state load again to finish it"
                )
            check_fits(bundle, loaded)
            seen_from = check_day(loaded, as_of, clock)
            rules = RulesInForce.read(rules_path, bundle, store, seen_from.as_of(), (*TABLES_IN, "consents"))
            return cls(bundle, seen_from, store=store, rules=rules)
        if clock is not None:
            raise ConfigError("--clock: needs a store, into which today's events come; name it with --store")
        lake = None if lake_path is None else Lake.open(lake_path)
        day = as_of or bundle.contents.lake.as_of
        if lake is not None:
            check_fits(bundle, lake)
            day = scoring_day(lake, as_of)
        return cls(bundle, FixedDay(day), lake, rules=RulesInForce.read(rules_path, bundle, lake, day))

    def recommend(self, body: Body) -> dict[str, Any]:
        """The answer to the body of POST /recommend; BadRequest says what is wrong with it. One call at a time."""
        recommender = self.recommender
        if recommender is None:
            raise self._absent("no recommender")
        question, day = read_question(body, self.products), self.as_of
        return self.recommended(recommender, self.customers.asked(question, day), question, day)

    def recommended(
        self,
        recommender: Recommender,
        customer: Seen,
        question: Question,
        day: date | None,
        action: NextAction | None = None,
    ) -> dict[str, Any]:
        """What is recommended to a customer as seen from a day; `action` is asked about them afterwards."""
        assert customer.vectors is not None
        eligibility = self.customers.eligible(customer, day)
        if question.exclude or question.candidates is not None:
            allowed = recommender.allowed(customer.held, question.exclude, question.candidates, eligibility=eligibility)
        else:
            if customer.allowed is None:
                customer.allowed = recommender.allowed(customer.held)
            allowed = customer.allowed if eligibility is None else customer.allowed & eligibility.mask
        with stage("rank"):
            scores, index = recommender.rank(customer.vectors, allowed, question.k, question.diversity)
        listed = scores[0] > -math.inf
        index, values = index[:, listed], scores[0][listed].tolist()
        products = [recommender.products[i] for i in index[0]]
        pairs = enumerate(zip(products, values, strict=True), start=1)
        items: list[dict[str, Any]] = [
            {"rank": rank, "product_id": product, "score": score} for rank, (product, score) in pairs
        ]
        if self.adoption and customer.adoption is not None:
            when = self._when(self.adoption, customer, index, action)[0]
            for item, values in zip(items, when.tolist(), strict=True):
                item["probability"] = self._by_horizon(values)
        if question.reasons:
            with stage("reasons"):
                why = reasons(recommender, customer.rows, index[0], question.reasons)
            for item, found in zip(items, why, strict=True):
                item["reasons"] = [asdict(reason) for reason in found]
        answer = {**self._about(customer.facts), "items": items}
        if question.removed:
            answer["removed"] = removed_products(
                recommender, customer.held, eligibility, question.exclude, question.candidates
            )
        return answer

    def segment(self, body: Body) -> dict[str, Any]:
        """The answer to the body of POST /segment; BadRequest says what is wrong with it. One call at a time."""
        if self.segmentation is None:
            raise self._absent("no segments")
        return self._about(self.customers.asked(read_who(body), self.as_of).facts)

    def churn(self, body: Body) -> dict[str, Any]:
        """The answer to the body of POST /churn; BadRequest says what is wrong with it. One call at a time."""
        if self.leaving is None:
            raise self._absent("nothing about who will leave")
        who, most = read_leaving(body)
        day = self.as_of
        customer = self.customers.asked(who, day)
        facts = customer.facts
        if facts.standing == "joins_later":
            raise BadRequest(
                "customer_id",
                f"joins on {facts.joined}, and customers are seen from {day}: nothing is known of them yet; "
                "serve with a later --as-of, or ask about another customer",
            )
        return {"bundle_id": self.bundle.bundle_id, **self._leaving(self.leaving, customer, most)}

    def decide(self, body: Body, request_id: str = "") -> dict[str, Any]:
        """The answer to the body of POST /decide, that of POST /recommend: everything that the bundle says.

        All of it is about one feature row. What the bundle does not tell is left out. With a store the next best action
        of its customers is written there; a question without a request's id is a trial, of which nothing is kept.
        """
        question, day = read_question(body, self.products), self.as_of
        customer = self.customers.asked(question, day)
        if self.recommender is not None:
            answer = self.recommended(self.recommender, customer, question, day, self.next_action)
        else:
            answer = self._about(customer.facts)
        if self.leaving is not None:
            answer["churn"] = self._leaving(self.leaving, customer, 0)
            del answer["churn"]["customer_id"]
        if self.next_action is not None:
            now = self.day.now() if isinstance(self.day, Clock) else None
            with reached():
                ledger = None
                if self.store is not None and request_id and question.customer_id is not None:
                    ledger = Ledger(self.store, self.bundle.bundle_id, self.day.now(), request_id)
                found = self.next_action.of(customer, day, self.customers.eligible(customer, day), now, ledger)
            answer["next_best_action"] = {n: v for n, v in found.items() if n != "removed" or question.removed}
        return answer

    def embed(self, body: Body) -> dict[str, Any]:
        """The answer to the body of POST /embed: the customer's vector, of the embedding, else of the recommender."""
        customer = self.customers.asked(read_who(body), self.as_of)
        if (embedding := self.embedding) is not None:
            vector = embedding.embed(customer.rows).vectors[0]
        else:
            vector = self.compared_by(customer)
        of = "recommender" if embedding is None else "embedding"
        return {"customer_id": customer.facts.customer_id, "of": of, "vector": vector.tolist()}

    def similar_products(self, body: Body, path: Mapping[str, str]) -> dict[str, Any]:
        """The answer to the body of POST /similar_products."""
        if self.recommender is None:
            raise self._absent("no recommender")
        product, k = read_product(body, self.products)
        return {"product_id": product, "items": similar_products(self.recommender, product, k).to_dicts()}

    def similar_customers(self, body: Body) -> dict[str, Any]:
        """The answer to the body of POST /similar_customers: who of the known customers is most like the customer."""
        who, k = read_like(body)
        customer = self.customers.asked(who, self.as_of)
        customer_id = customer.facts.customer_id
        with reached():
            found = self.neighbours.like(self.compared_by(customer), customer_id, k)
        return {"customer_id": customer_id, "items": found.to_dicts()}

    @property
    def width_compared(self) -> int | None:
        """Columns of the vectors by which customers are compared: those of the recommender but for the item bias."""
        return None if self.recommender is None else self.recommender.directions.shape[1]

    def compared_by(self, customer: Seen) -> np.ndarray:
        """float32 [D]: by what customers are compared, of the recommender, else the embedding."""
        if customer.vectors is None:
            raise self._absent("neither a recommender nor an embedding")
        found: np.ndarray = customer.vectors[0, : self.width_compared]
        return found

    def vectors_compared(self, rows: pl.DataFrame) -> np.ndarray:
        """float32 [N, D]: the same of feature rows."""
        if self.recommender is not None:
            return self.recommender.vectors_from_rows(rows)[:, : self.width_compared]
        if self.embedding is None:
            raise self._absent("neither a recommender nor an embedding")
        return self.embedding.embed(rows).vectors

    def _when(self, adoption: Adoption, customer: Seen, index: np.ndarray, action: NextAction | None) -> np.ndarray:
        """float32 [1, K, H]: chances to acquire the products at `index` [1, K].

        Those that the next best action needs are asked in the same call, which takes as long as without them.
        """
        assert customer.adoption is not None
        also = index[:, :0] if action is None else action.asks(customer)
        found = adoption.probabilities(customer.adoption, np.concatenate([index, also], axis=1))
        ranked = index.shape[1]
        if action is not None and also.size:
            customer.chances = (action.prices.version, found[:, ranked:])
        return adoption.unheld(found[:, :ranked], customer.held, index)

    def _leaving(self, leaving: Churn, customer: Seen, most: int) -> dict[str, Any]:
        facts = customer.facts
        answer: dict[str, Any] = {
            "customer_id": facts.customer_id,
            "standing": facts.standing,
            "horizon_months": leaving.about.horizon_months,
        }
        answer |= facts.leaving or {"probability": None, "tier": None, "act": False}
        if self.survival is not None:
            horizons = [f"{months}m" for months in self.survival.about.horizons_months]
            told = facts.survival
            answer["survival"] = None if told is None else dict(zip(horizons, told, strict=True))
        if self.why is not None and most:
            here = facts.standing == "customer"
            with stage("reasons"):
                why = self.why.reasons(customer.rows, most)[0] if here else []
            answer["reasons"] = [asdict(reason) for reason in why]
        return answer

    def _absent(self, what: str) -> BadRequest:
        return BadRequest("path", f"this bundle has {what}; it answers POST {', '.join(self.paths)}", 404)

    def _about(self, facts: Facts) -> dict[str, Any]:
        """Whose answer it is, and where they are, if the bundle has segments."""
        answer: dict[str, Any] = {"bundle_id": self.bundle.bundle_id, "customer_id": facts.customer_id}
        if (found := facts.segment) is not None:
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
        self.decide(nobody)
        self.neighbours.prepare()
        if self.known is not None:
            self.known.seen("nobody", self.as_of)
