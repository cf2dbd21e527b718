"""The commands `recsys campaign plan` and `recsys campaign frontier`."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.progress import progress_bar
from serving.batch_commands import Address, EngineName, Memory, Threads, Version, Workers
from serving.commands import AsOf, BundlePath, LakePath
from serving.engine import Engines

if TYPE_CHECKING:
    from recsys.campaigns.plan import CampaignPlan

PlanFile = Annotated[
    Path,
    typer.Argument(
        metavar="PLAN", help="YAML: products, channels, levels, costs, lifts, limits (docs/campaign_plan.md)."
    ),
]


RulesFile = Annotated[
    Path | None,
    typer.Option(
        "--rules", metavar="FILE", help="Who may be offered what, and contacted how (docs/rules.md); binds the plan."
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="STORE",
        help="The online state (recsys state load): a file, or postgresql://user:password@host/database. Contacts that "
        "were decided or made there since the lake, consents and erasures count.",
    ),
]


def plan(
    plan: PlanFile,
    bundle: BundlePath,
    lake: LakePath,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Local directory: new, empty, or a run to continue.")],
    rules: RulesFile = None,
    store: StoreOption = None,
    as_of: AsOf = None,
    version: Version = None,
    memory: Memory = "4GiB",
    threads: Threads = 2,
    engine: EngineName = Engines.local,
    workers: Workers = None,
    address: Address = None,
) -> None:
    """Who gets which product through which channel, within budget, capacities, stocks and minimum volumes.

    Values bucket by bucket, prices from all of them, then a row and a reason for every customer in
    OUT/bucket=NNNN.parquet; OUT/plan.json and plan.html sum up, OUT/prices.json lets single customers be decided
    alike. Says how near to the best plan it is. The same command continues a run that was cut short. With --engine ray
    the buckets are valued by processes or a cluster (docs/scale.md); the files are the same.
    """
    from recsys.segment_cards.labels import money
    from serving.campaign_job import open_job
    from serving.campaign_page import exactly
    from serving.campaign_plan import make_plan
    from serving.engine import engine_of
    from serving.run_record import only_writer

    day, room, read = _asked(plan, as_of, memory)
    there = engine_of(engine, workers, address, threads)
    with progress_bar("Campaign plan") as progress, only_writer(out):
        job = open_job(read, bundle, lake, out, day, version, rules=rules, store=store)
        told = make_plan(job, room, threads, progress, there)
    currency = told["currency"]
    print(
        f"{told['contacts']:,} contacts with {told['contacted']:,} of {told['customers']:,} customers, "
        f"{told['held_out']:,} held out, {told['exploring']:,} exploring"
    )
    print(
        f"expected gain {money(told['expected_gain'], currency)}; before the draw "
        f"{money(told['planned_gain'], currency)}, no plan more than {money(told['bound'], currency)}: gap "
        f"{told['gap']:.1e}"
    )
    if "why" in (log := told["off_policy"]):
        print(f"off-policy: cannot be told: {log['why']}")
    else:
        low, value, model = (exactly(log[name], currency) for name in ("low", "value", "model"))
        print(f"off-policy: at least {low} a decision beyond no contact ({value}); the model expects {model}")
    for limit in told["limits"]:
        print(f"  {limit['words']}")
    for note in told["notes"]:
        print(f"note: {note}")
    print(out / "plan.html")


def frontier(
    plan: PlanFile,
    bundle: BundlePath,
    lake: LakePath,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Local directory for the page and its JSON.")],
    rules: RulesFile = None,
    store: StoreOption = None,
    as_of: AsOf = None,
    version: Version = None,
    memory: Memory = "4GiB",
    threads: Threads = 2,
    engine: EngineName = Engines.local,
    workers: Workers = None,
    address: Address = None,
) -> None:
    """What more budget would bring: the plan solved again at eleven budgets.

    Spend beside incremental margin, the marginal return (the budget's price), the budget from which another unit no
    longer pays, by channel and segment, and what each level of personal contact is worth beside its cost. Writes
    DIR/frontier.html and frontier.json. With --engine ray the buckets are valued by processes or a cluster.
    """
    from recsys.pages.page import write_page
    from recsys.segment_cards.labels import money
    from serving.campaign_frontier import frontier as run
    from serving.campaign_frontier_page import frontier_page
    from serving.campaign_job import open_job
    from serving.engine import engine_of
    from serving.run_record import only_writer

    day, room, read = _asked(plan, as_of, memory)
    there = engine_of(engine, workers, address, threads)
    with progress_bar("Frontier") as progress, only_writer(out):
        job = open_job(read, bundle, lake, out, day, version, "campaign frontier", rules, store)
        told = run(job, room, threads, progress, there)
    currency = told["currency"]
    for point in told["points"]:
        print(
            f"budget {money(point['budget'], currency)}: spend {money(point['spend'], currency)}, incremental margin "
            f"{money(point['incremental_margin'], currency)}, marginal ROI {point['marginal_roi']:.2f}"
        )
    stops = told["stops_paying_at"]
    print("more still pays at the largest" if stops is None else f"no longer pays from {money(stops, currency)} on")
    page = write_page(out, "frontier", told, frontier_page(told))[1]
    job.tidy()
    print(page)


def _asked(plan: Path, as_of: str | None, memory: str) -> "tuple[date | None, int, CampaignPlan]":
    from recsys.bundle.fits import parse_day
    from recsys.campaigns.plan import CampaignPlan
    from recsys.lake.parts import parse_memory
    from recsys.strict_yaml import read_yaml, validate

    return parse_day(as_of), parse_memory(memory), validate(CampaignPlan, read_yaml(plan), str(plan))
