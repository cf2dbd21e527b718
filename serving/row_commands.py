"""Commands that write what models read of every customer, and the vectors they make of it: features, embed."""

from pathlib import Path
from typing import Annotated

import typer

from recsys.progress import progress_bar
from serving.commands import Address, AsOf, BundlePath, EngineName, LakePath, Workers, told
from serving.engine import Engines
from serving.segment_commands import Memory, Threads, Version

Out = Annotated[
    Path, typer.Argument(metavar="OUT", help="Local directory for the files: new, empty, or a run to continue.")
]


def embed(
    bundle: BundlePath,
    lake: LakePath,
    out: Out,
    as_of: AsOf = None,
    version: Version = None,
    memory: Memory = "4GiB",
    threads: Threads = 2,
    engine: EngineName = Engines.local,
    workers: Workers = None,
    address: Address = None,
) -> None:
    """The vector of every customer of a lake, bucket by bucket: the same as POST /embed gives.

    Writes OUT/bucket=NNNN.parquet (customer_id, vector, error, unusual, bundle_id) and, last, OUT/manifest.json. error
    says how badly the customer's features are found again in the vector, 1 being usual. A bundle without the section
    embedding gives the recommender's vectors, without error and unusual. A run that was cut short is continued by the
    same command, with the day and the lake version it began with. With --engine ray the buckets are spread over
    processes or a cluster (docs/scale.md); the files are the same.
    """
    from recsys.bundle.fits import parse_day
    from recsys.lake.parts import parse_memory
    from serving.embed import embed as run
    from serving.engine import engine_of

    day, budget = parse_day(as_of), parse_memory(memory)
    with progress_bar("Embedding") as progress:
        done = run(
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
    told(done, "embedded")


def features(
    bundle: BundlePath,
    lake: LakePath,
    out: Out,
    as_of: AsOf = None,
    version: Version = None,
    memory: Memory = "4GiB",
    engine: EngineName = Engines.local,
    workers: Workers = None,
    address: Address = None,
) -> None:
    """The row that a bundle's models read of every customer of a lake, bucket by bucket, for models of your own.

    Writes OUT/bucket=NNNN.parquet and, last, OUT/manifest.json: customer_id; attributes and activity by name, null
    where not known; holdings, history, history_kind and history_age as lists, oldest first; bundle_id. Only events
    before the day count, and protected attributes are left out as in training. A run that was cut short is continued
    by the same command, with the day and the lake version it began with. With --engine ray the buckets are spread
    over processes or a cluster (docs/scale.md); the files are the same.
    """
    from recsys.bundle.fits import parse_day
    from recsys.lake.parts import parse_memory
    from serving.engine import engine_of
    from serving.feature_rows import write_feature_rows

    day, budget = parse_day(as_of), parse_memory(memory)
    with progress_bar("Features") as progress:
        done = write_feature_rows(
            bundle,
            lake,
            out,
            as_of=day,
            version=version,
            memory=budget,
            engine=engine_of(engine, workers, address, threads=1),
            progress=progress,
        )
    told(done, "written")
