"""The recommender of a bundle: customers as they stand in the tables in, ranked products out."""

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl

from recsys.bundle.bundle import CONFIG, Bundle
from recsys.bundle.diversity import POOL, mmr
from recsys.bundle.graph import Graph, Port
from recsys.bundle.item_table import PRODUCT_IDS, PRODUCT_VECTORS, read_ids, read_vectors
from recsys.bundle.towers import customer_ports, product_ports, tower, tower_vectors
from recsys.errors import BundleError, DataError
from recsys.features.encoded import Rows
from recsys.features.encoder import FIRST
from recsys.features.features import features
from recsys.rules.eligibility import Eligibility

PART = "recommender"
CUSTOMER_GRAPH = "recommender/customer.onnx"
PRODUCT_GRAPH = "recommender/product.onnx"
RANK_GRAPH = "recommender/rank.onnx"
BATCH = 4096
"""Most rows in one run of a graph."""
CELLS = 1 << 20
"""Most customer-product pairs in one run of the ranking graph: 4 MiB of scores, which a processor's cache holds."""
ANSWER = {"customer_id": pl.String, "rank": pl.Int32, "product_id": pl.String, "score": pl.Float32}
NOTHING = np.empty((0, 2), dtype=np.int64)


class Recommender:
    """Ranks products for customers through ONNX Runtime alone; equal questions get equal bits in any batch.

    `threads` are those of the customer tower, and batches ranked side by side. Raises BundleError naming the file if a
    graph, the item table, the encoder and the definition do not fit each other.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        if PART not in bundle.contents.parts:
            raise BundleError(_without(bundle))
        self.bundle = bundle
        self.definition = bundle.definition
        self.encoder = bundle.encoder
        self.exclude_held, self.diversity = _exclude_held(bundle), _diversity(bundle)
        self.products, self.product_vectors = item_table(bundle)
        self.directions = _directions(bundle, self.product_vectors)
        width = self.product_vectors.shape[1]
        self._all = np.ones(len(self.products), dtype=bool)
        self._index = {product: i for i, product in enumerate(self.products)}
        self._customer = customer_graph(bundle, width, threads)
        self._rank = rank_graph(bundle, len(self.products), width)
        self.threads = threads

    @classmethod
    def of(cls, bundle: Bundle, threads: int = 1) -> "Recommender | None":
        """The part, None for a bundle without it."""
        return cls(bundle, threads) if PART in bundle.contents.parts else None

    def vectors(self, tables: Mapping[str, pl.DataFrame], examples: pl.DataFrame) -> np.ndarray:
        """float32 [N, D]: the customers as each example sees them."""
        if examples.is_empty():
            return np.empty((0, self.product_vectors.shape[1]), dtype=np.float32)
        return self.vectors_from_rows(features(tables, examples, self.definition))

    def vectors_from_rows(self, rows: Rows) -> np.ndarray:
        """float32 [N, D] from feature rows. Raises DataError if a row gives no finite vector."""
        return tower_vectors(self._customer, self.encoder, rows, self.product_vectors.shape[1])

    def scores(self, vectors: np.ndarray) -> np.ndarray:
        """float32 [N, P]: every product's score, columns in the order of `products`; the same bits as `rank` gives."""
        matrix = np.empty((len(vectors), len(self.products)), dtype=np.float32)
        step = self._step
        for start in range(0, len(vectors), step):
            scores, index = self._rank_batch(vectors[start : start + step], self._all, NOTHING, len(self.products))
            np.put_along_axis(matrix[start : start + step], index, scores, axis=1)
        return matrix

    def rank(
        self, vectors: np.ndarray, allowed: np.ndarray, k: int, diversity: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best min(k, P) products of each customer: scores float32 and columns int64, best first.

        `allowed` bool [N, P] decides before the ranking; where fewer are allowed, the tail's scores are -inf.
        Ties go to the lower column, so to the lower product id. With `diversity` above 0 (None: as configured) the
        order is that of `mmr`. Raises DataError if k is less than 1 or diversity is not from 0 to 1.
        """
        eligible: np.ndarray = np.logical_or.reduce(allowed, axis=0)
        excluded = np.argwhere(~allowed & eligible)
        return self._rank_all(vectors, excluded, _checked_k(k), eligible, self._diverse(diversity))

    def allowed(
        self,
        rows: pl.DataFrame,
        exclude: Collection[str] = (),
        candidates: Collection[str] | None = None,
        exclude_held: bool | None = None,
        eligibility: Eligibility | None = None,
    ) -> np.ndarray:
        """bool [N, P]: which products may be recommended to the customers of these feature rows.

        A product must be a candidate (None: all are), not excluded, left by the rules (`eligibility`; None: there are
        none) and, unless `exclude_held` is false (None: as configured), not held. Raises DataError naming ids that are
        no products of the bundle.
        """
        mask = np.ones((rows.height, len(self.products)), dtype=bool) if eligibility is None else eligibility.mask
        mask &= self._eligible(exclude, candidates)
        row, column = self._held(rows, exclude_held).T
        mask[row, column] = False
        return mask

    def recommend(
        self,
        tables: Mapping[str, pl.DataFrame],
        examples: pl.DataFrame,
        k: int,
        exclude: Collection[str] = (),
        candidates: Collection[str] | None = None,
        exclude_held: bool | None = None,
        diversity: float | None = None,
    ) -> pl.DataFrame:
        """The best products of each customer: `customer_id, rank` (from 1)`, product_id, score`, by customer and rank.

        A customer with fewer than k allowed products has fewer rows, one with none has none. For `exclude`,
        `candidates`, `exclude_held` see `allowed`, for `diversity` see `rank`. Raises DataError for k below 1, unknown
        products, or a customer asked for twice.
        """
        _checked_k(k)
        eligible = self._eligible(exclude, candidates)
        if examples["customer_id"].is_duplicated().any():
            twice = examples["customer_id"].filter(examples["customer_id"].is_duplicated()).sort()[0]
            raise DataError(f"examples: customer {twice} is asked for more than once; one example each is needed")
        if examples.is_empty():
            return pl.DataFrame(schema=ANSWER)
        rows = features(tables, examples.sort("customer_id"), self.definition)
        held = self._held(rows, exclude_held)
        return self._ranked(rows, self.vectors_from_rows(rows), k, eligible, held, diversity)

    def ranked(
        self,
        rows: pl.DataFrame,
        vectors: np.ndarray,
        k: int,
        diversity: float | None = None,
        eligibility: Eligibility | None = None,
    ) -> pl.DataFrame:
        """What `recommend` answers for customers whose feature rows and vectors, float32 [N, D], are ready.

        `eligibility` is what rules leave of the customers × products; None where there are no rules.
        """
        return self._ranked(rows, vectors, _checked_k(k), self._all, self._held(rows, None), diversity, eligibility)

    def _ranked(
        self,
        rows: pl.DataFrame,
        vectors: np.ndarray,
        k: int,
        eligible: np.ndarray,
        held: np.ndarray,
        diversity: float | None,
        eligibility: Eligibility | None = None,
    ) -> pl.DataFrame:
        scores, index = self._rank_all(vectors, held, k, eligible, self._diverse(diversity), eligibility)
        kept = scores > -np.inf
        row, place = np.nonzero(kept)
        return pl.DataFrame(
            {
                "customer_id": rows["customer_id"].gather(row),
                "rank": place + 1,
                "product_id": pl.Series(self.products, dtype=pl.String).gather(index[kept]),
                "score": scores[kept],
            },
            schema=ANSWER,
        )

    @property
    def _step(self) -> int:
        return max(1, min(BATCH, CELLS // len(self.products)))

    def _rank_all(
        self,
        vectors: np.ndarray,
        excluded: np.ndarray,
        k: int,
        eligible: np.ndarray,
        diversity: float,
        eligibility: Eligibility | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rank the columns `eligible` bool [P] but the (row, column) pairs `excluded` int64 [M, 2], ordered by row,
        and what rules removed."""
        width = min(k, len(self.products))
        pool = min(k * POOL, len(self.products)) if diversity else width
        scores = np.empty((len(vectors), width), dtype=np.float32)
        index = np.empty((len(vectors), width), dtype=np.int64)
        step = self._step

        def rank_from(start: int) -> None:
            rows = slice(start, start + step)
            part = vectors[rows]
            first, last = np.searchsorted(excluded[:, 0], (start, start + len(part)))
            pairs, columns = excluded[first:last] - np.array([start, 0]), eligible
            if eligibility is not None:
                pairs, columns = _with_rules(eligibility.removed(rows), pairs, eligible)
            best = self._rank_batch(part, columns, pairs, pool)
            scores[rows], index[rows] = mmr(*best, self.directions, width, diversity) if diversity else best

        starts = range(0, len(vectors), step)
        if self.threads > 1 and len(starts) > 1:  # batches side by side are faster than threads within one
            with ThreadPoolExecutor(self.threads) as workers:
                list(workers.map(rank_from, starts))
        else:
            for start in starts:
                rank_from(start)
        return scores, index

    def _diverse(self, diversity: float | None) -> float:
        value = self.diversity if diversity is None else diversity
        if not 0 <= value <= 1:
            raise DataError(f"diversity: {value!r} is not a number from 0 (none) to 1")
        return value

    def _rank_batch(
        self, vectors: np.ndarray, eligible: np.ndarray, excluded: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        parts = {"products": self.product_vectors, "eligible": eligible, "excluded": excluded, "k": np.array([k])}
        scores, index = self._rank.run({"customers": vectors, **parts})
        return scores, index

    def _eligible(self, exclude: Collection[str], candidates: Collection[str] | None) -> np.ndarray:
        """bool [P]: the products that are candidates and not excluded."""
        mask = np.full(len(self.products), candidates is None)
        if candidates is not None:
            mask[self._columns("candidates", candidates)] = True
        mask[self._columns("exclude", exclude)] = False
        return mask

    def _held(self, rows: pl.DataFrame, exclude_held: bool | None) -> np.ndarray:
        """int64 [M, 2]: (row, column) of what each customer holds, by row; none where it may be recommended."""
        if not (self.exclude_held if exclude_held is None else exclude_held):
            return NOTHING
        row, codes = self.encoder.flat_products(rows["holdings"])
        known = codes >= FIRST
        return np.stack([row[known], codes[known].astype(np.int64) - FIRST], axis=1)

    def _columns(self, field: str, products: Collection[str]) -> list[int]:
        if isinstance(products, str):
            raise DataError(f"{field}: a list of product ids is expected, not the single text {products!r}")
        distinct = set(products)
        unknown = sorted(map(str, distinct - self._index.keys()))
        if unknown:
            shown = ", ".join(repr(product[:100]) for product in unknown[:5])
            more = f" and {len(unknown) - 5:,} more" if len(unknown) > 5 else ""
            raise DataError(f"{field}: not products of bundle {self.bundle.bundle_id}: {shown}{more}")
        return [self._index[product] for product in distinct]


def _with_rules(removed: np.ndarray, pairs: np.ndarray, eligible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs [M, 2] and columns [P] that are left out, those of bool [n, P] among them: whole columns as columns."""
    columns: np.ndarray = eligible & ~removed.all(axis=0)
    removed[pairs[:, 0], pairs[:, 1]] = True
    return np.argwhere(removed & columns), columns


def item_table(bundle: Bundle) -> tuple[list[str], np.ndarray]:
    """Product ids and float32 [P, D] in their order; BundleError if they are not the encoder's catalogue."""
    where = bundle.path / PRODUCT_IDS
    products = read_ids(bundle.read(PRODUCT_IDS), str(where))
    if products != list(bundle.encoder.products):
        raise BundleError(f"{where}: not the products of the encoder, in its order")
    vectors = read_vectors(bundle.read(PRODUCT_VECTORS), str(bundle.path / PRODUCT_VECTORS))
    if len(vectors) != len(products):
        raise BundleError(f"{bundle.path / PRODUCT_VECTORS}: {len(vectors):,} rows for {len(products):,} products")
    return products, vectors


def customer_graph(bundle: Bundle, dimensions: int, threads: int = 1) -> Graph:
    """The customer tower: the encoder's customer arrays → `vector` [N, D]."""
    return tower(bundle, CUSTOMER_GRAPH, customer_ports(bundle.encoder), dimensions, threads)


def product_graph(bundle: Bundle, dimensions: int, threads: int = 1) -> Graph:
    """The product tower: the encoder's product arrays → `vector` [P, D]."""
    return tower(bundle, PRODUCT_GRAPH, product_ports(bundle.encoder), dimensions, threads)


def rank_graph(bundle: Bundle, products: int, dimensions: int) -> Graph:
    """Customers, item table, what is eligible, (row, column) pairs left out, k → `scores` and `index`, best first."""
    inputs = {
        "customers": Port("float32", (None, dimensions)),
        "products": Port("float32", (products, dimensions), rows=False),
        "eligible": Port("bool", (products,), rows=False),
        "excluded": Port("int64", (None, 2), rows=False),
        "k": Port("int64", (1,), rows=False),
    }
    outputs = {"scores": Port("float32", (None, None)), "index": Port("int64", (None, None))}
    return Graph(bundle.read(RANK_GRAPH), str(bundle.path / RANK_GRAPH), inputs, outputs)


def _without(bundle: Bundle) -> str:
    said = f"{bundle.path}: this bundle has no recommender (it was trained with recommender: false)"
    instead = {
        "segments": "recsys segments assign puts customers into its segments",
        "churn": "recsys churn report and churn score ask it who will leave",
        "uplift": "recsys uplift report and uplift score ask it what a contact adds",
    }
    return "; ".join([said, *(told for part, told in instead.items() if part in bundle.contents.parts)])


def _exclude_held(bundle: Bundle) -> bool:
    serving = bundle.config.get("serving")
    value = serving.get("exclude_held") if isinstance(serving, dict) else None
    if not isinstance(value, bool):
        raise BundleError(f"{bundle.path / CONFIG}: serving.exclude_held must be true or false, not {value!r}")
    return value


def _diversity(bundle: Bundle) -> float:
    serving = bundle.config.get("serving")
    value = serving.get("diversity", 0.0) if isinstance(serving, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise BundleError(f"{bundle.path / CONFIG}: serving.diversity must be a number from 0 to 1, not {value!r}")
    return float(value)


def _directions(bundle: Bundle, vectors: np.ndarray) -> np.ndarray:
    """float32 [P, D]: the products' vectors without the item bias, of length 1."""
    model = bundle.config.get("model")
    width = model.get("dim") if isinstance(model, dict) else None
    if not isinstance(width, int) or not 0 < width <= vectors.shape[1]:
        raise BundleError(f"{bundle.path / CONFIG}: model.dim must be the width of the vectors, not {width!r}")
    found = vectors[:, :width]
    length = np.sqrt((found * found).sum(axis=1, keepdims=True))
    return found / np.maximum(length, np.finfo(np.float32).tiny)


def _checked_k(k: int) -> int:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise DataError(f"k: {k!r} is not a whole number of at least 1")
    return k
