"""What the customer holds and what they did with which product, before the example's point."""

from collections.abc import Mapping

import polars as pl

from recsys.features.definition import HOLDING_KINDS, FeatureDefinition

ORDER = ("at", "position", "event_id", "product_id", "kind")
"""Events are ordered by time, then id; the last two make the order total."""
SEEN: dict[str, pl.DataType] = {
    "row": pl.UInt32(),
    "as_of": pl.Date(),
    "product_id": pl.String(),
    "kind": pl.String(),
    "at": pl.Datetime("us"),
    "position": pl.Int64(),
    "event_id": pl.String(),
}


def is_test(events: pl.DataFrame) -> pl.Expr:
    """Whether an interaction is a test row, which no example may see."""
    return pl.col("test").fill_null(False) if "test" in events.columns else pl.lit(False)


def hides(asked: pl.DataFrame) -> bool:
    """Whether any example has products hidden from view."""
    return bool((asked["hidden"].list.len() > 0).any())


def before(joined: pl.LazyFrame) -> pl.LazyFrame:
    """Rows of events that the example may see: those before its day, and those that have no time."""
    timeless = pl.col("as_of").is_null() | pl.col("at").is_null()
    return joined.filter(timeless | (pl.col("at") < pl.col("as_of").cast(pl.Datetime("us"))))


def visible(joined: pl.LazyFrame) -> pl.LazyFrame:
    """Rows whose `product_id` is not hidden by the example."""
    shown = pl.col("product_id").is_null() | ~pl.col("hidden").list.contains(pl.col("product_id"))
    return joined.filter(shown | pl.col("hidden").is_null())


def seen_interactions(tables: Mapping[str, pl.DataFrame], asked: pl.DataFrame) -> pl.DataFrame:
    """Each example's visible interactions, in order (columns `SEEN`)."""
    events = tables.get("interactions")
    if events is None:
        return pl.DataFrame(schema=SEEN)
    columns = [
        (pl.col(name).cast(dtype) if name in events.columns else pl.lit(None, dtype=dtype).alias(name))
        for name, dtype in SEEN.items()
        if name not in ("row", "as_of")
    ]
    joined = asked.lazy().rename({"position": "until"})
    seen = events.lazy().filter(~is_test(events)).select("customer_id", *columns)
    joined = joined.join(seen, on="customer_id", how="inner")
    if asked["position"].null_count() < asked.height:
        until, position = pl.col("until"), pl.col("position")
        joined = joined.filter(until.is_null() | position.is_null() | (position < until))
    joined = before(joined)
    return _in_order((visible(joined) if hides(asked) else joined).select(SEEN.keys()).collect())


def _in_order(seen: pl.DataFrame) -> pl.DataFrame:
    """Sorted by example and `ORDER`; the texts are compared only if two events of an example share their time."""
    seen = seen.sort("row", "at", nulls_last=False)
    row, at = seen["row"], seen["at"].to_physical()
    tied = (row == row.shift(1)) & at.eq_missing(at.shift(1))
    return seen.sort("row", *ORDER, nulls_last=False) if tied.any() else seen


def holdings(seen: pl.DataFrame) -> pl.DataFrame:
    """Columns `row` and `holdings`: products taken and not closed since, sorted by id."""
    last = (
        seen.filter(pl.col("kind").is_in(HOLDING_KINDS))
        .group_by("row", "product_id", maintain_order=True)
        .agg(pl.col("kind").last())
        .filter(pl.col("kind") != "closed")
    )
    return (
        last.sort("row", "product_id").group_by("row", maintain_order=True).agg(pl.col("product_id").alias("holdings"))
    )


def history(seen: pl.DataFrame, definition: FeatureDefinition) -> pl.DataFrame | None:
    """Columns `row`, `history`, `history_kind`, `history_age`: the last interactions about a product, oldest first."""
    length = definition.history_length
    ordered = pl.col("at").is_not_null() | pl.col("position").is_not_null()
    wanted = seen.filter(ordered & pl.col("product_id").is_not_null() & pl.col("kind").is_in(definition.history_kinds))
    age = (pl.col("as_of") - pl.col("at").dt.date()).dt.total_days().cast(pl.Int32)
    return (
        wanted.with_columns(age.alias("age"))
        .group_by("row", maintain_order=True)
        .agg(
            pl.col("product_id").tail(length).alias("history"),
            pl.col("kind").tail(length).alias("history_kind"),
            pl.col("age").tail(length).alias("history_age"),
        )
    )
