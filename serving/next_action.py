"""The next best action for one customer: what the plan would do at its published prices, or nothing, and why."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time
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
from recsys.lake.buckets import stable_hashes
from recsys.lake.contract import TABLES, schema_of
from recsys.rules import Eligibility
from recsys.segment_cards.labels import WHOLE_CURRENCIES
from serving.campaign_values import Bucket, Contactable, Valuation
from serving.decisions import Decisions, Ledger, with_decided
from serving.rules import RulesInForce
from serving.run_record import RUN
from serving.seen import CustomerRows, Seen
from serving.store.decisions import Pacing

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
        self.pacer, self._whole = pacer_of(prices, workers), pacer_of(prices, 1)
        self._actions, self._limits, self._published = prices.actions, prices.shared, prices.prices()
        self._counted: set[tuple[int, ...]] = set()
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
            told, chosen = self._decided(bucket, self._settled(self.pacer, now))
            if now is not None and chosen and not self._counts(bucket, chosen):
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
        pacer = None if now is None else self._settled(self._of_all(made.pacing), now)
        told, chosen = self._decided(bucket, pacer)
        spend = partial(self._spent, self._use(bucket, chosen), now) if now is not None and chosen else None
        decision_id, refused = made.write(told, spend)
        if refused is not None:
            return removed | {"reason": refused, "arm": told["arm"]}
        return removed | told | {"decision_id": decision_id}

    def _spent(self, use: np.ndarray, now: datetime, state: Pacing | None) -> Pacing | None:
        """The state of the prices after a contact with these uses; None where it does not fit."""
        pacer = self._of_all(state)
        self._settled(pacer, now)
        if not pacer.fits(use):
            return None
        pacer.take(use)
        return pacer.state()

    def _of_all(self, state: Pacing | None) -> Pacer:
        """The pacing that all workers share."""
        pacer = replace(self._whole)
        if state is not None:
            pacer.restore(state)
        return pacer

    def _settled(self, pacer: Pacer, now: datetime | None) -> Pacer | None:
        """The same with prices that have moved until now; None where the published ones decide."""
        if now is None or (elapsed := self._elapsed(now)) is None:
            return None
        pacer.settle(elapsed)
        return pacer

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
            budgets = self.plan.segment_budgets
            if budgets is not None and budgets.by == SEGMENTS and seen.facts.segment is not None:
                names = list(budgets.amounts)
                group = np.array([names.index(own) if (own := seen.facts.segment.id) in names else -1])
            else:
                group = self.valuation.groups(tables, ids, day)
            if seen.allowed is None:
                seen.allowed = self.valuation.recommender.allowed(seen.held)
            if self.valuation.rule is None:
                standing = self.valuation.standing(tables, ids, day)
            else:
                standing = np.array([STANDING[seen.facts.standing]], dtype=np.int8)
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

    def _counts(self, bucket: Bucket, chosen: list[int]) -> bool:
        """Whether the contacts fit into the limits; they are counted once, however often it is asked."""
        contacts = (int(stable_hashes(bucket.ids)[0]), *chosen)
        if contacts in self._counted:
            return True
        use = self._use(bucket, chosen)
        if not self.pacer.fits(use):
            return False
        self.pacer.take(use)
        self._counted.add(contacts)
        return True

    def _use(self, bucket: Bucket, chosen: Sequence[int]) -> np.ndarray:
        """float64 [m]: what contacts with the customer take of every limit."""
        costs, use = bucket.part.costs, np.zeros(len(self.prices.limits))
        for action in chosen:
            own = None if costs is None else costs[action]
            use += self._limits.uses(own, bucket.part.group, np.array([action]))[:, 0]
        return use

    def _elapsed(self, now: datetime) -> float | None:
        """Share of the period of the prices that has passed; None where they have none."""
        first, last = self.prices.as_of, self.prices.valid_until
        if first is None or last is None:
            return None
        start, end = datetime.combine(first, time()), datetime.combine(last, time.max)
        return (now - start).total_seconds() / (end - start).total_seconds()


def pacer_of(prices: PublishedPrices, workers: int) -> Pacer:
    """Pacing of the plan's limits, of which each worker keeps its share.

    The scale of a price is itself or, where it is 0, what the cheapest contact that takes of the limit costs for it.
    """
    shared, dual = prices.shared, prices.dual
    cost = np.array(prices.cost)
    scale = np.array(
        [
            dual[j] or min((max(c, 1.0) / u for c, u in zip(cost, shared.use[j], strict=True) if u > 0), default=1.0)
            for j in range(len(dual))
        ]
    )
    planned = np.array([row.planned for row in prices.limits])
    return Pacer(dual, planned / workers, shared.limit / workers, scale)
