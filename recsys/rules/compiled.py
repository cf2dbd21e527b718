"""Rules prepared once against a catalogue and its columns, then asked of a bucket or of one customer alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl

from recsys.errors import ConfigError
from recsys.lake.contract import nearest
from recsys.rules.catalogue import Catalogue, Known
from recsys.rules.conditions import Condition, contact_conditions, product_conditions
from recsys.rules.config import ContactRule, ProductRule, Rules
from recsys.rules.eligibility import Eligibility, Removal
from recsys.rules.seen import Seen


@dataclass(frozen=True)
class _Compiled:
    """A rule, the columns it governs, bool [P] or [C], and what each of its conditions removes."""

    name: str
    governed: np.ndarray
    conditions: tuple[Condition, ...]


class CompiledRules:
    """`Rules` against one catalogue: says what is eligible, and which rule removed what."""

    def __init__(
        self, rules: Rules, known: Known, products: Sequence[str], channels: Sequence[str] = (), where: str = "rules"
    ) -> None:
        """`products` and `channels` are the columns of the masks; `where` names the file in errors.

        ConfigError names the first rule that asks for what is not there: a product, category, attribute, table,
        segment or channel, or for a day of a lake without dates.
        """
        self.rules = rules
        self.digest = rules.digest
        self.products, self.channels = tuple(products), tuple(channels)
        self._known, self._where = known, where
        catalogue = Catalogue(known, self.products, rules.category, where)
        self._products = [self._product_rule(rule, known, catalogue) for rule in rules.products]
        self._contacts = [self._contact_rule(rule, known, catalogue) for rule in rules.contacts]

    def reaching(self, channels: Sequence[str]) -> "CompiledRules":
        """The same rules for contacts through these channels; what they say of other channels is of no account there.

        Whether a rule names a channel that nobody is reached by, `recsys rules check` tells.
        """
        named = {channel for rule in self.rules.contacts for channel in rule.channels or ()}
        return CompiledRules(
            self.rules, replace(self._known, channels=tuple(named)), self.products, channels, self._where
        )

    @property
    def reads_segments(self) -> bool:
        """Whether the customers' segments are asked for."""
        return any(rule.segment for rule in (*self.rules.products, *self.rules.contacts))

    @property
    def governed(self) -> dict[str, int]:
        """How many products, or channels, each rule governs, by its name."""
        return {rule.name: int(rule.governed.sum()) for rule in (*self._products, *self._contacts)}

    def eligible(
        self,
        tables: Mapping[str, pl.DataFrame],
        customers: pl.Series,
        as_of: date | None,
        *,
        holdings: pl.Series | None = None,
        segments: pl.Series | None = None,
    ) -> Eligibility:
        """Customers [N] × products [P]: what may be recommended on the day.

        `tables` hold at least the customers' rows; `holdings`, List(String) [N], are those of their feature rows and
        worked out here if not given; `segments` [N] are ids, needed if `reads_segments`. The answer about a customer
        does not depend on who else is asked about.
        """
        seen = Seen(tables, customers, as_of, holdings, segments)
        return _asked(self._products, seen, len(self.products))

    def contactable(
        self,
        tables: Mapping[str, pl.DataFrame],
        customers: pl.Series,
        as_of: date | None,
        *,
        segments: pl.Series | None = None,
    ) -> Eligibility:
        """Customers [N] × channels [C]: how they may be contacted on the day; see `eligible`."""
        seen = Seen(tables, customers, as_of, None, segments)
        return _asked(self._contacts, seen, len(self.channels))

    def _product_rule(self, rule: ProductRule, known: Known, catalogue: Catalogue) -> _Compiled:
        where = f"{catalogue.where}: rule {rule.name}"
        governed = np.ones(len(self.products), dtype=bool)
        if rule.products is not None:
            governed = catalogue.selected(rule.products, f"{where}.products")[catalogue.offered]
        return _Compiled(rule.name, governed, tuple(product_conditions(rule, known, catalogue, governed, where)))

    def _contact_rule(self, rule: ContactRule, known: Known, catalogue: Catalogue) -> _Compiled:
        where = f"{catalogue.where}: rule {rule.name}"
        there = sorted({*self.channels, *(known.channels or ())})
        for channel in rule.channels or ():
            if there and channel not in there:
                raise ConfigError(f"{where}.channels: nobody is reached by {channel!r}{nearest(channel, there)}")
        named = self.channels if rule.channels is None else rule.channels
        governed = np.array([channel in named for channel in self.channels], dtype=bool)
        conditions = contact_conditions(rule, known, catalogue, governed, self.channels, where)
        return _Compiled(rule.name, governed, tuple(conditions))


def _asked(rules: Sequence[_Compiled], seen: Seen, columns: int) -> Eligibility:
    removals = []
    for place, rule in enumerate(rules):
        for condition in rule.conditions:
            for found in condition(seen):
                if isinstance(found, np.ndarray):
                    removals.append(Removal(place, pairs=found))
                else:
                    removals.append(Removal(place, *found))
    return Eligibility([rule.name for rule in rules], removals, (len(seen.ids), columns))
