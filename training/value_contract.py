"""Lifetime value under a contract: each customer's margin times the chance to be still there, by a bundle's churn."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.bundle import Bundle
from recsys.bundle.churn import Churn, churn_of
from recsys.bundle.fits import check_fits, scoring_day
from recsys.bundle.survival import Survival
from recsys.churn.standing import standing
from recsys.durable import rename
from recsys.errors import ConfigError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.parts import BucketReader
from recsys.lake.store import Lake
from recsys.lifetime_value.config import ContractConfig, ValueConfig
from recsys.lifetime_value.contractual import contractual_value
from recsys.lifetime_value.margin import BALANCE, check_margin, monthly_margin
from recsys.pages.page import write_page
from recsys.progress import Progress
from recsys.segment_cards.intervals import rounded
from recsys.segment_cards.suppression import FEWEST
from training.value_contract_page import contract_page
from training.value_plots import concentration

COLUMNS: dict[str, Any] = {
    "customer_id": pl.String,
    "monthly_margin": pl.Float64,
    "probability": pl.Float64,
    "tier": pl.String,
    "value": pl.Float64,
    "value_low": pl.Float64,
    "value_high": pl.Float64,
    "at_stake": pl.Float64,
}
"""Of the file of a bucket. Money in minor units; `probability` is of leaving within the bundle's horizon."""
COPIES = 2.0
Z = 1.959963984540054


def write_contract_value(
    bundle: Bundle,
    lake: Lake,
    config: ValueConfig,
    out: Path,
    as_of: date | None,
    memory: int,
    threads: int,
    progress: Progress,
) -> tuple[Path, Path, dict[str, Any]]:
    """Write `out/bucket=NNNN.parquet` of every bucket, `out/value.json` and `out/value.html`; paths and content.

    Raises ConfigError for margins that do not fit the lake or months that are not known, BundleError for a bundle
    that does not say who will leave.
    """
    assert config.contract is not None
    churn = churn_of(bundle, threads)
    check_fits(bundle, lake)
    leave = leave_months(churn, config)
    numbers = [a.name for a in lake.attributes("customers") if a.kind == "number"]
    products = lake.read("products")["product_id"].to_list()
    check_margin(config.contract, products, numbers, BALANCE in bundle.definition.numbers)
    day = scoring_day(lake, as_of)
    out.mkdir(parents=True, exist_ok=True)
    found = []
    survival = Survival.of(bundle, threads)
    for bucket, told in _buckets(churn, survival, BucketReader(lake, memory), config, leave, day, progress):
        partial = out / f".bucket={bucket:04d}.parquet.partial"
        rows = told.select(pl.col(name).cast(dtype) for name, dtype in COLUMNS.items())
        rows.write_parquet(partial, compression="zstd")
        rename(partial, out / f"bucket={bucket:04d}.parquet")
        found.append(told.select("tier", "monthly_margin", "probability", "value", "at_stake", "variance"))
    everyone = pl.concat(found)
    known = survival.about.horizons_months[-1] if survival else leave
    content = _content(bundle, lake, config, (leave, known), day, everyone)
    pictures = {"concentration": concentration(content["concentration"])} if content["concentration"] else {}
    data, page = write_page(out, "value", content, contract_page(content, pictures))
    return data, page, content


def leave_months(churn: Churn, config: ValueConfig) -> int:
    """Months within which the bundle says who leaves; ConfigError if they are not known or beyond the horizon."""
    contract = config.contract
    assert contract is not None
    months = churn.about.horizon_months or contract.leave_months
    if months is None:
        raise ConfigError(
            f"contract.leave_months: the bundle learned from the label {churn.about.label}, which does not say over "
            "how many months customers left; give it"
        )
    if contract.leave_months not in (None, months):
        said = f"{contract.leave_months}, but the bundle says who leaves in {months}"
        raise ConfigError(f"contract.leave_months: {said}")
    if months > config.horizon_months:
        raise ConfigError(f"horizon_months: {config.horizon_months} is less than the {months} months of leaving")
    return months


def _buckets(
    churn: Churn,
    survival: Survival | None,
    reader: BucketReader,
    config: ValueConfig,
    leave: int,
    day: date | None,
    progress: Progress,
) -> Iterator[tuple[int, pl.DataFrame]]:
    contract = config.contract
    assert contract is not None
    for bucket in range(reader.lake.buckets):
        progress(bucket, reader.lake.buckets, "buckets valued")
        parts = [
            _valued(churn, survival, tables, contract, config, leave, day) for tables in reader.parts(bucket, COPIES)
        ]
        yield bucket, pl.concat(parts).sort("customer_id")
    progress(reader.lake.buckets, reader.lake.buckets, "buckets valued")


