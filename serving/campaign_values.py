"""What every action of a campaign plan is worth with every customer, of any tables."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl

from recsys.bundle import Adoption, Bundle, Recommender
from recsys.bundle.churn import leaving_rule
from recsys.bundle.segmentation import PART as SEGMENTS
from recsys.bundle.segmentation import Segmentation, segmentation_of
from recsys.bundle.uplift import uplift_of
from recsys.campaigns.allocation import Part
from recsys.campaigns.contact_history import History, history
from recsys.campaigns.offers import Offers
from recsys.campaigns.plan import CampaignPlan
from recsys.campaigns.reasons import CAPPED, CONSENT, LEFT, NOTHING, RESTING, RULED, STANDING
from recsys.churn.standing import standing_by_tables
from recsys.errors import BundleError, ConfigError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.retention.consent import consented
from recsys.rules import Eligibility
from serving.campaign_since import Known
from serving.decisions import with_all_decided
from serving.rules import RulesInForce


@dataclass(frozen=True)
class Bucket:
    """The customers of one bucket; values and costs are mapped from the disk."""

    ids: pl.Series
    part: Part
    blocked: np.ndarray
    """int8 [n]: why nothing is allowed, 0 where something is."""
    rules: tuple[str, ...] = ()
    """The names of the rules, those for contacts before those for products."""
    removed: np.ndarray | None = None
    """int16 [K, n]: the first rule that removed what all else had allowed, -1 where none did; None without rules."""

    @property
    def allowed(self) -> np.ndarray:
        """bool [K, n]."""
        return np.asarray(np.isfinite(self.part.values))

    def ruled_by(self, row: int) -> list[str]:
        """The rules that left nothing to a customer to whom all else had left something, in their order."""
        if self.removed is None or self.blocked[row] != RULED:
            return []
        return [self.rules[rule] for rule in np.unique(self.removed[:, row]) if rule >= 0]


@dataclass(frozen=True)
class Contactable:
    """What contacts and consents say of customers, whatever is offered."""

    past: History
    may: np.ndarray
    """bool [N, C]: whether each may be contacted through a channel by what they consented to."""


class Valuation:
    """Values of a plan's actions by a bundle, for the customers of a lake's tables."""

    def __init__(self, bundle: Bundle, plan: CampaignPlan, threads: int, rules: RulesInForce | None = None) -> None:
        """BundleError without a part that tells chances to acquire; ConfigError for what the bundle does not know."""
        self.rules = None if rules is None else rules.reaching([channel.channel for channel in plan.channels])
        self.plan, self.offers = plan, Offers(plan)
        self.recommender = Recommender(bundle, threads)
        self.uplift = uplift_of(bundle, threads) if plan.effect == "uplift" else None
        self.adoption = Adoption.of(bundle, threads)
        if self.adoption is None and self.uplift is None:
            raise BundleError(
                f"{bundle.path}: has no part adoption, so the chance to acquire a product is not known; train with a "
                "section adoption, or plan by effect: uplift"
            )
        unknown = sorted({p.product for p in plan.products} - set(self.recommender.products))
        if unknown:
            raise ConfigError(f"products: {', '.join(unknown)}: not products of bundle {bundle.bundle_id}")
        self.columns = np.array([self.recommender.products.index(p.product) for p in plan.products])
        self.horizon = 0 if self.adoption is None else self._horizon(self.adoption, plan.horizon_months)
        self.segmentation = self._segments(bundle, threads)
        self.rule = leaving_rule(bundle)

    def _no_rules(self, empty: np.ndarray) -> tuple[tuple[str, ...], np.ndarray | None]:
        """What `ruled` adds to a bucket of nobody."""
        if self.rules is None:
            return (), None
        rules = self.rules.rules.rules
        return tuple(rule.name for rule in (*rules.contacts, *rules.products)), empty.astype(np.int16)

    def _horizon(self, adoption: Adoption, months: int | None) -> int:
        known = adoption.horizons_months
        if months is not None and months not in known:
            raise ConfigError(f"horizon_months: {months}, the bundle knows {', '.join(map(str, known))}")
        return 0 if months is None else list(known).index(months)

    def _segments(self, bundle: Bundle, threads: int) -> Segmentation | None:
        budgets = self.plan.segment_budgets
        if budgets is None or budgets.by != SEGMENTS:
            return None
        found = segmentation_of(bundle, threads)
        known = {segment.id for segment in found.segments}
        if unknown := sorted(set(budgets.amounts) - known):
            raise ConfigError(
                f"segment_budgets: {', '.join(unknown)}: no segment of bundle {bundle.bundle_id}; it has "
                f"{', '.join(sorted(known))}"
            )
        return found

    def of(self, tables: dict[str, pl.DataFrame], day: date | None, since: Known | None = None) -> Bucket:
        """Everyone in these tables, by id; contacts that a store says were decided count as made."""
        ids = tables["customers"]["customer_id"].unique().sort()
        if not len(ids):
            empty = np.zeros((len(self.offers.index), 0), dtype=np.float32)
            none = np.zeros(0, dtype=np.int64)
            part = Part(empty, self._kept(empty), self._kept_group(none), none)
            return Bucket(ids, part, none.astype(np.int8), *self._no_rules(empty))
        rows = features(tables, scoring_examples(ids, day), self.recommender.definition)
        groups, standing = self.groups(tables, ids, day), self.standing(tables, ids, day)
        bound = tables
        if since is not None:
            standing[ids.is_in(since.erased).to_numpy()] = LEFT
            decided = with_all_decided(tables.get("contacts"), since.decided(day))
            bound = tables if decided is None else {**tables, "contacts": decided}
        contactable, products = self.contactable(bound, ids, day), self.recommender.allowed(rows)
        found = self.valued(contactable, ids, lambda: rows, products, groups, standing)
        if self.rules is None:
            return found
        contacts = self.rules.contactable(bound, rows, day)
        return self.ruled(found, contacts, self.rules.eligible(tables, rows, day))

    def ruled(self, bucket: Bucket, contacts: Eligibility | None, products: Eligibility | None) -> Bucket:
        """The same without what rules remove, and by which: of contacts [n, C] first, then of products [n, P]."""
        values, blocked, rules = bucket.part.values, bucket.blocked, bucket.rules
        removed = np.full(values.shape, -1, dtype=np.int16) if bucket.removed is None else bucket.removed.copy()
        product, channel = self.columns[self.offers.index[:, 0]], self.offers.index[:, 1]
        for found, columns in ((contacts, channel), (products, product)):
            if found is not None:
                by = found.removed_by.T[columns]
                gone = (by >= 0) & np.isfinite(values)
                removed = np.where(gone, by + len(rules), removed).astype(np.int16)
                values, rules = np.where(gone, np.float32(-np.inf), values), (*rules, *found.names)
        emptied = (blocked == 0) & ~np.isfinite(values).any(axis=0)
        blocked = np.where(emptied, RULED, blocked).astype(np.int8)
        return Bucket(bucket.ids, replace(bucket.part, values=values), blocked, rules, removed)

    def standing(self, tables: Mapping[str, pl.DataFrame], ids: pl.Series, day: date | None) -> np.ndarray:
        """int8 [N]: why each customer is nobody to contact, LEFT or LATER, and 0 for a customer of the day."""
        found = standing_by_tables(tables, day, self.rule).select("customer_id", "standing")
        of = dict(found.iter_rows())
        return np.array([STANDING[of[customer_id]] for customer_id in ids.to_list()], dtype=np.int8)

    def contactable(self, tables: Mapping[str, pl.DataFrame], ids: pl.Series, day: date | None) -> Contactable:
        """Of the tables contacts and consents are read; without consents everybody may be contacted."""
        asked = [channel.channel if channel.consent else None for channel in self.plan.channels]
        may = np.ones((len(ids), len(asked)), dtype=bool)
        if "consents" in tables:
            may = consented(tables["consents"], ids, self.plan.purpose, asked, day)
        return Contactable(history(tables.get("contacts"), ids, self.plan, day), may)

    def valued(
        self,
        contactable: Contactable,
        ids: pl.Series,
        rows: Callable[[], pl.DataFrame],
        products: np.ndarray,
        groups: np.ndarray,
        standing: np.ndarray,
        chances: np.ndarray | None = None,
    ) -> Bucket:
        """Customers of whom is known what they may be recommended, bool [N, P], their groups, int64 [N], and standing,
        int8 [N].

        `rows` gives their feature rows, which a plan of assumed lifts does not need with `chances` to acquire its
        products, float32 [N, P, H].
        """
        past = contactable.past
        allowed, blocked = self._allowed(contactable, products[:, self.columns], standing)
        baseline, effect, se = self._effects(rows, chances)
        costs = self.offers.costs(baseline, effect)
        values = self.offers.values(effect, se, costs, past.pressure, allowed)
        return Bucket(ids, Part(values, self._kept(costs), self._kept_group(groups), past.left), blocked)

    def _effects(
        self, rows: Callable[[], pl.DataFrame], chances: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Chance without contact, what a contact adds, and its standard error, float64 [K, N]."""
        if self.uplift is not None:
            told = self.uplift.expected(rows(), self.offers.table.select("product_id", "channel", "level"))
            baseline, effect, se = (np.ascontiguousarray(one.T, dtype=np.float64) for one in told)
            return baseline, effect, se
        assert self.adoption is not None
        if chances is None:
            vectors = self.adoption.vectors_from_rows(rows())
            chances = self.adoption.probabilities(vectors, np.repeat(self.columns[None], len(vectors), axis=0))
        return self.offers.assumed_effect(np.asarray(chances[:, :, self.horizon].T, dtype=np.float64))

    def _kept(self, costs: np.ndarray) -> np.ndarray | None:
        return costs if self.offers.personal else None

    def _kept_group(self, group: np.ndarray) -> np.ndarray | None:
        return group if self.plan.segment_budgets else None

    def _allowed(
        self, contactable: Contactable, product: np.ndarray, standing: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """bool [K, N] of the plan's products, bool [N, P], and why nothing is allowed."""
        past, may = contactable.past, contactable.may
        awake = may & ~past.resting
        some = ((past.left > 0) & (standing == 0))[:, None]
        found = awake[:, self.offers.index[:, 1]] & product[:, self.offers.index[:, 0]] & some
        blocked = np.zeros(len(may), dtype=np.int8)
        none = ~found.any(axis=1)
        if none.any():  # each reason says more than those before it
            blocked[none] = NOTHING
            for why, holds in ((CAPPED, past.left > 0), (RESTING, awake.any(axis=1)), (CONSENT, may.any(axis=1))):
                blocked[~holds] = why
            np.copyto(blocked, standing, where=standing > 0)  # LEFT or LATER
        return found.T, blocked

    def groups(self, tables: Mapping[str, pl.DataFrame], ids: pl.Series, day: date | None) -> np.ndarray:
        """int64 [N]: the place of each customer's group among the budgets of segments, -1 for none."""
        budgets = self.plan.segment_budgets
        if budgets is None:
            return np.full(len(ids), -1)
        names = {name: place for place, name in enumerate(budgets.amounts)}
        if self.segmentation is not None:
            rows = features(tables, scoring_examples(ids, day), self.segmentation.definition)
            of = self.segmentation.assigned(rows).select("customer_id", pl.col("segment_id").alias("group"))
        else:
            check_groups(self.plan, tables["customers"].columns)
            newest = tables["customers"].group_by("customer_id", maintain_order=True).last()
            of = newest.select("customer_id", pl.col(budgets.by).cast(pl.String).alias("group"))
        joined = ids.to_frame("customer_id").join(of, on="customer_id", how="left", maintain_order="left")
        return joined["group"].replace_strict(names, default=-1, return_dtype=pl.Int64).fill_null(-1).to_numpy()


def check_groups(plan: CampaignPlan, columns: Collection[str]) -> None:
    """ConfigError where budgets are by what is neither segments nor one of these columns of the table customers."""
    budgets = plan.segment_budgets
    if budgets is not None and budgets.by != SEGMENTS and budgets.by not in columns:
        raise ConfigError(f"segment_budgets.by: {budgets.by}: neither {SEGMENTS} nor a column of the table customers")
