"""Config and lake in, bundle out."""

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from recsys.bundle import parity_record, recommender_answers, write_bundle
from recsys.bundle.churn_reasons import background_file
from recsys.churn.config import ChurnConfig
from recsys.feature_groups import LEAST, background
from recsys.features.definition import FeatureDefinition, define
from recsys.features.encoder import Encoder
from recsys.features.examples import last_day
from recsys.features.features import features
from recsys.features.invent import invent
from recsys.lake.parts import MEMORY, BucketReader
from recsys.lake.store import Lake
from recsys.progress import Progress
from recsys.segment_cards.labels import product_names
from training.adoption import fit_adoption
from training.churn import fit_churn
from training.churn_checks import known_afterwards
from training.churn_models import ChurnData, ChurnModel
from training.churn_rows import prepare_churn
from training.config import Config
from training.embedding import fit_embedding, inputs_of, prepare_customers, prepare_earlier
from training.embedding_report import embedding_report
from training.export import export_two_tower, torch_ranking, torch_vectors
from training.export_adoption import export_adoption
from training.export_embedding import Embedded, export_embedding, torch_places
from training.leaks import without_history
from training.prepare import first_unseen_day, fit_recommender, prepare, prepare_refit, refit_recommender
from training.segments import export_segments, fit_segments, new_segments
from training.survival import fit_survival
from training.survival_rows import prepare_survival
from training.uplift import fit_uplift
from training.uplift_embedding import GraphEmbedding
from training.uplift_rows import prepare_uplift, product_attributes

PARITY_CUSTOMERS = 64
PARITY_PRODUCTS = 10
TYPICAL_OF = 20_000
"""Training examples at most of which typical customers are made."""


def train(config: Config, lake: Lake, out: Path, progress: Progress, memory: int = MEMORY) -> Path:
    """Train on a lake and write the bundle under `out`; return its directory.

    Buckets that would not fit into `memory` bytes are read in parts; the bundle does not depend on it.

    The working directory `out/.work-…` is named by configuration and lake version: a run that was stopped
    goes on from its last checkpoint when started again, and gives the same bundle.
    Raises ConfigError or DataError if the lake cannot support the configuration.
    """
    config = config.model_copy(update={"tuning": None})
    key = hashlib.sha256((config.model_dump_json() + lake.identity()).encode()).hexdigest()[:12]
    work = out / f".work-{config.name}-{key}"
    work.mkdir(parents=True, exist_ok=True)
    made = _Made(config, lake, work, progress, memory)
    if config.recommender:
        made.recommender()
        made.adoption()
    made.churn()
    made.embedding()
    made.uplift()
    bundle = made.bundle(out)
    shutil.rmtree(work)
    return bundle


