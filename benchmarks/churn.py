"""Who will leave, or say yes, on three public tables: the churn models beside boosting, and a million scored."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
from scipy.stats import t as student
from sklearn.metrics import f1_score
from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedKFold, train_test_split

from benchmarks.churn_embedding import embedding_of, with_and_without
from benchmarks.churn_origins import CALLS, origins
from benchmarks.churn_page import METRICS, page
from benchmarks.churn_peers import Peer, catboost, of_the_file, on, plain_lightgbm, stumps
from benchmarks.churn_table import Table, answers, fitted, judge
from benchmarks.measure import arguments, gflops, imported, last_results, write
from recsys.calibration import expected_calibration_error
from recsys.churn.decision import choose_threshold
from recsys.churn.models_config import BoostingConfig, ChurnModelsConfig

CUSTOMERS = 1_000_000
BATCH = 16_384
BANK = ChurnModelsConfig(candidates=("gaussian_process",), folds=4)
EMBEDDED = ChurnModelsConfig(candidates=("oblivious", "network"), folds=4)
UCI = ChurnModelsConfig(
    candidates=("boosting",), folds=3, boosting=BoostingConfig(leaves=31, least_in_leaf=20, columns=0.4, l2=10.0)
)
UCI_TIME = ChurnModelsConfig(
    candidates=("boosting",), folds=3, boosting=BoostingConfig(least_in_leaf=100, columns=0.4, l2=10.0)
)
DIGITAL = ChurnModelsConfig(candidates=("steps",))
"""What was best alone on folds inside the first training part, in order of time on its origins
(`benchmarks.churn_origins`); all else is the default. The embedding is judged as inputs of the bank's best trees and
the network."""
Fold = tuple[np.ndarray, np.ndarray]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS), help="run these, keep the others")
    options = parser.parse_args()
    results = last_results("churn")
    for name in options.only:
        began = time.perf_counter()
        results[name] = PARTS[name](options) | {"seconds": time.perf_counter() - began, "gflops": gflops()}
        results = {part: results[part] for part in PARTS if part in results}
        write("churn", "Churn models", page(results, BATCH), results)


def bank(options: Any) -> dict[str, Any]:
    """Bank churn beside CatBoost, stratified 3 folds × 3; and F1 on one split."""
    table = Table.of("bank_churn_modelling", "exited", options, ("gender",))
    folds = RepeatedStratifiedKFold(n_splits=3, n_repeats=3, random_state=0)
    found = _judged(table, folds.split(table.rows, table.outcome), {"CatBoost": catboost}, BANK)
    train, test = train_test_split(np.arange(len(table.outcome)), test_size=0.2, random_state=3101)
    model, encoder = fitted(table, train, BANK, 0)
    held = model.held_out
    threshold = choose_threshold(held.probability, held.outcome, None).probability
    said = model.probability(encoder.encode(table.rows[test]))
    return found | {"f1": float(f1_score(table.outcome[test], said >= threshold)), "threshold": threshold}


def uci(options: Any) -> dict[str, Any]:
    """UCI bank marketing without the length of the call: 5 folds, and the last fifth in time."""
    table, dated = (Table.of("uci_bank_marketing", "subscribed", options, exclude=names) for names in (CALLS, ()))
    folds = StratifiedKFold(5, shuffle=True, random_state=0).split(table.rows, table.outcome)
    rows, cut = np.arange(len(table.outcome)), int(0.8 * len(table.outcome))
    peers = {"LightGBM": plain_lightgbm, "LightGBM, columns of the file": of_the_file}
    without = {"LightGBM without the bank's calls": on(table, plain_lightgbm)}
    filed = {"LightGBM, columns of the file": on(table, of_the_file)}
    ordered = {"LightGBM": plain_lightgbm} | without | filed
    return {
        "folds": _judged(table, folds, peers, UCI),
        "origins": origins(options, UCI_TIME),
        "time": _judged(dated, [(rows[:cut], rows[cut:])], ordered, UCI_TIME),
    }


def digital(options: Any) -> dict[str, Any]:
    """Digital marketing beside boosted stumps, 5 folds × 5."""
    table = Table.of("digital_marketing", "converted", options, ("gender",))
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=5, random_state=0)
    return _judged(table, folds.split(table.rows, table.outcome), {"boosted stumps": stumps}, DIGITAL)


def embedding(options: Any) -> dict[str, Any]:
    """The bank's models with the embedding as more numbers: 3 folds × 2 inside the first training part."""
    table = Table.of("bank_churn_modelling", "exited", options, ("gender",))
    lake = imported("bank_churn_modelling", options.datasets, "bank_churn_modelling", options.work)
    known = embedding_of("bank_churn_modelling", lake, options.work)
    vectors = table.rows.select("customer_id").join(known, on="customer_id", maintain_order="left")["vector"].to_numpy()
    vectors = ((vectors - vectors.mean(axis=0)) / np.maximum(vectors.std(axis=0), 1e-6)).astype(np.float32)
    first, _ = next(RepeatedStratifiedKFold(n_splits=3, n_repeats=3, random_state=0).split(table.rows, table.outcome))
    inside = RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=1).split(first, table.outcome[first])
    folds = [(first[fitted_on], first[held]) for fitted_on, held in inside]
    each = with_and_without(table.encoder, table.rows, table.outcome, vectors, folds, EMBEDDED)
    names = (*EMBEDDED.candidates, "blend")
    return {
        "columns": vectors.shape[1],
        "each": each,
        "auc": {name: {kind: _spread([one[kind][name] for one in each]) for kind in each[0]} for name in names},
        "differences": {name: _paired([one["embedding"][name] - one["plain"][name] for one in each]) for name in names},
    }


