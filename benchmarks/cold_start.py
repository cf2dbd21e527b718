"""Cold start: products that training never saw, ranked by their attributes, and customers with few events."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.cold_customers import by_history, by_history_text
from benchmarks.cold_questions import (
    METRICS,
    Question,
    histories,
    judged,
    metrics_of,
    popularity_of,
    question,
    table,
    targets_of,
    without,
)
from benchmarks.content_knn import ContentKNN, tuned, word_counts
from benchmarks.measure import arguments, imported, last_results, synthetic_bank, write
from recsys.bundle import Bundle, Recommender
from recsys.bundle.recommender import product_graph
from recsys.features.encoder import FIRST
from recsys.lake.store import Lake, LakeWriter
from recsys.progress import progress_bar
from training.config import Config, load_config
from training.fit import train

BANK = "synthetic"
SETS = {
    "online_retail_ii": ("Online Retail II, described by words and a price", "online_retail_ii", "retail", ()),
    "s3rec_beauty": (
        "Amazon Beauty, described by tags",
        "s3rec_sequential",
        "beauty",
        (
            "evaluation.refit=true",
            "model.product_id_dropout=0.5",
            "model.tag_start=true",
            "model.dropout=0.4",
            "training.epochs=5",
        ),
    ),
    BANK: (
        "Synthetic bank, 20,000 customers",
        "",
        "demo",
        ("evaluation.refit=true", "adoption=null", "churn=null", "embedding=null", "segments=null"),
    ),
}
"""Title, folder, configuration, and what was changed in it: settings by the tenth for tuning; refitted on validation,
since content-kNN, which has nothing to fit, reads the latest events, too. The bank has customers who are cold alone."""
SHARE = 10
"""One product in so many is held out."""
TENTHS = (0, 2, 3, 4, 5)
"""Which tenths of the products, in a drawn order, are held out for the test, one after the other."""
TUNING_TENTH = 1


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", choices=SETS, nargs="*", default=list(SETS), help="run these, keep the others")
    tuning = "judge on the validation products and their customers alone, for tuning; writes nothing"
    parser.add_argument("--validate", action="store_true", help=tuning)
    parser.add_argument(
        "--tenths", type=int, default=len(TENTHS), help="how many tenths of the products to hold out in turn (5)"
    )
    options = parser.parse_args()
    results = last_results("cold_start")
    for catalog, (title, folder, name, changes) in SETS.items():
        if catalog in options.only and not (catalog == BANK and options.validate):
            config = load_config(name, [*changes, *options.set])
            if catalog == BANK:
                results[catalog] = _bank(synthetic_bank(20_000, 0, options.work), config, options.work)
            else:
                lake = imported(catalog, options.datasets, folder, options.work)
                results[catalog] = measured(lake, config, options.work, options.tenths, options.validate)
            print(f"## {title}\n\n{_text(results[catalog])}")
    if not options.validate:
        sections = [f"## {SETS[catalog][0]}\n\n{_text(results[catalog])}" for catalog in SETS if catalog in results]
        write("cold_start", "Cold products and cold customers", _INTRODUCTION + "\n\n".join(sections), results)


def _bank(lake: Lake, config: Config, work: Path) -> dict[str, Any]:
    """Cold customers of a bank, none of whose products is new."""
    with progress_bar("Training on the synthetic bank") as progress:
        bundle = Bundle.load(train(config, lake, work / "bundles", progress))
    return {"few": by_history(lake, config, Recommender(bundle, config.threads))}


def measured(lake: Lake, config: Config, work: Path, tenths: int, validate: bool = False) -> dict[str, Any]:
    """Every model on the unseen products of each tenth, all of their customers together; cold customers of the first.

    With `validate`, the products that are asked for are those of the tenth for tuning.
    """
    products = lake.read("products").sort("product_id")
    drawn = products["product_id"].to_numpy()[np.random.default_rng(0).permutation(products.height)]
    size = products.height // SHARE
    runs = []
    for number in TENTHS[:tenths]:
        test, tuning = (pl.Series(sorted(drawn[i * size : (i + 1) * size])) for i in (number, TUNING_TENTH))
        hidden = pl.concat([test, tuning]) if validate else test
        without = f"{number}-{TUNING_TENTH}" if validate else f"{number}"
        warm = _without(lake, hidden, work / f"{lake.source}-without-{without}")
        with progress_bar(f"Training without tenth {number}") as progress:
            bundle = Bundle.load(train(config, warm, work / "bundles", progress))
        runs.append(_run(lake, warm, config, bundle, products, (test, tuning), validate, few=not runs))
    customers = np.concatenate([run["customers"] for run in runs])
    found = {
        model: {metric: np.concatenate([run["metrics"][model][metric] for run in runs]) for metric in METRICS}
        for model in runs[0]["metrics"]
    }
    return {
        "products": size * len(runs),
        "customers": len(np.unique(customers)),
        "content_knn": [run["content_knn"] for run in runs],
        "each": [{name: float(m[METRICS[0]].mean()) for name, m in run["metrics"].items()} for run in runs],
        "cold": judged(found, customers, config),
        "few": runs[0]["few"],
    }


def _run(
    lake: Lake,
    warm: Lake,
    config: Config,
    bundle: Bundle,
    products: pl.DataFrame,
    held_out: tuple[pl.Series, pl.Series],
    validate: bool,
    few: bool,
) -> dict[str, Any]:
    """A bundle that was trained without the products of the test, `held_out[0]`; content-kNN learns from the others."""
    test, tuning = held_out
    recommender = Recommender(bundle, config.threads)
    counts = word_counts(products, bundle.definition.product_attributes)
    index = {product: i for i, product in enumerate(products["product_id"])}
    learned = question(lake, config, recommender, "validation", pl.concat([test, tuning]), tuning)
    knn = _tuned(counts, index, learned, tuning)
    cold = tuning if validate else test
    asked = learned if validate else question(lake, config, recommender, "test", test, test)
    place = np.array([index[p] for p in cold])
    scores = {
        "two_tower": _by_tower(recommender, asked, products[place]),
        "popularity": np.tile(_likely(warm, config, counts, index, place), (asked.rows.height, 1)),
        "content_knn": knn.scores(histories(asked, index), place),
    }
    return {
        "customers": asked.rows["customer_id"].to_numpy(),
        "content_knn": _setting(knn),
        "metrics": metrics_of(scores, np.ones((asked.rows.height, len(cold)), bool), targets_of(asked, cold)),
        "few": by_history(warm, config, recommender, knn, index) if few and not validate else {},
    }


def _without(lake: Lake, hidden: pl.Series, out: Path) -> Lake:
    """The lake as if these products had never been; made on first use."""
    if (out / "lake.json").exists():
        return Lake.open(out)
    attributes = {table: lake.attributes(table) for table in lake.tables}
    with LakeWriter(
        out, buckets=lake.buckets, source=lake.source, until=lake.until, attributes=attributes, currency=lake.currency
    ) as writer:
        for table in lake.tables:
            writer.append(table, without(lake.read(table), hidden))
    return Lake.open(out)


def _by_tower(recommender: Recommender, asked: Question, products: pl.DataFrame) -> np.ndarray:
    """float32 [N, C]: the scores of products that the bundle does not know, from the product tower's own graph."""
    arrays = recommender.encoder.encode_products(products)
    assert (arrays["product"] < FIRST).all(), "a product that was held out is known to the bundle"
    (vectors,) = product_graph(recommender.bundle, recommender.product_vectors.shape[1]).run(arrays)
    return recommender.vectors_from_rows(asked.rows) @ vectors.T


