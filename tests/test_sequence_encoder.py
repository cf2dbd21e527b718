"""Histories by contrast: what a slice is, and that habits are told apart."""

import numpy as np
import torch
from torch import Tensor

from recsys.features.encoder import FIRST, ArrayShape
from recsys.sequence_encoder import SequenceConfig, SequenceEncoder, sliced

LENGTH, PRODUCTS, KINDS = 12, 8, 2
SHAPE = ArrayShape(
    categories=(),
    numbers=0,
    tags=0,
    holdings=False,
    history=LENGTH,
    kinds=KINDS + FIRST,
    ages=14,
    products=PRODUCTS + FIRST,
    product_categories=(),
    product_numbers=0,
    product_tags=0,
)


def histories(events: list[list[int]], kind: int = FIRST) -> dict[str, Tensor]:
    """Right aligned arrays of these products, a list per customer; the event at place i is of age i + 1."""
    history = torch.zeros(len(events), LENGTH, dtype=torch.int32)
    for row, products in enumerate(events):
        if products:
            history[row, LENGTH - len(products) :] = torch.tensor(products, dtype=torch.int32)
    there = history != 0
    ages = torch.arange(1, LENGTH + 1, dtype=torch.int32).expand(len(events), LENGTH)
    return {"history": history, "history_kind": there * kind, "history_age": torch.where(there, ages, 0)}


def test_a_slice_is_a_run_of_the_customers_own_events_and_never_empty() -> None:
    rng = np.random.default_rng(0)
    events = [rng.integers(FIRST, PRODUCTS + FIRST, size).tolist() for size in [*range(1, LENGTH + 1)] * 40]
    whole = histories(events)
    part = sliced(whole, torch.Generator().manual_seed(1))
    for name, values in part.items():
        kept = part["history"] != 0
        assert torch.equal(values[kept], whole[name][kept]) and not values[~kept].any(), name
    lengths = set()
    for row, products in enumerate(events):
        places = torch.nonzero(part["history"][row]).flatten().tolist()
        assert places and places == list(range(places[0], places[-1] + 1))
        if len(products) == LENGTH:
            lengths.add((places[0], len(places)))
    assert {length for _, length in lengths} >= {5, 6, 7, 8, 9} and len({start for start, _ in lengths}) > 4


def test_without_events_there_is_nothing_to_slice() -> None:
    empty = histories([[], []])
    assert all(not values.any() for values in sliced(empty).values())


def test_two_slices_of_a_long_history_differ_and_a_seed_repeats_them() -> None:
    whole = histories([list(range(FIRST, PRODUCTS + FIRST))] * 50)
    drawn = torch.Generator().manual_seed(3)
    first, second = (sliced(whole, drawn)["history"] for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, sliced(whole, torch.Generator().manual_seed(3))["history"])


def test_customers_of_distinct_habits_end_up_apart_and_those_without_events_alike() -> None:
    """Half take the first four products, half the others, in any order: their slices are to be told apart."""
    rng = np.random.default_rng(5)
    habits = [range(FIRST, FIRST + 4), range(FIRST + 4, FIRST + 8)]
    kept_out = [rng.choice(list(habits[i % 2]), 8).tolist() for i in range(100)]
    events = [rng.choice(list(habits[i % 2]), 8).tolist() for i in range(200)]
    torch.manual_seed(0)
    model = SequenceEncoder(SequenceConfig(dim=6, hidden=8), SHAPE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    batch = histories(events)
    losses = []
    for _ in range(60):
        loss = model.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.9 * losses[0]
    with torch.no_grad():
        vectors = model.eval()(histories([*kept_out, [], [], []]))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))
    assert torch.equal(vectors[-1], vectors[-2]) and torch.equal(vectors[-1], vectors[-3])
    cosine = vectors[:-3] @ vectors[:-3].T
    same = torch.arange(100)[:, None] % 2 == torch.arange(100) % 2
    assert float(cosine[same].mean()) > float(cosine[~same].mean()) + 0.5


def test_the_loss_is_small_only_where_each_slice_finds_its_own() -> None:
    """Everybody with the same events: no better than chance, which is the logarithm of the batch."""
    torch.manual_seed(0)
    model = SequenceEncoder(SequenceConfig(dim=4, hidden=8), SHAPE).eval()
    alike = model.loss(histories([[FIRST]] * 16))
    torch.testing.assert_close(float(alike.detach()), float(np.log(16)), rtol=1e-4, atol=1e-4)
