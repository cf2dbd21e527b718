"""Cold start: products that training never saw, ranked by their attributes, and customers with few events."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.content_knn import ContentKNN, tuned, word_counts
from benchmarks.measure import arguments, imported, last_results, synthetic_bank, write
from recsys.bootstrap import bootstrap, paired_bootstrap
from recsys.bundle import Bundle, Recommender
from recsys.bundle.recommender import product_graph
from recsys.features.definition import FeatureDefinition
from recsys.features.encoder import FIRST
from recsys.features.examples import cuts, fitting_holdings, protocol_examples, scoring_examples
from recsys.features.features import features
from recsys.lake.buckets import stable_hashes
from recsys.lake.store import Lake, LakeWriter
from recsys.metrics import rank_metrics
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
METRICS = ("recall@10", "ndcg@10")
SEEN = 100
"""Latest events that content-kNN reads."""
CUSTOMERS = 5000
"""Most customers of the second table."""
KNOWN = ("customers", "products", "campaigns")
"""Tables that are seen of a customer without any event."""
CUTS = ("no event", "1 event", "2 to 5 events", "all events")
Scores = dict[str, np.ndarray]


@dataclass(frozen=True)
class Question:
    """Who is asked about, in view of which events: feature rows, the latest products, and what was bought next."""

    rows: pl.DataFrame
    latest: pl.Series
    targets: pl.Series


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", choices=SETS, nargs="*", default=list(SETS), help="run these, keep the others")
    judged = "judge on the validation products and customers, for tuning; writes nothing"
    parser.add_argument("--validate", action="store_true", help=judged)
    parser.add_argument(
        "--tenths", type=int, default=len(TENTHS), help="how many tenths of the products to hold out in turn (5)"
    )
    options = parser.parse_args()
    results = last_results("cold_start")
    for catalog, (title, folder, name, changes) in SETS.items():
        if catalog in options.only:
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
    return {"few": _few(lake, config, Recommender(bundle, config.threads))}


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
        "cold": _judged(found, customers, config),
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
    learned = _question(lake, config, recommender, "validation", pl.concat([test, tuning]), tuning)
    knn = _tuned(counts, index, learned, tuning)
    cold = tuning if validate else test
    asked = learned if validate else _question(lake, config, recommender, "test", test, test)
    place = np.array([index[p] for p in cold])
    scores = {
        "two_tower": _by_tower(recommender, asked, products[place]),
        "popularity": np.tile(_likely(warm, config, counts, index, place), (asked.rows.height, 1)),
        "content_knn": knn.scores(_histories(asked, index), place),
    }
    return {
        "customers": asked.rows["customer_id"].to_numpy(),
        "content_knn": _setting(knn),
        "metrics": _metrics(scores, np.ones((asked.rows.height, len(cold)), bool), _targets(asked, cold)),
        "few": _few(warm, config, recommender, knn, index) if few and not validate else {},
    }


def _few(
    lake: Lake,
    config: Config,
    recommender: Recommender,
    knn: ContentKNN | None = None,
    index: Mapping[str, int] | None = None,
) -> dict[str, dict[str, Any]]:
    """The usual test, histories cut to their last events; what is held is never ranked, however little is seen."""
    catalogue = pl.Series(recommender.products)
    none = catalogue.clear()
    popularity = _popularity(lake, config, catalogue)
    whole = _question(lake, config, recommender, "test", none, catalogue)
    allowed = ~_targets(whole, catalogue, "holdings")
    results = {}

    def judge(asked: Question, allowed: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
        scores = {
            "two_tower": recommender.scores(recommender.vectors_from_rows(asked.rows)),
            "popularity": np.tile(popularity, (asked.rows.height, 1)),
        }
        if knn and index:
            place = np.array([index[product] for product in catalogue])
            scores["content_knn"] = knn.scores(_histories(asked, index), place)
        return _judged(_metrics(scores, allowed, targets), asked.rows["customer_id"].to_numpy(), config)

    if config.evaluation.protocol == "temporal":
        asked = _newcomers(lake, config, recommender.definition, catalogue)
        targets = _targets(asked, catalogue)
        if len(targets):
            results[f"newcomers ({len(targets):,})"] = judge(asked, np.ones_like(targets), targets)
    for cut, name in enumerate(CUTS):
        asked = whole if cut == len(CUTS) - 1 else _question(lake, config, recommender, "test", none, catalogue, cut)
        results[name] = judge(asked, allowed, _targets(whole, catalogue))
    return results


def _without(lake: Lake, hidden: pl.Series, out: Path) -> Lake:
    """The lake as if these products had never been; made on first use."""
    if (out / "lake.json").exists():
        return Lake.open(out)
    attributes = {table: lake.attributes(table) for table in lake.tables}
    with LakeWriter(
        out, buckets=lake.buckets, source=lake.source, until=lake.until, attributes=attributes, currency=lake.currency
    ) as writer:
        for table in lake.tables:
            writer.append(table, _shown(lake.read(table), hidden))
    return Lake.open(out)


def _shown(frame: pl.DataFrame, hidden: pl.Series) -> pl.DataFrame:
    named = "product_id" in frame.columns
    return frame.filter(~pl.col("product_id").is_in(hidden.implode())) if named else frame


def _question(
    lake: Lake,
    config: Config,
    recommender: Recommender,
    part: Any,
    hidden: pl.Series,
    wanted: pl.Series,
    cut: int | None = None,
) -> Question:
    """The examples of a part whose next products are `wanted`, at most `CUSTOMERS` where everything is wanted.

    What is `hidden` is in no history. `cut` 0, 1 or 2 leaves no event, the last one, the last 2 to 5 (drawn); 0 nothing
    but attributes.
    """
    found = []
    definition = recommender.definition
    long = definition.model_copy(update={"history_length": SEEN})
    for bucket in range(lake.buckets):
        tables = lake.bucket(bucket)
        examples = protocol_examples(tables, config.evaluation, part, lake.as_of)
        known = pl.col("targets").list.eval(pl.element().filter(pl.element().is_in(wanted.implode())))
        examples = examples.with_columns(known).filter(pl.col("targets").list.len() > 0)
        shown = {name: _shown(table, hidden) for name, table in tables.items()}
        if cut == 0:
            shown = {name: table if name in KNOWN else table.clear() for name, table in shown.items()}
        elif cut is not None:
            shown["interactions"] = _last(shown["interactions"], examples, cut)
        rows = features(shown, examples, definition)
        latest = features(shown, examples, long)["history"]
        found.append(rows.with_columns(latest.alias("latest"), examples["targets"].alias("targets")))
    rows = pl.concat(found).sort("customer_id")
    if hidden.is_empty() and rows.height > CUSTOMERS:
        rows = rows[np.sort(np.random.default_rng(0).permutation(rows.height)[:CUSTOMERS])]
    return Question(rows.drop("latest", "targets"), rows["latest"], rows["targets"])


def _newcomers(lake: Lake, config: Config, definition: FeatureDefinition, wanted: pl.Series) -> Question:
    """Customers whose first day lies within the test's horizon, seen from that day: what they acquire until its end."""
    (cut,) = cuts(config.evaluation, lake.as_of)["test"]
    end = cut + timedelta(days=config.evaluation.horizon_days)
    found = []
    for bucket in range(lake.buckets):
        tables = lake.bucket(bucket)
        events = tables["interactions"].with_columns(pl.col("at").dt.date().alias("day"))
        began = events.group_by("customer_id").agg(pl.col("day").min().alias("as_of"))
        began = began.filter(pl.col("as_of").is_between(cut, end, closed="left"))
        taken = events.filter((pl.col("kind") == "acquired") & (pl.col("day") < end))
        taken = taken.filter(pl.col("product_id").is_in(wanted.implode())).group_by("customer_id")
        asked = began.join(taken.agg(pl.col("product_id").unique().sort().alias("targets")), on="customer_id")
        asked = asked.sort("customer_id")
        examples = scoring_examples(asked["customer_id"], None).with_columns(asked["as_of"])
        rows = features(tables, examples, definition)
        found.append(rows.with_columns(rows["history"].alias("latest"), asked["targets"]))
    rows = pl.concat(found).sort("customer_id")
    return Question(rows.drop("latest", "targets"), rows["latest"], rows["targets"])


