"""Uplift: every learner on Hillstrom's e-mails, and on synthetic banks a plan's true value beside other targeting."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import t as student

from benchmarks.measure import arguments, code_digest, digest, imported, last_results, synthetic_bank, trained, write
from recsys.bundle import Uplift
from recsys.campaigns.allocation.problem import Actions, Limits, Part, Problem
from recsys.campaigns.allocation.solve import solve
from recsys.features.definition import define
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.parts import BucketReader
from recsys.synthetic.campaigns import COST
from recsys.synthetic.effects import TrueEffects, true_effects
from recsys.synthetic.products import INDEX, MARGIN
from recsys.synthetic.state import CONTACT_CHANNELS
from recsys.uplift.config import UpliftConfig
from recsys.uplift.qini import QINI, Compared, curve
from recsys.uplift.scores import clustered_mean, doubly_robust, targeting_gain
from training.config import load_config
from training.uplift import problem
from training.uplift_inputs import ActionColumns, Inputs
from training.uplift_learners import Fits, bagged, cross_fit, effects, folds_of, halves_of
from training.uplift_report import verdict
from training.uplift_rows import UpliftRows, UpliftUnits, prepare_uplift

MONTH = date(2024, 12, 1)
BUCKETS = 4
BUDGET = 12
"""Pence for each customer of the bank."""
CAPACITY = {"phone": 0.01, "post": 0.08}
"""Contacts at most, as a share of the customers."""
OFFERED = (
    "credit_card", "cash_isa", "travel_insurance", "regular_saver", "stocks_isa", "home_insurance", "wallet_plus",
    "premium_account",
)  # fmt: skip
LEVELS = {"standard": 1.0, "personalised": 1.6}
"""Level → how many times a plain contact's cost it costs."""
QUICK = ["uplift.folds=3", "uplift.bags=6", "uplift.outcome_trees.trees=80", "uplift.effect_trees.trees=80"]
POLICIES = ("plan", "random", "top_propensity", "top_uplift", "oracle")


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS), help="run these, keep the others")
    parser.add_argument("--folds", type=int, default=5, help="hillstrom: outer folds, each judged by the others")
    parser.add_argument("--customers", type=int, default=8_000, help="bank: customers")
    parser.add_argument("--seeds", type=int, default=20, help="bank: banks")
    parser.add_argument("--rows", type=int, default=None, help="hillstrom: of so many customers only (a short run)")
    options = parser.parse_args()
    results = last_results("uplift")
    for name in options.only:
        results[name] = PARTS[name](options)
    write("uplift", "Uplift: learners on Hillstrom, and a plan's true value", _text(results), results)


def hillstrom(options: Any) -> dict[str, Any]:
    """Every customer's effect by learners that never saw them: outer folds, the number of trees chosen inside each."""
    lake = imported("hillstrom", options.datasets, "hillstrom", options.work)
    config = load_config("hillstrom", options.set).uplift
    assert config is not None
    whole = config.model_copy(update={"test_share": 1e-9, "examples": options.rows or config.examples * 10})
    definition = define(lake, load_config("hillstrom", options.set).features)
    data = prepare_uplift(
        whole, BucketReader(lake), definition, None, until=None, trusted=(), log_unit=None,
        work=options.work / f"uplift-hillstrom-{options.rows}", progress=lambda done, total, what: None,
    )  # fmt: skip
    fold = folds_of(data.train.customer, options.folds, 100)
    parts = []
    for k in range(options.folds):
        began = time.perf_counter()
        parts.append(_outer_fold(config, data, fold != k, fold == k))
        print(f"hillstrom: fold {k + 1} of {options.folds}, {time.perf_counter() - began:.0f} s", flush=True)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return _hillstrom_told(config, data, joined)


