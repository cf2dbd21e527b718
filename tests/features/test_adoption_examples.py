"""Who is seen from which day, in which interval a product was acquired, and what is not told."""

from datetime import date, datetime

import polars as pl
import pytest

from recsys.errors import DataError
from recsys.features.adoption_examples import ADOPTION, add_months, adoption_cuts, adoption_examples, labels_end

HORIZONS = (1, 3, 6)
CUT, END = date(2024, 1, 1), date(2024, 7, 1)


def tables(*events: tuple[str, str | None, str, datetime | None]) -> dict[str, pl.DataFrame]:
    rows = pl.DataFrame(
        list(events),
        schema={"customer_id": pl.String, "product_id": pl.String, "kind": pl.String, "at": pl.Datetime("us")},
        orient="row",
    )
    return {"interactions": rows}


SEEN = ("a", None, "login", datetime(2023, 12, 31, 23))


def test_months_keep_the_day_or_end_with_the_month() -> None:
    assert add_months(date(2025, 1, 1), -6) == date(2024, 7, 1)
    assert add_months(date(2024, 8, 31), 6) == date(2025, 2, 28)
    assert add_months(date(2024, 3, 31), -1) == date(2024, 2, 29)
    assert add_months(date(2023, 12, 15), 1) == date(2024, 1, 15)


def test_cuts_are_months_apart_and_no_label_reaches_the_next_part() -> None:
    until = date(2025, 1, 1)
    cuts = adoption_cuts(HORIZONS, 3, until)
    assert cuts["test"] == (date(2024, 7, 1),) and cuts["validation"] == (date(2024, 1, 1),)
    assert cuts["train"] == (date(2023, 10, 1), date(2023, 11, 1), date(2023, 12, 1))
    assert labels_end(cuts, "train", until) == date(2024, 1, 1)
    assert labels_end(cuts, "validation", until) == date(2024, 7, 1)
    assert labels_end(cuts, "test", until) == until
    with pytest.raises(DataError, match="dated"):
        adoption_cuts(HORIZONS, 3, None)


def test_a_product_counts_once_in_the_interval_of_its_first_acquisition() -> None:
    found = adoption_examples(
        tables(
            SEEN,
            ("a", "car", "acquired", datetime(2024, 1, 31, 23, 59)),
            ("a", "home", "acquired", datetime(2024, 2, 1)),
            ("a", "loan", "acquired", datetime(2024, 6, 30, 23, 59)),
            ("a", "car", "acquired", datetime(2024, 5, 1)),
            ("a", "late", "acquired", datetime(2024, 7, 1)),
            ("a", "early", "acquired", datetime(2023, 12, 1)),
            ("a", "seen", "viewed", datetime(2024, 1, 5)),
        ),
        HORIZONS,
        [CUT],
        END,
    )
    assert found.schema == pl.Schema(ADOPTION)
    assert found.select("targets", "intervals", "finished").rows() == [(["car", "home", "loan"], [0, 1, 2], 3)]


def test_everyone_seen_before_the_day_is_there_and_nobody_else() -> None:
    found = adoption_examples(
        tables(
            SEEN,
            ("b", "car", "acquired", datetime(2024, 1, 1)),
            ("c", "car", "holds", None),
            ("d", "car", "closed", datetime(2020, 1, 1)),
        ),
        HORIZONS,
        [CUT],
        END,
    )
    assert found["customer_id"].to_list() == ["a", "d"] and found["targets"].to_list() == [[], []]


def test_an_interval_that_is_not_over_tells_nothing() -> None:
    events = tables(
        SEEN,
        ("a", "car", "acquired", datetime(2024, 1, 10)),
        ("a", "home", "acquired", datetime(2024, 3, 10)),
        ("a", "loan", "acquired", datetime(2024, 5, 10)),
    )
    for end, finished, targets in (
        (date(2024, 2, 1), 1, ["car"]),
        (date(2024, 3, 31), 1, ["car"]),
        (date(2024, 4, 1), 2, ["car", "home"]),
        (date(2024, 6, 30), 2, ["car", "home"]),
    ):
        found = adoption_examples(events, HORIZONS, [CUT], end)
        assert found["finished"].to_list() == [finished] and found["targets"].to_list() == [targets], end


def test_a_share_is_drawn_whatever_happened_and_the_same_each_time() -> None:
    events = [(f"c{i:04d}", None, "login", datetime(2023, 1, 1)) for i in range(2000)]
    bought = [(f"c{i:04d}", "car", "acquired", datetime(2024, 1, 9)) for i in range(0, 2000, 2)]
    days = [date(2023, 12, 1), CUT]
    some = adoption_examples(tables(*events, *bought), HORIZONS, days, END, share=0.25)
    assert some.height == pytest.approx(1000, abs=90)
    without = adoption_examples(tables(*events), HORIZONS, days, END, share=0.25)
    assert some.select("customer_id", "as_of").equals(without.select("customer_id", "as_of"))