def _last(events: pl.DataFrame, examples: pl.DataFrame, cut: int) -> pl.DataFrame:
    """The last events of each customer before the example's point: none, one, or a number from 2 to 5 by customer."""
    order = [name for name in ("at", "position", "event_id", "product_id") if name in events.columns]
    points = examples.select("customer_id", pl.col("as_of").alias("day"), pl.col("position").alias("until"))
    seen = events.join(points, on="customer_id")
    if "at" in events.columns:
        seen = seen.filter(pl.col("day").is_null() | (pl.col("at") < pl.col("day").cast(pl.Datetime("us"))))
    if "position" in events.columns:
        seen = seen.filter(pl.col("until").is_null() | (pl.col("position") < pl.col("until")))
    drawn = pl.Series(stable_hashes(seen["customer_id"]) % 4).cast(pl.Int64)
    many = 2 + drawn if cut == 2 else pl.lit(cut)
    from_end = pl.len() - pl.int_range(pl.len())
    seen = seen.with_columns(many=many).sort("customer_id", *order, nulls_last=False)
    return seen.filter(from_end.over("customer_id") <= pl.col("many")).select(events.columns)


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
    per_word = counts[seen].T @ _popularity(lake, config, known)
    mean = per_word / np.maximum(np.asarray(counts[seen].sum(axis=0)).ravel(), 1)
    return (counts[place] @ mean) / np.maximum(np.asarray(counts[place].sum(axis=1)).ravel(), 1)


