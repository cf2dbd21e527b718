"""What a group of features says of one customer, in words: `no logins for 41 days; before, about one a week`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.feature_groups import PRODUCTS, group_of
from recsys.features.definition import FeatureDefinition
from recsys.segment_cards.labels import YEAR, Label, Labels, plain, worded

SURE = 2.0
"""Standard deviations of a count from its habit from which it is called a change."""
NEARLY = 0.75
"""The whole is spoken of rather than a part of it, if its change is at least this share of the part's."""
QUIET = 0.3
"""Share by which money is other than usual before it is said."""
_ONE = {"enquiries": "enquiry"} | {
    f"{word}s": word for word in ("transaction", "payment", "product", "view", "click", "login", "contact")
}
"""What is counted, and what one of it is called."""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """A count in recent days beside what the days before them would lead one to expect."""

    feature: str
    count: float
    expected: float
    days: int
    quiet: float | None
    """Days since the last of them, where that is known."""

    @property
    def size(self) -> float:
        """In standard deviations of a Poisson count."""
        return (self.count - self.expected) / max(self.expected, 0.5) ** 0.5


def in_words(group: str, row: Row, definition: FeatureDefinition, labels: Labels) -> str:
    """What the group says of the customer of a feature row (column → value), as one short sentence without a stop."""
    if group == PRODUCTS:
        return _products(row, labels)
    if group == "balances":
        return _balances(row, labels)
    numbers = [name for name in definition.activity if group_of(name) == group]
    if not numbers:
        return " and ".join(_attribute(name, row, labels) for name in group.split(" and ") if name in row)
    if group == "transactions.in":
        return _money(numbers, row, definition, labels)
    return _counted(group, numbers, row, definition, labels)


def changes(numbers: Sequence[str], row: Row, windows: Sequence[int]) -> list[Change]:
    """Each count of the group in each recent window, and in the days since the last, beside the rate before them."""
    known = row.get("accounts.oldest")
    longest = min(float(windows[-1]), max(float(known), 1.0)) if known is not None else float(windows[-1])
    found = []
    for name in numbers:
        stem, _, window = name.rpartition(".")
        if window != f"{windows[-1]}d" or not stem.endswith(".count"):
            continue
        whole = float(row[name] or 0.0)
        quiet = row.get(f"{stem.removesuffix('.count')}.recency")
        if quiet is not None and 1 <= quiet < longest:
            expected = whole / (longest - float(quiet)) * float(quiet)
            found.append(Change(name, 0.0, expected, int(quiet), float(quiet)))
        for days in windows[:-1]:
            if days * 2 > longest:
                continue
            count = float(row[f"{stem}.{days}d"] or 0.0)
            expected = (whole - count) / (longest - days) * days
            found.append(Change(f"{stem}.{days}d", count, expected, days, None if quiet is None else float(quiet)))
    return found


def _counted(group: str, numbers: Sequence[str], row: Row, definition: FeatureDefinition, labels: Labels) -> str:
    windows = definition.windows
    whole = f"{group}.count.{windows[-1]}d"
    found = changes(numbers, row, windows)
    if found:
        strongest = max(found, key=lambda change: (abs(change.size), change.feature))
        own = [change for change in found if change.feature.rpartition(".")[0] == f"{group}.count"]
        if own:
            total = max(own, key=lambda change: abs(change.size))
            same = (total.size > 0) == (strongest.size > 0)
            strongest = total if same and abs(total.size) >= NEARLY * abs(strongest.size) else strongest
        if abs(strongest.size) >= SURE:
            return _change(strongest, labels.label(strongest.feature))
    label = labels.label(whole)
    count, quiet = float(row.get(whole) or 0.0), row.get(f"{group}.recency")
    if not count:
        return (
            f"no {label.text} for {quiet:,.0f} days" if quiet is not None else f"no {label.text} in {label.window} days"
        )
    said = f"{_many(count, label)} in {label.window} days"
    return f"{said}, the last {_ago(float(quiet))}" if quiet is not None else said


