"""The end report: quality beside the baselines, a few customers with their recommendations, what to try next."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table

from recsys.bundle import Bundle, Churn, Segmentation, Uplift
from recsys.bundle.fits import check_fits, scoring_day
from recsys.errors import DataError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.coverage import stopped_tables
from recsys.lake.store import Lake
from serving.batch import MANIFEST

METRICS = {"ndcg@5": "NDCG@5", "hr@1": "HR@1", "mrr": "MRR"}
METRICS_FILE = "report/metrics.json"
OURS = "two_tower"
NAMES = ("name", "product_name", "title", "label", "description")
"""Product attributes that name a product to a person, the best first."""
PATHS = {"recommender": "recommend", "segments": "segment", "churn": "churn"}
"""Part of a bundle → path of the service that answers from it."""
CUSTOMERS = 3
PLAIN_WIDTH = 120


def print_report(
    bundle_path: Path,
    lake_path: str | None,
    evaluation: Path | None,
    scores: Path | None,
    console: Console | None = None,
) -> None:
    """Print the report on standard output; plain text where that is not a terminal.

    Raises BundleError, LakeError, or DataError if the evaluation or the scores are not what the commands wrote.
    """
    bundle = Bundle.load(bundle_path)
    lake = Lake.open(lake_path) if lake_path else None
    console = console or _console()
    _heading(console, bundle, lake)
    _segments(console, bundle)
    _leaving(console, bundle)
    _effects(console, bundle)
    if evaluation:
        _quality(console, _read_evaluation(evaluation))
    if lake and scores:
        _customers(console, bundle, lake, scores)
    _places(console, bundle_path, lake_path, evaluation, scores)
    _next(console, bundle, lake_path, evaluation, scores)


def _console() -> Console:
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=PLAIN_WIDTH)


def _table(console: Console, title: str, columns: Sequence[str]) -> Table:
    lines = box.SIMPLE_HEAD if console.is_terminal else box.ASCII
    table = Table(title=title, title_justify="left", box=lines)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=i > 0)
    return table


def _heading(console: Console, bundle: Bundle, lake: Lake | None) -> None:
    source = bundle.contents.lake
    seen = f", seen from {source.as_of}" if source.as_of else ", undated"
    trained = f"trained on {source.source or 'a lake'}, version {source.version}{seen}"
    console.print(f"Bundle {bundle.bundle_id}: {trained}", soft_wrap=True)
    if lake:
        counts = [f"{info.rows:,} {name}" for name, info in sorted(lake.tables.items()) if info.rows]
        console.print(f"Lake {lake.path}: {', '.join(counts)}", soft_wrap=True)
        for sentence in stopped_tables(lake):
            console.print(f"Note: {sentence}", soft_wrap=True)
    seconds = [f"{name} {value:.0f} s" for name, value in bundle.contents.seconds.items() if value >= 0.5]
    if seconds:
        console.print(f"Time: {', '.join(seconds)}")
    timeless = bundle.json(METRICS_FILE).get("without_history") if METRICS_FILE in bundle.contents.files else None
    if timeless:
        console.print(f"Seen as they are today, whatever the day asked for: {', '.join(timeless)}", soft_wrap=True)
    console.print()


def _segments(console: Console, bundle: Bundle) -> None:
    segmentation = Segmentation.of(bundle)
    if segmentation is None:
        return
    known = segmentation.table
    doubt = f"; nothing passed the rule ({'; '.join(known.refused)})" if known.forced else ""
    title = f"Segments of {known.customers:,} customers, by {known.algorithm} on the {known.space}{doubt}"
    table = _table(console, title, ["segment", "name", "share"])
    table.columns[1].justify = "left"
    for entry in known.segments:
        table.add_row(entry.id, entry.name, f"{entry.share:.1%}")
    console.print(table)
    console.print()


def _leaving(console: Console, bundle: Bundle) -> None:
    churn = Churn.of(bundle)
    if churn is None:
        return
    about = churn.about
    within = f" within {about.horizon_months} months" if about.horizon_months else ""
    title = f"Who leaves{within}: models on customers that they were not fitted on"
    table = _table(console, title, ["model", "AUC", "PR AUC", "Brier"])
    for name, found in about.models.get("candidates", {}).items():
        table.add_row(name, *(f"{found[measure]:.3f}" for measure in ("auc", "pr_auc", "brier")))
    console.print(table)
    tiers = ", ".join(f"{tier.name} from {tier.probability:.1%}" for tier in about.tiers)
    by = "costs" if about.threshold.by == "costs" else "the best F1"
    act = f"Act from {about.threshold.probability:.1%} on, by {by}. Tiers: {tiers}."
    console.print(f"{about.base_rate:.1%} of training left. {act}", soft_wrap=True)
    console.print()


def _effects(console: Console, bundle: Bundle) -> None:
    uplift = Uplift.of(bundle)
    if uplift is None:
        return
    about = uplift.about
    title = f"What a contact adds to {about.outcome}: learners on unseen customers, 95 % intervals"
    table = _table(console, title, ["learner", "Qini", "the top 30 %, beyond as many at random"])
    for name, found in about.models.items():
        table.add_row(name, *(_interval(_told(found[measure]), digits=4) for measure in ("qini", "gain_at_30")))
    console.print(table)
    (effect, error), (slope, apart) = about.effect, about.slope
    says = f"A contact adds {effect:.2%} on average (standard error {error:.2%}); effects by {about.learner} are spread"
    console.print(f"{says} by {slope:.2f} ({apart:.2f}), 0 being the same for all.", soft_wrap=True)
    console.print()


def _told(found: Sequence[float]) -> dict[str, float]:
    return dict(zip(("value", "low", "high"), found, strict=True))


def _quality(console: Console, evaluation: Mapping[str, Any]) -> None:
    models: Mapping[str, Any] = evaluation["models"]
    title = f"Quality: {evaluation['protocol']}, {evaluation['customers']:,} test customers, 95 % intervals"
    table = _table(console, title, ["model", *METRICS.values()])
    best = max(models, key=lambda name: models[name].get("mrr", {}).get("value", 0.0))
    for name, metrics in models.items():
        cells = [_interval(metrics.get(metric)) for metric in METRICS]
        table.add_row(name, *cells, style="bold" if name == best and console.is_terminal else None)
    console.print(table)
    if evaluation.get("differences"):
        table = _table(console, f"{OURS} minus each baseline, paired over customers", ["baseline", *METRICS.values()])
        for name, metrics in evaluation["differences"].items():
            table.add_row(name, *(_interval(metrics.get(metric), signed=True) for metric in METRICS))
        console.print(table)
        console.print("An interval that excludes 0 (*) is a difference beyond chance.")
    for name, reason in evaluation.get("refused", {}).items():
        console.print(f"Not compared with {name}: {reason}")
    if evaluation.get("adoption"):
        _when(console, evaluation["adoption"])
    console.print()


def _when(console: Console, adoption: Mapping[str, Any]) -> None:
    """Calibration of the probabilities by horizon, and what they know beyond the products' base rates."""
    console.print()
    title = f"When: acquired within …, {adoption['customers']:,} customers, every product they do not hold"
    columns = ["within", "acquired", "calibration error", "of base rates", "Brier skill", "AUC"]
    table = _table(console, title, columns)
    for horizon, entry in adoption["horizons"].items():
        model, base = entry["model"], entry["base_rate"]
        skill = _interval(entry["brier_skill"])
        cells = [_interval(model["ece"], digits=4), f"{base['ece']['value']:.4f}", skill, _interval(model["auc"])]
        table.add_row(f"{horizon[:-1]} month{'' if horizon == '1m' else 's'}", f"{entry['acquired']:.2%}", *cells)
    console.print(table)


