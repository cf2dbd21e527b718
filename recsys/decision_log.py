"""Reads a log of drawn decisions from a lake, each with what was known of its customer on the day before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.campaigns.ope.tables import Logged, from_contacts, from_decisions
from recsys.errors import ConfigError, DataError
from recsys.features.definition import FeatureConfig, FeatureDefinition, define
from recsys.features.everyone import COPIES
from recsys.features.features import features
from recsys.lake.contract import nearest
from recsys.lake.parts import BucketReader
from recsys.lake.store import Lake
from recsys.progress import Progress

MOST_WORDS = 12
"""Values of a category that become columns of the reward model, the most frequent."""


@dataclass(frozen=True)
class Asked:
    """Which decisions, and what counts as their reward."""

    reward: str
    campaign: str | None = None
    """The contacts of this campaign; None: the table `decisions`."""
    customers: tuple[tuple[str, str], ...] = ()
    """Only customers with these attributes and values."""
    by: str = "product_id"
    """Which column of decisions is the action."""
    days: int | None = None


@dataclass(frozen=True)
class Gathered:
    """The log, and the context of its decisions for the reward model."""

    logged: Logged
    context: np.ndarray
    """float64 [N, D], without missing values."""
    names: tuple[str, ...]
    """What the D columns are."""


def gather(lake: Lake, asked: Asked, memory: int, progress: Progress) -> Gathered:
    """Read every bucket once. Raises ConfigError or DataError where the lake has no such log."""
    table = _check(lake, asked)
    definition = define(lake, FeatureConfig(), None)
    reader = BucketReader(lake, memory)
    decisions, outcomes, seen = [], [], []
    for bucket in range(lake.buckets):
        for tables in reader.parts(bucket, COPIES):
            made = _made(tables, table, asked)
            if made.is_empty():
                continue
            decisions.append(made)
            seen.append(_seen(made, asked, tables, definition))
            if "outcomes" in tables and table == "decisions":
                mine = made.select("customer_id").unique()
                outcomes.append(tables["outcomes"].join(mine, on="customer_id", how="semi"))
        progress(bucket + 1, lake.buckets, "reading")
    if not decisions:
        raise DataError(f"{lake.path}: {table} holds none of those asked for; there is nothing to evaluate a policy on")
    rows = pl.concat(decisions)
    if table == "contacts":
        logged = from_contacts(rows, asked.reward)
    else:
        schema = lake.schema("outcomes")
        logged = from_decisions(
            rows, pl.concat(outcomes) if outcomes else pl.DataFrame(schema=schema), asked.reward, asked.days, asked.by
        )
    key = "contact_id" if table == "contacts" else "decision_id"
    ordered = rows.select(key, "at").sort("at", key).join(pl.concat(seen), on=key, how="left", maintain_order="left")
    context, names = numbers(ordered.drop(key, "at"))
    return Gathered(logged, context, names)


def _check(lake: Lake, asked: Asked) -> str:
    table = "contacts" if asked.campaign is not None else "decisions"
    wanted = (table,) if table == "contacts" else (table, "outcomes")
    for name in wanted:
        if name not in lake.tables:
            more = "" if asked.campaign or "contacts" not in lake.tables else "; it has contacts: give --campaign ID"
            raise ConfigError(f"{lake.path}: has no table {name}, and a policy is evaluated on logged decisions{more}")
    if asked.campaign is not None:
        known = lake.read("campaigns")["campaign_id"].to_list()
        if asked.campaign not in known:
            raise ConfigError(f"--campaign {asked.campaign}: no such campaign{nearest(asked.campaign, known)}")
    attributes = {attribute.name for attribute in lake.attributes("customers")}
    for name, _ in asked.customers:
        if name not in attributes:
            raise ConfigError(f"--customers {name}: customers has no such attribute{nearest(name, sorted(attributes))}")
    return table


def _made(tables: Mapping[str, pl.DataFrame], table: str, asked: Asked) -> pl.DataFrame:
    made = tables[table]
    if asked.campaign is not None:
        made = made.filter(pl.col("campaign_id") == asked.campaign)
    for name, value in asked.customers:
        who = tables["customers"].filter(pl.col(name).cast(pl.String) == value).select("customer_id").unique()
        made = made.join(who, on="customer_id", how="semi")
    return made.sort("at", "contact_id" if table == "contacts" else "decision_id")


def _seen(
    made: pl.DataFrame, asked: Asked, tables: Mapping[str, pl.DataFrame], definition: FeatureDefinition
) -> pl.DataFrame:
    """The features of each decision as seen from its own day, so that nothing of that day or later is among them."""
    examples = made.select(
        "customer_id",
        pl.col("at").dt.date().alias("as_of"),
        pl.lit(None, dtype=pl.Int64).alias("position"),
        pl.lit([], dtype=pl.List(pl.String)).alias("hidden"),
    )
    found = features(tables, examples, definition)
    kept = found.select(pl.col(pl.Float64, pl.String).exclude("customer_id"))
    beside = {"product_id": "action", "action": "product_id"}[asked.by] if asked.campaign is None else "channel"
    extra = [pl.col(beside).alias(f"decision.{beside}")] if beside in made.columns else []
    key = "contact_id" if asked.campaign is not None else "decision_id"
    return made.select(key, *extra).hstack(kept)


def numbers(rows: pl.DataFrame) -> tuple[np.ndarray, tuple[str, ...]]:
    """Columns as float64 [N, D] for a linear model: money on a log scale, means where not known, words as flags."""
    columns, names = [], []
    for series in rows.get_columns():
        if series.dtype == pl.String:
            for word in _words(series):
                columns.append((series == word).fill_null(False).cast(pl.Float64).to_numpy())
                names.append(f"{series.name}={word}")
            continue
        values = series.cast(pl.Float64).to_numpy()
        values = np.sign(values) * np.log1p(np.abs(values))
        known = np.isfinite(values)
        if known.any() and float(np.ptp(values[known])) > 0:
            columns.append(np.where(known, values, values[known].mean()))
            names.append(series.name)
    return (np.stack(columns, axis=1) if columns else np.zeros((rows.height, 0))), tuple(names)


def _words(series: pl.Series) -> Sequence[str]:
    counted = series.drop_nulls().value_counts(sort=False).sort(["count", series.name], descending=[True, False])
    return [] if counted.height < 2 else counted[series.name].head(MOST_WORDS).to_list()
