"""What the commands that answer bucket by bucket share: their options, and how one runs."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.progress import progress_bar
from serving.engine import Engines

if TYPE_CHECKING:
    from serving.batch import Finished

Out = Annotated[
    Path, typer.Argument(metavar="OUT", help="Local directory for the files: new, empty, or a run to continue.")
]
Version = Annotated[
    int | None, typer.Option("--version", metavar="N", help="The lake's newest version, or this one (data versions).")
]
Memory = Annotated[
    str, typer.Option("--memory", metavar="SIZE", help="Memory to stay within; larger buckets are read in parts.")
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Processor threads of the graphs.")]
EngineName = Annotated[
    Engines, typer.Option("--engine", help="Where buckets are answered: in this process, or by Ray's workers.")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Buckets at a time with --engine ray; all processors if not given."),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", metavar="HOST:PORT", help="A running Ray cluster, all of whose nodes see BUNDLE, LAKE and OUT."
    ),
]


def run_command(
    run: "Callable[..., Finished]",
    label: str,
    verb: str,
    bundle: Path,
    lake: str,
    out: Path,
    *,
    as_of: str | None,
    version: int | None,
    memory: str,
    engine: Engines,
    workers: int | None,
    address: str | None,
    threads: int | None = None,
    **more: Any,
) -> None:
    """Run a batch by the options of a command, with a bar called `label`, and say that customers were `verb`.

    `more` is what the run takes besides; one without graphs has no threads. ConfigError for options that say nothing.
    """
    from recsys.bundle.fits import parse_day
    from recsys.lake.parts import parse_memory
    from serving.engine import engine_of

    day, budget = parse_day(as_of), parse_memory(memory)
    chosen = engine_of(engine, workers, address, threads or 1)
    if threads is not None:
        more["threads"] = threads
    with progress_bar(label) as progress:
        done = run(
            bundle, lake, out, as_of=day, version=version, memory=budget, engine=chosen, progress=progress, **more
        )
    seen = f", seen from {done.as_of}" if done.as_of else ""
    rows = "" if done.rows == done.customers else f", {done.rows:,} rows"
    said = "already complete" if done.already else verb
    print(f"{said}: {done.customers:,} customers{rows}{seen}, bundle {done.bundle_id}", file=sys.stderr)
    print(done.out)
