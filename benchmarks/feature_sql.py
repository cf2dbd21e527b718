"""The feature rows of a dated lake as SQL for DuckDB, written by hand: what `features` is compared with."""

import re
from datetime import date

import duckdb

from recsys.features.definition import FeatureDefinition
from recsys.lake.contract import TABLES
from recsys.lake.store import Lake


def connect(lake: Lake, threads: int) -> duckdb.DuckDBPyConnection:
    """A connection with a view per table over the lake's Parquet files, and one of who holds which account where."""
    connection = duckdb.connect()
    connection.execute(f"SET threads = {threads}; SET preserve_insertion_order = false")
    for table in lake.tables:
        whole = TABLES[table].about == "all"
        files = f"{lake.path}/{table}/{'' if whole else '*/'}*.parquet"
        read = f"read_parquet('{files}', hive_partitioning = {str(not whole).lower()})"
        connection.execute(f"CREATE VIEW {table} AS SELECT * FROM {read}")
    # A joint account's rows stand in the bucket of each holder: a holder reads the copy in their own bucket.
    connection.execute(
        "CREATE VIEW holder AS SELECT h.bucket, h.account_id, h.customer_id FROM account_holders h "
        "JOIN customers c ON c.customer_id = h.customer_id AND c.bucket = h.bucket"
    )
    return connection


def query(definition: FeatureDefinition, as_of: date) -> str:
    """One SELECT: a row per customer of a lake with all tables, nothing hidden, seen from `as_of`.

    Each table is grouped once to what a customer did by category within the cumulative windows, and then pivoted;
    filtering every event by every column instead takes several times as long.
    """
    parts = {
        "spent": _transactions(definition, as_of),
        "done": _interactions(definition, as_of),
        "held": _holdings(as_of),
        "past": _history(definition, as_of),
        "told": _contacts(definition, as_of),
        "owned": _balances(as_of),
        "opened": _accounts(as_of),
    }
    ctes = ", ".join(f"{name} AS ({sql})" for name, sql in parts.items())
    joins = " ".join(f"LEFT JOIN {name} USING (customer_id)" for name in parts)
    text = f"WITH {ctes} SELECT c.customer_id, {', '.join(_columns(definition, as_of))} FROM customers c {joins}"
    return re.sub(r"\bat\b(?!')", '"at"', text)


def _columns(definition: FeatureDefinition, as_of: date) -> list[str]:
    profile = []
    for column in definition.profile:
        value = f'c."{column.name}"'
        if column.kind == "date":
            value = f"CASE WHEN {value} <= DATE '{as_of}' THEN (DATE '{as_of}' - {value})::DOUBLE END"
        profile.append(f'{value} AS "{column.name}"')
    recent, long = definition.windows[min(1, len(definition.windows) - 1)], definition.windows[-1]
    trend = f'coalesce("transactions.out.{recent}d", 0) / {recent} - coalesce("transactions.out.{long}d", 0) / {long}'
    computed = {"transactions.out.trend": trend}
    for name in definition.activity:
        counted = re.search(r"\.\d+d$", name) or name in ("accounts.open", "holdings.count")
        computed.setdefault(name, f'coalesce("{name}", 0)' if counted else f'"{name}"')
    lists = [f"coalesce({name}, []) AS {name}" for name in ("holdings", "history", "history_kind", "history_age")]
    return [*profile, *(f'{value}::DOUBLE AS "{name}"' for name, value in computed.items()), *lists]


def _age(as_of: date) -> str:
    return f"date_diff('day', at::DATE, DATE '{as_of}')"


def _before(as_of: date) -> str:
    return f"at < TIMESTAMP '{as_of}'"


def _pivot(measure: str, by: str, values: tuple[str, ...], name: str, windows: tuple[int, ...]) -> list[str]:
    """Columns `name.VALUE….Nd` from rows that hold the measure by window: n0, n1, …"""
    return [
        f"""max({measure}{i}) FILTER ({by} = '{value}') AS "{name.format(value)}.{days}d\""""
        for value in values
        for i, days in enumerate(windows)
    ]


def _counts(windows: tuple[int, ...]) -> str:
    return ", ".join(f"count(*) FILTER (age <= {days}) AS n{i}" for i, days in enumerate(windows))