def _interval(metric: Mapping[str, float] | None, signed: bool = False, digits: int = 3) -> str:
    if not metric:
        return "-"
    value, low, high = metric["value"], metric["low"], metric["high"]
    if not signed:
        return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f}){'*' if low > 0 or high < 0 else ' '}"


def _customers(console: Console, bundle: Bundle, lake: Lake, scores: Path) -> None:
    manifest = _read(scores / MANIFEST, ("bundle_id", "as_of", "buckets"))
    if manifest["bundle_id"] != bundle.bundle_id:
        raise DataError(f"{scores}: scored by bundle {manifest['bundle_id']}, this is {bundle.bundle_id}; score again")
    check_fits(bundle, lake)
    chosen = _choose(scores, manifest["buckets"])
    ids = chosen["customer_id"].unique(maintain_order=True)
    tables = lake.customers(ids.to_list())
    day = scoring_day(lake, pl.Series([manifest["as_of"]]).str.to_date()[0] if manifest["as_of"] else None)
    rows = features(tables, scoring_examples(ids, day), bundle.definition)
    held = dict(zip(rows["customer_id"], rows["holdings"].to_list(), strict=True))
    names = _product_names(tables["products"])
    table = _table(console, "A few customers", ["customer", "holds", "is recommended", "score"])
    table.columns[1].justify = table.columns[2].justify = "left"
    table.columns[1].no_wrap = False
    for customer_id in ids:
        mine = chosen.filter(pl.col("customer_id") == customer_id)
        products = "\n".join(f"{rank}. {names.get(p, p)}" for rank, p in mine.select("rank", "product_id").rows())
        values = "\n".join(f"{value:.3f}" for value in mine["score"])
        holdings = ", ".join(names.get(p, p) for p in held[customer_id]) or "nothing"
        table.add_row(customer_id, holdings, products, values, end_section=True)
    console.print(table)
    console.print()