def _popularity(lake: Lake, config: Config, products: pl.Series) -> np.ndarray:
    """float [P]: how many customers hold each product, of those that baselines may be fitted on."""
    held = [fitting_holdings(lake.bucket(b), config.evaluation, lake.as_of)["holdings"] for b in range(lake.buckets)]
    counted = pl.concat(held).explode().value_counts(name="n").rename({"holdings": "product_id"})
    return (
        products.to_frame("product_id")
        .join(counted, on="product_id", how="left", maintain_order="left")["n"]
        .fill_null(0)
        .cast(pl.Float64)
        .to_numpy()
    )


def _tuned(counts: Any, index: dict[str, int], asked: Question, wanted: pl.Series) -> ContentKNN:
    place = np.array([index[product] for product in wanted])
    targets = _targets(asked, wanted)
    allowed = ~_targets(asked, wanted, "holdings")
    return tuned(counts, _histories(asked, index), place, targets, allowed)


def _histories(asked: Question, index: Mapping[str, int]) -> list[np.ndarray]:
    return [np.array([index[product] for product in row], dtype=np.int64) for row in asked.latest.to_list()]


def _targets(asked: Question, wanted: pl.Series, column: str = "targets") -> np.ndarray:
    """bool [N, C]: which of the wanted products each customer bought next, or holds."""
    lists = asked.targets if column == "targets" else asked.rows[column]
    pairs = lists.alias("product_id").to_frame().with_row_index("row").explode("product_id").drop_nulls()
    columns = wanted.alias("product_id").to_frame().with_row_index("column")
    pairs = pairs.join(columns, on="product_id")
    matrix = np.zeros((len(lists), len(wanted)), dtype=bool)
    matrix[pairs["row"].to_numpy(), pairs["column"].to_numpy()] = True
    return matrix


def _metrics(scores: Scores, allowed: np.ndarray, targets: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    return {name: rank_metrics(values, allowed, targets, (10,)) for name, values in scores.items()}


def _judged(found: dict[str, dict[str, np.ndarray]], customers: np.ndarray, config: Config) -> dict[str, Any]:
    """Means with intervals over customers, and what two_tower has over each other model, paired."""
    samples, seed = config.evaluation.bootstrap, config.evaluation.seed
    own = found["two_tower"]
    return {
        metric: {
            **{name: asdict(bootstrap(found[name][metric], customers, samples, seed)) for name in found},
            **{
                f"two_tower − {name}": asdict(
                    paired_bootstrap(own[metric], found[name][metric], customers, samples, seed)
                )
                for name in found
                if name != "two_tower"
            },
        }
        for metric in METRICS
    }


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
        return _few_text(result)
    settings = "; ".join(", ".join(f"{n} {v:g}" for n, v in each.items()) for each in result["content_knn"])
    each = ", ".join(f"{run['two_tower']:.4f} / {run['content_knn']:.4f}" for run in result["each"])
    text = (
        f"{result['products']:,} unseen products, {result['customers']:,} customers.\n\n"
        f"{_table(METRICS, [result['cold'][metric] for metric in METRICS])}\n\n"
        f"recall@10 of two_tower / content_knn for each tenth: {each}. Content-kNN as tuned for each: {settings}."
    )
    return f"{text}\n\n{_few_text(result)}" if result["few"] else text


def _few_text(result: dict[str, Any]) -> str:
    text = "NDCG@10 of all known products, by how much of the history is seen:\n\n"
    return text + _table(tuple(result["few"]), [cell["ndcg@10"] for cell in result["few"].values()])


def _table(heads: Sequence[str], columns: Sequence[dict[str, dict[str, float]]]) -> str:
    lines = ["| model | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name in columns[0]:
        sign = "+" if "−" in name else ""
        cells = [" ".join(_cell(column[name], sign)) for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(interval: dict[str, float], sign: str) -> tuple[str, str]:
    value, low, high = (f"{interval[key]:{sign}.4f}" for key in ("value", "low", "high"))
    return value, f"[{low}, {high}]"


if __name__ == "__main__":
    main()
