"""The report of a bundle's churn part: how good it is on the test part, for whom, and what it goes by."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.bundle import Bundle, Survival
from recsys.bundle.churn import Churn, churn_of
from recsys.bundle.fits import check_fits
from recsys.churn.config import ChurnConfig
from recsys.churn.labels import check_outcomes, find_label
from recsys.churn.splits import churn_days
from recsys.errors import BundleError
from recsys.features.examples import Part, last_day
from recsys.lake.parts import MEMORY, BucketReader
from recsys.lake.store import Lake
from recsys.pages.page import write_page
from recsys.progress import Progress
from recsys.segment_cards.labels import Labels
from training.churn_column import single_column
from training.churn_explained import dependence, importance_table
from training.churn_measures import (
    curves,
    group_table,
    measures,
    reliability_table,
    threshold_table,
    tier_table,
)
from training.churn_page import page
from training.churn_plots import pictures_of
from training.churn_rows import churn_rows
from training.config import parse_config
from training.survival_report import survival_content

NAME = "churn"
GROUPED = ("category", "flag")
"""Kinds of attributes by whose values is reported."""


def write_churn_report(
    bundle: Bundle, lake: Lake, out: Path, progress: Progress, memory: int = MEMORY, threads: int = 2
) -> tuple[Path, Path, dict[str, Any]]:
    """Write `out/churn.json` and `out/churn.html`; return their paths and the content.

    Raises LakeError if the bundle cannot read the lake, BundleError without a churn part, DataError if the test part
    lacks one of the outcomes.
    """
    check_fits(bundle, lake)
    content = churn_report(bundle, churn_of(bundle, threads), lake, progress, memory)
    data, html = write_page(out, NAME, content, page(content, pictures_of(content)))
    return data, html, content


def churn_report(bundle: Bundle, churn: Churn, lake: Lake, progress: Progress, memory: int = MEMORY) -> dict[str, Any]:
    """The content of the report, from the test part alone, through the graph that is served."""
    config = parse_config(bundle.config, f"{bundle.path}/config.yaml")
    if config.churn is None:
        raise BundleError(f"{bundle.path}: its configuration has no section churn, so its test part is not known")
    until = last_day(config.evaluation, lake.as_of)
    days = churn_days(config.churn, until)["test"]
    gathered = _Gathered(config.churn, churn, BucketReader(lake, memory), until, progress)
    rows = gathered.rows("test")
    y = rows["outcome"].to_numpy().astype(np.int64)
    check_outcomes(int(y.sum()), len(y), "test", config.churn, days)
    p = churn.log_odds(rows)[1].astype(np.float64)
    about, evaluation = churn.about, config.evaluation
    threshold, samples, seed = about.threshold, evaluation.bootstrap, evaluation.seed
    attributes = _attributes(lake, rows, days[0])
    labels = Labels.of_lake(churn.definition, lake)
    explained = rows.head(min(rows.height, 20_000))
    return {
        "schema": 1,
        "bundle": bundle.bundle_id,
        "lake": {"source": lake.source, "version": lake.version, "identity": lake.identity()},
        "about": about.model_dump(mode="json"),
        "days": [str(day) for day in days if day is not None],
        "customers": len(y),
        "left": int(y.sum()),
        "measures": measures(p, y, about.base_rate, samples, seed),
        "single_column": single_column(churn, gathered.rows("validation"), rows, p, samples, seed),
        "candidates": about.models.get("candidates", {}),
        "shares": about.models.get("shares", {}),
        "curves": curves(p, y),
        "reliability": reliability_table(p, y),
        "threshold": threshold_table(p, y, threshold.probability, threshold.by, threshold.costs),
        "tiers": tier_table(p, y, about.tiers),
        "groups": [
            {"column": name, "role": role, "values": group_table(values, p, y, threshold.probability, samples, seed)}
            for name, role, values in attributes
        ],
        "importance": importance_table(churn, explained, seed),
        "dependence": dependence(churn, explained, labels, seed),
        "survival": survival_content(
            Survival.of(bundle),
            config.churn,
            churn.definition,
            BucketReader(lake, memory),
            until,
            seed,
            progress,
        ),
    }


class _Gathered:
    """Rows of a part, in memory: as many as the configuration reads at most."""

    def __init__(
        self, config: ChurnConfig, churn: Churn, reader: BucketReader, until: date | None, progress: Progress
    ) -> None:
        self.config, self.churn, self.reader = config, churn, reader
        self.until, self.progress = until, progress
        self.label = find_label(reader.lake, config)

    def rows(self, part: Part) -> pl.DataFrame:
        """Feature rows with `as_of`, `outcome`, `left`, ordered by customer."""
        asked = (self.config, self.label, self.reader, self.churn.definition, part, self.until, self.progress)
        found = [rows for _, rows in churn_rows(*asked)]
        check_outcomes(sum(int(r["outcome"].sum()) for r in found), sum(r.height for r in found), part, self.config)
        return pl.concat(found).sort("customer_id", "as_of")


def _attributes(lake: Lake, rows: pl.DataFrame, day: date | None) -> list[tuple[str, str, np.ndarray]]:
    """Name, role and values (text or None) [N] of the attributes that reports are made by: groups and protected."""
    chosen = [a for a in lake.attributes("customers") if a.role in ("group", "protected") and a.kind in GROUPED]
    if not chosen:
        return []
    columns = lake.scan("customers")
    if "valid_from" in lake.tables["customers"].columns:
        known = pl.col("valid_from").is_null() | (pl.col("valid_from") <= pl.lit(day, dtype=pl.Date))
        columns = columns.filter(known if day else pl.lit(True)).sort("customer_id", "valid_from", nulls_last=False)
    table = columns.group_by("customer_id").agg(pl.col(a.name).last().cast(pl.String) for a in chosen).collect()
    joined = rows.select("customer_id").join(table, on="customer_id", how="left", maintain_order="left")
    return [(a.name, a.role, joined[a.name].to_numpy()) for a in chosen]
