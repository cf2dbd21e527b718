"""Questions about the cold: who is asked about, what is seen of them, and how the answers are judged."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from recsys.bootstrap import bootstrap, paired_bootstrap
from recsys.bundle import Recommender
from recsys.features.definition import FeatureDefinition
from recsys.features.examples import cuts, fitting_holdings, protocol_examples, scoring_examples
from recsys.features.features import features
from recsys.lake.buckets import stable_hashes
from recsys.lake.store import Lake
from recsys.metrics import rank_metrics
from training.config import Config

METRICS = ("recall@10", "ndcg@10")
SEEN = 100
"""Latest events that content-kNN reads."""
CUSTOMERS = 5000
"""Most customers of the second table."""
KNOWN = ("customers", "products", "campaigns")
"""Tables that are seen of a customer without any event."""
Scores = dict[str, np.ndarray]


@dataclass(frozen=True)
class Question:
    """Who is asked about, in view of which events: feature rows, the latest products, and what was bought next."""

    rows: pl.DataFrame
    latest: pl.Series
    targets: pl.Series


def question(
    lake: Lake,
    config: Config,
    recommender: Recommender,
    part: Any,
    hidden: pl.Series,
    wanted: pl.Series,
    cut: int | None = None,
) -> Question:
    """The examples of a part whose next products are `wanted`, at most `CUSTOMERS` where everything is wanted.

    What is `hidden` is in no history. `cut` 0, 1 or 2 leaves no event, the last one, the last 2 to 5 (drawn); 0 nothing
    but attributes.
    """
    found = []
    definition = recommender.definition
    long = definition.model_copy(update={"history_length": SEEN})
    for bucket in range(lake.buckets):
        tables = lake.bucket(bucket)
        examples = protocol_examples(tables, config.evaluation, part, lake.as_of)
        known = pl.col("targets").list.eval(pl.element().filter(pl.element().is_in(wanted.implode())))
        examples = examples.with_columns(known).filter(pl.col("targets").list.len() > 0)
        shown = {name: without(table, hidden) for name, table in tables.items()}
        if cut == 0:
            shown = {name: table if name in KNOWN else table.clear() for name, table in shown.items()}
        elif cut is not None:
            shown["interactions"] = _last(shown["interactions"], examples, cut)
        rows = features(shown, examples, definition)
        latest = features(shown, examples, long)["history"]
        found.append(rows.with_columns(latest.alias("latest"), examples["targets"].alias("targets")))
    rows = pl.concat(found).sort("customer_id")
    if hidden.is_empty() and rows.height > CUSTOMERS:
        rows = rows[np.sort(np.random.default_rng(0).permutation(rows.height)[:CUSTOMERS])]
    return Question(rows.drop("latest", "targets"), rows["latest"], rows["targets"])


def newcomers(lake: Lake, config: Config, definition: FeatureDefinition, wanted: pl.Series) -> Question:
    """Customers whose first day lies within the test's horizon, seen from that day: what they acquire until its end."""
    (cut,) = cuts(config.evaluation, lake.as_of)["test"]
    end = cut + timedelta(days=config.evaluation.horizon_days)
    found = []
    for bucket in range(lake.buckets):
        tables = lake.bucket(bucket)
        events = tables["interactions"].with_columns(pl.col("at").dt.date().alias("day"))
        began = events.group_by("customer_id").agg(pl.col("day").min().alias("as_of"))
        began = began.filter(pl.col("as_of").is_between(cut, end, closed="left"))
        taken = events.filter((pl.col("kind") == "acquired") & (pl.col("day") < end))
        taken = taken.filter(pl.col("product_id").is_in(wanted.implode())).group_by("customer_id")
        asked = began.join(taken.agg(pl.col("product_id").unique().sort().alias("targets")), on="customer_id")
        asked = asked.sort("customer_id")
        examples = scoring_examples(asked["customer_id"], None).with_columns(asked["as_of"])
        rows = features(tables, examples, definition)
        found.append(rows.with_columns(rows["history"].alias("latest"), asked["targets"]))
    rows = pl.concat(found).sort("customer_id")
    return Question(rows.drop("latest", "targets"), rows["latest"], rows["targets"])


