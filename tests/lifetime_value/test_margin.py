"""Margins come from what is held, from balances and from a figure, as they were known on the day."""

from datetime import date

import polars as pl
import pytest

from recsys.errors import ConfigError
from recsys.lifetime_value.config import ContractConfig
from recsys.lifetime_value.margin import check_margin, monthly_margin

ROWS = pl.DataFrame(
    {
        "customer_id": ["a", "b", "c"],
        "holdings": [["loan", "card", "gift"], [], ["card"]],
        "balances.latest": [120_000.0, None, -50_000.0],
    }
)


def test_parts_are_added() -> None:
    config = ContractConfig(products={"loan": 1_200, "card": 600}, balance_rate=0.01, origin="invented")
    found = monthly_margin(ROWS, {}, config, None)
    assert found.rows() == [("a", 100 + 50 + 100), ("b", 0.0), ("c", 50.0)]


def test_a_figure_is_taken_as_it_was_known_on_the_day() -> None:
    customers = pl.DataFrame(
        {
            "customer_id": ["a", "a", "b"],
            "valid_from": [date(2024, 6, 1), None, date(2024, 1, 1)],
            "margin": [9.0, 5.0, None],
        }
    )
    config = ContractConfig(attribute="margin", origin="invented")
    before = monthly_margin(ROWS, {"customers": customers}, config, date(2024, 6, 1))
    assert before["monthly_margin"].to_list() == [5.0, 0.0, 0.0]
    after = monthly_margin(ROWS, {"customers": customers}, config, date(2024, 6, 2))
    assert after["monthly_margin"].to_list() == [9.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("margins", "message"),
    [
        ({"products": {"lone": 1.0}}, "'lone' is no product; did you mean 'loan'"),
        ({"attribute": "margins"}, "'margins' is no number of the customers; did you mean 'margin'"),
        ({"balance_rate": 0.1}, "knows no balances"),
    ],
)
def test_margins_of_what_there_is_not_are_refused(margins: dict[str, object], message: str) -> None:
    config = ContractConfig.model_validate({**margins, "origin": "invented"})
    with pytest.raises(ConfigError, match=message):
        check_margin(config, ["loan", "card"], ["margin", "age"], balances=False)


def test_a_contract_without_any_margin_is_refused() -> None:
    with pytest.raises(ValueError, match="give products, balance_rate or attribute"):
        ContractConfig(origin="invented")
