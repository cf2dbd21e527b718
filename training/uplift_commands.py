"""The command `recsys uplift report`."""

from pathlib import Path
from typing import Annotated

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
    """Whom a contact moves, and whom it harms, on contacts that training saw nothing of.

    One page with plots that needs nothing beside itself, and the same as JSON: the mean effect, Qini and AUUC with
    intervals and their formulas, targeting against chance, calibration by tenth of the predicted effect, those whom
    contact harms, each action, and the learners that were compared. The last line printed is the page's path.
    """
    from recsys.bundle import Bundle
    from recsys.lake.parts import parse_memory
    from recsys.lake.store import Lake
    from training.uplift_page import sentences
    from training.uplift_report import write_uplift_report

    budget = parse_memory(memory)
    loaded, opened = Bundle.load(bundle), Lake.open(lake, version)
    with progress_bar("Uplift") as progress:
        data, html, content = write_uplift_report(loaded, opened, out, progress, budget, threads)
    qini = content["served"]["qini"]
    print(content["formulas"]["qini"])
    print(f"Qini {qini[0]:.4f}  ({qini[1]:.4f} to {qini[2]:.4f})")
    for sentence in sentences(content):
        print(sentence)
    print(data)
    print(html)
