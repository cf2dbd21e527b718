"""The next best action beside the batch plan: are the choices the same at the same prices, and what does it add?"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.measure import ROOT, arguments, synthetic_bank, write
from recsys.bundle import Bundle
from recsys.campaigns.draw import draw
from recsys.campaigns.plan import CampaignPlan
from recsys.lake.store import Lake
from recsys.progress import Progress, progress_bar
from serving.answers import Answers
from serving.campaign_job import open_job
from serving.campaign_plan import make_plan
from serving.campaign_values import Valuation
from serving.next_action import NextAction
from training.config import load_config
from training.fit import train

QUICK = ("training.epochs=2", "adoption.epochs=2", "churn.models.candidates=[logistic]", "churn.survival=null")
QUICK += ("embedding=null", "segments=null")
MEMORY = 4 << 30


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--bundle", type=Path, help="a trained bundle, with --lake; else a bank is made and trained on")
    parser.add_argument("--lake", type=Path)
    options = parser.parse_args()
    if options.bundle is not None:
        lake, bundle = Lake.open(options.lake), options.bundle
    else:
        lake = synthetic_bank(options.customers, 0, options.work)
        with progress_bar("Training") as progress:
            bundle = train(load_config("demo", [*QUICK, *options.set]), lake, options.work / "bundles", progress)
    plan = scaled(lake.tables["customers"].rows)
    out = options.work / f"next-action-{Bundle.load(bundle).bundle_id}-{lake.tables['customers'].rows}"
    with progress_bar("Planning") as progress:
        make_plan(open_job(plan, bundle, lake.path, out, None, None), MEMORY, 2, progress)
    with progress_bar("Answering") as progress:
        results = measured(bundle, lake, plan, out / "prices.json", progress)
    write("next_action", "The next best action", page(results), results)


def scaled(customers: int) -> CampaignPlan:
    """The plan that the documentation shows, with limits for so many customers, and explorers."""
    content = yaml.safe_load((ROOT / "docs" / "campaign_plan.yaml").read_text(encoding="utf-8"))
    content |= {"budget": 60 * customers, "exploration": 0.05}
    for channel in content["channels"]:
        channel |= {"capacity": customers // 8} if "capacity" in channel else {}
    for product in content["products"]:
        product |= {"stock": customers // 5} if "stock" in product else {}
    return CampaignPlan.model_validate(content)


def measured(bundle: Path, lake: Lake, plan: CampaignPlan, prices: Path, progress: Progress) -> dict[str, Any]:
    """Equal decisions among all customers, and milliseconds that a decision takes at first and when asked again."""
    answers = Answers.open(bundle, lake.path, None)
    action = NextAction.open(prices, answers.bundle)
    valuation, names = Valuation(answers.bundle, plan, 1), action.prices.action
    equal, contacted, customers = 0, 0, 0
    first: list[float] = []
    again: list[float] = []
    for number in range(lake.buckets):
        tables = lake.bucket(number)
        bucket = valuation.of(tables, lake.as_of)
        planned = action.prices.choose(bucket.part)
        wanted = draw(bucket.ids, planned, bucket.allowed, plan.holdout, plan.exploration, plan.seed)
        for row, seen in enumerate(answers.sight.see(tables, bucket.ids.to_list(), lake.as_of)):
            one = lake.customers([bucket.ids[row]])  # what the service has: the rows of this customer alone
            seen.tables = lambda one=one: one
            for times in (first, again):
                began = time.perf_counter()
                told = action.of(seen, lake.as_of)
                times.append(1000 * (time.perf_counter() - began))
            actions = [names[place] for place in wanted.chosen[:, row] if place >= 0]
            same = [one["action"] for one in told["actions"]] == actions
            equal += int(same and told["propensity"] == wanted.propensity[row])
            contacted, customers = contacted + bool(actions), customers + 1
        progress(number + 1, lake.buckets, "buckets")
    return {
        "customers": customers,
        "contacted": contacted,
        "equal": equal,
        "actions": len(names),
        "first_ms": _quantiles(first),
        "again_ms": _quantiles(again),
    }


def _quantiles(times: list[float]) -> dict[str, float]:
    return {f"p{share}": float(np.percentile(times, share)) for share in (50, 99)}


def page(results: Mapping[str, Any]) -> str:
    rows = [
        f"| {label} | {results[key]['p50']:.2f} | {results[key]['p99']:.2f} |"
        for label, key in (("asked first", "first_ms"), ("asked again, nothing new", "again_ms"))
    ]
    return "\n".join(
        [
            f"{results['equal']:,} of {results['customers']:,} customers get the same actions with the same propensity "
            "when decided alone as in a batch of all at the same prices; "
            f"{results['contacted']:,} are contacted. {results['actions']} actions, up to two contacts each.\n",
            "| milliseconds that the decision takes | median | p99 |\n|---|---|---|",
            *rows,
            "\nAsked first, consents and past contacts of the customer are read and every action is valued; the "
            "feature row, the vectors and whether they are still a customer are those that the rest of the answer "
            "needs, too. What was decided is kept until an event or another day makes the row anew. One thread, rows "
            "in memory; the way over HTTP is not in it.",
        ]
    )


if __name__ == "__main__":
    main()
