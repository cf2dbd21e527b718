"""The synthetic bank, temporal: beside the baselines, gradient boosting per product, and the known truth."""

import time
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from benchmarks.measure import arguments, fit_and_test, markdown, synthetic_bank, write
from recsys.bundle import Bundle
from recsys.features.encoder import FIRST
from recsys.features.examples import Part, cuts
from recsys.lake.parts import BucketReader
from recsys.lake.store import Lake
from recsys.metrics import rank_metrics
from recsys.progress import progress_bar
from recsys.synthetic.truth import adoption_matrix
from training.config import Config
from training.evaluate import KS, Outcome, membership, report
from training.rows import example_rows

METRICS = ("ndcg@5", "ndcg@10", "hr@1", "recall@5", "mrr")


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    lake = synthetic_bank(options.customers, options.seed, options.work)
    config, bundle, outcome = fit_and_test("demo", lake, options.work, options.set)
    test = _part(bundle, lake, config, "test")
    _add(outcome, "gradient_boosting", *_boosting(_part(bundle, lake, config, "train"), test, bundle), test, bundle)
    _add(
        outcome,
        "oracle",
        _oracle(Path(f"{lake.path}.truth"), cuts(config.evaluation, lake.as_of)["test"][0], test, bundle),
        None,
        test,
        bundle,
    )
    results = {**report(outcome, config), "bundle": bundle.bundle_id, "seconds_all": bundle.manifest["seconds"]}
    text = (
        f"{options.customers:,} customers, seed {options.seed}; one cut, products acquired in the "
        f"{config.evaluation.horizon_days} days after it by {results['customers']:,} customers; held products "
        "excluded; 95 % intervals over customers, differences paired. gradient_boosting is one scikit-learn "
        "HistGradientBoostingClassifier per product on the same feature rows; oracle ranks by the probabilities that "
        "the bank was made from, for the first month after the cut.\n\n" + markdown(results, METRICS)
    )
    write("synthetic", "Synthetic bank: which product next", text, results)


def _part(bundle: Bundle, lake: Lake, config: Config, part: Part) -> pl.DataFrame:
    parts = [rows for *_, rows in example_rows(BucketReader(lake), bundle.definition, config.evaluation, part)]
    return pl.concat([rows for rows in parts if rows.height])


def _inputs(rows: pl.DataFrame, bundle: Bundle) -> np.ndarray:
    """What the towers read, flat; the history as a count per product."""
    arrays = bundle.encoder.encode(rows)
    row, index = bundle.encoder.flat_products(rows["history"])
    counts = np.zeros((rows.height, len(bundle.encoder.products) + FIRST), dtype=np.float32)
    np.add.at(counts, (row, index), 1)
    flat = [arrays[name] for name in ("categories", "numbers", "missing", "holdings") if name in arrays]
    return np.concatenate([*flat, counts], axis=1).astype(np.float32)


def _boosting(train: pl.DataFrame, test: pl.DataFrame, bundle: Bundle) -> tuple[np.ndarray, float]:
    """float32 [N, P] probabilities of one classifier per product, and the seconds that fitting took."""
    began = time.perf_counter()
    inputs, targets = _inputs(train, bundle), membership(train["targets"], bundle.encoder).toarray() > 0
    asked = _inputs(test, bundle)
    scores = np.zeros((len(asked), targets.shape[1]), dtype=np.float32)
    with progress_bar("Gradient boosting") as progress, threadpool_limits(2):
        for product in range(targets.shape[1]):
            progress(product, targets.shape[1], bundle.encoder.products[product])
            if not targets[:, product].any():
                continue
            model = HistGradientBoostingClassifier(max_iter=150, learning_rate=0.08, max_leaf_nodes=15, random_state=0)
            scores[:, product] = model.fit(inputs, targets[:, product]).predict_proba(asked)[:, 1]
    return scores, time.perf_counter() - began


def _oracle(truth: Path, cut: date, test: pl.DataFrame, bundle: Bundle) -> np.ndarray:
    """float32 [N, P]: the true probability of adoption in the month that starts at the cut."""
    return adoption_matrix(truth, cut, test["customer_id"].to_list(), bundle.encoder.products).astype(np.float32)


def _add(
    outcome: Outcome, name: str, scores: np.ndarray, seconds: float | None, test: pl.DataFrame, bundle: Bundle
) -> None:
    if list(test["customer_id"]) != list(outcome.customers):
        raise RuntimeError("the test rows are not in the order of the outcome")
    allowed = membership(test["holdings"], bundle.encoder).toarray() == 0
    outcome.metrics[name] = rank_metrics(scores, allowed, membership(test["targets"], bundle.encoder), KS)
    if seconds is not None:
        outcome.seconds[name] = seconds


if __name__ == "__main__":
    main()
