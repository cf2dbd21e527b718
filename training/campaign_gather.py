"""Reads the units of campaigns from a lake, bucket by bucket, with what was known of each customer before."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recsys.campaigns.units import RESULTS, UNITS, drawn_units, units_of
from recsys.drivers.columns import make_columns
from recsys.errors import ConfigError, DataError
from recsys.features.definition import FeatureConfig, FeatureDefinition, define
from recsys.features.everyone import COPIES
from recsys.features.features import features
from recsys.lake.contract import INTERACTION_KINDS, nearest
from recsys.lake.parts import MEMORY, BucketReader
from recsys.lake.store import Lake
from recsys.progress import Progress
from recsys.segment_cards.labels import Labels
from training.driver_trials import Draw

GROUP = "by."
"""Begins the name of a column that figures are told by."""
WINDOW = 90
"""Days of activity in the features."""
ALL = "all"


@dataclass(frozen=True)
class Asked:
    """What is asked of a lake."""

    campaigns: tuple[str, ...] = ()
    outcome: str = "contacts.converted"
    days: int = 30
    """In which an outcome counts, from the contact on."""
    covariate: str | None = None
    """A feature for CUPED: the verdict then goes by it."""
    randomised: str | None = None
    """ATTRIBUTE=CONTROL, where the arm is an attribute of customers."""
    value: str | None = None
    """With `randomised`: the attribute that is revenue."""
    shares: tuple[tuple[str, float], ...] = ()
    """Arm and chance, where chance drew and the log does not say how."""
    by: tuple[str, ...] = ()
    """Attributes of customers; their groups if not given."""
    segments: Path | None = None
    """What segments assign wrote."""
    planned_as: tuple[tuple[str, str], ...] = ()
    """Attribute and value of a planned campaign, whose return is to be foretold."""
    winsorise: float | None = None
    """The quantile at which margins are bounded in figures beside the others."""
    watching: bool = False
    """Whether somebody looks before the end, or more than once."""
    planned: int = 5_000
    seed: int = 0
    memory: int = MEMORY


@dataclass(frozen=True)
class Gathered:
    """The units of every campaign, N rows, sorted by campaign and customer."""

    units: pl.DataFrame
    """UNITS and a column by.NAME for each thing that figures are told by."""
    design: np.ndarray
    """float64 [N, W], what was known before the contact; W is 0 where it is not needed."""
    covariate: np.ndarray | None
    """float64 [N], the mean where it is not known."""
    covariate_name: str | None


def gather(lake: Lake, asked: Asked, progress: Progress) -> Gathered:
    """Read every bucket once; a customer and campaign take about a kilobyte at most, and stay in memory.

    Raises ConfigError where the lake has no such campaign, outcome, attribute or feature, DataError for a broken row.
    """
    draw = Draw.parse(asked.randomised, lake)
    campaigns = () if draw else asked_campaigns(lake, asked)
    outcome = parse_outcome(lake, asked, draw)
    by = _by(lake, asked)
    if draw and lake.as_of is not None and asked.covariate:
        raise ConfigError("--covariate: an attribute has no day before which a feature could be taken in a dated lake")
    wanted = asked.covariate is not None or (draw is None and _targeted(lake, campaigns))
    definition = define(lake, FeatureConfig(windows=(WINDOW,)), None) if wanted else None
    if definition and asked.covariate and asked.covariate not in definition.numbers:
        near = nearest(asked.covariate, definition.numbers)
        raise ConfigError(f"--covariate {asked.covariate!r}: no such feature that is a number{near}")
    found, seen = [], []
    reader = BucketReader(lake, asked.memory)
    for bucket in range(lake.buckets):
        for tables in reader.parts(bucket, COPIES):
            units = _bucket_units(tables, lake, asked, outcome, campaigns, draw)
            if units.height:
                found.append(units.hstack(_groups(units, tables["customers"], lake, by)))
                if definition:
                    seen.append(_features(units, tables, definition))
        progress(bucket + 1, lake.buckets, "reading")
    if not found:
        raise DataError(f"{lake.path}: no contact of the campaigns asked for")
    rows = pl.concat(found).with_row_index("_row").sort("campaign_id", "customer_id")
    silent = set(asked.campaigns) - {ALL} - set(rows["campaign_id"].unique().to_list())
    if silent:
        raise DataError(f"contacts: no row of the campaign {min(silent)}; nothing was logged of it")
    order = rows["_row"].to_numpy()
    rows = _segments(rows.drop("_row"), asked.segments)
    if definition is None:
        return Gathered(rows, np.zeros((rows.height, 0)), None, None)
    known = pl.concat(seen, how="diagonal")[order]
    design = make_columns(known, definition, Labels.of_lake(definition, lake)).design()
    if asked.covariate is None:
        return Gathered(rows, design, None, None)
    value = known[asked.covariate].cast(pl.Float64)
    if value.drop_nulls().n_unique() < 2:
        raise DataError(f"--covariate {asked.covariate}: the same for every customer; it tells nothing")
    return Gathered(rows, design, value.fill_null(strategy="mean").to_numpy(), asked.covariate)


def asked_campaigns(lake: Lake, asked: Asked) -> tuple[str, ...]:
    """The campaigns that are asked for, `all` for every one with a contact. Raises ConfigError."""
    missing = [table for table in ("contacts", "campaigns") if table not in lake.tables]
    if missing:
        raise ConfigError(
            f"{lake.path}: has no table {missing[0]}; where an attribute of customers says which arm chance drew, "
            "give --randomised ATTRIBUTE=CONTROL"
        )
    known = lake.read("campaigns")["campaign_id"].sort().to_list()
    if not asked.campaigns:
        raise ConfigError(f"--campaign: name a campaign, or {ALL}; the lake has {', '.join(known[:8])} …")
    if asked.campaigns == (ALL,):
        return tuple(known)
    for name in asked.campaigns:
        if name not in known:
            raise ConfigError(f"--campaign {name!r}: the lake has no such campaign{nearest(name, known)}")
    return tuple(dict.fromkeys(asked.campaigns))


def check_planned(lake: Lake, asked: Asked) -> None:
    """Raise ConfigError for an attribute of a planned campaign that campaigns does not have."""
    if not asked.planned_as:
        return
    if asked.randomised or "campaigns" not in lake.tables:
        raise ConfigError("--forecast: needs the table campaigns, and past campaigns to measure (--campaign all)")
    known = [a.name for a in lake.attributes("campaigns") if a.kind in ("category", "flag")]
    known += ["product_id"] if "product_id" in lake.schema("campaigns") else []
    for name, _ in asked.planned_as:
        if name not in known:
            raise ConfigError(f"--forecast {name}: campaigns has no such category or flag{nearest(name, known)}")


def parse_outcome(lake: Lake, asked: Asked, draw: Draw | None) -> tuple[str, str]:
    """Table and name of the outcome. Raises ConfigError."""
    if draw is not None:
        known = {a.name: a for a in lake.attributes("customers") if a.role in ("label", "outcome")}
        for option, name in (("--outcome", asked.outcome), ("--value", asked.value)):
            if name is not None and (name not in known or known[name].kind not in ("flag", "number")):
                raise ConfigError(
                    f"{option} {name!r}: with --randomised it is an attribute of customers with the role label or "
                    f"outcome, a flag or a number{nearest(name, known)}; there is {', '.join(known) or 'none'}"
                )
        return "customers", asked.outcome
    table, dot, name = asked.outcome.partition(".")
    names = {"contacts": RESULTS, "interactions": INTERACTION_KINDS}.get(table, ())
    if not dot or (table != "outcomes" and name not in names):
        raise ConfigError(
            f"--outcome {asked.outcome!r}: expected contacts.{{{', '.join(RESULTS)}}}, interactions.KIND or "
            f"outcomes.KIND{nearest(name, names)}"
        )
    if table not in lake.tables or (table == "contacts" and name not in lake.schema("contacts")):
        raise ConfigError(f"--outcome {asked.outcome!r}: the lake has no {asked.outcome if dot else table}")
    return table, name


def _bucket_units(
    tables: Mapping[str, pl.DataFrame],
    lake: Lake,
    asked: Asked,
    outcome: tuple[str, str],
    campaigns: tuple[str, ...],
    draw: Draw | None,
) -> pl.DataFrame:
    if draw is not None:
        return drawn_units(tables["customers"], draw.attribute, draw.control, outcome[1], asked.value)
    present = set(tables["contacts"]["campaign_id"].unique().to_list())
    found = [
        units_of(tables, name, outcome, asked.days, lake.last_event or lake.until)
        for name in campaigns
        if name in present
    ]
    return pl.concat(found) if found else pl.DataFrame(schema=UNITS)


def _targeted(lake: Lake, campaigns: tuple[str, ...]) -> bool:
    """Whether the chances of an arm differ between customers in any of the campaigns."""
    if "propensity" not in lake.schema("contacts"):
        return False
    arm = ["arm"] if "arm" in lake.schema("contacts") else ["contacted"]
    chance = pl.col("propensity")
    spread = (
        lake.scan("contacts")
        .filter(pl.col("campaign_id").is_in(list(campaigns)))
        .group_by("campaign_id", *arm)
        .agg((chance.max() - chance.min()).alias("spread"))
    )
    return bool((spread.select(pl.col("spread").max()).collect().item() or 0) > 1e-9)


def _by(lake: Lake, asked: Asked) -> tuple[str, ...]:
    """Attributes of customers that figures are told by: those asked for, or groups and protected ones."""
    known = {a.name: a for a in lake.attributes("customers") if a.kind in ("category", "flag")}
    for name in asked.by:
        if name not in known:
            raise ConfigError(
                f"--by {name!r}: customers has no such category or flag{nearest(name, known)}; "
                f"there is {', '.join(known) or 'none'}"
            )
    arm = (asked.randomised or "").partition("=")[0]
    return asked.by or tuple(n for n, a in known.items() if a.role in ("group", "protected") and n != arm)


def _groups(units: pl.DataFrame, customers: pl.DataFrame, lake: Lake, by: tuple[str, ...]) -> pl.DataFrame:
    """The attributes as words, as they were known on the day of the contact where the lake tells."""
    chosen = [pl.col(name).cast(pl.String).alias(f"{GROUP}{name}") for name in by]
    keyed = units.select("customer_id", pl.col("at").dt.date().alias("day")).with_row_index("_row")
    if "valid_from" in customers.columns:
        joined = keyed.join(customers.select("customer_id", "valid_from", *chosen), on="customer_id", how="left")
        known = pl.col("valid_from").is_null() | pl.col("day").is_null() | (pl.col("valid_from") <= pl.col("day"))
        kept = joined.filter(known).sort("_row", "valid_from", nulls_last=False).unique("_row", keep="last")
        joined = keyed.join(kept.drop("customer_id", "day", "valid_from"), on="_row", how="left").sort("_row")
    else:
        joined = keyed.join(customers.select("customer_id", *chosen), on="customer_id", how="left").sort("_row")
    return joined.select(f"{GROUP}{name}" for name in by)


def _features(units: pl.DataFrame, tables: Mapping[str, pl.DataFrame], definition: FeatureDefinition) -> pl.DataFrame:
    """Each unit's features as of the day of its contact, so that nothing of that day or later is among them."""
    examples = units.select(
        "customer_id",
        pl.col("at").dt.date().alias("as_of"),
        pl.lit(None, dtype=pl.Int64).alias("position"),
        pl.lit([], dtype=pl.List(pl.String)).alias("hidden"),
    )
    return features(tables, examples, definition).drop("customer_id", "history", "history_kind", "history_age")


def _segments(rows: pl.DataFrame, folder: Path | None) -> pl.DataFrame:
    """With the segment of each customer from the files that `segments assign` wrote, as the column by.segment."""
    if folder is None:
        return rows
    if not any(folder.glob("*.parquet")):
        raise ConfigError(f"--segments {folder}: no Parquet files; recsys segments assign writes them")
    assigned = pl.scan_parquet(f"{folder}/*.parquet")
    names = assigned.collect_schema().names()
    if missing := [name for name in ("customer_id", "segment") if name not in names]:
        raise ConfigError(f"--segments {folder}: the files lack the column {missing[0]}")
    asked = rows.select("customer_id").unique().lazy()
    found = assigned.select("customer_id", pl.col("segment").alias(f"{GROUP}segment")).join(asked, on="customer_id")
    return rows.join(found.unique("customer_id").collect(), on="customer_id", how="left", maintain_order="left")


def parts(gathered: Gathered) -> Iterator[tuple[str, np.ndarray]]:
    """Each campaign with the places of its units, int64."""
    for name, places in (
        gathered.units.with_row_index("_row").group_by("campaign_id", maintain_order=True).agg("_row").rows()
    ):
        yield str(name), np.asarray(places, dtype=np.int64)
