"""A readable name for each segment, made by rule from the facts that set it apart, and no two alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from recsys.segment_cards.facts import Fact
from recsys.segment_cards.labels import Labels, percent, worded

WORTH_NAMING = 0.3
"""Standard deviations: smaller differences, however certain, name nothing."""
NONE, SOME = 0.05, 0.2
"""`no purchases`: at most 5 % of the segment have any, where at least 20 % of all have."""
NEARLY = 0.75
"""Of facts that speak of one thing, those with at least this share of the strongest's effect say the same."""
PARTS, MOST = 2, 4
"""Facts in a name, and how many it may grow to until it is unlike the others."""
CONSIDERED = 100
"""The strongest facts, of which names are made."""
SMALL_WORDS = frozenset(
    {"a", "an", "and", "by", "day", "for", "held", "in", "last", "of", "on", "product", "since", "the", "to"}
)


@dataclass(frozen=True)
class Name:
    """A segment's name and the facts that it says."""

    text: str
    facts: tuple[Fact, ...]


def names(facts: Sequence[Sequence[Fact]], labels: Labels, ids: Sequence[str]) -> list[Name]:
    """One name per segment, all different; `ids` tell apart what the facts cannot.

    The two strongest declared facts that speak of different things. Segments that would be called the same also say
    over which days, and if that does not tell them apart take further facts, up to four, those first in which they
    differ most from each other.
    """
    useful = [_distinct(listed, labels) for listed in facts]
    lengths, dated = [PARTS] * len(useful), [False] * len(useful)
    while True:
        texts = [_text(useful[k][: lengths[k]], labels, dated[k]) for k in range(len(useful))]
        alike = [k for k, text in enumerate(texts) if texts.count(text) > 1]
        undated = [k for k in alike if not dated[k]]
        growing = [k for k in alike if lengths[k] < min(MOST, len(useful[k]))]
        if not undated and not growing:
            break
        if undated:
            dated = [before or k in undated for k, before in enumerate(dated)]
            continue
        for k in growing:
            peers = [facts[other] for other in alike if other != k and texts[other] == texts[k]]
            useful[k][lengths[k] :] = _most_apart(useful[k][lengths[k] :], peers)
            lengths[k] += 1
    for k in alike:
        texts[k] = f"{texts[k]} ({ids[k]})"
    return [Name(text, tuple(listed[:n])) for text, listed, n in zip(texts, useful, lengths, strict=True)]


def _most_apart(rest: Sequence[Fact], peers: Sequence[Sequence[Fact]]) -> list[Fact]:
    """The facts in the order of how far the segment is, in each, from the nearest of its peers."""
    effects = [{(f.kind, f.feature, f.value): f.effect for f in listed} for listed in peers]

    def gap(fact: Fact) -> float:
        key = fact.kind, fact.feature, fact.value
        return min((abs(fact.effect - known.get(key, 0.0)) for known in effects), default=0.0)

    return sorted(rest, key=lambda fact: -gap(fact))


def phrase(fact: Fact, labels: Labels) -> str:
    """A fact in two to four words: `high balance`, `no cash advance`, `occupation student`, `holds mortgage`."""
    label = labels.label(fact.feature)
    more = fact.effect > 0
    if fact.kind == "set" and fact.feature == "holdings":
        held = labels.product(fact.value or "")
        if more:
            return f"holds {held}"
        return f"no {held}" if fact.inside <= NONE else f"seldom holds {held}"
    if fact.kind in ("set", "category"):
        word = "not known" if fact.value is None else worded(fact.value)
        return f"{label.text} {word}" if more else f"seldom {label.text} {word}"
    if fact.kind == "known":
        return _known(fact, label.text, more)
    if label.more or label.less:
        return label.more if more else label.less
    if label.unit == "flag":
        return _flag(label.text, more)
    if label.unit == "past":
        long_ago = more == labels.dated
        if label.text.startswith(("born", "birth")):
            return "older" if long_ago else "younger"
        return f"{label.text} {'earlier' if long_ago else 'later'}"
    if label.unit == "days":
        return _days(label.text, more)
    if label.unit == "trend":
        return f"{'rising' if more else 'falling'} {label.text.removesuffix(' trend')}"
    if not more and (fact.nonzero or 0.0) <= NONE and (fact.nonzero_overall or 0.0) >= SOME:
        return f"no {label.text}"
    if label.unit == "count":
        return f"{'many' if more else 'few'} {label.text}"
    return f"{'high' if more else 'low'} {label.text}"


def feature_text(fact: Fact, labels: Labels) -> str:
    """What a fact is about, without its figures: `spending, last 90 days`, `holds mortgage`, `occupation: student`."""
    label = labels.label(fact.feature)
    if fact.kind == "number":
        return label.full
    if fact.feature == "holdings":
        return f"holds {labels.product(fact.value or '')}"
    return f"{label.text}: {'not known' if fact.value is None else worded(fact.value)}"


