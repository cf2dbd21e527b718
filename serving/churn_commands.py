"""Commands that say who of a lake will leave, from a bundle: score."""

from pathlib import Path
from typing import Annotated

import typer

from recsys.progress import progress_bar
from serving.commands import Address, AsOf, BundlePath, EngineName, LakePath, Workers, told
from serving.engine import Engines
from serving.segment_commands import Memory, Threads, Version


def score(
    bundle: BundlePath,
    lake: LakePath,
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Local directory for the scores: new, empty, or a run to continue.")
    ],
    as_of: AsOf = None,
    version: Version = None,
    memory: Memory = "4GiB",
    threads: Threads = 2,
    engine: EngineName = Engines.local,
    workers: Workers = None,
    address: Address = None,
) -> None:
    """How likely every customer of a lake is to leave, bucket by bucket.

    Writes OUT/bucket=NNNN.parquet (customer_id, standing, probability, tier, act, survival by horizon where the bundle
    tells it, bundle_id) and, last, OUT/manifest.json. `act` says that the probability is at or above the bundle's
    threshold. Who has left already or joins later than the day has no probability. A run that was cut short is
    continued by the same command, with the day and the lake version it began with. With --engine ray the buckets are
    spread over processes or a cluster (docs/scale.md); the files are the same.
    """
    from recsys.bundle.fits import parse_day
    from recsys.lake.parts import parse_memory
    from serving.churn import score_churn
    from serving.engine import engine_of

    day, budget = parse_day(as_of), parse_memory(memory)
    with progress_bar("Scoring") as progress:
        done = score_churn(
            bundle,
            lake,
            out,
            as_of=day,
            version=version,
            memory=budget,
            threads=threads,
            engine=engine_of(engine, workers, address, threads),
            progress=progress,
        )
    told(done, "scored")
