"""Plain recommenders that every figure stands beside, all with fit(interactions) and scores(history).

interactions and history are scipy CSR matrices customers × products of positive float32 weights; 1 says that a
customer has a product. Weights other than 1 are respected (popularity counts customers and ignores them), so pass
ones unless a weight is meant. Scores are float32 [customers, products], higher is better, products that a customer
has included: leave them out by the mask of allowed products.
"""

from recsys.baselines.als import ALS, ALSConfig
from recsys.baselines.ease import EASE, EASEConfig
from recsys.baselines.interactions import BaselineRefused
from recsys.baselines.item_knn import ItemKNN, ItemKNNConfig
from recsys.baselines.popularity import (
    Popularity,
    PopularityByGroup,
    PopularityByGroupConfig,
    PopularityConfig,
)

BASELINES = {
    "popularity": Popularity,
    "popularity_by_group": PopularityByGroup,
    "item_knn": ItemKNN,
    "als": ALS,
    "ease": EASE,
}
"""Name in configurations and reports → class; only `popularity_by_group` also takes the group of each customer."""

__all__ = [
    "ALS",
    "ALSConfig",
    "BASELINES",
    "BaselineRefused",
    "EASE",
    "EASEConfig",
    "ItemKNN",
    "ItemKNNConfig",
    "Popularity",
    "PopularityByGroup",
    "PopularityByGroupConfig",
    "PopularityConfig",
]
