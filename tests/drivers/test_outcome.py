"""What an outcome is asked of: contacts from their own day, customers known before theirs, and what is refused."""

from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from recsys.drivers.outcome import Outcome, parse_outcome, parse_where, units
from recsys.errors import ConfigError, DataError
from recsys.lake.store import Attribute, Lake, LakeWriter

KNOWN = {
    "customers": pl.DataFrame(
        {
            "customer_id": ["A", "B", "C"],
            "left": [True, False, None],
            "stars": [0.0, 1.0, 3.0],
            "branch": ["x", "y", "x"],
        }
    ),
    "products": pl.DataFrame({"product_id": ["loan"]}),
    "interactions": pl.DataFrame(
        {
            "customer_id": ["A", "A", "B", "C", "B", "B", "B"],
            "product_id": [None, None, None, None, "loan", "loan", "loan"],
            "kind": ["login"] * 4 + ["viewed", "clicked", "viewed"],
            "at": [
                datetime(2024, 1, 5),
                datetime(2024, 3, 4),
                datetime(2024, 2, 1),
                datetime(2024, 3, 20),
                datetime(2023, 11, 1),
                datetime(2024, 3, 1, 23),
                datetime(2024, 3, 2, 9),
            ],
        },
        schema_overrides={"product_id": pl.String},
    ),
    "campaigns": pl.DataFrame(
        {"campaign_id": ["K1", "K2"], "product_id": ["loan", None], "objective": ["sale", "retention"]}
    ),
    "contacts": pl.DataFrame(
        {
            "contact_id": ["1", "2", "3", "4"],
            "customer_id": ["A", "B", "B", "A"],
            "campaign_id": ["K1", "K1", "K2", "K1"],
            "at": [
                datetime(2024, 3, 1, 10),
                datetime(2024, 3, 2, 17, 30),
                datetime(2024, 3, 9, 8),
                datetime(2024, 3, 25),
            ],
            "channel": ["email", "post", "email", "email"],
            "arm": ["treated", "treated", "treated", "control"],
            "contacted": [True, True, True, False],
            "propensity": [0.5] * 4,
            "opened": [True, None, False, None],
            "converted": [True, False, True, False],
        }
    ),
}
ATTRIBUTES = {
    "customers": (
        Attribute("left", "label", "flag"),
        Attribute("stars", "outcome", "number"),
        Attribute("branch", "group", "category"),
    ),
    "campaigns": (Attribute("objective", "feature", "category"),),
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    path = tmp_path_factory.mktemp("outcome") / "lake"
    with LakeWriter(path, buckets=1, until=date(2024, 3, 31), attributes=ATTRIBUTES) as writer:
        for table, rows in KNOWN.items():
            writer.append(table, rows)
    return Lake.open(path)


def test_a_contact_is_seen_from_its_own_day(lake: Lake) -> None:
    found = units(lake.bucket(0), parse_outcome("contacts.converted", lake, None, None))
    assert found.select("customer_id", "as_of", "outcome").rows() == [
        ("A", date(2024, 3, 1), 1.0),
        ("A", date(2024, 3, 25), 0.0),
        ("B", date(2024, 3, 2), 0.0),
        ("B", date(2024, 3, 9), 1.0),
    ]
    assert found["campaign.looks"].to_list() == [0.0, 0.0, 1.0, None], "not of the day itself, nor 90 days before"
    last = found.row(2, named=True)
    assert (last["contact.hour"], last["contact.weekday"], last["campaign.objective"]) == (
        "15 to 18",
        "Saturday",
        "sale",
    )


def test_nobody_knows_whether_a_letter_was_opened(lake: Lake) -> None:
    found = units(lake.bucket(0), Outcome("contact", "opened"))
    assert found["contact_id"].to_list() == ["1", "3"]
    only = units(lake.bucket(0), Outcome("contact", "opened"), parse_where("objective=sale", lake))
    assert only["contact_id"].to_list() == ["1"]


def test_events_inside_the_horizon_of_customers_known_before(lake: Lake) -> None:
    asked = parse_outcome("interactions.login", lake, 10, date(2024, 3, 1))
    found = units(lake.bucket(0), asked)
    assert found.select("customer_id", "outcome").rows() == [("A", 1.0), ("B", 0.0)], "C came later"
    assert asked.text == "login within 10 days of 2024-03-01"
    of_contacts = parse_outcome("contacts.opened", lake, 20, date(2024, 3, 1))
    assert units(lake.bucket(0), of_contacts).select("customer_id", "outcome").rows() == [("A", 1.0), ("B", 0.0)]


def test_a_column_needs_a_day_where_there_are_events(lake: Lake) -> None:
    with pytest.raises(ConfigError, match="this column has no date; give --as-of DAY"):
        parse_outcome("left", lake, None, None)
    found = units(lake.bucket(0), parse_outcome("left", lake, None, date(2024, 3, 1)))
    assert found.select("customer_id", "outcome").rows() == [("A", 1.0), ("B", 0.0)]


def test_a_third_value_is_refused(lake: Lake) -> None:
    with pytest.raises(DataError, match=r"customers.stars: 1 rows are neither 0 nor 1 \(such as 3\)"):
        units(lake.bucket(0), parse_outcome("stars", lake, None, date(2024, 3, 1)))


@pytest.mark.parametrize(
    ("asked", "horizon", "day", "said"),
    [
        ("lefd", None, None, "did you mean 'left'"),
        ("branch", None, None, "no such label or outcome"),
        ("contacts.converts", None, None, "did you mean 'converted'"),
        ("contacts.clicked", None, None, "the lake has no contacts.clicked"),
        ("contacts.opened", None, date(2024, 3, 1), "seen from its own day"),
        ("interactions.login", 30, date(2024, 3, 10), "ends on 2024-04-09"),
        ("left", 30, date(2024, 3, 1), "says nothing of a horizon"),
    ],
)
def test_what_is_refused(lake: Lake, asked: str, horizon: int | None, day: date | None, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_outcome(asked, lake, horizon, day)


def test_a_campaigns_attribute_must_be_one(lake: Lake) -> None:
    with pytest.raises(ConfigError, match="campaigns has objective"):
        parse_where("goal=sale", lake)


def test_where_there_is_nothing_dated(tmp_path: Path) -> None:
    with LakeWriter(tmp_path / "lake", buckets=1, attributes={"customers": ATTRIBUTES["customers"]}) as writer:
        writer.append("customers", KNOWN["customers"])
    undated = Lake.open(tmp_path / "lake")
    assert parse_outcome("left", undated, None, None).as_of is None
    with pytest.raises(ConfigError, match="the lake has no interactions"):
        parse_outcome("interactions.login", undated, 30, None)
