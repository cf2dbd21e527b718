"""Token buckets, one for each API key, shared by all workers of a service through one small mapped file."""

import fcntl
import math
import mmap
import os
import struct
import time
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

SLOTS = 4096
"""Keys that can be counted; beyond them the one counted longest ago is counted anew."""
_SLOT = struct.Struct("<16sdd")
"""Digest of the key's id, tokens left, when they were counted (seconds of the machine's monotonic clock)."""
_TRIES = 8


@dataclass(frozen=True)
class Taken:
    """What came of asking for a token."""

    allowed: bool
    left: int
    """Whole tokens in the bucket."""
    wait: float
    """Seconds until there is a token; 0 where there is one."""


class Buckets:
    """A bucket holds at most `burst` tokens and gains `rate` a second; a request takes one.

    A worker that dies gives up its lock, and what it wrote stays whole: a slot is written in one piece.
    """

    def __init__(self, path: Path) -> None:
        """Workers that share `path` share the buckets."""
        self._file = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        size = SLOTS * _SLOT.size
        fcntl.flock(self._file, fcntl.LOCK_EX)
        if os.fstat(self._file).st_size < size:
            os.ftruncate(self._file, size)
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._slots = mmap.mmap(self._file, size)

    def take(self, key_id: str, rate: float, burst: int) -> Taken:
        """One token of a key's bucket, if there is one."""
        digest = blake2b(key_id.encode(), digest_size=16).digest()
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            now = time.monotonic()
            place, tokens, counted = self._slot(digest, now, float(burst))
            tokens = min(float(burst), tokens + max(0.0, now - counted) * rate)
            allowed = tokens >= 1
            tokens -= allowed
            _SLOT.pack_into(self._slots, place, digest, tokens, now)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        return Taken(allowed, math.floor(tokens), 0.0 if tokens >= 1 else (1 - tokens) / rate)

    def _slot(self, digest: bytes, now: float, full: float) -> tuple[int, float, float]:
        """Where the bucket stands, its tokens, and when they were counted; a new one is full."""
        start = int.from_bytes(digest[:4], "little")
        oldest = (math.inf, 0)
        for step in range(_TRIES):
            place = (start + step) % SLOTS * _SLOT.size
            found, tokens, counted = _SLOT.unpack_from(self._slots, place)
            if found == digest:
                return place, tokens, counted
            if found == bytes(16):
                return place, full, now
            oldest = min(oldest, (counted, place))
        return oldest[1], full, now
