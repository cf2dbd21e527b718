"""Batch embedding: the vector of every customer of a lake, bucket by bucket."""

from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import polars as pl

from recsys.bundle import Bundle, CustomerEmbedding, Recommender
from recsys.bundle.embedding import surprise
from recsys.errors import BundleError
from recsys.features.definition import FeatureDefinition
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from serving.batch import Finished, How, Question, run_batch


def embed(
    bundle_path: Path | str,
    lake_path: Path | str,
    out: Path | str,
    *,
    threads: int = 2,
    **how: Unpack[How],
) -> Finished:
    """`run_batch` of vectors: raises what it raises, and BundleError for a bundle that has none of customers."""
    return run_batch(Bundle.load(bundle_path), partial(embedding_all, threads=threads), lake_path, Path(out), **how)


def embedding_all(bundle: Bundle, lake: Lake, as_of: date | None, *, threads: int) -> Question:
    """What POST /embed answers: vectors of the embedding, else of the recommender."""
    if (embedding := CustomerEmbedding.of(bundle, threads)) is not None:
        return embedding_by(embedding, bundle.definition)
    if (recommender := Recommender.of(bundle, threads)) is not None:
        return placing(recommender)
    raise BundleError(
        f"{bundle.path}: has neither an embedding nor a recommender, so customers have no vectors; train it with the "
        "section embedding"
    )


def embedding_by(embedding: CustomerEmbedding, definition: FeatureDefinition) -> Question:
    """The embedding of every customer, how badly their features are found again in it, and who is unusual."""

    def told(rows: pl.DataFrame) -> dict[str, np.ndarray]:
        found = embedding.embed(rows)
        unusual, _ = embedding.unusual(found.errors)
        return {"vector": found.vectors, "error": surprise(found.errors), "unusual": unusual}

    more = {"error": pl.Float32, "unusual": pl.Boolean}
    return _vectors("embedding", embedding.about.dimensions, more, definition, told)


def placing(recommender: Recommender) -> Question:
    """Where the recommender places every customer among the products, without the products' own weight."""
    width = recommender.directions.shape[1]

    def told(rows: pl.DataFrame) -> dict[str, np.ndarray]:
        return {"vector": recommender.vectors_from_rows(rows)[:, :width]}

    return _vectors("recommender", width, {}, recommender.definition, told)


def _vectors(
    of: str,
    width: int,
    more: dict[str, Any],
    definition: FeatureDefinition,
    told: Callable[[pl.DataFrame], dict[str, np.ndarray]],
) -> Question:
    """A row for each customer: the vector, float32 [width], and `more` columns."""
    columns = {"customer_id": pl.String, "vector": pl.Array(pl.Float32, width), **more, "bundle_id": pl.String}

    def answer(tables: dict[str, pl.DataFrame], as_of: date | None) -> tuple[pl.DataFrame, int]:
        customers = tables["customers"]["customer_id"].unique().sort()
        found = told(features(tables, scoring_examples(customers, as_of), definition))
        values = [pl.Series(name, array, dtype=columns[name]) for name, array in found.items()]
        return pl.DataFrame([customers.alias("customer_id"), *values]), len(customers)

    return Question({"answers": "vectors", "of": of}, columns, ("customer_id",), answer)