def sentence(fact: Fact, labels: Labels) -> str:
    """A fact in a plain sentence with its figures."""
    label = labels.label(fact.feature)
    if fact.kind == "number":
        return _number_sentence(fact, labels)
    inside, overall = percent(fact.inside), percent(fact.overall)
    if fact.kind == "known":
        what = f"have {_event(label.text)}"
    elif fact.kind == "set" and fact.feature == "holdings":
        what = f"hold {labels.product(fact.value or '')}"
    else:
        what = f"have {label.text} {'not known' if fact.value is None else worded(fact.value)}"
    times = f" ({fact.ratio:.2g} times)" if fact.ratio is not None and fact.ratio >= 1.5 else ""
    return f"{inside} {what}, against {overall} of all customers{times}."


def _number_sentence(fact: Fact, labels: Labels) -> str:
    label = labels.label(fact.feature)
    text = label.full[:1].upper() + label.full[1:]
    inside, overall = labels.value(fact.feature, fact.inside), labels.value(fact.feature, fact.overall)
    if label.unit == "flag":
        return f"{inside} {_said_of_many(label.text)}, against {overall} of all customers."
    against = f"{inside} on average, against {overall} over all customers"
    if label.unit == "past" or fact.ratio is None:
        return f"{text}: {against}."
    if fact.ratio >= 2:
        said = f"{fact.ratio:.1f} times the average"
    elif fact.ratio < 0.005:
        said = "next to none"
    elif fact.ratio >= 1:
        said = f"{fact.ratio - 1:.0%} above the average"
    else:
        said = f"{1 - fact.ratio:.0%} below the average"
    return f"{text}: {against}, {said}."


def _flag(text: str, more: bool) -> str:
    """`has credit card` or `no credit card`, `active member` or `not active member`."""
    if text.startswith("has "):
        return text if more else f"no {text.removeprefix('has ')}"
    return text.removeprefix("is ") if more else f"not {text.removeprefix('is ')}"


def _said_of_many(text: str) -> str:
    for one, many in (("has ", "have "), ("is ", "are ")):
        if text.startswith(one):
            return many + text.removeprefix(one)
    return f"have {text}"


def _known(fact: Fact, text: str, more: bool) -> str:
    """That a number is known means that there is something to measure: a last login, an open account."""
    event = _event(text)
    if event.startswith("a known "):
        return f"{text} known" if more else f"{text} not known"
    return event.removeprefix("had ") if more else f"{'no' if fact.inside <= NONE else 'seldom'} {_bare(event)}"


def _event(text: str) -> str:
    if text.startswith("days since "):
        event = text.split(" last ", 1)[1]
        return f"had {'an' if event[0] in 'aeiou' else 'a'} {event}"
    return "an open account" if text == "age of the oldest account" else f"a known {text}"


def _bare(event: str) -> str:
    return event.removeprefix("had ").removeprefix("a ").removeprefix("an ")


def _days(text: str, more: bool) -> str:
    if not text.startswith("days since "):
        return f"{'high' if more else 'low'} {text}"
    event = text.removeprefix("days since ")
    return f"long since {event}" if more else f"recent {event.removeprefix('the last ')}"


def _distinct(listed: Sequence[Fact], labels: Labels) -> list[Fact]:
    """The strongest declared facts, one per thing spoken of: no shared word, no table of events twice at first."""
    worth = [fact for fact in listed if fact.declared and abs(fact.effect) >= WORTH_NAMING][:CONSIDERED]
    worth.sort(key=lambda fact: fact.kind == "known")  # that something is not known names a segment only at need
    chosen: list[Fact] = []
    for strict in (True, False):
        for fact in worth:
            if not any(_same_thing(fact, other, labels, strict) for other in chosen):
                chosen.append(_simplest(fact, worth, labels))
    return chosen


def _simplest(fact: Fact, worth: Sequence[Fact], labels: Labels) -> Fact:
    """Of nearly equal facts about one thing the one that needs the fewest words: `cash advance` for its frequency."""
    if fact.kind != "number":
        return fact
    alike = [
        other
        for other in worth
        if other.kind == "number"
        and abs(other.effect) >= NEARLY * abs(fact.effect)
        and (other.effect > 0) == (fact.effect > 0)
        and labels.label(other.feature).table == labels.label(fact.feature).table
        and _words(labels.label(other.feature).text) <= _words(labels.label(fact.feature).text)
    ]
    return min(alike, key=lambda other: (len(labels.label(other.feature).text.split()), -abs(other.effect)))


def _same_thing(fact: Fact, other: Fact, labels: Labels, strict: bool) -> bool:
    a, b = labels.label(fact.feature), labels.label(other.feature)
    if fact.feature == other.feature and fact.kind == other.kind == "set":
        return strict or phrase(fact, labels) == phrase(other, labels)
    if a.family == b.family or phrase(fact, labels) == phrase(other, labels):
        return True
    return (strict and a.table != "" and a.table == b.table) or bool(_words(a.text) & _words(b.text))


def _words(text: str) -> set[str]:
    """Words that carry meaning, without plural endings."""
    return {word.removesuffix("s") for word in text.lower().split()} - SMALL_WORDS


def _text(chosen: Sequence[Fact], labels: Labels, dated: bool) -> str:
    if not chosen:
        return "Close to the average"
    text = ", ".join(_over_days(fact, labels) if dated else phrase(fact, labels) for fact in chosen)
    return text[:1].upper() + text[1:]


def _over_days(fact: Fact, labels: Labels) -> str:
    window = labels.label(fact.feature).window
    return phrase(fact, labels) + (f" in {window} days" if window else "")
