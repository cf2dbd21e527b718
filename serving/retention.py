"""The retention list of a lake: chances to leave from a bundle, values at stake, consent, and a reason for each."""

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.bundle import Bundle, Recommender
from recsys.bundle.churn import Churn, churn_of
from recsys.bundle.churn_reasons import ChurnReasons
from recsys.bundle.fits import check_fits, scoring_day
from recsys.durable import rename
from recsys.errors import DataError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.parts import BucketReader
from recsys.lake.store import Lake
from recsys.progress import Progress
from recsys.retention.consent import consented
from recsys.retention.listing import draw_up, gains
from recsys.retention.plan import RetentionPlan
from recsys.retention.summary import summary
from serving.batch import PARQUET
from serving.buckets import COPIES
from serving.churn import leaving_of

FILE, SUMMARY = "list.parquet", "summary.json"
CHUNK = 500
"""Customers of the list who are read again at once, for reasons and suggestions."""
REASONS = 3
SERVICE = "Ask what has changed, and whether the present products still fit."
"""What to talk about where the plan says nothing about the strongest reason."""


@dataclass(frozen=True)
class Weighed:
    """Customers with whom something may be done, and what became of the others."""

    customers: pl.DataFrame
    """`customer_id`, `tier`, `probability`, `at_stake`."""
    allowed: np.ndarray
    """bool [N, K]."""
    counts: dict[str, int]


def retention(
    bundle_path: Path | str,
    lake_path: Path | str,
    out: Path,
    values: Path,
    plan: RetentionPlan,
    budget: float,
    *,
    as_of: date | None,
    version: int | None,
    memory: int,
    threads: int,
    progress: Progress,
) -> dict[str, Any]:
    """Write `out/list.parquet` and `out/summary.json`; return the summary. `budget` in minor units.

    Raises DataError if `out` holds a list already or `values` are none of `recsys value`, BundleError for a bundle that
    does not say who will leave, LakeError and ConfigError as for scoring.
    """
    if (out / FILE).exists():
        raise DataError(f"{out}: holds a list already; name another directory")
    bundle = Bundle.load(bundle_path)
    churn, lake = churn_of(bundle, threads), Lake.open(lake_path, version)
    check_fits(bundle, lake)
    day, at_stake = scoring_day(lake, as_of), read_values(values)
    weighed = weigh(churn, BucketReader(lake, memory), at_stake, plan, day, progress)
    drawn = draw_up(weighed.customers, weighed.allowed, plan, budget)
    told = with_reasons(drawn.rows, churn, lake, plan, day, threads, progress)
    content = {
        **summary(drawn, plan),
        "bundle_id": bundle.bundle_id,
        "lake": {"identity": lake.identity(), "version": lake.version, "source": lake.source},
        "currency": lake.currency,
        "as_of": day.isoformat() if day else None,
        "horizon_months": churn.about.horizon_months,
        "rule": rule.model_dump(mode="json") if (rule := churn.about.rule) else None,
        "plan": plan.model_dump(mode="json"),
        "considered": weighed.counts,
    }
    content["notes"] = [*content["notes"], *_notes(weighed.counts, lake)]
    out.mkdir(parents=True, exist_ok=True)
    _publish(out, told, content)
    return content


def read_values(folder: Path) -> pl.DataFrame:
    """`customer_id` and `at_stake` that `recsys value` wrote into a folder; DataError if it did not."""
    files = sorted(folder.glob("bucket=*.parquet"))
    if not files:
        raise DataError(f"{folder}: no bucket=NNNN.parquet; name the directory that recsys value --out wrote")
    found = pl.scan_parquet(files)
    missing = {"customer_id", "at_stake"} - set(found.collect_schema())
    if missing:
        raise DataError(f"{files[0]}: has no column {', '.join(sorted(missing))}; recsys value writes both")
    rows = found.select("customer_id", "at_stake").collect()
    if rows["at_stake"].null_count() == rows.height:
        raise DataError(f"{folder}: nothing is at stake with anyone; see the warnings in {folder / 'value.json'}")
    return rows


