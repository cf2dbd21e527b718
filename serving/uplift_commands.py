"""Commands that say what a contact adds, from a bundle: score."""

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
    action: Annotated[
        list[str] | None,
        typer.Option(
            "--action",
            metavar="PRODUCT/CHANNEL/LEVEL",
            help="An action to ask about, a part empty where there is none; may be given again. By default every "
            "action that a campaign of the training took.",
        ),
    ] = None,
    as_of: AsOf = None,
    version: Version = None,
    memory: Memory = "4GiB",
    threads: Threads = 2,
    engine: EngineName = Engines.local,
    workers: Workers = None,
    address: Address = None,
) -> None:
    """What contacting every customer of a lake would add, action by action, bucket by bucket.

    Writes OUT/bucket=NNNN.parquet (customer_id, product_id, channel, level, baseline, effect, se, bundle_id) and, last,
    OUT/manifest.json. baseline is the probability of the outcome without contact, effect what the contact adds to it:
    below zero it harms. Who has left already or joins later than the day is not asked about. A run that was cut short
    is continued by the same command, with the day and the lake version it began with. With --engine ray the buckets are
    spread over processes or a cluster (docs/scale.md); the files are the same.
    """
    from recsys.bundle.fits import parse_day
    from recsys.lake.parts import parse_memory
    from serving.engine import engine_of
    from serving.uplift import score_uplift

    day, budget = parse_day(as_of), parse_memory(memory)
    with progress_bar("Scoring") as progress:
        done = score_uplift(
            bundle,
            lake,
            out,
            actions=action or (),
            as_of=day,
            version=version,
            memory=budget,
            threads=threads,
            engine=engine_of(engine, workers, address, threads),
            progress=progress,
        )
    told(done, "scored")
