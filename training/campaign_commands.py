"""The commands that measure past campaigns and design the next."""

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from recsys.errors import ConfigError
from recsys.progress import progress_bar


def measure(
    lake: Annotated[str, typer.Argument(metavar="LAKE", help="The lake: a directory, or s3://bucket/prefix.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the page and the JSON are written.")],
    campaign: Annotated[
        list[str] | None, typer.Option("--campaign", metavar="ID", help="A campaign, or all; may be repeated.")
    ] = None,
    outcome: Annotated[
        str,
        typer.Option(
            "--outcome",
            metavar="WHAT",
            help="contacts.converted, contacts.opened, contacts.clicked, interactions.KIND or outcomes.KIND; with "
            "--randomised an attribute of customers.",
        ),
    ] = "contacts.converted",
    window: Annotated[
        int, typer.Option("--window", metavar="DAYS", min=1, max=730, help="Days in which an outcome counts.")
    ] = 30,
    costs: Annotated[
        Path | None, typer.Option("--costs", metavar="FILE", help="YAML: fixed, per_contact, per_conversion, reward …")
    ] = None,
    winsorise: Annotated[
        float | None,
        typer.Option(
            "--winsorise",
            metavar="Q",
            help="Tell the return also with margins bounded at this quantile of those above 0, such as 0.99; fix it "
            "before the campaign.",
        ),
    ] = None,
    covariate: Annotated[
        str | None,
        typer.Option(
            "--covariate",
            metavar="FEATURE",
            help="CUPED by this feature, as it was before the contact; e.g. "
            "interactions.acquired.count.90d. The verdict then goes by it.",
        ),
    ] = None,
    randomised: Annotated[
        str | None,
        typer.Option("--randomised", metavar="ATTRIBUTE=CONTROL", help="A group that says which arm chance drew."),
    ] = None,
    value: Annotated[
        str | None, typer.Option("--value", metavar="NAME", help="With --randomised: the attribute that is revenue.")
    ] = None,
    share: Annotated[
        list[str] | None,
        typer.Option(
            "--share",
            metavar="ARM=CHANCE",
            help="Chance drew the arms, and the log does not say how: such as control=1/2; one for each arm.",
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", metavar="NAME", help="Attributes to tell by, not the groups; may be repeated."),
    ] = None,
    segments: Annotated[
        Path | None, typer.Option("--segments", metavar="DIR", help="Tell by segment: what segments assign wrote.")
    ] = None,
    forecast: Annotated[
        list[str] | None,
        typer.Option(
            "--forecast",
            metavar="ATTRIBUTE=VALUE",
            help="Of a planned campaign, such as main_channel=email; may be repeated. Its return is foretold from the "
            "campaigns measured, if that beats their mean.",
        ),
    ] = None,
    watching: Annotated[
        bool,
        typer.Option("--watching", help="Somebody looks more than once: the verdict goes by the always-valid interval"),
    ] = False,
    planned: Annotated[
        int,
        typer.Option(
            "--planned",
            metavar="N",
            min=100,
            help="Customers for whom the always-valid interval is narrowest; fix it before the campaign.",
        ),
    ] = 5_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap.")] = 0,
    version: Annotated[
        int | None, typer.Option("--version", metavar="N", help="The lake's newest version, or this one.")
    ] = None,
    memory: Annotated[
        str, typer.Option("--memory", metavar="SIZE", help="Memory to stay within; larger buckets are read in parts.")
    ] = "4GiB",
) -> None:
    """Did it work, and was it worth it? A page for marketers, and the same content as JSON.

    Where chance drew the arms, treated and control are compared (Newcombe, Welch, CUPED), after a check of their sizes.
    Where customers were chosen, they are weighted by the propensities in the log (AIPW, beside Hájek and the plain
    difference). Without a control, or without propensities, the report says that the effect cannot be known, and what
    to log next time. Key figures of the funnel come by campaign, channel, group, month and hour, each with its
    numerator, denominator, population and interval. A customer who was contacted several times counts once. The last
    line printed is the page's path.
    """
    from recsys.campaigns.ledger import CostLedger
    from recsys.lake.parts import parse_memory
    from recsys.lake.store import Lake
    from recsys.strict_yaml import read_yaml, validate
    from training.campaign_gather import Asked
    from training.campaign_measure import measure as run
    from training.campaign_measure import write_report

    ledger = validate(CostLedger, read_yaml(costs), str(costs)) if costs else None
    if campaign and randomised:
        raise ConfigError("--campaign: with --randomised the arm is an attribute of customers, not of a campaign")
    if winsorise is not None and not 0.5 <= winsorise < 1:
        raise ConfigError(f"--winsorise: {winsorise:g} is no quantile from 0.5 to below 1, such as 0.99")
    asked = Asked(
        campaigns=tuple(campaign or ()), outcome=outcome, days=window, covariate=covariate, randomised=randomised,
        value=value, shares=tuple(_share(text) for text in share or ()), by=tuple(by or ()), segments=segments,
        planned_as=tuple(_planned(text) for text in forecast or ()),
        winsorise=winsorise, watching=watching, planned=planned, seed=seed, memory=parse_memory(memory),
    )  # fmt: skip
    opened = Lake.open(lake, version)
    with progress_bar("Campaigns") as progress:
        content = run(opened, asked, ledger, progress)
    paths = write_report(content, out)
    if content["overview"]:
        print(content["overview"])
    for one in content["campaigns"]:
        print(f"{one['campaign']}: {one['verdict']}")
        if one["roi"]:
            print(f"  {one['money']}")
            if "winsorised" in one["roi"]:
                print(f"  {one['money_winsorised']}")
        for warning in one["warnings"]:
            print(f"  warning: {warning}")
    if content["forecast"]:
        print(content["forecast"]["sentence"])
    for path in paths:
        print(path)


def _planned(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not value:
        raise ConfigError(f"--forecast {text!r}: write ATTRIBUTE=VALUE, such as main_channel=email")
    return name, value


def _share(text: str) -> tuple[str, float]:
    name, sign, value = text.rpartition("=")
    try:
        return name, float(Fraction(value))
    except (ValueError, ZeroDivisionError):
        raise ConfigError(f"--share {text!r}: write ARM=CHANCE, such as control=0.5 or control=1/3") from None


def design(
    effect: Annotated[
        float, typer.Option("--effect", metavar="POINTS", help="Wanted effect in percentage points, such as 0.5 or -1.")
    ],
    lake: Annotated[
        str | None, typer.Argument(metavar="LAKE", help="Takes rate and pace from its past campaigns.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", metavar="R", min=0, max=1, help="Share who convert without contact, such as 0.04."),
    ] = None,
    campaign: Annotated[
        list[str] | None,
        typer.Option("--campaign", metavar="ID", help="Past campaigns like the next; all if not given. Repeatable."),
    ] = None,
    power: Annotated[float, typer.Option("--power", min=0.5, max=0.99, help="How often the effect is to show.")] = 0.8,
    alpha: Annotated[float, typer.Option("--alpha", min=0.001, max=0.2, help="False alarms.")] = 0.05,
    control_share: Annotated[
        float, typer.Option("--control-share", metavar="S", min=0.01, max=0.99, help="Share left out.")
    ] = 0.5,
    arms: Annotated[int, typer.Option("--arms", min=1, max=20, help="Treated arms beside the control.")] = 1,
    correlation: Annotated[
        float,
        typer.Option("--correlation", metavar="R", min=-0.99, max=0.99, help="Of the outcome with a CUPED covariate."),
    ] = 0.0,
    per_day: Annotated[
        float | None, typer.Option("--per-day", metavar="N", min=0.001, help="Customers that can be drawn in a day.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")
    ] = False,
    version: Annotated[
        int | None, typer.Option("--version", metavar="N", help="The lake's newest version, or this one.")
    ] = None,
) -> None:
    """How many customers a test needs to show an effect, how many of them are left out, and how long it takes.

    Give the share who convert without contact, or a lake whose past controls tell it. Beside the sizes for one look at
    the end stand those for looking at any time with the always-valid interval.
    """
    import json
    import sys

    from recsys.lake.store import Lake
    from training.campaign_design import Wanted, designed, past

    if (rate is None) == (lake is None):
        raise ConfigError("give either LAKE, whose past campaigns tell the rate without contact, or --rate")
    known = past(Lake.open(lake, version), tuple(campaign or ())) if lake is not None else None
    share = known.rate if known else rate
    assert share is not None
    pace = per_day or (known.per_day if known else None)
    found = designed(Wanted(share, effect / 100, power, alpha, control_share, arms, correlation, pace))
    if as_json:
        json.dump(found, sys.stdout, indent=1)
        print()
        return
    if known:
        print(f"{share:.2%} of {known.customers:,} customers converted without contact; {known.per_day:,.0f} a day")
    _print_design(found)


def _print_design(found: dict[str, Any]) -> None:
    wanted, own = found["wanted"], found["design"]
    print(
        f"To see {100 * wanted['effect']:+.3g} points on {wanted['rate']:.2%} in {wanted['power']:.0%} of tests, "
        f"with {wanted['alpha']:.0%} false alarms:"
    )
    each = f"{own['each_arm']:,} in each of {own['arms']} arms" if own["arms"] > 1 else f"{own['each_arm']:,} contacted"
    print(f"  {own['control']:,} left out, {each}: {own['total']:,} customers{_days(own, 'days')}")
    days = _days(own, "days_watched")
    print(f"  {own['watched']:,} customers if one looks at any time (always-valid interval){days}")
    print("  other shares of the control:")
    for row in found["by_control_share"]:
        sizes = f"{row['total']:>10,} customers, {row['control']:,} left out"
        print(f"    {row['control_share']:4.0%}  {sizes}{_days(row, 'days')}")


def _days(row: dict[str, Any], name: str) -> str:
    return f", {row[name]:,} days" if name in row else ""
