"""The commands `recsys retention` and `recsys retained`."""

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import typer

from recsys.errors import ConfigError
from recsys.progress import progress_bar
from serving.batch_commands import Memory, Threads, Version
from serving.commands import AsOf, BundlePath, LakePath


def retention(
    bundle: BundlePath,
    lake: LakePath,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Local directory for the list and its summary.")],
    values: Annotated[Path, typer.Option("--values", metavar="DIR", help="What recsys value --out DIR has written.")],
    plan: Annotated[
        Path, typer.Option("--plan", metavar="FILE", help="YAML: actions, costs, save rates and where these come from.")
    ],
    budget: Annotated[
        str, typer.Option("--budget", metavar="AMOUNT", help="What all contacts may cost, in the lake's currency.")
    ],
    as_of: AsOf = None,
    version: Version = None,
    memory: Memory = "4GiB",
    threads: Threads = 2,
) -> None:
    """Whom to keep, by what: the customers with whom a contact is expected to gain most, within a budget.

    Gain is P(leave) × value at stake × P(saved | action) − cost. Writes OUT/list.parquet, ranked, with action, reasons
    and what to speak of, and OUT/summary.json. A random share is held out: with them nothing is done, so that the
    effect can be measured. Consents are respected where the lake has them. The last line printed is the list's path.
    """
    from recsys.bundle.fits import parse_day
    from recsys.lake.parts import parse_memory
    from recsys.lake.store import Lake
    from recsys.retention.plan import RetentionPlan
    from recsys.strict_yaml import read_yaml, validate
    from serving.retention import FILE
    from serving.retention import retention as run

    read = validate(RetentionPlan, read_yaml(plan), str(plan))
    day, room, currency = parse_day(as_of), parse_memory(memory), Lake.open(lake, version).currency
    most = minor_units(budget, currency)
    with progress_bar("Retention") as progress:
        told = run(
            bundle,
            lake,
            out,
            values,
            read,
            most,
            as_of=day,
            version=version,
            memory=room,
            threads=threads,
            progress=progress,
        )
    _print(told)
    print(out / FILE)


def retained(
    lake: LakePath,
    lists: Annotated[list[Path], typer.Argument(metavar="LIST...", help="Directories that recsys retention wrote.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write what is found, as JSON, to this file too.")
    ] = None,
    version: Version = None,
    memory: Memory = "4GiB",
) -> None:
    """Whom retention lists have kept: leavers among those contacted beside those held out, once the horizon is over.

    LAKE is the bank's as it is known now. Prints for each action, and for all, the shares of leavers, the save rate
    and what it was worth, with 95 % intervals; or that it cannot be told. A save rate that has been measured is
    printed as the plan of the next list takes it. Several lists are added up, each compared with its own hold-out.
    """
    from recsys.lake.parts import parse_memory
    from recsys.lake.store import Lake
    from serving.retained import retained as run
    from serving.run_record import publish_json

    with progress_bar("Retained") as progress:
        told = run(lists, Lake.open(lake, version), parse_memory(memory), progress)
    if out is not None:
        publish_json(out, told)
    _print_saved(told)
    if out is not None:
        print(out)


def minor_units(amount: str, currency: str | None) -> float:
    """An amount of a currency in its minor units, without one as it is; ConfigError unless it is 0 or more."""
    from recsys.segment_cards.labels import WHOLE_CURRENCIES

    try:
        found = Decimal(amount.replace(",", "").replace("_", ""))
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or found < 0:
        raise ConfigError(f"--budget {amount!r} is not an amount; write it as 25000 or 99.50")
    return float(found if currency is None or currency in WHOLE_CURRENCIES else found * 100)


def _print(told: dict[str, Any]) -> None:
    from recsys.segment_cards.labels import money

    currency, gain = told["currency"], told["expected_gain"]
    print(
        f"{told['contacted']:,} contacted and {told['held_out']:,} held out, for {money(told['spent'], currency)} of "
        f"{money(told['budget'], currency)}"
    )
    if told["contacted"]:
        print(
            f"expected: {told['expected_saved']:,.1f} of {told['expected_leavers']:,.1f} leavers saved, gain "
            f"{money(gain['value'], currency)} ({money(gain['low'], currency)} to {money(gain['high'], currency)} by "
            "the range of the save rates)"
        )
        for action in told["actions"]:
            rate = action["save_rate"]
            count = "fewer than ten" if action["customers"] is None else f"{action['customers']:,}"
            said = f"save rate {rate['value']:.0%}, {rate['origin']}: {rate['source']}"
            print(f"  {action['action']}: {count} customers; {said}")
    for note in told["notes"]:
        print(f"note: {note}")


def _print_saved(told: dict[str, Any]) -> None:
    from recsys.segment_cards.labels import money

    for one in told["saved"]:
        if one["contacted"] is None:
            continue
        here, held, rate, kept, gain = (
            one[name] for name in ("left_contacted", "left_held_out", "save_rate", "kept", "gain")
        )
        print(
            f"{one['action'] or 'all actions'}: {here['value']:.1%} of {one['contacted']:,} contacted left, "
            f"{held['value']:.1%} of {one['held_out']:,} held out"
        )
        saved = (
            f"{rate['value']:.0%} ({rate['low']:.0%} to {rate['high']:.0%})" if rate["low"] is not None else "unknown"
        )
        print(
            f"  save rate {saved}; {kept['value']:,.1f} ({kept['low']:,.1f} to {kept['high']:,.1f}) customers kept; "
            f"{money(gain['value'], told['currency'])} ({money(gain['low'], told['currency'])} to "
            f"{money(gain['high'], told['currency'])}) after the cost of contacts"
        )
        if one["action"] in told["save_rates"]:
            of = told["save_rates"][one["action"]]
            print(
                f"  save_rate: {{value: {of['value']}, low: {of['low']}, high: {of['high']}, origin: measured, "
                f'source: "{of["source"]}"}}'
            )
    for note in told["notes"]:
        print(f"note: {note}")
