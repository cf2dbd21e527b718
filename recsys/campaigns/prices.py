"""Published prices: what lets a single customer be decided as the plan would decide, until they expire."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recsys.campaigns.allocation import Actions, Limits, Part, Prices, choose
from recsys.durable import rename
from recsys.errors import DataError

SCHEMA = 1


class PublishedLimit(BaseModel):
    """A limit and its price."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    price: float = Field(ge=0)
    """Minor units for one more unit of the limit."""
    limit: float
    """What the plan was allowed to use."""
    planned: float
    """What the plan uses."""
    use: tuple[float, ...]
    """Of one contact by each action; of a personal one, in units of the customer's own cost."""
    personal: bool
    group: int
    """The place of its group in `groups`, -1 for everyone."""


class PublishedPrices(BaseModel):
    """The file `prices.json` of a plan."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    schema_version: int = SCHEMA
    plan: str
    """The plan's name."""
    version: str
    """A hash of plan, bundle, lake and day."""
    bundle_id: str
    as_of: date | None
    valid_until: date | None
    """The last day on which they may decide; None for a lake without days."""
    contacts: int
    """The most with one customer."""
    groups: tuple[str, ...]
    """Of customers, as the budgets of segments name them."""
    action: tuple[str, ...]
    product_id: tuple[str, ...]
    channel: tuple[str, ...]
    level: tuple[str, ...]
    cost: tuple[float, ...]
    """Minor units a contact, rewards aside."""
    limits: tuple[PublishedLimit, ...]

    @property
    def actions(self) -> Actions:
        """Channels and products as numbers."""
        channels, products = list(dict.fromkeys(self.channel)), list(dict.fromkeys(self.product_id))
        return Actions(
            np.array([channels.index(name) for name in self.channel]),
            np.array([products.index(name) for name in self.product_id]),
        )

    @property
    def shared(self) -> Limits:
        """The limits as the allocation has them."""
        return Limits(
            tuple(row.name for row in self.limits),
            np.array([row.use for row in self.limits]).reshape(len(self.limits), len(self.action)),
            np.array([row.limit for row in self.limits]),
            np.array([row.personal for row in self.limits], dtype=bool),
            np.array([row.group for row in self.limits], dtype=np.int64),
        )

    @property
    def dual(self) -> np.ndarray:
        """float64 [m]."""
        return np.array([row.price for row in self.limits])

    def prices(self, dual: np.ndarray | None = None) -> Prices:
        """What each action is charged with in each group, the last row for none; at other prices [m] if given."""
        shared = self.shared
        return shared.prices(self.dual if dual is None else dual, shared.groups + 1)

    def choose(self, part: Part, dual: np.ndarray | None = None) -> np.ndarray:
        """int16 [L, n]: what is done with one customer or many, as in the plan."""
        return choose(part, self.actions, self.prices(dual), self.contacts)

    def in_force(self, day: date) -> bool:
        """Whether they may still decide on a day."""
        return self.valid_until is None or day <= self.valid_until

    def write(self, path: Path) -> None:
        """One file that appears when whole."""
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n", "utf-8")
        rename(partial, path)

    @classmethod
    def read(cls, path: Path) -> "PublishedPrices":
        """DataError naming the file and what is wrong with it."""
        try:
            content: Any = json.loads(path.read_text(encoding="utf-8"))
            found = cls.model_validate(content)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}; campaign plan writes prices.json") from None
        except ValueError as error:
            first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
            where = ".".join(map(str, first["loc"]))
            raise DataError(f"{path}: not prices of recsys campaign plan: {where} {first['msg']}".strip()) from None
        if found.schema_version != SCHEMA:
            raise DataError(f"{path}: prices of schema {found.schema_version}, this version reads {SCHEMA}")
        return found
