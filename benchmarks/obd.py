"""Off-policy estimators on the Open Bandit Dataset: what one of its policies earned, told from the other one's log."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from benchmarks.measure import arguments, imported, write
from recsys.campaigns.ope.estimators import ESTIMATORS, TITLES, estimate
from recsys.campaigns.ope.gates import overlap
from recsys.campaigns.ope.log import Log
from recsys.campaigns.ope.reward_model import cross_fitted
from recsys.campaigns.ope.tables import from_decisions
from recsys.lake.store import Lake
from recsys.progress import Progress, progress_bar

PUBLISHED = {"dm": "0.157 ± 0.110", "dros": "0.160 ± 0.110", "switch_dr": "0.258", "dr": "0.292", "ips": "0.311",
             "snips": "0.312"}  # fmt: skip
"""Relative error, random → Thompson, campaign "all" of the same data, 30 runs, as the data's authors publish it."""
SMOOTHING = 1.0
"""Draws added to every item of a place, spread as the item's share over all places."""


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--runs", type=int, default=30, help="resamples of the log")
    parser.add_argument("--campaigns", nargs="+", default=["men", "women"])
    options = parser.parse_args()
    lake = imported("obd", options.datasets, "obd", options.work)
    results = []
    with progress_bar("Open Bandit") as progress:
        for campaign in options.campaigns:
            logs = {policy: _read(lake, campaign, policy) for policy in ("random", "bts")}
            for source, target in (("random", "bts"), ("bts", "random")):
                results.append(_direction(campaign, source, target, logs, options.runs, progress))
    text = _page(results, options.runs)
    write("obd", "Open Bandit Dataset: off-policy estimators", text, {"runs": options.runs, "directions": results})


def _read(lake: Lake, campaign: str, policy: str) -> tuple[Log, np.ndarray, np.ndarray]:
    """The log of one policy in one campaign, its context one-hot [N, D], and the place of each row [N]."""
    people = lake.read("customers").filter(pl.col("campaign") == campaign)
    items = lake.read("products").filter(pl.col("campaign") == campaign)["product_id"].sort().to_list()
    made = lake.read("decisions").join(people, on="customer_id").filter(pl.col("policy") == policy)
    logged = from_decisions(made, lake.read("outcomes"), "clicked")
    assert list(logged.log.actions) == items, "every item was shown by either policy"
    rows = logged.rows.join(made.drop("at"), on="customer_id", maintain_order="left")
    columns = ["action_right", *(f"user_feature_{number}" for number in range(4))]
    context = rows.select(columns).to_dummies().to_numpy().astype(float)
    return logged.log, context, rows["action_right"].cast(pl.Categorical).to_physical().to_numpy().astype(int)


