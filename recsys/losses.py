"""Softmax losses of the two-tower model over a catalogue: exact, and sampled with the logQ correction.

Vectors are customers [B, D] and products [P, D]; the score is their dot product, temperature already inside. Targets
[B, T] and excluded products [B, H] are column numbers of the catalogue, -1 where there is none. A row with several
targets asks for all of them alike: its loss is the mean over its targets, times the row's weight. The loss of a batch
is the weighted mean of its rows; rows without a target count for nothing.
"""

import torch
from torch import Tensor, nn

_CHUNK_CELLS = 1 << 20
"""Scores held at once by the exact loss: 4 MiB, so that a chunk is still in the cache when it is read again."""


def full_softmax_loss(
    customers: Tensor, products: Tensor, targets: Tensor, weights: Tensor, excluded: Tensor
) -> Tensor:
    """Cross entropy of the softmax over the whole catalogue [P] without the excluded products; a scalar.

    A product that is both target and excluded counts as a target. The scores [B, P] are never held at once.
    """
    share = _row_shares(targets, weights)
    rows, columns = _excluded_cells(excluded, targets)
    total = _WeightedLogSumExp.apply(customers, products, share, rows, columns)
    return total - (share * _mean_target_score(customers, products, targets)).sum()


def sampled_softmax_loss(
    customers: Tensor,
    candidates: Tensor,
    columns: Tensor,
    log_weights: Tensor,
    targets: Tensor,
    weights: Tensor,
    excluded: Tensor,
) -> Tensor:
    """The same loss with the catalogue's sum estimated from sampled candidates; a scalar.

    candidates [C, D] are the vectors of the distinct `columns` [C] (ascending; every target of the batch is among
    them), log_weights [C] their logQ corrections from `sample_candidates`. A row's own targets are certain to be
    present, so they enter its sum once and uncorrected; an accidental hit, a candidate that is a target of the row,
    and every excluded product have no part in the row's negatives. The estimate of the sum is unbiased. Sources: Yi et
    al. 2019 (RecSys), equation 5, for logQ; Khrylchenko et al. 2025 (arXiv 2507.09331) for leaving the positive out.
    """
    share = _row_shares(targets, weights)
    present = targets >= 0
    place = torch.searchsorted(columns, targets.clamp(min=0)).clamp(max=len(columns) - 1)
    rows, hits = _cells_among(torch.cat([targets, excluded], dim=1), columns)
    scores = customers @ candidates.T
    negatives = (scores + log_weights).index_put((rows, hits), scores.new_tensor(-torch.inf))
    own = scores.gather(1, place).masked_fill(~present, -torch.inf)
    log_sum = torch.logsumexp(torch.cat([negatives, own], dim=1)[share > 0], dim=1)
    mean_own = own.masked_fill(~present, 0.0).sum(1) / present.sum(1).clamp(min=1)
    return (share[share > 0] * log_sum).sum() - (share * mean_own).sum()


def sample_candidates(
    targets: Tensor, probabilities: Tensor, uniform: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """The distinct columns [C] of the batch's targets and of `uniform` uniform draws, and their logQ corrections [C].

    probabilities [P]: each product's share of all training targets. A column is expected n·q + M/P times, n targets in
    the batch and M uniform draws; the correction is log(times seen) - log(times expected), added to scores that
    already hold the temperature.
    """
    drawn = torch.randint(len(probabilities), (uniform,), generator=generator).to(targets.device)
    batch = targets[targets >= 0]
    columns, seen = torch.unique(torch.cat([batch, drawn]), return_counts=True)
    expected = len(batch) * probabilities[columns] + uniform / len(probabilities)
    return columns, seen.log() - expected.log()


class _WeightedLogSumExp(torch.autograd.Function):
    """Sum over rows b of share[b] · log(sum over columns p of exp(customers[b] · products[p])), cells left out.

    The gradient is worked out chunk by chunk in the forward pass, while the scores are in the cache: measured 54 ms
    instead of 160-220 ms through autograd at 1,024 x 12,101, D = 64, two threads. (rows, columns) are ordered by row.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        customers: Tensor,
        products: Tensor,
        share: Tensor,
        rows: Tensor,
        columns: Tensor,
    ) -> Tensor:
        count, size = len(customers), max(1, _CHUNK_CELLS // max(1, len(products)))
        starts = torch.arange(0, count + size, size, device=rows.device)
        bounds = torch.searchsorted(rows, starts).tolist()
        to_customers, to_products = torch.empty_like(customers), torch.zeros_like(products)
        total = customers.new_zeros(())
        for chunk, start in enumerate(range(0, count, size)):
            part, cells = slice(start, start + size), slice(bounds[chunk], bounds[chunk + 1])
            scores = customers[part] @ products.T
            scores[rows[cells] - start, columns[cells]] = -torch.inf
            highest = scores.amax(dim=1, keepdim=True)
            sums = scores.sub_(highest).exp_().sum(dim=1, keepdim=True)
            shares = share[part, None]
            total += (shares * (highest + sums.log())).sum()
            gradient = scores.mul_(shares / sums)
            to_customers[part] = gradient @ products
            to_products.addmm_(gradient.T, customers[part])
        ctx.save_for_backward(to_customers, to_products)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        to_customers, to_products = ctx.saved_tensors
        return gradient * to_customers, gradient * to_products, None, None, None


def _row_shares(targets: Tensor, weights: Tensor) -> Tensor:
    """[B] each row's part of the batch's mean; 0 for rows without a target."""
    useful = weights * (targets >= 0).any(dim=1)
    return useful / useful.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def _mean_target_score(customers: Tensor, products: Tensor, targets: Tensor) -> Tensor:
    """[B] mean score of the row's targets, 0 without any."""
    present = targets >= 0
    counts = present.sum(1)
    mean = nn.functional.embedding_bag(targets[present], products, counts.cumsum(0) - counts, mode="mean")
    return (customers * mean).sum(1)


def _excluded_cells(excluded: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (ascending) and columns of the excluded products that are no target of their row."""
    rows, places = (excluded >= 0).nonzero(as_tuple=True)
    asked, asked_places = (targets >= 0).nonzero(as_tuple=True)
    columns, wanted = excluded[rows, places], targets[asked, asked_places]
    if not len(columns) or not len(wanted):
        return rows, columns
    size = torch.maximum(columns.max(), wanted.max()) + 1
    cells, kept = rows * size + columns, (asked * size + wanted).sort().values
    free = kept[torch.searchsorted(kept, cells).clamp(max=len(kept) - 1)] != cells
    return rows[free], columns[free]


def _cells_among(products: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Row and place in `columns` (ascending) of every product [B, K] that is among them."""
    place = torch.searchsorted(columns, products).clamp(max=len(columns) - 1)
    rows, places = ((products >= 0) & (columns[place] == products)).nonzero(as_tuple=True)
    return rows, place[rows, places]
