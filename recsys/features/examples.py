"""Which customers, from which point, with which products hidden: training, evaluation, scoring differ in this alone."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Literal

import polars as pl
from pydantic import BaseModel, ByteSize, ConfigDict, Field

from recsys.errors import ConfigError, DataError
from recsys.features.holdings import holdings, is_test, seen_interactions
from recsys.features.view import EXAMPLE, View
from recsys.lake.buckets import stable_hashes

Part = Literal["train", "validation", "test"]
Learning = Literal["train", "validation", "test", "refit"]
"""A part, or `refit`: what training and validation are together, for a last fit when the epochs are chosen."""
LEARNING: dict[str, pl.DataType] = {**EXAMPLE, "targets": pl.List(pl.String), "weight": pl.Float32()}
"""An example with what was to be found out; `features` never reads the last two columns."""


class EvaluationConfig(BaseModel):
    """How examples are split into training, validation and test."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: Literal["temporal", "hold_one_out", "leave_last_out", "given"] = "temporal"
    """temporal: products acquired in the horizon after one global cut. hold_one_out: one random held product per
    customer. leave_last_out: the last interaction is the test, the one before it the validation. given: the rows of
    interactions marked `test`, from all others."""
    refit: bool = False
    """When validation has chosen the number of epochs, fit anew on training and validation together for as many.
    Baselines have no epochs to choose: only leave_last_out keeps the validation from them, and then no longer."""
    seed: int = 0
    """Draws the customers and products of hold_one_out, and the bootstrap."""
    test_share: float = Field(default=0.2, gt=0, lt=1)
    """hold_one_out: the share of customers that are the test."""
    validation_share: float = Field(default=0.1, gt=0, lt=1)
    """hold_one_out: the share of the other customers that are the validation. given: the share of each customer's
    products; of fewer than half of 1 / share products, none."""
    folds: int = Field(default=4, ge=2, le=64)
    """given: each customer's products are cut into so many parts, and each part is to be found from the others."""
    horizon_days: int = Field(default=90, ge=1)
    """temporal: days after the cut in which acquired products count."""
    snapshots: int = Field(default=6, ge=1)
    """temporal: how many earlier cuts training learns from."""
    stride_days: int = Field(default=30, ge=1)
    """temporal: days between two training cuts."""
    newcomers: bool = True
    """temporal: training learns from customers on their first day, too, when nothing is known of them yet. Who comes
    without a history is then recommended what others began with."""
    group: str | None = None
    """Customer attribute for popularity within a group; the first attribute with the role group if not given."""
    baselines: tuple[Literal["popularity", "popularity_by_group", "item_knn", "als", "ease"], ...] = (
        "popularity",
        "popularity_by_group",
        "item_knn",
        "als",
        "ease",
    )
    """What the recommender is compared with, in the same run."""
    baseline_memory: ByteSize = Field(default=ByteSize(4 << 30), ge=1)
    """A baseline that would need more is refused, and the report says so."""
    until: date | None = None
    """The day that counts as the last: cuts lie before it, and nothing from it on is seen or counted. By default the
    day after the lake's last dated event. `recsys backtest` moves it back in steps."""
    bootstrap: int = Field(default=1000, ge=100)
    """Bootstrap samples behind each 95 % interval."""


def protocol_examples(
    tables: Mapping[str, pl.DataFrame], config: EvaluationConfig, part: Learning, until: date | None
) -> pl.DataFrame:
    """The examples of one bucket for one part (columns `LEARNING`), ordered by customer, day and position.

    `until` is the lake's `as_of`: the day after its last dated event, None if it has none; `config.until` goes before.
    Raises DataError if the source cannot support the protocol.
    """
    if "interactions" not in tables:
        raise DataError("interactions: the lake has no such table, so there is nothing to recommend from")
    _check_test_rows(tables["interactions"], config)
    if config.protocol == "temporal":
        examples = _temporal(tables, config, part, until)
    elif config.protocol == "given":
        examples = _given(tables, config, part, last_day(config, until))
    elif config.protocol == "hold_one_out":
        examples = _hold_one_out(tables, config, part, last_day(config, until))
    else:
        examples = _leave_last_out(tables, part)
    return examples.select(pl.col(name).cast(dtype) for name, dtype in LEARNING.items()).sort(
        "customer_id", "as_of", "position", "hidden"
    )