def _change(change: Change, label: Label) -> str:
    habit = how_often(change.expected / change.days)
    if not change.count:
        days = change.quiet if change.quiet is not None and change.quiet >= change.days else change.days
        return f"no {label.text} for {days:,.0f} days; before, {habit}"
    return f"{_many(change.count, label)} in {change.days} days; before, {habit}"


def how_often(rate: float) -> str:
    """Events a day → `about 3 a week`; the largest unit of which there are not many."""
    for unit, days in (("day", 1.0), ("week", 7.0), ("month", 30.4)):
        if rate * days >= 0.75:
            times = rate * days
            return f"about {'one' if times < 1.5 else _number(round(times))} a {unit}"
    times = max(1.0, round(rate * 365))
    return f"about {'one' if times == 1 else _number(times)} a year"


def _many(count: float, label: Label) -> str:
    """`3 logins`, `1 login`."""
    text = label.text
    if count == 1:
        plural = next((word for word in text.split() if word in _ONE), "")
        text = text.replace(plural, _ONE.get(plural, ""), 1) if plural else text
    return f"{_number(count)} {text}"


def _ago(days: float) -> str:
    return "today" if days < 1 else "yesterday" if days < 2 else f"{days:,.0f} days ago"


def _money(numbers: Sequence[str], row: Row, definition: FeatureDefinition, labels: Labels) -> str:
    """Money over the window in which it is most unlike its habit, in per cent."""
    windows, long = definition.windows, definition.windows[-1]
    stem = numbers[0].rpartition(".")[0]
    whole, text = float(row[f"{stem}.{long}d"] or 0.0), labels.label(numbers[0]).text
    apart: list[tuple[float, int]] = []
    for days in windows[:-1]:
        recent = float(row[f"{stem}.{days}d"] or 0.0)
        usual = (whole - recent) / (long - days) * days
        if usual > 0 and days >= 28:
            apart.append((recent / usual - 1, days))
    if not apart or abs(max(apart, key=lambda one: abs(one[0]))[0]) < QUIET:
        return f"{text} {labels.value(f'{stem}.{long}d', whole)} in {long} days"
    share, days = max(apart, key=lambda one: abs(one[0]))
    if share <= -0.995:
        return f"no {text} for {days} days"
    said = f"{abs(share):.0%} {'under' if share < 0 else 'over'}" if share < 2 else f"{share + 1:.0f} times"
    return f"{text} {said} the usual in {days} days"


def _balances(row: Row, labels: Labels) -> str:
    latest, trend = row.get("balances.latest"), row.get("balances.trend")
    if latest is None:
        return "balance not known"
    said = f"balance {labels.value('balances.latest', float(latest))}"
    if trend is None or not np.isfinite(float(trend)):
        return said
    before = float(latest) - float(trend)
    if abs(float(trend)) < QUIET * max(abs(before), 1.0):
        return said
    return f"{said}, {'up' if trend > 0 else 'down'} from {labels.value('balances.latest', before)} 90 days before"


def _products(row: Row, labels: Labels) -> str:
    held = sorted({labels.product(product) for product in row.get("holdings") or ()})
    if not held:
        accounts = row.get("accounts.open")
        return f"{_number(float(accounts))} open accounts" if accounts else "holds no product"
    if len(held) > 3:
        return f"holds {len(held)} products"
    return f"holds {', '.join(held)} only" if len(held) < 3 else f"holds {', '.join(held)}"


def _attribute(name: str, row: Row, labels: Labels) -> str:
    label, value = labels.label(name), row[name]
    if value is None or (isinstance(value, list) and not value):
        return f"{label.text} not known"
    if isinstance(value, list):
        return f"{label.text} {', '.join(worded(str(one)) for one in value[:3])}"
    if isinstance(value, str):
        return f"{label.text} {worded(value)}"
    if label.unit == "flag":
        return f"{label.text.removeprefix('is ')}: {'yes' if value else 'no'}"
    if label.unit == "past" and labels.dated:
        years = float(value) / YEAR
        born = label.text.startswith(("born", "birth", "date of birth"))
        return f"{years:,.0f} years old" if born else f"{label.text} {years:,.1f} years ago"
    if label.unit == "past":
        return f"{label.text} {labels.value(name, float(value))}"
    return f"{label.text} {_number(float(value))}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else plain(value)
