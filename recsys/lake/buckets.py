"""The hash that puts a customer into a bucket: a named function of the id, the same for ever, in every engine.

`md5_64` is the first 8 bytes, big endian, of the MD5 of the id's UTF-8 bytes. In DuckDB:
`('0x' || md5(id)[:16])::UBIGINT`; in PostgreSQL: `('x' || left(md5(id), 16))::bit(64)`. MD5 only spreads ids evenly
here; it protects nothing.
"""

from hashlib import md5

import numpy as np
import polars as pl

from recsys.errors import ConfigError

HASH = "md5_64"
"""The name of the hash, as `lake.json` states it."""

BUCKET = pl.Int32
"""The type of the column `bucket`."""

_FEW = 1000
"""Ids that are hashed sooner than looked through for equal ones."""
LARGEST = 1 << 20
"""The largest number of buckets: a bucket of ten customers at ten million."""


def stable_hash(text: str) -> int:
    """The 64-bit hash of one id."""
    return int.from_bytes(md5(text.encode(), usedforsecurity=False).digest()[:8], "big")


def stable_hashes(ids: pl.Series) -> np.ndarray:
    """uint64 [N]: the hash of each id; every distinct id is hashed once. Nulls raise ValueError."""
    if ids.null_count():
        raise ValueError(
            f"{ids.name or 'ids'}: {ids.null_count():,} of {ids.len():,} ids are null; an id is never null"
        )
    unique = ids if ids.len() <= _FEW else ids.unique(maintain_order=True)
    digests = b"".join(md5(text.encode(), usedforsecurity=False).digest()[:8] for text in unique.to_list())
    hashes = np.frombuffer(digests, dtype=">u8").astype(np.uint64)
    if unique.len() == ids.len():
        return hashes
    table = pl.DataFrame({"id": unique, "hash": hashes})
    return ids.to_frame("id").join(table, on="id", how="left", maintain_order="left")["hash"].to_numpy()


def bucket_of(ids: pl.Series, buckets: int) -> pl.Series:
    """Int32 [N]: the bucket of each id among `buckets`, which must be a power of two so that a bucket splits in two."""
    mask = np.uint64(check_buckets(buckets) - 1)
    return pl.Series("bucket", (stable_hashes(ids) & mask).astype(np.int32))


def check_buckets(buckets: int) -> int:
    """The number itself if it is a power of two up to `LARGEST`, else ConfigError."""
    if not 1 <= buckets <= LARGEST or buckets & (buckets - 1):
        raise ConfigError(f"buckets: {buckets:,} is not a power of two between 1 and {LARGEST:,}, such as 16 or 256")
    return buckets
