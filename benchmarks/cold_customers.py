"""Cold customers: the usual test with histories cut to their last events, and customers on their first day."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from benchmarks.cold_questions import (
    Question,
    histories,
    judged,
    metrics_of,
    newcomers,
    popularity_of,
    question,
    table,
    targets_of,
)
from benchmarks.content_knn import ContentKNN
from recsys.bundle import Recommender
from recsys.lake.store import Lake
from training.config import Config

CUTS = ("no event", "1 event", "2 to 5 events", "all events")


def by_history(
    lake: Lake,
    config: Config,
    recommender: Recommender,
    knn: ContentKNN | None = None,
    index: Mapping[str, int] | None = None,
) -> dict[str, dict[str, Any]]:
    """For each cut the judged answers to the usual test, histories cut to their last events, and to newcomers.

    What is held is never ranked, however little is seen. `knn` knows products by `index`.
    """
    catalogue = pl.Series(recommender.products)
    none = catalogue.clear()
    popularity = popularity_of(lake, config, catalogue)
    whole = question(lake, config, recommender, "test", none, catalogue)
    allowed = ~targets_of(whole, catalogue, "holdings")
    results = {}

    def judge(asked: Question, allowed: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
        scores = {
            "two_tower": recommender.scores(recommender.vectors_from_rows(asked.rows)),
            "popularity": np.tile(popularity, (asked.rows.height, 1)),
        }
        if knn and index:
            place = np.array([index[product] for product in catalogue])
            scores["content_knn"] = knn.scores(histories(asked, index), place)
        return judged(metrics_of(scores, allowed, targets), asked.rows["customer_id"].to_numpy(), config)

    if config.evaluation.protocol == "temporal":
        asked = newcomers(lake, config, recommender.definition, catalogue)
        targets = targets_of(asked, catalogue)
        if len(targets):
            results[f"newcomers ({len(targets):,})"] = judge(asked, np.ones_like(targets), targets)
    for cut, name in enumerate(CUTS):
        asked = whole if cut == len(CUTS) - 1 else question(lake, config, recommender, "test", none, catalogue, cut)
        results[name] = judge(asked, allowed, targets_of(whole, catalogue))
    return results


def by_history_text(result: dict[str, Any]) -> str:
    """The table of what `by_history` gave, as `few`."""
    text = "NDCG@10 of all known products, by how much of the history is seen:\n\n"
    return text + table(tuple(result["few"]), [cell["ndcg@10"] for cell in result["few"].values()])
