"""The next best action for one customer: what the plan would do at its published prices, or nothing, and why."""

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Self, cast

import numpy as np
import polars as pl

from recsys.bundle import Bundle
from recsys.bundle.segmentation import PART as SEGMENTS
from recsys.campaigns.allocation import choose
from recsys.campaigns.draw import EXPLORED, HELD_OUT, PLANNED, draw
from recsys.campaigns.offers import Offers
from recsys.campaigns.pacing import Pacer
from recsys.campaigns.plan import CampaignPlan
from recsys.campaigns.prices import PublishedPrices
from recsys.campaigns.reasons import STANDING, Words, best_single, charged
from recsys.errors import ConfigError, DataError
from recsys.lake.contract import TABLES, schema_of
from recsys.rules import Eligibility
from recsys.segment_cards.labels import WHOLE_CURRENCIES
from serving.campaign_values import Bucket, Contactable, Valuation
from serving.decisions import Decisions, Ledger, with_decided
from serving.rules import RulesInForce
from serving.run_record import RUN
from serving.seen import CustomerRows, Seen
from serving.spend import Spend

ARMS = (PLANNED, HELD_OUT, EXPLORED)
SUMMARY = "plan.json"
NO_CONSENTS = pl.DataFrame(
    schema=schema_of("consents", tuple(column.name for column in TABLES["consents"].columns), ())
)
CONTACTABLE = "contactable"
"""What is worked out of a customer's rows here."""


