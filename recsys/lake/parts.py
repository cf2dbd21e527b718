"""A bucket that would not fit into a memory budget, read in parts by the next bits of its customers' hash."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from pydantic import ByteSize, TypeAdapter, ValidationError

from recsys.errors import ConfigError
from recsys.lake.buckets import stable_hashes
from recsys.lake.store import Lake

MEMORY = 4 << 30
"""The budget where none is given."""
PROGRAM = 1 << 30
"""Set aside for what does not grow with the bank: Python, Polars, ONNX Runtime or torch, and a loaded bundle."""
MOST = 1 << 10
"""The most parts of a bucket."""
_WIDTH = {pl.Boolean: 1, pl.Int8: 1, pl.Int32: 4, pl.Float32: 4, pl.Date: 4, pl.String: 24, pl.List: 48}


@dataclass(frozen=True)
class BucketReader:
    """Reads buckets so that the process stays within `memory` while it works on one part at a time.

    The rows of a customer and of their accounts are always in one part, in the order of the bucket.
    """

    lake: Lake
    memory: int = MEMORY
    """Bytes that the process may take."""
    share: float = 1.0
    """The share of customers that is read, chosen by a hash of their ids whatever the buckets."""

    def __post_init__(self) -> None:
        if self.memory <= PROGRAM:
            raise ConfigError(
                f"--memory {size(self.memory)}: the program itself takes up to {size(PROGRAM)}; give at least "
                f"{size(1.5 * PROGRAM)}"
            )

    def parts(self, bucket: int, copies: float) -> Iterator[dict[str, pl.DataFrame]]:
        """The tables of a bucket (products and campaigns whole), part by part.

        `copies` is how many times the tables' bytes the caller's work on them takes, the tables included.
        Raises ConfigError if no part would fit.
        """
        count = self.count(bucket, copies)
        if count == 1 and self.share >= 1:
            yield self.lake.bucket(bucket)
            return
        ids = self._ids(bucket)
        places = (stable_hashes(ids) >> np.uint64(self.lake.buckets.bit_length() - 1)) & np.uint64(count - 1)
        for part in range(count):
            chosen = ids.filter(pl.Series(places == part))
            yield self.lake.customers(chosen.filter(pl.Series(in_sample(chosen, self.share))).to_list())

    def count(self, bucket: int, copies: float) -> int:
        """The number of parts, a power of two: the fewest that are expected to fit."""
        room = self.memory - PROGRAM
        needed = copies * self.share * table_bytes(self.lake, bucket)
        count = 1
        while needed / count > room:
            count *= 2
        if count > MOST:
            raise ConfigError(
                f"--memory {size(self.memory)}: bucket {bucket} of {self.lake.path} needs about {size(needed)} and is "
                f"read in at most {MOST:,} parts; give at least {size(PROGRAM + needed / MOST)}, or split the lake's "
                "buckets (recsys data split)"
            )
        return count

    def _ids(self, bucket: int) -> pl.Series:
        """Everyone in the bucket, known to the bank or met in an interaction only."""
        tables = [name for name in ("customers", "interactions") if name in self.lake.tables]
        frames = pl.collect_all([self.lake.rows(name, bucket).select("customer_id").unique() for name in tables])
        return pl.concat(frames)["customer_id"].drop_nulls().unique().sort()


def joined(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """What was made of a bucket's parts, each ordered by `customer_id`, as it would be of the whole bucket."""
    return parts[0] if len(parts) == 1 else pl.concat(parts).sort("customer_id", maintain_order=True)


def in_sample(ids: pl.Series, share: float) -> np.ndarray:
    """bool [N]: whether each customer belongs to the sample; a larger share keeps all of a smaller one's."""
    if share >= 1:
        return np.ones(len(ids), dtype=bool)
    return stable_hashes(pl.select(pl.lit("sample:") + ids).to_series()) < share * 2.0**64


def sample_share(lake: Lake, customers: int | None) -> float:
    """The share of the lake's customers that gives about so many; 1 for None, or more than there are."""
    if customers is None:
        return 1.0
    known = lake.tables["customers"].rows
    if "valid_from" in lake.tables["customers"].columns:
        known = int(lake.scan("customers").select(pl.col("customer_id").n_unique()).collect().item())
    return min(1.0, customers / max(1, known))


def table_bytes(lake: Lake, bucket: int) -> int:
    """What the tables of a bucket are expected to take in memory, from their row counts and types."""
    tables = list(lake.tables)
    counts = pl.collect_all([lake.rows(name, bucket).select(pl.len()) for name in tables])
    return sum(
        frame.item() * sum(_WIDTH.get(dtype.base_type(), 8) for dtype in lake.schema(name).values())
        for name, frame in zip(tables, counts, strict=True)
    )


def size(count: float) -> str:
    """Bytes for people, in MiB, rounded up."""
    return f"{-(-int(count) // (1 << 20)):,} MiB"


def parse_memory(text: str) -> int:
    """The bytes of `--memory`, such as 4GiB; ConfigError if it is not written so."""
    try:
        return int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        raise ConfigError(f"--memory {text!r} is not a size; write it as 4GiB or 1500MiB") from None
