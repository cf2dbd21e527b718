"""A catalog file brings a source in whole, or says what in the file, the copy or the data is not as it should be."""

from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest
import yaml

from recsys.errors import ConfigError, DataError, LakeError
from recsys.features.definition import FeatureConfig, define
from recsys.lake.catalog import import_catalog, read_catalog
from recsys.lake.check import violations
from recsys.lake.store import Lake
from recsys.shipped import names, shipped

PEOPLE = "id,age,town\n001,34,Köln\n002,61,Zürich\n003,,Ulm\n"
EVENTS = "who,what,day\n001,fund,2024-01-05\n001,card,2024-01-06\n002,fund,2024-01-07\n"


def source(folder: Path, **changes: object) -> dict[str, object]:
    """Two CSV files below the folder, and the catalog that reads them."""
    (folder / "people.csv").write_text(PEOPLE, encoding="utf-8")
    (folder / "events.csv").write_text(EVENTS, encoding="utf-8")
    catalog: dict[str, object] = {
        "name": "small",
        "title": "Three people",
        "source": "made up",
        "licence": "none",
        "good_for": "tests",
        "until": date(2024, 1, 31),
        "buckets": 2,
        "files": {
            "people": {"path": "people.csv", "format": "csv"},
            "events": {"path": "events.csv", "format": "csv"},
        },
        "tables": {
            "customers": "SELECT id AS customer_id, CAST(age AS DOUBLE) AS age, town FROM people",
            "interactions": "SELECT who AS customer_id, what AS product_id, 'acquired' AS kind, "
            "CAST(day AS TIMESTAMP) AS at FROM events",
        },
        "columns": {
            "customers": {
                "age": {"role": "feature", "kind": "number"},
                "town": {"role": "group", "kind": "category"},
            }
        },
    }
    return catalog | changes


def bring(folder: Path, catalog: dict[str, object]) -> Lake:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(catalog, allow_unicode=True), encoding="utf-8")
    return import_catalog(path, folder / "lake", folder)


def changed(catalog: dict[str, object], place: str, value: object) -> dict[str, object]:
    """The catalog with one more or one other key, given as a.b.c."""
    *path, last = place.split(".")
    inner = catalog
    for part in path:
        inner = inner.setdefault(part, {})  # type: ignore[assignment]
    inner[last] = value
    return catalog


def refused(folder: Path, catalog: dict[str, object], error: type[Exception]) -> str:
    """The message of the refusal, which must leave nothing behind."""
    with pytest.raises(error) as caught:
        bring(folder, catalog)
    assert not (folder / "lake").exists()
    return str(caught.value)


def test_import(tmp_path: Path) -> None:
    lake = bring(tmp_path, source(tmp_path))
    assert (lake.source, lake.until, lake.buckets, lake.last_event) == ("small", date(2024, 1, 31), 2, date(2024, 1, 7))
    assert lake.read("customers").rows() == [("001", 34.0, "Köln"), ("002", 61.0, "Zürich"), ("003", None, "Ulm")]
    assert lake.read("products").rows() == [("card",), ("fund",)]
    assert lake.read("interactions").row(0) == ("001", "card", "acquired", datetime(2024, 1, 6))
    assert [(a.name, a.role, a.kind) for a in lake.attributes("customers")] == [
        ("age", "feature", "number"),
        ("town", "group", "category"),
    ]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("files.people.seperator", ";", "files.people.seperator: unknown key; did you mean 'separator'?"),
        ("tabels", {}, "tabels: unknown key; did you mean 'tables'?"),
        ("columns.customers.age.rôle", "x", "columns.customers.age.rôle: unknown key; did you mean 'role'?"),
        ("files.people.checks", {"row": 3}, "files.people.checks.row: unknown key; did you mean 'rows'?"),
        ("files.people.format", "xls", "files.people.format: Input should be 'csv', 'parquet', 'json' or 'lines'"),
        ("files.people.encoding", "utf-88", "files.people.encoding: unknown encoding"),
        ("files.people.path", "../people.csv", "files.people.path: must be relative to --root"),
        ("files.people.layout", "object", "files.people: layout: not for the format csv"),
        ("tables.interaction", "SELECT 1", "'interaction' is no table of the lake; did you mean 'interactions'?"),
        ("columns.customers.age.kind", "float", "columns.customers.age.kind: Input should be 'category', 'number'"),
        ("columns.products", {"fee": {"role": "feature", "kind": "number"}}, "tables.products has no SELECT"),
        ("buckets", 12, "buckets: buckets: 12 is not a power of two"),
        ("currency", "Euro", "currency: String should match pattern"),
        ("tables.customers", "SELECT * FROM persons", "tables.customers: Catalog Error: Table with name persons"),
        ("tables.customers", "SELECT nr FROM people", 'Referenced column "nr" not found'),
        ("tables.customers", "SELEC id FROM people", "tables.customers: Parser Error"),
        ("tables.customers", "DROP VIEW people", "tables.customers: must be one SELECT"),
        ("tables.customers", "SELECT 1; SELECT 2", "tables.customers: must be one SELECT"),
        ("tables.customers", "FROM read_csv('/etc/passwd')", "Permission Error"),
        ("tables.customers", "SELECT 1 FROM 'https://example.org/x.csv'", "tables.customers:"),
        ("files.people.checks", {"sums": {"agee": 1}}, "no such column; did you mean 'age'?"),
    ],
)
def test_a_wrong_catalog_is_named_by_key(place: str, value: object, message: str, tmp_path: Path) -> None:
    assert message in refused(tmp_path, changed(source(tmp_path), place, value), ConfigError)


