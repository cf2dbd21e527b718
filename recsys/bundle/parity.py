"""The parity record of a bundle, and its replay: do the ONNX graphs still answer as the trained model did?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.bundle.adoption import PART as ADOPTION
from recsys.bundle.adoption_parity import adoption_graphs, adoption_replay
from recsys.bundle.bundle import ENCODER, Bundle
from recsys.bundle.checks import Check, checked
from recsys.bundle.churn import PART as CHURN
from recsys.bundle.churn import churn_graphs, churn_replay
from recsys.bundle.embedding import PART as EMBEDDING
from recsys.bundle.embedding import embedding_graphs, embedding_replay
from recsys.bundle.frames import read_frames, write_frames
from recsys.bundle.manifest import canonical_json
from recsys.bundle.recommender import PART as RECOMMENDER
from recsys.bundle.recommender import Recommender, customer_graph, item_table, product_graph, rank_graph
from recsys.bundle.segmentation import PART as SEGMENTS
from recsys.bundle.segmentation import segment_graphs, segments_replay
from recsys.bundle.towers import product_ports
from recsys.bundle.uplift import PART as UPLIFT
from recsys.bundle.uplift import uplift_graphs, uplift_replay
from recsys.errors import BundleError, DataError, RecsysError
from recsys.features.encoder import FIRST
from recsys.features.features import EXAMPLE, features

TABLES = "parity/tables.json"
EXAMPLES = "parity/examples.json"
EXPECTED = "parity/expected.json"
BATCHES = (1, 7, 512)
TOLERANCE = 1e-5
"""Largest difference, relative to the largest expected magnitude where that is above 1."""
TOP = 10
Replay = Callable[
    [Bundle, Mapping[str, pl.DataFrame], pl.DataFrame, Sequence[int], float],
    Iterator[Check],
]
"""(bundle, tables, examples, batch sizes, tolerance) → checks."""

PARTS: tuple[tuple[str, Callable[[Bundle], str], Replay], ...] = (
    (ADOPTION, adoption_graphs, adoption_replay),
    (CHURN, churn_graphs, churn_replay),
    (EMBEDDING, embedding_graphs, embedding_replay),
    (SEGMENTS, segment_graphs, segments_replay),
    (UPLIFT, uplift_graphs, uplift_replay),
)
"""Optional parts: what looks at their graphs, and what replays the invented customers."""


def parity_record(
    tables: Mapping[str, pl.DataFrame], examples: pl.DataFrame, answers: bytes | None = None
) -> dict[str, bytes]:
    """The files of the part `parity`: raw rows of invented customers, and what the recommender answered, if any."""
    if not examples.height:
        raise DataError("parity: there is no example")
    record = {TABLES: write_frames(tables), EXAMPLES: write_frames({"examples": examples.select(EXAMPLE.keys())})}
    return record if answers is None else record | {EXPECTED: answers}


def recommender_answers(
    vectors: np.ndarray,
    ids: Sequence[Sequence[str]],
    scores: Sequence[Sequence[float]] | np.ndarray,
) -> bytes:
    """The record's file of the recommender, from the answers of the model as it was trained.

    `vectors` [N, D]; `ids` and `scores` each example's ten best products that are not held, best first, and fewer
    where fewer are left (scores of -inf are left out). Raises DataError if these do not belong together.
    """
    if not len(vectors) == len(ids) == len(scores):
        raise DataError(f"parity: {len(vectors)} vectors, {len(ids)} lists of ids, {len(scores)} of scores")
    if not np.isfinite(vectors).all():
        raise DataError("parity: the expected vectors are not finite")
    best = [
        [[product, float(score)] for product, score in zip(*pair, strict=True) if score > -np.inf][:TOP]
        for pair in zip(ids, scores, strict=True)
    ]
    return canonical_json(
        {
            "vectors": np.asarray(vectors, dtype=np.float32).tolist(),
            "ids": [[product for product, _ in row] for row in best],
            "scores": [[score for _, score in row] for row in best],
        }
    )


def verify(path: Path | str) -> list[Check]:
    """Every check of a bundle, failed ones among them; the bundle is sound if all are `ok`.

    Files and hashes; definition and encoder; names, dtypes and shapes of each graph; the item table; then the
    parity record from raw rows to ranked products at batch 1, 7 and 512: vectors and scores to 1e-5, the same
    ten products but for ties within 1e-5, and equal bits at every batch size. The graphs and the answers of the
    optional parts likewise.
    """
    try:
        bundle = Bundle.load(path)
    except BundleError as error:
        return [Check("files", False, str(error))]
    size = sum(entry.size for entry in bundle.contents.files.values())
    checks = [Check("files", True, f"{len(bundle.contents.files)} files, {size:,} bytes, bundle {bundle.bundle_id}")]
    checks.append(checked("features and encoder", _features, bundle))
    present = bundle.contents.parts
    if RECOMMENDER in present:
        for name, check in (
            ("item table", _items),
            ("customer.onnx", lambda b: _ports(customer_graph(b, _width(b)).inputs)),
            ("product.onnx", _product_graph),
            ("rank.onnx", lambda b: _ports(rank_graph(b, len(b.encoder.products), _width(b)).inputs)),
        ):
            checks.append(checked(name, check, bundle))
    checks += [checked(f"{name} graphs", graphs, bundle) for name, graphs, _ in PARTS if name in present]
    if all(check.ok for check in checks):
        if RECOMMENDER in present:
            checks += _replay(bundle)
        for name, _, replay in PARTS:
            if name in present:
                checks += _replayed(name, replay, bundle)
    else:
        checks.append(Check("parity", False, "not replayed, because a check above failed"))
    return checks


def _replayed(name: str, replay: Replay, bundle: Bundle) -> list[Check]:
    try:
        return list(replay(bundle, *invented(bundle), BATCHES, TOLERANCE))
    except RecsysError as error:
        return [Check(f"{name} parity", False, str(error))]
    except Exception as error:  # whatever breaks here is a fault of the bundle, and reported as one
        return [Check(f"{name} parity", False, f"{type(error).__name__}: {error}")]


def _features(bundle: Bundle) -> str:
    definition, encoder = bundle.definition, bundle.encoder
    names = {column.name for column in definition.product_attributes}
    agreements = {
        "categories": set(encoder.customer.categories) == set(definition.categories),
        "tags": set(encoder.customer.tags) == set(definition.tags),
        "numbers": set(encoder.customer.numbers) == set(definition.numbers),
        "product attributes": {*encoder.product.categories, *encoder.product.numbers, *encoder.product.tags} == names,
        "holdings": (encoder.holdings, encoder.held) == (definition.holdings, definition.holdings_length),
        "history": encoder.history == definition.history_length,
        "kinds": encoder.kinds == definition.history_kinds,
        "dated": encoder.dated == definition.dated,
    }
    if wrong := [what for what, agrees in agreements.items() if not agrees]:
        raise BundleError(f"{bundle.path / ENCODER}: does not agree with the feature definition on {', '.join(wrong)}")
    columns = len(definition.categories) + len(definition.tags) + len(definition.numbers)
    return f"feature hash {definition.hash()[:16]}, {columns} columns, history of {encoder.history}"


def _items(bundle: Bundle) -> str:
    products, vectors = item_table(bundle)
    return f"{len(products):,} products in order of id, {vectors.shape[1]} dimensions"


def _width(bundle: Bundle) -> int:
    return int(item_table(bundle)[1].shape[1])


def _ports(ports: Mapping[str, Any]) -> str:
    return f"inputs {', '.join(sorted(ports))}"


def _product_graph(bundle: Bundle) -> str:
    """Names and dtypes, and that it answers for every index of the catalogue with attributes unknown."""
    graph = product_graph(bundle, _width(bundle))
    count = bundle.encoder.shape.products
    arrays = {
        name: np.ones((count, *(size or 1 for size in port.shape[1:])), dtype=port.dtype)
        for name, port in product_ports(bundle.encoder).items()
    }
    arrays["product"] = np.arange(count, dtype=np.int32).clip(FIRST - 1)
    (whole,) = graph.run(arrays)
    if whole.shape != (count, _width(bundle)) or not np.isfinite(whole).all():
        raise BundleError(f"{graph.where}: gives {whole.shape} values that are not all finite for {count} products")
    (alone,) = graph.run({name: array[-1:] for name, array in arrays.items()})
    if not np.array_equal(alone[0], whole[-1]):
        raise BundleError(f"{graph.where}: one product alone gives other bits than among {count}")
    return _ports(graph.inputs)


@dataclass(frozen=True)
class _Answers:
    vectors: np.ndarray
    scores: np.ndarray
    index: np.ndarray


def invented(bundle: Bundle) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """Tables and examples of the record's invented customers."""
    tables = read_frames(bundle.read(TABLES), str(bundle.path / TABLES))
    return tables, read_frames(bundle.read(EXAMPLES), str(bundle.path / EXAMPLES))["examples"]


