"""The command that tells what drives an outcome."""

from pathlib import Path
from typing import Annotated

import typer

from recsys.progress import progress_bar

SHOWN = 10
"""Drivers that are printed."""


def drivers(
    lake: Annotated[str, typer.Argument(metavar="LAKE", help="The lake: a directory, or s3://bucket/prefix.")],
    outcome: Annotated[
        str,
        typer.Option(
            "--outcome",
            metavar="WHAT",
            help="A customer's label or outcome by its name, contacts.opened, contacts.clicked, contacts.converted, or "
            "interactions.KIND.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the page and the JSON are written.")],
    horizon: Annotated[
        int | None,
        typer.Option("--horizon", metavar="DAYS", min=1, help="Count events of so many days from one day on."),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of", metavar="DAY", help="Day from which customers are seen; else a horizon before the end."
        ),
    ] = None,
    campaigns: Annotated[
        str | None,
        typer.Option("--campaigns", metavar="ATTRIBUTE=VALUE", help="Contacts of these campaigns only."),
    ] = None,
    randomised: Annotated[
        str | None,
        typer.Option("--randomised", metavar="ATTRIBUTE=CONTROL", help="A group that says which arm chance drew."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="NAME", help="Leave out an attribute; may be repeated.")
    ] = None,
    lever: Annotated[
        list[str] | None,
        typer.Option("--lever", metavar="NAME", help="An attribute that the bank can change; may be repeated."),
    ] = None,
    segments: Annotated[
        Path | None, typer.Option("--segments", metavar="BUNDLE", help="Tell rates by the segments of this bundle too.")
    ] = None,
    rows: Annotated[
        int, typer.Option("--rows", metavar="N", min=1000, help="Rows that the models learn from, about.")
    ] = 20_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Splits, trees and folds.")] = 0,
    version: Annotated[
        int | None,
        typer.Option("--version", metavar="N", help="The lake's newest version, or this one (data versions)."),
    ] = None,
    memory: Annotated[
        str, typer.Option("--memory", metavar="SIZE", help="Memory to stay within; larger buckets are read in parts.")
    ] = "4GiB",
) -> None:
    """What drives an outcome, in three tiers of trust: a page for marketers, and the same content as JSON.

    Predictive: what the outcome is told from, in models that are judged on customers they never saw. Adjusted: what
    remains between customers alike in all else that is known. Randomised: what chance has shown, where the lake logs
    with which probability each customer was contacted. With each driver come direction and size, a warning where the
    tiers do not agree, what to try, and the figure that would show whether it worked. Nothing of the outcome's own day
    or later is a feature. The last line printed is the page's path.
    """
    from recsys.bundle import Bundle
    from recsys.bundle.fits import check_fits, parse_day
    from recsys.bundle.segmentation import segmentation_of
    from recsys.lake.parts import parse_memory
    from recsys.lake.store import Lake
    from training.driver_report import Asked, explain, write_report

    day, budget, opened = parse_day(as_of), parse_memory(memory), Lake.open(lake, version)
    segmentation = None
    if segments is not None:
        loaded = Bundle.load(segments)
        check_fits(loaded, opened)
        segmentation = segmentation_of(loaded)
    asked = Asked(
        outcome, horizon, day, campaigns, randomised, tuple(exclude or ()), tuple(lever or ()), rows=rows, seed=seed
    )
    with progress_bar("Drivers") as progress:
        content = explain(opened, asked, progress, budget, segmentation)
    paths = write_report(content, out)
    black, glass = (content["validation"][name][0] for name in ("black_box", "glass_box"))
    print(f"{content['units']:,} rows, {content['rate']:.1%} with the outcome; AUC {black:.3f}, glass box {glass:.3f}")
    for row in [row for row in content["drivers"] if row["direction"] != "unclear"][:SHOWN]:
        side = "" if row["side"] == "yes" else f" {row['side']}"
        print(f"  {row['tier']:10}  {row['text']}{side} {row['direction']} it: {100 * row['size']:+.1f} points")
    for path in paths:
        print(path)
