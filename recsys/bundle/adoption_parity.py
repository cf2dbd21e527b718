"""Do the graphs of the adoption part still answer as the trained model did, whatever is asked beside it?"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from recsys.bundle.adoption import CALIBRATION, EXPECTED, Adoption, adoption_product_graph
from recsys.bundle.bundle import Bundle
from recsys.bundle.checks import Check
from recsys.bundle.towers import product_ports
from recsys.errors import BundleError
from recsys.features.encoder import FIRST
from recsys.features.features import features


def adoption_graphs(bundle: Bundle) -> str:
    """Names, dtypes and shapes of the graphs and that the product tower answers for every index; what was found."""
    adoption = Adoption(bundle)
    graph = adoption_product_graph(bundle, adoption.product_rows.shape[1])
    count = bundle.encoder.shape.products
    arrays = {
        name: np.ones((count, *(size or 1 for size in port.shape[1:])), dtype=port.dtype)
        for name, port in product_ports(bundle.encoder).items()
    }
    arrays["product"] = np.arange(count, dtype=np.int32).clip(FIRST - 1)
    (rows,) = graph.run(arrays)
    if rows.shape != (count, adoption.product_rows.shape[1]) or not np.isfinite(rows).all():
        raise BundleError(f"{graph.where}: gives {rows.shape} values that are not all finite for {count} products")
    months = ", ".join(map(str, adoption.horizons_months))
    return f"within {months} months for {len(adoption.product_rows):,} products"


def adoption_replay(
    bundle: Bundle,
    tables: Mapping[str, pl.DataFrame],
    examples: pl.DataFrame,
    batches: Sequence[int],
    tolerance: float,
) -> Iterator[Check]:
    """The invented customers' probabilities at each batch size against the stored ones, and against each other."""
    expected = bundle.json(EXPECTED)
    vectors, wanted = (np.array(expected[name], dtype=np.float64) for name in ("vectors", "probabilities"))
    index = np.array(expected["index"], dtype=np.int64)
    adoption = Adoption(bundle)
    rows = features(tables, examples, bundle.definition)
    answers = [_answer(adoption, rows, index, batch) for batch in batches]
    alone = [adoption.probabilities(answers[0][0], np.full((rows.height, 1), one)) for one in index]
    for batch, (found, probabilities) in zip(batches, answers, strict=True):
        yield _compare(f"adoption parity at batch {batch}", found, probabilities, vectors, wanted, tolerance)
    first = answers[0]
    same = all(np.array_equal(a, b) for other in answers for a, b in zip(first, other, strict=True))
    same &= np.array_equal(np.concatenate(alone, axis=1), first[1])
    sizes = ", ".join(map(str, batches))
    detail = f"{'the same' if same else 'different'} probabilities at batch {sizes}, and asked for one product or many"
    yield Check("adoption equal bits", bool(same), detail)
    rising = bool((np.diff(first[1], axis=2) >= 0).all() and (first[1] >= 0).all() and (first[1] <= 1).all())
    where = bundle.path / CALIBRATION
    yield Check("adoption horizons", rising, "within 0 to 1, rising with the horizon" if rising else f"{where}: not so")


def _answer(adoption: Adoption, rows: pl.DataFrame, index: np.ndarray, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and probabilities in batches of this size; the rows repeated to fill one that is larger."""
    filled = pl.concat([rows] * -(-batch // rows.height)) if batch > rows.height else rows
    vectors, found = [], []
    for part in filled.iter_slices(batch):
        vectors.append(adoption.vectors_from_rows(part))
        found.append(adoption.probabilities(vectors[-1], np.tile(index, (part.height, 1))))
    return np.concatenate(vectors)[: rows.height], np.concatenate(found)[: rows.height]


def _compare(
    name: str,
    vectors: np.ndarray,
    probabilities: np.ndarray,
    expected_vectors: np.ndarray,
    expected: np.ndarray,
    tolerance: float,
) -> Check:
    if vectors.shape != expected_vectors.shape or probabilities.shape != expected.shape:
        return Check(name, False, f"{vectors.shape} and {probabilities.shape}, not the shapes of the stored answers")
    scale = max(1.0, float(np.abs(expected_vectors).max(initial=0)))
    gap = float(np.abs(vectors - expected_vectors).max(initial=0)) / scale
    difference = float(np.abs(probabilities - expected).max(initial=0))
    detail = f"{len(vectors)} customers: vectors differ by {gap:.1e}, probabilities by {difference:.1e}"
    return Check(name, gap <= tolerance and difference <= tolerance, detail)