def _outer_fold(config: UpliftConfig, data: UpliftRows, rest: np.ndarray, held: np.ndarray) -> dict[str, np.ndarray]:
    """Scores, and the effects by each learner, of the pairs of the held units."""
    trials, products = data.trials.found, data.encoder.products
    learned, tested = _units(data.train, rest), _units(data.train, held)
    actions = ActionColumns.of([one for trial in trials for one in trial.actions], pl.DataFrame({"product_id": []}))
    inputs = Inputs.of(data.encoder, learned.arrays, actions)
    fits = Fits(problem(inputs, learned, trials, products, None), config, 0, 2)
    found = cross_fit(fits, folds_of(learned.customer, config.folds, 0), config.learners, lambda done, total: None)
    asked = problem(inputs, tested, trials, products, None)
    contacted = np.concatenate([asked.rows[asked.unit], asked.offered], axis=1)
    untouched = np.concatenate([asked.rows[asked.unit], asked.offered * asked.of_product], axis=1)
    halves = halves_of(learned.customer, config.bags, 0)
    told: dict[str, np.ndarray] = {}
    for learner in config.learners:
        terms = bagged(fits, learner, found, found.best(learner)[0], halves, lambda done, total: None)
        told[learner] = effects(terms, contacted, untouched).mean(axis=1)
    told["chosen"] = told[min(config.learners, key=lambda one: float(found.losses(one).min()))]
    outcome_model = fits.outcome(fits.problem.treated, 60)
    odds = np.mean([one.predict(untouched, raw_score=True) for one in found.baseline], axis=0)
    means = [1 / (1 + np.exp(-raw)) for raw in (outcome_model.predict(contacted, raw_score=True), odds)]
    unit = asked.unit
    told["scores"] = doubly_robust(
        asked.outcome[unit], asked.had, asked.untreated, asked.propensity[unit], means[0], means[1]
    )
    level = asked.offered[:, actions.product_columns :].argmax(axis=1)
    beside = {"had": asked.had, "outcome": asked.outcome[unit], "customer": asked.customer[unit], "level": level}
    return told | beside | {"untreated": asked.untreated, "propensity": asked.propensity[unit]}


def _hillstrom_told(config: UpliftConfig, data: UpliftRows, joined: Mapping[str, np.ndarray]) -> dict[str, Any]:
    seen = joined["had"] | joined["untreated"]
    compared = Compared(
        joined["outcome"][seen], joined["had"][seen], 1 / joined["propensity"][seen], joined["customer"][seen]
    )
    arms = data.trials.found[0].arms
    levels = sorted(arms[1:])
    y, arm = data.train.outcome, data.train.arm
    effect = {}
    for place, name in enumerate(arms[1:], start=1):
        rates = [y[arm == place], y[arm == 0]]
        value = float(rates[0].mean() - rates[1].mean())
        error = float(np.sqrt(sum(one.var(ddof=1) / len(one) for one in rates)))
        effect[name] = [value, value - 1.96 * error, value + 1.96 * error]
    learners: dict[str, Any] = {}
    for name in (*config.learners, "chosen"):
        score = joined[name]
        gain = targeting_gain(joined["scores"], score, joined["customer"], 0.3)
        whole = curve(score[seen], compared, 1000, 0)
        told = {"qini": _told(whole.qini), "gain": _told(gain), "weighted": _told(whole.gains[0.3])}
        for place, level in enumerate(levels):
            inside = joined["level"][seen] == place
            told[level] = _told(curve(score[seen][inside], compared.where(inside), 1000, 0).qini)
            among = joined["level"] == place
            one = targeting_gain(joined["scores"][among], score[among], joined["customer"][among], 0.3)
            told[f"{level} gain"] = [*_told(one), verdict(one)]
        learners[name] = told | {"verdict": verdict(gain)}
    mean = clustered_mean(joined["scores"], joined["customer"])
    return {"customers": len(y), "effect": effect, "adjusted": _told(mean), "levels": levels, "learners": learners}


def bank(options: Any) -> dict[str, Any]:
    """The true value of five ways to spend the same budget, bank by bank; finished banks are kept."""
    kept = options.work / "uplift-bank"
    kept.mkdir(parents=True, exist_ok=True)
    found = []
    for seed in range(options.seeds):
        name = digest(code_digest(), Path(__file__).read_text(), str(options.customers), str(options.set))[:12]
        path = kept / f"{name}-{seed}.json"
        if not path.exists():
            began = time.perf_counter()
            told = _one_bank(options, seed)
            path.write_text(json.dumps(told))
            print(
                f"bank {seed + 1} of {options.seeds}: {_values(told)}, {time.perf_counter() - began:.0f} s", flush=True
            )
        found.append(json.loads(path.read_text()))
    values = {name: np.array([one["value"][name] for one in found]) for name in POLICIES}
    ahead = {name: _mean(values["plan"] - values[name]) for name in POLICIES if name != "plan"}
    share = _mean(values["plan"] / values["oracle"])
    return {
        "customers": options.customers,
        "seeds": options.seeds,
        "value": {name: _mean(one) for name, one in values.items()},
        "plan_ahead": ahead,
        "share_of_oracle": share,
        "banks": found,
    }


