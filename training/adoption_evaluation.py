"""Are the probabilities of adoption right? Calibration, Brier score and AUC on the test cut, beside base rates."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp
from scipy.stats import rankdata

from recsys.bootstrap import Interval, block_of, resampling_weights
from recsys.bundle import Adoption, Bundle
from recsys.calibration import BINS, expected_calibration_error, mass_bins, reliability
from recsys.errors import DataError
from recsys.features.adoption_examples import adoption_cuts, adoption_examples, labels_end
from recsys.features.examples import last_day
from recsys.features.holdings import holdings, seen_interactions
from recsys.features.view import View
from recsys.lake.parts import BucketReader
from recsys.lake.store import Lake
from recsys.progress import Progress
from training.adoption_rows import HELD, adoption_rows, first_acquired
from training.config import Config

CELLS = 1 << 23
"""Customer-product pairs judged at most; a share of the customers is drawn where there are more."""
AUC_BINS = 1000
"""Bins of equal mass in which the bootstrap sees the ranking; the AUC itself is exact."""


@dataclass(frozen=True)
class AdoptionTest:
    """The test cut as cells: a customer and a product that they do not hold."""

    horizons_months: tuple[int, ...]
    customers: np.ndarray
    """str [N]."""
    customer: np.ndarray
    """int64 [M] the customer of each cell, a row of `customers`."""
    product: np.ndarray
    """int64 [M] the product of each cell, a column of the catalogue."""
    first: np.ndarray
    """int8 [M] the interval of the acquisition, the number of horizons for none."""
    probabilities: np.ndarray
    """float32 [M, H] what the bundle says."""
    base_rates: np.ndarray
    """float64 [P, H] what was acquired within each horizon after the validation cut by those who did not hold it."""


def adoption_test(bundle: Bundle, lake: Lake, config: Config, progress: Progress) -> AdoptionTest:
    """Ask the bundle about everyone seen before the test cut; base rates are those known by then."""
    adoption = Adoption.of(bundle, config.threads)
    if adoption is None or config.adoption is None:
        raise DataError(f"{bundle.path}: has no part adoption; train with the section adoption of configs/demo.yaml")
    horizons, until = config.adoption.horizons_months, last_day(config.evaluation, lake.as_of)
    cuts = adoption_cuts(horizons, config.adoption.snapshots, until)
    products = len(bundle.encoder.products)
    asked = adoption_rows(
        BucketReader(lake),
        bundle.definition,
        horizons,
        cuts["test"],
        labels_end(cuts, "test", until),
        max(1, CELLS // products),
    )
    names: list[np.ndarray] = []
    found: list[tuple[np.ndarray, ...]] = []
    for bucket, rows in asked:
        progress(bucket + 1, lake.buckets, "evaluating adoption")
        first = first_acquired(rows, bundle.encoder, len(horizons))
        every = np.broadcast_to(np.arange(products), first.shape)
        probabilities = adoption.probabilities(adoption.vectors_from_rows(rows), every)
        row, column = np.nonzero(first != HELD)
        known = sum(len(part) for part in names)
        found.append((known + row, column, first[row, column], probabilities[row, column]))
        names.append(rows["customer_id"].to_numpy())
    customer, product, first, probabilities = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if not len(customer):
        raise DataError(f"{lake.path}: no customer was seen before the test cut of adoption, {cuts['test'][0]}")
    rates = _base_rates(bundle, lake, config)
    return AdoptionTest(horizons, np.concatenate(names), customer, product, first, probabilities, rates)


def adoption_report(test: AdoptionTest, samples: int, seed: int) -> dict[str, Any]:
    """For each horizon the figures of the bundle and of the products' base rates, with 95 % intervals.

    `ece` is pooled over products; `product_gap` is the mean over cells of the gap between what was predicted and what
    happened to their product as a whole, which pooling may hide; `brier_skill` is 1 - Brier score / that of the base
    rates. Whole customers are resampled.
    """
    horizons = {}
    for h, months in enumerate(test.horizons_months):
        happened = (test.first <= h).astype(np.float64)
        models = {
            "model": test.probabilities[:, h].astype(np.float64),
            "base_rate": test.base_rates[test.product, h],
        }
        entry: dict[str, Any] = {"acquired": float(happened.mean())}
        resampled = {}
        for name, p in models.items():
            entry[name], resampled[name] = _judged(test, p, happened, samples, seed)
        entry["brier_skill"] = asdict(
            _interval(
                1 - entry["model"]["brier"]["value"] / entry["base_rate"]["brier"]["value"],
                1 - resampled["model"] / resampled["base_rate"],
            )
        )
        entry["reliability"] = reliability(models["model"], happened)
        horizons[f"{months}m"] = entry
    return {"customers": len(test.customers), "pairs": len(test.customer), "bins": BINS, "horizons": horizons}


def _judged(
    test: AdoptionTest, p: np.ndarray, happened: np.ndarray, samples: int, seed: int
) -> tuple[dict[str, Any], np.ndarray]:
    """The figures with intervals, and the resampled Brier scores [samples]."""
    unit = block_of(len(test.customers))
    customer, n = unit[test.customer], int(unit.max()) + 1
    bins, ranks = mass_bins(p), mass_bins(p, AUC_BINS)
    squares = np.bincount(customer, (p - happened) ** 2, n)
    sizes = np.bincount(customer, minlength=n)
    gaps = _by_customer(customer, bins, happened - p, n, BINS)
    by_product = _by_customer(customer, test.product, happened - p, n, len(test.base_rates))
    yes = _by_customer(customer, ranks, happened, n, AUC_BINS)
    no = _by_customer(customer, ranks, 1 - happened, n, AUC_BINS)
    parts = []
    for weights in resampling_weights(n, samples, np.random.default_rng(seed)):
        rows = weights @ sizes
        ece = np.abs(weights @ gaps).sum(axis=1) / rows
        gap = np.abs(weights @ by_product).sum(axis=1) / rows
        auc = _binned_auc(weights @ yes, weights @ no)
        parts.append(np.stack([weights @ squares / rows, ece, gap, auc], axis=1))
    resampled = np.concatenate(parts)
    gap = float(np.abs(np.asarray(by_product.sum(axis=0))).sum() / len(p))
    brier = float(((p - happened) ** 2).mean())
    names = ("brier", "ece", "product_gap", "auc")
    values = (brier, expected_calibration_error(p, happened), gap, _auc(p, happened))
    found = {name: asdict(_interval(v, resampled[:, i])) for i, (name, v) in enumerate(zip(names, values, strict=True))}
    return found, resampled[:, 0]


def _by_customer(
    customer: np.ndarray, column: np.ndarray, values: np.ndarray, rows: int, columns: int
) -> sp.csr_matrix:
    kept = values != 0
    return sp.csr_matrix((values[kept], (customer[kept], column[kept])), shape=(rows, columns))


def _auc(p: np.ndarray, happened: np.ndarray) -> float:
    """Area under the ROC curve, ties half (Mann-Whitney); NaN-free: .5 where one kind is missing."""
    yes = happened.sum()
    no = len(happened) - yes
    if not yes or not no:
        return 0.5
    return float((rankdata(p)[happened == 1].sum() - yes * (yes + 1) / 2) / (yes * no))


def _binned_auc(yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    """The same from counts per bin [S, B], lowest bin first."""
    below = np.cumsum(no, axis=1) - no / 2
    pairs = np.maximum(yes.sum(axis=1) * no.sum(axis=1), 1)
    return (yes * below).sum(axis=1) / pairs


def _interval(value: float, resampled: np.ndarray) -> Interval:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def _base_rates(bundle: Bundle, lake: Lake, config: Config) -> np.ndarray:
    """float64 [P, H] of `AdoptionTest.base_rates`."""
    assert config.adoption is not None
    horizons, products = config.adoption.horizons_months, len(bundle.encoder.products)
    acquired, open_to = np.zeros((products, len(horizons))), np.zeros(products)
    for rows in _validation_holdings(lake, config):
        first = first_acquired(rows, bundle.encoder, len(horizons))
        open_to += (first != HELD).sum(axis=0)
        for h in range(len(horizons)):
            acquired[:, h] += ((first != HELD) & (first <= h)).sum(axis=0)
    return acquired / np.maximum(open_to, 1)[:, None]


def _validation_holdings(lake: Lake, config: Config) -> Iterator[pl.DataFrame]:
    """For each bucket what `first_acquired` reads of the validation cut, without the features."""
    assert config.adoption is not None
    horizons, until = config.adoption.horizons_months, last_day(config.evaluation, lake.as_of)
    cuts = adoption_cuts(horizons, config.adoption.snapshots, until)
    for bucket in range(lake.buckets):
        tables = lake.bucket(bucket)
        examples = adoption_examples(tables, horizons, cuts["validation"], labels_end(cuts, "validation", until))
        rows = examples.select("targets", "intervals").with_row_index("row")
        held = holdings(seen_interactions(View(tables, examples)))
        yield rows.join(held, on="row", how="left", maintain_order="left")