def test_compulsory_keys(tmp_path: Path) -> None:
    catalog = source(tmp_path)
    del catalog["licence"]
    assert "licence: this key is missing and compulsory" in refused(tmp_path, catalog, ConfigError)
    assert "tables.customers: this SELECT is missing" in refused(
        tmp_path, source(tmp_path, tables={"products": "SELECT 1"}, columns={}), ConfigError
    )


def test_an_empty_table_and_a_missing_column(tmp_path: Path) -> None:
    none = changed(
        source(tmp_path), "tables.customers", "SELECT id AS customer_id, 1.0 AS age, town FROM people LIMIT 0"
    )
    message = refused(tmp_path, none, DataError)
    assert "customers: the table is empty" in message
    assert "interactions.customer_id: 3 of 3 rows are without a row in customers" in message
    missing = changed(source(tmp_path), "tables.customers", "SELECT id AS custmer_id, 1.0 AS age, town FROM people")
    message = refused(tmp_path, missing, DataError)
    assert "customers.customer_id: the column is missing and compulsory" in message
    assert "customers.custmer_id: neither a column of the contract" in message


def test_customers_alone_are_a_lake_with_an_empty_catalogue(tmp_path: Path) -> None:
    only = changed(source(tmp_path), "tables", {"customers": source(tmp_path)["tables"]["customers"]})  # type: ignore[index]
    lake = bring(tmp_path, only)
    assert list(lake.tables) == ["customers"] and violations(lake) == []
    assert lake.read("products").is_empty() and lake.read("products").schema == {"product_id": pl.String}


def test_violations_are_listed_and_nothing_is_written(tmp_path: Path) -> None:
    catalog = source(tmp_path)
    text = EVENTS + "002,fund,2024-01-07\n009,fund,2024-01-08\n003,bond,2024-02-01\n"
    (tmp_path / "events.csv").write_text(text, encoding="utf-8")
    changed(catalog, "tables.products", "SELECT DISTINCT what AS product_id FROM events WHERE what <> 'bond'")
    message = refused(tmp_path, catalog, DataError)
    assert "breaks 4 rules of the contract; nothing was written" in message
    assert "customer_id: 1 of 6 rows is without a row in customers (first: customer_id 009" in message
    assert "product_id: 1 of 6 rows is without a row in products (first: customer_id 003, product_id bond" in message
    assert "at: 1 of 6 rows is after 2024-01-31, the last day that the source knows (first: customer_id 003" in message
    assert (
        "customer_id: 1 of 6 rows is duplicate in the key (customer_id, product_id, kind, at, position, event_id)"
        in message
    )


def test_without_until_the_day_of_the_import_counts(tmp_path: Path) -> None:
    catalog = source(tmp_path)
    del catalog["until"]
    assert bring(tmp_path, catalog).until == date.today()


def test_a_value_that_cannot_be_read_is_named_with_file_row_and_column(tmp_path: Path) -> None:
    catalog = source(tmp_path)
    (tmp_path / "people.csv").write_text(PEOPLE + "004,old,Bonn\n", encoding="utf-8")
    message = refused(tmp_path, catalog, DataError)
    assert '"old"' in message and "first in people.csv, row 4, column age" in message
    (tmp_path / "people.csv").write_text(PEOPLE, encoding="utf-8")
    (tmp_path / "events.csv").write_text(EVENTS + "001,fund,31.01.2024\n", encoding="utf-8")
    assert "first in events.csv, row 4, column day" in refused(tmp_path, catalog, DataError)


def test_an_existing_lake_is_kept(tmp_path: Path) -> None:
    before = bring(tmp_path, source(tmp_path)).identity()
    with pytest.raises(LakeError, match="is a lake already"):
        bring(tmp_path, source(tmp_path))
    assert Lake.open(tmp_path / "lake").identity() == before


