"""The verbs of the command line that train and judge: check, train, evaluate, backtest."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.errors import DataError
from recsys.progress import progress_bar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from recsys.lake.store import Lake
    from training.config import Config

ConfigArgument = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a shipped one (demo, zimnat, beauty).")
]
LakeOption = Annotated[Path, typer.Option("--lake", help="The lake to read.", show_default=False)]
VersionOption = Annotated[
    int | None, typer.Option("--version", metavar="N", help="The lake's newest version, or this one (data versions).")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one key, such as training.epochs=3; repeatable."),
]


def check(config: ConfigArgument, lake: LakeOption, version: VersionOption = None, overrides: SetOption = None) -> None:
    """Would this train? Reads the configuration and a little of the lake, and says in seconds what it finds."""
    from training.preflight import preflight

    opened, read = _open(config, lake, version, overrides)
    for line in preflight(read, opened):
        print(line)


def train(
    config: ConfigArgument,
    lake: LakeOption,
    out: Annotated[Path, typer.Option("--out", help="Where the bundle's directory is made.")] = Path("runs"),
    version: VersionOption = None,
    memory: Annotated[
        str, typer.Option("--memory", metavar="SIZE", help="Memory to stay within; larger buckets are read in parts.")
    ] = "4GiB",
    overrides: SetOption = None,
) -> None:
    """Train on a lake and write a bundle. The last line printed is its path.

    A run that was stopped goes on from its last epoch when the same command is given again.
    """
    from recsys.lake.parts import parse_memory
    from training.fit import train as fit
    from training.preflight import preflight

    budget = parse_memory(memory)
    opened, read = _open(config, lake, version, overrides)
    preflight(read, opened)
    with progress_bar("Training") as progress:
        bundle = fit(read, opened, out, progress, budget)
    print(bundle)


def backtest(
    config: ConfigArgument,
    lake: LakeOption,
    count: Annotated[int, typer.Option("--origins", help="How many cuts in time.", min=2, max=60)] = 4,
    stride: Annotated[
        int | None,
        typer.Option("--stride", metavar="DAYS", help="Days between two cuts; the horizon if not given.", min=1),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Where the bundles' directories are made.")] = Path("runs"),
    metric: Annotated[str, typer.Option("--metric", help="The metric that is shown.")] = "ndcg@5",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")
    ] = False,
    version: VersionOption = None,
    overrides: SetOption = None,
) -> None:
    """Rolling-origin evaluation: train and judge at several cuts in time, and show how much the figures spread.

    At each cut everything is made anew from what was known then: features, encoder, network, baselines. Given again,
    the command goes on with the cut at which it was stopped.
    """
    from training.backtest import backtest as run
    from training.backtest import origins
    from training.preflight import check_metric, preflight

    check_metric(metric, "--metric")
    opened, read = _open(config, lake, version, overrides)
    at = origins(read, opened, count, stride)
    for moved in at:
        try:
            preflight(moved, opened)
        except DataError as error:
            raise DataError(f"at the cut of {moved.evaluation.until}: {error}") from None
    with progress_bar("Backtesting") as progress:
        report = run(at, opened, out, progress)
    if as_json:
        json.dump(report, sys.stdout, indent=1)
        print()
    else:
        _print_backtest(report, metric)


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="The bundle's directory.")],
    lake: LakeOption,
    version: VersionOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")
    ] = False,
) -> None:
    """Judge a bundle on its test split: metrics with 95 % intervals, beside baselines fitted in the same run."""
    from recsys.bundle import Bundle
    from recsys.lake.store import Lake
    from training.evaluate import evaluate as judge

    with progress_bar("Evaluating") as progress:
        report = judge(Bundle.load(bundle), Lake.open(lake, version), progress)
    if as_json:
        json.dump(report, sys.stdout, indent=1)
        print()
    else:
        _print(report)


def _open(config: str, lake: Path, version: int | None, overrides: list[str] | None) -> "tuple[Lake, Config]":
    from recsys.lake.store import Lake
    from training.config import load_config

    read = load_config(config, overrides or [])
    return Lake.open(lake, version), read


def _print_backtest(report: dict[str, Any], metric: str) -> None:
    from rich.table import Table

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


def _console() -> "Console":
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=200)


def _print(report: dict[str, Any]) -> None:
    from rich.table import Table

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
    if "adoption" in report:
        console.print(_adoption(report["adoption"]))


def _adoption(report: dict[str, Any]) -> "Table":
    """The adoption part on its test cut, beside the base rate of each product."""
    from rich.table import Table

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