def _direction(
    campaign: str,
    source: str,
    target: str,
    logs: Mapping[str, tuple[Log, np.ndarray, np.ndarray]],
    runs: int,
    progress: Progress,
) -> dict[str, Any]:
    """Relative errors of every estimator over resamples of the source's log, and what the gates say of all of it."""
    log, context, place = logs[source]
    other, _, other_place = logs[target]
    truth = float(other.reward.mean())
    found: dict[str, list[float]] = {name: [] for name in ESTIMATORS}
    for run in range(runs):
        rng = np.random.default_rng(run)
        drawn = rng.integers(0, len(log), len(log))
        if target == "random":
            policy = np.full((len(log), len(log.actions)), 1 / len(log.actions))
        else:
            half = rng.permutation(len(other))[: len(other) // 2]
            policy = shares(other.action[half], other_place[half], len(other.actions))[place]
        some = log.some(drawn)
        terms = estimate(some, policy[drawn], cross_fitted(some, context[drawn], seed=run))
        for name in ESTIMATORS:
            found[name].append(terms[name].value)
        progress(run + 1, runs, f"{campaign}, {source} → {target}")
    whole = policy if target == "random" else shares(other.action, other_place, len(other.actions))[place]
    said = overlap(log, whole)
    errors = {name: np.abs(np.array(values) - truth) / truth for name, values in found.items()}
    return {
        "campaign": campaign,
        "source": source,
        "target": target,
        "truth": truth,
        "truth_relative_error": float(np.sqrt((1 - truth) / (truth * len(other)))),
        "estimates": {name: float(np.mean(values)) for name, values in found.items()},
        "relative_error": {name: [float(error.mean()), float(error.std())] for name, error in errors.items()},
        "overlap": said.as_json(),
        "propensities": _agreement(other, other_place) if target == "bts" else None,
    }


def shares(action: np.ndarray, place: np.ndarray, actions: int) -> np.ndarray:
    """[places, A] the share of each item among those shown in a place, drawn a little towards its share over all.

    Thompson sampling changes from hour to hour and the log has the probability of the item shown only, but how often an
    item was shown estimates the mean of its probabilities over the log; rewards are not looked at.
    """
    counts = np.zeros((int(place.max()) + 1, actions))
    np.add.at(counts, (place, action), 1.0)
    all_places = (counts.sum(axis=0) + 1 / actions) / (counts.sum() + 1)
    smoothed = counts + SMOOTHING * all_places
    return smoothed / smoothed.sum(axis=1, keepdims=True)


def _agreement(log: Log, place: np.ndarray) -> dict[str, float]:
    """How the shares go with the logged propensities, of which an item's mean probability is the harmonic mean."""
    said, logged = shares(log.action, place, len(log.actions)), np.full((place.max() + 1, len(log.actions)), np.nan)
    for spot, item in np.ndindex(*logged.shape):
        here = (place == spot) & (log.action == item)
        if here.any():
            logged[spot, item] = 1 / (1 / log.propensity[here]).mean()
    known = ~np.isnan(logged)
    return {
        "correlation": float(np.corrcoef(said[known], logged[known])[0, 1]),
        "sum": float(np.nansum(logged, 1).mean()),
    }


def _page(results: list[dict[str, Any]], runs: int) -> str:
    heads = [f"{one['campaign']}, {_title(one['source'])} → {_title(one['target'])}" for one in results]
    lines = [
        "The small version: 10,000 rows in each of four logs, 46 to 69 of them clicked. An estimator tells the click "
        "rate of one policy from the other's log; its relative error is |estimate - rate| / rate, against the rate that"
        f" the policy's own log has. Mean ± standard deviation over {runs} resamples of the log.\n",
        "| estimator | " + " | ".join(heads) + ' | published, campaign "all", random → Thompson |',
        "|---" * (len(heads) + 2) + "|",
    ]
    for name in ESTIMATORS:
        cells = ["{:.3f} ± {:.3f}".format(*one["relative_error"][name]) for one in results]
        lines.append(f"| {TITLES[name]} | {' | '.join(cells)} | {PUBLISHED[name]} |")
    told = [
        ("click rate by the own log", lambda one: f"{one['truth']:.4f}"),
        ("its standard error, relative", lambda one: f"{one['truth_relative_error']:.3f}"),
        ("effective sample size", lambda one: f"{one['overlap']['effective']:,.0f}"),
        ("effective number of clicks", lambda one: f"{one['overlap']['rewarded']:.1f}"),
        ("mean weight", lambda one: f"{one['overlap']['mean_weight']:.3f}"),
        ("the gates", lambda one: "refused" if one["overlap"]["refused"] else "answered"),
    ]
    lines += [f"| *{label}* | {' | '.join(show(one) for one in results)} | |" for label, show in told]
    for one, head in zip(results, heads, strict=True):
        lines += [f"\nRefused, {head}: {'; '.join(one['overlap']['refused'])}."] if one["overlap"]["refused"] else []
    agreed = [one["propensities"] for one in results if one["propensities"]]
    lines.append(
        "\nThe errors of a refused direction are shown to say why it is refused; the library gives no value there. The "
        "rates compared with have a standard error of their own (the row below the estimators), so errors near it or "
        "below say little, and the published figures are of another campaign with more clicks.\n\n"
        "The log of Thompson sampling has the probability of the item shown only, so what it would have shown instead "
        "of the random log's items is estimated: by how often each item was shown in each place, on a random half of "
        "its log for each run. These shares go with the logged propensities (correlation "
        + ", ".join(f"{one['correlation']:.3f}" for one in agreed)
        + "); the policy that is evaluated is so the mean of Thompson sampling over the days of the log. The reward "
        "model is ridge logistic regression on item, place and the hashed features, cross-fitted in thirds, anew in "
        "each run."
    )
    return "\n".join(lines)


def _title(policy: str) -> str:
    return "Thompson" if policy == "bts" else "random"


if __name__ == "__main__":
    main()