def _one_bank(options: Any, seed: int) -> dict[str, Any]:
    lake = synthetic_bank(options.customers, seed, options.work, BUCKETS)
    overrides = [*QUICK, f"evaluation.until={MONTH}", *options.set]
    bundle = trained("bank_uplift", lake, options.work, overrides)
    uplift = Uplift.of(bundle, 2)
    assert uplift is not None
    rows = [(p, c, level) for p in OFFERED for c in CONTACT_CHANNELS for level in LEVELS]
    actions = pl.DataFrame(rows, schema=["product_id", "channel", "level"], orient="row")
    truth = true_effects(options.customers, seed, BUCKETS, MONTH, actions)
    baseline, effect = _expected(uplift, lake, truth, actions)
    margin = np.array([MARGIN[INDEX[product]] for product in actions["product_id"]], dtype=np.float64)
    cost = np.array([COST[CONTACT_CHANNELS.index(c)] * LEVELS[level] for _, c, level in rows])
    limits = _limits(actions, cost, len(truth.customers))
    draws = np.random.default_rng(seed)
    reach = truth.reachable
    plain = np.where(actions["level"].to_numpy() == "standard", 0.0, 1e-6) + 1e-9 * cost
    chosen = {
        "plan": _planned(margin * effect - cost, reach, actions, limits),
        "random": _greedy(draws.random(effect.shape), reach, cost, limits, np.full(len(cost), -np.inf)),
        "top_propensity": _greedy(baseline - plain, reach, cost, limits, np.full(len(cost), -np.inf)),
        "top_uplift": _greedy(effect, reach, cost, limits, np.zeros(len(cost))),
        "oracle": _planned(margin * truth.effect - cost, reach, actions, limits),
    }
    worth = margin * truth.effect - cost
    told: dict[str, Any] = {"value": {}, "spent": {}, "contacts": {}}
    for name, choice in chosen.items():
        made = np.flatnonzero(choice >= 0)
        told["value"][name] = float(worth[made, choice[made]].sum()) / 100
        told["spent"][name] = float(cost[choice[made]].sum()) / 100
        told["contacts"][name] = len(made)
    about = uplift.about
    known = {"learner": about.learner, "slope": about.slope[0], "units": about.units.model_dump()}
    among = reach.nonzero()
    return told | known | {"correlation": float(np.corrcoef(effect[among], truth.effect[among])[0, 1])}


