"""A synthetic bank written as a lake, bucket by bucket, and the truth it was made from beside it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from recsys.errors import ConfigError
from recsys.lake.buckets import bucket_of
from recsys.lake.contract import Attribute
from recsys.lake.location import location
from recsys.lake.store import Lake, LakeWriter
from recsys.progress import Progress
from recsys.synthetic.accounts import account_frame, balance_frame, holder_frame, open_accounts
from recsys.synthetic.campaigns import campaign_frame
from recsys.synthetic.contacts import consent_frame, contact_frame
from recsys.synthetic.customers import customer_frame, draw_people
from recsys.synthetic.engagement import interaction_frame
from recsys.synthetic.ids import customer_ids
from recsys.synthetic.life import live
from recsys.synthetic.months import LAST_DAY, as_date
from recsys.synthetic.products import PRODUCTS, product_frame
from recsys.synthetic.spending import transaction_frame
from recsys.synthetic.streams import Streams
from recsys.synthetic.truth import FILES, truth_frames

UNTIL: date = as_date(LAST_DAY)
"""The last day that the bank knows."""

ATTRIBUTES: dict[str, tuple[Attribute, ...]] = {
    "customers": (
        Attribute("born", "feature", "date", "date of birth; 1900-01-01 where nobody asked"),
        Attribute("sex", "protected", "category", "as recorded"),
        Attribute("region", "group", "category", "region of residence"),
        Attribute("marital_status", "feature", "category", "as recorded"),
        Attribute("occupation", "feature", "category", "as recorded"),
        Attribute("income", "feature", "number", "stated income, pence a year"),
        Attribute("housing", "feature", "category", "how the customer lives"),
        Attribute("dependants", "feature", "number", "children and others supported"),
        Attribute("credit_score", "feature", "number", "a bureau's score, 300 to 999"),
        Attribute("joined", "feature", "date", "first day with the bank"),
        Attribute("joined_through", "feature", "category", "how the customer came"),
        Attribute("devices", "feature", "tags", "devices seen"),
    ),
    "products": (
        Attribute("name", "feature", "text", "name in the catalogue"),
        Attribute("category", "feature", "category", "family of products"),
        Attribute("fee", "feature", "number", "pence a month"),
        Attribute("rate", "feature", "number", "percent a year"),
        Attribute("term_months", "feature", "number", "term"),
        Attribute("min_balance", "feature", "number", "least balance, pence"),
        Attribute("min_age", "feature", "number", "youngest age"),
        Attribute("max_age", "feature", "number", "oldest age"),
        Attribute("min_income", "feature", "number", "least income, pence a year"),
        Attribute("risk_class", "feature", "category", "of an investment"),
        Attribute("launched", "feature", "date", "first day on offer"),
        Attribute("requires", "feature", "tags", "products that must be held before"),
        Attribute("features", "feature", "tags", "what it offers"),
    ),
    "campaigns": (
        Attribute("objective", "feature", "category", "sale or retention"),
        Attribute("main_channel", "feature", "category", "channel of its contacts"),
        Attribute("design", "feature", "category", "randomised or targeted"),
        Attribute("arms", "feature", "tags", "arms, control included"),
    ),
}


@dataclass(frozen=True)
class BucketOfBank:
    """One bucket: its rows of every table about customers, and the truth about them."""

    tables: dict[str, pl.DataFrame]
    truth: dict[str, pl.DataFrame]


def generate(out: str | Path, customers: int, seed: int, buckets: int = 16, progress: Progress | None = None) -> Lake:
    """Write a synthetic bank of `customers` customers to `out`, its truth to `out`.truth, and open it.

    The same customers, seed and buckets give the same bank; memory is that of two buckets of `customers / buckets`.
    Raises ConfigError for numbers out of range and LakeError where `out` cannot be written.
    """
    _check(customers, seed)
    with (
        LakeWriter(
            out, buckets=buckets, currency="GBP", source="synthetic", until=UNTIL, attributes=ATTRIBUTES
        ) as writer,
        location(f"{writer.place}.truth").drafting() as draft,
    ):
        writer.append("products", product_frame())
        writer.append("campaigns", campaign_frame())
        for b, part in enumerate(bank(customers, seed, buckets)):
            for table, frame in part.tables.items():
                writer.append(table, frame.with_columns(pl.lit(b, pl.Int32).alias("bucket")))
            for name, frame in part.truth.items():
                frame.write_parquet(draft / f"{name}.{b:06d}.parquet")
            if progress:
                progress(b + 1, buckets, "buckets")
        _join_truth(draft)
    return Lake.open(out)


def bank(customers: int, seed: int, buckets: int) -> Iterator[BucketOfBank]:
    """The bank's buckets in order; the next one is made while the caller is busy with this one."""
    ids = customer_ids(customers)
    place = bucket_of(ids, buckets)
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = pool.submit(make_bucket, ids.filter(place == 0), seed, 0)
        for b in range(1, buckets):
            part = coming.result()
            coming = pool.submit(make_bucket, ids.filter(place == b), seed, b)
            yield part
        yield coming.result()


def make_bucket(ids: pl.Series, seed: int, bucket: int) -> BucketOfBank:
    """The rows and the truth of the customers of one bucket; depends on nothing but these arguments."""
    streams = Streams(seed, bucket)
    people = draw_people(ids, streams, len(PRODUCTS))
    life = live(people, streams)
    accounts = open_accounts(people, life, streams, bucket)
    contacts = contact_frame(people, life.journal, streams, bucket)
    tables = {
        "customers": customer_frame(people, streams),
        "accounts": account_frame(accounts),
        "account_holders": holder_frame(people, accounts),
        "balances": balance_frame(people, accounts, life.traces, streams),
        "interactions": interaction_frame(people, life, contacts, streams, bucket),
        "transactions": transaction_frame(people, life, accounts, streams, bucket),
        "contacts": contacts,
        "consents": consent_frame(people, life.journal),
    }
    return BucketOfBank(tables=tables, truth=truth_frames(people, life.journal, life.left, bucket))


def _join_truth(folder: Path) -> None:
    """One file per kind of truth out of one per bucket, streamed."""
    for name in FILES:
        parts = sorted(folder.glob(f"{name}.*.parquet"))
        pl.scan_parquet(parts).sink_parquet(folder / f"{name}.parquet")
        for part in parts:
            part.unlink()


def _check(customers: int, seed: int) -> None:
    if customers < 1:
        raise ConfigError(f"customers: {customers:,}; a bank has at least one customer")
    if customers > 9_999_999:
        raise ConfigError(f"customers: {customers:,}; the ids have room for 9,999,999")
    if seed < 0:
        raise ConfigError(f"seed: {seed}; it must be 0 or more")
