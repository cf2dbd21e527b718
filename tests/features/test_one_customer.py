"""One customer of a request has the row, and the arrays, that a bucket gives: ties, gaps and any order of rows."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from recsys.features.encoded import BATCH, EncodedRows
from recsys.features.encoder_state import EncoderState
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.features.vocabulary import FEW
from tests.features.test_features import CUSTOMERS, DAY, EVENTS, PRODUCTS, bank, definition, everyone


def messy(seed: int) -> dict[str, pl.DataFrame]:
    """Events of one day at one time, some without a time or a product, in no order; some customers without any."""
    rng, tables = np.random.default_rng(seed), bank(seed)
    for name in EVENTS:
        table = tables[name].with_columns(pl.col("at").dt.truncate("30d"))
        gaps = ("at", "product_id", "category", "channel") if name != "balances" else ()
        for column in set(gaps) & set(table.columns):
            lost = pl.Series(rng.random(table.height) < 0.1)
            table = table.with_columns(pl.when(lost).then(None).otherwise(pl.col(column)).alias(column))
        tables[name] = table.sample(fraction=1.0, shuffle=True, seed=seed)
    positions = pl.Series("position", rng.integers(0, 3, tables["interactions"].height))
    tables["interactions"] = tables["interactions"].with_columns(positions).filter(pl.col("customer_id") > "C0010")
    return tables


def of(tables: dict[str, pl.DataFrame], customer: str) -> dict[str, pl.DataFrame]:
    """What is about one customer."""
    held = tables["account_holders"].filter(customer_id=customer)["account_id"].implode()
    found = {}
    for name, table in tables.items():
        mine = pl.lit(True)
        if "customer_id" in table.columns:
            mine = pl.col("customer_id") == customer
        elif "account_id" in table.columns:
            mine = pl.col("account_id").is_in(held)
        found[name] = table.filter(mine)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_alone_as_among_all_to_the_last_bit(seed: int) -> None:
    tables = messy(seed)
    assert tables["interactions"].height > FEW, "the two ways to sort and look up are both taken"
    among = features(tables, everyone(), definition())
    state = EncoderState(definition(), pl.DataFrame({"product_id": PRODUCTS}))
    state.update(among)
    encoder = state.finish()
    arrays = encoder.encode(among)
    for row in range(0, CUSTOMERS, 3):
        customer = f"C{row:04d}"
        alone = features(of(tables, customer), scoring_examples([customer], DAY), definition())
        assert_frame_equal(alone, among[row : row + 1], check_exact=True)
        for name, values in encoder.encode(alone).items():
            assert values.tobytes() == arrays[name][row : row + 1].tobytes(), (customer, name)


def test_rows_are_encoded_once_for_all_who_ask_and_large_ones_are_not_kept() -> None:
    rows = features(bank(), everyone(), definition())
    state = EncoderState(definition(), pl.DataFrame({"product_id": PRODUCTS}))
    state.update(rows)
    encoder = state.finish()
    shared = EncodedRows(rows, encoder)
    ((place, first),), ((_, second),) = shared.batches(), shared.batches()
    assert first is second and place == slice(0, CUSTOMERS)
    assert EncodedRows.of(shared, encoder) is shared
    assert EncodedRows.of(shared, encoder.model_copy()) is not shared, "arrays of another encoder are not taken"
    many = EncodedRows(pl.concat([rows] * 21), encoder)
    parts = [arrays["numbers"] for _, arrays in many.batches()]
    assert [len(part) for part in parts] == [BATCH, 21 * CUSTOMERS - BATCH]
    assert np.array_equal(np.concatenate(parts), np.tile(first["numbers"], (21, 1)))
    assert next(many.batches())[1]["numbers"] is not parts[0]
