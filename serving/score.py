"""Batch scoring: the best products of every customer of a lake, bucket by bucket."""

from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import polars as pl

from recsys.bundle import Adoption, Bundle, Recommender
from recsys.errors import ConfigError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from recsys.rules import Rules
from serving.batch import Finished, How, Question, run_batch
from serving.rules import RulesInForce

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
    diversity: float | None = None,
    rules: Path | str | None = None,
    threads: int = 2,
    **how: Unpack[How],
) -> Finished:
    """`run_batch` of recommendations; the files do not depend on the `threads` of the graphs.

    `diversity` is the bundle's own where it is None; `rules` is a file of rules, applied before the ranking. Raises
    ConfigError for an impossible `top` or `diversity` or rules that do not fit, and what `run_batch` raises.
    """
    if top < 1:
        raise ConfigError(f"--top {top}: each customer gets at least 1 product")
    if diversity is not None and not 0 <= diversity <= 1:
        raise ConfigError(f"--diversity {diversity:g}: from 0, by score alone, to 1")
    read = None if rules is None else Rules.read(rules)
    ask = partial(recommending_all, top=top, diversity=diversity, rules=read, rules_file=str(rules), threads=threads)
    return run_batch(Bundle.load(bundle_path), ask, lake_path, Path(out), **how)


def recommending_all(
    bundle: Bundle,
    lake: Lake,
    as_of: date | None,
    *,
    top: int,
    diversity: float | None,
    rules: Rules | None,
    rules_file: str,
    threads: int,
) -> Question:
    """`recommending` from a bundle and a lake; `rules_file` names where the rules were read, for errors."""
    recommender, adoption = Recommender(bundle, threads), Adoption.of(bundle, threads)
    in_force = None if rules is None else RulesInForce.of(rules, rules_file, bundle, lake, as_of, threads)
    return recommending(recommender, adoption, top, recommender.diversity if diversity is None else diversity, in_force)


def recommending(
    recommender: Recommender, adoption: Adoption | None, top: int, diversity: float, rules: RulesInForce | None = None
) -> Question:
    """The best `top` products for every customer, with probabilities where the bundle has them."""

    def answer(tables: dict[str, pl.DataFrame], as_of: date | None) -> tuple[pl.DataFrame, int]:
        return recommendations(recommender, adoption, tables, as_of, top, diversity, rules)

    options = {"top": top, "diversity": diversity} | ({} if rules is None else {"rules": rules.digest})
    return Question(options, columns(adoption), ("customer_id", "rank"), answer)


def recommendations(
    recommender: Recommender,
    adoption: Adoption | None,
    tables: dict[str, pl.DataFrame],
    as_of: date | None,
    top: int,
    diversity: float | None = None,
    rules: RulesInForce | None = None,
) -> tuple[pl.DataFrame, int]:
    """For every customer of a bucket the columns of a file but for the bundle; and how many customers that is."""
    customers = tables["customers"]["customer_id"].unique().sort()
    k = min(top, len(recommender.products))
    rows = features(tables, scoring_examples(customers, as_of), recommender.definition)
    eligibility = None if rules is None else rules.eligible(tables, rows, as_of)
    ranked = recommender.ranked(rows, recommender.vectors_from_rows(rows), k, diversity, eligibility)
    return ranked if adoption is None else adoption.beside(ranked, rows), len(customers)


def columns(adoption: Adoption | None) -> dict[str, Any]:
    """Name and type of every column of a file: `COLUMNS`, then the probabilities where the bundle has them."""
    return COLUMNS | dict.fromkeys(adoption.columns if adoption else (), pl.Float32)