def _expected(uplift: Uplift, lake: Any, truth: TrueEffects, actions: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """float64 [N, A]: what the bundle expects of the customers, in the order of the truth, seen from MONTH."""
    ids, baselines, effects_ = [], [], []
    for bucket in range(lake.buckets):
        tables = lake.bucket(bucket)
        known = tables["customers"].filter(pl.col("customer_id").is_in(truth.customers.implode()))["customer_id"]
        rows = features(tables, scoring_examples(known.unique().sort(), MONTH), uplift.definition)
        baseline, effect, _ = uplift.expected(rows, actions)
        ids.append(rows["customer_id"])
        baselines.append(baseline)
        effects_.append(effect)
    place = pl.DataFrame({"customer_id": pl.concat(ids)}).with_row_index("row")
    asked = truth.customers.to_frame("customer_id")
    order = asked.join(place, on="customer_id", how="left", maintain_order="left")["row"].to_numpy()
    return np.concatenate(baselines)[order].astype(float), np.concatenate(effects_)[order].astype(float)


def _limits(actions: pl.DataFrame, cost: np.ndarray, customers: int) -> Limits:
    channel = actions["channel"].to_numpy()
    use = [cost, *(1.0 * (channel == name) for name in CAPACITY)]
    limit = [float(BUDGET * customers), *(float(int(share * customers)) for share in CAPACITY.values())]
    return Limits(("budget", *CAPACITY), np.stack(use), np.array(limit))


def _planned(worth: np.ndarray, reach: np.ndarray, actions: pl.DataFrame, limits: Limits) -> np.ndarray:
    """int64 [N] the action of each customer by the allocation, -1 for none."""
    values = np.where(reach & (worth > 0), worth, -np.inf).T.astype(np.float32)
    product = actions["product_id"].rank("dense").to_numpy().astype(np.int64) - 1
    channel = actions["channel"].rank("dense").to_numpy().astype(np.int64) - 1
    found = solve(Problem(Actions(channel, product), limits, [Part(np.ascontiguousarray(values))]))
    return found.chosen[0][0].astype(np.int64)


def _greedy(score: np.ndarray, reach: np.ndarray, cost: np.ndarray, limits: Limits, least: np.ndarray) -> np.ndarray:
    """int64 [N]: contacts in order of their score above `least`, one a customer, while every limit holds."""
    chosen = np.full(len(score), -1, dtype=np.int64)
    left = limits.limit.copy()
    customer, action = np.nonzero(reach & (score > least))
    for place in np.argsort(-score[customer, action], kind="stable"):
        who, what = customer[place], action[place]
        if chosen[who] < 0 and (limits.use[:, what] <= left).all():
            chosen[who] = what
            left -= limits.use[:, what]
            if left[0] < cost.min():
                break
    return chosen


def _units(units: UpliftUnits, chosen: np.ndarray) -> UpliftUnits:
    """Some of the units, in memory."""
    names = ("outcome", "trial", "arm", "propensity", "customer")
    some = {name: getattr(units, name)[chosen] for name in names}
    return replace(units, arrays={name: np.asarray(values)[chosen] for name, values in units.arrays.items()}, **some)


def _mean(values: np.ndarray) -> list[float]:
    """Mean and 95 % interval over the banks."""
    value = float(values.mean())
    if len(values) < 2:
        return [value, float("-inf"), float("inf")]
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return [value, value - half, value + half]


def _told(interval: Any) -> list[float]:
    return [float(interval.value), float(interval.low), float(interval.high)]


def _values(told: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:,.0f}" for name, value in told["value"].items())


def _text(results: Mapping[str, Any]) -> str:
    parts = []
    if "hillstrom" in results:
        parts.append(_hillstrom_text(results["hillstrom"]))
    if "bank" in results:
        parts.append(_bank_text(results["bank"]))
    return "\n\n".join(parts)


def _hillstrom_text(told: Mapping[str, Any]) -> str:
    effect = "; ".join(f"{name} {_cell(one, '+.4f')}" for name, one in told["effect"].items())
    levels = told["levels"]
    lines = [
        "## Hillstrom",
        f"{told['customers']:,} customers, visit within two weeks, differences from no e-mail: {effect}. Each "
        "customer's effect is told by learners that never saw them; the number of trees is chosen inside the other "
        f"folds. `{QINI}`. Gains are visits per 1,000 customers that targeting the top 30 % brings beyond as many at "
        "random, by doubly robust scores.",
        f"| learner | Qini | {' | '.join(f'Qini, {one}' for one in levels)} | gain of the top 30 % | says | "
        + " | ".join(f"{one} alone" for one in levels) + " |",
        "|---" * (5 + 2 * len(levels) - 1) + "|",
    ]  # fmt: skip
    for name, one in told["learners"].items():
        cells = [_cell(one["qini"], ".4f"), *(_cell(one[level], ".4f") for level in levels)]
        cells += [_cell([1000 * part for part in one["gain"]], "+.1f"), one["verdict"]]
        for level in levels:
            gain = one[f"{level} gain"]
            cells.append(f"{_cell([1000 * part for part in gain[:3]], '+.1f')} {gain[3]}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n\n".join(lines[:3]) + "\n" + "\n".join(lines[3:])


def _bank_text(told: Mapping[str, Any]) -> str:
    lines = [
        "## Synthetic bank, the same budget",
        f"{told['seeds']} banks of {told['customers']:,} customers. The model learns from the bank's campaigns before "
        f"{MONTH}; each policy then spends at most {BUDGET} pence a customer on {len(OFFERED)} products × "
        f"{len(CONTACT_CHANNELS)} channels × {len(LEVELS)} levels, one contact a customer, phone and post with a "
        "capacity. Value is the true expected margin that the contacts add, less their cost, in pounds; intervals are "
        f"over banks. The plan reaches {_cell(told['share_of_oracle'], '.2f')} of the oracle's, which knows the true "
        "effects.",
        "| policy | true value | plan ahead by |",
        "|---|---|---|",
    ]
    for name, value in told["value"].items():
        ahead = _cell(told["plan_ahead"][name], "+,.0f") if name in told["plan_ahead"] else ""
        lines.append(f"| {name.replace('_', ' ')} | {_cell(value, ',.0f')} | {ahead} |")
    return "\n\n".join(lines[:3]) + "\n" + "\n".join(lines[3:])


def _cell(found: Sequence[float], form: str) -> str:
    value, low, high = (format(part, form) for part in found[:3])
    return f"{value} [{low}, {high}]"


PARTS = {"hillstrom": hillstrom, "bank": bank}

if __name__ == "__main__":
    main()
