"""The segment of one customer whenever an event arrives: a function of their rows and a day, of nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from recsys.bundle.embedding import Embedded
from recsys.bundle.segmentation import Segmentation
from recsys.features.examples import scoring_examples
from recsys.features.features import features


@dataclass(frozen=True)
class SegmentOf:
    """Where a customer is, and what is unusual about them."""

    id: str
    name: str
    distance: float
    """Euclidean, to the segment's prototype."""
    unusual: tuple[str, ...] | None
    """Features that make the customer unusual, the worst first; None if they are not."""


def segment_of(
    segmentation: Segmentation, customer_id: str, tables: Mapping[str, pl.DataFrame], as_of: date | None
) -> SegmentOf:
    """From a customer's rows in the lake's tables, as `with_events` joins old and new.

    `as_of` is the first day whose events do not count: to count an event of today, the day after today. Equal to the
    last bit to what `recsys segments assign` says of the same rows and day. Raises DataError if the rows give no
    finite vector.
    """
    return segment_of_row(
        segmentation, features(tables, scoring_examples([customer_id], as_of), segmentation.definition)
    )


def segment_of_row(segmentation: Segmentation, rows: pl.DataFrame) -> SegmentOf:
    """From the customer's one feature row."""
    return _told(segmentation, segmentation.embed(rows))


def segment_of_arrays(segmentation: Segmentation, arrays: Mapping[str, np.ndarray]) -> SegmentOf:
    """From the encoder's arrays of the one customer, where they are at hand."""
    return _told(segmentation, Embedded(*segmentation.embedding.run(arrays)))


def _told(segmentation: Segmentation, embedded: Embedded) -> SegmentOf:
    index, distance = segmentation.assign(segmentation.places(embedded))
    (flagged,), (told,) = segmentation.embedding.unusual(embedded.errors)
    place = int(index[0])
    entry = segmentation.segments[place]
    return SegmentOf(entry.id, entry.name, float(distance[0, place]), tuple(told) if flagged else None)


def with_events(tables: Mapping[str, pl.DataFrame], events: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """A customer's tables with new rows after the old ones; columns that only one of them has are null in the other."""
    both = dict(tables)
    for name, rows in events.items():
        both[name] = _joined(both[name], rows) if name in both else rows
    return both


def _joined(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Both, one below the other; where their types agree, without waiting for Polars' threads."""
    kinds = {**new.schema, **old.schema}
    if any(kinds[name] != kind for name, kind in new.schema.items()):
        return pl.concat([old, new], how="diagonal_relaxed")
    names = [*old.columns, *(name for name in new.columns if name not in old.columns)]
    return pl.concat([_with_columns(part, names, kinds) for part in (old, new)])


def _with_columns(part: pl.DataFrame, names: Sequence[str], kinds: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """These columns in this order, null where the part has none."""
    if part.columns == names:
        return part
    absent = {name: pl.Series(name, [None], dtype=kinds[name]) for name in names if name not in part.columns}
    columns = [absent[name].new_from_index(0, part.height) if name in absent else part[name] for name in names]
    return pl.DataFrame(columns)
