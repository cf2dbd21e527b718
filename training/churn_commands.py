"""The command `recsys churn report`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from recsys.progress import progress_bar
from training.segment_commands import LakeName, Memory, Version


def report(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle's directory.")],
    lake: LakeName,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the page and the JSON are written.")],
    version: Version = None,
    memory: Memory = "4GiB",
    threads: Annotated[int, typer.Option("--threads", min=1, help="Processor threads of the graphs.")] = 2,
) -> None:
    """How good the churn model is, on customers of whom training saw nothing, and for whom.

    One page with plots that needs nothing beside itself, and the same as JSON: candidates, measures with intervals
    beside baselines, calibration, threshold and costs, tiers, groups and protected attributes, what the model goes by.
    Figures of fewer than ten customers are not shown. The last line printed is the page's path.
    """
    from recsys.bundle import Bundle
    from recsys.lake.parts import parse_memory
    from recsys.lake.store import Lake
    from training.churn_report import write_churn_report

    budget = parse_memory(memory)
    loaded, opened = Bundle.load(bundle), Lake.open(lake, version)
    with progress_bar("Churn") as progress:
        data, html, content = write_churn_report(loaded, opened, out, progress, budget, threads)
    _print(content)
    print(data)
    print(html)


def _print(content: dict[str, Any]) -> None:
    found, threshold = content["measures"], content["threshold"]
    print(f"{content['customers']:,} test customers, {content['left']:,} of whom left")
    for name in ("auc", "pr_auc", "brier"):
        value = found[name]
        print(f"  {name:8} {value['value']:.3f}  ({value['low']:.3f} to {value['high']:.3f})")
    print(f"  {'ece':8} {found['ece']['value']:.3f}  (a perfect model: up to {found['ece']['by_chance']:.3f})")
    print(f"at the threshold {threshold['probability']:.3f} (by {threshold['by']}): F1 {threshold['f1']:.3f}")
