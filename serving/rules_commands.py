"""Commands about rules: check."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.progress import Progress, progress_bar
from serving.commands import AsOf

if TYPE_CHECKING:
    from recsys.bundle import Bundle, Segmentation
    from recsys.lake.store import Lake
    from recsys.rules import CompiledRules
    from recsys.rules.tally import Tally, Unmet

READ = ("customers", "products", "interactions", "campaigns", "contacts", "consents", "outcomes")
"""The tables that rules may read; segments need all."""


def check(
    rules: Annotated[Path, typer.Argument(metavar="RULES", help="The file of rules (docs/rules.md).")],
    lake: Annotated[str, typer.Option("--lake", metavar="LAKE", help="The lake: a directory, or s3://bucket/prefix.")],
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", metavar="BUNDLE", help="For rules about segments, and to count its products only."),
    ] = None,
    as_of: AsOf = None,
    customers: Annotated[
        int, typer.Option("--customers", metavar="N", min=1, help="About how many customers to count.")
    ] = 10_000,
) -> None:
    """Would these rules work on this lake, and what would they remove? Answers in seconds.

    Whatever would stop a run is an error here, with the rule and what would be right. Then every rule is counted on
    whole buckets, which are drawn by a hash, until there are N customers: the share of the products it governs that it
    removes by itself, and of all that it is the first to remove. A line that begins with WARNING is most likely not
    meant; the exit code stays 0.
    """
    from recsys.bundle import Bundle, Segmentation
    from recsys.bundle.fits import check_fits, parse_day, scoring_day
    from recsys.lake.store import Lake
    from recsys.rules.tally import Unmet, tallies

    opened = Lake.open(lake)
    loaded = None if bundle is None else Bundle.load(bundle)
    if loaded is not None:
        check_fits(loaded, opened)
    day = scoring_day(opened, parse_day(as_of))
    compiled = _compiled(rules, opened, loaded, day is not None)
    segmentation = Segmentation(loaded) if loaded is not None and compiled.reads_segments else None
    products, channels = tallies(compiled)
    unmet = Unmet(compiled.rules)
    with progress_bar("Counting") as progress:
        _count(compiled, opened, day, customers, segmentation, (products, channels), unmet, progress)
    seen = f", seen from {day}" if day else ""
    print(f"{rules}: fits {lake}; {products.customers:,} customers looked at{seen}")
    for tally, column in ((products, "product"), (channels, "channel")):
        _print(tally, compiled.governed, column)
    for line in unmet.warnings:
        print(f"WARNING {line}")


def _compiled(path: Path, lake: "Lake", bundle: "Bundle | None", dated: bool) -> "CompiledRules":
    """Against the bundle's products or, without one, the lake's; and every channel that the lake's tables name."""
    from dataclasses import replace

    import polars as pl

    from recsys.bundle.item_table import PRODUCT_IDS, read_ids
    from recsys.rules import CompiledRules, Rules
    from serving.rules import known

    read = Rules.read(path)
    found: set[str] = set()
    for table in ("consents", "contacts"):
        if table in lake.tables and "channel" in lake.tables[table].columns:
            found |= set(lake.scan(table).select(pl.col("channel").unique()).collect()["channel"].drop_nulls())
    there = replace(known(bundle, lake, lake.as_of if dated else None), channels=tuple(sorted(found)))
    products = sorted(there.products["product_id"])
    if bundle is not None and PRODUCT_IDS in bundle.contents.files:
        products = read_ids(bundle.read(PRODUCT_IDS), str(bundle.path / PRODUCT_IDS))
    return CompiledRules(read, there, products, tuple(sorted(found)), where=str(path))


def _count(
    rules: "CompiledRules",
    lake: "Lake",
    day: object,
    most: int,
    segmentation: "Segmentation | None",
    tallies: "tuple[Tally, Tally]",
    unmet: "Unmet",
    progress: Progress,
) -> None:
    from recsys.features.examples import scoring_examples
    from recsys.features.features import features

    for bucket in range(lake.buckets):
        progress(min(tallies[0].customers, most), most, "customers")
        if tallies[0].customers >= most:
            break
        tables = lake.bucket(bucket, None if segmentation else READ)
        ids = tables["customers"]["customer_id"].unique().sort()
        if ids.is_empty():
            continue
        segments = None
        if segmentation is not None:
            rows = features(tables, scoring_examples(ids, day), segmentation.definition)  # type: ignore[arg-type]
            segments = segmentation.assigned(rows)["segment_id"]
        unmet.look(tables)
        tallies[0].add(rules.eligible(tables, ids, day, segments=segments))  # type: ignore[arg-type]
        tallies[1].add(rules.contactable(tables, ids, day, segments=segments))  # type: ignore[arg-type]
    progress(most, most, "customers")


def _print(tally: "Tally", governed: dict[str, int], column: str) -> None:
    """A table of the rules, what is left, and the warnings."""
    if not tally.rules:
        return
    cells = max(1, tally.customers * len(tally.columns))
    width = max(len(rule) for rule in tally.rules)
    print(f"\n{'rule':{width}}  governs {column}s  removes of these  first to remove, of all")
    for rule, (alone, first) in zip(tally.rules, tally.counts.tolist(), strict=True):
        own = alone / max(1, governed[rule] * tally.customers)
        print(f"{rule:{width}}  {governed[rule]:{9 + len(column)},}  {own:16.1%}  {first / cells:22.1%}")
    left = int(tally.left.sum())
    print(
        f"left: {left / cells:.1%} of all {column}s × customers; {tally.without:,} of {tally.customers:,} customers "
        f"are left without any {column}"
    )
    for line in tally.warnings(governed, column):
        print(f"WARNING {line}")
