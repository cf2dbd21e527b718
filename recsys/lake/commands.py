"""The verbs of the command line that make, change or check a lake."""

from pathlib import Path
from typing import Annotated

import typer

from recsys.errors import DataError
from recsys.progress import progress_bar

PLACE = "a folder, or s3://bucket/prefix"
Out = Annotated[str, typer.Argument(metavar="OUT", help=f"Where the new lake is made: {PLACE}.", show_default=False)]
Root = Annotated[
    Path | None, typer.Option("--root", help="The folder that holds the source's files; not for a database.")
]
Buckets = Annotated[int | None, typer.Option(help="Number of buckets, a power of two, instead of the catalog's.")]


def data_import(
    catalog: Annotated[
        str, typer.Argument(metavar="CATALOG", help="A catalog file, or the name of a shipped one.", show_default=False)
    ],
    out: Out,
    root: Root = None,
    buckets: Buckets = None,
) -> None:
    """Bring a source in as a lake: checked against the catalog's figures and the contract, whole or not at all."""
    from recsys.lake.catalog import import_catalog
    from recsys.shipped import find

    with progress_bar("Importing") as progress:
        lake = import_catalog(find("catalog", catalog), out, root, buckets, progress)
    for table, info in lake.tables.items():
        print(f"{table:16} {info.rows:>14,} rows")
    print(out)


def data_append(
    lake: Annotated[str, typer.Argument(metavar="LAKE", help=f"The lake that grows: {PLACE}.", show_default=False)],
    catalog: Annotated[
        str, typer.Argument(metavar="CATALOG", help="A catalog file, or the name of a shipped one.", show_default=False)
    ],
    root: Root = None,
) -> None:
    """Add a day's rows to a lake, as a new version, whole or not at all.

    Late rows join their day. A row whose key is there already is dropped if it is the same, and takes the old row's
    place if it is not. Whoever reads the lake keeps the version that they opened.
    """
    from recsys.lake.append import append_catalog
    from recsys.shipped import find

    with progress_bar("Appending") as progress:
        grown, counts = append_catalog(lake, find("catalog", catalog), root, progress)
    for table, count in counts.items():
        print(f"{table:16} {count.added:>12,} added {count.replaced:>10,} replaced {count.repeated:>10,} repeated")
    print(f"{lake}: version {grown.version}")


def data_compact(
    lake: Annotated[str, typer.Argument(metavar="LAKE", help=f"The lake to tidy: {PLACE}.", show_default=False)],
) -> None:
    """Join the small files that appends leave, and delete files that no listed version of the lake names."""
    from recsys.lake.compact import compact

    with progress_bar("Compacting") as progress:
        done = compact(lake, progress)
    print(f"files of the newest version: {done.files_before:,} before, {done.files_after:,} now")
    print(f"deleted: {done.removed:,} files that no listed version names, {done.freed / 2**20:,.1f} MiB")
    print(f"{lake}: version {done.lake.version}")


def data_split(
    lake: Annotated[str, typer.Argument(metavar="LAKE", help=f"The lake to split: {PLACE}.", show_default=False)],
) -> None:
    """Double the buckets of a lake that has grown: each bucket becomes two of half the size."""
    from recsys.lake.split import split

    with progress_bar("Splitting") as progress:
        done = split(lake, progress)
    print(f"{lake}: version {done.version}, {done.buckets:,} buckets")


def data_erase(
    lake: Annotated[
        str, typer.Argument(metavar="LAKE", help=f"The lake that holds them: {PLACE}.", show_default=False)
    ],
    out: Out,
    ids: Annotated[
        typer.FileText,
        typer.Argument(
            metavar="IDS", help="A text file with the id of a customer on each line; - reads them from stdin."
        ),
    ],
) -> None:
    """Write a lake anew without some customers: all rows about them, and accounts that nobody else holds.

    OUT has the newest version alone, and no file of it ever held them. LAKE stays as it is, with its earlier versions:
    delete it when OUT has taken its place, and train, score and load the online state from OUT.
    """
    from recsys.lake.erase import erase
    from recsys.lake.store import Lake

    wanted = {line.strip() for line in ids} - {""}
    if not wanted:
        raise DataError(f"{ids.name}: names nobody; write the id of a customer on each line")
    with progress_bar("Erasing") as progress:
        done = erase(Lake.open(lake), out, wanted, progress)
    for table, count in done.rows.items():
        print(f"{table:16} {count:>14,} rows erased")
    if absent := len(wanted) - done.persons:
        print(f"{absent:,} of the {len(wanted):,} customers named were not in the lake")
    print(out)


def data_versions(
    lake: Annotated[str, typer.Argument(metavar="LAKE", help=f"The lake: {PLACE}.", show_default=False)],
) -> None:
    """List the versions that --version can read, the newest last."""
    from recsys.lake.location import location
    from recsys.lake.manifest import read_listing

    for manifest in read_listing(location(lake)).manifests:
        rows = sum(info.rows for info in manifest.tables.values())
        last = f"last event {manifest.last_event}" if manifest.last_event else "undated"
        print(f"{manifest.version:>6}  {last}, {manifest.buckets:,} buckets, {rows:,} rows, {manifest.identity()}")


def data_check(
    lake: Annotated[str, typer.Argument(metavar="LAKE", help=f"The lake to check: {PLACE}.", show_default=False)],
    version: Annotated[int | None, typer.Option("--version", metavar="N", help="The newest, or this one.")] = None,
) -> None:
    """List every violation of the contract, with counts and a first example; exit code 1 if there is any."""
    from recsys.lake.check import violations
    from recsys.lake.store import Lake

    with progress_bar("Checking") as progress:
        found = violations(Lake.open(lake, version), progress)
    for violation in found:
        print(violation)
    if found:
        raise DataError(f"{lake}: breaks {len(found):,} rule{'' if len(found) == 1 else 's'} of the contract")
    print(f"{lake}: keeps its contract")


def data_synth(
    out: Out,
    customers: Annotated[int, typer.Option(help="Number of customers.", min=1)] = 20_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bank.", min=0)] = 0,
    buckets: Annotated[int, typer.Option(help="Number of buckets, a power of two.")] = 16,
) -> None:
    """Write a synthetic bank as a lake, and the truth it was made from beside it, in OUT.truth."""
    from recsys.synthetic.generate import generate

    with progress_bar("Synthesising") as progress:
        lake = generate(out, customers, seed, buckets, progress)
    for table, info in lake.tables.items():
        print(f"{table:16} {info.rows:>14,} rows")
    print(out)
