"""What would fail after an hour, found in seconds."""

from collections.abc import Iterator
from typing import get_args

import polars as pl

from recsys.churn.labels import find_label
from recsys.errors import ConfigError, DataError
from recsys.features.adoption_examples import adoption_cuts, adoption_examples, labels_end
from recsys.features.definition import FeatureDefinition, define
from recsys.features.examples import Part, cuts, last_day, protocol_examples
from recsys.features.features import features
from recsys.lake.coverage import stopped_tables
from recsys.lake.parts import BucketReader, sample_share
from recsys.lake.store import Lake
from recsys.metrics import metric_names
from training.adoption import check_memory, too_short
from training.adoption_rows import copies as adoption_copies
from training.churn_preflight import churn_lines
from training.config import Config
from training.evaluate import KS, group_of
from training.leaks import find_leaks, leak_rows, without_history
from training.prepare import first_unseen_day
from training.rows import copies
from training.uplift_preflight import uplift_lines

SAMPLE = 4
"""Buckets that are looked at."""


ALL_PARTS: tuple[Part, ...] = get_args(Part)


def preflight(config: Config, lake: Lake, parts: tuple[Part, ...] = ALL_PARTS) -> list[str]:
    """Sentences on what training would do with this lake, from a few of its buckets; only `parts` are looked at.

    Raises ConfigError or DataError for what would make training fail: a protocol that the source cannot support,
    a part without examples, an unknown attribute or metric, nothing to learn from.
    """
    check_metric(config.training.metric, "training.metric")
    if config.recommender and "interactions" not in lake.tables:
        raise DataError(
            f"{lake.path}: no table interactions, so there is nothing to recommend from; recommender: false with a "
            "section embedding, churn or uplift trains without"
        )
    if config.recommender and config.evaluation.protocol == "temporal":
        cuts(config.evaluation, lake.as_of)
    if config.churn is not None:
        find_label(lake, config.churn)
    definition = define(lake, config.features, before=first_unseen_day(config, lake))
    if not (definition.profile or definition.holdings or definition.history_length):
        raise DataError(f"{lake.path}: no attribute with the role feature, no holdings and no history to learn from")
    lines = [_source(lake), *stopped_tables(lake), *_inputs(lake, definition)]
    if config.recommender:
        group = group_of(lake, config)
        lines += _split(config, lake)
        lines.append(f"popularity by group: {group or 'left out, no attribute has the role group'}")
        lines += [*_examples(config, lake, definition, parts), *_adoption(config, lake, parts)]
    else:
        lines.append("no recommender (recommender: false)")
    lines += [*_churn(config, lake, definition, parts), *_uplift(config, lake)]
    return [*lines, *_embedding(config, lake, definition)]


def _churn(config: Config, lake: Lake, definition: FeatureDefinition, parts: tuple[Part, ...]) -> list[str]:
    """What churn would learn from; refused where the lake cannot tell who left, or a column gives it away."""
    if config.churn is None:
        return []
    sample, until = _Sample(lake), last_day(config.evaluation, lake.as_of)
    trusted = config.features.trusted
    return churn_lines(config.churn, lake, definition, parts, until, trusted, sample.tables, lambda: sample.whole)


def _uplift(config: Config, lake: Lake) -> list[str]:
    """What uplift would learn from; refused where the lake cannot tell what a contact adds."""
    if config.uplift is None:
        return []
    sample, until = _Sample(lake), last_day(config.evaluation, lake.as_of)
    return uplift_lines(config.uplift, lake, until, sample.tables, lambda: sample.whole)


