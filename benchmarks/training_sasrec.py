"""SASRec of RecTools on the sequences that `benchmarks.training` wrote, in RecTools' own environment.

RecTools needs an older NumPy than this project, so this script imports nothing of it. It writes the learning curve
after every epoch: seconds of training without those of judging, and NDCG@10 on the validation item.
"""

import argparse
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from rectools import Columns  # noqa: E402
from rectools.dataset import Dataset  # noqa: E402
from rectools.models import SASRecModel  # noqa: E402

TOP = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="sequences: customers, products, positions, asked, targets (.npz)")
    parser.add_argument("out", type=Path, help="where the learning curve goes (.json)")
    for name, default in (("dim", 128), ("length", 20), ("epochs", 30), ("patience", 3), ("batch", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--loss", default="softmax", help="softmax, or BCE, gBCE, sampled_softmax with --negatives")
    parser.add_argument("--negatives", type=int, default=1)
    parser.add_argument("--budget", type=float, default=3600, help="no epoch begins after so many seconds of training")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    np.random.seed(0)
    read = dict(np.load(options.data))
    began = time.perf_counter()
    dataset = Dataset.construct(
        pd.DataFrame(
            {
                Columns.User: read["customers"],
                Columns.Item: read["products"],
                Columns.Weight: 1.0,
                Columns.Datetime: pd.Timestamp("2000-01-01") + pd.to_timedelta(read["positions"], unit="D"),
            }
        )
    )
    model = SASRecModel(
        n_factors=options.dim,
        session_max_len=options.length,
        loss=options.loss,
        n_negatives=options.negatives,
        batch_size=options.batch,
        epochs=1,
        recommend_torch_device="cpu",
    )
    curve: list[dict[str, float]] = []
    seconds = time.perf_counter() - began
    while len(curve) < options.epochs and seconds < options.budget and not _over(curve, options.patience):
        began = time.perf_counter()
        model.fit_partial(dataset, min_epochs=1, max_epochs=1)
        seconds += time.perf_counter() - began
        curve.append({"epoch": len(curve) + 1, "seconds": seconds, "ndcg@10": _ndcg(model, dataset, read)})
        print(f"{options.loss}: {curve[-1]}", flush=True)
        partial = options.out.with_suffix(".partial")
        partial.write_text(json.dumps(curve))
        os.replace(partial, options.out)


def _over(curve: list[dict[str, float]], patience: int) -> bool:
    values = [record["ndcg@10"] for record in curve]
    return bool(values) and len(values) - 1 - int(np.argmax(values)) >= patience


def _ndcg(model: Any, dataset: Any, read: dict[str, np.ndarray]) -> float:
    """Mean over the customers asked of 1 / log2(rank + 1) of the validation item, if among the first ten."""
    targets = pd.DataFrame({Columns.User: read["asked"], "target": read["targets"]})
    listed = model.recommend(users=read["asked"], dataset=dataset, k=TOP, filter_viewed=True)
    found = listed.merge(targets, on=Columns.User)
    ranks = found.loc[found[Columns.Item] == found["target"], Columns.Rank].to_numpy()
    return float((1 / np.log2(ranks + 1)).sum() / len(targets))


if __name__ == "__main__":
    main()
