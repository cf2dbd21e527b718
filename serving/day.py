"""The day customers are seen from: one that was named, or the bank's own calendar where a clock was asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from recsys.errors import ConfigError

LOCAL = "local"
"""The name of the machine's own time zone."""
_INSTANT = timedelta(seconds=1)


@dataclass(frozen=True)
class FixedDay:
    """A day that stays: None for a bank without dates."""

    day: date | None

    def as_of(self) -> date | None:
        """The first day whose events do not count."""
        return self.day

    def now(self) -> datetime:
        """The moment from which customers are seen: just before the day; without dates, the machine's."""
        if self.day is None:
            return datetime.now()
        return datetime.combine(self.day, time()) - _INSTANT


@dataclass(frozen=True)
class Clock:
    """The bank's calendar: what happened today counts at once, so customers are seen from tomorrow."""

    now: Callable[[], datetime]
    """The time in the bank's own zone, without the zone."""

    def as_of(self) -> date | None:
        """The first day whose events do not count: the one after today."""
        return self.now().date() + timedelta(days=1)


Day = FixedDay | Clock


def clock_in(zone: str) -> Clock:
    """The clock of a time zone such as Europe/Zurich, or of the machine (`local`). ConfigError if it is unknown."""
    if zone == LOCAL:
        return Clock(datetime.now)
    try:
        found = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"--clock {zone}: no time zone that this machine knows; write one such as Europe/Zurich, UTC, or local"
        ) from None
    return Clock(lambda: datetime.now(found).replace(tzinfo=None))
