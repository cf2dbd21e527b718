"""Allocation of offers: small plans beside HiGHS' optimum, the bound beside its linear program, a million customers.

`--only milp lp million million3` picks parts; `--instances`, `--lp-customers` and `--customers` make them smaller.
"""

import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure import arguments, last_results, peak_mib, write
from recsys.campaigns.allocation import Problem, Solution, solve
from recsys.campaigns.allocation.solve import plan_use
from recsys.errors import DataError
from recsys.progress import progress_bar
from tests.campaigns.allocation.instances import best_bound, best_plan, large_problem, small_problem

SEEDS = (0, 1, 2)
TIMED_OUT = 1


class _Clock:
    """Seconds by the wall and of all processors since it was made: the latter hardly depend on what else runs."""

    def __init__(self) -> None:
        self._wall, self._spent = time.perf_counter(), time.process_time()

    def told(self) -> tuple[float, float]:
        return time.perf_counter() - self._wall, time.process_time() - self._spent


def main() -> None:
    """Measure the parts asked for and write the page."""
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="measure these, keep the others"
    )
    parser.add_argument("--instances", type=int, default=1000, help="of the part milp")
    parser.add_argument("--lp-customers", type=int, default=20_000, help="of the part lp")
    parser.add_argument("--customers", type=int, default=1_000_000, help="of the parts million and million3")
    parser.add_argument("--threads", type=int, default=2, help="of the solver")
    options = parser.parse_args()
    results = last_results("allocation")
    for part in options.only:
        text, found = PARTS[part](options)
        print(text, flush=True)
        results[part] = {"said": text, **found}
        told = [results[name]["said"] for name in PARTS if name in results]
        write("allocation", "Allocation of offers under shared limits", "\n\n".join(told), results)


def small(options: Namespace) -> tuple[str, dict[str, Any]]:
    """Random instances beside the optimum of the mixed-integer program."""
    reached, impossible, late, spent = [], 0, 0, np.zeros(2)
    with progress_bar("Small plans") as progress:
        for seed in range(options.instances):
            progress(seed, options.instances, "instances")
            problem, began = small_problem(seed), time.perf_counter()
            exact = best_plan(problem)
            spent[0] += time.perf_counter() - began
            began = time.perf_counter()
            try:
                found = solve(problem)
            except DataError:
                if exact.x is not None:
                    raise AssertionError(f"instance {seed}: HiGHS found a plan") from None
                impossible += 1
                continue
            finally:
                spent[1] += time.perf_counter() - began
            _feasible(problem, found)
            if exact.status == TIMED_OUT or exact.x is None:
                late += 1
                continue
            best = -exact.fun
            if found.bound < best - 1e-6 * max(1.0, abs(best)):
                raise AssertionError(f"instance {seed}: bound {found.bound} below the optimum {best}")
            reached.append(found.value / best if best > 0 else 1.0)
    share = np.array(reached)
    said = (
        f"{options.instances:,} random instances (up to 60 customers, 6 limits, 3 contacts, personal costs): every "
        f"plan feasible, no bound below the optimum of `scipy.optimize.milp`. Value: {share.mean():.3%} of the optimum "
        f"on average, {(share > 1 - 1e-9).mean():.1%} of the plans are optimal, the worst reaches {share.min():.2%}. "
        f"{impossible} instances cannot be kept by any plan, which both say; {late} HiGHS did not finish in 60 s. "
        f"HiGHS {spent[0]:.0f} s, here {spent[1]:.0f} s."
    )
    result = {"mean": float(share.mean()), "least": float(share.min()), "impossible": impossible, "late": late}
    return said, result | {"seconds": spent.tolist()}


def linear(options: Namespace) -> tuple[str, dict[str, Any]]:
    """The bound beside the linear relaxation's optimum."""
    problem, began = large_problem(options.lp_customers, 0), _Clock()
    found = solve(problem, threads=options.threads)
    own, began = began.told(), _Clock()
    print(f"own: {own[0]:.2f} s; now HiGHS", flush=True)
    relaxed = best_bound(problem)
    theirs = began.told()
    _feasible(problem, found)
    apart = found.bound / relaxed - 1
    said = (
        f"{options.lp_customers:,} customers × 50 actions, 16 limits, beside the linear program by HiGHS' interior "
        f"point method, without the rows and columns that cannot matter: bound "
        f"{found.bound:,.3f}, optimum {relaxed:,.3f}, {apart:.1e} apart; plan {found.value:,.3f}, gap {found.gap:.1e}. "
        f"HiGHS {theirs[0]:.1f} s ({theirs[1]:.1f} s of a processor), here {own[0]:.2f} s ({own[1]:.2f} s)."
    )
    result = {
        "bound": found.bound,
        "linear": relaxed,
        "apart": apart,
        "gap": found.gap,
        "seconds": [theirs[0], own[0]],
        "processor": [theirs[1], own[1]],
    }
    return said, result


def million(options: Namespace) -> tuple[str, dict[str, Any]]:
    """One contact each."""
    return _large(options, False, 1e-5)


def several(options: Namespace) -> tuple[str, dict[str, Any]]:
    """Up to three contacts each, and costs of their own."""
    return _large(options, True, 1e-4)


def _large(options: Namespace, more: bool, gap: float) -> tuple[str, dict[str, Any]]:
    what = "up to 3 contacts each, personal costs" if more else "one contact each"
    lines = [
        f"{options.customers:,} customers × 50 actions, 16 limits, {what}, {options.threads} threads:\n",
        "| seed | bound | plan | gap | passes | seconds | of a processor | peak MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    results = []
    for seed in SEEDS:
        problem, began = large_problem(options.customers, seed, more), _Clock()
        found = solve(problem, threads=options.threads, gap=gap)
        seconds, spent = began.told()
        _feasible(problem, found)
        cells = (
            f"{found.bound:,.1f} | {found.value:,.1f} | {found.gap:.1e} | {found.passes} | {seconds:.1f} | {spent:.1f}"
        )
        lines.append(f"| {seed} | {cells} | {peak_mib():,.0f} |")
        print(lines[-1], flush=True)
        told = {"seed": seed, "gap": found.gap, "seconds": seconds, "processor": spent, "passes": found.passes}
        results.append(told | {"mib": peak_mib()})
        del problem, found
    return "\n".join(lines), {"runs": results}


def _feasible(problem: Problem, found: Solution) -> None:
    used = plan_use(problem, found.chosen)
    if (used > problem.limits.limit + 1e-8 * np.maximum(1, np.abs(problem.limits.limit))).any():
        raise AssertionError("the plan passes a limit")


PARTS: dict[str, Callable[[Namespace], tuple[str, dict[str, Any]]]] = {
    "milp": small,
    "lp": linear,
    "million": million,
    "million3": several,
}


if __name__ == "__main__":
    main()