def _likely(lake: Lake, config: Config, counts: Any, index: dict[str, int], place: np.ndarray) -> np.ndarray:
    """float [C]: how many customers a product with these words has on average: mean over its words of their mean."""
    known = pl.Series(sorted(lake.read("products")["product_id"]))
    seen = np.array([index[product] for product in known])
    per_word = counts[seen].T @ popularity_of(lake, config, known)
    mean = per_word / np.maximum(np.asarray(counts[seen].sum(axis=0)).ravel(), 1)
    return (counts[place] @ mean) / np.maximum(np.asarray(counts[place].sum(axis=1)).ravel(), 1)


def _tuned(counts: Any, index: dict[str, int], asked: Question, wanted: pl.Series) -> ContentKNN:
    place = np.array([index[product] for product in wanted])
    targets = targets_of(asked, wanted)
    allowed = ~targets_of(asked, wanted, "holdings")
    return tuned(counts, histories(asked, index), place, targets, allowed)


def _setting(knn: ContentKNN) -> dict[str, float]:
    return {"idf_power": knn.idf_power, "recency": knn.recency, "sharpness": knn.sharpness}


_INTRODUCTION = f"""\
**Cold products.** One product in {SHARE}, drawn at random, leaves training and every history; then another tenth, and
so on, {len(TENTHS)} times, each with a training of its own. The customers of the test whose next product is one of them
are asked, and only these products are ranked: by the product tower of the bundle, to which they are unknown ids with
attributes; by content-kNN (the mean likeness, in tf-idf-weighted tags and words, to what the customer bought, the
latest most; the power of the idf, the weight of recency and the sharpness of the likeness tuned, each time, on a tenth
that is never in the test and on validation customers); and by popularity, which knows nothing of a new product and so
ranks it by how popular the products with its tags and words are on average.

**Cold customers.** The usual test of the first of these bundles, all known products ranked, with the histories cut to
their last events; content-kNN as tuned above. Products that the customer holds are not ranked, whether a model is shown
them or not. The synthetic bank has customers who are cold alone: without any event only their attributes are seen, with
few interactions all other tables are as they are; content-kNN, which is tuned on unseen products, is left out.
Newcomers are those who came within the test's horizon, seen from their first day: nobody's history had to be cut. The
bank has none in its last quarter.

The recommender is refitted on training and validation (`evaluation.refit`): content-kNN, which has nothing to fit, has
the events of validation before it, too.

All intervals are 95 % bootstrap intervals over customers; the differences are paired.

"""


def _text(result: dict[str, Any]) -> str:
    if "cold" not in result:
        return by_history_text(result)
    settings = "; ".join(", ".join(f"{n} {v:g}" for n, v in each.items()) for each in result["content_knn"])
    each = ", ".join(f"{run['two_tower']:.4f} / {run['content_knn']:.4f}" for run in result["each"])
    text = (
        f"{result['products']:,} unseen products, {result['customers']:,} customers.\n\n"
        f"{table(METRICS, [result['cold'][metric] for metric in METRICS])}\n\n"
        f"recall@10 of two_tower / content_knn for each tenth: {each}. Content-kNN as tuned for each: {settings}."
    )
    return f"{text}\n\n{by_history_text(result)}" if result["few"] else text


if __name__ == "__main__":
    main()
