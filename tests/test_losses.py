"""The softmax losses against their definition, and what they do to masked products."""

import pytest
import torch
from torch import Tensor

from recsys import losses
from recsys.losses import full_softmax_loss, sample_candidates, sampled_softmax_loss

NONE = torch.full((1, 1), -1)


def vectors(customers: int, products: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(n, 5, generator=generator, dtype=dtype) for n in (customers, products)]
    return made[0].requires_grad_(), made[1].requires_grad_()


def by_definition(u: Tensor, v: Tensor, targets: list[list[int]], weights: Tensor, excluded: list[list[int]]) -> Tensor:
    """Row by row, with a dense softmax."""
    total = u.new_zeros(())
    for row, (wanted, left_out) in enumerate(zip(targets, excluded, strict=True)):
        candidates = [p for p in range(len(v)) if p in wanted or p not in left_out]
        log_probability = torch.log_softmax(v[candidates] @ u[row], dim=0)
        total = total - weights[row] * log_probability[[candidates.index(t) for t in wanted]].mean()
    return total / weights.sum()


@pytest.mark.parametrize("cells", [1, 20, 1 << 20])
def test_full_softmax_is_its_definition_in_chunks_of_any_size(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_CHUNK_CELLS", cells)
    targets, excluded = [[2], [0, 4], [7]], [[1, 2], [], [0, 1, 2, 3]]
    weights = torch.tensor([1.0, 0.5, 3.0], dtype=torch.float64)
    padded = torch.tensor([[2, -1], [0, 4], [-1, 7]])
    left_out = torch.tensor([[1, 2, -1, -1], [-1, -1, -1, -1], [0, 1, 2, 3]])
    answers = []
    for loss in (
        lambda u, v: by_definition(u, v, targets, weights, excluded),
        lambda u, v: full_softmax_loss(u, v, padded, weights, left_out),
    ):
        u, v = vectors(3, 8)
        value = loss(u, v)
        value.backward()
        answers.append((value.detach(), u.grad, v.grad))
    for expected, got in zip(*answers, strict=True):
        torch.testing.assert_close(got, expected)


def test_an_excluded_product_has_no_softmax_mass() -> None:
    u, v = vectors(4, 6)
    targets, excluded = torch.tensor([[0], [1], [2], [3]]), torch.full((4, 1), 5)
    loss = full_softmax_loss(u, v, targets, torch.ones(4, dtype=torch.float64), excluded)
    loss.backward()
    assert v.grad is not None and (v.grad[5] == 0).all() and (v.grad[4] != 0).any()
    with torch.no_grad():
        v[5] += 100.0
    moved = full_softmax_loss(u, v, targets, torch.ones(4, dtype=torch.float64), excluded)
    assert moved.item() == loss.item()


def test_rows_without_target_or_weight_count_for_nothing() -> None:
    u, v = vectors(3, 6)
    targets, weights = torch.tensor([[1], [-1], [2]]), torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    loss = full_softmax_loss(u, v, targets, weights, NONE.expand(3, 1))
    alone = full_softmax_loss(u[:1], v, targets[:1], weights[:1], NONE)
    loss.backward()
    torch.testing.assert_close(loss, alone)
    assert u.grad is not None and (u.grad[1:] == 0).all()
    empty = full_softmax_loss(u, v, NONE.expand(3, 1), weights, NONE.expand(3, 1))
    assert empty.item() == 0


def popular_batch(rows: int, products: int) -> tuple[Tensor, Tensor]:
    """Targets drawn with Zipf's law, and its probabilities."""
    share = 1 / torch.arange(1, products + 1, dtype=torch.float64)
    share /= share.sum()
    return torch.multinomial(share, rows, replacement=True, generator=torch.Generator().manual_seed(1))[:, None], share


def sampled_gradient(u: Tensor, v: Tensor, targets: Tensor, share: Tensor, sign: float, draws: int) -> Tensor:
    """Gradient of the products for the first row, the other rows being redrawn from the popularity each time."""
    generator = torch.Generator().manual_seed(2)
    total = torch.zeros_like(v)
    for _ in range(draws):
        others = torch.multinomial(share, len(targets) - 1, replacement=True, generator=generator)[:, None]
        batch = torch.cat([targets[:1], others])
        columns, correction = sample_candidates(batch, share, uniform=100, generator=generator)
        weights = torch.zeros(len(batch), dtype=u.dtype)
        weights[0] = 1.0
        loss = sampled_softmax_loss(
            u, v[columns], columns, sign * correction, batch, weights, torch.full((len(batch), 1), 3)
        )
        total += torch.autograd.grad(loss, v)[0]
    return total / draws


def test_the_sampled_gradient_approaches_the_full_one_and_only_with_the_right_correction() -> None:
    u, v = vectors(128, 500)
    u = u.detach() / 2
    targets, share = popular_batch(128, 500)
    weights = torch.zeros(128, dtype=torch.float64)
    weights[0] = 1.0
    full = torch.autograd.grad(full_softmax_loss(u, v, targets, weights, torch.full((128, 1), 3)), v)[0]
    distance = {
        sign: ((sampled_gradient(u, v, targets, share, sign, 300) - full).norm() / full.norm()).item()
        for sign in (1.0, 0.0, -1.0)
    }
    assert distance[1.0] < 0.1
    assert distance[0.0] > 2.5 * distance[1.0] and distance[-1.0] > 5 * distance[1.0]


def test_an_accidental_hit_is_no_negative() -> None:
    """Two rows with the same and only target: nothing is left to tell it from, so there is nothing to learn."""
    u, v = vectors(2, 6)
    targets, weights = torch.tensor([[4], [4]]), torch.ones(2, dtype=torch.float64)
    columns, correction = sample_candidates(targets, torch.full((6,), 1 / 6, dtype=torch.float64), uniform=0)
    loss = sampled_softmax_loss(u, v[columns], columns, correction, targets, weights, NONE.expand(2, 1))
    assert columns.tolist() == [4] and loss.item() == pytest.approx(0, abs=1e-12)


def test_an_excluded_candidate_has_no_mass_in_the_sampled_loss() -> None:
    u, v = vectors(2, 6)
    targets, weights = torch.tensor([[4, -1], [2, 3]]), torch.tensor([1.0, 0.0], dtype=torch.float64)
    columns, correction = sample_candidates(targets, torch.full((6,), 1 / 6, dtype=torch.float64), uniform=200)
    excluded = torch.tensor([[0, 2, 4], [-1, -1, -1]])
    loss = sampled_softmax_loss(u, v[columns], columns, correction, targets, weights, excluded)
    (gradient,) = torch.autograd.grad(loss, v)
    assert (gradient[[0, 2]] == 0).all() and all((gradient[p] != 0).any() for p in (1, 3, 4, 5))


def test_candidates_are_the_batch_and_uniform_draws() -> None:
    targets, share = popular_batch(50, 1000)
    columns, correction = sample_candidates(targets, share, uniform=100)
    assert set(targets.flatten().tolist()) <= set(columns.tolist())
    assert len(columns) == len(correction) and columns.is_floating_point() is False
    assert (columns[1:] > columns[:-1]).all()