def _last(events: pl.DataFrame, examples: pl.DataFrame, cut: int) -> pl.DataFrame:
    """The last events of each customer before the example's point: none, one, or a number from 2 to 5 by customer."""
    order = [name for name in ("at", "position", "event_id", "product_id") if name in events.columns]
    points = examples.select("customer_id", pl.col("as_of").alias("day"), pl.col("position").alias("until"))
    seen = events.join(points, on="customer_id")
    if "at" in events.columns:
        seen = seen.filter(pl.col("day").is_null() | (pl.col("at") < pl.col("day").cast(pl.Datetime("us"))))
    if "position" in events.columns:
        seen = seen.filter(pl.col("until").is_null() | (pl.col("position") < pl.col("until")))
    drawn = pl.Series(stable_hashes(seen["customer_id"]) % 4).cast(pl.Int64)
    many = 2 + drawn if cut == 2 else pl.lit(cut)
    from_end = pl.len() - pl.int_range(pl.len())
    seen = seen.with_columns(many=many).sort("customer_id", *order, nulls_last=False)
    return seen.filter(from_end.over("customer_id") <= pl.col("many")).select(events.columns)


def without(frame: pl.DataFrame, hidden: pl.Series) -> pl.DataFrame:
    named = "product_id" in frame.columns
    return frame.filter(~pl.col("product_id").is_in(hidden.implode())) if named else frame


def popularity_of(lake: Lake, config: Config, products: pl.Series) -> np.ndarray:
    """float [P]: how many customers hold each product, of those that baselines may be fitted on."""
    held = [fitting_holdings(lake.bucket(b), config.evaluation, lake.as_of)["holdings"] for b in range(lake.buckets)]
    counted = pl.concat(held).explode().value_counts(name="n").rename({"holdings": "product_id"})
    return (
        products.to_frame("product_id")
        .join(counted, on="product_id", how="left", maintain_order="left")["n"]
        .fill_null(0)
        .cast(pl.Float64)
        .to_numpy()
    )


def histories(asked: Question, index: Mapping[str, int]) -> list[np.ndarray]:
    return [np.array([index[product] for product in row], dtype=np.int64) for row in asked.latest.to_list()]


def targets_of(asked: Question, wanted: pl.Series, column: str = "targets") -> np.ndarray:
    """bool [N, C]: which of the wanted products each customer bought next, or holds."""
    lists = asked.targets if column == "targets" else asked.rows[column]
    pairs = lists.alias("product_id").to_frame().with_row_index("row").explode("product_id").drop_nulls()
    columns = wanted.alias("product_id").to_frame().with_row_index("column")
    pairs = pairs.join(columns, on="product_id")
    matrix = np.zeros((len(lists), len(wanted)), dtype=bool)
    matrix[pairs["row"].to_numpy(), pairs["column"].to_numpy()] = True
    return matrix


def metrics_of(scores: Scores, allowed: np.ndarray, targets: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    return {name: rank_metrics(values, allowed, targets, (10,)) for name, values in scores.items()}


def judged(found: dict[str, dict[str, np.ndarray]], customers: np.ndarray, config: Config) -> dict[str, Any]:
    """Means with intervals over customers, and what two_tower has over each other model, paired."""
    samples, seed = config.evaluation.bootstrap, config.evaluation.seed
    own = found["two_tower"]
    return {
        metric: {
            **{name: asdict(bootstrap(found[name][metric], customers, samples, seed)) for name in found},
            **{
                f"two_tower − {name}": asdict(
                    paired_bootstrap(own[metric], found[name][metric], customers, samples, seed)
                )
                for name in found
                if name != "two_tower"
            },
        }
        for metric in METRICS
    }


def table(heads: Sequence[str], columns: Sequence[dict[str, dict[str, float]]]) -> str:
    lines = ["| model | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name in columns[0]:
        sign = "+" if "−" in name else ""
        cells = [" ".join(_cell(column[name], sign)) for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(interval: dict[str, float], sign: str) -> tuple[str, str]:
    value, low, high = (f"{interval[key]:{sign}.4f}" for key in ("value", "low", "high"))
    return value, f"[{low}, {high}]"
