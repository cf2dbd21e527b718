"""A million customers embedded and put into segments on two cores: how long, and in how much memory."""

import time
from collections.abc import Iterator

import numpy as np
import polars as pl

from benchmarks.measure import arguments, gflops, peak_mib, synthetic_bank, trained, write
from recsys.bundle import Segmentation
from recsys.features.encoded import BATCH
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.parts import BucketReader

SETS = ["recommender=false", "adoption=null", "churn=null"]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--customers", type=int, default=1_000_000, help="how many (1,000,000)")
    parser.add_argument("--repeats", type=int, default=3, help="passes; the median counts (3)")
    options = parser.parse_args()
    lake = synthetic_bank(20_000, 0, options.work)
    bundle = trained("demo", lake, options.work, [*SETS, *options.set])
    segmentation = Segmentation(bundle, threads=2)
    rows = pl.concat(
        [
            features(tables, scoring_examples(tables["customers"]["customer_id"].unique().sort(), lake.as_of), d)
            for bucket in range(lake.buckets)
            for tables in BucketReader(lake).parts(bucket, 3.0)
            for d in [bundle.definition]
        ]
    )
    arrays = segmentation.encoder.encode(rows)
    before = peak_mib()
    given, encoded = [], []
    for _ in range(options.repeats):
        began = time.perf_counter()
        sizes = np.zeros(len(segmentation.segments), dtype=np.int64)
        for part in _batches(options.customers, rows.height):
            vectors, scaled, _ = segmentation.embedding.run({name: values[part] for name, values in arrays.items()})
            places = vectors if segmentation.table.space == "embedding" else scaled
            sizes += np.bincount(segmentation.assign(places)[0], minlength=len(sizes))
        given.append(time.perf_counter() - began)
        began = time.perf_counter()
        for part in _batches(options.customers, rows.height):
            segmentation.assigned(rows[part])
        encoded.append(time.perf_counter() - began)
    results = {
        "customers": options.customers,
        "arrays_given_seconds": sorted(given),
        "rows_given_seconds": sorted(encoded),
        "sizes": sizes.tolist(),
        "more_memory_mib": peak_mib() - before,
        "peak_mib": peak_mib(),
        "gflops": gflops(),
    }
    about = segmentation.embedding.about
    text = (
        f"The {rows.height:,} customers of a synthetic bank over and over, in batches of {BATCH:,}, two threads, to "
        f"{options.customers:,}: {about.autoencoder} dimensions from {len(about.features)} features and "
        f"{about.sequence} from histories, {about.ahead} of what comes next, errors of each feature, "
        f"{len(segmentation.segments)} segments. Median of "
        f"{options.repeats} passes.\n\n| from | seconds | customers a second |\n|---|---|---|\n"
        + "\n".join(
            f"| {what} | {np.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f}) | "
            f"{options.customers / np.median(seconds):,.0f} |"
            for what, seconds in (
                ("encoded arrays to segment and distance", given),
                ("feature rows to the rows that are written, encoding and reasons included", encoded),
            )
        )
        + f"\n\nMemory grew by {results['more_memory_mib']:,.0f} MiB while it ran, to {results['peak_mib']:,.0f} MiB "
        f"in all, torch and the bank's rows included. Machine: {results['gflops']:.0f} GFLOP/s in a 2048³ product."
    )
    write("segment_batch", "A million customers into segments", text, results)


def _batches(customers: int, rows: int) -> Iterator[slice]:
    """Slices of the rows, over and over, until so many customers are done."""
    done = 0
    while done < customers:
        for start in range(0, rows, BATCH):
            size = min(BATCH, rows - start, customers - done)
            if size <= 0:
                return
            yield slice(start, start + size)
            done += size


if __name__ == "__main__":
    main()