def _embedding(config: Config, lake: Lake, definition: FeatureDefinition) -> list[str]:
    """What the embedding would read, and from how many customers."""
    if config.embedding is None:
        return []
    columns = (*definition.numbers, *definition.categories, *definition.tags)
    for name in config.embedding.exclude:
        if name not in columns:
            raise ConfigError(f"embedding.exclude: there is no column {name!r}; there are {', '.join(columns)}")
    never = {a.name for a in lake.attributes("customers") if a.role != "feature"} | set(config.embedding.exclude)
    read = [name for name in columns if name not in never]
    if not read and not definition.holdings:
        raise ConfigError("embedding: no column is left to learn from; name fewer in embedding.exclude")
    if not definition.holdings and all(name in definition.tags for name in read):
        raise ConfigError(
            "embedding: only tags are left to learn from; they are read, but only numbers, categories and holdings are "
            "found again in a vector, so name fewer in embedding.exclude, or leave the section out"
        )
    known = round(lake.tables["customers"].rows * sample_share(lake, config.embedding.customers))
    contrast = config.embedding.sequence is not None and definition.history_length
    line = f"embedding: {len(read)} columns{', holdings' if definition.holdings else ''} of {known:,} customers"
    line += "; contrast of their histories" if contrast else ""
    if config.embedding.ahead and definition.dated:
        days = config.embedding.ahead.horizon_days
        seen = days in definition.windows
        line += f"; what they do in {days} days" if seen else f"; {days} days ahead are none of features.windows"
    if config.segments is None:
        return [line]
    wanted = config.segments
    if known < wanted.fewest:
        raise ConfigError(f"segments.fewest: {wanted.fewest} segments of {known:,} customers cannot be")
    return [
        line,
        f"segments: {wanted.fewest} to {wanted.most} in the {wanted.space}, {len(wanted.algorithms)} algorithms",
    ]


def check_metric(metric: str, where: str) -> None:
    """ConfigError if there is no metric of this name; `where` names the key or option."""
    if metric not in metric_names(KS):
        raise ConfigError(f"{where}: {metric!r} is not one of {', '.join(metric_names(KS))}")


def _source(lake: Lake) -> str:
    tables = ", ".join(f"{name} {info.rows:,}" for name, info in sorted(lake.tables.items()))
    seen = f"seen from {lake.as_of}" if lake.as_of else "no dated events"
    return f"lake {lake.path}, version {lake.version}, {lake.buckets} buckets, {seen}: {tables}"


def _inputs(lake: Lake, definition: FeatureDefinition) -> list[str]:
    profile = ", ".join(f"{c.name} ({c.kind})" for c in definition.profile) or "none"
    products = ", ".join(f"{c.name} ({c.kind})" for c in definition.product_attributes) or "none"
    timeless = without_history(lake, definition)
    today = [f"seen as they are today, whatever the day (no valid_from): {', '.join(timeless)}"] if timeless else []
    unused = [
        name
        for name in ("transactions", "contacts", "balances")
        if name in lake.tables and not getattr(definition, name)
    ]
    left_out = [f"not used, nothing of them lies within the windows: {', '.join(unused)}"] if unused else []
    return [
        *left_out,
        f"profile: {profile}",
        f"product attributes: {products}",
        *today,
        f"from events: {len(definition.activity)} numbers; history of {definition.history_length} "
        f"({', '.join(definition.history_kinds) or 'no kinds'}); holdings: {'yes' if definition.holdings else 'no'}",
    ]


def _split(config: Config, lake: Lake) -> list[str]:
    again = "; refit on training and validation" if config.evaluation.refit else ""
    if config.evaluation.protocol != "temporal":
        return [f"protocol: {config.evaluation.protocol}{again}"]
    days = cuts(config.evaluation, lake.as_of)
    shown = ", ".join(day.isoformat() for day in days["train"])
    shown += " and after newcomers' first day between them" if config.evaluation.newcomers else ""
    return [
        f"protocol: temporal, {config.evaluation.horizon_days} days after {shown} for training, "
        f"{days['validation'][0]} for validation, {days['test'][0]} for test{again}"
    ]


class _Sample:
    """The first buckets of a lake, of large ones their first part, and how many times more there is in all."""

    def __init__(self, lake: Lake) -> None:
        self._reader = BucketReader(lake)
        self._customers = 0
        self.whole = lake.buckets <= SAMPLE
        """Whether nothing was left out."""

    def tables(self, copies: float) -> Iterator[dict[str, pl.DataFrame]]:
        for bucket in range(min(SAMPLE, self._reader.lake.buckets)):
            self.whole = self.whole and self._reader.count(bucket, copies) == 1
            found = next(self._reader.parts(bucket, copies))
            self._customers += found["customers"].height
            yield found

    @property
    def factor(self) -> float:
        return self._reader.lake.tables["customers"].rows / max(1, self._customers)


