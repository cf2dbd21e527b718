"""The verbs of the command line that train and judge."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.errors import DataError
from recsys.progress import progress_bar

if TYPE_CHECKING:
    from recsys.lake.store import Lake
    from training.config import Config

ConfigArgument = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a shipped one (demo, zimnat, berka …).")
]
LakeOption = Annotated[
    str, typer.Option("--lake", help="The lake to read: a folder, or s3://bucket/prefix.", show_default=False)
]
VersionOption = Annotated[
    int | None, typer.Option("--version", metavar="N", help="The lake's newest version, or this one (data versions).")
]
MemoryOption = Annotated[
    str, typer.Option("--memory", metavar="SIZE", help="Memory to stay within; larger buckets are read in parts.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one key, such as training.epochs=3; repeatable."),
]


def check(config: ConfigArgument, lake: LakeOption, version: VersionOption = None, overrides: SetOption = None) -> None:
    """Would this train? Reads the configuration and a little of the lake, and says in seconds what it finds."""
    from training.preflight import preflight

    opened, read = _open(config, lake, version, overrides)
    lines = preflight(read, opened)
    if read.tuning is not None:
        from training.search_space import told

        lines.append(told(read))
    for line in lines:
        print(line)


def train(
    config: ConfigArgument,
    lake: LakeOption,
    out: Annotated[Path, typer.Option("--out", help="Where the bundle's directory is made.")] = Path("runs"),
    version: VersionOption = None,
    memory: MemoryOption = "4GiB",
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


def tune(
    config: ConfigArgument,
    lake: LakeOption,
    trials: Annotated[int, typer.Option("--trials", metavar="N", help="Finished trials in all.", min=1)],
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="URL",
            envvar="RECSYS_STORAGE",
            help="A database that processes or machines share, postgresql://USER:PASSWORD@HOST/DATABASE; "
            "a journal file under --out if not given.",
        ),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option("--space", metavar="FILE", help="YAML in place of the section tuning."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Where the directory tune-NAME is made.")] = Path("runs"),
    version: VersionOption = None,
    memory: MemoryOption = "4GiB",
    overrides: SetOption = None,
) -> None:
    """Search for a better configuration on the validation split. The last line printed is the best one's path.

    The keys and values that are searched stand in the configuration's section tuning; trial 0 is the configuration as
    it stands. Given again after it was stopped, the command goes on until N trials are finished.
    """
    from recsys.lake.parts import parse_memory
    from recsys.strict_yaml import read_yaml, validate
    from training.preflight import preflight
    from training.tune import tune as search
    from training.tuning import TuningConfig

    budget = parse_memory(memory)
    opened, read = _open(config, lake, version, overrides)
    if space is not None:
        read = read.model_copy(update={"tuning": validate(TuningConfig, read_yaml(space), str(space))})
    preflight(read, opened, parts=("train", "validation"))
    with progress_bar("Tuning") as progress:
        folder, found = search(read, opened, out, trials, progress, _line, storage, budget)
    print(found)
    print(f"report: {folder / 'report.md'}")
    print(folder / "best.yaml")


def _line(text: str) -> None:
    """A line on standard error, where no progress bar is drawn."""
    if not sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)


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
    from training.tables import print_backtest

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
        print_backtest(report, metric)


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="The bundle's directory.")],
    lake: LakeOption,
    version: VersionOption = None,
    diversity: Annotated[
        float,
        typer.Option(
            "--diversity", metavar="D", min=0, max=1, help="Show beside it the same model re-ranked for variety."
        ),
    ] = 0.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")
    ] = False,
) -> None:
    """Judge a bundle on its test split: metrics with 95 % intervals, beside baselines fitted in the same run.

    Also by number of events and by declared group, and what accuracy does not say of the lists.
    """
    from recsys.bundle import Bundle
    from recsys.lake.store import Lake
    from training.evaluate import evaluate as judge
    from training.tables import print_evaluation

    with progress_bar("Evaluating") as progress:
        report = judge(Bundle.load(bundle), Lake.open(lake, version), progress, diversity)
    if as_json:
        json.dump(report, sys.stdout, indent=1)
        print()
    else:
        print_evaluation(report)


def compare(
    first: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's directory.")],
    second: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Another one's, with the same test split.")],
    lake: LakeOption,
    metric: Annotated[
        str | None, typer.Option("--metric", help="The metric that decides; the one both were trained for by default.")
    ] = None,
    version: VersionOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")
    ] = False,
) -> None:
    """Which of two bundles is better on the test split, or that it cannot be told.

    Both rank for the same customers; the difference is taken customer by customer, with a 95 % bootstrap interval.
    """
    from recsys.bundle import Bundle
    from recsys.lake.store import Lake
    from training.compare import compare as judge
    from training.tables import print_comparison

    with progress_bar("Comparing") as progress:
        report = judge(Bundle.load(first), Bundle.load(second), Lake.open(lake, version), metric, progress)
    if as_json:
        json.dump(report, sys.stdout, indent=1)
        print()
    else:
        print_comparison(report)


def _open(config: str, lake: str, version: int | None, overrides: list[str] | None) -> "tuple[Lake, Config]":
    from recsys.lake.store import Lake
    from training.config import load_config

    read = load_config(config, overrides or [])
    return Lake.open(lake, version), read
