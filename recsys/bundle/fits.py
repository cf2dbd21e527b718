"""Whether a lake has what a bundle reads, and the day from which its customers are seen."""

from datetime import date
from typing import Protocol

from recsys.bundle.bundle import Bundle
from recsys.errors import ConfigError, LakeError
from recsys.lake.contract import Attribute
from recsys.lake.store import Lake


class Source(Protocol):
    """A lake, or what was loaded from one."""

    @property
    def path(self) -> str:
        """What people call it."""

    @property
    def as_of(self) -> date | None:
        """The day after its last event; None if nothing is dated."""

    def attributes(self, table: str) -> tuple[Attribute, ...]:
        """The declared attributes of a table."""


def check_fits(bundle: Bundle, lake: Source) -> None:
    """LakeError if the bundle reads something that the lake does not have."""
    definition = bundle.definition
    if definition.dated and lake.as_of is None:
        raise LakeError(
            f"{lake.path}: has no dated events, but bundle {bundle.bundle_id} was trained on dated ones; "
            "give it a lake from the same kind of source"
        )
    kinds = {attribute.name: attribute.kind for attribute in lake.attributes("customers")}
    for column in definition.profile:
        if kinds.get(column.name) != column.kind:
            there = f"has the kind {kinds[column.name]}" if column.name in kinds else "is not there"
            raise LakeError(
                f"{lake.path}: customers.{column.name} {there}, but bundle {bundle.bundle_id} reads it as a "
                f"{column.kind}; give it a lake made by the catalog that the bundle was trained with"
            )


def parse_day(text: str | None, option: str = "--as-of") -> date | None:
    """The day of an option; ConfigError unless it is written YYYY-MM-DD."""
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option} {text!r} is not a day; write it as YYYY-MM-DD, such as 2025-01-31") from None


def scoring_day(lake: Lake, asked: date | None) -> date | None:
    """The day asked for, else the day after the last dated event; None for a lake without dates."""
    if lake.as_of is None and asked is not None:
        raise ConfigError(
            f"--as-of {asked}: {lake.path} has no dated events, so no day to look from; leave --as-of out"
        )
    return asked or lake.as_of