def speed(options: Any) -> dict[str, Any]:
    """A million customers through the bank's graph, two threads; agreement with the libraries on 10,000 rows."""
    table = Table.of("bank_churn_modelling", "exited", options, ("gender",))
    rows = np.arange(len(table.outcome))
    model, encoder = fitted(table, rows, BANK, 0)
    graph = model.graph()
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(graph, session_options, providers=["CPUExecutionProvider"])
    arrays = encoder.encode(_strange(table.rows))
    read = {name: arrays[name] for name in model.arrays}
    told, probability = session.run(["log_odds", "probability"], read)
    places = np.random.default_rng(0).integers(0, len(rows), CUSTOMERS)
    many = {name: values[places] for name, values in read.items()}
    began = time.perf_counter()
    for start in range(0, CUSTOMERS, BATCH):
        session.run(["probability"], {name: values[start : start + BATCH] for name, values in many.items()})
    spent = time.perf_counter() - began
    return {
        "scoring_seconds": spent,
        "customers": CUSTOMERS,
        "graph_bytes": len(graph),
        "shares": model.report["shares"],
        "log_odds_gap": float(np.abs(told - model.log_odds(read)).max()),
        "probability_gap": float(np.abs(probability - model.probability(read)).max()),
    }


PARTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "bank": bank,
    "embedding": embedding,
    "uci": uci,
    "digital": digital,
    "speed": speed,
}


def _judged(
    table: Table, folds: Iterable[Fold], peers: Mapping[str, Peer], config: ChurnModelsConfig
) -> dict[str, Any]:
    """Metrics of the churn models, of each candidate and of the peers, on the same folds; differences paired."""
    each: dict[str, list[dict[str, float]]] = {}
    outcomes, pooled, shares = [], [], []
    for i, (train, test) in enumerate(folds):
        said, share = answers(table, i, train, test, config)
        said |= {name: peer(table, train, test) for name, peer in peers.items()}
        y = table.outcome[test]
        for name, p in said.items():
            each.setdefault(name, []).append(judge(p, y))
        outcomes.append(y)
        pooled.append(said["churn models"])
        shares.append(share)
        print(i, {name: round(values[-1]["auc"], 4) for name, values in each.items()}, file=sys.stderr, flush=True)
    y, p = np.concatenate(outcomes), np.concatenate(pooled)
    return {
        "inner_folds": config.folds,
        "models": {name: {m: _spread([one[m] for one in found]) for m in METRICS} for name, found in each.items()},
        "differences": {
            name: {
                m: _paired([a[m] - b[m] for a, b in zip(each["churn models"], each[name], strict=True)])
                for m in METRICS
            }
            for name in peers
        },
        "each": each,
        "ece": expected_calibration_error(p, y),
        "shares": {name: float(np.mean([one[name] for one in shares])) for name in shares[0]},
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}


def _paired(values: list[float]) -> dict[str, float]:
    """Mean difference over folds with its 95 % t-interval, and in how many folds it was above 0."""
    mean, count = float(np.mean(values)), len(values)
    half = float(student.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count)) if count > 1 else float("nan")
    return {"mean": mean, "low": mean - half, "high": mean + half, "above": float(np.mean(np.array(values) > 0))}


def _strange(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with a tenth of all cells missing, and a tenth of all categories never seen."""
    rng = np.random.default_rng(0)
    changed = []
    for name in rows.columns:
        if rows.schema[name] in (pl.String, pl.Float64) and name != "customer_id":
            lost = pl.Series(rng.random(rows.height) < 0.1)
            value = pl.when(~lost).then(pl.col(name))
            if rows.schema[name] == pl.String:
                value = pl.when(pl.Series(rng.random(rows.height) < 0.1)).then(pl.lit("never seen")).otherwise(value)
            changed.append(value.alias(name))
    return rows.with_columns(changed)


if __name__ == "__main__":
    main()
