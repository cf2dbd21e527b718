"""What churn would learn from, found in a few buckets: who left, from which days, and what gives it away."""

from collections.abc import Callable, Iterator
from datetime import date

import polars as pl

from recsys.churn.config import ChurnConfig
from recsys.churn.labels import Label, check_outcomes, check_reach, churn_examples, find_label
from recsys.churn.splits import churn_days
from recsys.features.definition import FeatureDefinition
from recsys.features.examples import Part
from recsys.features.features import features
from recsys.lake.store import Lake
from training.adoption_rows import copies
from training.churn_checks import known_afterwards, refuse_leaking_rows
from training.survival_rows import check_survival_days

Tables = dict[str, pl.DataFrame]


def churn_lines(
    config: ChurnConfig,
    lake: Lake,
    definition: FeatureDefinition,
    parts: tuple[Part, ...],
    until: date | None,
    trusted: tuple[str, ...],
    sampled: Callable[[float], Iterator[Tables]],
    whole: Callable[[], bool],
) -> list[str]:
    """Sentences on the section; `sampled` gives tables of buckets, and `whole` says afterwards whether of all.

    Raises ConfigError or DataError where the lake cannot tell who left, a part of a lake seen whole lacks one of the
    outcomes, or a column that is not `trusted` tells the outcome by itself.
    """
    label, days = find_label(lake, config), churn_days(config, until)
    check_reach(lake, config, days)
    examples, left = dict.fromkeys(parts, 0), dict.fromkeys(parts, 0)
    learning: list[pl.DataFrame] = []
    for tables in sampled(copies(len(days["train"]), 1.0)):
        for part in parts:
            found = churn_examples(tables, config, label, part, days[part], until)
            examples[part] += found.height
            left[part] += int(found["outcome"].sum() or 0)
            if part == "train" and found.height:
                last = found.filter(pl.col("as_of").eq_missing(days[part][-1]))
                learning.append(features(tables, last, definition).with_columns(last["outcome"]))
    if whole():
        for part in parts:
            check_outcomes(left[part], examples[part], part, config, days[part])
    if learning:
        refuse_leaking_rows(pl.concat(learning), definition, trusted)
    shares = ", ".join(f"{left[p] / n:.1%} of {n:,} ({p})" for p, n in examples.items() if n)
    lines = [f"churn: {_said(config, label)}; left of what was looked at: {shares or 'nobody was'}"]
    if late := known_afterwards(lake):
        lines.append(f"churn: known only afterwards, so never read (role outcome): {', '.join(late)}")
    if config.survival:
        seen = check_survival_days(config, lake, until)
        lines.append(
            f"churn: survival by {', '.join(map(str, config.survival.horizons_months))} months, from customers seen on "
            f"{len(seen)} days, {seen[0]} to {seen[-1]}"
        )
    if config.rule:
        train = ", ".join(str(day) for day in days["train"])
        lines.append(
            f"churn: customers seen from {train} for training, {days['validation'][0]} for validation, "
            f"{days['test'][0]} for test"
        )
    return lines


def _said(config: ChurnConfig, label: Label | None) -> str:
    if label is not None:
        return f"customers.{label.name} is {label.positive}"
    assert config.rule is not None
    said = ["the last account was closed"] if config.rule.accounts_closed else []
    if config.rule.inactive_days:
        said.append(f"nothing was done for {config.rule.inactive_days} days")
    return f"{' or '.join(said)} within {config.horizon_months} months"
