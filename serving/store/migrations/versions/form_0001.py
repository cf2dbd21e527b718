"""The first form of the online state."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str, **options: object) -> sa.Column[str]:
    return sa.Column(name, sa.Text, **{"nullable": False, **options})  # type: ignore[arg-type]


def _bytes(name: str, **options: object) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, **{"nullable": False, **options})  # type: ignore[arg-type]


def _of_customer(**options: object) -> sa.Column[str]:
    gone = sa.ForeignKey("customers.customer_id", ondelete="CASCADE")
    return sa.Column("customer_id", sa.Text, gone, **{"nullable": False, **options})  # type: ignore[arg-type]


def upgrade() -> None:
    """From nothing."""
    _whole_bank()
    _customers()
    _what_came_in()
    _what_is_seen()


def _whole_bank() -> None:
    said = "What the store was loaded from, as JSON by name."
    op.create_table("about", _text("name", primary_key=True), _text("value"), comment=said)
    said = "The bank's own tables, whole: products and campaigns."
    op.create_table("bank", _text("name", primary_key=True), _bytes("rows"), comment=said)
    said = "Buckets that a load has finished."
    bucket = sa.Column("bucket", sa.Integer, primary_key=True)
    op.create_table("loads", _text("run", primary_key=True), bucket, comment=said)
    said = "Keyed hashes of erased customers: neither a load nor an event brings them back."
    op.create_table("suppressed", _text("hash", primary_key=True), _text("since"), comment=said)


def _customers() -> None:
    version = sa.Column("version", sa.BigInteger, nullable=False)
    said = "Who is known. The version is another after every change to what an answer depends on."
    op.create_table("customers", _text("customer_id", primary_key=True), version, _text("lake"), comment=said)
    said = "A customer's rows as the lake had them, all tables in one value."
    op.create_table("stored_rows", _of_customer(primary_key=True), _bytes("rows"), comment=said)
    said = "Who holds which account: an event of an account is about all of them."
    op.create_table("holders", _text("account_id", primary_key=True), _of_customer(primary_key=True), comment=said)
    op.create_index("holders_customer", "holders", ["customer_id"])


def _what_came_in() -> None:
    op.create_table(
        "events",
        sa.Column("seq", _NUMBER, primary_key=True, autoincrement=True),
        _text("table_name"),
        _text("event_id"),
        _text("customer_id", nullable=True),
        _text("account_id", nullable=True),
        _text("row"),
        _text("received"),
        sa.UniqueConstraint("table_name", "event_id", name="events_once"),
        comment="What came in since the load: rows of the lake's contract as JSON; each event id once.",
    )
    op.create_index("events_customer", "events", ["customer_id"])
    op.create_index("events_account", "events", ["account_id"])
    op.create_table(
        "consents",
        sa.Column("seq", _NUMBER, primary_key=True, autoincrement=True),
        _of_customer(),
        _text("purpose"),
        _text("channel", nullable=True),
        sa.Column("granted", sa.Boolean, nullable=False),
        _text("at"),
        _text("received"),
        comment="What customers allowed or withdrew since the load; only ever added to.",
    )
    op.create_index("consents_customer", "consents", ["customer_id"])


def _what_is_seen() -> None:
    op.create_table(
        "seen",
        _of_customer(primary_key=True),
        _text("bundle_id", primary_key=True),
        _text("day", primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        _text("facts"),
        _bytes("vector", nullable=True),
        _bytes("adoption", nullable=True),
        _text("feature_row"),
        comment="What a bundle sees in a customer on a day: true while the version is the customer's.",
    )
    op.create_index("seen_bundle", "seen", ["bundle_id", "day"])


def downgrade() -> None:
    """Back to nothing: every row of the online state is lost."""
    for name in ("seen", "consents", "events", "holders", "stored_rows", "customers", "suppressed", "loads", "bank"):
        op.drop_table(name)
    op.drop_table("about")
