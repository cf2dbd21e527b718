"""The tables of the online state, declared once; the migrations make them, and a test compares the two."""

import sqlalchemy as sa

HEAD = "0002"
"""The newest migration; `migrate.check` compares it with what a store says of itself."""

metadata = sa.MetaData()
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite counts up by itself in an INTEGER only
_TEXT, _BYTES = sa.Text, sa.LargeBinary


def _of_customer(*, primary_key: bool) -> sa.Column[str]:
    """A customer's id in a table whose rows go when the customer goes."""
    gone = sa.ForeignKey("customers.customer_id", ondelete="CASCADE")
    return sa.Column("customer_id", _TEXT, gone, primary_key=primary_key, nullable=False)


about = sa.Table(
    "about",
    metadata,
    sa.Column("name", _TEXT, primary_key=True),
    sa.Column("value", _TEXT, nullable=False),
    comment="What the store was loaded from, as JSON by name.",
)
bank = sa.Table(
    "bank",
    metadata,
    sa.Column("name", _TEXT, primary_key=True),
    sa.Column("rows", _BYTES, nullable=False),
    comment="The bank's own tables, whole: products and campaigns.",
)
customers = sa.Table(
    "customers",
    metadata,
    sa.Column("customer_id", _TEXT, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("lake", _TEXT, nullable=False),
    comment="Who is known. The version is another after every change to what an answer depends on.",
)
stored_rows = sa.Table(
    "stored_rows",
    metadata,
    _of_customer(primary_key=True),
    sa.Column("rows", _BYTES, nullable=False),
    comment="A customer's rows as the lake had them, all tables in one value.",
)
holders = sa.Table(
    "holders",
    metadata,
    sa.Column("account_id", _TEXT, primary_key=True),
    _of_customer(primary_key=True),
    sa.Index("holders_customer", "customer_id"),
    comment="Who holds which account: an event of an account is about all of them.",
)
events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", _NUMBER, primary_key=True, autoincrement=True),
    sa.Column("table_name", _TEXT, nullable=False),
    sa.Column("event_id", _TEXT, nullable=False),
    sa.Column("customer_id", _TEXT),
    sa.Column("account_id", _TEXT),
    sa.Column("row", _TEXT, nullable=False),
    sa.Column("received", _TEXT, nullable=False),
    sa.UniqueConstraint("table_name", "event_id", name="events_once"),
    sa.Index("events_customer", "customer_id"),
    sa.Index("events_account", "account_id"),
    comment="What came in since the load: rows of the lake's contract as JSON; each event id once.",
)
consents = sa.Table(
    "consents",
    metadata,
    sa.Column("seq", _NUMBER, primary_key=True, autoincrement=True),
    _of_customer(primary_key=False),
    sa.Column("purpose", _TEXT, nullable=False),
    sa.Column("channel", _TEXT),
    sa.Column("granted", sa.Boolean, nullable=False),
    sa.Column("at", _TEXT, nullable=False),
    sa.Column("received", _TEXT, nullable=False),
    sa.Index("consents_customer", "customer_id"),
    comment="What customers allowed or withdrew since the load; only ever added to.",
)
seen = sa.Table(
    "seen",
    metadata,
    _of_customer(primary_key=True),
    sa.Column("bundle_id", _TEXT, primary_key=True),
    sa.Column("day", _TEXT, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("facts", _TEXT, nullable=False),
    sa.Column("vector", _BYTES),
    sa.Column("adoption", _BYTES),
    sa.Column("feature_row", _TEXT, nullable=False),
    sa.Index("seen_bundle", "bundle_id", "day"),
    comment="What a bundle sees in a customer on a day: true while the version is the customer's.",
)
pacing = sa.Table(
    "pacing",
    metadata,
    sa.Column("prices", _TEXT, primary_key=True),
    sa.Column("state", _TEXT, nullable=False),
    comment="How far the prices of a plan have moved, and what was spent by them, as JSON by version.",
)
loads = sa.Table(
    "loads",
    metadata,
    sa.Column("run", _TEXT, primary_key=True),
    sa.Column("bucket", sa.Integer, primary_key=True),
    comment="Buckets that a load has finished.",
)
suppressed = sa.Table(
    "suppressed",
    metadata,
    sa.Column("hash", _TEXT, primary_key=True),
    sa.Column("since", _TEXT, nullable=False),
    comment="Keyed hashes of erased customers: neither a load nor an event brings them back.",
)
