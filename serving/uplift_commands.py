"""Commands that say what a contact adds, from a bundle: score."""

from typing import Annotated

import typer

from serving.batch_commands import Address, EngineName, Memory, Out, Threads, Version, Workers, run_command
from serving.commands import AsOf, BundlePath, LakePath
from serving.engine import Engines


def score(
    bundle: BundlePath,
    lake: LakePath,
    out: Out,
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
    from serving.uplift import score_uplift

    run_command(
        score_uplift,
        "Scoring",
        "scored",
        bundle,
        lake,
        out,
        as_of=as_of,
        version=version,
        memory=memory,
        engine=engine,
        workers=workers,
        address=address,
        threads=threads,
        actions=action or (),
    )