def _examples(config: Config, lake: Lake, definition: FeatureDefinition, parts: tuple[Part, ...]) -> list[str]:
    counts = dict.fromkeys(parts, 0)
    learning: list[pl.DataFrame] = []
    sample = _Sample(lake)
    for tables in sample.tables(copies(config.evaluation)):
        first = not learning
        for part in counts:
            examples = protocol_examples(tables, config.evaluation, part, lake.as_of)
            counts[part] += examples.height
            if part == "train":
                learning.append(leak_rows(tables, examples, definition))
            if first and part == "validation":
                features(tables, examples.head(100), definition)
    _refuse_leaks(config, definition, pl.concat(learning))
    lines = []
    if (chosen := sample_share(lake, config.training.customers)) < 1:
        lines.append(f"training.customers: {chosen:.1%} of the customers are read for training and validation")
    for part, count in counts.items():
        if not count and sample.whole:
            raise DataError(
                f"{lake.path}: {config.evaluation.protocol} finds no {part} example; {_remedy(config, lake)}"
            )
        read = 1.0 if part == "test" else chosen
        lines.append(f"{part}: about {round(count * sample.factor * read):,} examples")
    return lines


def _adoption(config: Config, lake: Lake, parts: tuple[Part, ...]) -> list[str]:
    """What adoption would learn from; refused where the dated past is too short or nothing was acquired in it."""
    if config.adoption is None or "test" not in parts:
        return []
    check_memory(config.adoption, lake.tables["products"].rows)
    horizons, until = config.adoption.horizons_months, last_day(config.evaluation, lake.as_of)
    days = adoption_cuts(horizons, config.adoption.snapshots, until)
    acquired, over = dict.fromkeys(days, 0), 0
    sample = _Sample(lake)
    for tables in sample.tables(adoption_copies(len(days["train"]), 1.0)):
        for part, cuts_of_part in days.items():
            found = adoption_examples(tables, horizons, cuts_of_part, labels_end(days, part, until))
            acquired[part] += int(found["targets"].list.len().sum())
            over += int((found["finished"] == len(horizons)).sum()) if part == "train" else 0
    if sample.whole:
        if not over:
            raise DataError(f"{lake.path}: adoption: {too_short(config.adoption, days)}")
        for part, count in acquired.items():
            if not count:
                raise DataError(f"{lake.path}: adoption: nothing was acquired after the {part} cut, {days[part][-1]}")
    months = ", ".join(map(str, horizons))
    return [
        f"adoption: within {months} months; {len(days['train'])} cuts from {days['train'][0]} for training, "
        f"{days['validation'][0]} for calibration, {days['test'][0]} for test; acquisitions after them: about "
        + ", ".join(f"{round(count * sample.factor):,} ({part})" for part, count in acquired.items())
    ]


def _refuse_leaks(config: Config, definition: FeatureDefinition, rows: pl.DataFrame) -> None:
    """DataError with the leak report if an attribute that is not trusted tells the outcome by itself."""
    columns = tuple(column for column in definition.profile if column.name not in config.features.trusted)
    leaks = find_leaks(rows, columns)
    if leaks:
        names = ", ".join(leak.attribute for leak in leaks)
        raise DataError(
            "\n".join(str(leak) for leak in leaks)
            + "\nKnown only afterwards? Give it the role outcome in the catalog, or a customers.valid_from, "
            f"or leave it out: --set 'features.exclude=[{names}]'. "
            f"If the bank does know it in advance: --set 'features.trusted=[{names}]'"
        )


def _remedy(config: Config, lake: Lake) -> str:
    if config.evaluation.protocol == "temporal":
        kinds = lake.scan("interactions").select(pl.col("at").min().alias("first"), pl.col("at").max().alias("last"))
        first, last = kinds.collect().row(0)
        return (
            f"interactions run from {first} to {last}; each part needs products acquired within "
            f"evaluation.horizon_days={config.evaluation.horizon_days} after its cut"
        )
    if config.evaluation.protocol == "hold_one_out":
        return "it needs customers who hold two products or more"
    if config.evaluation.protocol == "given":
        return "it needs rows marked `test`, and customers with two other products or more (for validation five)"
    return "it needs customers with three ordered acquisitions or more"
