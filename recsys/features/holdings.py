"""What the customer holds and what they did with which product, before the example's point."""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from recsys.features.definition import HOLDING_KINDS, FeatureDefinition
from recsys.features.view import AT, FAR, View, arrays, taken
from recsys.features.vocabulary import FEW, Vocabulary, vocabulary

ORDER = ("at", "position", "event_id", "product_id", "kind")
"""Events are ordered by time, then id; the last two make the order total."""
_EVENT: dict[str, pl.DataType] = {
    "product_id": pl.String(),
    "kind": pl.String(),
    "at": AT,
    "position": pl.Int64(),
    "event_id": pl.String(),
}
SEEN: dict[str, pl.DataType] = {"row": pl.UInt32(), "age": pl.Int32(), **_EVENT}
"""An interaction that an example sees; `age` in days is -1 where either has no time."""
_CLOSED = HOLDING_KINDS.index("closed")


def is_test(events: pl.DataFrame) -> pl.Expr:
    """Whether an interaction is a test row, which no example may see."""
    return pl.col("test").fill_null(False) if "test" in events.columns else pl.lit(False)


def seen_interactions(view: View) -> pl.DataFrame:
    """Each example's visible interactions, in order (columns `SEEN`)."""
    events = view.tables.get("interactions")
    if events is None:
        return pl.DataFrame(schema=SEEN)
    pairs = view.interactions
    age = np.where(pairs.age > FAR, -1, pairs.age)
    found = [pl.Series("row", pairs.row.astype(np.uint32)), pl.Series("age", age.astype(np.int32))]
    for name, kind in _EVENT.items():
        if name in events.columns:
            column = events[name]
            found.append(taken(column if column.dtype == kind else column.cast(kind), pairs.event))
        else:
            found.append(pl.Series(name, [None], dtype=kind).new_from_index(0, len(pairs.event)))
    return _in_order(pl.DataFrame(found))


def _in_order(seen: pl.DataFrame) -> pl.DataFrame:
    """Sorted by example and `ORDER`; the texts are compared only if two events of an example share their time."""
    if not _before(seen, np.less_equal):
        seen = _sorted(seen, "at")
    return seen if _before(seen, np.less) else _sorted(seen, *ORDER)


def _sorted(seen: pl.DataFrame, *by: str) -> pl.DataFrame:
    """By example and these columns, what is not known first."""
    if seen.height > FEW:
        return seen.sort("row", *by, nulls_last=False)
    columns = [seen["row"].to_list(), *(seen[name].to_list() for name in by)]
    keys = [tuple((value is not None, value) for value in values) for values in zip(*columns, strict=True)]
    order = np.array(sorted(range(seen.height), key=keys.__getitem__), dtype=np.int64)
    return pl.DataFrame([column[order] for column in seen.get_columns()])


def _before(seen: pl.DataFrame, compare: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> bool:
    """Whether the times of each two neighbours of an example, whose rows ascend, compare so; none is before any."""
    row, at = seen["row"].to_numpy(), seen["at"].to_numpy().view(np.int64)
    return bool((compare(at[:-1], at[1:]) | (row[1:] != row[:-1])).all())


def holdings(seen: pl.DataFrame) -> pl.DataFrame:
    """Columns `row` and `holdings`: products taken and not closed since, sorted by id."""
    products = Vocabulary.of(seen["product_id"])
    found = arrays(seen, {"product_id": products, "kind": vocabulary(HOLDING_KINDS)})
    counts = np.flatnonzero((found["kind"] >= 0) & (found["product_id"] >= 0))[::-1]
    count = max(1, len(products))
    key = seen["row"].to_numpy().astype(np.int64)[counts] * count + found["product_id"][counts]
    key, last = np.unique(key, return_index=True)
    key = key[found["kind"][counts[last]] != _CLOSED]
    held = pl.Series("holdings", products.words, dtype=pl.String)[key % count]
    return _lists(key // count, [held])


def history(seen: pl.DataFrame, definition: FeatureDefinition) -> pl.DataFrame:
    """Columns `row`, `history`, `history_kind`, `history_age`: the last interactions about a product, oldest first."""
    ordered = _known(seen["at"]) | _known(seen["position"])
    kind = vocabulary(definition.history_kinds).places(seen["kind"])
    place = np.flatnonzero((kind >= 0) & ordered & _known(seen["product_id"]))
    row = seen["row"].to_numpy()[place]
    after = np.searchsorted(row, row, side="right") - np.arange(len(row))
    place = place[after <= definition.history_length]
    age = taken(seen["age"], place)
    named = {"product_id": "history", "kind": "history_kind"}
    columns = [taken(seen[name], place).alias(alias) for name, alias in named.items()]
    columns.append((age.replace(-1, None) if (age == -1).any() else age).alias("history_age"))
    return _lists(seen["row"].to_numpy()[place], columns)


def _known(values: pl.Series) -> np.ndarray:
    """bool [N]."""
    missing = values.null_count()
    if 0 < missing < len(values) <= FEW:
        return np.array([value is not None for value in values.to_list()])
    if 0 < missing < len(values):
        return values.is_not_null().to_numpy()
    return np.full(len(values), not missing)


def _lists(row: np.ndarray, columns: Sequence[pl.Series]) -> pl.DataFrame:
    """`row`, and the values of each example, whose rows ascend, as a list."""
    if not len(row):
        empty = (pl.Series(c.name, [], dtype=pl.List(c.dtype)) for c in columns)
        return pl.DataFrame([pl.Series("row", [], dtype=pl.UInt32), *empty])
    if row[0] == row[-1]:
        return pl.DataFrame([pl.Series("row", row[:1], dtype=pl.UInt32), *(pl.Series(c.name, [c]) for c in columns)])
    flat = pl.DataFrame([pl.Series("row", row, dtype=pl.UInt32), *columns])
    return flat.group_by("row", maintain_order=True).agg(pl.all())
