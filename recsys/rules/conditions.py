"""The conditions of a rule, each checked against what is known and made ready to be asked of many customers."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date

import numpy as np
import polars as pl

from recsys.errors import ConfigError
from recsys.features.vocabulary import Vocabulary
from recsys.lake.contract import Attribute, nearest
from recsys.rules.attributes import CompiledTest, Levels, compile_test, two_levels
from recsys.rules.catalogue import Catalogue, Known
from recsys.rules.config import (
    ContactRule,
    CoolingOff,
    OfProduct,
    ProductRule,
    Risk,
    SegmentTest,
    Selection,
    Test,
)
from recsys.rules.history import (
    CompiledHolding,
    CompiledRest,
    distinct_lists,
    full_channels,
    lacks_channel_consent,
    lacks_consent,
    resting_channels,
)
from recsys.rules.seen import Seen

Condition = Callable[[Seen], Iterable[Levels | np.ndarray]]
"""Customers → what is removed: levels, or int64 [M, 2] single cells ordered by customer."""
_TABLE_OF = {"contact": "contacts", "acquisition": "interactions", "refusal": "outcomes"}
_EVER, _NEVER_ENDS = -(1 << 40), 1 << 40
"""Days that are always past, and never come."""


def product_conditions(
    rule: ProductRule, known: Known, catalogue: Catalogue, governed: np.ndarray, where: str
) -> Iterator[Condition]:
    """What a rule asks for, over the products [P]; ConfigError for what is not there."""
    yield from _of_customers(rule, known, catalogue, governed, where)
    yield from _holdings(rule, known, catalogue, governed, where)
    if rule.starts or rule.ends:
        _check_dated(known, f"{where}.{'starts' if rule.starts else 'ends'}")
        starts = _days(rule.starts, _EVER, catalogue, f"{where}.starts")
        ends = _days(rule.ends, _NEVER_ENDS, catalogue, f"{where}.ends")
        yield lambda seen: [_out_of_season(seen, starts, ends, governed)]
    if rule.risk:
        yield _risk(rule.risk, rule, known, catalogue, governed, f"{where}.risk")
    if rule.stock:
        left = catalogue.column(rule.stock.attribute, ("number",), f"{where}.stock.attribute").cast(pl.Float64)
        few = (left < rule.stock.at_least).fill_null(False).to_numpy() & governed
        yield lambda seen: [two_levels(np.ones(len(seen.ids), dtype=bool), few)]
    if consent := rule.consent:
        _check_table("consents", known, f"{where}.consent")
        _check_channels(consent.channels or (), known, f"{where}.consent.channels")
        yield lambda seen: [two_levels(lacks_consent(consent, seen), governed)]
    if rule.cooling_off:
        rest = _rest(rule.cooling_off, known, catalogue, governed, f"{where}.cooling_off")
        yield lambda seen: [rest.pairs(seen)]


def contact_conditions(
    rule: ContactRule, known: Known, catalogue: Catalogue, governed: np.ndarray, channels: Sequence[str], where: str
) -> Iterator[Condition]:
    """What a rule asks for, over the channels [C]; ConfigError for what is not there."""
    yield from _of_customers(rule, known, catalogue, governed, where)
    if rule.starts or rule.ends:
        _check_dated(known, f"{where}.{'starts' if rule.starts else 'ends'}")
        starts, ends = (np.full(len(channels), _number(day)) for day in (rule.starts, rule.ends))
        starts, ends = np.nan_to_num(starts, nan=_EVER), np.nan_to_num(ends, nan=_NEVER_ENDS)
        yield lambda seen: [_out_of_season(seen, starts, ends, governed)]
    if consent := rule.consent:
        _check_table("consents", known, f"{where}.consent")
        yield lambda seen: [np.argwhere(lacks_channel_consent(consent.purpose, channels, seen) & governed)]
    if rest := rule.cooling_off:
        _check_event(rest.after, known, f"{where}.cooling_off")
        yield lambda seen: [np.argwhere(resting_channels(rest, channels, governed, seen))]
    if cap := rule.cap:
        _check_event("contact", known, f"{where}.cap")
        yield lambda seen: [np.argwhere(full_channels(cap, channels, governed, seen))]


def _of_customers(
    rule: ProductRule | ContactRule, known: Known, catalogue: Catalogue, governed: np.ndarray, where: str
) -> Iterator[Condition]:
    """Attributes and segment."""
    for name, test in rule.customer.items():
        place = f"{where}.customer.{name}"
        if any(key.startswith("years") for key, _ in test.bounds):
            _check_dated(known, place)
        yield _test(name, test, rule, known, catalogue, governed, place).removed
    if asked := rule.segment:
        _check_segments(asked, known, f"{where}.segment")
        unknown = rule.unknown == "remove"
        yield lambda seen: [two_levels(_elsewhere(asked, seen, unknown), governed)]


def _test(
    name: str,
    test: Test,
    rule: ProductRule | ContactRule,
    known: Known,
    catalogue: Catalogue,
    governed: np.ndarray,
    where: str,
) -> CompiledTest:
    attributes: Mapping[str, Attribute] = {attribute.name: attribute for attribute in known.customer_attributes}
    return compile_test(
        name,
        test,
        attributes,
        catalogue,
        governed,
        remove_unknown=rule.unknown == "remove",
        protected=rule.protected,
        where=where,
    )


def _elsewhere(asked: SegmentTest, seen: Seen, remove_unknown: bool) -> np.ndarray:
    """bool [N]: who is not in such a segment."""
    if seen.segments is None:
        raise ValueError("a rule reads segments, and none were given")
    said = pl.col("s")
    outside = said.is_in(asked.none_of)
    if asked.any_of:
        outside |= ~said.is_in(asked.any_of)
    found = seen.segments.cast(pl.String).alias("s").to_frame().select(outside.fill_null(remove_unknown))
    return found.to_series().to_numpy()


def _holdings(
    rule: ProductRule, known: Known, catalogue: Catalogue, governed: np.ndarray, where: str
) -> Iterator[Condition]:
    """What must, and what must not, be held."""
    words = Vocabulary(catalogue.ids)
    for key, asked, one in (("requires", rule.requires, "any"), ("excludes", rule.excludes, "none")):
        if asked is None:
            continue
        _check_table("interactions", known, f"{where}.{key}")
        if isinstance(asked, Selection):
            wanted = catalogue.selected(asked, f"{where}.{key}")
            yield _held(CompiledHolding(words, wanted, one), governed)
            continue
        lists = catalogue.column(asked.product, ("tags",), f"{where}.{key}.product")
        for ids, depends in distinct_lists(lists):
            if (depends & governed).any():
                wanted = catalogue.selected(Selection(ids=ids), f"{where}.{key}: products.{asked.product}")
                yield _held(CompiledHolding(words, wanted, "all" if one == "any" else one), depends & governed)


def _held(holding: CompiledHolding, governed: np.ndarray) -> Condition:
    return lambda seen: [two_levels(holding.fails(seen), governed)]


def _rest(rest: CoolingOff, known: Known, catalogue: Catalogue, governed: np.ndarray, where: str) -> CompiledRest:
    _check_event(rest.after, known, where)
    group = catalogue.groups(f"{where}.about") if rest.about == "category" else None
    column = np.full(len(catalogue.ids), -1)
    column[catalogue.offered] = np.arange(len(catalogue.offered))
    return CompiledRest(rest, Vocabulary(catalogue.ids), column, governed, group)


def _risk(
    risk: Risk, rule: ProductRule, known: Known, catalogue: Catalogue, governed: np.ndarray, where: str
) -> Condition:
    test = _test(risk.customer, Test(any_of=risk.order), rule, known, catalogue, governed, f"{where}.customer")
    classes = catalogue.column(risk.product, ("category",), f"{where}.product").to_list()
    for found in sorted({value for value in classes if value is not None} - {*risk.order}):
        raise ConfigError(f"{where}.order: products have {found!r} in products.{risk.product}, which the order lacks")
    height = np.array([-1 if value is None else risk.order.index(value) for value in classes])
    above = height[None, :] > np.arange(len(risk.order))[:, None]
    unknown = (height >= 0) & (rule.unknown == "remove")
    table = np.vstack([above, unknown[None, :]]) & governed
    order = Vocabulary(risk.order)

    def removed(seen: Seen) -> list[Levels]:
        place = order.places(seen.attribute(test.attribute.name, pl.String()))
        return [(np.where(place >= 0, place, len(risk.order)), table)]

    return removed


def _out_of_season(seen: Seen, starts: np.ndarray, ends: np.ndarray, governed: np.ndarray) -> Levels:
    assert seen.as_of is not None
    day = _number(seen.as_of)
    return two_levels(np.ones(len(seen.ids), dtype=bool), governed & ((starts > day) | (ends < day)))


def _days(day: date | OfProduct | None, otherwise: int, catalogue: Catalogue, where: str) -> np.ndarray:
    """float64 [P] days since 1970-01-01."""
    if isinstance(day, OfProduct):
        column = catalogue.column(day.product, ("date",), f"{where}.product")
        return column.to_physical().cast(pl.Float64).fill_null(otherwise).to_numpy()
    return np.full(len(catalogue.offered), otherwise if day is None else _number(day))


def _number(day: date | None) -> float:
    return np.nan if day is None else float((day - date(1970, 1, 1)).days)


def _check_dated(known: Known, where: str) -> None:
    if not known.dated:
        raise ConfigError(f"{where}: needs a day to look from, and the lake has no dated events")


def _check_table(table: str, known: Known, where: str) -> None:
    if table not in known.tables:
        raise ConfigError(f"{where}: needs the table {table}, which is not there; there are {', '.join(known.tables)}")


def _check_event(after: str, known: Known, where: str) -> None:
    _check_table(_TABLE_OF[after], known, where)
    _check_dated(known, where)


def _check_channels(channels: Sequence[str], known: Known, where: str) -> None:
    for channel in channels:
        if known.channels and channel not in known.channels:
            hint = nearest(channel, sorted(known.channels))
            raise ConfigError(f"{where}: consents and contacts name no channel {channel!r}{hint}")


def _check_segments(asked: SegmentTest, known: Known, where: str) -> None:
    if known.segments is None:
        raise ConfigError(f"{where}: needs a bundle with segments, and there is none")
    for segment in (*asked.any_of, *asked.none_of):
        if segment not in known.segments:
            raise ConfigError(f"{where}: the bundle has no segment {segment!r}; it has {', '.join(known.segments)}")
