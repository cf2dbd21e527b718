"""The command that says what a policy would have earned."""

from pathlib import Path
from typing import Annotated

import typer

from recsys.errors import ConfigError
from recsys.progress import progress_bar


def evaluate_policy(
    lake: Annotated[str, typer.Argument(metavar="LAKE", help="The lake: a directory, or s3://bucket/prefix.")],
    policy: Annotated[
        str,
        typer.Option(
            "--policy",
            metavar="WHAT",
            help="A CSV or Parquet file of customer_id, action and probability; the folder of a plan; uniform; or "
            "always:ACTION.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the page and the JSON are written.")],
    campaign: Annotated[
        str | None,
        typer.Option(
            "--campaign", metavar="ID", help="On the contacts of this campaign, arm by arm; else on decisions."
        ),
    ] = None,
    reward: Annotated[
        str,
        typer.Option(
            "--reward", metavar="WHAT", help="revenue, or a kind of outcome; of contacts converted or revenue."
        ),
    ] = "converted",
    in_force: Annotated[
        str | None,
        typer.Option("--in-force", metavar="WHAT", help="The policy to beat, as --policy; else the one that logged."),
    ] = None,
    otherwise: Annotated[
        str | None,
        typer.Option("--otherwise", metavar="ACTION", help="Whom a file does not name; else none or control."),
    ] = None,
    estimator: Annotated[
        str, typer.Option("--estimator", metavar="NAME", help="Which one decides: ips, snips, dr, switch_dr or dros.")
    ] = "dr",
    customers: Annotated[
        list[str] | None,
        typer.Option("--customers", metavar="ATTRIBUTE=VALUE", help="Only these customers; may be repeated."),
    ] = None,
    by: Annotated[
        str, typer.Option("--by", metavar="COLUMN", help="What is the action of a decision: product_id or action.")
    ] = "product_id",
    days: Annotated[
        int | None, typer.Option("--days", metavar="N", min=1, help="Count outcomes within so many days of a decision.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=100, help="Resamples of the bootstrap.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Folds and resamples.")] = 0,
    version: Annotated[
        int | None,
        typer.Option("--version", metavar="N", help="The lake's newest version, or this one (data versions)."),
    ] = None,
    memory: Annotated[
        str, typer.Option("--memory", metavar="SIZE", help="Memory to stay within; larger buckets are read in parts.")
    ] = "4GiB",
) -> None:
    """What a policy would have earned, told from decisions that another policy drew: a page, and JSON.

    Needs the probability with which each logged decision was drawn. Six estimators answer, each with its interval; one,
    chosen beforehand, decides whether the policy may be released: only if its gain over the policy in force is above 0
    by its lower bound. Where the log is too far from the policy no value is given, but what is missing. Says
    `released` or why not; the last line printed is the page's path.
    """
    from recsys.decision_log import Asked
    from recsys.lake.parts import parse_memory
    from recsys.lake.store import Lake
    from training.policy_report import Policies, explain, write_report

    if by not in ("product_id", "action"):
        raise ConfigError(f"--by {by}: the action of a decision is its product_id or its action")
    pairs = []
    for text in customers or ():
        name, sign, value = text.partition("=")
        if not (name and sign):
            raise ConfigError(f"--customers {text!r}: expected ATTRIBUTE=VALUE")
        pairs.append((name, value))
    asked = Asked(reward, campaign, tuple(pairs), by, days)
    budget, opened = parse_memory(memory), Lake.open(lake, version)
    with progress_bar("Policy") as progress:
        content = explain(
            opened, asked, Policies(policy, in_force, otherwise, estimator), budget, progress, samples, seed
        )
    paths = write_report(content, out)
    said = content["overlap"]
    print(f"{content['decisions']:,} decisions, effective sample size {said['effective']:,.1f}")
    if content["estimates"]:
        one, earned = content["estimates"][estimator], content["logged_value"]
        print(f"{estimator}: {one['value']:.6g} [{one['low']:.6g}, {one['high']:.6g}]; logged {earned:.6g}")
    print(content["verdict"])
    for path in paths:
        print(path)
