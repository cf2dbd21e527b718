"""Batch scoring of churn: how likely every customer of a lake is to leave, and when, bucket by bucket."""

from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import polars as pl

from recsys.bundle import Bundle, Churn, Survival
from recsys.bundle.churn import churn_of
from recsys.churn.standing import standing
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from serving.batch import Finished, How, Question, run_batch

COLUMNS: dict[str, Any] = {
    "customer_id": pl.String,
    "standing": pl.String,
    "probability": pl.Float32,
    "tier": pl.String,
    "act": pl.Boolean,
    "bundle_id": pl.String,
}
"""Without those of survival, which stand before the bundle where it tells it."""


def score_churn(
    bundle_path: Path | str,
    lake_path: Path | str,
    out: Path | str,
    *,
    threads: int = 2,
    **how: Unpack[How],
) -> Finished:
    """`run_batch` of churn: raises what it raises, and BundleError for a bundle that does not say who will leave."""
    return run_batch(Bundle.load(bundle_path), partial(leaving_all, threads=threads), lake_path, Path(out), **how)


def leaving_all(bundle: Bundle, lake: Lake, as_of: date | None, *, threads: int) -> Question:
    """`leaving` from a bundle."""
    return leaving(churn_of(bundle, threads))


def leaving(churn: Churn) -> Question:
    """Probability and tier of every customer, and survival where the bundle tells it; null for those who have left
    already or join later."""
    survival = Survival.of(churn.bundle)

    def answer(tables: dict[str, pl.DataFrame], as_of: date | None) -> tuple[pl.DataFrame, int]:
        return leaving_of(churn, tables, as_of, survival), tables["customers"]["customer_id"].n_unique()

    return Question({"answers": "churn"}, columns_of(survival), ("customer_id",), answer)


def columns_of(survival: Survival | None) -> dict[str, Any]:
    """The columns of the scores of a bundle."""
    told = {} if survival is None else dict.fromkeys(survival.columns, pl.Float32)
    rest = {name: dtype for name, dtype in COLUMNS.items() if name != "bundle_id"}
    return rest | told | {"bundle_id": COLUMNS["bundle_id"]}


def leaving_of(
    churn: Churn, tables: dict[str, pl.DataFrame], as_of: date | None, survival: Survival | None = None
) -> pl.DataFrame:
    """`columns_of` but for the bundle, one row for each customer of the tables, ordered by id."""
    found = standing(tables, as_of, churn.about.rule).drop("joined")
    here = found.filter(pl.col("standing") == "customer")["customer_id"]
    if here.is_empty():
        rest = {
            name: dtype for name, dtype in columns_of(survival).items() if name not in (*found.columns, "bundle_id")
        }
        return found.with_columns(pl.lit(None, dtype=dtype).alias(name) for name, dtype in rest.items())
    rows = features(tables, scoring_examples(here, as_of), churn.definition)
    scored = churn.scored(rows)
    told = scored if survival is None else survival.beside(scored, rows)
    return found.join(told, on="customer_id", how="left", maintain_order="left")
