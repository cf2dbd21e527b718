"""What is read and how trees are grown on bank marketing in order of time, chosen inside the training part."""

import sys
from typing import Any

import numpy as np

from benchmarks.churn_table import Table, answers, judge
from recsys.churn.models_config import BoostingConfig, ChurnModelsConfig

TRAINING = 0.8
"""Share of the rows, in order of time, that may be seen."""
ORIGINS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of the training part that are fitted on; the fifth of it that follows each is judged."""
CALLS = ("bank_calls_7d", "bank_calls_28d")
DAYS = ("contact_day", "contact_day_of_year")
MONTH = "contact_month_number"
COLUMNS = {
    "neither": (*CALLS, *DAYS, MONTH),
    "days and month": CALLS,
    "month": (*CALLS, *DAYS),
    "calls of the bank": (*DAYS, MONTH),
    "calls and month": DAYS,
    "calls, days and month": (),
}
"""What is read beside the customer → columns left out."""


def origins(options: Any, chosen: ChurnModelsConfig) -> dict[str, Any]:
    """AUC and PR AUC after each origin, by what is read, with default settings and with the chosen ones."""
    found: dict[str, Any] = {}
    for name, without in COLUMNS.items():
        table = Table.of("uci_bank_marketing", "subscribed", options, exclude=without)
        rows = np.arange(int(TRAINING * len(table.outcome)))
        for settings, config in (
            ("default", chosen.model_copy(update={"boosting": BoostingConfig()})),
            ("chosen", chosen),
        ):
            each = []
            for share in ORIGINS:
                first = int(share * len(rows))
                last = min(int((share + 0.2) * len(rows)), len(rows))
                said, _ = answers(table, 0, rows[:first], rows[first:last], config)
                each.append(judge(said["churn models"], table.outcome[first:last]))
            mean = {metric: float(np.mean([one[metric] for one in each])) for metric in ("auc", "pr_auc")}
            found.setdefault(name, {})[settings] = {"mean": mean, "each": each}
            print(name, settings, mean, file=sys.stderr, flush=True)
    return found
