"""Lifetime value from purchases: fitted, judged on a hold-out, fitted again on all days, told of every customer."""

from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.bootstrap import Interval
from recsys.durable import rename
from recsys.errors import DataError
from recsys.lake.store import Lake
from recsys.lifetime_value.config import ValueConfig
from recsys.lifetime_value.holdout import deciles, normalised_gini
from recsys.lifetime_value.independence import by_frequency, independence
from recsys.lifetime_value.likelihood import Fitted
from recsys.lifetime_value.model import Horizon, ValueModel, expected, fit_value, total, valued
from recsys.pages.page import write_page
from recsys.progress import Progress
from recsys.segment_cards.intervals import rounded
from recsys.segment_cards.suppression import FEWEST
from training.value_gather import Gathered, bucket_histories, gather
from training.value_page import purchases_page
from training.value_plots import pictures_of
from training.value_warnings import warnings_of

COLUMNS: dict[str, Any] = {
    "customer_id": pl.String,
    "frequency": pl.Int64,
    "recency": pl.Int64,
    "age": pl.Int64,
    "spend_so_far": pl.Int64,
    "p_alive": pl.Float64,
    "purchases": pl.Float64,
    "purchases_low": pl.Int64,
    "purchases_high": pl.Int64,
    "spend": pl.Float64,
    "value": pl.Float64,
    "value_low": pl.Float64,
    "value_high": pl.Float64,
    "at_stake": pl.Float64,
}
"""Of the file of a bucket. Money in minor units; recency and age in days; everything ahead within the horizon."""
MODEL, PACE = "model", "own pace so far"


@dataclass(frozen=True)
class Judged:
    """A model of the calibration days beside what came of it."""

    content: dict[str, Any]
    predicted: np.ndarray
    """Money or, without amounts, purchases [N]."""
    pace: np.ndarray
    actual: np.ndarray


def write_purchase_value(
    lake: Lake, config: ValueConfig, out: Path, last: date, progress: Progress
) -> tuple[Path, Path, dict[str, Any]]:
    """Write `out/bucket=NNNN.parquet` of every bucket, `out/value.json` and `out/value.html`.

    Returns the two paths and the content. Raises DataError where there is nothing to learn from.
    """
    found = gather(lake, config.purchases, last, progress)
    try:
        trained = fit_value(found.before, config.purchases, config.seed)
    except DataError as error:
        raise DataError(f"{error} (up to {found.cut}, before the hold-out of {found.holdout_days} days)") from None
    judged = judge(found, trained, config)
    model = fit_value(found.known, config.purchases, config.seed)
    horizon = Horizon(config.horizon_days, config.discount)
    sums = write_customers(lake, model, config, out, last, progress)
    whole = {
        name: _scaled(total(model, found.known, horizon, name, config.seed), found.share)
        for name in ("purchases", "value")
    }
    content: dict[str, Any] = {
        "schema": 1,
        "kind": "purchases",
        "lake": {"source": lake.source, "version": lake.version, "identity": lake.identity()},
        "currency": lake.currency,
        "days": {"first": str(found.first), "cut": str(found.cut), "last": str(found.last)},
        "horizon_months": config.horizon_months,
        "discount": config.discount,
        "config": config.model_dump(mode="json"),
        "customers": sums["customers"],
        "sampled": found.known.height,
        "totals": {**whole, "summed": {name: rounded(sums[name]) for name in ("purchases", "value", "p_alive")}},
        "concentration": sums["concentration"],
        "parameters": {"calibration": _parameters(trained), "all days": _parameters(model)},
        "holdout": judged.content,
        "spend": _spend(found, model),
        "started_early": float(found.starts[:30].sum() / max(found.starts.sum(), 1)),
    }
    content["warnings"] = warnings_of(content)
    pictures = pictures_of(content, found, trained, model, judged)
    data, page = write_page(out, "value", content, purchases_page(content, pictures))
    return data, page, content