class _Made:
    """The parts of a bundle as they are made, one after the other, with what they share."""

    def __init__(self, config: Config, lake: Lake, work: Path, progress: Progress, memory: int) -> None:
        self.config, self.lake, self.work, self.progress, self.memory = config, lake, work, progress, memory
        self.parts: dict[str, dict[str, bytes]] = {}
        self.seconds: dict[str, float] = {}
        self.report: dict[str, Any] = {}
        self.definition: FeatureDefinition | None = None
        self.encoder: Encoder | None = None
        self._products: dict[str, np.ndarray] = {}
        self._answers: bytes | None = None

    def recommender(self) -> None:
        """Examples, encoder, two-tower model."""
        config, began = self.config, time.perf_counter()
        data = prepare(config, self.lake, self.work, self.progress, self.memory)
        self.definition, self.encoder, self._products = data.definition, data.encoder, data.products
        self.seconds["features"] = time.perf_counter() - began
        fitted = fit_recommender(config, data, self.work / "checkpoints", self.progress)
        if config.evaluation.refit:
            began = time.perf_counter()
            everything = prepare_refit(config, self.lake, data, self.work, self.progress, self.memory)
            self.seconds["features"] += time.perf_counter() - began
            folder = self.work / "checkpoints-refit"
            fitted = refit_recommender(config, data, everything, fitted, folder, self.progress)
        self.seconds["fit"] = fitted.seconds
        self.report |= {
            "metric": config.training.metric,
            "best_epoch": fitted.best_epoch,
            "validation": fitted.metric,
            "epochs": _timeless(fitted.history),
            "refit": _timeless(fitted.refit),
            "products": len(data.encoder.products),
            "train_examples": len(data.learning),
            "validation_examples": len(data.held_out),
            "share_of_customers": data.share,
        }
        shape, ids = data.encoder.shape, data.encoder.products
        self.parts["recommender"] = export_two_tower(fitted.model, shape, data.products, ids)
        rows = features(*self._invented(), data.definition)
        vectors = torch_vectors(fitted.model, data.encoder.encode(rows))
        excluded = data.encoder.padded_products(rows["holdings"])
        best = torch_ranking(fitted.model, vectors, data.products, ids, excluded, PARITY_PRODUCTS)
        self._answers = recommender_answers(vectors, *best)

    def adoption(self) -> None:
        """When a product will be acquired, where the configuration asks for it."""
        config = self.config
        if config.adoption is None or self.definition is None or self.encoder is None:
            return
        began = time.perf_counter()
        adoption = fit_adoption(
            config.adoption,
            BucketReader(self.lake, self.memory),
            self.definition,
            self.encoder,
            self._products,
            until=last_day(config.evaluation, self.lake.as_of),
            model=config.model,
            training=config.training,
            seed=config.seed,
            threads=config.threads,
            work=self.work / "adoption",
            progress=self.progress,
        )
        self.seconds["adoption"] = time.perf_counter() - began
        self.report["adoption"] = {
            "best_epoch": adoption.fitted.best_epoch,
            "log_likelihood": adoption.fitted.metric,
            "train_examples": adoption.examples,
        }
        self.parts["adoption"] = export_adoption(
            adoption.fitted.model,
            self.encoder.shape,
            self._products,
            config.adoption.horizons_months,
            adoption.knots,
            self.encoder.encode(features(*self._invented(), self.definition)),
        )

    def churn(self) -> None:
        """Who will leave, where the configuration asks for it; without a recommender its encoder is the bundle's."""
        config, began = self.config.churn, time.perf_counter()
        if config is None:
            return
        self.definition = self.definition or define(
            self.lake, self.config.features, before=first_unseen_day(self.config, self.lake)
        )
        folder, trusted = self.work / "churn", self.config.features.trusted
        data = prepare_churn(
            config,
            BucketReader(self.lake, self.memory),
            self.definition,
            self.encoder,
            until=last_day(self.config.evaluation, self.lake.as_of),
            trusted=trusted,
            log_unit=self.config.features.log_unit,
            work=folder / "data",
            progress=self.progress,
        )
        self.encoder = data.encoder
        fitted = fit_churn(
            config,
            data,
            known_afterwards=known_afterwards(self.lake),
            trusted=trusted,
            seed=self.config.seed,
            threads=self.config.threads,
            work=folder / "models",
            progress=self.progress,
        )
        invented = self.encoder.encode(features(*self._invented(), self.definition))
        self.parts["churn"] = fitted.files(invented) | self._background(fitted.model, data.train)
        self.seconds["churn"] = time.perf_counter() - began
        self.report["churn"] = fitted.report()
        if config.survival is not None:
            self._survival(config, invented)

    def _background(self, model: ChurnModel, train: ChurnData) -> dict[str, bytes]:
        """What reasons for leaving are measured against; nothing where there are too few customers to be typical."""
        if len(train) < LEAST:
            return {}
        step = -(-len(train) // TYPICAL_OF)
        arrays = {name: np.array(train.arrays[name][::step]) for name in model.arrays}
        return background_file(background(arrays, model.log_odds(arrays)), product_names(self.lake), self.lake.currency)

    def _survival(self, config: ChurnConfig, invented: dict[str, np.ndarray]) -> None:
        """When they will leave, where the section asks for it."""
        assert config.survival is not None and self.definition is not None and self.encoder is not None
        began = time.perf_counter()
        data = prepare_survival(
            config,
            BucketReader(self.lake, self.memory),
            self.definition,
            self.encoder,
            until=last_day(self.config.evaluation, self.lake.as_of),
            work=self.work / "survival",
            progress=self.progress,
        )
        shape, seed, threads = self.encoder.shape, self.config.seed, self.config.threads
        fitted = fit_survival(config.survival, shape, data, seed=seed, threads=threads)
        self.parts["churn"] |= fitted.files(invented)
        self.seconds["survival"] = time.perf_counter() - began
        self.report["survival"] = fitted.about.model_dump(mode="json")

    def embedding(self) -> None:
        """Embeddings of the customers, and segments of them, where the configuration asks for them."""
        config = self.config.embedding
        if config is None:
            return
        began, as_of = time.perf_counter(), last_day(self.config.evaluation, self.lake.as_of)
        self.definition = self.definition or define(self.lake, self.config.features)
        folder = self.work / "embedding"
        customers, self.encoder = prepare_customers(
            self.lake,
            config,
            self.definition,
            self.encoder,
            as_of,
            self.memory,
            folder,
            self.progress,
            self.config.features.log_unit,
        )
        inputs = inputs_of(config, self.lake, self.encoder)
        before = prepare_earlier(
            self.lake,
            config,
            customers,
            inputs,
            self.definition,
            self.encoder,
            as_of,
            self.memory,
            folder / "earlier",
            self.progress,
        )
        fitted = fit_embedding(
            config,
            customers,
            inputs,
            self.encoder,
            before,
            training=self.config.training,
            seed=self.config.seed,
            threads=self.config.threads,
            work=folder,
            progress=self.progress,
        )
        embedded = Embedded(fitted.model, self.encoder, customers, config.unusual_share)
        invented = self.encoder.encode(features(*self._invented(), self.definition))
        self.parts["embedding"] = export_embedding(fitted.model, embedded, invented)
        self.seconds["embedding"] = time.perf_counter() - began
        self.report["embedding"] = embedding_report(fitted, embedded, customers)
        if self.config.segments is None:
            return
        began = time.perf_counter()
        clustering = fit_segments(self.config.segments, embedded, self.config.seed, self.progress)
        places = embedded.vectors if clustering.chosen.space == "embedding" else embedded.features
        graph, table = new_segments(
            self.lake, self.definition, self.encoder, customers, clustering, places, embedded.unusual, self.config.seed
        )
        points = torch_places(fitted.model, invented, clustering.chosen.space)
        self.parts["segments"] = export_segments(graph, table, clustering.prototypes, points)
        self.seconds["segments"] = time.perf_counter() - began

    def uplift(self) -> None:
        """What contacts add, where the configuration asks for it; the embedding is tried beside the columns."""
        config, began = self.config.uplift, time.perf_counter()
        if config is None:
            return
        self.definition = self.definition or define(
            self.lake, self.config.features, before=first_unseen_day(self.config, self.lake)
        )
        data = prepare_uplift(
            config,
            BucketReader(self.lake, self.memory),
            self.definition,
            self.encoder,
            until=last_day(self.config.evaluation, self.lake.as_of),
            trusted=self.config.features.trusted,
            log_unit=self.config.features.log_unit,
            work=self.work / "uplift",
            progress=self.progress,
        )
        self.encoder = data.encoder
        embed = GraphEmbedding.of(self.parts.get("embedding"), self.encoder)
        fitted = fit_uplift(
            config,
            data,
            product_attributes(self.lake),
            embed=embed,
            embedding=embed.dimensions if embed else 0,
            seed=self.config.seed,
            threads=self.config.threads,
            progress=self.progress,
        )
        invented = self.encoder.encode(features(*self._invented(), self.definition))
        self.parts["uplift"] = fitted.files(invented, embed)
        self.seconds["uplift"] = time.perf_counter() - began
        self.report["uplift"] = fitted.report()

    def bundle(self, out: Path) -> Path:
        """Write everything; return the directory."""
        assert self.definition is not None and self.encoder is not None
        self.report["without_history"] = without_history(self.lake, self.definition)
        self.parts["features"] = {
            "config.yaml": yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False).encode(),
            "features.json": self.definition.model_dump_json(indent=1).encode(),
            "encoder.json": self.encoder.model_dump_json(indent=1).encode(),
        }
        self.parts["parity"] = parity_record(*self._invented(), self._answers)
        self.parts["report"] = {"report/metrics.json": json.dumps(self.report, indent=1, sort_keys=True).encode()}
        lake = self.lake
        about = {
            "identity": lake.identity(),
            "version": lake.version,
            "source": lake.source,
            "as_of": lake.as_of.isoformat() if lake.as_of else None,
        }
        written = write_bundle(
            out, self.config.name, self.parts, lake=about, feature_hash=self.definition.hash(), seconds=self.seconds
        )
        return written.path

    def _invented(self) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
        """Tables and examples of the customers that the parity record is about."""
        assert self.definition is not None and self.encoder is not None
        return invent(self.definition, self.encoder, PARITY_CUSTOMERS, seed=0)


def _timeless(records: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """Records of epochs without what differs between runs."""
    return [{k: v for k, v in epoch.items() if "second" not in k} for epoch in records]
