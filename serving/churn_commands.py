"""Commands that say who of a lake will leave, from a bundle: score."""

from serving.batch_commands import Address, EngineName, Memory, Out, Threads, Version, Workers, run_command
from serving.commands import AsOf, BundlePath, LakePath
from serving.engine import Engines


def score(
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
    """How likely every customer of a lake is to leave, bucket by bucket.

    Writes OUT/bucket=NNNN.parquet (customer_id, standing, probability, tier, act, survival by horizon where the bundle
    tells it, bundle_id) and, last, OUT/manifest.json. `act` says that the probability is at or above the bundle's
    threshold. Who has left already or joins later than the day has no probability. A run that was cut short is
    continued by the same command, with the day and the lake version it began with. With --engine ray the buckets are
    spread over processes or a cluster (docs/scale.md); the files are the same.
    """
    from serving.churn import score_churn

    run_command(
        score_churn,
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
    )
