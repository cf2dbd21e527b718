"""Commands that put the customers of a lake into a bundle's segments: assign, drift."""

import json
from pathlib import Path
from typing import Annotated

import typer

from recsys.drift import ColumnDrift
from recsys.durable import rename
from recsys.progress import progress_bar
from serving.batch_commands import Address, EngineName, Memory, Threads, Version, Workers, run_command
from serving.commands import AsOf, BundlePath
from serving.engine import Engines

LakeName = Annotated[str, typer.Option("--lake", metavar="LAKE", help="The lake: a directory, or s3://bucket/prefix.")]
CELLS = 2
"""Cells of a column that are told of a drift."""


def assign(
    bundle: BundlePath,
    lake: LakeName,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Local directory: new, empty, or a run to continue.")
    ],
    as_of: AsOf = None,
    version: Version = None,
    memory: Memory = "4GiB",
    threads: Threads = 2,
    engine: EngineName = Engines.local,
    workers: Workers = None,
    address: Address = None,
) -> None:
    """Put every customer of a lake into a segment, bucket by bucket.

    Writes DIR/bucket=NNNN.parquet (customer_id, segment_id, segment, distance to the segment's prototype, unusual,
    unusual_features, bundle_id) and, last, DIR/manifest.json. A run that was cut short is continued by the same
    command, with the day and the lake version it began with. With --engine ray the buckets are spread over processes
    or a cluster (docs/scale.md); the files are the same.
    """
    from serving.assign import assign as run

    run_command(
        run,
        "Assigning",
        "assigned",
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


def drift(
    bundle: BundlePath,
    lake: LakeName,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write everything as JSON too.")] = None,
    as_of: AsOf = None,
    version: Version = None,
    memory: Memory = "4GiB",
    threads: Threads = 2,
) -> None:
    """Are the customers still those that the segments were found in?

    Compares the lake with the profile in the bundle: shares of segments, distances to prototypes, and every feature,
    each by its population stability index. 0.1 and more is worth a look, 0.25 and more asks for a refit, unless
    segments.drift of the bundle's configuration says otherwise; what is flagged also exceeds what chance gives. A
    flag is a line that begins with WATCH or ACT; the exit code stays 0.
    """
    from recsys.bundle import Bundle
    from recsys.bundle.fits import check_fits, parse_day, scoring_day
    from recsys.bundle.segmentation import segmentation_of
    from recsys.lake.parts import BucketReader, parse_memory
    from recsys.lake.store import Lake
    from serving.drift import drift_config, drift_of

    loaded, opened = Bundle.load(bundle), Lake.open(lake, version)
    segmentation = segmentation_of(loaded, threads)
    check_fits(loaded, opened)
    day = scoring_day(opened, parse_day(as_of))
    reader, config = BucketReader(opened, parse_memory(memory)), drift_config(segmentation)
    with progress_bar("Comparing") as progress:
        told = drift_of(segmentation, reader, day, config, progress)
    seen = f", seen from {day}" if day else ""
    print(f"{told.features.now:,} customers{seen}, beside {told.features.before:,} when the segments were found")
    names = dict(zip(segmentation.ids, segmentation.names, strict=True))
    for cell in sorted(told.segments.cells, key=lambda cell: (len(cell.cell), cell.cell)):
        shares = f"{cell.before:6.1%} → {cell.now:6.1%}, {cell.low:+.1%} to {cell.high:+.1%}"
        print(f"  {cell.cell:4} {shares:38} {names.get(cell.cell, '')}")
    for column in told.flagged:
        print(f"{column.flag.upper():5} {column.column}: index {column.psi:.2f}; {_told(column)}")
    if not told.flagged:
        print("no flag: no share, distance or feature has drifted")
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = out.with_name(f".{out.name}.partial")
        partial.write_text(json.dumps(told.as_json(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
        rename(partial, out)
        print(out)


def _told(column: ColumnDrift) -> str:
    """The cells that changed most, and the mean of a number."""
    cells = [f"{cell.cell} {cell.before:.1%} → {cell.now:.1%}" for cell in column.cells[:CELLS]]
    if column.mean and None not in column.mean:
        cells.append(f"mean {column.mean[0]:,.6g} → {column.mean[1]:,.6g}")
    return ", ".join(cells)
