"""A bundle against the baselines on its own test split, in one run, through the bundle's ONNX graphs."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.baselines import BASELINES, BaselineRefused, EASEConfig
from recsys.bootstrap import bootstrap_many, paired_bootstrap_many
from recsys.bundle import Bundle, Recommender
from recsys.errors import ConfigError, DataError
from recsys.features.encoder import FIRST, Encoder
from recsys.features.examples import fitting_holdings, protocol_examples
from recsys.lake.parts import BucketReader
from recsys.lake.store import Lake
from recsys.metrics import rank_metrics, top_k
from recsys.progress import Progress
from training.adoption_evaluation import adoption_report, adoption_test
from training.config import Config, parse_config
from training.rows import example_rows
from training.slices import event_slice, list_report, slice_report

KS = (1, 3, 5, 10, 20)
CHUNK = 4096
"""Customers scored at once."""
MODEL = "two_tower"
DIVERSE = "two_tower_diverse"
LISTED = 10
"""Products of a list that are looked at beyond accuracy."""


@dataclass(frozen=True)
class Outcome:
    """Per-customer results of every model on the test examples; kept in memory, never written."""

    customers: np.ndarray
    """str [N], the customer of each row."""
    metrics: dict[str, dict[str, np.ndarray]]
    """Model → metric → float64 [N]."""
    coverage: dict[str, dict[str, float]]
    """Model → coverage@k → share of the catalogue recommended to anyone."""
    seconds: dict[str, float]
    """Model → time to fit."""
    refused: dict[str, str]
    """Baseline → why it was not fitted."""
    top: dict[str, np.ndarray]
    """Model → int32 [N, 10], columns of the best products, -1 where there are fewer."""
    slices: dict[str, np.ndarray]
    """What test rows are told apart by (`events`, the attribute of groups) → str or None [N]."""
    held: sp.csr_matrix | None
    """Customers × products of what baselines were fitted on; None without baselines."""


def evaluate(bundle: Bundle, lake: Lake, progress: Progress, diversity: float = 0.0) -> dict[str, Any]:
    """The report of `recsys evaluate --json`: values with 95 % intervals, and paired differences to the baselines.

    With `diversity` above 0, the model `two_tower_diverse` is the same one re-ranked for variety.
    """
    config = parse_config(bundle.config, f"{bundle.path}/config.yaml")
    found = report(outcome_on_test(bundle, lake, progress, diversity=diversity), config)
    if config.adoption:
        test = adoption_test(bundle, lake, config, progress)
        found["adoption"] = adoption_report(test, config.evaluation.bootstrap, config.evaluation.seed)
    return found


def report(outcome: Outcome, config: Config) -> dict[str, Any]:
    """Means over customers with bootstrap intervals; differences are two_tower minus the other, paired."""
    samples, seed = config.evaluation.bootstrap, config.evaluation.seed
    groups = outcome.customers
    models, differences = {}, {}
    for name, metrics in outcome.metrics.items():
        intervals = bootstrap_many(metrics, groups, samples, seed)
        models[name] = {metric: asdict(interval) for metric, interval in intervals.items()}
        if name != MODEL:
            paired = paired_bootstrap_many(outcome.metrics[MODEL], metrics, groups, samples, seed)
            differences[name] = {metric: asdict(interval) for metric, interval in paired.items()}
    return {
        "protocol": config.evaluation.protocol,
        "customers": len(np.unique(groups)),
        "models": models,
        "differences": differences,
        "coverage": outcome.coverage,
        "lists": list_report(outcome.top, outcome.held, groups, samples, seed) if outcome.held is not None else {},
        "slices": {
            name: slice_report(
                {m: values[config.training.metric] for m, values in outcome.metrics.items() if m != DIVERSE},
                MODEL,
                labels,
                groups,
                samples,
                seed,
            )
            for name, labels in outcome.slices.items()
        },
        "metric": config.training.metric,
        "seconds": outcome.seconds,
        "refused": outcome.refused,
    }


def outcome_on_test(
    bundle: Bundle,
    lake: Lake,
    progress: Progress,
    baselines: Sequence[str] | None = None,
    diversity: float = 0.0,
) -> Outcome:
    """Score every test example with the bundle and with baselines fitted on what training could see.

    `baselines` are those of the bundle's configuration if not given; an empty sequence means none.
    """
    config = parse_config(bundle.config, f"{bundle.path}/config.yaml")
    names = config.evaluation.baselines if baselines is None else baselines
    recommender = Recommender(bundle, threads=config.threads)
    fitted: dict[str, Any] = {}
    refused: dict[str, str] = {}
    held: sp.csr_matrix | None = None
    seconds = {MODEL: float(bundle.manifest["seconds"].get("fit", 0.0))}
    if diversity:
        seconds[DIVERSE] = seconds[MODEL]
    if names:
        fitted, fit_seconds, refused, held = fit_baselines(bundle.encoder, lake, config, names, progress)
        seconds |= fit_seconds
    group = group_of(lake, config)
    found: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in seconds}
    recommended = {name: {k: np.zeros(len(bundle.encoder.products), dtype=bool) for k in KS} for name in seconds}
    top: dict[str, list[np.ndarray]] = {name: [] for name in seconds}
    slices: dict[str, list[np.ndarray]] = {"events": [], **({group: []} if group else {})}
    customers: list[np.ndarray] = []
    for bucket, tables, rows in example_rows(BucketReader(lake), bundle.definition, config.evaluation, "test"):
        progress(bucket + 1, lake.buckets, "evaluating")
        rows = rows.filter(pl.col("targets").list.eval(pl.element().is_in(bundle.encoder.products)).list.any())
        for chunk in rows.iter_slices(CHUNK):
            customers.append(chunk["customer_id"].to_numpy())
            history = membership(chunk["holdings"], bundle.encoder)
            targets = membership(chunk["targets"], bundle.encoder)
            allowed = ~history.astype(bool).toarray() if config.serving.exclude_held else np.ones(history.shape, bool)
            slices["events"].append(event_slice(chunk))
            if group:
                slices[group].append(np.array(_groups(tables, chunk["customer_id"], lake, config), dtype=object))
            vectors = recommender.vectors_from_rows(chunk)
            plain = recommender.scores(vectors)
            for name in seconds:
                if name == MODEL:
                    scores = plain
                elif name == DIVERSE:
                    scores = _reordered(plain, *recommender.rank(vectors, allowed, max(KS), diversity))
                elif name == "popularity_by_group":
                    scores = fitted[name].scores(history, _groups(tables, chunk["customer_id"], lake, config))
                else:
                    scores = fitted[name].scores(history)
                found[name].append(rank_metrics(scores, allowed, targets, KS))
                best = top_k(scores, allowed, max(KS))
                _mark(recommended[name], best)
                top[name].append(best[:, :LISTED].astype(np.int32))
    if not customers:
        raise DataError(f"{lake.path}: {config.evaluation.protocol} finds no test example in this lake")
    metrics = {
        name: {m: np.concatenate([part[m] for part in parts]) for m in parts[0]} for name, parts in found.items()
    }
    coverage = {
        name: {f"coverage@{k}": float(seen.mean()) for k, seen in ks.items()} for name, ks in recommended.items()
    }
    return Outcome(
        np.concatenate(customers),
        metrics,
        coverage,
        seconds,
        refused,
        {name: np.concatenate(parts) for name, parts in top.items()},
        {name: np.concatenate(parts) for name, parts in slices.items()},
        held,
    )


def fit_baselines(
    encoder: Encoder, lake: Lake, config: Config, names: Sequence[str], progress: Progress
) -> tuple[dict[str, Any], dict[str, float], dict[str, str], sp.csr_matrix]:
    """The named baselines, how long each took to fit, why any was refused, and what they were fitted on."""
    known = config.evaluation.model_copy(update={"newcomers": False})  # as the test asks
    held: list[sp.csr_matrix] = []
    popular: list[sp.csr_matrix] = []
    groups: list[str | None] = []
    popular_groups: list[str | None] = []
    for bucket in range(lake.buckets):
        progress(bucket + 1, lake.buckets, "reading what baselines learn from")
        tables = lake.bucket(bucket)
        holdings = fitting_holdings(tables, config.evaluation, lake.as_of)
        held.append(membership(holdings["holdings"], encoder))
        groups += _groups(tables, holdings["customer_id"], lake, config)
        if config.evaluation.protocol == "temporal":
            recent = pl.concat([protocol_examples(tables, known, part, lake.as_of) for part in ("train", "validation")])
            popular.append(membership(recent["targets"], encoder))
            popular_groups += _groups(tables, recent["customer_id"], lake, config)
    interactions = sp.vstack(held, format="csr")
    counted = sp.vstack(popular, format="csr") if popular else interactions
    fitted: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    refused: dict[str, str] = {}
    for name in names:
        progress(0, 1, f"fitting {name}")
        if name == "popularity_by_group" and group_of(lake, config) is None:
            refused[name] = "no customer attribute has the role group and evaluation.group names none"
            continue
        began = time.perf_counter()
        try:
            if name == "popularity_by_group":
                fitted[name] = BASELINES[name]().fit(counted, popular_groups if popular else groups)
            elif name == "popularity":
                fitted[name] = BASELINES[name]().fit(counted)
            elif name == "ease":
                fitted[name] = BASELINES[name](EASEConfig(memory=int(config.evaluation.baseline_memory))).fit(
                    interactions
                )
            else:
                fitted[name] = BASELINES[name]().fit(interactions)
        except BaselineRefused as error:
            refused[name] = str(error)
            continue
        seconds[name] = time.perf_counter() - began
    return fitted, seconds, refused, interactions


def group_of(lake: Lake, config: Config) -> str | None:
    """The attribute by which popularity is grouped; ConfigError if the configuration names one the lake lacks."""
    attributes = lake.attributes("customers")
    wanted = config.evaluation.group
    if wanted is None:
        return next((a.name for a in attributes if a.role == "group"), None)
    if wanted not in {a.name for a in attributes}:
        names = ", ".join(a.name for a in attributes) or "none"
        raise ConfigError(f"evaluation.group: customers have no attribute {wanted!r}; they have {names}")
    return wanted


def membership(lists: pl.Series, encoder: Encoder) -> sp.csr_matrix:
    """Lists of product ids [N] → float32 CSR [N, P] of ones in catalogue order; unknown products are left out."""
    row, index = encoder.flat_products(lists)
    known = index >= FIRST
    pairs = (row[known], index[known] - FIRST)
    matrix = sp.csr_matrix((np.ones(known.sum(), dtype=np.float32), pairs), shape=(len(lists), len(encoder.products)))
    matrix.data[:] = 1.0
    return matrix


def _groups(tables: dict[str, pl.DataFrame], ids: pl.Series, lake: Lake, config: Config) -> Sequence[str | None]:
    group = group_of(lake, config)
    if group is None:
        return [None] * len(ids)
    known = tables["customers"].select("customer_id", pl.col(group).cast(pl.String)).unique("customer_id", keep="last")
    return ids.to_frame("customer_id").join(known, on="customer_id", how="left", maintain_order="left")[group].to_list()


def _reordered(plain: np.ndarray, scores: np.ndarray, index: np.ndarray) -> np.ndarray:
    """float64 [N, P] scores that rank the listed products as the lists do, the others after them as `plain` does."""
    found = plain.astype(np.float64)
    found -= found.max(axis=1, keepdims=True) + 1
    places = np.where(scores > -np.inf, np.arange(index.shape[1], 0, -1.0), np.take_along_axis(found, index, axis=1))
    np.put_along_axis(found, index, places, axis=1)
    return found


def _mark(seen: dict[int, np.ndarray], top: np.ndarray) -> None:
    for k, products in seen.items():
        best = top[:, :k]
        products[best[best >= 0]] = True