def scoring_examples(customer_ids: Sequence[str] | pl.Series, as_of: date | None) -> pl.DataFrame:
    """One example per customer, seen from a day, nothing hidden."""
    same: dict[str, object] = {"as_of": as_of, "position": None, "hidden": []}
    found = [pl.Series("customer_id", customer_ids, dtype=pl.String)]
    for name, value in same.items():
        found.append(pl.Series(name, [value], dtype=EXAMPLE[name]).new_from_index(0, len(found[0])))
    return pl.DataFrame(found)


def last_day(config: EvaluationConfig, until: date | None) -> date | None:
    """The day before which everything lies: the configuration's, else the lake's `as_of`.

    Raises ConfigError for a day that the lake does not reach.
    """
    if config.until is None:
        return until
    if until is None or config.until > until:
        knows = f"knows events up to the day before {until}" if until else "has no dated events"
        raise ConfigError(f"evaluation.until: {config.until} cannot be the last day, the lake {knows}")
    return config.until


def cuts(config: EvaluationConfig, until: date | None) -> dict[Part, tuple[date, ...]]:
    """The temporal protocol's days: a label's horizon ends before the next part begins."""
    until = last_day(config, until)
    if until is None:
        raise DataError(
            "evaluation.protocol: temporal needs dated events and this lake has none; "
            "use hold_one_out (holdings) or leave_last_out (ordered interactions)"
        )
    horizon, stride = timedelta(days=config.horizon_days), timedelta(days=config.stride_days)
    test = until - horizon
    validation = test - horizon
    first = validation - horizon
    return {
        "test": (test,),
        "validation": (validation,),
        "train": tuple(first - stride * i for i in reversed(range(config.snapshots))),
    }


def _complete(examples: pl.DataFrame) -> pl.DataFrame:
    """Fill the columns of an example that a protocol does not use with their neutral values."""
    neutral = {
        "as_of": pl.lit(None, dtype=pl.Date),
        "position": pl.lit(None, dtype=pl.Int64),
        "hidden": pl.lit([], dtype=pl.List(pl.String)),
    }
    return examples.with_columns(v.alias(k) for k, v in neutral.items() if k not in examples.columns)


def _held(tables: Mapping[str, pl.DataFrame], examples: pl.DataFrame) -> pl.DataFrame:
    """`examples` with `holdings` at their point; examples of customers who hold nothing have a null."""
    held = holdings(seen_interactions(View(tables, examples)))
    return examples.with_row_index("row").join(held, on="row", how="left", maintain_order="left").drop("row")


def _check_test_rows(events: pl.DataFrame, config: EvaluationConfig) -> None:
    marked = "test" in events.columns
    if config.protocol == "given" and not marked:
        raise DataError(
            "evaluation.protocol: given needs interactions with the column `test`, true for the rows to be found; "
            "without one use temporal (dates), leave_last_out (an order) or hold_one_out (holdings)"
        )
    if config.protocol != "given" and marked:
        raise DataError(
            f"evaluation.protocol: {config.protocol} chooses its own test, and this lake's interactions name theirs in "
            "the column `test`; use given, or import the lake without that column"
        )


