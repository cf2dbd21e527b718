"""The customer's attributes, as they were at the example's day."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.errors import DataError
from recsys.features.definition import Column as Attribute
from recsys.features.definition import FeatureDefinition
from recsys.features.view import FAR, NEVER, Column, View, arrays, matches, taken


@dataclass(frozen=True)
class Profile:
    """Attributes of examples, by name."""

    words: dict[str, pl.Series]
    """[N] categories String, tags and the words of texts List(String)."""
    numbers: dict[str, np.ndarray]
    """float64 [N], NaN where not known."""


def profile(view: View, definition: FeatureDefinition) -> Profile:
    """The attributes that the definition names.

    With `valid_from`, the row in force on `as_of` counts. Dates become days before `as_of`
    (NaN if still to come), or days since 1970-01-01 where there is no day.
    """
    customers = view.tables["customers"]
    names = [column.name for column in definition.profile]
    absent = sorted(set(names) - set(customers.columns))
    if absent:
        raise DataError(
            f"customers: the features were defined with {', '.join(absent)}, which the table does not have; "
            "import the source with these columns, null where not known"
        )
    place = in_force(view) if names else np.empty(0, dtype=np.int64)
    found = Profile({}, {})
    for column in definition.profile:
        given = customers[column.name]
        if column.kind in ("number", "flag", "date"):
            found.numbers[column.name] = _number(view, column, given, place)
        else:
            found.words[column.name] = _words(column, given, place)
    return found


def in_force(view: View) -> np.ndarray:
    """int64 [N]: the customer's row of the table, the last that was valid on the example's day; -1 without one."""
    wanted: dict[str, Column] = {"customer_id": view.customers, "valid_from": pl.Date()}
    table = view.arrays("customers", wanted)
    row, place = matches(view.customer, table["customer_id"], len(view.customers))
    since = table["valid_from"][place]
    valid = since <= view.day[row]
    order = np.lexsort((since[valid], row[valid]))
    found = np.full(view.rows, -1)
    found[row[valid][order]] = place[valid][order]
    return found


def _number(view: View, column: Attribute, given: pl.Series, place: np.ndarray) -> np.ndarray:
    """[N] by the row of the table, -1 for none."""
    if column.kind == "date":
        day = np.append(arrays(given.to_frame(), {given.name: pl.Date()})[given.name], NEVER)[place]
        age = np.where(view.day > FAR, day, view.day - day)
        return np.where((day == NEVER) | ((age < 0) & (view.day <= FAR)), np.nan, age)
    number = np.append(given.cast(pl.Float64).to_numpy(), np.nan)[place]
    return np.where(np.isfinite(number), number, np.nan)


def _words(column: Attribute, given: pl.Series, place: np.ndarray) -> pl.Series:
    found = given.gather(pl.Series(place).replace(-1, None)) if (place < 0).any() else taken(given, place)
    return found.to_frame().select(text_tokens(pl.col(given.name))).to_series() if column.kind == "text" else found


def text_tokens(text: pl.Expr) -> pl.Expr:
    """Free text as its words: lower case, letters and digits only."""
    return text.str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]+")