@pytest.mark.parametrize("catalog", names("catalog"))
def test_every_shipped_catalog_is_valid_and_says_where_it_comes_from(catalog: str) -> None:
    path = shipped("catalog", catalog)
    spec = read_catalog(path)
    assert spec.name == catalog
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert all(file.checks.rows for file in spec.files.values())


def test_zimnat(datasets: Path, tmp_path: Path) -> None:
    lake = import_catalog(
        shipped("catalog", "zimnat_insurance_reco"), tmp_path / "lake", datasets / "zimnat_insurance_reco"
    )
    assert {name: info.rows for name, info in lake.tables.items()} == {
        "customers": 29_132,
        "products": 21,
        "interactions": 66_353,
    }
    assert lake.as_of is None
    assert violations(lake) == []
    customers = lake.read("customers")
    assert customers["join_date"].null_count() == 2
    assert customers["join_date"].max() == lake.until == date(2020, 8, 1)
    assert customers["birth_year"].sum() == 57_667_291
    held = lake.read("interactions").group_by("product_id").len().sort("product_id")
    assert held.filter(pl.col("len") > 20_000).rows() == [("K6QO", 21_629), ("RVSZ", 25_328)]


def test_zimnat_with_windows_line_ends_and_with_one_changed_cell(datasets: Path, tmp_path: Path) -> None:
    original = (datasets / "zimnat_insurance_reco" / "Train.csv").read_bytes()
    catalog = shipped("catalog", "zimnat_insurance_reco")
    (tmp_path / "Train.csv").write_bytes(original.replace(b"\n", b"\r\n"))
    assert import_catalog(catalog, tmp_path / "lake", tmp_path).tables["interactions"].rows == 66_353
    (tmp_path / "Train.csv").write_bytes(original.replace(b",1987,", b",1978,", 1))
    with pytest.raises(DataError, match="this copy is altered: sha256 expected 8892.*found"):
        import_catalog(catalog, tmp_path / "altered", tmp_path)
    assert not (tmp_path / "altered").exists()


@pytest.mark.parametrize(
    ("name", "customers", "products", "interactions"),
    [("s3rec_beauty", 22_363, 12_101, 198_502), ("s3rec_sports", 35_598, 18_357, 296_337)],
)
def test_s3rec(name: str, customers: int, products: int, interactions: int, datasets: Path, tmp_path: Path) -> None:
    lake = import_catalog(shipped("catalog", name), tmp_path / "lake", datasets / "s3rec_sequential")
    rows = [info.rows for info in lake.tables.values()]
    assert rows == [customers, products, interactions]
    assert violations(lake) == []
    first = lake.customers(["1"])["interactions"].sort("position")
    with next(
        (datasets / "s3rec_sequential").glob(f"{'Beauty' if 'beauty' in name else 'Sports'}*.txt")
    ).open() as file:
        assert first["product_id"].to_list() == file.readline().split()[1:]
    assert first["position"].to_list() == list(range(1, first.height + 1))
    assert lake.read("products")["tags"].list.len().min() > 0  # type: ignore[operator]


def test_online_retail(datasets: Path, tmp_path: Path) -> None:
    lake = import_catalog(shipped("catalog", "online_retail_ii"), tmp_path / "lake", datasets / "online_retail_ii")
    assert {name: info.rows for name, info in lake.tables.items()} == {
        "customers": 4285,
        "products": 4006,
        "interactions": 395_886,
    }
    assert violations(lake) == []
    products, events = lake.read("products"), lake.read("interactions")
    assert products["product_id"].str.contains(r"^\d{5}[A-Z]*$").all()
    assert products.filter(pl.col("product_id") == "85123A").rows() == [
        ("85123A", "WHITE HANGING HEART T-LIGHT HOLDER", 2.95)
    ]
    kept = pl.col("kind").replace_strict({"acquired": 1, "closed": 0}).last()
    last = events.sort("at", "event_id").group_by("customer_id", "product_id").agg(kept.alias("kept"), pl.len())
    assert (last["kept"] == 0).sum() == 1_729 and events["kind"].value_counts().sort("kind")["count"].to_list() == [
        393_637,
        2_249,
    ]
    assert (last.filter(pl.col("len") == 1)["kept"] == 1).all(), "nothing is given back that was never bought"