def weigh(
    churn: Churn,
    reader: BucketReader,
    values: pl.DataFrame,
    plan: RetentionPlan,
    day: date | None,
    progress: Progress,
) -> Weighed:
    """Everyone with whom an action is allowed and expected to gain, one bucket at a time."""
    lake, channels = reader.lake, [action.channel for action in plan.actions]
    counts = dict.fromkeys(("customers", "gone_or_not_yet", "without_value", "without_consent", "without_gain"), 0)
    kept: list[pl.DataFrame] = []
    masks: list[np.ndarray] = []
    for bucket in range(lake.buckets):
        progress(bucket, lake.buckets, "buckets scored")
        for tables in reader.parts(bucket, COPIES):
            scored = leaving_of(churn, tables, day)
            counts["customers"] += scored.height
            here = scored.filter(pl.col("standing") == "customer")
            counts["gone_or_not_yet"] += scored.height - here.height
            joined = here.join(values, on="customer_id", how="left", maintain_order="left")
            joined = joined.filter(pl.col("at_stake").is_not_null())
            counts["without_value"] += here.height - joined.height
            joined = joined.select("customer_id", "tier", pl.col("probability").cast(pl.Float64), "at_stake")
            may = np.ones((joined.height, len(channels)), dtype=bool)
            if "consents" in tables:
                may = consented(tables["consents"], joined["customer_id"], plan.purpose, channels, day)
            gain, _ = gains(joined, plan)
            pays = (gain > 0).any(axis=1)
            use = (may & (gain > 0)).any(axis=1)
            counts["without_gain"] += int((~pays).sum())
            counts["without_consent"] += int((pays & ~use).sum())
            kept.append(joined.filter(pl.Series(use)))
            masks.append(may[use])
    progress(lake.buckets, lake.buckets, "buckets scored")
    customers, allowed = pl.concat(kept), np.concatenate(masks)
    order = customers["customer_id"].arg_sort().to_numpy()
    return Weighed(customers[order], allowed[order], counts)


def with_reasons(
    rows: pl.DataFrame,
    churn: Churn,
    lake: Lake,
    plan: RetentionPlan,
    day: date | None,
    threads: int,
    progress: Progress,
) -> pl.DataFrame:
    """The list with `reasons` (in the customer's terms, the strongest first), `service` and `product` to speak of."""
    recommender = Recommender.of(churn.bundle, threads)
    reasoner = ChurnReasons.of(churn)
    found = []
    for start in range(0, rows.height, CHUNK):
        progress(start, rows.height, "reasons")
        ids = rows["customer_id"][start : start + CHUNK].sort()
        asked = features(lake.customers(ids.to_list()), scoring_examples(ids, day), churn.definition)
        told = _reasons(asked, reasoner, plan)
        product = pl.DataFrame(schema={"customer_id": pl.String, "product": pl.String})
        if recommender is not None:
            best = recommender.ranked(asked, recommender.vectors_from_rows(asked), 1)
            product = best.select("customer_id", pl.col("product_id").alias("product"))
        found.append(told.join(product, on="customer_id", how="left"))
    schema = {"customer_id": pl.String(), "reasons": pl.List(pl.String), "service": pl.String(), "product": pl.String()}
    every = pl.concat(found) if found else pl.DataFrame(schema=schema)
    return rows.join(every, on="customer_id", how="left", maintain_order="left")


def _reasons(asked: pl.DataFrame, reasoner: ChurnReasons | None, plan: RetentionPlan) -> pl.DataFrame:
    """Reasons that speak for leaving, and the service that the plan offers for the strongest of them."""
    texts: list[list[str]] = [[] for _ in range(asked.height)]
    services = [SERVICE] * asked.height
    if reasoner is not None:
        for i, strong in enumerate(reasoner.reasons_for_leaving(asked, REASONS)):
            texts[i] = [reason.text for reason in strong]
            services[i] = next((plan.services[r.group] for r in strong if r.group in plan.services), SERVICE)
    return pl.DataFrame(
        {
            "customer_id": asked["customer_id"],
            "reasons": pl.Series(texts, dtype=pl.List(pl.String)),
            "service": pl.Series(services, dtype=pl.String),
        }
    )


def _notes(counts: dict[str, int], lake: Lake) -> list[str]:
    said = []
    if "consents" not in lake.tables:
        said.append("The lake has no table consents: whether these customers may be contacted is not known here.")
    if counts["without_value"]:
        said.append(f"{counts['without_value']:,} customers have no value in the files given and were left out.")
    return said


def _publish(out: Path, rows: pl.DataFrame, content: dict[str, Any]) -> None:
    partial = out / f".{SUMMARY}.partial"
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    rename(partial, out / SUMMARY)
    partial = out / f".{FILE}.partial"
    rows.write_parquet(partial, **PARQUET)
    rename(partial, out / FILE)