def _given(
    tables: Mapping[str, pl.DataFrame], config: EvaluationConfig, part: Learning, until: date | None
) -> pl.DataFrame:
    """Test: all test rows of a customer, new products only. Else parts of what the customer holds, hidden in turn."""
    ids = tables["customers"]["customer_id"].unique().sort()
    held = _held(tables, scoring_examples(ids, until))
    if part == "test":
        taken = pl.col("kind").is_in(["holds", "acquired"])
        asked = tables["interactions"].filter(is_test(tables["interactions"]) & taken).group_by("customer_id")
        targets = held.join(asked.agg(pl.col("product_id").unique().alias("targets")), on="customer_id")
        known = pl.col("holdings").fill_null(pl.lit([], dtype=pl.List(pl.String)))
        new = targets.with_columns(pl.col("targets").list.set_difference(known).list.sort(), weight=1.0)
        return new.filter(pl.col("targets").list.len() > 0)
    share = 0.0 if part == "refit" else config.validation_share
    pairs = held.drop_nulls("holdings").explode("holdings").rename({"holdings": "product_id"})
    text = pl.concat_str(pl.lit(f"{config.seed}"), "customer_id", "product_id", separator=":")
    order = pl.Series("order", stable_hashes(pairs.select(text).to_series()))
    pairs = pairs.with_columns(order).sort("customer_id", "order", "product_id")
    pairs = pairs.with_columns(pl.int_range(pl.len()).over("customer_id").alias("place"))
    count = pl.len().over("customer_id").cast(pl.Int64)
    kept_back = (count * share + 0.5).floor().cast(pl.Int64).clip(upper_bound=count - 1)
    pairs = pairs.with_columns(kept_back.alias("kept_back"), (count - kept_back).alias("left"))
    validation = pairs.filter(pl.col("place") < pl.col("kept_back")).group_by("customer_id")
    hidden = validation.agg(pl.col("product_id").sort().alias("validation"))
    if part == "validation":
        asked_for = pl.col("validation")
        return held.join(hidden, on="customer_id").with_columns(hidden=asked_for, targets=asked_for, weight=1.0)
    folds = pl.min_horizontal(pl.lit(config.folds, dtype=pl.Int64), "left")
    rest = pairs.filter((pl.col("place") >= pl.col("kept_back")) & (pl.col("left") >= 2))
    rest = rest.with_columns(fold=pl.col("place") % folds, weight=1.0 / folds)
    found = rest.group_by("customer_id", "as_of", "position", "fold").agg(
        pl.col("product_id").sort().alias("targets"), pl.col("weight").first()
    )
    found = found.join(hidden, on="customer_id", how="left")
    nothing = pl.lit([], dtype=pl.List(pl.String))
    return found.with_columns(hidden=pl.concat_list(pl.col("validation").fill_null(nothing), "targets").list.sort())


def _hold_one_out(
    tables: Mapping[str, pl.DataFrame], config: EvaluationConfig, part: Learning, until: date | None
) -> pl.DataFrame:
    """Customers with two held products or more; in training every held product is hidden in turn, with equal weight."""
    ids = tables["customers"]["customer_id"].unique().sort()
    held = _held(tables, scoring_examples(ids, until)).filter(pl.col("holdings").list.len() >= 2)
    draw = stable_hashes(pl.select(pl.lit(f"{config.seed}:") + held["customer_id"]).to_series()) / 2.0**64
    rest = 1 - config.test_share
    bounds = {
        "test": (0.0, config.test_share),
        "validation": (config.test_share, config.test_share + rest * config.validation_share),
        "train": (config.test_share + rest * config.validation_share, 1.0),
    }
    low, high = (bounds["validation"][0], bounds["train"][1]) if part == "refit" else bounds[part]
    drawn = pl.Series(draw)
    pairs = held.filter((drawn >= low) & (drawn < high)).with_columns(weight=1.0 / pl.col("holdings").list.len())
    pairs = pairs.explode("holdings").rename({"holdings": "product_id"})
    if part in ("validation", "test"):
        text = pl.concat_str(pl.lit(f"{config.seed}"), "customer_id", "product_id", separator=":")
        order = pl.Series("order", stable_hashes(pairs.select(text).to_series()))
        pairs = pairs.with_columns(order, weight=1.0).sort("customer_id", "order", "product_id")
        pairs = pairs.unique("customer_id", keep="first", maintain_order=True)
    one = pl.concat_list("product_id")
    return pairs.with_columns(hidden=one, targets=one)


