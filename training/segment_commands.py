"""Commands about segments that need what training installs: report, and over time refit and moves."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from recsys.durable import rename
from recsys.errors import ConfigError
from recsys.progress import progress_bar

LakeName = Annotated[str, typer.Option("--lake", metavar="LAKE", help="The lake: a directory, or s3://bucket/prefix.")]
Version = Annotated[
    int | None, typer.Option("--version", metavar="N", help="The lake's newest version, or this one (data versions).")
]
Memory = Annotated[
    str, typer.Option("--memory", metavar="SIZE", help="Memory to stay within; larger buckets are read in parts.")
]
FLOWS = 20
"""Flows between segments that are printed."""


def report(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle's directory.")],
    lake: LakeName,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the page and the JSON are written.")],
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", metavar="DAY", help="Day from which customers are seen; else after the last event."),
    ] = None,
    days: Annotated[
        int, typer.Option("--days", metavar="N", min=1, help="How long before that day the earlier snapshot lies.")
    ] = 90,
    version: Version = None,
    memory: Memory = "4GiB",
    threads: Annotated[int, typer.Option("--threads", min=1, help="Processor threads of the graphs.")] = 2,
) -> None:
    """Write what each segment is, does and may want: a page for marketers, and the same content as JSON.

    The page needs nothing beside itself. It has a card for each segment, with its name, what sets it apart, what to
    try and why, all segments side by side, who moved between two days, and how clear the segments are. Figures of
    fewer than ten customers are not shown. The last line printed is the page's path.
    """
    from recsys.bundle import Bundle
    from recsys.bundle.fits import parse_day, scoring_day
    from recsys.lake.parts import parse_memory
    from recsys.lake.store import Lake
    from training.segment_report import write_bundle_report

    asked, budget = parse_day(as_of), parse_memory(memory)
    loaded, opened = Bundle.load(bundle), Lake.open(lake, version)
    with progress_bar("Segments") as progress:
        day = scoring_day(opened, asked)
        paths = write_bundle_report(loaded, opened, out, day, days, progress, budget, threads)
    for path in paths:
        print(path)


def refit(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle whose segments are found again.")],
    lake: LakeName,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Directory in which the new bundle is written.")],
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="The bundle's own if not given.")] = None,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", metavar="DAY", help="Day from which customers are seen; else after the last event."),
    ] = None,
    version: Version = None,
    memory: Memory = "4GiB",
) -> None:
    """Find the segments of a lake as it is now; ids and names stay where a segment is still itself.

    The embedding and every other part are carried over unchanged. The old prototypes follow their customers. If the
    segments that this gives still pass the rule of the bundle's configuration, they stay as many as they were; if not,
    everything is tried anew and the reason is printed. Either way each segment of now is matched to the old ones by
    the customers in both: a matched one keeps its id and name, any other gets an id that was never used. Prints what
    is new, merged, split or vanished; the last line is the path of the new bundle.
    """
    from recsys.bundle import Bundle
    from recsys.bundle.fits import parse_day
    from recsys.lake.parts import parse_memory
    from recsys.lake.store import Lake
    from training.segment_refit import refit as run

    day, budget = parse_day(as_of), parse_memory(memory)
    loaded, opened = Bundle.load(bundle), Lake.open(lake, version)
    with progress_bar("Refitting") as progress:
        done = run(loaded, opened, out, as_of=day, seed=seed, memory=budget, progress=progress)
    if done.found.fallen:
        print(f"the old segments no longer stand: {'; '.join(done.found.fallen)}")
        print("everything was tried anew")
    matching = done.found.matching
    for old in matching.old:
        into = f" into {', '.join(old.into)}" if old.fate in ("merged", "split") else ""
        same = f", {old.overlap:.0%} the same" if old.fate == "persists" else ""
        print(f"  {old.id:5} {old.fate}{into}{same}  {done.names[old.id]}")
    for new in matching.new:
        if new.matched is None:
            of = f" from {', '.join(new.of)}" if new.of else ""
            print(f"  {new.id:5} {'new' if new.origin == 'new' else f'new, {new.origin}'}{of}  {done.names[new.id]}")
    print(f"{matching.kept:.1%} of the customers keep their segment")
    print(done.path)


def moves(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The bundle with the segments of before.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The bundle with the segments of now; may be the same.")],
    lake: LakeName,
    as_of_old: Annotated[
        str | None,
        typer.Option("--as-of-old", metavar="DAY", help="Day of before; by default the one that OLD was made on."),
    ] = None,
    as_of_new: Annotated[
        str | None, typer.Option("--as-of-new", metavar="DAY", help="Day of now; by default after the last event.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Everybody who moved, as .csv or .parquet.")
    ] = None,
    version: Version = None,
    memory: Memory = "4GiB",
    threads: Annotated[int, typer.Option("--threads", min=1, help="Processor threads of the graphs.")] = 2,
) -> None:
    """Who moved from one segment to another, and why.

    A customer moved if the id of their segment differs between OLD on the one day and NEW on the other. What moved is
    told apart: the customer (OLD says so too), the segments (OLD would have left them where they were; after a refit
    on the same day that is all of them), or both. A reason is a change that brought the customer nearer to the
    segment entered than to the one left: the old value is put back, and what the nearness loses by it is its share.
    Flows of fewer than ten customers are not printed.
    """
    from recsys.bundle import Bundle
    from recsys.bundle.fits import check_fits, parse_day, scoring_day
    from recsys.bundle.segmentation import segmentation_of
    from recsys.lake.parts import BucketReader, parse_memory
    from recsys.lake.store import Lake
    from training.movers import View
    from training.movers import moves as run

    if out is not None and out.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"--out {out}: name a file that ends in .csv or .parquet")
    then, now = parse_day(as_of_old, "--as-of-old"), parse_day(as_of_new, "--as-of-new")
    opened, reader_memory = Lake.open(lake, version), parse_memory(memory)
    before = Bundle.load(old)
    after = before if new.resolve() == old.resolve() else Bundle.load(new)
    for one in (before, after):
        check_fits(one, opened)
    first = segmentation_of(before, threads)
    second = first if after is before else segmentation_of(after, threads)
    made = before.contents.lake.as_of if opened.as_of else None
    views = View(first, scoring_day(opened, then or made)), View(second, scoring_day(opened, now))
    with progress_bar("Comparing") as progress:
        found = run(BucketReader(opened, reader_memory), *views, progress)
    _print_moves(found.as_json(), views[0].as_of, views[1].as_of, _names_of(found.movers))
    if out is not None:
        _write_movers(out, found.movers)
        print(out)


def _names_of(movers: pl.DataFrame) -> dict[str, str]:
    found: dict[str, str] = {}
    for column in ("after", "before"):
        found |= dict(movers.select(column, f"{column}_name").unique().iter_rows())
    return found


def _print_moves(told: dict[str, Any], before: date | None, after: date | None, names: dict[str, str]) -> None:
    when = f" between {before} and {after}" if before != after else f" on {after}" if after else ""
    print(f"{told['moved']:,} of {told['customers']:,} customers moved{when}")
    if told["fresh"]:
        print(f"  {told['fresh']:,} more are new since")
    print(
        f"  {told['by_customer']:,} customers changed, {told['by_segments']:,} were moved by the segments, "
        f"{told['by_both']:,} by both"
    )
    for flow in told["flows"][:FLOWS]:
        because = f"  because of {', '.join(flow['reasons'])}" if flow["reasons"] else ""
        pair = f"{flow['before']} {names[flow['before']]} → {flow['after']} {names[flow['after']]}"
        print(f"{flow['customers']:>9,}  {pair}{because}")
    if len(told["flows"]) > FLOWS:
        print(f"           and {len(told['flows']) - FLOWS:,} smaller flows")


def _write_movers(out: Path, movers: pl.DataFrame) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    if out.suffix == ".parquet":
        movers.write_parquet(partial)
    else:
        joined = [pl.col(name).cast(pl.List(pl.String)).list.join("; ") for name in ("reasons", "shares", "changes")]
        movers.with_columns(joined).write_csv(partial)
    rename(partial, out)