def _valued(
    churn: Churn,
    survival: Survival | None,
    tables: dict[str, pl.DataFrame],
    contract: ContractConfig,
    config: ValueConfig,
    leave: int,
    day: date | None,
) -> pl.DataFrame:
    there = standing(tables, day, churn.about.rule).filter(pl.col("standing") == "customer")
    ids = there["customer_id"]
    if ids.is_empty():
        return pl.DataFrame(schema={**COLUMNS, "variance": pl.Float64})
    rows = features(tables, scoring_examples(ids, day), churn.definition)
    margin = monthly_margin(rows, tables, contract, day)
    scored = churn.scored(rows)
    leaves = scored["probability"].cast(pl.Float64).to_numpy()
    if survival is None:
        stays, months = (1 - np.clip(leaves, 0, 1 - 1e-9))[:, None], np.array([leave])
    else:
        stays, months = survival.survival(rows).astype(np.float64), np.array(survival.about.horizons_months)
    found = contractual_value(
        margin["monthly_margin"].to_numpy(),
        stays,
        months,
        horizon=config.horizon_months,
        discount=config.discount,
        leave=leave,
    )
    return pl.DataFrame(
        {
            "customer_id": margin["customer_id"],
            "monthly_margin": margin["monthly_margin"],
            "probability": leaves,
            "tier": scored["tier"],
            "value": found.value,
            "value_low": found.low,
            "value_high": found.high,
            "at_stake": found.at_stake,
            "variance": found.variance,
        }
    )


def _content(
    bundle: Bundle, lake: Lake, config: ValueConfig, months: tuple[int, int], day: date | None, everyone: pl.DataFrame
) -> dict[str, Any]:
    total, chance = float(everyone["value"].sum()), float(everyone["variance"].sum()) ** 0.5
    tiers = everyone.group_by("tier").agg(
        pl.len().alias("customers"),
        pl.col("probability").mean(),
        pl.col("value").sum(),
        pl.col("at_stake").mean(),
        (pl.col("probability") * pl.col("at_stake")).sum().alias("expected_loss"),
    )
    shown = tiers.filter(pl.col("customers") >= FEWEST).sort("probability", descending=True)
    ordered = everyone["value"].sort(descending=True).to_numpy()
    whole = len(ordered) >= 10 * FEWEST and ordered.min() >= 0 and total > 0
    content: dict[str, Any] = {
        "schema": 1,
        "kind": "contract",
        "bundle": bundle.bundle_id,
        "lake": {"source": lake.source, "version": lake.version, "identity": lake.identity()},
        "currency": lake.currency,
        "as_of": day.isoformat() if day else None,
        "horizon_months": config.horizon_months,
        "leave_months": months[0],
        "known_months": months[1],
        "discount": config.discount,
        "config": config.model_dump(mode="json"),
        "customers": everyone.height,
        "without_margin": int((everyone["monthly_margin"] == 0).sum()),
        "totals": {
            "value": {"value": rounded(total), "low": rounded(total - Z * chance), "high": rounded(total + Z * chance)},
            "monthly_margin": rounded(float(everyone["monthly_margin"].sum())),
            "expected_loss": rounded(float((everyone["probability"] * everyone["at_stake"]).sum())),
        },
        "tiers": [
            {name: rounded(v) if isinstance(v, float) else v for name, v in row.items()}
            for row in shown.iter_rows(named=True)
        ],
        "concentration": [float(p.sum() / total) for p in np.array_split(ordered, 10)] if whole else [],
    }
    content["warnings"] = _warnings(content)
    return content


def _warnings(content: dict[str, Any]) -> list[str]:
    said = []
    if content["horizon_months"] > content["known_months"]:
        said.append(
            f"The chance to stay is known for {content['known_months']} months. Beyond, everyone's hazard is taken to "
            f"stay as it is, up to {content['horizon_months']} months."
        )
    share = content["without_margin"] / max(content["customers"], 1)
    if share >= 0.05:
        said.append(f"{share:.0%} of the customers bring nothing by these margins, so nothing is at stake with them.")
    if content["config"]["contract"]["products"]:
        said.append("A product that several customers hold together counts for each of them.")
    return said
