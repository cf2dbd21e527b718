"""Reports of evaluations, comparisons and backtests as tables for people."""

import sys
from typing import Any

from rich.console import Console
from rich.table import Table


def print_backtest(report: dict[str, Any], metric: str) -> None:
    title = f"{metric} on the test after each cut, 95 % intervals; over cuts: mean ± standard deviation"
    table = Table(title=title, title_justify="left")
    table.add_column("model")
    for one in report["origins"]:
        table.add_column(f"until {one['until']}\n{one['customers']:,} customers", justify="right")
    table.add_column("over cuts", justify="right")
    for name, spread in report["models"].items():
        row = (one["models"][name][metric] for one in report["origins"])
        cells = [f"{m['value']:.3f} [{m['low']:.3f}, {m['high']:.3f}]" for m in row]
        table.add_row(name, *cells, f"{spread[metric]['mean']:.3f} ± {spread[metric]['sd']:.3f}")
    for name, spread in report["differences"].items():
        row = (one["differences"][name][metric] for one in report["origins"])
        cells = [f"{m['value']:+.3f} [{m['low']:+.3f}, {m['high']:+.3f}]" for m in row]
        over = f"{spread[metric]['mean']:+.3f} ± {spread[metric]['sd']:.3f}"
        table.add_row(f"two_tower − {name}", *cells, over, style="dim")
    console = _console()
    console.print(table)
    for name, spread in report["differences"].items():
        ahead, cuts = spread[metric]["ahead"], len(report["origins"])
        console.print(f"ahead of {name} beyond chance at {ahead} of {cuts} cuts")


def print_comparison(report: dict[str, Any]) -> None:
    first, second = (report["bundles"][name] for name in ("first", "second"))
    names = list(dict.fromkeys([report["metric"], "ndcg@10", "recall@10", "hr@1", "mrr"]))
    table = Table(
        title=f"{report['protocol']}: {report['customers']:,} customers, mean [95 % interval]", title_justify="left"
    )
    for heading in ("metric", first["bundle_id"], second["bundle_id"], "difference", ""):
        table.add_column(heading, justify="right" if heading else "left")
    for name in names:
        cells = [_interval(one["metrics"][name]) for one in (first, second)]
        difference = report["differences"][name]
        clear = difference["low"] > 0 or difference["high"] < 0
        table.add_row(name, *cells, _interval(difference, "+"), "" if clear else "within chance")
    for name in first["coverage"]:
        pair = (first["coverage"][name], second["coverage"][name])
        table.add_row(name, *(f"{value:.3f}" for value in pair), f"{pair[0] - pair[1]:+.3f}", "", style="dim")
    console = _console()
    console.print(table)
    for one in (first, second):
        if not one["same_lake"]:
            console.print(
                f"{one['bundle_id']} was trained on another lake or version; if that one knew the days of this test, "
                "its figures are too good"
            )
    console.print(_verdict(report))


def _verdict(report: dict[str, Any]) -> str:
    metric, better = report["metric"], report["better"]
    difference = report["differences"][metric]
    if better is None:
        width = (difference["high"] - difference["low"]) / 2
        return (
            f"It cannot be told which is better by {metric}: the difference is within chance. With these "
            f"{report['customers']:,} customers about {width:.4f} would be seen."
        )
    won = report["bundles"][better]["bundle_id"]
    return f"{won} is better by {metric}: {abs(difference['value']):.4f} {_bounds(difference)}."


def _bounds(difference: dict[str, float]) -> str:
    low, high = sorted(abs(difference[key]) for key in ("low", "high"))
    return f"[{low:.4f}, {high:.4f}]"


def _interval(one: dict[str, float], sign: str = "") -> str:
    value, low, high = (f"{one[key]:{sign}.4f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=200)


def print_evaluation(report: dict[str, Any]) -> None:
    shown = [m for m in ("ndcg@5", "ndcg@10", "recall@10", "hr@1", "mrr") if m in report["models"]["two_tower"]]
    table = Table(
        title=f"{report['protocol']}: {report['customers']:,} customers, mean [95 % interval]", title_justify="left"
    )
    for heading in ("model", *shown, "fit"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for name, metrics in report["models"].items():
        cells = [f"{metrics[m]['value']:.4f} [{metrics[m]['low']:.4f}, {metrics[m]['high']:.4f}]" for m in shown]
        table.add_row(name, *cells, f"{report['seconds'][name]:.1f} s")
    for name, metrics in report["differences"].items():
        cells = [f"{metrics[m]['value']:+.4f} [{metrics[m]['low']:+.4f}, {metrics[m]['high']:+.4f}]" for m in shown]
        table.add_row(f"two_tower − {name}", *cells, "", style="dim")
    console = _console()
    console.print(table)
    for name, reason in report["refused"].items():
        console.print(f"not fitted: {name}: {reason}")
    for name, slices in report["slices"].items():
        if slices:
            console.print(_slices(name, slices, report["metric"]))
    if report["lists"]:
        console.print(_lists(report))
    if "adoption" in report:
        console.print(_adoption(report["adoption"]))


def _slices(name: str, slices: dict[str, Any], metric: str) -> Table:
    """One row for each slice of the test customers."""
    title = f"{metric} by {name}, value [95 % interval]"
    table = Table(title=title, title_justify="left")
    for heading in (name, "rows", "two_tower", "minus the others", "best baseline", "two_tower − it"):
        table.add_column(heading, justify="left" if heading == name else "right")
    for label, one in slices.items():
        own = _interval(one["models"]["two_tower"])
        against = _interval(one["gap"], "+") if "gap" in one else ""
        best = one.get("best_baseline", "")
        cells = [f"{best} {one['models'][best]['value']:.4f}", _interval(one["difference"], "+")] if best else ["", ""]
        table.add_row(label, f"{one['rows']:,}", own, against, *cells)
    return table


def _lists(report: dict[str, Any]) -> Table:
    """What accuracy does not say of the first ten products."""
    table = Table(title="lists of 10, beyond accuracy, value [95 % interval]", title_justify="left")
    for heading in ("model", "coverage", "novelty, bits", "diversity", "popularity", "gini"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for name, one in report["lists"].items():
        cells = [_interval(one[metric]) for metric in ("novelty", "diversity", "popularity")]
        table.add_row(name, f"{report['coverage'][name]['coverage@10']:.3f}", *cells, f"{one['gini']:.3f}")
    return table


def _adoption(report: dict[str, Any]) -> Table:
    """The adoption part on its test cut, beside the base rate of each product."""
    title = f"adoption: {report['customers']:,} customers, {report['pairs']:,} products not held, value [95 % interval]"
    table = Table(title=title, title_justify="left")
    for heading in ("within", "model", "ECE", "gap per product", "Brier score", "AUC", "Brier skill"):
        table.add_column(heading, justify="left" if heading in ("within", "model") else "right")
    for horizon, entry in report["horizons"].items():
        rows = {
            "model": (f"{horizon}: {entry['acquired']:.2%} acquired", entry["brier_skill"]),
            "base_rate": ("", None),
        }
        for name, (said, skill) in rows.items():
            metrics = [*(entry[name][metric] for metric in ("ece", "product_gap", "brier", "auc")), skill]
            cells = [f"{m['value']:.4f} [{m['low']:.4f}, {m['high']:.4f}]" if m else "" for m in metrics]
            table.add_row(said, name, *cells, style=None if skill else "dim")
    return table
