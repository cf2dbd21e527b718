"""Batch scoring: the best products of every customer of a lake, bucket by bucket."""

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from recsys.bundle import Adoption, Bundle, Recommender
from recsys.errors import ConfigError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.parts import MEMORY
from recsys.progress import Progress
from serving.batch import Finished, Question, run_batch

COLUMNS = {
    "customer_id": pl.String,
    "rank": pl.Int32,
    "product_id": pl.String,
    "score": pl.Float32,
    "bundle_id": pl.String,
}


def score(
    bundle_path: Path | str,
    lake_path: Path | str,
    out: Path | str,
    *,
    top: int = 10,
    as_of: date | None = None,
    version: int | None = None,
    diversity: float | None = None,
    memory: int = MEMORY,
    threads: int = 2,
    progress: Progress | None = None,
) -> Finished:
    """`run_batch` of recommendations; the files do not depend on the `threads` of the graphs.

    `diversity` is the bundle's own where it is None. Raises ConfigError for an impossible `top` or `diversity`, and
    what `run_batch` raises.
    """
    if top < 1:
        raise ConfigError(f"--top {top}: each customer gets at least 1 product")
    if diversity is not None and not 0 <= diversity <= 1:
        raise ConfigError(f"--diversity {diversity:g}: from 0, by score alone, to 1")
    bundle = Bundle.load(bundle_path)
    recommender, adoption = Recommender(bundle, threads), Adoption.of(bundle, threads)
    question = recommending(recommender, adoption, top, recommender.diversity if diversity is None else diversity)
    return run_batch(
        bundle, question, lake_path, Path(out), as_of=as_of, version=version, memory=memory, progress=progress
    )


def recommending(recommender: Recommender, adoption: Adoption | None, top: int, diversity: float) -> Question:
    """The best `top` products for every customer, with probabilities where the bundle has them."""

    def answer(tables: dict[str, pl.DataFrame], as_of: date | None) -> tuple[pl.DataFrame, int]:
        return recommendations(recommender, adoption, tables, as_of, top, diversity)

    return Question({"top": top, "diversity": diversity}, columns(adoption), ("customer_id", "rank"), answer)


def recommendations(
    recommender: Recommender,
    adoption: Adoption | None,
    tables: dict[str, pl.DataFrame],
    as_of: date | None,
    top: int,
    diversity: float | None = None,
) -> tuple[pl.DataFrame, int]:
    """For every customer of a bucket the columns of a file but for the bundle; and how many customers that is."""
    customers = tables["customers"]["customer_id"].unique().sort()
    if customers.is_empty():
        return pl.DataFrame(schema={n: dtype for n, dtype in columns(adoption).items() if n != "bundle_id"}), 0
    k = min(top, len(recommender.products))
    rows = features(tables, scoring_examples(customers, as_of), recommender.definition)
    ranked = recommender.ranked(rows, recommender.vectors_from_rows(rows), k, diversity)
    return ranked if adoption is None else adoption.beside(ranked, rows), len(customers)


def columns(adoption: Adoption | None) -> dict[str, Any]:
    """Name and type of every column of a file: `COLUMNS`, then the probabilities where the bundle has them."""
    return COLUMNS | dict.fromkeys(adoption.columns if adoption else (), pl.Float32)
