"""The adoption part of a bundle: when will a customer acquire which product?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from recsys.bundle.bundle import Bundle
from recsys.bundle.graph import Graph, Port
from recsys.bundle.item_table import array_file, read_vectors
from recsys.bundle.manifest import canonical_json
from recsys.bundle.towers import customer_ports, product_ports, tower, tower_vectors
from recsys.errors import BundleError
from recsys.features.encoded import Rows
from recsys.features.encoder import FIRST

PART = "adoption"
CUSTOMER_GRAPH = "adoption/customer.onnx"
PRODUCT_GRAPH = "adoption/product.onnx"
PROBABILITY_GRAPH = "adoption/probability.onnx"
PRODUCT_ROWS = "adoption/products.npy"
CALIBRATION = "adoption/calibration.json"
EXPECTED = "adoption/expected.json"
BATCH = 4096
"""Most rows in one run of a graph."""
CELLS = 1 << 16
"""Most customer-product pairs in one run of the probability graph; each needs about 1 KB while it is calibrated."""


def adoption_part(
    *,
    customer: bytes,
    product: bytes,
    probability: bytes,
    products: np.ndarray,
    horizons_months: Sequence[int],
    knots: Sequence[dict[str, Any]],
    vectors: np.ndarray,
    index: np.ndarray,
    probabilities: np.ndarray,
) -> dict[str, bytes]:
    """The files of the part: graphs, float32 [P, E] product rows, calibration, and what the trained model answered.

    `vectors` [N, D] and `probabilities` [N, K, H], of the products at `index` [K], are its answers for the invented
    customers of the part `parity`.
    """
    expected = {
        "vectors": vectors.astype(np.float32).tolist(),
        "index": index.tolist(),
        "probabilities": probabilities.tolist(),
    }
    return {
        CUSTOMER_GRAPH: customer,
        PRODUCT_GRAPH: product,
        PROBABILITY_GRAPH: probability,
        PRODUCT_ROWS: array_file(products),
        CALIBRATION: canonical_json({"horizons_months": list(horizons_months), "knots": list(knots)}),
        EXPECTED: canonical_json(expected),
    }


class Adoption:
    """P(acquired within each horizon) through ONNX Runtime alone; equal questions get equal bits in any batch.

    Raises BundleError naming the file if graphs, product rows, calibration and encoder do not fit each other.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.encoder = bundle.encoder
        self.horizons_months = _horizons(bundle)
        self.columns = tuple(f"probability_{months}m" for months in self.horizons_months)
        """Names of the probabilities as columns, shortest horizon first."""
        where = str(bundle.path / PRODUCT_ROWS)
        self.product_rows = read_vectors(bundle.read(PRODUCT_ROWS), where)
        self.dimensions = self.product_rows.shape[1] - len(self.horizons_months)
        if len(self.product_rows) != len(self.encoder.products) or self.dimensions < 1:
            raise BundleError(
                f"{where}: {self.product_rows.shape} rows, expected {len(self.encoder.products)} products"
            )
        self._customer = tower(bundle, CUSTOMER_GRAPH, customer_ports(self.encoder), self.dimensions, threads)
        self._probability = _probability_graph(bundle, self.product_rows.shape, len(self.horizons_months), threads)

    @classmethod
    def of(cls, bundle: Bundle, threads: int = 1) -> "Adoption | None":
        """The part, None for a bundle without it."""
        return cls(bundle, threads) if PART in bundle.contents.parts else None

    def vectors_from_rows(self, rows: Rows) -> np.ndarray:
        """float32 [N, D] from feature rows. Raises DataError if a row gives no finite vector."""
        return tower_vectors(self._customer, self.encoder, rows, self.dimensions)

    def asked(self, rows: pl.DataFrame, vectors: np.ndarray, index: np.ndarray) -> np.ndarray:
        """`probabilities` of the customers of these feature rows, NaN for products that they hold."""
        return self.unheld(self.probabilities(vectors, index), rows, index)

    def unheld(self, found: np.ndarray, rows: pl.DataFrame, index: np.ndarray) -> np.ndarray:
        """`probabilities` of the products at `index`, in which NaN is written for those that the customers hold."""
        row, codes = self.encoder.flat_products(rows["holdings"])
        count = len(self.product_rows)
        held = row * count + (codes.astype(np.int64) - FIRST)
        found[np.isin(np.arange(len(index))[:, None] * count + index, held[codes >= FIRST])] = np.nan
        return found

    def beside(self, ranked: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
        """`ranked` (`customer_id`, `rank` from 1, `product_id`, …) with `columns` at the end, null for what is held.

        `rows` are the feature rows of those customers, each once.
        """
        place = pl.Series(range(rows.height), dtype=pl.Int64)
        row = ranked["customer_id"].replace_strict(rows["customer_id"], place, return_dtype=pl.Int64).to_numpy()
        column = self.encoder.product_indices(ranked["product_id"]).astype(np.int64) - FIRST
        rank = ranked["rank"].to_numpy() - 1
        index = np.zeros((rows.height, int(rank.max(initial=0)) + 1), dtype=np.int64)
        index[row, rank] = column
        found = self.asked(rows, self.vectors_from_rows(rows), index)[row, rank]
        named = {name: pl.Series(found[:, h]).fill_nan(None) for h, name in enumerate(self.columns)}
        return ranked.with_columns(**named)

    def probabilities(self, vectors: np.ndarray, index: np.ndarray) -> np.ndarray:
        """float32 [N, K, H]: for each customer the products at `index` int64 [N, K], by horizon, calibrated.

        They mean nothing for a product that the customer holds.
        """
        found = np.empty((*index.shape, len(self.horizons_months)), dtype=np.float32)
        if not found.size:
            return found
        asked = np.repeat(index, 2, axis=1) if index.shape[1] == 1 else index  # a product of one row has other bits
        step = max(1, min(BATCH, CELLS // asked.shape[1]))
        for start in range(0, len(index), step):
            rows = slice(start, start + step)
            feeds = {"customers": vectors[rows], "products": self.product_rows, "index": asked[rows]}
            (part,) = self._probability.run(feeds)
            found[rows] = part[:, : index.shape[1]]
        return found


def adoption_product_graph(bundle: Bundle, dimensions: int) -> Graph:
    """The product tower of the part: product arrays → product row [P, D + H]."""
    return tower(bundle, PRODUCT_GRAPH, product_ports(bundle.encoder), dimensions, 1)


def _probability_graph(bundle: Bundle, rows: tuple[int, ...], horizons: int, threads: int) -> Graph:
    inputs = {
        "customers": Port("float32", (None, rows[1] - horizons)),
        "products": Port("float32", (rows[0], rows[1]), rows=False),
        "index": Port("int64", (None, None)),
    }
    outputs = {"probability": Port("float32", (None, None, horizons))}
    return Graph(bundle.read(PROBABILITY_GRAPH), str(bundle.path / PROBABILITY_GRAPH), inputs, outputs, threads)


def _horizons(bundle: Bundle) -> tuple[int, ...]:
    value = bundle.json(CALIBRATION)
    months: Any = value.get("horizons_months") if isinstance(value, dict) else None
    whole = isinstance(months, list) and bool(months) and all(type(month) is int and month > 0 for month in months)
    if not whole or sorted(set(months)) != months or len(value.get("knots", ())) != len(months):
        raise BundleError(f"{bundle.path / CALIBRATION}: ascending horizons_months are expected, and knots for each")
    return tuple(months)