def _transactions(definition: FeatureDefinition, as_of: date) -> str:
    windows = definition.windows
    money = ", ".join(
        f"sum(amount) FILTER (age <= {days} AND amount > 0) AS i{i}, "
        f"-sum(amount) FILTER (age <= {days} AND amount < 0) AS o{i}"
        for i, days in enumerate(windows)
    )
    totals = [
        f'sum({letter}{i}) AS "transactions.{name}.{days}d"'
        for name, letter in (("count", "n"), ("in", "i"), ("out", "o"))
        for i, days in enumerate(windows)
    ]
    categories, channels = definition.transaction_categories, definition.transaction_channels
    by_category = _pivot("n", "category", categories, "transactions.category.{}.count", windows)
    by_category += _pivot("o", "category", categories, "transactions.category.{}.out", windows)
    by_channel = _pivot("n", "channel", channels, "transactions.channel.{}.count", windows)
    return f"""
        WITH e AS (
            SELECT h.customer_id, category, channel, {_age(as_of)} AS age, amount
            FROM transactions t JOIN holder h ON h.bucket = t.bucket AND h.account_id = t.account_id
            WHERE {_before(as_of)}),
        a AS (SELECT customer_id, category, {_counts(windows)}, {money}, min(age) AS age FROM e GROUP BY ALL),
        b AS (SELECT customer_id, channel, {_counts(windows)} FROM e GROUP BY ALL),
        pa AS (SELECT customer_id, {", ".join(totals + by_category)}, min(age) AS "transactions.recency"
               FROM a GROUP BY customer_id),
        pb AS (SELECT customer_id, {", ".join(by_channel)} FROM b GROUP BY customer_id)
        SELECT * FROM pa JOIN pb USING (customer_id)"""


def _interactions(definition: FeatureDefinition, as_of: date) -> str:
    kinds, windows = definition.interaction_kinds, definition.windows
    last = [f"""min(age) FILTER (kind = '{kind}') AS "interactions.{kind}.recency\"""" for kind in kinds]
    return f"""
        WITH g AS (
            SELECT customer_id, kind, {_counts(windows)}, min(age) AS age
            FROM (SELECT customer_id, kind, {_age(as_of)} AS age FROM interactions WHERE {_before(as_of)}) GROUP BY ALL)
        SELECT customer_id, {", ".join(_pivot("n", "kind", kinds, "interactions.{}.count", windows) + last)}
        FROM g GROUP BY customer_id"""


def _holdings(as_of: date) -> str:
    return f"""
        WITH l AS (
            SELECT customer_id, product_id, arg_max(kind, at) AS kind FROM interactions
            WHERE kind IN ('holds', 'acquired', 'closed') AND {_before(as_of)} GROUP BY ALL)
        SELECT customer_id, list(product_id ORDER BY product_id) AS holdings, count(*) AS "holdings.count"
        FROM l WHERE kind <> 'closed' GROUP BY customer_id"""


def _history(definition: FeatureDefinition, as_of: date) -> str:
    kinds = ", ".join(f"'{kind}'" for kind in definition.history_kinds)
    entry = f"{{'product': product_id, 'kind': kind, 'age': {_age(as_of)}::INT}}"
    lists = [
        f"list_reverse(list_transform(l, lambda x: x.{field})) AS {name}"
        for field, name in (("product", "history"), ("kind", "history_kind"), ("age", "history_age"))
    ]
    return f"""
        WITH r AS (
            SELECT customer_id, max_by({entry}, at, {definition.history_length}) AS l FROM interactions
            WHERE {_before(as_of)} AND product_id IS NOT NULL AND kind IN ({kinds}) GROUP BY customer_id)
        SELECT customer_id, {", ".join(lists)} FROM r"""


def _contacts(definition: FeatureDefinition, as_of: date) -> str:
    windows = definition.windows
    total = [f'sum(n{i}) AS "contacts.count.{days}d"' for i, days in enumerate(windows)]
    by_channel = _pivot("n", "channel", definition.contact_channels, "contacts.{}.count", windows)
    return f"""
        WITH g AS (
            SELECT customer_id, channel, {_counts(windows)}, min(age) AS age
            FROM (SELECT customer_id, channel, {_age(as_of)} AS age FROM contacts WHERE contacted AND {_before(as_of)})
            GROUP BY ALL)
        SELECT customer_id, {", ".join(total + by_channel)}, min(age) AS "contacts.recency"
        FROM g GROUP BY customer_id"""


def _balances(as_of: date) -> str:
    return f"""
        WITH a AS (
            SELECT bucket, account_id, arg_max(amount, at) AS latest,
                   arg_max(amount, at) FILTER (at <= TIMESTAMP '{as_of}' - INTERVAL 90 DAY) AS past
            FROM balances WHERE {_before(as_of)} GROUP BY ALL)
        SELECT h.customer_id, sum(latest) AS "balances.latest", sum(latest) - sum(past) AS "balances.trend"
        FROM a JOIN holder h ON h.bucket = a.bucket AND h.account_id = a.account_id GROUP BY ALL"""


def _accounts(as_of: date) -> str:
    day = f"DATE '{as_of}'"
    return f"""
        SELECT h.customer_id, count(*) AS "accounts.open", max({day} - opened) AS "accounts.oldest"
        FROM holder h JOIN accounts a ON a.bucket = h.bucket AND a.account_id = h.account_id
        WHERE (opened IS NULL OR opened < {day}) AND (closed IS NULL OR closed >= {day}) GROUP BY ALL"""
