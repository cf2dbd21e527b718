"""The verbs of the command line that make or check a lake: data import, data check, data synth."""

from pathlib import Path
from typing import Annotated

import typer

from recsys.errors import DataError
from recsys.progress import progress_bar

Out = Annotated[Path, typer.Argument(metavar="OUT", help="The new lake's folder.", show_default=False)]
Buckets = Annotated[int | None, typer.Option(help="Number of buckets, a power of two, instead of the catalog's.")]


def data_import(
    catalog: Annotated[
        str, typer.Argument(metavar="CATALOG", help="A catalog file, or the name of a shipped one.", show_default=False)
    ],
    out: Out,
    root: Annotated[Path, typer.Option("--root", help="The folder that holds the source's files.", show_default=False)],
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


def data_check(
    lake: Annotated[Path, typer.Argument(metavar="LAKE", help="The lake to check.", show_default=False)],
) -> None:
    """List every violation of the contract, with counts and a first example; exit code 1 if there is any."""
    from recsys.lake.check import violations
    from recsys.lake.store import Lake

    with progress_bar("Checking") as progress:
        found = violations(Lake.open(lake), progress)
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
