"""Customers in, ranked products out: the right ones, in the right order, the same in any batch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from onnx import TensorProto, helper
from polars.testing import assert_frame_equal

import recsys.bundle.recommender as recommender_module
from recsys.bundle import Bundle, Recommender, write_item_table
from recsys.errors import BundleError, DataError
from recsys.features.features import features

Parts = dict[str, dict[str, bytes]]


@pytest.fixture
def recommender(bundle: Bundle) -> Recommender:
    return Recommender(bundle)


@pytest.fixture
def rows(bank: Any) -> pl.DataFrame:
    return features(bank.tables, bank.examples, bank.definition)


def expected(bank: Any, rows: pl.DataFrame, k: int, forbidden: Callable[[str, str, list[str]], bool]) -> list[tuple]:
    """(customer, rank, product) by plain loops over the float64 model."""
    answer = []
    scores = bank.expected_vectors(rows) @ bank.items.astype(np.float64).T
    for row in np.argsort(rows["customer_id"].to_numpy()):
        customer, held = rows["customer_id"][int(row)], rows["holdings"][int(row)].to_list()
        order = np.argsort(-scores[row], kind="stable")
        kept = [bank.encoder.products[i] for i in order if not forbidden(customer, bank.encoder.products[i], held)]
        answer += [(customer, rank, product) for rank, product in enumerate(kept[:k], start=1)]
    return answer


def listed(frame: pl.DataFrame) -> list[tuple]:
    return list(frame.select("customer_id", "rank", "product_id").iter_rows())


def test_vectors_and_scores_are_the_models(recommender: Recommender, bank: Any, rows: pl.DataFrame) -> None:
    vectors = recommender.vectors(bank.tables, bank.examples)
    reference = bank.expected_vectors(rows)
    assert np.abs(vectors - reference).max() < 1e-4
    assert np.array_equal(vectors, recommender.vectors_from_rows(rows))
    assert np.abs(recommender.scores(vectors) - reference @ bank.items.astype(np.float64).T).max() < 1e-4


def test_held_products_are_left_out_unless_asked_for(recommender: Recommender, bank: Any, rows: pl.DataFrame) -> None:
    answer = recommender.recommend(bank.tables, bank.examples, 3)
    assert answer.schema == {"customer_id": pl.String, "rank": pl.Int32, "product_id": pl.String, "score": pl.Float32}
    assert listed(answer) == expected(bank, rows, 3, lambda customer, product, held: product in held)
    whole = recommender.recommend(bank.tables, bank.examples, 3, exclude_held=False)
    assert listed(whole) == expected(bank, rows, 3, lambda customer, product, held: False)
    assert listed(whole) != listed(answer)


def test_the_configuration_decides_about_held_products(
    write: Callable[..., Bundle], with_file: Any, bank: Any, rows: pl.DataFrame
) -> None:
    open_to_all = Recommender(write(with_file("config.yaml", b"model: {dim: 5}\nserving: {exclude_held: false}\n")))
    assert not open_to_all.exclude_held
    assert listed(open_to_all.recommend(bank.tables, bank.examples, 8)) == expected(bank, rows, 8, lambda *_: False)
    with pytest.raises(BundleError, match=r"config\.yaml: serving\.exclude_held must be true or false, not None"):
        Recommender(write(with_file("config.yaml", b"name: x\n")))
    with pytest.raises(BundleError, match=r"serving\.diversity must be a number from 0 to 1, not 2"):
        Recommender(write(with_file("config.yaml", b"model: {dim: 5}\nserving: {exclude_held: true, diversity: 2}\n")))
    with pytest.raises(BundleError, match=r"model\.dim must be the width of the vectors, not 9"):
        Recommender(write(with_file("config.yaml", b"model: {dim: 9}\nserving: {exclude_held: true}\n")))


def test_candidates_and_exclusions_decide_before_the_ranking(
    recommender: Recommender, bank: Any, rows: pl.DataFrame
) -> None:
    wanted, unwanted = ["loan", "cash", "gold", "gold"], ["gold"]
    answer = recommender.recommend(bank.tables, bank.examples, 2, exclude=unwanted, candidates=wanted)
    assert listed(answer) == expected(
        bank, rows, 2, lambda customer, product, held: product in held or product not in ("loan", "cash")
    )
    assert recommender.recommend(bank.tables, bank.examples, 2, candidates=[]).is_empty()


def test_fewer_than_k_are_answered_with_fewer(recommender: Recommender, bank: Any, rows: pl.DataFrame) -> None:
    answer = recommender.recommend(bank.tables, bank.examples, 1_000)
    free = 8 - rows["holdings"].list.len().cast(pl.Int64)
    assert answer.height == free.sum() < 40 * 8
    assert answer["score"].is_finite().all()
    assert answer.filter(pl.col("customer_id") == "c39").height == 8, "a customer with nothing gets an answer too"


def test_the_answer_is_ordered_and_does_not_depend_on_the_order_of_the_question(
    recommender: Recommender, bank: Any
) -> None:
    answer = recommender.recommend(bank.tables, bank.examples, 4)
    assert_frame_equal(answer, answer.sort("customer_id", "rank"))
    assert_frame_equal(recommender.recommend(bank.tables, bank.examples.reverse(), 4), answer, check_exact=True)


@pytest.mark.parametrize("batch", [1, 7, 512])
def test_every_batch_gives_the_same_bits(recommender: Recommender, rows: pl.DataFrame, batch: int) -> None:
    many = pl.concat([rows] * 13)
    whole = recommender.vectors_from_rows(many)
    parts = [recommender.vectors_from_rows(part) for part in many.iter_slices(batch)]
    assert np.array_equal(np.concatenate(parts), whole)
    allowed = np.ones((len(whole), 8), dtype=bool)
    scores, index = recommender.rank(whole, allowed, 5)
    for start in range(0, len(whole), batch):
        part = slice(start, start + batch)
        some, places = recommender.rank(whole[part], allowed[part], 5)
        assert np.array_equal(some, scores[part])
        assert np.array_equal(places, index[part])
        assert np.array_equal(np.take_along_axis(recommender.scores(whole[part]), places, axis=1), some)


def test_one_customer_alone_is_answered_as_among_all(recommender: Recommender, bank: Any) -> None:
    together = recommender.recommend(bank.tables, bank.examples, 5)
    alone = [recommender.recommend(bank.tables, one, 5) for one in bank.examples.iter_slices(1)]
    assert_frame_equal(pl.concat(alone), together, check_exact=True)


def test_inner_batches_change_nothing(recommender: Recommender, bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = recommender.recommend(bank.tables, bank.examples, 5)
    vectors = recommender.vectors(bank.tables, bank.examples)
    scores = recommender.scores(vectors)
    monkeypatch.setattr(recommender_module, "BATCH", 3)
    monkeypatch.setattr(recommender_module, "CELLS", 17)
    assert_frame_equal(recommender.recommend(bank.tables, bank.examples, 5), whole, check_exact=True)
    assert np.array_equal(recommender.vectors(bank.tables, bank.examples), vectors)
    assert np.array_equal(recommender.scores(vectors), scores)


def test_ties_go_to_the_lower_product_id(write: Callable[..., Bundle], with_file: Any, bank: Any) -> None:
    same = np.tile(bank.items[:1], (8, 1))
    files = write_item_table(bank.encoder.products, same)
    tied = Recommender(write(with_file("recommender/products.npy", files["recommender/products.npy"])))
    answer = tied.recommend(bank.tables, bank.examples, 8, exclude=["card"], exclude_held=False)
    ids = [product for product in bank.encoder.products if product != "card"]
    assert answer.group_by("customer_id", maintain_order=True).agg("product_id")["product_id"].to_list() == [ids] * 40


@pytest.mark.parametrize("k", [0, -1, True, 2.0, None])
def test_k_below_one_is_refused(recommender: Recommender, bank: Any, k: Any) -> None:
    with pytest.raises(DataError, match="k: .* is not a whole number of at least 1"):
        recommender.recommend(bank.tables, bank.examples, k)
    with pytest.raises(DataError, match="k: "):
        recommender.rank(np.zeros((1, 5), np.float32), np.ones((1, 8), bool), k)


@pytest.mark.parametrize("field", ["exclude", "candidates"])
def test_unknown_products_are_named(recommender: Recommender, bank: Any, field: str) -> None:
    with pytest.raises(DataError, match=f"{field}: not products of bundle {recommender.bundle.bundle_id}: 'yacht'$"):
        recommender.recommend(bank.tables, bank.examples, 2, **{field: ["loan", "yacht"]})
    with pytest.raises(DataError, match=f"{field}: .*'x0', 'x1', 'x10', 'x100', 'x1000' and 99,995 more$"):
        recommender.recommend(bank.tables, bank.examples, 2, **{field: [f"x{i}" for i in range(100_000)]})
    with pytest.raises(DataError, match=f"{field}: a list of product ids is expected"):
        recommender.recommend(bank.tables, bank.examples, 2, **{field: "loan"})


def test_a_million_candidates_give_what_their_distinct_ones_give(recommender: Recommender, bank: Any) -> None:
    candidates = ["loan", "cash", "gold", "save"] * 250_000
    answer = recommender.recommend(bank.tables, bank.examples, 2, candidates=candidates)
    assert_frame_equal(answer, recommender.recommend(bank.tables, bank.examples, 2, candidates=candidates[:4]))


def test_a_customer_asked_for_twice_is_refused(recommender: Recommender, bank: Any) -> None:
    with pytest.raises(DataError, match="customer c00 is asked for more than once"):
        recommender.recommend(bank.tables, pl.concat([bank.examples, bank.examples.head(1)]), 2)


def test_nobody_asked_is_nobody_answered(recommender: Recommender, bank: Any) -> None:
    nobody = bank.examples.clear()
    assert recommender.vectors(bank.tables, nobody).shape == (0, 5)
    assert recommender.scores(np.zeros((0, 5), np.float32)).shape == (0, 8)
    answer = recommender.recommend(bank.tables, nobody, 3)
    assert answer.is_empty()
    assert answer.columns == ["customer_id", "rank", "product_id", "score"]


def test_products_outside_the_catalogue_do_no_harm(recommender: Recommender, bank: Any) -> None:
    event = bank.tables["interactions"].head(1).with_columns(product_id=pl.lit("discontinued"), kind=pl.lit("acquired"))
    tables = {**bank.tables, "interactions": pl.concat([bank.tables["interactions"], event])}
    assert recommender.recommend(tables, bank.examples, 3)["product_id"].is_in(bank.encoder.products).all()


def test_a_bank_of_many_customers_is_answered_over_several_batches(recommender: Recommender, bank: Any) -> None:
    ids = [f"n{i:05d}" for i in range(20_000)]
    customers = pl.DataFrame({"customer_id": ids, "income": [1.0] * 20_000, "region": ["r1"] * 20_000})
    examples = pl.DataFrame({"customer_id": ids}).join(bank.examples.drop("customer_id").head(1), how="cross")
    answer = recommender.recommend({**bank.tables, "customers": customers}, examples, 3)
    assert answer.height == 60_000


def without_input() -> bytes:
    value = helper.make_tensor_value_info
    node = helper.make_node("Identity", ["numbers"], ["vector"])
    shape = ["N", 5]
    graph = helper.make_graph(
        [node], "g", [value("numbers", TensorProto.FLOAT, shape)], [value("vector", TensorProto.FLOAT, shape)]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def test_parts_that_do_not_fit_are_named(write: Callable[..., Bundle], with_file: Any, parts: Parts, bank: Any) -> None:
    with pytest.raises(BundleError, match=r"customer\.onnx: input 'categories' is missing"):
        Recommender(write(with_file("recommender/customer.onnx", without_input())))
    other = write_item_table(["a", "b"], bank.items[:2])
    with pytest.raises(BundleError, match=r"products\.json: not the products of the encoder"):
        Recommender(write(with_file("recommender/products.json", other["recommender/products.json"])))
    with pytest.raises(BundleError, match=r"products\.npy: 2 rows for 8 products"):
        Recommender(write(with_file("recommender/products.npy", other["recommender/products.npy"])))
    wider = write_item_table(bank.encoder.products, np.ones((8, 6), np.float32))
    with pytest.raises(BundleError, match=r"customer\.onnx: output 'vector' must be float32 \[batch, 6\]"):
        Recommender(write(with_file("recommender/products.npy", wider["recommender/products.npy"])))
    without = {part: files for part, files in parts.items() if part != "recommender"}
    with pytest.raises(BundleError, match="this bundle has no recommender"):
        Recommender(write(without))


def test_a_vector_that_is_not_finite_names_the_customer(
    recommender: Recommender, rows: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = recommender.encoder.encode(rows)
    arrays["numbers"][4, 0] = np.nan
    monkeypatch.setattr(type(recommender.encoder), "encode", lambda self, rows: arrays)
    with pytest.raises(DataError, match=r"1 of 40 have values that give no finite vector \(first: c04\)"):
        recommender.vectors_from_rows(rows)
