"""The towers: which parts are built, what each input does, and what the two vectors mean."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from recsys.errors import DataError
from recsys.features.encoder import ArrayShape
from recsys.two_tower import ModelConfig, TwoTower

PRODUCTS = 10
EVERYTHING = ArrayShape(
    categories=(4, 9),
    numbers=3,
    tags=6,
    holdings=True,
    history=5,
    kinds=4,
    ages=14,
    products=PRODUCTS + 2,
    product_categories=(5,),
    product_numbers=2,
    product_tags=7,
)
NO_ATTRIBUTES = replace(EVERYTHING, product_categories=(), product_numbers=0, product_tags=0)
NOTHING = replace(NO_ATTRIBUTES, categories=(), numbers=0, tags=0, holdings=False, history=0, kinds=0, ages=0)
SHAPES = {
    "everything": EVERYTHING,
    "products without attributes": NO_ATTRIBUTES,
    "profile only": replace(NOTHING, categories=(4,), numbers=1),
    "tags only": replace(NOTHING, tags=6),
    "holdings only": replace(NOTHING, holdings=True),
    "undated history only": replace(NOTHING, history=5, kinds=3),
    "no profile": replace(EVERYTHING, categories=(), numbers=0, tags=0),
    "no history": replace(EVERYTHING, history=0, kinds=0, ages=0),
}


def customers(shape: ArrayShape, rows: int = 8, seed: int = 0) -> dict[str, Tensor]:
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    if shape.categories:
        arrays["categories"] = np.stack([rng.integers(0, n, rows) for n in shape.categories], axis=1)
    if shape.numbers:
        arrays["numbers"] = rng.normal(size=(rows, shape.numbers)).astype(np.float32)
        arrays["missing"] = (rng.random((rows, shape.numbers)) < 0.3).astype(np.float32)
    if shape.tags:
        arrays["tags"] = rng.integers(0, shape.tags, (rows, 3))
    if shape.holdings:
        arrays["holdings"] = (rng.random((rows, shape.products)) < 0.3).astype(np.float32)
    if shape.history:
        arrays["history"] = rng.integers(1, shape.products, (rows, shape.history))
        arrays["history_kind"] = rng.integers(1, shape.kinds, (rows, shape.history))
        if shape.ages:
            arrays["history_age"] = rng.integers(1, shape.ages, (rows, shape.history))
    return tensors(arrays)


def catalogue(shape: ArrayShape, seed: int = 0) -> dict[str, Tensor]:
    rng = np.random.default_rng(seed)
    arrays = {"product": np.arange(2, shape.products)}
    if shape.product_categories:
        arrays["product_categories"] = np.stack([rng.integers(1, n, PRODUCTS) for n in shape.product_categories], 1)
    if shape.product_numbers:
        arrays["product_numbers"] = rng.normal(size=(PRODUCTS, shape.product_numbers)).astype(np.float32)
        arrays["product_missing"] = np.zeros((PRODUCTS, shape.product_numbers), dtype=np.float32)
    if shape.product_tags:
        arrays["product_tags"] = rng.integers(0, shape.product_tags, (PRODUCTS, 4))
    return tensors(arrays)


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {n: torch.from_numpy(v if v.dtype == np.float32 else v.astype(np.int32)) for n, v in arrays.items()}


def model(shape: ArrayShape, **settings: object) -> TwoTower:
    torch.manual_seed(0)
    made = TwoTower(ModelConfig(**settings), shape, catalogue(shape))
    for weight in made.parameters():  # away from the zeros that some parts start from
        if weight.ndim:
            weight.data += 0.05 * torch.randn_like(weight)
    return made.eval()


def vectors(tower: TwoTower, arrays: dict[str, Tensor]) -> Tensor:
    return tower.customer(arrays, tower.held_table())


@pytest.mark.parametrize("name", SHAPES)
def test_towers_build_what_there_is_input_for(name: str) -> None:
    shape = SHAPES[name]
    tower = model(shape)
    customer, product = vectors(tower, customers(shape)), tower.product(catalogue(shape))
    assert customer.shape == (8, 65) and product.shape == (PRODUCTS, 65)
    assert torch.isfinite(customer @ product.T).all()
    assert len(customer.unique(dim=0)) > 1


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("shared", [True, False])
def test_every_parameter_receives_gradient(name: str, shared: bool) -> None:
    shape = SHAPES[name]
    settings = {"share_products": shared, "learn_temperature": True, "product_id_dropout": 0.5}
    tower = model(shape, number_waves=4, **settings).train()
    customer, product = tower(customers(shape, 200))
    scores = customer @ product.T
    torch.nn.functional.cross_entropy(scores, torch.arange(200) % PRODUCTS).backward()
    assert [n for n, p in tower.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_waves_find_what_changes_many_times_along_a_number() -> None:
    """Which of two products is wanted turns eight times along the number: a season, or days of joining."""
    shape = ArrayShape((), 1, 0, False, 0, 0, 0, 4, (), 0, 0)
    number = torch.linspace(-2, 2, 2000)[:, None]
    arrays = {"numbers": number, "missing": torch.zeros_like(number)}
    wanted = (torch.sin(2 * torch.pi * number[:, 0]) > 0).long()
    right = {}
    for frequencies in (0, 16):
        torch.manual_seed(0)
        tower = TwoTower(ModelConfig(number_waves=frequencies), shape, tensors({"product": np.arange(2, 4)}))
        optimizer = torch.optim.AdamW(tower.parameters(), lr=3e-3)
        for _ in range(100):
            customer, product = tower(arrays)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(customer @ product.T, wanted).backward()
            optimizer.step()
        customer, product = tower.eval()(arrays)
        right[frequencies] = float(((customer @ product.T).argmax(1) == wanted).float().mean())
    assert right[16] > 0.95 and right[0] < 0.8


def test_a_customer_side_without_any_input_is_refused() -> None:
    with pytest.raises(DataError, match="no profile, no holdings and no history"):
        model(NOTHING)


def test_scores_are_cosines_over_the_temperature_plus_the_bias() -> None:
    tower = model(EVERYTHING, temperature=0.2)
    customer, product = vectors(tower, customers(EVERYTHING)), tower.product(catalogue(EVERYTHING))
    torch.testing.assert_close(customer[:, :-1].norm(dim=1), torch.full((8,), 5.0))
    torch.testing.assert_close(product[:, :-1].norm(dim=1), torch.ones(PRODUCTS))
    assert (customer[:, -1] == 1).all()
    plain = model(EVERYTHING, temperature=0.2, item_bias=False)
    assert vectors(plain, customers(EVERYTHING)).shape == (8, 64)


def test_the_item_bias_starts_at_log_popularity() -> None:
    popularity = torch.tensor([0.4, 0.2, *[0.05] * 8]).log()
    tower = TwoTower(ModelConfig(), NO_ATTRIBUTES, catalogue(NO_ATTRIBUTES), popularity).eval()
    bias = tower.product(catalogue(NO_ATTRIBUTES))[:, -1]
    torch.testing.assert_close(bias[0] - bias[1], torch.tensor(2.0).log())


def test_a_customer_without_history_is_the_same_whatever_stands_in_the_padding() -> None:
    tower, arrays = model(EVERYTHING), customers(EVERYTHING)
    arrays["history"][:, :3] = 0
    changed = {name: values.clone() for name, values in arrays.items()}
    changed["history_kind"][:, :3] = 0
    changed["history_age"][:, :3] = 7
    assert torch.equal(vectors(tower, arrays), vectors(tower, changed))
    changed["history"][0] = 0
    assert torch.isfinite(vectors(tower, changed)).all()
    assert not torch.equal(vectors(tower, changed)[0], vectors(tower, arrays)[0])


@pytest.mark.parametrize("name", ["categories", "numbers", "missing", "tags", "holdings", "history", "history_kind"])
def test_every_input_moves_the_customer(name: str) -> None:
    tower, arrays = model(EVERYTHING), customers(EVERYTHING)
    changed = arrays | {name: customers(EVERYTHING, seed=1)[name]}
    assert not torch.allclose(vectors(tower, arrays), vectors(tower, changed))


def test_a_product_outside_the_vocabulary_is_known_by_its_attributes() -> None:
    tower, arrays = model(EVERYTHING), catalogue(EVERYTHING)
    unknown = arrays | {"product": torch.ones_like(arrays["product"])}
    assert len(tower.product(unknown).unique(dim=0)) == PRODUCTS
    same = unknown | {name: values[:1].expand_as(values) for name, values in arrays.items() if name != "product"}
    torch.testing.assert_close(tower.product(same), tower.product(same)[:1].expand(PRODUCTS, -1))


def test_ids_of_products_without_attributes_are_never_dropped() -> None:
    tower = model(NO_ATTRIBUTES, product_id_dropout=0.9, dropout=0.0).train()
    arrays = catalogue(NO_ATTRIBUTES)
    assert torch.equal(tower.product(arrays), tower.product(arrays))


def test_a_product_in_the_history_reads_as_its_attributes_too() -> None:
    tower, arrays = model(EVERYTHING), customers(EVERYTHING)
    before = vectors(tower, arrays)
    tower.get_buffer("catalogue_product_numbers").add_(1.0)
    assert not torch.allclose(before, vectors(tower, arrays))


def test_both_towers_at_once_are_the_two_towers() -> None:
    tower, arrays, columns = model(EVERYTHING), customers(EVERYTHING), torch.tensor([1, 4, 5])
    customer, product = tower(arrays)
    torch.testing.assert_close(customer, vectors(tower, arrays))
    torch.testing.assert_close(product, tower.product(catalogue(EVERYTHING)))
    torch.testing.assert_close(tower(arrays, columns)[1], product[columns])


def test_tags_mean_the_same_in_training_and_after() -> None:
    tower, arrays = model(replace(NOTHING, tags=6)), customers(replace(NOTHING, tags=6))
    arrays["tags"][0] = 0
    attributes = tower.customer_tower.attributes
    torch.testing.assert_close(attributes.train()(arrays), attributes.eval()(arrays))


@pytest.mark.parametrize("share", [True, False], ids=["one table", "two tables"])
@pytest.mark.parametrize("attributes", [True, False], ids=["with attributes", "without"])
def test_a_large_table_is_read_by_the_rows_that_a_batch_names(
    monkeypatch: pytest.MonkeyPatch, attributes: bool, share: bool
) -> None:
    """The same vectors and gradients as from the whole table, those of the id tables sparse."""
    lists = replace(EVERYTHING if attributes else NO_ATTRIBUTES, holdings=False, held=4, kinds=3)
    built = model(lists, dropout=0.0, product_id_dropout=0.0, share_products=share)
    arrays = customers(lists, rows=3)
    arrays["held"] = torch.tensor([[2, 9, 0, 0], [0, 0, 0, 0], [1, 5, 6, 11]], dtype=torch.int32)
    columns, found = torch.tensor([0, 4, 9]), []
    for limit in (1_000, 0):
        monkeypatch.setattr("recsys.two_tower.SPARSE_ROWS", limit)
        built.zero_grad()
        vectors = built.train()(arrays, columns)
        (vectors[0] @ vectors[1].T).square().sum().backward()
        found.append((vectors, {name: p.grad for name, p in built.named_parameters() if p.grad is not None}))
    (whole, dense), (named, sparse) = found
    for a, b in zip(whole, named, strict=True):
        torch.testing.assert_close(a, b)
    assert {name for name, gradient in sparse.items() if gradient.is_sparse} == {
        "ids.weight",
        *([] if share else ["customer_tower.own_ids.weight"]),
    }
    assert dense.keys() == sparse.keys()
    for name, gradient in dense.items():
        torch.testing.assert_close(gradient, sparse[name].to_dense(), msg=name)
    seen = set(arrays["history"].flatten().tolist()) | set(arrays["held"].flatten().tolist()) | {0, 1, 2, 6, 11}
    assert set(sparse["ids.weight"].coalesce().indices()[0].tolist()) == seen
