"""Config and lake in, bundle out."""

import hashlib
import shutil
import time
from pathlib import Path

import numpy as np
import yaml

from recsys.bundle import parity_record, write_bundle
from recsys.features.definition import FeatureDefinition
from recsys.features.encoder import Encoder
from recsys.features.examples import last_day
from recsys.features.features import features
from recsys.features.invent import invent
from recsys.lake.parts import MEMORY, BucketReader
from recsys.lake.store import Lake
from recsys.progress import Progress
from recsys.two_tower import TwoTower
from training.adoption import Adoption, fit_adoption
from training.config import Config
from training.export import export_two_tower, torch_ranking, torch_vectors
from training.export_adoption import export_adoption
from training.leaks import without_history
from training.loop import FitResult
from training.prepare import fit_recommender, prepare, prepare_refit, refit_recommender

PARITY_CUSTOMERS = 64
PARITY_PRODUCTS = 10


def train(config: Config, lake: Lake, out: Path, progress: Progress, memory: int = MEMORY) -> Path:
    """Train on a lake and write the bundle under `out`; return its directory.

    Buckets that would not fit into `memory` bytes are read in parts; the bundle does not depend on it.

    The working directory `out/.work-…` is named by configuration and lake version: a run that was stopped
    goes on from its last checkpoint when started again, and gives the same bundle.
    Raises ConfigError or DataError if the lake cannot support the configuration.
    """
    config = config.model_copy(update={"tuning": None})
    began = time.perf_counter()
    key = hashlib.sha256((config.model_dump_json() + lake.identity()).encode()).hexdigest()[:12]
    work = out / f".work-{config.name}-{key}"
    work.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    data = prepare(config, lake, work, progress, memory)
    definition, encoder, products = data.definition, data.encoder, data.products
    seconds["features"] = time.perf_counter() - began
    fitted = fit_recommender(config, data, work / "checkpoints", progress)
    if config.evaluation.refit:
        began = time.perf_counter()
        everything = prepare_refit(config, lake, data, work, progress, memory)
        seconds["features"] += time.perf_counter() - began
        fitted = refit_recommender(config, data, everything, fitted, work / "checkpoints-refit", progress)
    seconds["fit"] = fitted.seconds
    began = time.perf_counter()
    adoption = _adoption(config, BucketReader(lake, memory), definition, encoder, products, work, progress)
    if adoption:
        seconds["adoption"] = time.perf_counter() - began
    sizes = {
        "train_examples": len(data.learning),
        "validation_examples": len(data.held_out),
        "share_of_customers": data.share,
    }
    bundle = _write(config, lake, definition, encoder, fitted, adoption, products, out, seconds, sizes)
    shutil.rmtree(work)
    return bundle


def _adoption(
    config: Config,
    reader: BucketReader,
    definition: FeatureDefinition,
    encoder: Encoder,
    products: dict[str, np.ndarray],
    work: Path,
    progress: Progress,
) -> Adoption | None:
    if config.adoption is None:
        return None
    return fit_adoption(
        config.adoption,
        reader,
        definition,
        encoder,
        products,
        until=last_day(config.evaluation, reader.lake.as_of),
        model=config.model,
        training=config.training,
        seed=config.seed,
        threads=config.threads,
        work=work / "adoption",
        progress=progress,
    )


def _write(
    config: Config,
    lake: Lake,
    definition: FeatureDefinition,
    encoder: Encoder,
    fitted: FitResult[TwoTower],
    adoption: Adoption | None,
    products: dict[str, np.ndarray],
    out: Path,
    seconds: dict[str, float],
    sizes: dict[str, float],
) -> Path:
    report = {
        "metric": config.training.metric,
        "best_epoch": fitted.best_epoch,
        "validation": fitted.metric,
        "epochs": [{k: v for k, v in epoch.items() if "second" not in k} for epoch in fitted.history],
        "refit": [{k: v for k, v in epoch.items() if "second" not in k} for epoch in fitted.refit],
        "products": len(encoder.products),
        "without_history": without_history(lake, definition),
        **sizes,
    }
    if adoption:
        report["adoption"] = {
            "best_epoch": adoption.fitted.best_epoch,
            "log_likelihood": adoption.fitted.metric,
            "train_examples": adoption.examples,
        }
    parts = {
        "features": {
            "config.yaml": yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).encode(),
            "features.json": definition.model_dump_json(indent=1).encode(),
            "encoder.json": encoder.model_dump_json(indent=1).encode(),
        },
        "recommender": export_two_tower(fitted.model, encoder.shape, products, encoder.products),
        "parity": _parity(definition, encoder, fitted, products),
        "report": {"report/metrics.json": _json(report)},
    }
    if adoption and config.adoption:
        parts["adoption"] = export_adoption(
            adoption.fitted.model,
            encoder.shape,
            products,
            config.adoption.horizons_months,
            adoption.knots,
            encoder.encode(features(*invent(definition, encoder, PARITY_CUSTOMERS, seed=0), definition)),
        )
    about = {
        "identity": lake.identity(),
        "version": lake.version,
        "source": lake.source,
        "as_of": lake.as_of.isoformat() if lake.as_of else None,
    }
    bundle = write_bundle(out, config.name, parts, lake=about, feature_hash=definition.hash(), seconds=seconds)
    return bundle.path


def _parity(
    definition: FeatureDefinition, encoder: Encoder, fitted: FitResult[TwoTower], products: dict[str, np.ndarray]
) -> dict[str, bytes]:
    """Invented customers, from raw rows to ranked products, as torch answers for them."""
    tables, examples = invent(definition, encoder, PARITY_CUSTOMERS, seed=0)
    rows = features(tables, examples, definition)
    vectors = torch_vectors(fitted.model, encoder.encode(rows))
    excluded = encoder.padded_products(rows["holdings"])
    ids, scores = torch_ranking(fitted.model, vectors, products, encoder.products, excluded, PARITY_PRODUCTS)
    return parity_record(tables, examples, vectors, ids, scores)


def _json(value: object) -> bytes:
    import json

    return json.dumps(value, indent=1, sort_keys=True).encode()
