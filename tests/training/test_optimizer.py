"""The optimiser of sparse tables against torch's own, and the common clipping of dense and sparse gradients."""

import torch
from torch import Tensor, nn

from training.optimizer import SparseAdamW, clip_gradients

SETTINGS = {"lr": 0.1, "weight_decay": 0.3}
ROWS, DIM = 6, 4


def loss(table: nn.Embedding, index: list[int], seed: int) -> Tensor:
    wanted = torch.randn(len(index), DIM, generator=torch.Generator().manual_seed(seed))
    return ((table(torch.tensor(index)) - wanted) ** 2).sum()


def tables() -> tuple[nn.Embedding, nn.Embedding]:
    torch.manual_seed(0)
    sparse, dense = nn.Embedding(ROWS, DIM, sparse=True), nn.Embedding(ROWS, DIM)
    dense.load_state_dict(sparse.state_dict())
    return sparse, dense


def test_a_table_of_which_every_row_is_named_is_learned_as_by_adamw() -> None:
    sparse, dense = tables()
    ours, theirs = SparseAdamW(sparse.parameters(), **SETTINGS), torch.optim.AdamW(dense.parameters(), **SETTINGS)
    for step in range(5):
        for table, optimizer in ((sparse, ours), (dense, theirs)):
            optimizer.zero_grad()
            loss(table, [3, 1, 0, 5, 2, 4, 1], step).backward()
            optimizer.step()
    torch.testing.assert_close(sparse.weight, dense.weight)


def test_dense_parameters_are_learned_as_by_adamw() -> None:
    _, ours = tables()
    _, theirs = tables()
    for table, kind in ((ours, SparseAdamW), (theirs, torch.optim.AdamW)):
        optimizer = kind(table.parameters(), **SETTINGS)
        optimizer.step(lambda t=table, o=optimizer: (o.zero_grad(), loss(t, [1, 2], 0).backward()))
    assert torch.equal(ours.weight, theirs.weight)


def test_rows_that_no_gradient_names_stay_as_they_are() -> None:
    table, _ = tables()
    before = table.weight.detach().clone()
    optimizer = SparseAdamW(table.parameters(), **SETTINGS)
    for step in range(3):
        optimizer.zero_grad()
        loss(table, [1, 4, 4], step).backward()
        optimizer.step()
    same = (table.weight == before).all(dim=1)
    assert same.tolist() == [True, False, True, True, False, True]
    moments = optimizer.state[table.weight]["exp_avg_sq"]
    assert (moments[same] == 0).all() and (moments[~same] > 0).all()


def test_dense_and_sparse_gradients_are_shortened_together() -> None:
    sparse, dense = tables()
    for table in (sparse, dense):
        loss(table, [1, 1, 2], 0).backward()
    whole = torch.sqrt(2 * (dense.weight.grad**2).sum())
    clip_gradients([sparse.weight, dense.weight], 0.5)
    torch.testing.assert_close(dense.weight.grad, sparse.weight.grad.to_dense())
    torch.testing.assert_close(torch.sqrt(2 * (dense.weight.grad**2).sum()), torch.tensor(0.5))
    assert whole > 0.5
    kept = dense.weight.grad.clone()
    clip_gradients([sparse.weight, dense.weight], 10.0)
    assert torch.equal(dense.weight.grad, kept)
