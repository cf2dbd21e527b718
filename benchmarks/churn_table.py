"""Feature rows of a lake's customers with their label, and the churn models of some of them."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.measure import code_digest, digest, imported
from recsys.churn.models_config import ChurnModelsConfig
from recsys.features.definition import FeatureConfig, FeatureDefinition, define
from recsys.features.encoder import Encoder
from recsys.features.encoder_state import EncoderState
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from training.churn_models import ChurnData, ChurnModel, fit_churn_models


@dataclass(frozen=True)
class Table:
    """Feature rows of a lake's customers, by id, and their label."""

    definition: FeatureDefinition
    rows: pl.DataFrame
    outcome: np.ndarray
    kept: Path
    """Where the answers of each fold are kept, so that a run that was stopped goes on."""

    @classmethod
    def of(
        cls, name: str, label: str, options: Any, protected: tuple[str, ...] = (), exclude: tuple[str, ...] = ()
    ) -> "Table":
        """Gender is protected in two of the catalogs; it is read here because the peers' published figures read it."""
        lake = imported(name, options.datasets, name, options.work)
        definition = define(lake, FeatureConfig(protected=protected, exclude=exclude))
        found, labels = [], []
        for bucket in range(lake.buckets):
            tables = lake.bucket(bucket)
            examples = scoring_examples(tables["customers"]["customer_id"].unique().sort(), None)
            found.append(features(tables, examples, definition))
            labels.append(tables["customers"].select("customer_id", label))
        rows = pl.concat(found).sort("customer_id")
        joined = rows.select("customer_id").join(pl.concat(labels), on="customer_id", how="left", maintain_order="left")
        kept = options.work / "churn" / digest(lake.identity(), definition.hash(), code_digest())
        return cls(definition, rows, joined[label].cast(pl.Int8).to_numpy(), kept)

    def encoder(self, rows: np.ndarray) -> Encoder:
        """An encoder that has seen these rows alone."""
        state = EncoderState(self.definition, pl.DataFrame(schema={"product_id": pl.String}))
        state.update(self.rows[rows])
        return state.finish()


def fitted(table: Table, rows: np.ndarray, config: ChurnModelsConfig, seed: int) -> tuple[ChurnModel, Encoder]:
    """The churn models of these rows alone."""
    encoder = table.encoder(rows)
    arrays = encoder.encode(table.rows[rows])
    cut = len(rows) * 4 // 5
    parts = [
        ChurnData({name: values[part] for name, values in arrays.items()}, table.outcome[rows][part])
        for part in (slice(None, cut), slice(cut, None))
    ]
    with tempfile.TemporaryDirectory() as work:
        shape = encoder.shape
        model = fit_churn_models(
            config, shape, *parts, seed=seed, threads=1, work=Path(work), progress=lambda done, of, what: None
        )
    return model, encoder


def answers(
    table: Table, i: int, train: np.ndarray, test: np.ndarray, config: ChurnModelsConfig
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Probabilities of the test rows by the churn models and by each candidate, and the candidates' shares."""
    path = table.kept / f"{digest(config.model_dump_json(), str(i), train.tobytes().hex(), test.tobytes().hex())}.npz"
    if not path.exists():
        model, encoder = fitted(table, train, config, i)
        arrays = encoder.encode(table.rows[test])
        cells = model.columns.table(arrays)
        found = {name: 1 / (1 + np.exp(-one.log_odds(cells))) for name, one in model.candidates.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.savez(file, shares=json.dumps(model.report["shares"]), blend=model.probability(arrays), **found)
        part.replace(path)
    with np.load(path) as kept:
        said = {"churn models": kept["blend"]} | {name: kept[name] for name in config.candidates}
        return said, json.loads(str(kept["shares"]))


def judge(p: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """AUC, average precision and Brier score."""
    return {
        "auc": float(roc_auc_score(y, p)),
        "pr_auc": float(average_precision_score(y, p)),
        "brier": float(np.mean((p - y) ** 2)),
    }
