"""The next best action beside the batch plan: are the choices the same at the same prices, and what does it add?"""

import json
import time
from collections.abc import Mapping
from datetime import timedelta
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
from serving.known import ROWS
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
    action = _Timed.open(prices, answers.bundle)
    answers.next_action = action
    valuation, names = Valuation(answers.bundle, plan, 1), action.prices.action
    equal, contacted, customers = 0, 0, 0
    took: dict[str, list[float]] = {name: [] for name in ("first", "again", "event", "whole", "whole_event")}
    for number in range(lake.buckets):
        tables = lake.bucket(number)
        bucket = valuation.of(tables, lake.as_of)
        planned = action.prices.choose(bucket.part)
        wanted = draw(bucket.ids, planned, bucket.allowed, plan.holdout, plan.exploration, plan.seed)
        ids = bucket.ids.to_list()
        for start in range(0, len(ids), ROWS):
            here = range(start, min(start + ROWS, len(ids)))
            told = {row: _asked(answers, action, {"customer_id": ids[row]}, took, ("first", "whole")) for row in here}
            for row in here:
                _asked(answers, action, {"customer_id": ids[row]}, took, ("again",))
            for row in here:
                fresh = {"customer_id": ids[row], "events": {"transactions": [_payment(lake)]}}
                _asked(answers, action, fresh, took, ("event", "whole_event"))
            for row in here:
                actions = [names[place] for place in wanted.chosen[:, row] if place >= 0]
                same = [one["action"] for one in told[row]["actions"]] == actions
                equal += int(same and told[row]["propensity"] == wanted.propensity[row])
                contacted, customers = contacted + bool(actions), customers + 1
        progress(number + 1, lake.buckets, "buckets")
    return {
        "customers": customers,
        "contacted": contacted,
        "equal": equal,
        "actions": len(names),
        **{f"{name}_ms": _quantiles(times) for name, times in took.items()},
    }


def _payment(lake: Lake) -> dict[str, Any]:
    """One that was made on the last day that counts."""
    assert lake.as_of is not None
    return {"event_id": "fresh", "at": f"{lake.as_of - timedelta(days=1)}T12:00:00", "amount": -1000}


def _asked(
    answers: Answers, action: "_Timed", question: dict[str, Any], took: dict[str, list[float]], names: tuple[str, ...]
) -> dict[str, Any]:
    """The decision; `took` gets its milliseconds, and those of the whole answer, under these names."""
    body = json.dumps(question).encode()
    began = time.perf_counter()
    told = answers.decide(body)["next_best_action"]
    whole = 1000 * (time.perf_counter() - began)
    for name, milliseconds in zip(names, (action.took, whole), strict=False):
        took[name].append(milliseconds)
    found: dict[str, Any] = told
    return found


class _Timed(NextAction):
    """It remembers how long it took, in milliseconds."""

    took = 0.0

    def of(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        began = time.perf_counter()
        told = super().of(*args, **kwargs)
        self.took = 1000 * (time.perf_counter() - began)
        return told


def _quantiles(times: list[float]) -> dict[str, float]:
    return {f"p{share}": float(np.percentile(times, share)) for share in (50, 99)}


def page(results: Mapping[str, Any]) -> str:
    rows = [
        f"| {label} | {results[key]['p50']:.2f} | {results[key]['p99']:.2f} |"
        for label, key in (
            ("next best action, with a new event, the customer's other rows in memory", "event_ms"),
            ("whole answer, likewise", "whole_event_ms"),
            ("next best action, asked first, all rows read from the lake", "first_ms"),
            ("whole answer, likewise", "whole_ms"),
            ("next best action, asked again, nothing new", "again_ms"),
        )
    ]
    return "\n".join(
        [
            f"{results['equal']:,} of {results['customers']:,} customers get the same actions with the same propensity "
            "when decided alone as in a batch of all at the same prices; "
            f"{results['contacted']:,} are contacted. {results['actions']} actions, up to two contacts each.\n",
            "| milliseconds in `/decide` | median | p99 |\n|---|---|---|",
            *rows,
            "\nConsents and past contacts of the customer are read and every action is valued, right after the rest "
            "of the answer has used the processor's caches, and the more so after files were read; the vectors, the "
            "products they hold and whether they are still a customer are those that the rest of the answer needs, "
            "too. What was decided is kept until an event or another day makes the row anew. In process, one thread; "
            "HTTP is not in it.",
        ]
    )


if __name__ == "__main__":
    main()
