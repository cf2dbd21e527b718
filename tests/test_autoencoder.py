"""The denoising autoencoder: what it reads, what noise does, and that it finds a structure that was planted."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from recsys.ahead import KNOTS, Ahead
from recsys.autoencoder import Autoencoder, AutoencoderConfig, Inputs, bin_edges
from recsys.embedding import Embedding
from recsys.errors import DataError
from recsys.features.definition import Column, FeatureDefinition
from recsys.features.encoder import Encoder
from recsys.features.encoder_state import EncoderState

ROWS = 400
SMALL = AutoencoderConfig(dim=2, hidden=16, dropout=0.0)
COLUMNS = {"one": "number", "two": "number", "three": "number", "four": "number", "region": "category", "likes": "tags"}


def planted(rows: int = ROWS, seed: int = 0) -> pl.DataFrame:
    """Two blocks of numbers, each made from one latent: `one`, `two` from the first, `three`, `four` from the other."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, rows))
    near = 0.1 * rng.normal(size=(4, rows))
    return pl.DataFrame(
        {
            "customer_id": [f"c{i}" for i in range(rows)],
            "one": first + near[0],
            "two": -2 * first + near[1],
            "three": second + near[2],
            "four": 5 * second + near[3],
            "region": [["north", "south", None][i % 3] for i in range(rows)],
            "likes": [["golf"], [], ["golf", "chess"]] * (rows // 3) + [[]] * (rows % 3),
            "holdings": [["card"], ["loan", "card"]] * (rows // 2) + [[]] * (rows % 2),
        },
        schema_overrides={"likes": pl.List(pl.String), "holdings": pl.List(pl.String)},
    )


def encoder_of(rows: pl.DataFrame, columns: Sequence[str] = tuple(COLUMNS), holdings: bool = False) -> Encoder:
    profile = tuple(Column(name=name, kind=COLUMNS[name]) for name in columns)  # type: ignore[arg-type]
    definition = FeatureDefinition(
        dated=False,
        windows=(30,),
        history_length=0,
        profile=profile,
        product_attributes=(),
        holdings=holdings,
        holdings_length=8,
        interaction_kinds=(),
        history_kinds=(),
        transactions=False,
        transaction_categories=(),
        transaction_channels=(),
        contacts=False,
        contact_channels=(),
        balances=False,
        accounts=False,
    )
    state = EncoderState(definition, pl.DataFrame({"product_id": ["card", "loan"]}))
    state.update(rows.with_columns(pl.col("holdings").list.len().cast(pl.Float64).alias("holdings.count")))
    return state.finish()


def tensors(encoder: Encoder, rows: pl.DataFrame) -> dict[str, Tensor]:
    rows = rows.with_columns(pl.col("holdings").list.len().cast(pl.Float64).alias("holdings.count"))
    return {name: torch.from_numpy(values) for name, values in encoder.encode(rows).items()}


def model_of(
    encoder: Encoder, arrays: dict[str, Tensor], config: AutoencoderConfig = SMALL, without: Sequence[str] = ()
) -> Autoencoder:
    torch.manual_seed(0)
    inputs = Inputs.of(encoder, without)
    known = inputs.selected(arrays)
    if not inputs.numbers:
        return Autoencoder(config, inputs, torch.zeros(0, config.bins - 1), torch.zeros(0))
    edges = bin_edges(known["numbers"].numpy(), known["missing"].numpy(), config.bins)
    return Autoencoder(config, inputs, torch.from_numpy(edges), known["missing"].mean(dim=0))


def fit(model: Autoencoder, arrays: dict[str, Tensor], steps: int = 150) -> list[float]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    losses = []
    for _ in range(steps):
        loss = model.loss(arrays)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    model.eval()
    return losses


def test_columns_that_are_left_out_change_nothing() -> None:
    """Whatever an excluded column says, vector, loss and errors are the same; whatever a column read says, not."""
    rows = planted()
    encoder = encoder_of(rows)
    arrays = tensors(encoder, rows)
    model = model_of(encoder, arrays, without=("two", "region", "likes")).eval()
    assert model.inputs.features == ("one", "three", "four") and not model.inputs.tags
    shuffled = rows.with_columns(pl.col("two", "region", "likes").shuffle(seed=1))
    other = tensors(encoder, shuffled)
    assert torch.equal(model(other), model(arrays))
    assert torch.equal(model.loss(other, noise=False), model.loss(arrays, noise=False))
    changed = tensors(encoder, rows.with_columns(pl.col("one").shuffle(seed=1)))
    assert not torch.equal(model(changed), model(arrays))


def test_nothing_left_to_learn_from_is_refused() -> None:
    rows = planted()
    with pytest.raises(DataError, match="no number, category, tag or holding"):
        Inputs.of(encoder_of(rows, ["one", "region", "likes"]), ("one", "region", "likes"))


def test_swap_noise_swaps_all_windows_of_a_measure_together() -> None:
    rows = 2000
    inputs = Inputs(
        numbers=("spent.30d", "spent.90d", "spent.365d", "income"),
        categories=(),
        number_places=(0, 1, 2, 3),
        category_places=(),
        category_sizes=(),
        tags=0,
        products=0,
    )
    assert inputs.groups == (0, 0, 0, 1)
    config = AutoencoderConfig(dim=2, hidden=4, swap=0.0, swap_groups=0.3)
    model = Autoencoder(config, inputs, torch.full((4, config.bins - 1), torch.inf), torch.zeros(4))
    numbers = torch.arange(rows, dtype=torch.float32)[:, None] + torch.tensor([0.0, 0.1, 0.2, 0.3])
    missing = (torch.arange(rows)[:, None] % 2).float().expand(rows, 4)
    torch.manual_seed(0)
    noisy = model.swapped({"numbers": numbers, "missing": missing})
    swapped = noisy["numbers"] != numbers
    assert torch.equal(swapped[:, 0], swapped[:, 1]) and torch.equal(swapped[:, 0], swapped[:, 2])
    assert not torch.equal(swapped[:, 0], swapped[:, 3])
    assert 0.26 < float(swapped[:, 0].float().mean()) < 0.34
    owner = noisy["numbers"].round().long() % 2
    assert torch.equal(noisy["missing"].long(), owner), "a value comes with its own flag"


def test_swap_noise_reaches_every_kind_of_input_and_keeps_what_there_is() -> None:
    rows = planted()
    encoder = encoder_of(rows, holdings=True)
    arrays = tensors(encoder, rows)
    model = model_of(encoder, arrays)
    known = model.inputs.selected(arrays)
    noisy = model.swapped(known)
    assert set(noisy) == {"numbers", "missing", "categories", "tags", "holdings"}
    for name in set(noisy) - {"missing"}:  # of which there are none here
        changed = (noisy[name] != known[name]).any(dim=1).float().mean()
        assert 0 < float(changed) < 1, name
        assert set(noisy[name].flatten().tolist()) <= set(known[name].flatten().tolist()), name
    calm = model_of(encoder, arrays, SMALL.model_copy(update={"swap": 0.0, "swap_groups": 0.0}))
    assert all(torch.equal(values, known[name]) for name, values in calm.swapped(known).items())


def test_the_loss_falls_and_a_planted_structure_is_found_in_new_customers() -> None:
    """Four numbers from two latents fit into two dimensions; of customers who were not seen, too."""
    rows, later = planted(), planted(seed=1)
    encoder = encoder_of(rows, ["one", "two", "three", "four"])
    arrays, new = tensors(encoder, rows), tensors(encoder, later)
    model = model_of(encoder, arrays)
    untrained = float(model.loss(new, noise=False).detach())
    losses = fit(model, arrays)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    with torch.no_grad():
        assert float(model.loss(new, noise=False)) < 0.6 * untrained
        known = model.inputs.selected(new)
        errors = model.errors(known, model(new))
    explained = 1 - errors.mean(dim=0) / known["numbers"].var(dim=0)
    assert explained.shape == (4,) and float(explained.min()) > 0.8


def test_every_kind_of_feature_is_found_again() -> None:
    rows = planted()
    encoder = encoder_of(rows, holdings=True)
    arrays = tensors(encoder, rows)
    model = model_of(encoder, arrays, SMALL.model_copy(update={"dim": 8}))
    assert model.inputs.features[-2:] == ("region", "holdings")
    known = model.inputs.selected(arrays)

    def mean_errors() -> Tensor:
        with torch.no_grad():
            return model.eval().errors(known, model(arrays)).mean(dim=0)

    before = mean_errors()
    fit(model.train(), arrays)
    after = mean_errors()
    assert (after >= 0).all()
    for name, was, now in zip(model.inputs.features, before.tolist(), after.tolist(), strict=True):
        assert now < 0.7 * was, name


def test_errors_name_the_odd_feature_of_an_unusual_customer() -> None:
    """In everybody else `two` follows `one`; each value of this customer is an everyday one by itself."""
    rows = planted()
    encoder = encoder_of(rows, ["one", "two", "three", "four"])
    arrays = tensors(encoder, rows)
    model = model_of(encoder, arrays, SMALL.model_copy(update={"swap_groups": 0.0}))
    fit(model, arrays, 300)
    embedding = Embedding(model, None).eval()
    with torch.no_grad():
        vectors, _, errors = embedding.raw(arrays)
        embedding.settle(vectors, errors)
        _, _, usual = embedding(arrays)
        odd = rows.head(1).with_columns(one=1.5, two=3.0, three=0.0, four=0.0)
        _, _, found = embedding(tensors(encoder, odd))
    torch.testing.assert_close(usual.mean(dim=0), torch.ones(4), rtol=1e-3, atol=1e-3)
    assert float(found.mean()) > float(usual.mean(dim=1).quantile(0.99))
    named = model.inputs.features[int(found[0].argmax())]
    assert named in ("one", "two")


def test_each_part_of_the_embedding_has_the_same_length_on_average() -> None:
    rows = planted()
    encoder = encoder_of(rows)
    arrays = tensors(encoder, rows)
    model = model_of(encoder, arrays)
    columns = model.scaled_width + len(KNOTS) * len(model.inputs.numbers)
    ahead = Ahead(
        torch.full((columns,), -1e30), 100 * torch.randn(columns, 3, generator=torch.Generator().manual_seed(0))
    )
    embedding = Embedding(model, None, ahead).eval()
    with torch.no_grad():
        vectors, _, errors = embedding.raw(arrays)
        embedding.settle(vectors, errors)
        settled, _, _ = embedding(arrays)
    torch.testing.assert_close(settled.mean(dim=0), torch.zeros(5), rtol=0, atol=1e-5)
    assert embedding.parts == (slice(0, 2), slice(2, 2), slice(2, 5))
    for part in (embedding.parts[0], embedding.parts[2]):
        torch.testing.assert_close(float((settled[:, part] ** 2).sum(dim=1).mean()), 1.0, rtol=1e-5, atol=0)


def test_identical_customers_settle_without_dividing_by_nothing() -> None:
    rows = pl.concat([planted(1)] * 50)
    encoder = encoder_of(rows)
    arrays = tensors(encoder, rows)
    embedding = Embedding(model_of(encoder, arrays), None).eval()
    with torch.no_grad():
        vectors, _, errors = embedding.raw(arrays)
        embedding.settle(vectors, errors)
        assert all(torch.isfinite(values).all() for values in embedding(arrays))


@pytest.mark.parametrize(
    ("values", "inside"),
    [
        ([3.0] * 10, []),  # constant: nothing to tell apart
        ([0.0] * 9 + [1.0], [0.0]),  # one tie fills nearly all bins
        ([0.0] * 5 + [1.0] * 5, [0.0]),
        (list(range(10)), [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ([], []),  # known of nobody
    ],
)
def test_bins_end_between_values_and_ties_are_never_parted(values: list[float], inside: list[float]) -> None:
    numbers = np.array([*values, 100.0], dtype=np.float32)[:, None]
    missing = np.array([*(0 for _ in values), 1], dtype=np.float32)[:, None]
    (edges,) = bin_edges(numbers, missing, 10)
    assert len(edges) == 9 and edges[np.isfinite(edges)].tolist() == inside
    assert (np.sort(edges) == edges).all()


def test_columns_without_variety_have_no_bins_to_find() -> None:
    rows = planted().with_columns(two=3.0, three=pl.lit(None, dtype=pl.Float64))
    encoder = encoder_of(rows, ["one", "two", "three", "four"])
    arrays = tensors(encoder, rows)
    model = model_of(encoder, arrays)
    names = model.inputs.numbers
    binned = dict(zip(names, model.get_buffer("binned").tolist(), strict=True))
    assert binned == {"one": True, "two": False, "three": False, "four": True}
    assert model.varying == ()
    assert all(np.isfinite(fit(model, arrays, 5)))