def _replay(bundle: Bundle) -> Iterator[Check]:
    try:
        tables, examples = invented(bundle)
        expected = _Expected.read(bundle, examples.height)
        recommender = Recommender(bundle)
        answers = {batch: _answer(recommender, tables, examples, batch) for batch in BATCHES}
    except RecsysError as error:
        yield Check("parity", False, str(error))
        return
    except Exception as error:  # as above
        yield Check("parity", False, f"{type(error).__name__}: {error}")
        return
    for batch, answer in answers.items():
        yield _compare(f"parity at batch {batch}", recommender, answer, expected)
    first = answers[BATCHES[0]]
    same = all(
        np.array_equal(getattr(first, field), getattr(other, field))
        for other in answers.values()
        for field in ("vectors", "scores", "index")
    )
    sizes = ", ".join(map(str, BATCHES))
    yield Check(
        "equal bits", same, f"{'the same' if same else 'different'} vectors, scores and products at batch {sizes}"
    )


def _answer(
    recommender: Recommender, tables: Mapping[str, pl.DataFrame], examples: pl.DataFrame, batch: int
) -> _Answers:
    """The record's examples answered in batches of this size; repeated to fill a batch that is larger than they are."""
    filled = pl.concat([examples] * -(-batch // examples.height)) if batch > examples.height else examples
    vectors, scores, index = [], [], []
    for part in filled.iter_slices(batch):
        rows = features(tables, part, recommender.definition)
        found = recommender.vectors_from_rows(rows)
        best, columns = recommender.rank(found, recommender.allowed(rows, exclude_held=True), TOP, diversity=0)
        vectors.append(found)
        scores.append(best)
        index.append(columns)
    n = examples.height
    return _Answers(np.concatenate(vectors)[:n], np.concatenate(scores)[:n], np.concatenate(index)[:n])


@dataclass(frozen=True)
class _Expected:
    """What the trained model answered; `columns` and `scores` [N, 10], -1 and -inf after a list's end."""

    vectors: np.ndarray
    columns: np.ndarray
    scores: np.ndarray

    @classmethod
    def read(cls, bundle: Bundle, examples: int) -> "_Expected":
        value = bundle.json(EXPECTED)
        vectors = np.array(value["vectors"], dtype=np.float64)
        index = {product: i for i, product in enumerate(bundle.encoder.products)}
        columns = np.full((examples, min(TOP, len(index))), -1)
        scores = np.full(columns.shape, -np.inf)
        for row, (ids, values) in enumerate(zip(value["ids"], value["scores"], strict=True)):
            columns[row, : len(ids)] = [index[product] for product in ids]
            scores[row, : len(ids)] = values
        if len(vectors) != examples or vectors.ndim != 2:
            raise BundleError(f"{bundle.path / EXPECTED}: {len(vectors)} vectors for {examples} examples")
        return cls(vectors, columns, scores)


def _compare(name: str, recommender: Recommender, answer: _Answers, expected: _Expected) -> Check:
    if answer.vectors.shape != expected.vectors.shape:
        return Check(name, False, f"vectors {answer.vectors.shape}, expected {expected.vectors.shape}")
    vector_gap = float(np.abs(answer.vectors - expected.vectors).max()) / _scale(expected.vectors)
    listed = answer.scores > -np.inf
    if not np.array_equal(listed, expected.columns >= 0):
        return Check(name, False, "other numbers of ranked products than expected")
    scale = _scale(expected.scores[listed])
    score_gap = float(np.abs(answer.scores[listed] - expected.scores[listed]).max(initial=0)) / scale
    exact = expected.vectors @ recommender.product_vectors.T.astype(np.float64)
    found, wanted = (np.take_along_axis(exact, c, axis=1) for c in (answer.index, expected.columns.clip(0)))
    moved = listed & (answer.index != expected.columns)
    wrong = moved & (np.abs(found - wanted) > TOLERANCE * scale)
    detail = (
        f"{len(answer.vectors)} customers: vectors differ by {vector_gap:.1e}, scores by {score_gap:.1e} (at most "
        f"{TOLERANCE:.0e} of the scale); {int(wrong.sum())} of {int(listed.sum())} products misplaced, "
        f"{int(moved.sum() - wrong.sum())} in another order within a tie"
    )
    return Check(name, vector_gap <= TOLERANCE and score_gap <= TOLERANCE and not wrong.any(), detail)


def _scale(values: np.ndarray) -> float:
    return max(1.0, float(np.abs(values).max(initial=0)))
