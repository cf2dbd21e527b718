"""A file of rules against the bundle and the lake that answers come from."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from recsys.bundle import Bundle, Recommender
from recsys.bundle.item_table import PRODUCT_IDS, read_ids
from recsys.bundle.segmentation import PART, TABLE, Segmentation, SegmentTable
from recsys.lake.contract import TABLES, Attribute
from recsys.lake.store import Lake
from recsys.rules import CompiledRules, Eligibility, Rules
from recsys.rules.catalogue import Known
from serving.store import Store


def known(bundle: Bundle | None, lake: Lake | Store | None, as_of: date | None, others: Sequence[str] = ()) -> Known:
    """What rules may name."""
    segments = None
    if bundle is not None and PART in bundle.contents.parts:
        segments = [segment.id for segment in bundle.parsed(TABLE, SegmentTable).segments]
    if lake is not None:
        return Known(
            products=lake.read("products"),
            product_attributes=lake.attributes("products"),
            customer_attributes=lake.attributes("customers"),
            tables=tuple(dict.fromkeys((*lake.tables, *others))),
            dated=as_of is not None,
            segments=segments,
        )
    assert bundle is not None
    profile = [Attribute(column.name, "feature", column.kind) for column in bundle.definition.profile]
    tables = tuple(name for name, table in TABLES.items() if table.about != "all")
    products = pl.DataFrame({"product_id": pl.Series(bundle.encoder.products, dtype=pl.String)})
    return Known(products, (), profile, tables, as_of is not None, segments)


class RulesInForce:
    """Compiled rules with what they need of the bundle: the segments, where a rule reads them."""

    def __init__(self, rules: CompiledRules, segmentation: Segmentation | None) -> None:
        self.rules = rules
        self.digest = rules.digest
        self._segmentation = segmentation if rules.reads_segments else None

    @classmethod
    def of(
        cls,
        rules: Rules,
        where: str,
        bundle: Bundle,
        lake: Lake | Store | None,
        as_of: date | None,
        threads: int = 1,
        others: Sequence[str] = (),
    ) -> "RulesInForce":
        """The rules for the products of a bundle; `where` names their file in errors.

        Without a lake nothing is known of the products but their ids, and of the customers what the bundle reads.
        Besides the lake's tables there may be `others`, such as those of a store. ConfigError names the rule that asks
        for more than there is.
        """
        products = read_ids(bundle.read(PRODUCT_IDS), str(bundle.path / PRODUCT_IDS))
        compiled = CompiledRules(rules, known(bundle, lake, as_of, others), products, where=where)
        return cls(compiled, Segmentation(bundle, threads) if compiled.reads_segments else None)

    @classmethod
    def read(
        cls,
        path: Path | str | None,
        bundle: Bundle,
        lake: Lake | Store | None,
        as_of: date | None,
        others: Sequence[str] = (),
    ) -> "RulesInForce | None":
        """`of` the rules of a file; None without one."""
        return None if path is None else cls.of(Rules.read(path), str(path), bundle, lake, as_of, others=others)

    def eligible(self, tables: Mapping[str, pl.DataFrame], rows: pl.DataFrame, as_of: date | None) -> Eligibility:
        """What may be recommended to the customers of these feature rows, whose tables are given."""
        segments = self._segments(rows)
        return self.rules.eligible(tables, rows["customer_id"], as_of, holdings=rows["holdings"], segments=segments)

    def reaching(self, channels: Sequence[str]) -> "RulesInForce":
        """The same rules for contacts through these channels."""
        return RulesInForce(self.rules.reaching(channels), self._segmentation)

    def contactable(self, tables: Mapping[str, pl.DataFrame], rows: pl.DataFrame, as_of: date | None) -> Eligibility:
        """How the customers of these feature rows, whose tables are given, may be contacted; of the rows
        `customer_id` is read and, where rules read segments, what tells them."""
        return self.rules.contactable(tables, rows["customer_id"], as_of, segments=self._segments(rows))

    def _segments(self, rows: pl.DataFrame) -> pl.Series | None:
        return None if self._segmentation is None else self._segmentation.assigned(rows)["segment_id"]


def removed_products(
    recommender: Recommender,
    rows: pl.DataFrame,
    eligibility: Eligibility | None,
    exclude: Collection[str] = (),
    candidates: Collection[str] | None = None,
) -> list[dict[str, str]]:
    """Every product that was removed before the ranking for the customer of one feature row, and why.

    The rule named is the first that removed it; where no rule did, `held`, `excluded` or `not_a_candidate`.
    """
    said = np.full(len(recommender.products), "", dtype=object)
    if candidates is not None:
        said[~recommender.allowed(rows, candidates=candidates, exclude_held=False)[0]] = "not_a_candidate"
    said[~recommender.allowed(rows, exclude, exclude_held=False)[0]] = "excluded"
    said[~recommender.allowed(rows)[0]] = "held"
    if eligibility is not None:
        by = eligibility.removed_by[0]
        said[by >= 0] = np.array(eligibility.names, dtype=object)[by[by >= 0]]
    return [{"product_id": recommender.products[i], "rule": said[i]} for i in np.flatnonzero(said != "")]