def judge(found: Gathered, model: ValueModel, config: ValueConfig) -> Judged:
    """The model of the calibration days on the hold-out days, beside everyone's own pace so far."""
    known, horizon = found.before, Horizon(found.holdout_days)
    told = expected(model, known, horizon)
    actual, money = known["later"].to_numpy().astype(float), known["later_spend"].to_numpy().astype(float)
    ages = np.maximum(known["age"].to_numpy(), 1)
    pace = {name: known[name].to_numpy() / ages * found.holdout_days for name in ("frequency", "spend")}
    parts = min(10, known.height // FEWEST)
    answers: dict[str, Any] = {"customers": known.height, "days": found.holdout_days}
    each = {"purchases": (told["purchases"].to_numpy(), pace["frequency"], actual)}
    if model.spending is not None:
        # Value of the hold-out: not discounted, and before the margin, as the money that was really spent is.
        each["money"] = (told["value"].to_numpy() / model.margin, pace["spend"], money)
    for name, (predicted, before, real) in each.items():
        rows = _rows(known.height, config.seed)
        gini = normalised_gini(
            {MODEL: predicted[rows], PACE: before[rows]}, real[rows], [(MODEL, PACE)], seed=config.seed
        )
        answers[name] = {
            "predicted": rounded(float(predicted.sum())),
            "actual": rounded(float(real.sum())),
            "pace": rounded(float(before.sum())),
            "mean_absolute_error": {
                MODEL: rounded(float(np.abs(predicted - real).mean())),
                PACE: rounded(float(np.abs(before - real).mean())),
            },
            "deciles": [
                {**{key: rounded(value) for key, value in asdict(part).items()}, "inside": bool(part.inside)}
                for part in (deciles(predicted, real, parts) if parts else [])
                if part.customers >= FEWEST
            ],
            "gini": {key: _interval(value) for key, value in gini.items()},
        }
    answers["total"] = _interval(total(model, known, horizon, "purchases", config.seed))
    predicted, before, real = each.get("money", each["purchases"])
    return Judged(answers, predicted, before, real)


def _rows(customers: int, seed: int, most: int = 200_000) -> np.ndarray:
    """All rows, or a sample of them that resampling gets through in seconds."""
    if customers <= most:
        return np.arange(customers)
    return np.random.default_rng(seed).choice(customers, most, replace=False)


def write_customers(
    lake: Lake, model: ValueModel, config: ValueConfig, out: Path, last: date, progress: Progress
) -> dict[str, Any]:
    """A file of every bucket, each under its name when it is whole; sums over all customers."""
    out.mkdir(parents=True, exist_ok=True)
    horizon, draws = Horizon(config.horizon_days, config.discount), config.purchases.draws
    sums: dict[str, Any] = {"customers": 0, "purchases": 0.0, "value": 0.0, "p_alive": 0.0}
    values = []
    for bucket, known in bucket_histories(lake, config.purchases, last):
        progress(bucket, lake.buckets, "buckets valued")
        told = valued(model, known, horizon, draws, config.seed + 1 + bucket).rename(
            {"spend_right": "spend"}, strict=False
        )
        _write_parquet(out / f"bucket={bucket:04d}.parquet", told)
        sums["customers"] += told.height
        for name in ("purchases", "value", "p_alive"):
            sums[name] += float(told[name].fill_null(0).sum())
        values.append(told["value" if model.spending else "purchases"].cast(pl.Float32))
    progress(lake.buckets, lake.buckets, "buckets valued")
    sums["concentration"] = _concentration(pl.concat(values).to_numpy())
    return sums


def _write_parquet(path: Path, told: pl.DataFrame) -> None:
    partial = path.with_name(f".{path.name}.partial")
    told.select(pl.col(name).cast(dtype) for name, dtype in COLUMNS.items()).write_parquet(partial, compression="zstd")
    rename(partial, path)


def _concentration(values: np.ndarray) -> list[float]:
    """Share of all value that each tenth of the customers has, the most valuable first."""
    if len(values) < 10 * FEWEST or values.sum() <= 0:
        return []
    ordered = np.sort(values)[::-1].astype(np.float64)
    return [float(part.sum() / ordered.sum()) for part in np.array_split(ordered, 10)]


def _parameters(model: ValueModel) -> dict[str, Any]:
    return {
        "bg_nbd": _fitted(model.buying),
        "gamma_gamma": _fitted(model.spending) if model.spending else None,
        "unit_days": model.unit,
    }


def _fitted(fitted: Fitted) -> dict[str, Any]:
    values = {
        name: {"value": rounded(value), "low": rounded(low), "high": rounded(high)}
        for name, value, low, high in fitted.intervals()
    }
    return {"values": values, "log_likelihood": rounded(fitted.log_likelihood), "customers": fitted.customers}


def _spend(found: Gathered, model: ValueModel) -> dict[str, Any] | None:
    frequency, spend = (found.known[name].to_numpy() for name in ("frequency", "spend"))
    together = independence(frequency, spend)
    money = model.gamma_gamma
    if together is None or money is None:
        return None
    groups = by_frequency(frequency, spend, money.spend(frequency, spend))
    return {
        "customers": together.customers,
        "correlation": _interval(together.correlation),
        "independent": bool(together.holds),
        "mean": rounded(money.mean),
        "groups": [{name: rounded(value) for name, value in row.items()} for row in groups.iter_rows(named=True)],
    }


def _interval(found: Interval | None) -> dict[str, float | None] | None:
    return None if found is None else {key: rounded(value) for key, value in asdict(found).items()}


def _scaled(found: Interval | None, share: float) -> dict[str, float | None] | None:
    """The total of a sample as one of all customers; the interval is that of the sample, so rather too wide."""
    return None if found is None else _interval(Interval(found.value / share, found.low / share, found.high / share))
