"""Why: each reason, left out of the customer's own data, lowers the score by what was said."""

from dataclasses import asdict
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.bundle import Bundle, Recommender, reasons
from recsys.errors import DataError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from serving.answers import Answers

DAY = date(2025, 6, 24)


@pytest.fixture(scope="module")
def recommender(small_bundle: Path) -> Recommender:
    return Recommender(Bundle.load(small_bundle))


@pytest.fixture(scope="module")
def rows(recommender: Recommender, small_lake: Path) -> pl.DataFrame:
    tables = Lake.open(small_lake).bucket(0)
    ids = tables["customers"]["customer_id"].sort()
    return features(tables, scoring_examples(ids, DAY), recommender.definition)


def score_of(recommender: Recommender, row: pl.DataFrame) -> np.ndarray:
    return recommender.scores(recommender.vectors_from_rows(row))[0]


def without(row: pl.DataFrame, kind: str, name: str) -> pl.DataFrame:
    """The row of a customer of whom this was never known, made in another way than the code does."""
    values = row.to_dicts()[0]
    if kind == "attribute":
        values[name] = None
    elif kind == "activity":
        for column in values:
            if column.startswith(f"{name}."):
                values[column] = None
    else:
        kept = [i for i, product in enumerate(values["history"]) if product != name]
        for column in ("history", "history_kind", "history_age"):
            values[column] = [values[column][i] for i in kept]
        values["holdings"] = [product for product in values["holdings"] if product != name]
        values["holdings.count"] = float(len(values["holdings"]))
    return pl.DataFrame([values], schema=row.schema)


def test_leaving_a_reason_out_lowers_the_score_by_its_effect(recommender: Recommender, rows: pl.DataFrame) -> None:
    kinds = set()
    for row in rows.head(25).iter_slices(1):
        _, index = recommender.rank(recommender.vectors_from_rows(row), recommender.allowed(row), 3)
        before = score_of(recommender, row)
        for column, found in zip(index[0], reasons(recommender, row, index[0], 3), strict=True):
            assert [reason.effect for reason in found] == sorted((reason.effect for reason in found), reverse=True)
            for reason in found:
                kinds.add(reason.kind)
                after = score_of(recommender, without(row, reason.kind, reason.name))
                assert after[column] < before[column]
                assert reason.effect == pytest.approx(before[column] - after[column], abs=1e-6)
    assert kinds == {"product", "attribute", "activity"}


def test_the_same_question_has_the_same_reasons_and_one_row_is_asked(
    recommender: Recommender, rows: pl.DataFrame
) -> None:
    index = np.arange(len(recommender.products))
    first, again = (reasons(recommender, rows[5], index, 5) for _ in range(2))
    assert first == again and all(len(found) <= 5 for found in first)
    with pytest.raises(DataError, match="one customer at a time, got 2"):
        reasons(recommender, rows.head(2), index, 5)


def test_an_answer_carries_reasons_when_asked(small_bundle: Path, small_lake: Path, rows: pl.DataFrame) -> None:
    answers = Answers.open(small_bundle, small_lake, DAY)
    asked = answers.recommend(b'{"customer_id": "%s", "k": 2, "reasons": 2}' % rows["customer_id"][3].encode())
    plain = answers.recommend(b'{"customer_id": "%s", "k": 2}' % rows["customer_id"][3].encode())
    assert [{k: v for k, v in item.items() if k != "reasons"} for item in asked["items"]] == plain["items"]
    products = [answers.recommender.products.index(item["product_id"]) for item in asked["items"]]
    expected = reasons(answers.recommender, rows[3], np.array(products), 2)
    assert [item["reasons"] for item in asked["items"]] == [[asdict(r) for r in found] for found in expected]


def test_variety_changes_the_order_and_not_the_scores(recommender: Recommender, rows: pl.DataFrame) -> None:
    vectors = recommender.vectors_from_rows(rows)
    plain, varied = (recommender.ranked(rows, vectors, 5, diversity) for diversity in (0.0, 0.7))
    every = recommender.ranked(rows, vectors, len(recommender.products), 0.0)
    joined = varied.join(every, on=["customer_id", "product_id"], suffix="_plain")
    assert joined.height == varied.height and (joined["score"] == joined["score_plain"]).all()
    assert (varied.filter(rank=1)["product_id"] == plain.filter(rank=1)["product_id"]).all()
    assert not varied["product_id"].equals(plain["product_id"])
    one = recommender.ranked(rows[7], vectors[7:8], 5, 0.7)
    assert one.equals(varied.filter(customer_id=rows["customer_id"][7]))
