"""Customers like a customer, over HTTP: by the cosine of vectors that a store holds, or of a small lake in memory."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from recsys.features.everyone import everyone
from recsys.lake.parts import BucketReader
from recsys.lake.store import Lake
from serving.request import BadRequest
from serving.similar import nearest
from serving.store import Store

if TYPE_CHECKING:
    from serving.answers import Answers

MOST = 10_000
"""Customers of a lake whose vectors each worker works out when it starts; larger banks have a store."""
FRESH_SECONDS = 60.0
"""How long the vectors that were read from the store serve."""
SPARE = 20
"""More than asked for that are looked up, because some may have been erased since."""


class Neighbours:
    """Unit vectors of known customers, float32 [N, D], and their ids."""

    def __init__(self, answers: "Answers") -> None:
        self._answers = answers
        self._ids: Sequence[str] = ()
        self._units = np.empty((0, 0), dtype=np.float32)
        self._read = -FRESH_SECONDS

    def prepare(self) -> None:
        """Work out the vectors of a lake that is small enough."""
        answers = self._answers
        if answers.lake is None or answers.comparable is None or _customers(answers.lake) > MOST:
            return
        ids, parts = list[str](), []
        for rows in everyone(BucketReader(answers.lake), answers.bundle.definition, answers.as_of, _silent, ""):
            ids += rows["customer_id"].to_list()
            parts.append(answers.vectors_compared(rows))
        if parts:
            self._ids, self._units = ids, _units(np.concatenate(parts))

    def like(self, vector: np.ndarray, customer_id: str, k: int) -> pl.DataFrame:
        """The k customers nearest to a vector, float32 [D], but for one: `rank`, `customer_id`, `cosine`; ties by id.

        BadRequest where there are no vectors to compare with.
        """
        store = self._answers.store
        if store is not None:
            self._refresh(store)
        if not len(self._ids):
            raise BadRequest("path", self._why(), 404)
        cosine = (self._units * _units(vector[None])[0]).sum(axis=1)
        found = nearest(self._ids, cosine, k + SPARE if store else k, but=customer_id, name="customer_id")
        if store is not None:
            known = store.known(found["customer_id"].to_list())
            found = found.filter(pl.col("customer_id").is_in(list(known))).head(k)
        return found.with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32))

    def _refresh(self, store: Store) -> None:
        now = time.monotonic()
        if now - self._read < FRESH_SECONDS:
            return
        ids, vectors = store.vectors(self._answers.bundle.bundle_id)
        width = self._answers.width_compared
        self._ids, self._units, self._read = ids, _units(vectors[:, :width]), now

    def _why(self) -> str:
        if self._answers.store is not None:
            return "the store holds no vectors of this bundle yet; recsys state load BUNDLE LAKE works them out"
        if self._answers.lake is None:
            return "nobody is known to compare with; serve with --lake or --store"
        return f"the lake has more than {MOST:,} customers; serve with --store, which holds their vectors"


def _units(vectors: np.ndarray) -> np.ndarray:
    length = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    found: np.ndarray = vectors / np.maximum(length, np.finfo(np.float32).tiny)
    return found


def _customers(lake: Lake) -> int:
    return int(lake.scan("customers").select(pl.col("customer_id").n_unique()).collect().item())


def _silent(done: int, total: int, what: str) -> None:
    return None