def _choose(scores: Path, buckets: int) -> pl.DataFrame:
    """The first five recommendations of a few customers of the first bucket that has some, spread over it."""
    for bucket in range(buckets):
        path = scores / f"bucket={bucket:04d}.parquet"
        if not path.exists():
            raise DataError(f"{path}: missing, though {scores / MANIFEST} says that all buckets are there; score again")
        rows = pl.read_parquet(path, columns=["customer_id", "rank", "product_id", "score"])
        ids = rows["customer_id"].unique().sort()
        if len(ids):
            step = max(1, len(ids) // CUSTOMERS)
            chosen = ids.gather_every(step).head(CUSTOMERS)
            return rows.filter(pl.col("customer_id").is_in(chosen.implode()), pl.col("rank") <= 5)
    raise DataError(f"{scores}: holds no recommendation for anybody")


def _product_names(products: pl.DataFrame) -> dict[str, str]:
    column = next((name for name in NAMES if products.schema.get(name) == pl.String), None)
    if column is None:
        return {}
    named = products.filter(pl.col(column).is_not_null())
    return dict(named.select("product_id", column).rows())


def _places(console: Console, bundle: Path, lake: str | None, evaluation: Path | None, scores: Path | None) -> None:
    places = {"lake": lake, "bundle": bundle, "evaluation": evaluation, "scores": scores}
    for name, path in places.items():
        if path:
            console.print(f"{name.capitalize():<11} {path}", soft_wrap=True)
    console.print()


def _next(console: Console, bundle: Bundle, lake: str | None, evaluation: Path | None, scores: Path | None) -> None:
    where, path, parts = lake or "LAKE", bundle.path, bundle.contents.parts
    recommends = "recommender" in parts
    commands = [f"recsys verify {path}"]
    if recommends and not evaluation:
        commands.append(f"recsys evaluate {path} --lake {where} --json")
    if recommends and not scores:
        commands.append(f"recsys score {path} {where} OUT")
    if "segments" in parts:
        commands.append(f"recsys segments report {path} --lake {where} --out OUT")
        commands.append(f"recsys segments assign {path} --lake {where} --out OUT")
    if "churn" in parts:
        commands.append(f"recsys churn report {path} --lake {where} --out OUT")
        commands.append(f"recsys churn score {path} {where} OUT")
    if "uplift" in parts:
        commands.append(f"recsys uplift report {path} --lake {where} --out OUT")
        commands.append(f"recsys uplift score {path} {where} OUT")
    answered = [name for part, name in PATHS.items() if part in parts]
    if answered:
        commands.append(f"recsys serve {path} --lake {where}")
        customer = "CUSTOMER"
        if scores and (scores / MANIFEST).exists():
            customer = _choose(scores, json.loads((scores / MANIFEST).read_text())["buckets"])["customer_id"][0]
        question = {"customer_id": customer, "k": 3} if recommends else {"customer_id": customer}
        url = f"http://127.0.0.1:3000/{answered[0]}"
        body = shlex.quote(json.dumps(question, ensure_ascii=False))
        commands.append(f"curl -s {url} -H 'Content-Type: application/json' -d {body}")
    console.print("Next:")
    for command in commands:
        console.print(f"  {command}", soft_wrap=True)


def _read_evaluation(path: Path) -> dict[str, Any]:
    return _read(path, ("protocol", "customers", "models"))


def _read(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from None
    missing = [key for key in keys if not isinstance(value, dict) or key not in value]
    if missing:
        raise DataError(f"{path}: has no {missing[0]!r}; give the file that the command wrote")
    return value
