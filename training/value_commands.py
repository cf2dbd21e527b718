"""The command `recsys value`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from recsys.errors import ConfigError
from recsys.progress import progress_bar


def value(
    lake: Annotated[str, typer.Argument(metavar="LAKE", help="The lake: a directory, or s3://bucket/prefix.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Local directory for files, page and JSON.")],
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="YAML: what a purchase is, margins, horizon.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one key, such as horizon_months=24; repeatable."),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", metavar="BUNDLE", help="Who will leave; for value under a contract."),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", metavar="DAY", help="Day from which customers are seen; else after the last event."),
    ] = None,
    version: Annotated[
        int | None, typer.Option("--version", metavar="N", help="The lake's newest version, or this one.")
    ] = None,
    memory: Annotated[
        str, typer.Option("--memory", metavar="SIZE", help="With a bundle: larger buckets are read in parts.")
    ] = "4GiB",
    threads: Annotated[int, typer.Option("--threads", min=1, help="Processor threads of the graphs.")] = 2,
) -> None:
    """What customers are worth: how often they will buy, for how much, and who has stopped.

    With a section contract in the configuration, and a bundle that says who will leave, it is each month's margin
    times the chance to be still there.

    Writes DIR/bucket=NNNN.parquet with a row for each customer (value with an interval, what is at stake, and what it
    is made of), DIR/value.json and DIR/value.html, one page with plots. A model of purchases is judged on the last
    days before it is fitted on all of them. What speaks against the figures is printed as a warning. The last line
    printed is the page's path.
    """
    from recsys.bundle import Bundle
    from recsys.bundle.fits import parse_day
    from recsys.lake.parts import parse_memory
    from recsys.lake.store import Lake
    from recsys.lifetime_value.config import ValueConfig
    from recsys.strict_yaml import override, read_yaml, validate
    from training.value import write_purchase_value
    from training.value_contract import write_contract_value
    from training.value_gather import last_day

    raw: dict[str, Any] = read_yaml(config) if config else {}
    for change in overrides or []:
        override(raw, change)
    read = validate(ValueConfig, raw, str(config) if config else "--set")
    day, opened = parse_day(as_of), Lake.open(lake, version)
    with progress_bar("Value") as progress:
        if read.contract is None:
            if bundle is not None:
                raise ConfigError("--bundle: for value under a contract; give a section contract with margins, too")
            found = write_purchase_value(opened, read, out, last_day(opened, day), progress)
        elif bundle is None:
            raise ConfigError("contract: needs --bundle, which says who will leave")
        else:
            budget = parse_memory(memory)
            found = write_contract_value(Bundle.load(bundle), opened, read, out, day, budget, threads, progress)
    data, page, content = found
    _print(content)
    print(data)
    print(page)


def _print(content: dict[str, Any]) -> None:
    from training.value_page import cash

    totals, currency = content["totals"], content["currency"]
    print(f"{content['customers']:,} customers; in {content['horizon_months']} months:")
    for name, said in (("purchases", lambda v: f"{v:,.0f}"), ("value", lambda v: cash(v, currency))):
        found = totals.get(name)
        if found:
            span = f"  ({said(found['low'])} to {said(found['high'])})" if found["low"] is not None else ""
            print(f"  {name:10} {said(found['value'])}{span}")
    for model in ("bg_nbd", "gamma_gamma") if content["kind"] == "purchases" else ():
        fitted = content["parameters"]["calibration"][model]
        if fitted:
            told = ", ".join(f"{name} {found['value']:.4g}" for name, found in fitted["values"].items())
            print(f"  {model} up to {content['days']['cut']}: {told}")
    judged = content.get("holdout", {})
    for name, gini in ((n, judged[n]["gini"]) for n in ("purchases", "money") if n in judged):
        if gini:
            told = ", ".join(f"{who} {found['value']:.3f}" for who, found in gini.items())
            print(f"  normalised Gini of {name} in the last {judged['days']} days: {told}")
    for warning in content["warnings"]:
        print(f"  warning: {warning}")
