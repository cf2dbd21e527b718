"""Does the autoencoder's embedding help the churn models as more numbers? On folds inside one training part."""

import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.metrics import roc_auc_score

from recsys.bundle import Bundle
from recsys.bundle.embedding import CustomerEmbedding
from recsys.churn.models_config import ChurnModelsConfig
from recsys.features.encoder import Encoder
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from recsys.progress import progress_bar
from training.churn_models import ChurnData, fit_churn_models
from training.config import load_config
from training.fit import train

Fold = tuple[np.ndarray, np.ndarray]


def embedding_of(name: str, lake: Lake, work: Path) -> pl.DataFrame:
    """`customer_id`, `vector` of every customer by the configuration's embedding, fitted on all of them, no labels."""
    config = load_config(name, ["churn=null", "segments=null"])
    with progress_bar("Embedding") as progress:
        bundle = Bundle.load(train(config, lake, work / "bundles", progress))
    embedding = CustomerEmbedding.of(bundle, 1)
    assert embedding is not None
    found = []
    for bucket in range(lake.buckets):
        tables = lake.bucket(bucket)
        examples = scoring_examples(tables["customers"]["customer_id"].unique().sort(), None)
        rows = features(tables, examples, bundle.definition)
        found.append(rows.select("customer_id", vector=pl.Series(embedding.embed(rows).vectors)))
    return pl.concat(found)


def with_and_without(
    encoder_of: Any, rows: pl.DataFrame, outcome: np.ndarray, vectors: np.ndarray, folds: Iterable[Fold], config: Any
) -> list[dict[str, dict[str, float]]]:
    """By fold the AUC of each candidate and of their blend on the held-out rows: `plain`, and with the `embedding`.

    `encoder_of`: the rows that are fitted on → an encoder; `vectors` float32 [N, D], standardised.
    """
    found = []
    for i, (fitted_on, held) in enumerate(folds):
        encoder = encoder_of(fitted_on)
        each = {
            name: _auc(encoder, rows, outcome, more, (fitted_on, held), config, i)
            for name, more in (("plain", None), ("embedding", vectors))
        }
        print(i, each, file=sys.stderr, flush=True)
        found.append(each)
    return found


def _auc(
    encoder: Encoder,
    rows: pl.DataFrame,
    outcome: np.ndarray,
    more: np.ndarray | None,
    fold: Fold,
    config: ChurnModelsConfig,
    seed: int,
) -> dict[str, float]:
    fitted_on, held = fold
    shape = encoder.shape if more is None else replace(encoder.shape, numbers=encoder.shape.numbers + more.shape[1])

    def arrays(which: np.ndarray) -> dict[str, np.ndarray]:
        found = dict(encoder.encode(rows[which]))
        if more is not None:
            found["numbers"] = np.concatenate([found["numbers"], more[which]], axis=1)
            known = np.zeros((len(which), more.shape[1]), dtype=found["missing"].dtype)
            found["missing"] = np.concatenate([found["missing"], known], axis=1)
        return found

    cut = len(fitted_on) * 4 // 5
    parts = [ChurnData(arrays(part), outcome[part]) for part in (fitted_on[:cut], fitted_on[cut:])]
    with tempfile.TemporaryDirectory() as work:
        model = fit_churn_models(
            config, shape, *parts, seed=seed, threads=1, work=Path(work), progress=lambda done, of, what: None
        )
    asked = arrays(held)
    cells = model.columns.table(asked)
    said = {name: one.log_odds(cells) for name, one in model.candidates.items()} | {"blend": model.log_odds(asked)}
    return {name: float(roc_auc_score(outcome[held], values)) for name, values in said.items()}
