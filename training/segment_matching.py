"""Which new segments are old ones: matched on the customers that both assign, so that ids and names persist."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from recsys.errors import DataError

Fate = Literal["persists", "merged", "split", "vanished"]
Origin = Literal["persists", "merged", "split", "new"]


MOST_OF = 0.5
"""More than this share of a segment is most of it: to say that it went into another, or came from it."""


@dataclass(frozen=True)
class OldSegment:
    """What became of a segment."""

    id: str
    fate: Fate
    into: tuple[str, ...]
    """Ids of the new segments that it lives on in, the largest part first."""
    overlap: float
    """Jaccard index with the new segment that it is matched to, 0 if it is matched to none."""


@dataclass(frozen=True)
class NewSegment:
    """Where a segment comes from."""

    id: str
    origin: Origin
    of: tuple[str, ...]
    """Ids of the old segments that it is made of, the largest part first."""
    matched: int | None
    """Index of the old segment that it still is, None if it is none."""


@dataclass(frozen=True)
class Matching:
    """Old segments and new ones, each in their own order."""

    old: tuple[OldSegment, ...]
    new: tuple[NewSegment, ...]
    highest: int
    """The highest number that any id has or had: the next new segment is one above."""
    kept: float
    """Share of the customers that both assign whose id is the same."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def contingency(old: np.ndarray, new: np.ndarray, sizes: tuple[int, int]) -> np.ndarray:
    """int64 [old segments, new segments] of customers: int64 [N] indices by both, -1 for none; adds up over buckets."""
    both = (old >= 0) & (new >= 0)
    flat = np.bincount(old[both] * sizes[1] + new[both], minlength=sizes[0] * sizes[1])
    return flat.reshape(sizes).astype(np.int64)


def match(overlap: np.ndarray, ids: Sequence[str], highest: int = 0, least_overlap: float = 0.5) -> Matching:
    """Match segments by the largest sum of Jaccard indices (Kuhn, Naval Research Logistics Quarterly 1955).

    overlap: int [K, L] customers by old and new segment, as `contingency` counts them; ids: of the K old segments,
    such as S3; highest: the highest number that ever was in an id, for ids of segments that are no more.
    A pair whose Jaccard index is below `least_overlap` is no pair. New ids never are ones that were used. Raises
    DataError for ids that are none, or are not as many as the rows.
    """
    numbers = [_number(segment) for segment in ids]
    if overlap.ndim != 2 or len(ids) != len(overlap) or len(set(ids)) < len(ids):
        raise DataError(f"matching: {len(set(ids))} distinct ids for an overlap of shape {overlap.shape}")
    likeness = _jaccard(overlap)
    pairs = {
        int(j): int(i)
        for i, j in zip(*linear_sum_assignment(-likeness), strict=True)
        if likeness[i, j] >= least_overlap
    }
    top = max([highest, *numbers])
    fresh = [j for j in range(overlap.shape[1]) if j not in pairs]
    named = {j: ids[i] for j, i in pairs.items()} | {j: f"S{top + n}" for n, j in enumerate(fresh, start=1)}
    new = tuple(_new(j, overlap, ids, pairs, named) for j in range(overlap.shape[1]))
    partner = {i: j for j, i in pairs.items()}
    old = tuple(_old(i, overlap, likeness, ids, partner, named) for i in range(len(ids)))
    same = sum(int(overlap[i, j]) for j, i in pairs.items())
    return Matching(old, new, top + len(fresh), same / max(1, int(overlap.sum())))


def _number(segment: str) -> int:
    if not (segment.startswith("S") and segment[1:].isdecimal()):
        raise DataError(f"{segment!r} is no id of a segment; they are S1, S2 …")
    return int(segment[1:])


def _jaccard(overlap: np.ndarray) -> np.ndarray:
    together = overlap.sum(axis=1, keepdims=True) + overlap.sum(axis=0, keepdims=True) - overlap
    return overlap / np.maximum(together, 1)


def _old(
    i: int,
    overlap: np.ndarray,
    likeness: np.ndarray,
    ids: Sequence[str],
    partner: dict[int, int],
    named: dict[int, str],
) -> OldSegment:
    """Its customers are in one new segment (merged), in several that are mostly of it (split), or anywhere."""
    if i in partner:
        return OldSegment(ids[i], "persists", (named[partner[i]],), float(likeness[i, partner[i]]))
    row, columns = overlap[i], overlap.sum(axis=0)
    order = [int(j) for j in np.argsort(-row, kind="stable")]
    parts = [j for j in order if row[j] > MOST_OF * columns[j]]
    if len(parts) > 1 and row[parts].sum() > MOST_OF * row.sum():
        return OldSegment(ids[i], "split", tuple(named[j] for j in parts), 0.0)
    if row[order[0]] > MOST_OF * row.sum():
        return OldSegment(ids[i], "merged", (named[order[0]],), 0.0)
    return OldSegment(ids[i], "vanished", (), 0.0)


def _new(j: int, overlap: np.ndarray, ids: Sequence[str], pairs: dict[int, int], named: dict[int, str]) -> NewSegment:
    """Its customers come from one old segment (split), are most of several (merged), or come from anywhere (new).

    A segment that persists has its id; that others were merged into it is said of them.
    """
    if j in pairs:
        return NewSegment(named[j], "persists", (ids[pairs[j]],), pairs[j])
    column, rows = overlap[:, j], overlap.sum(axis=1)
    order = [int(i) for i in np.argsort(-column, kind="stable")]
    whole = [i for i in order if column[i] > MOST_OF * rows[i]]
    if len(whole) > 1 and column[whole].sum() > MOST_OF * column.sum():
        return NewSegment(named[j], "merged", tuple(ids[i] for i in whole), None)
    if column[order[0]] > MOST_OF * column.sum():
        return NewSegment(named[j], "split", (ids[order[0]],), None)
    return NewSegment(named[j], "new", (), None)
