"""Batch scoring of uplift: what contact by each action adds for every customer of a lake, bucket by bucket."""

from collections.abc import Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import polars as pl

from recsys.bundle import Bundle, Uplift
from recsys.bundle.uplift import uplift_of
from recsys.churn.standing import standing
from recsys.errors import ConfigError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from recsys.uplift.actions import SCHEMA
from serving.batch import Finished, How, Question, run_batch

COLUMNS: dict[str, Any] = {
    "customer_id": pl.String,
    **SCHEMA,
    "baseline": pl.Float32,
    "effect": pl.Float32,
    "se": pl.Float32,
    "bundle_id": pl.String,
}


def score_uplift(
    bundle_path: Path | str,
    lake_path: Path | str,
    out: Path | str,
    *,
    actions: Sequence[str] = (),
    threads: int = 2,
    **how: Unpack[How],
) -> Finished:
    """`run_batch` of uplift: raises what it raises, BundleError for a bundle without it, and ConfigError or DataError
    for an action that it does not know."""
    return run_batch(
        Bundle.load(bundle_path),
        partial(adding_all, actions=tuple(actions), threads=threads),
        lake_path,
        Path(out),
        **how,
    )


def adding_all(bundle: Bundle, lake: Lake, as_of: date | None, *, actions: tuple[str, ...], threads: int) -> Question:
    """`adding` from a bundle, by the actions asked for or all that its training knows."""
    uplift = uplift_of(bundle, threads)
    asked = parse_actions(actions) if actions else uplift.trained_actions
    uplift.about.actions.vectors(asked)
    return adding(uplift, asked)


def parse_actions(texts: Sequence[str]) -> pl.DataFrame:
    """`PRODUCT/CHANNEL/LEVEL`, a part left empty where there is none → product_id, channel, level. ConfigError."""
    rows = [text.split("/") for text in texts]
    for text, row in zip(texts, rows, strict=True):
        if len(row) != len(SCHEMA):
            raise ConfigError(f"--action {text!r}: write PRODUCT/CHANNEL/LEVEL, a part empty where there is none")
    return pl.DataFrame([[part or None for part in row] for row in rows], schema=SCHEMA, orient="row")


def adding(uplift: Uplift, actions: pl.DataFrame) -> Question:
    """Baseline, effect and its standard error of every customer of the bank on the day, a row for each action."""
    options = {"answers": "uplift", "action": [list(row) for row in actions.select(list(SCHEMA)).iter_rows()]}

    def answer(tables: dict[str, pl.DataFrame], as_of: date | None) -> tuple[pl.DataFrame, int]:
        known = standing(tables, as_of, None)
        here = known.filter(pl.col("standing") == "customer")["customer_id"]
        rows = features(tables, scoring_examples(here, as_of), uplift.definition)
        told = rows.select("customer_id").join(actions.select(list(SCHEMA)), how="cross", maintain_order="left_right")
        if here.is_empty():
            empty = {name: COLUMNS[name] for name in ("baseline", "effect", "se")}
            return told.with_columns(pl.lit(None, dtype=dtype).alias(name) for name, dtype in empty.items()), 0
        found = dict(zip(("baseline", "effect", "se"), uplift.expected(rows, actions), strict=True))
        return told.with_columns(pl.Series(name, np.ravel(values)) for name, values in found.items()), len(here)

    return Question(options, COLUMNS, ("customer_id", *SCHEMA), answer)