def _leave_last_out(tables: Mapping[str, pl.DataFrame], part: Learning) -> pl.DataFrame:
    """Customers with three acquisitions or more; in training every earlier acquisition after the first is a target."""
    events = tables["interactions"].filter(pl.col("kind") == "acquired")
    ordered = [
        name for name in ("at", "position") if name in events.columns and events[name].null_count() < events.height
    ]
    if not {"at", "position"} & set(events.columns) or (events.height and not ordered):
        raise DataError(
            "evaluation.protocol: leave_last_out needs interactions of kind acquired with `position` or `at`; "
            "for holdings without order use hold_one_out"
        )
    extra = [name for name in (*ordered, "event_id") if name in events.columns]
    events = events.sort("customer_id", *extra, "product_id", nulls_last=False).with_columns(
        index=pl.int_range(pl.len()).over("customer_id"), count=pl.len().over("customer_id")
    )
    from_end = pl.col("count") - 1 - pl.col("index")
    later = pl.col("index") >= 1
    wanted = {
        "test": from_end == 0,
        "validation": from_end == 1,
        "train": (from_end >= 2) & later,
        "refit": (from_end >= 1) & later,
    }
    targets = events.filter((pl.col("count") >= 3) & wanted[part])
    point = pl.col("position") if "position" in ordered else pl.lit(None, dtype=pl.Int64)
    day = pl.lit(None, dtype=pl.Date) if "position" in ordered or not ordered else pl.col("at").dt.date()
    return _complete(
        targets.select(
            "customer_id",
            point.alias("position"),
            day.alias("as_of"),
            pl.concat_list("product_id").alias("targets"),
            pl.lit(1.0).alias("weight"),
        )
    )


def _temporal(
    tables: Mapping[str, pl.DataFrame], config: EvaluationConfig, part: Learning, until: date | None
) -> pl.DataFrame:
    """Customers seen before the cut who acquire within the horizon a product that they do not hold at the cut.

    With `newcomers` training has those, too, whose first day lies between its first cut and its last, from that day.
    """
    found = cuts(config, until)
    asked = (*found["train"], *found["validation"]) if part == "refit" else found[part]
    events = tables["interactions"].filter(pl.col("at").is_not_null())
    began = events.group_by("customer_id").agg(pl.col("at").min().dt.date().alias("began"))
    points = began.join(pl.DataFrame({"as_of": asked}, schema={"as_of": pl.Date}), how="cross")
    points = points.filter(pl.col("began") < pl.col("as_of"))
    if config.newcomers and part in ("train", "refit"):
        between = began.filter(pl.col("began").is_between(min(asked), max(asked)))
        points = pl.concat([points, between.with_columns(as_of=pl.col("began"))])
    cut = pl.col("as_of").cast(pl.Datetime("us"))
    end = cut + pl.duration(days=config.horizon_days)
    acquired = events.filter(pl.col("kind") == "acquired").select("customer_id", "product_id", "at")
    targets = (
        acquired.join(points, on="customer_id")
        .filter((pl.col("at") >= cut) & (pl.col("at") < end))
        .group_by("customer_id", "as_of")
        .agg(pl.col("product_id").unique().sort().alias("targets"))
        .sort("customer_id", "as_of")
    )
    held = _held(tables, _complete(targets))
    new = pl.col("targets").list.set_difference(pl.col("holdings").fill_null(pl.lit([], dtype=pl.List(pl.String))))
    return held.with_columns(targets=new.list.sort(), weight=1.0).filter(pl.col("targets").list.len() > 0)


def fitting_holdings(tables: Mapping[str, pl.DataFrame], config: EvaluationConfig, until: date | None) -> pl.DataFrame:
    """What baselines may be fitted on in one bucket, at most what training sees: `customer_id` and `holdings`.

    temporal: what everyone holds at the test cut. hold_one_out: the holdings of all customers outside the test.
    leave_last_out: everyone's acquisitions before the validation one, with `refit` before the test one. given: all
    that are no test.
    """
    if config.protocol == "leave_last_out":
        examples = protocol_examples(tables, config, "test" if config.refit else "validation", until)
    else:
        day = cuts(config, until)["test"][0] if config.protocol == "temporal" else last_day(config, until)
        examples = scoring_examples(tables["customers"]["customer_id"].unique().sort(), day)
    if config.protocol == "hold_one_out":
        tested = protocol_examples(tables, config, "test", until)["customer_id"]
        examples = examples.filter(~pl.col("customer_id").is_in(tested.implode()))
    return _held(tables, examples).select("customer_id", "holdings").drop_nulls()
