"""Commands about the online state: load, migrate, prune, erased, lift."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from recsys.bundle.fits import parse_day
from recsys.progress import progress_bar
from serving.commands import AsOf, BundlePath, LakePath

StoreName = Annotated[
    str,
    typer.Option("--store", metavar="STORE", help="A file (SQLite), or postgresql://user:password@host/database."),
]
StorePath = Annotated[
    str, typer.Argument(metavar="STORE", help="A file (SQLite), or postgresql://user:password@host/database.")
]


def load(
    bundle: BundlePath,
    lake: LakePath,
    store: StoreName,
    as_of: AsOf = None,
    memory: Annotated[
        str, typer.Option("--memory", metavar="SIZE", help="Memory to stay within; larger buckets are read in parts.")
    ] = "4GiB",
    threads: Annotated[int, typer.Option("--threads", min=1, help="Processor threads of the graphs.")] = 2,
) -> None:
    """Fill the online state from a lake: every customer's rows, and what the bundle sees in them.

    A store is made where there is none. A load that was cut short is continued by the same command. A later load, of
    a newer lake, day or bundle, takes the place of the one before while the service answers: events that came in
    since stay until the lake has them, and who was erased stays away.
    """
    from recsys.lake.parts import parse_memory
    from serving.store.load import load as run

    day, budget = parse_day(as_of), parse_memory(memory)
    with progress_bar("Loading") as progress:
        filled = run(str(bundle), lake, store, as_of=day, memory=budget, threads=threads, progress=progress)
    done = "already loaded" if filled.already else "loaded"
    seen = f", seen from {filled.as_of}" if filled.as_of else ""
    erased = f"; {filled.erased:,} erased ones left out" if filled.erased else ""
    print(f"{done}: {filled.customers:,} customers{seen}, bundle {filled.bundle_id}{erased}", file=sys.stderr)


def migrate(store: StorePath) -> None:
    """Bring a store to the form that this release reads; what is in it stays. Stop the service first."""
    from recsys.errors import DataError
    from serving.store.engine import url_of
    from serving.store.migrate import migrate as run

    url = url_of(store)
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
        raise DataError(f"{store}: no such file; recsys state load makes a store")
    before, after = run(url)
    print(f"form {after}" if before == after else f"form {before or 'none'} → {after}")


def prune(
    bundle: BundlePath,
    store: StoreName,
    older_than: Annotated[
        int, typer.Option("--older-than", metavar="DAYS", min=1, help="Days before the day, whose events stay.")
    ],
    as_of: AsOf = None,
) -> None:
    """Remove events and decisions that came in and are older than all that the bundle's features look back to.

    The day is that of the load, or --as-of. Interactions stay, because they say what is held, and so does the last
    old transaction and contact of each, because features tell how long ago it was. Rows of the lake are not touched.
    Fewer days than the features look back are refused; plans and rules with longer windows are yours to count in.
    """
    from recsys.bundle import Bundle
    from serving.store import Store
    from serving.store.prune import prune as run

    day, loaded = parse_day(as_of), Bundle.load(bundle)
    opened = Store.open(store)
    try:
        gone = run(opened, loaded, older_than, day)
    finally:
        opened.close()
    listed = ", ".join(f"{count:,} of {table}" for table, count in sorted(gone.items()))
    print(f"removed: {listed or 'nothing'}")


def erased(store: StorePath, lake: LakePath) -> None:
    """Print the ids of a lake's customers who have been erased from the store, one on each line.

    The store keeps no id of them, only hashes. For recsys data erase LAKE OUT -, which writes the lake without them.
    """
    from recsys.lake.store import Lake
    from serving.store import Store
    from serving.store.customer import erased_in

    opened = Store.open(store)
    try:
        for customer_id in erased_in(opened, Lake.open(lake)):
            print(customer_id)
    finally:
        opened.close()


def lift(
    store: StorePath,
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="Id of a customer who was erased.")],
) -> None:
    """Let the next load bring back a customer who was erased, because they have become a customer again."""
    from recsys.errors import DataError
    from serving.store import Store
    from serving.store.customer import lift as run

    opened = Store.open(store)
    try:
        if not run(opened, customer):
            raise DataError("this customer was not erased from the store; nothing to lift")
    finally:
        opened.close()
    print("lifted: the next recsys state load brings them back")
