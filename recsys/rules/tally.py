"""What rules remove from customers, counted over slices of a bank, and what in the counts deserves a warning."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from recsys.rules.compiled import CompiledRules
from recsys.rules.config import ContactRule, ProductRule, Rules
from recsys.rules.eligibility import Eligibility


class Tally:
    """Cells removed by each rule, columns left, and customers left without any."""

    def __init__(self, rules: Sequence[str], columns: Sequence[str]) -> None:
        self.rules, self.columns = tuple(rules), tuple(columns)
        self.customers = 0
        self.without = 0
        """Customers to whom nothing is left."""
        self.counts = np.zeros((len(self.rules), 2), dtype=np.int64)
        """Cells that each rule removes by itself, and as the first."""
        self.left = np.zeros(len(self.columns), dtype=np.int64)
        """Customers to whom each column is left."""

    def add(self, found: Eligibility) -> None:
        """Count some customers."""
        mask = found.mask
        self.customers += len(mask)
        self.without += int((~mask.any(axis=1)).sum())
        self.counts += found.counts
        self.left += mask.sum(axis=0)

    def warnings(self, governed: Mapping[str, int], column: str) -> Iterator[str]:
        """What most likely is not meant; `column` says what the columns are: product, channel."""
        if not self.customers or not self.columns:
            return
        if not self.left.any():
            yield f"no {column} is left to any of {self.customers:,} customers: together the rules remove everything"
        for rule, (alone, _) in zip(self.rules, self.counts, strict=True):
            if not governed[rule]:
                yield f"rule {rule} governs no {column}"
            elif alone == governed[rule] * self.customers:
                yield f"rule {rule} removes all that it governs from all {self.customers:,} customers"
            elif not alone:
                yield f"rule {rule} removes nothing"
        if self.left.any() and (nobody := [c for c, n in zip(self.columns, self.left, strict=True) if not n]):
            more = f" and {len(nobody) - 5:,} more" if len(nobody) > 5 else ""
            yield f"left to nobody: {', '.join(nobody[:5])}{more}"


class Unmet:
    """Words of the rules that no customer has had so far: most likely slips."""

    def __init__(self, rules: Rules) -> None:
        self._wanted: dict[tuple[str, str, str], str] = {}
        every: tuple[ProductRule | ContactRule, ...] = (*rules.products, *rules.contacts)
        for rule in every:
            for name, test in rule.customer.items():
                for value in (*(test.any_of or ()), *(test.none_of or ())):
                    if isinstance(value, str):
                        self._wanted[("customers", name, value)] = rule.name
            if rule.consent is not None:
                self._wanted[("consents", "purpose", rule.consent.purpose)] = rule.name

    def look(self, tables: Mapping[str, pl.DataFrame]) -> None:
        """Strike out what these tables have."""
        there: dict[tuple[str, str], set[object]] = {}
        for table, column, _ in self._wanted:
            if (table, column) not in there and table in tables and column in tables[table].columns:
                values = tables[table][column]
                flat = values.explode() if values.dtype == pl.List else values
                there[table, column] = set(flat.unique().to_list())
        self._wanted = {key: rule for key, rule in self._wanted.items() if key[2] not in there.get(key[:2], set())}

    @property
    def warnings(self) -> list[str]:
        """One line for each word."""
        return [
            f"rule {rule}: none of the customers looked at has {value!r} in {table}.{column}"
            for (table, column, value), rule in self._wanted.items()
        ]


def tallies(rules: CompiledRules) -> tuple[Tally, Tally]:
    """Empty tallies of products and of channels."""
    products = Tally([rule.name for rule in rules.rules.products], rules.products)
    return products, Tally([rule.name for rule in rules.rules.contacts], rules.channels)
