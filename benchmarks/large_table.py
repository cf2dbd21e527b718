"""A training step by the size of the product table: all of it, or the rows that the batch names."""

import statistics
import time
from typing import Any

import numpy as np
import torch

import recsys.two_tower
from benchmarks.measure import arguments, write
from recsys.features.encoder import FIRST, ArrayShape
from recsys.two_tower import ModelConfig, TwoTower
from training.batches import Examples
from training.loop import Loop, TrainingConfig
from training.network import LossConfig, Ranking
from training.optimizer import clip_gradients

TABLES = (10_000, 50_000, 200_000, 1_000_000)
DIM, BATCH, HISTORY, NEGATIVES, TAGS = 64, 512, 20, 2048, 5
ROUNDS, THREADS = 15, 2


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--tables", type=int, nargs="*", default=TABLES, help="numbers of products")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    results = []
    for products in options.tables:
        ways = {"all rows": _steps(products, products + FIRST), "named rows": _steps(products, 0)}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, step in ways.items():
                began = time.perf_counter()
                step()
                seconds[name].append(time.perf_counter() - began)
        results.append({"products": products, **seconds})
        print(_row(results[-1]), flush=True)
    text = (
        f"Milliseconds of a whole step (forward, backward, clipping, AdamW) of the recommender: batches of {BATCH}, "
        f"histories of {HISTORY}, vectors of {DIM}, {TAGS} tags a product, {NEGATIVES:,} negatives, {THREADS} threads; "
        f"medians of {ROUNDS} steps, the two ways in turn in one process; products drawn by 1 / rank. Tables of more "
        f"than {recsys.two_tower.SPARSE_ROWS:,} products are read by named rows.\n\n"
        "| products | all rows | named rows | ratio |\n|---|---|---|---|\n" + "\n".join(map(_row, results))
    )
    write("large_table", "A training step by the size of the product table", text, {"tables": results})


def _steps(products: int, limit: int) -> Any:
    """A callable that takes one step of a recommender whose tables above `limit` rows are read by named rows."""
    rng = np.random.default_rng(0)
    shape = ArrayShape((), 0, 0, False, HISTORY, 0, 0, products + FIRST, (), 0, 1000 + FIRST)
    catalogue = {
        "product": torch.arange(FIRST, products + FIRST, dtype=torch.int32),
        "product_tags": torch.from_numpy(rng.integers(FIRST, 1000, (products, TAGS)).astype(np.int32)),
    }
    drawn = (
        np.minimum((products ** rng.random((ROUNDS + 1, BATCH, HISTORY + 1))).astype(np.int32), products - 1) + FIRST
    )
    examples = [
        Examples({"history": d[:, 1:]}, d[:, :1], d[:, 1:], np.ones(BATCH, np.float32)).batch(slice(0, BATCH))
        for d in drawn
    ]
    torch.manual_seed(0)
    training = TrainingConfig(batch_size=BATCH)
    shares = torch.full((products,), 1 / products)
    model = TwoTower(ModelConfig(dim=DIM), shape, catalogue, shares.log()).train()
    task = Ranking(model, LossConfig(memory=0, negatives=NEGATIVES), training, shares, None)
    optimizer = Loop(task, training, 0).configure_optimizers()["optimizer"]
    batches = iter(examples)

    def step() -> None:
        recsys.two_tower.SPARSE_ROWS, before = limit, recsys.two_tower.SPARSE_ROWS
        optimizer.zero_grad()
        task.loss(next(batches)).backward()
        clip_gradients(model.parameters(), training.gradient_clip)
        optimizer.step()
        recsys.two_tower.SPARSE_ROWS = before

    step()
    return step


def _row(result: dict[str, Any]) -> str:
    whole, named = (statistics.median(result[name]) * 1e3 for name in ("all rows", "named rows"))
    return f"| {result['products']:,} | {whole:.1f} | {named:.1f} | {whole / named:.1f} |"


if __name__ == "__main__":
    main()
