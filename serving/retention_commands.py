"""The command `recsys retention`."""

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