def test_cc_general(datasets: Path, tmp_path: Path) -> None:
    lake = import_catalog(shipped("catalog", "cc_general"), tmp_path / "lake", datasets / "cc_general")
    assert {name: info.rows for name, info in lake.tables.items()} == {"customers": 8949}
    assert violations(lake) == [] and lake.as_of is None
    customers = lake.read("customers")
    numbers = customers.drop("customer_id")
    assert numbers.width == 17 and set(numbers.dtypes) == {pl.Float64}
    assert {name: n for name, n in numbers.null_count().row(0, named=True).items() if n} == {
        "minimum_payments": 313,
        "credit_limit": 1,
    }
    assert "C10054" not in customers["customer_id"] and customers["customer_id"].n_unique() == 8949
    assert customers.row(0)[:5] == ("C10001", 40.900749, 0.818182, 95.4, 0.0)


def test_bank_churn_modelling(datasets: Path, tmp_path: Path) -> None:
    path = shipped("catalog", "bank_churn_modelling")
    lake = import_catalog(path, tmp_path / "lake", datasets / "bank_churn_modelling")
    assert {name: info.rows for name, info in lake.tables.items()} == {"customers": 10_000}
    assert violations(lake) == [] and lake.as_of is None
    customers = lake.read("customers")
    assert customers["exited"].sum() == 2037 and customers["country"].value_counts().sort("country").rows() == [
        ("France", 5014),
        ("Germany", 2509),
        ("Spain", 2477),
    ]
    assert (customers["market"] == customers["country"]).all()
    bands = customers.group_by("age_band").agg(pl.col("age").min().alias("low"), pl.col("age").max().alias("high"))
    assert bands.sort("low").select("low", "high").rows() == [(18, 29), (30, 39), (40, 49), (50, 59), (60, 92)]
    inputs = {column.name for column in define(lake, FeatureConfig()).profile}
    assert inputs == {
        "credit_score",
        "country",
        "age",
        "tenure",
        "balance",
        "products_held",
        "has_credit_card",
        "is_active_member",
        "estimated_salary",
    }, "no label, no group, nothing protected, no name"


def test_open_bandit(datasets: Path, tmp_path: Path) -> None:
    lake = import_catalog(shipped("catalog", "obd"), tmp_path / "lake", datasets / "obd")
    rows = {"customers": 40_000, "products": 80, "decisions": 40_000, "outcomes": 207}
    assert {name: info.rows for name, info in lake.tables.items()} == rows
    assert violations(lake) == []
    made = lake.read("decisions").join(lake.read("customers"), on="customer_id")
    clicked = made.join(lake.read("outcomes"), on="decision_id", how="left", suffix="_of_outcome")
    rates = clicked.group_by("campaign", "policy").agg(pl.col("kind").is_not_null().mean()).sort("campaign", "policy")
    assert rates.rows() == [
        ("men", "bts", 0.0069),
        ("men", "random", 0.0046),
        ("women", "bts", 0.0046),
        ("women", "random", 0.0046),
    ]
    uniform = made.filter(pl.col("policy") == "random").group_by("campaign").agg(pl.col("propensity").unique())
    assert {name: 1 / share[0] for name, share in uniform.rows()} == pytest.approx({"men": 34, "women": 46})


def test_hillstrom(datasets: Path, tmp_path: Path) -> None:
    lake = import_catalog(shipped("catalog", "hillstrom"), tmp_path / "lake", datasets / "hillstrom")
    assert {name: info.rows for name, info in lake.tables.items()} == {"customers": 64_000}
    assert violations(lake) == [] and lake.as_of is None
    customers = lake.read("customers").sort("customer_id")
    assert customers.row(0, named=True)["past_spend"] == 142.44, "a customer is named by the number of their row"
    rates = customers.group_by("email").agg(pl.len(), pl.col("visited").mean().round(4)).sort("email")
    assert rates.rows() == [
        ("Mens E-Mail", 21_307, 0.1828),
        ("No E-Mail", 21_306, 0.1062),
        ("Womens E-Mail", 21_387, 0.1514),
    ]
    inputs = {column.name for column in define(lake, FeatureConfig()).profile}
    assert inputs == {
        "recency",
        "past_spend",
        "bought_mens",
        "bought_womens",
        "zip_code",
        "new_customer",
        "channel",
    }, "neither the arm nor what came of it"


def test_marketing_campaign(datasets: Path, tmp_path: Path) -> None:
    source = datasets / "marketing_campaign"
    lake = import_catalog(shipped("catalog", "marketing_campaign"), tmp_path / "lake", source)
    assert {name: info.rows for name, info in lake.tables.items()} == {"customers": 2_240}
    assert violations(lake) == [] and lake.as_of is None
    customers = lake.read("customers").sort("customer_id")
    assert customers["accepted"].sum() == 334 and customers["income"].null_count() == 24
    assert customers["birth_year"].null_count() == 3 and customers["days_as_customer"].min() == 0
    profile = {column.name for column in define(lake, FeatureConfig()).profile}
    assert "accepted" not in profile and "spent_wines" in profile and "accepted_5" in profile
