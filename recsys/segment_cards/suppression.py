"""Cells of fewer than ten customers are hidden, and with them the cells from which they could be worked out.

A table of counts is shown with its row and column totals, so a lone hidden cell is the total less the rest. By the
totals alone a hidden cell can be worked out exactly where it is a bridge of the graph whose nodes are the rows and
columns and whose edges are the hidden cells. Each bridge is therefore made a corner of a rectangle of hidden cells, the
one that loses least, until there is none; and the hidden cells of a row or column stand for ten customers together.
"""

import numpy as np

FEWEST = 10
"""The fewest customers of whom a cell is shown."""

Cell = tuple[int, int]


def hidden_cells(counts: np.ndarray, small: np.ndarray | None = None, fewest: int = FEWEST) -> np.ndarray:
    """bool [K, V]: which cells of a table of counts, published with its totals, must not be shown.

    `small` are the cells that must not be shown in themselves, by default those of 1 to `fewest` - 1 customers; a
    cell of none says nothing about anyone.
    """
    counts = np.asarray(counts, dtype=np.float64)
    if counts.ndim != 2:
        raise ValueError(f"counts: expected a table [K, V], got shape {counts.shape}")
    hidden = ((counts > 0) & (counts < fewest)) if small is None else np.array(small, dtype=bool)
    cost = np.where(counts > 0, counts, fewest)
    while True:
        cells = _more_in_line(counts, cost, hidden, fewest) or _rectangle(cost, hidden)
        if not cells:
            return hidden
        for cell in cells:
            hidden[cell] = True


def hidden_parts(counts: np.ndarray, fewest: int = FEWEST) -> np.ndarray:
    """bool [K, V]: of which groups a mean, shown beside the mean of all, would tell of fewer than `fewest` customers.

    Each column is parts of one whole: a lone hidden part is the whole less the others, so a second goes with it.
    """
    counts = np.asarray(counts, dtype=np.float64)
    hidden = np.zeros(counts.shape, dtype=bool)
    for column, parts in enumerate(counts.T):
        hidden[:, column] = _parts(parts, np.inf, fewest)
    return hidden


def hidden_shares(having: np.ndarray, of: np.ndarray, fewest: int = FEWEST) -> np.ndarray:
    """bool [K, V]: of which shares `having` [K, V] / `of` [K] must not be shown, each column by itself.

    A share near one tells of the few who lack the thing, so those without are cells too; two hidden groups or more
    keep each other's secret, and together they have and lack the thing ten times.
    """
    having, of = np.asarray(having, dtype=np.float64), np.asarray(of, dtype=np.float64)
    hidden = np.zeros(having.shape, dtype=bool)
    for column, have in enumerate(having.T):
        hidden[:, column] = _parts(have, of - have, fewest)
    return hidden


def _parts(have: np.ndarray, lack: np.ndarray | float, fewest: int) -> np.ndarray:
    lack = np.broadcast_to(np.asarray(lack, dtype=np.float64), have.shape)
    hidden = ((have > 0) & (have < fewest)) | ((lack > 0) & (lack < fewest))
    smallest = np.minimum(np.where(have > 0, have, np.inf), np.where(lack > 0, lack, np.inf))
    for row in np.argsort(smallest, kind="stable"):
        enough = hidden.sum() > 1 and have[hidden].sum() >= fewest and lack[hidden].sum() >= fewest
        if not hidden.any() or enough:
            break
        hidden[row] = True
    return hidden


def _more_in_line(counts: np.ndarray, cost: np.ndarray, hidden: np.ndarray, fewest: int) -> list[Cell]:
    """The cheapest further cell of a row or column whose hidden cells stand for too few; empty if there is none."""
    for axis in (1, 0):
        sums = np.where(hidden, counts, 0).sum(axis=axis)
        for line in np.flatnonzero(hidden.any(axis=axis) & (sums < fewest)):
            shown = ~hidden[line] if axis else ~hidden[:, line]
            price, there = (table[line] if axis else table[:, line] for table in (cost, counts))
            free = np.flatnonzero(shown & (there > 0))
            if len(free):
                other = int(free[np.argmin(price[free])])
                return [(int(line), other) if axis else (other, int(line))]
    return []


def _rectangle(cost: np.ndarray, hidden: np.ndarray) -> list[Cell]:
    """The cheapest cells that make the first bridge a corner of hidden cells; empty if there is none to make."""
    for row, column in zip(*(places.tolist() for places in np.nonzero(hidden)), strict=True):
        if _joined_without(hidden, row, column):
            continue
        best: tuple[float, list[Cell]] | None = None
        for r in range(len(hidden)):
            for c in range(hidden.shape[1]):
                if r == row or c == column:
                    continue
                corners = [cell for cell in ((row, c), (r, column), (r, c)) if not hidden[cell]]
                price = sum(cost[cell] for cell in corners)
                if best is None or price < best[0]:
                    best = price, corners
        if best:
            return best[1]
    return []


def _joined_without(hidden: np.ndarray, row: int, column: int) -> bool:
    """Whether other hidden cells join the row and the column of a hidden cell: then it is no bridge."""
    edges = hidden.copy()
    edges[row, column] = False
    rows = np.zeros(len(hidden), dtype=bool)
    rows[row] = True
    while True:
        columns = np.any(edges[rows], axis=0)
        grown = rows | np.any(edges[:, columns], axis=1)
        if columns[column] or (grown == rows).all():
            return bool(columns[column])
        rows = grown
