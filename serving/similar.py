"""What is like what: products by the cosine of the recommender's vectors, customers likewise.

Customers of a bundle without a recommender are compared by their embedding.
"""

from collections.abc import Callable, Sequence
from datetime import date

import numpy as np
import polars as pl

from recsys.bundle import Bundle, CustomerEmbedding, Recommender
from recsys.errors import DataError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.parts import BucketReader
from recsys.lake.store import Lake
from recsys.progress import Progress
from serving.buckets import COPIES


def similar_products(recommender: Recommender, product_id: str, k: int) -> pl.DataFrame:
    """The k products most like one: `rank` (from 1), `product_id`, `cosine`; ties by id. DataError if it is unknown."""
    products = recommender.products
    if product_id not in products:
        raise DataError(f"{product_id}: no product of bundle {recommender.bundle.bundle_id}")
    place = products.index(product_id)
    cosine = (recommender.directions * recommender.directions[place]).sum(axis=1)
    return nearest(products, cosine, k, but=product_id, name="product_id")


def similar_customers(
    bundle: Bundle, lake: Lake, customer_id: str, k: int, as_of: date | None, progress: Progress
) -> pl.DataFrame:
    """The k customers whose vectors are most like one's: `rank`, `customer_id`, `cosine`.

    Reads every bucket; one, or a part of one, is in memory at a time. DataError if the customer is not in the lake,
    BundleError if the bundle has neither a recommender nor an embedding.
    """
    vectors_of = _vectors_of(bundle)

    def directions(tables: dict[str, pl.DataFrame], ids: Sequence[str]) -> np.ndarray:
        found = vectors_of(features(tables, scoring_examples(ids, as_of), bundle.definition))
        length: np.ndarray = np.sqrt((found * found).sum(axis=1, keepdims=True))
        return found / np.maximum(length, np.finfo(np.float32).tiny)

    tables = lake.customers([customer_id])
    if tables["customers"].is_empty():
        raise DataError(f"{customer_id}: no such customer in {lake.path}")
    (asked,) = directions(tables, [customer_id])
    best: pl.DataFrame | None = None
    for bucket in range(lake.buckets):
        for part in BucketReader(lake).parts(bucket, COPIES):
            ids = part["customers"]["customer_id"].unique().sort()
            if ids.is_empty():
                continue
            cosine = (directions(part, ids.to_list()) * asked).sum(axis=1)
            found = nearest(ids.to_list(), cosine, k, but=customer_id, name="customer_id")
            both = found if best is None else pl.concat([best, found])
            best = both.sort(["cosine", "customer_id"], descending=[True, False]).head(k)
        progress(bucket + 1, lake.buckets, "buckets")
    assert best is not None
    return best.with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32))


def _vectors_of(bundle: Bundle) -> Callable[[pl.DataFrame], np.ndarray]:
    """Feature rows → float32 [N, D]: the recommender's vectors without the item bias, else embeddings."""
    recommender = Recommender.of(bundle, 2)
    embedding = None if recommender else CustomerEmbedding.of(bundle, 2)
    if embedding is not None:
        return lambda rows: embedding.embed(rows).vectors
    ranked = recommender or Recommender(bundle)
    return lambda rows: ranked.vectors_from_rows(rows)[:, : ranked.directions.shape[1]]


def nearest(ids: Sequence[str], cosine: np.ndarray, k: int, *, but: str, name: str) -> pl.DataFrame:
    """`rank`, an id called `name`, `cosine`: the k largest of float32 [N], but for one id; ties by id."""
    frame = pl.DataFrame({name: ids, "cosine": cosine}, schema={name: pl.String, "cosine": pl.Float32})
    best = frame.filter(pl.col(name) != but).sort(["cosine", name], descending=[True, False]).head(k)
    return best.select(pl.int_range(1, pl.len() + 1, dtype=pl.Int32).alias("rank"), name, "cosine")
