"""Commands that write what models read of every customer, and the vectors they make of it: features, embed."""

from serving.batch_commands import Address, EngineName, Memory, Out, Threads, Version, Workers, run_command
from serving.commands import AsOf, BundlePath, LakePath
from serving.engine import Engines


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
    from serving.embed import embed as run

    run_command(
        run,
        "Embedding",
        "embedded",
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
    )


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
    from serving.feature_rows import write_feature_rows

    run_command(
        write_feature_rows,
        "Features",
        "written",
        bundle,
        lake,
        out,
        as_of=as_of,
        version=version,
        memory=memory,
        engine=engine,
        workers=workers,
        address=address,
    )
