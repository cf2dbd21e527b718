"""A customer's rows as one value: Arrow streams, table by table, so that one lookup reads everything."""

import io
import json
import zlib
from collections.abc import Collection, Mapping

import polars as pl

_LEVEL = 1
_HEADER = 4
"""Bytes that say how long the table of contents is."""


def packed(tables: Mapping[str, pl.DataFrame]) -> bytes:
    """Table of contents, then each table compressed; tables without rows are left out."""
    parts = {name: zlib.compress(_stream(rows), _LEVEL) for name, rows in tables.items() if rows.height}
    contents = json.dumps({name: len(part) for name, part in parts.items()}).encode()
    return b"".join([len(contents).to_bytes(_HEADER, "big"), contents, *parts.values()])


def unpacked(value: bytes, only: Collection[str] | None = None) -> dict[str, pl.DataFrame]:
    """The tables, or those of `only` that are there."""
    start = _HEADER + int.from_bytes(value[:_HEADER], "big")
    found = {}
    for name, size in json.loads(value[_HEADER:start]).items():
        if only is None or name in only:
            found[name] = pl.read_ipc_stream(io.BytesIO(zlib.decompress(value[start : start + size])))
        start += size
    return found


def _stream(rows: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    rows.write_ipc_stream(buffer, compression="uncompressed")
    return buffer.getvalue()
