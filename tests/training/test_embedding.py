"""Training of embeddings and segments: what is read, the same bundle again, and input that is not as it should be."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.bundle import Bundle, verify
from recsys.bundle.embedding import CustomerEmbedding
from recsys.bundle.segmentation import Segmentation
from recsys.errors import ConfigError, DataError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Attribute, Lake
from tests.card_customers import ATTRIBUTES, card_config, customers, write_lake
from training.config import Config, parse_config
from training.fit import train
from training.preflight import preflight


def silent(done: int, total: int, what: str) -> None:
    """No progress."""


class Stopped(Exception):
    """Takes the place of a kill."""


def stopping(what: str, done: int) -> Any:
    """A progress that ends the run at a step."""

    def progress(at: int, total: int, said: str) -> None:
        if said.startswith(what) and at >= done:
            raise Stopped

    return progress


def trained(config: Config, folder: Path, rows: pl.DataFrame, attributes: Any = ATTRIBUTES) -> tuple[Lake, Bundle]:
    lake = write_lake(folder / "lake", rows, attributes)
    preflight(config, lake)
    return lake, Bundle.load(train(config, lake, folder / "bundles", silent))


def seen(bundle: Bundle, rows: pl.DataFrame) -> pl.DataFrame:
    """Feature rows of customers that may be in no lake."""
    tables = {"customers": rows}
    return features(tables, scoring_examples(rows["customer_id"], None), bundle.definition)


def test_planted_segments_are_found_and_everybody_has_one(card_bundle: Path) -> None:
    bundle = Bundle.load(card_bundle)
    segmentation = Segmentation(bundle)
    assert segmentation.ids == ("S1", "S2", "S3") and not segmentation.table.forced
    rows = customers()
    found = segmentation.assigned(seen(bundle, rows)).join(rows, on="customer_id", maintain_order="left")
    assert found.height == rows.height and found["segment_id"].null_count() == 0
    kinds = found.group_by("segment_id").agg(pl.col("profit").n_unique())
    assert kinds["profit"].to_list() == [1, 1, 1], "each segment is one of the three kinds"
    shares = found["segment_id"].value_counts(normalize=True).sort("segment_id")["proportion"]
    assert shares.to_list() == pytest.approx([entry.share for entry in segmentation.segments], abs=1e-6)


def test_what_is_no_feature_is_never_read(tmp_path: Path) -> None:
    """Labels, outcomes, protected and group columns: the embedding is the same whatever they say."""
    config = card_config(features={"protected": ["sex"]}, embedding=_embedding(exclude=["region"]), segments=None)
    _, bundle = trained(config, tmp_path, customers())
    assert "sex" in bundle.definition.categories, "the recommender may read it, the embedding not"
    assert CustomerEmbedding(bundle).about.features == ("balance", "limit", "spent", "turnover")
    rows = customers()
    hidden = pl.col("left", "profit", "sex", "branch", "region")
    told, other = (
        CustomerEmbedding(bundle).embed(seen(bundle, frame)) for frame in (rows, rows.with_columns(hidden.shuffle(1)))
    )
    assert np.array_equal(told.vectors, other.vectors) and np.array_equal(told.features, other.features)


def test_an_unusual_customer_is_named_with_the_features_that_make_them_so(card_bundle: Path) -> None:
    bundle = Bundle.load(card_bundle)
    odd = customers(3).with_columns(balance=pl.lit(10.0), spent=pl.lit(0.0), turnover=pl.lit(20.0))
    everyday = Segmentation(bundle).assigned(seen(bundle, customers()))
    assert 0 < everyday["unusual"].mean() < 0.05  # type: ignore[operator]
    found = Segmentation(bundle).assigned(seen(bundle, odd))
    assert found["unusual"].all()
    assert all(told and told[0] in ("spent", "turnover") for told in found["unusual_features"].to_list())


@pytest.mark.parametrize(("what", "done"), [("features of every customer", 2), ("epoch 2", 1), ("embedding", 2)])
def test_a_run_that_was_stopped_goes_on_to_the_same_bundle(
    card_bundle: Path, tmp_path: Path, what: str, done: int
) -> None:
    """Where nothing stops it, a second run from the same seed; all of them are one bundle."""
    lake = Lake.open(card_bundle.parent.parent / "lake")
    with pytest.raises(Stopped):
        train(card_config(), lake, tmp_path, stopping(what, done))
    assert list(tmp_path.glob(".work-*")) and not list(tmp_path.glob("cards-*"))
    again = train(card_config(), lake, tmp_path, silent)
    assert again.name == card_bundle.name and not list(tmp_path.glob(".work-*"))


def _embedding(**keys: Any) -> dict[str, Any]:
    return {"autoencoder": {"dim": 4, "hidden": 16, "epochs": 2, "batch_size": 64}, **keys}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"segments": {}}, "segments needs a section embedding"),
        ({"recommender": False}, "recommender: false leaves nothing to train; give a section embedding"),
        (
            {"recommender": False, "embedding": {}, "adoption": {}},
            "adoption needs the recommender; leave the section out",
        ),
        ({"embedding": {"autoencoder": {"dimensions": 3}}}, "dimensions"),
        ({"embedding": {}, "segments": {"fewest": 8, "most": 4}}, "fewest 8 is above most 4"),
    ],
)
def test_sections_that_cannot_work_are_refused(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_config({"name": "wrong", **raw}, "config.yaml")


NUMBERS = [Attribute(name, "feature", "number") for name in ("balance", "spent", "limit")]


@pytest.mark.parametrize(
    ("sections", "rows", "attributes", "error", "said"),
    [
        (
            {"embedding": {"exclude": ["balnce"]}},
            customers(9),
            ATTRIBUTES,
            ConfigError,
            "embedding.exclude: there is no column 'balnce'; there are balance, limit, spent, turnover, region",
        ),
        (
            {"embedding": {"exclude": ["profit"]}},  # an outcome: it is left out without being named
            customers(9),
            ATTRIBUTES,
            ConfigError,
            "no column 'profit'",
        ),
        (
            {"embedding": {"exclude": ["balance"]}},
            customers(9).select("customer_id", "balance"),
            ATTRIBUTES,
            ConfigError,
            "no column is left to learn from; name fewer in embedding.exclude",
        ),
        (
            {},
            customers(9).select("customer_id", interests=pl.concat_list(pl.lit("golf"), pl.lit("art"))),
            [Attribute("interests", "feature", "tags")],
            ConfigError,
            "embedding: only tags are left to learn from",
        ),
        (
            {},
            customers(9).select("customer_id", "left", "profit"),
            ATTRIBUTES,
            DataError,
            "no attribute with the role feature",
        ),
        (
            {"segments": {"fewest": 10, "smallest_share": 0}},
            customers(9),
            ATTRIBUTES,
            ConfigError,
            "segments.fewest: 10 segments of 9 customers cannot be",
        ),
        ({}, customers(1), ATTRIBUTES, ConfigError, "3 segments of 1 customers cannot be"),
        (
            {},
            pl.concat([customers(1).drop("customer_id")] * 30).with_columns(customers(30)["customer_id"]),
            ATTRIBUTES,
            DataError,
            "30 customers have 1 distinct rows, and 3 segments need more; use more customers or lower",
        ),
        (
            {},
            customers(30).select("customer_id", balance=pl.lit(None, dtype=pl.Float64)),
            NUMBERS,
            DataError,
            "30 customers have 1 distinct rows",
        ),
        (
            {},
            customers(30).with_columns(spent=pl.when(pl.int_range(pl.len()) == 7).then(1e300).otherwise("spent")),
            ATTRIBUTES,
            DataError,
            r"customers.spent: 1e\+300 of C0007 is beyond 1e\+100; write null",
        ),
    ],
)
def test_input_that_gives_no_segments_is_refused_with_what_would_be_right(
    sections: dict[str, Any],
    rows: pl.DataFrame,
    attributes: list[Attribute],
    error: type[Exception],
    said: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=said):
        trained(card_config(**sections), tmp_path, rows, attributes)
    assert not list(tmp_path.glob("bundles/cards-*"))


def test_columns_that_say_nothing_do_no_harm(tmp_path: Path) -> None:
    """One is constant, one is known of nobody, one is infinite for somebody; new values come when it is served."""
    rows = customers(120).with_columns(
        limit=pl.lit(3.0),
        region=pl.lit(None, dtype=pl.String),
        spent=pl.when(pl.int_range(pl.len()) == 7).then(float("inf")).otherwise("spent"),
    )
    lake, bundle = trained(card_config(), tmp_path, rows)
    assert [check for check in verify(bundle.path) if not check.ok] == []
    segmentation = Segmentation(bundle)
    new = rows.head(5).with_columns(
        region=pl.lit("the moon"),
        limit=pl.Series([None, 3.0, 4.0, 1e300, float("-inf")]),
        balance=pl.Series([0.0, None, 1e12, -1e300, float("nan")]),
    )
    found = segmentation.assigned(seen(bundle, new))
    assert found["segment_id"].is_in(segmentation.ids).all() and found["distance"].is_finite().all()


def test_one_customer_can_be_embedded_though_not_segmented(tmp_path: Path) -> None:
    _, bundle = trained(card_config(segments=None), tmp_path, customers(1))
    embedded = CustomerEmbedding(bundle).embed(seen(bundle, customers(4)))
    assert np.isfinite(embedded.vectors).all() and np.isfinite(embedded.errors).all()
    assert Segmentation.of(bundle) is None
