"""Whose rows of events are: the customer they name, and everyone who holds the account that they name."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from recsys.features.view import Column, arrays, matches
from recsys.features.vocabulary import Vocabulary


class Owners:
    """The customers of a lake's tables, in the order of their ids, and the accounts that they hold."""

    def __init__(self, tables: Mapping[str, pl.DataFrame]) -> None:
        self.customers = Vocabulary.of(tables["customers"]["customer_id"])
        holders = tables.get("account_holders", pl.DataFrame())
        ids = holders["account_id"] if "account_id" in holders.columns else pl.Series(dtype=pl.String)
        self.accounts = Vocabulary.of(ids)
        found = arrays(holders, {"account_id": self.accounts, "customer_id": self.customers})
        count = max(1, len(self.customers))
        pair = (found["account_id"] * count + found["customer_id"])[
            (found["account_id"] >= 0) & (found["customer_id"] >= 0)
        ]
        self.account, self.customer = np.divmod(np.unique(pair), count)
        """int64 [H] places of who holds what, each pair once, by account."""

    def held(self, accounts: pl.DataFrame, wanted: Mapping[str, Column]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Of every account that is held and known the customer, int64 [E], and `arrays` of its row."""
        row, place = self._through(accounts)
        return self.customer[place], {name: values[row] for name, values in arrays(accounts, wanted).items()}

    def of(self, events: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Every customer, int64 [E], beside a row of a table that is about them, int64 [E]."""
        own = arrays(events, {"customer_id": self.customers})["customer_id"]
        named = np.flatnonzero(own >= 0)
        row, place = self._through(events)
        return np.concatenate([own[named], self.customer[place]]), np.concatenate([named, row])

    def _through(self, table: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Rows that name an account, beside the places of those who hold it."""
        account = arrays(table, {"account_id": self.accounts})["account_id"]
        rows = np.flatnonzero(account >= 0)
        asked, place = matches(account[rows], self.account, len(self.accounts))
        return rows[asked], place
