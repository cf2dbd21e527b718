"""Actions as columns: which product, of which kind, through which channel, at which level."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from recsys.errors import DataError
from recsys.uplift.trials import Action

SCHEMA = {"product_id": pl.String, "channel": pl.String, "level": pl.String}


class ActionColumns(BaseModel):
    """The columns of an action: first those of the product, then those that only a contact has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    products: dict[str, tuple[int, ...]]
    """Product → its columns that are 1; the catalogue, with what its attributes say of products never offered."""
    product_columns: int
    without_product: bool
    """Whether some trial offered no product."""
    channels: tuple[str, ...]
    levels: tuple[str, ...]

    @classmethod
    def of(cls, actions: Sequence[Action], attributes: pl.DataFrame) -> "ActionColumns":
        """From the actions of the trials, and a row for each product of the catalogue: product_id, categories."""
        offered = sorted({one.product_id for one in actions if one.product_id is not None})
        place = {f"product_id={name}": i for i, name in enumerate(offered)}
        among = attributes.filter(pl.col("product_id").is_in(offered))
        for name in attributes.columns[1:]:
            values = among[name].drop_nulls().unique().sort().to_list()
            if len(values) > 1:
                place |= {f"{name}={value}": len(place) + i for i, value in enumerate(values)}
        products = {}
        for row in attributes.iter_rows(named=True):
            found = [place.get(f"{name}={value}") for name, value in row.items() if value is not None]
            products[row["product_id"]] = tuple(sorted(column for column in found if column is not None))
        channels = sorted({one.channel for one in actions if one.channel is not None})
        levels = sorted({one.level for one in actions if one.level is not None})
        return cls(
            products=products,
            product_columns=len(place),
            without_product=any(one.product_id is None for one in actions),
            channels=tuple(channels),
            levels=tuple(levels),
        )

    @property
    def width(self) -> int:
        return self.product_columns + len(self.channels) + len(self.levels)

    @property
    def of_product(self) -> np.ndarray:
        """float32 [width] 1 for the columns that somebody who was not contacted has too."""
        return (np.arange(self.width) < self.product_columns).astype(np.float32)

    def vectors(self, actions: pl.DataFrame) -> np.ndarray:
        """Actions (`product_id, channel, level`) → float32 [A, width].

        Raises DataError for a product, channel or level of which nothing was learned, naming those known.
        """
        if missing := [name for name in SCHEMA if name not in actions.columns]:
            raise DataError(f"actions: no column {', '.join(missing)}; an action has {', '.join(SCHEMA)}")
        found = np.zeros((actions.height, self.width), dtype=np.float32)
        starts = {"channel": self.product_columns, "level": self.product_columns + len(self.channels)}
        for row, (product, channel, level) in enumerate(actions.select(list(SCHEMA)).iter_rows()):
            found[row, list(self._product(product))] = 1
            for name, value, known in (("channel", channel, self.channels), ("level", level, self.levels)):
                if (value is None) != (not known) or (value is not None and value not in known):
                    raise DataError(
                        f"actions: no trial had the {name} {value!r}; its effect is known for "
                        f"{', '.join(known) or 'none, so leave it null'}"
                    )
                if value is not None:
                    found[row, starts[name] + known.index(value)] = 1
        return found

    def _product(self, product: str | None) -> tuple[int, ...]:
        if product is None and self.without_product:
            return ()
        if product is None or product not in self.products:
            known = ", ".join(list(self.products)[:8])
            raise DataError(f"actions: {product!r} is no product of those learned from ({known or 'none'} …)")
        return self.products[product]
