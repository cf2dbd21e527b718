"""Random allocation problems, small ones with every kind of limit, large ones as a bank has them, and exact answers."""

from itertools import combinations

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, linprog, milp
from scipy.sparse import csr_matrix, vstack

from recsys.campaigns.allocation import Actions, Limits, Part, Problem


def small_problem(seed: int, customers: int = 60) -> Problem:
    """Up to so many customers, up to 6 limits of all kinds, up to 3 contacts, personal costs; every fourth a volume."""
    random = np.random.default_rng(seed)
    count = int(random.integers(1, customers + 1))
    channels, products = int(random.integers(1, 4)), int(random.integers(1, 4))
    most, rows = int(random.integers(1, 4)), int(random.integers(1, 7))
    channel, product = np.tile(np.arange(channels), products), np.repeat(np.arange(products), channels)
    actions = len(channel)
    values = random.normal(1, 1.5, (actions, count)).astype(np.float32)
    values[random.random((actions, count)) < 0.15] = -np.inf
    costs = random.uniform(0.2, 3, (actions, count)).astype(np.float32)
    limits: list[tuple[np.ndarray, float, bool, int]] = []
    for _ in range(rows):
        limits.append(_limit(random, count, channel, min(most, channels)))
    if seed % 4 == 0 and len(limits) < 6:
        wanted = int(random.integers(products))
        eligible = int(np.isfinite(values[product == wanted]).any(axis=0).sum())
        if eligible // 8:
            limits.append((-1.0 * (product == wanted), -float(eligible // 8), False, -1))
    uses, bounds, personal, group = (list(column) for column in zip(*limits, strict=True))
    names = tuple(f"limit {j}" for j in range(len(uses)))
    own = random.integers(0, most + 1, count) if seed % 3 == 0 else None
    part = Part(values, costs, random.integers(-1, 2, count), own)
    shared = Limits(names, np.array(uses), np.array(bounds), np.array(personal), np.array(group))
    return Problem(Actions(channel, product), shared, [part], most)


def _limit(
    random: np.random.Generator, count: int, channel: np.ndarray, each: int
) -> tuple[np.ndarray, float, bool, int]:
    kind, ones = int(random.integers(4)), np.ones(len(channel))
    if kind == 0:
        return ones, float(random.uniform(0.1, 1.0) * count * each), True, -1
    if kind == 1:
        return 1.0 * (channel == random.integers(channel.max() + 1)), float(random.integers(0, count + 1)), False, -1
    if kind == 2:
        return ones, float(random.uniform(0.1, 0.6) * count), True, int(random.integers(2))
    return random.uniform(0, 2, len(channel)), float(random.uniform(0.1, 1) * count), False, -1


def large_problem(customers: int, seed: int = 0, several: bool = False) -> Problem:
    """50 actions of 10 products through 5 channels under a budget, 5 capacities and 10 stocks.

    `several`: up to 3 contacts each, and every customer has costs of their own.
    """
    random = np.random.default_rng(seed)
    channels, products = 5, 10
    channel, product = np.tile(np.arange(channels), products), np.repeat(np.arange(products), channels)
    liking = random.gamma(2, 1, (products, customers)).astype(np.float32)
    reach = random.uniform(0.3, 1, (channels, customers)).astype(np.float32)
    worth = random.uniform(0.5, 1.5, len(channel)).astype(np.float32)
    values = np.empty((len(channel), customers), np.float32)
    costs = np.empty_like(values) if several else None
    price = random.uniform(0.2, 2, channels)
    for k in range(len(channel)):  # one action at a time: nothing larger than the values is ever made
        row = liking[product[k]] * reach[channel[k]] * worth[k] + random.normal(0, 0.2, customers).astype(np.float32)
        values[k] = np.where(random.random(customers, np.float32) < 0.1, np.float32(-np.inf), row - np.float32(0.5))
        if costs is not None:
            costs[k] = price[channel[k]] * random.uniform(0.5, 1.5, customers)
    use = [np.ones(len(channel)) if several else price[channel]]
    limit, names = [0.3 * customers], ["budget"]
    for r in range(channels):
        use.append(1.0 * (channel == r))
        limit.append(np.floor(customers * random.uniform(0.05, 0.15)))
        names.append(f"channel {r}")
    for p in range(products):
        use.append(1.0 * (product == p))
        limit.append(np.floor(customers * random.uniform(0.02, 0.08)))
        names.append(f"product {p}")
    personal = np.array([several] + [False] * (channels + products))
    return Problem(
        Actions(channel, product),
        Limits(tuple(names), np.array(use), np.array(limit), personal),
        [Part(values, costs)],
        3 if several else 1,
    )


def best_plan(problem: Problem) -> OptimizeResult:
    """What HiGHS finds for the whole problem as one mixed-integer program; `fun` is the negated value."""
    worth, constraint, allowed = _program(problem)
    return milp(
        -worth,
        constraints=constraint,
        bounds=Bounds(0, allowed),
        integrality=np.ones(len(worth)),
        options={"mip_rel_gap": 0, "time_limit": 60},
    )


def best_bound(problem: Problem) -> float:
    """The value of the linear relaxation, by HiGHS' interior point method.

    Without what cannot matter: columns that bring nothing, where no limit asks for more of them, and where there is one
    contact each the rows by channel and product and the columns' bounds, which its own row implies.
    """
    worth, constraint, allowed = _program(problem, sides=problem.most > 1)
    columns = np.flatnonzero((allowed > 0) & ((worth > 0) | (problem.limits.use < 0).any()))
    found = linprog(
        -worth[columns], A_ub=constraint.A.tocsc()[:, columns], b_ub=constraint.ub, bounds=(0, None), method="highs-ipm"
    )
    if found.fun is None:
        raise AssertionError(f"HiGHS: {found.message}")
    return -float(found.fun)


def _program(problem: Problem, sides: bool = True) -> tuple[np.ndarray, LinearConstraint, np.ndarray]:
    (part,), limits, actions = problem.parts, problem.limits, problem.actions
    kinds, count = part.values.shape
    allowed = np.isfinite(part.values)
    index, customer = np.arange(kinds * count).reshape(kinds, count), np.arange(count)
    rows, bounds = [], []
    for j in range(len(limits)):
        use = np.repeat(limits.use[j][:, None], count, 1)
        if limits.personal[j] and part.costs is not None:
            use = use * part.costs
        if limits.group[j] >= 0 and part.group is not None:
            use = use * (part.group == limits.group[j])
        rows.append(csr_matrix(use.ravel()[None]))
        bounds.append(limits.limit[j : j + 1])
    among_which = [(np.ones(kinds, bool), problem.most if part.most is None else part.most)]
    for side in (actions.channel, actions.product) if sides else ():
        among_which += [(side == which, 1) for which in range(side.max() + 1)]
    for among, most in among_which:
        cells = index[among]
        ones = (np.ones(cells.size), (np.tile(customer, len(cells)), cells.ravel()))
        rows.append(csr_matrix(ones, shape=(count, kinds * count)))
        bounds.append(np.broadcast_to(np.asarray(most, dtype=float), count))
    worth = np.where(allowed, part.values, 0).astype(np.float64).ravel()
    constraint = LinearConstraint(vstack(rows, format="csr"), -np.inf, np.concatenate(bounds))
    return worth, constraint, allowed.ravel().astype(np.float64)


def every_set(actions: Actions, most: int) -> list[tuple[int, ...]]:
    """All sets of at most so many actions with one a channel and one a product."""
    return [
        members
        for size in range(most + 1)
        for members in combinations(range(len(actions)), size)
        if len({int(actions.channel[k]) for k in members}) == size == len({int(actions.product[k]) for k in members})
    ]