class NextAction:
    """A plan's prices in force in one worker, and what was decided by them in the period that they are for."""

    def __init__(
        self,
        prices: PublishedPrices,
        plan: CampaignPlan,
        bundle: Bundle,
        unit: float,
        workers: int = 1,
        consents: bool = True,
        rules: RulesInForce | None = None,
    ) -> None:
        """`unit`: minor units in an amount that reasons show. `workers` share plan and limits equally.

        `consents`: the bank records them, so that who comes without any has given none.

        Raises ConfigError where prices and bundle, or prices and plan, do not belong to each other.
        """
        if prices.bundle_id != bundle.bundle_id:
            raise ConfigError(
                f"--prices: made with bundle {prices.bundle_id}, but {bundle.bundle_id} is served; plan again with it "
                "(recsys campaign plan)"
            )
        offers = Offers(plan)
        if tuple(offers.table["action"]) != prices.action:
            raise ConfigError("--prices: the prices are of other actions than the plan beside them; plan again")
        self.prices, self.plan, self.consents = prices, plan, consents
        self.valuation = Valuation(bundle, plan, 1, rules)
        self.words, self.table = Words(offers, unit), offers.table.to_dicts()
        self.spend = Spend(prices, workers)
        self._actions, self._limits, self._published = prices.actions, prices.shared, prices.prices()
        self._lock = Lock()

    @classmethod
    def open(
        cls,
        path: str | Path,
        bundle: Bundle,
        workers: int = 1,
        consents: bool = True,
        rules: RulesInForce | None = None,
    ) -> Self:
        """The prices at `path`, with what `recsys campaign plan` left beside them: the plan, and the lake's currency.

        Raises DataError for files that are not those of a plan, ConfigError where they do not fit the bundle.
        """
        prices, folder = PublishedPrices.read(Path(path)), Path(path).parent
        try:
            run = json.loads((folder / RUN).read_text(encoding="utf-8"))
            plan = CampaignPlan.model_validate(run["plan"])
            currency = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["currency"]
        except (OSError, ValueError, KeyError, TypeError):
            raise DataError(
                f"{folder}: has no {RUN} and {SUMMARY} of recsys campaign plan, from which the values of its actions "
                "follow; name prices.json in the folder that the plan was written to"
            ) from None
        if (ruled := run.get("rules")) is not None and (rules is None or rules.digest != ruled):
            raise ConfigError(
                f"--prices: the plan was made by rules {ruled}, and {rules.digest if rules else 'none'} are served; "
                "name the plan's file with --rules, or plan again"
            )
        unit = 1.0 if currency in (None, *WHOLE_CURRENCIES) else 100.0
        return cls(prices, plan, bundle, unit, workers, consents, rules)

    def asks(self, seen: Seen) -> np.ndarray:
        """int64 [1, P]: the products whose chances it needs of a customer and does not have, by their places."""
        columns = self.valuation.columns[None]
        known = seen.chances is not None and seen.chances[0] == self.prices.version
        return columns[:, :0] if known or self.valuation.uplift is not None else columns

    def of(
        self,
        seen: Seen,
        day: date | None,
        eligibility: Eligibility | None = None,
        now: datetime | None = None,
        ledger: Ledger | None = None,
    ) -> dict[str, Any]:
        """What to do with a customer as seen from `day`; rules leave what `eligibility` does.

        `now`: the moment by the bank's clock, from which spend is paced; None decides at the published prices, as the
        plan did. With a `ledger` the decision is written before it is returned, what was decided before counts, and
        spend is that of everybody who writes there. Raises StoreDown.
        """
        answer: dict[str, Any] = {"prices": self.prices.version, "actions": [], "arm": None, "propensity": None}
        answer["removed"] = []
        if day is not None and not self.prices.in_force(day):
            return answer | {"reason": f"the prices were in force until {self.prices.valid_until}; plan again"}
        if ledger is not None:
            before = ledger.of(seen.facts.customer_id, self.prices.version)
            return answer | self._written(seen, day, eligibility, now, before)
        kept = seen.decided if now is None else None
        if kept is not None and kept[0] == self.prices.version and kept[1] is eligibility:
            return kept[2]
        bucket = self._left(seen, day, eligibility)
        answer["removed"] = self._removed(bucket)
        with self._lock:
            told, chosen = self._decided(bucket, self.spend.settled(self.spend.own, now))
            if now is not None and chosen and not self.spend.counts(bucket, chosen):
                told = {"reason": "a limit of the plan is used up for now", "arm": told["arm"]}
        answer |= told
        if now is None:
            seen.decided = (self.prices.version, eligibility, answer)
        return answer

    def _written(
        self, seen: Seen, day: date | None, eligibility: Eligibility | None, now: datetime | None, made: Decisions
    ) -> dict[str, Any]:
        """Today's decision where it stands, else one that is written."""
        bucket = self._left(seen, day, eligibility, made.before)
        allowed = [row["action"] for row, may in zip(self.table, bucket.allowed[:, 0], strict=True) if may]
        if (standing := made.standing(allowed)) is not None:
            return standing | {"removed": self._removed(bucket)}
        if any(row["actions"] for row in made.today):
            bucket = self._left(seen, day, eligibility, made.made.decisions)
        removed = {"removed": self._removed(bucket)}
        pacer = None if now is None else self.spend.settled(self.spend.of_all(made.pacing), now)
        told, chosen = self._decided(bucket, pacer)
        spend = partial(self.spend.after, self.spend.use(bucket, chosen), now) if now is not None and chosen else None
        decision_id, refused = made.write(told, spend)
        if refused is not None:
            return removed | {"reason": refused, "arm": told["arm"]}
        return removed | told | {"decision_id": decision_id}

    def _left(
        self,
        seen: Seen,
        day: date | None,
        eligibility: Eligibility | None,
        decided: Sequence[Mapping[str, Any]] = (),
    ) -> Bucket:
        """Values of every action that rules leave; contacts that were decided count as made."""
        bucket = self._valued(seen, day, decided)
        return bucket if eligibility is None else self.valuation.ruled(bucket, None, eligibility)

    def _valued(self, seen: Seen, day: date | None, decided: Sequence[Mapping[str, Any]] = ()) -> Bucket:
        """Values of every action with the customer; kept with what is kept of them, which a new event makes anew."""
        key = "+".join((self.prices.version, *(row["decision_id"] for row in decided if row["actions"])))
        if seen.valued is None or seen.valued[0] != key:
            ids = pl.Series("customer_id", [seen.facts.customer_id])
            rows = seen.tables()
            tables = dict(rows)
            contacts = with_decided(tables.get("contacts"), decided, seen.facts.customer_id)
            if contacts is not None:
                tables["contacts"] = contacts
            if self.consents and "consents" not in tables:
                tables["consents"] = NO_CONSENTS
            if seen.allowed is None:
                seen.allowed = self.valuation.recommender.allowed(seen.held)
            group, standing = self._group(seen, tables, ids, day), self._standing(seen, tables, ids, day)
            chances = seen.chances[1] if seen.chances and seen.chances[0] == self.prices.version else None
            worked_out = rows.worked_out if isinstance(rows, CustomerRows) else {}
            contactable = self._contactable(tables, ids, day, worked_out)
            found = self.valuation.valued(contactable, ids, lambda: seen.rows, seen.allowed, group, standing, chances)
            if (rules := self.valuation.rules) is not None:
                reached = rules.contactable(tables, seen.rows if rules.rules.reads_segments else seen.held, day)
                found = self.valuation.ruled(found, reached, None)
            seen.valued = (key, found)
        kept: Bucket = seen.valued[1]
        return kept

    def _group(self, seen: Seen, tables: Mapping[str, pl.DataFrame], ids: pl.Series, day: date | None) -> np.ndarray:
        """int64 [1]: the group of the plan's budgets by segment, -1 for none."""
        budgets = self.plan.segment_budgets
        if budgets is not None and budgets.by == SEGMENTS and seen.facts.segment is not None:
            names = list(budgets.amounts)
            return np.array([names.index(own) if (own := seen.facts.segment.id) in names else -1])
        return self.valuation.groups(tables, ids, day)

    def _standing(self, seen: Seen, tables: Mapping[str, pl.DataFrame], ids: pl.Series, day: date | None) -> np.ndarray:
        """int8 [1]: why they are nobody to contact, 0 for a customer of the day."""
        if self.valuation.rule is None:
            return self.valuation.standing(tables, ids, day)
        return np.array([STANDING[seen.facts.standing]], dtype=np.int8)

    def _contactable(
        self, tables: Mapping[str, pl.DataFrame], ids: pl.Series, day: date | None, worked_out: dict[str, Any]
    ) -> Contactable:
        """What contacts and consents say of the customer; as before, where the same rows are seen from the same day."""
        contacts, consents = tables.get("contacts"), tables.get("consents")
        if (kept := worked_out.get(CONTACTABLE)) is not None:
            version, seen_from, of, said, found = kept
            if version == self.prices.version and seen_from == day and of is contacts and said is consents:
                return cast(Contactable, found)
        found = self.valuation.contactable(tables, ids, day)
        worked_out[CONTACTABLE] = (self.prices.version, day, contacts, consents, found)
        return found

    def _removed(self, bucket: Bucket) -> list[dict[str, str]]:
        """The actions that rules removed, which all else had allowed, and the first rule that did."""
        by = () if bucket.removed is None else bucket.removed[:, 0]
        return [
            {"action": self.table[action]["action"], "rule": bucket.rules[rule]}
            for action, rule in enumerate(by)
            if rule >= 0
        ]

    def _decided(self, bucket: Bucket, pacer: Pacer | None) -> tuple[dict[str, Any], list[int]]:
        """What is told of a decision at the pacer's prices, or the published ones, and its actions."""
        price = self._published if pacer is None else self._limits.prices(pacer.dual, len(self._published.contact))
        planned, plan = choose(bucket.part, self._actions, price, self.prices.contacts), self.plan
        here = draw(bucket.ids, planned, bucket.allowed, plan.holdout, plan.exploration, plan.seed)
        chosen = [int(action) for action in here.chosen[:, 0] if action >= 0]
        told = {"arm": ARMS[here.arm[0]], "propensity": float(here.propensity[0]), "actions": []}
        if not chosen:
            return told | {"reason": self._why_not(bucket, planned, int(here.arm[0]), price)}, []
        actions = []
        for action in chosen:
            found = charged(bucket.part, price, np.array([action]))
            gain, paid = float(found.gain[0]), float(found.price[0])
            reason = "drawn at random to learn" if here.arm[0] == 2 else self.words.contacted(gain, paid, by_price=True)
            cost = self.table[action]["cost"] if bucket.part.costs is None else float(bucket.part.costs[action, 0])
            actions.append({**self.table[action], "cost": cost, "expected_gain": gain, "price": paid, "reason": reason})
        return told | {"actions": actions, "reason": actions[0]["reason"]}, chosen

    def _why_not(self, bucket: Bucket, planned: np.ndarray, arm: int, price: Any) -> str:
        if arm == 1 and (planned >= 0).any():
            return "held out to measure the effect"
        best = best_single(bucket.part, price)
        at = charged(bucket.part, price, best)
        gain, paid = float(at.gain[0]), float(at.price[0])
        return self.words.not_contacted(int(bucket.blocked[0]), int(best[0]), gain, paid, bucket.ruled_by(0))
