"""A candidate beside the running bundle: the same questions to both, and whether the answers lie within bounds."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from serving.answers import Answers
from serving.current import Asked
from serving.registry_contents import Bounds
from serving.request import BadRequest

Ask = Callable[[Answers, Asked], Mapping[str, Any]]
"""The answer to a question; BadRequest where there is none."""
TRIED = ("/recommend", "/segment", "/churn", "/decide")
"""Paths whose questions change nothing, so that they may be asked twice."""
LENIENCE = 0.005
"""Seconds by which a median may always be slower: below that a difference says nothing."""


@dataclass(frozen=True)
class Comparison:
    """What the same questions brought; means over the questions that both answered."""

    questions: int
    errors: int = 0
    """Answered by the running bundle, and not by the candidate."""
    overlap: float | None = None
    """Share of the running bundle's products that the candidate lists too; None: no list was asked for."""
    shift: float | None = None
    """Mean absolute difference of one probability; None: there was none."""
    score_shift: float | None = None
    """Difference of the mean scores in standard deviations of the running bundle's: told, not judged, because
    scores of two models need not have one scale."""
    running_ms: float | None = None
    candidate_ms: float | None = None
    first_error: str | None = None
    """Path and status, or the kind of error; nothing of the question."""

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


@dataclass
class _Pairs:
    overlaps: list[float] = field(default_factory=list)
    shifts: list[float] = field(default_factory=list)
    scores: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))


def compare(running: Answers, candidate: Answers, questions: Sequence[Asked], ask: Ask) -> Comparison:
    """Ask both every question, each in turn first; neither may be the object that answers callers."""
    seconds: tuple[list[float], list[float]] = ([], [])
    pairs, errors, first_error = _Pairs(), 0, None
    for number, question in enumerate(questions):
        told: list[Mapping[str, Any] | None] = [None, None]
        said: list[str | None] = [None, None]
        for side in ((0, 1), (1, 0))[number % 2]:
            began = time.perf_counter()
            told[side], said[side] = _answered((running, candidate)[side], question, ask)
            seconds[side].append(time.perf_counter() - began)
        before, after = told
        if before is None:
            continue
        if after is None:
            errors += 1
            first_error = first_error or f"{question.path}: {said[1]}"
        else:
            for one, other in zip(_each(before), _each(after), strict=True):
                _gather(one, other, pairs)
    return Comparison(
        questions=len(questions),
        errors=errors,
        overlap=_mean(pairs.overlaps),
        shift=_mean(pairs.shifts),
        score_shift=_standardised(*pairs.scores),
        running_ms=_median_ms(seconds[0]),
        candidate_ms=_median_ms(seconds[1]),
        first_error=first_error,
    )


def judge(found: Comparison, bounds: Bounds) -> list[str]:
    """What lies outside the bounds, one sentence each; empty if the candidate may go into force."""
    wrong = []
    if found.errors > bounds.errors:
        wrong.append(
            f"{found.errors} of {found.questions} questions that the running bundle answers are not answered "
            f"(first: {found.first_error}); at most {bounds.errors} may be"
        )
    if found.overlap is not None and found.overlap < bounds.overlap:
        wrong.append(f"lists share {found.overlap:.2f} of their products; at least {bounds.overlap:g} is asked")
    if found.shift is not None and found.shift > bounds.shift:
        wrong.append(f"probabilities differ by {found.shift:.3f} on average; at most {bounds.shift:g} is allowed")
    if found.running_ms is not None and found.candidate_ms is not None:
        limit = max(bounds.slower * found.running_ms, found.running_ms + LENIENCE * 1000)
        if found.candidate_ms > limit:
            wrong.append(f"an answer takes {found.candidate_ms:.1f} ms; at most {limit:.1f} ms is allowed")
    return wrong


def _answered(answers: Answers, question: Asked, ask: Ask) -> tuple[Mapping[str, Any] | None, str]:
    try:
        return ask(answers, question), ""
    except BadRequest as error:
        return None, f"status {error.status}"
    except Exception as error:  # its message may quote the question
        return None, type(error).__name__


def _each(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The answer of each customer that was asked about."""
    return list(answer.get("answers", [answer]))


def _gather(before: Mapping[str, Any], after: Mapping[str, Any], pairs: _Pairs) -> None:
    if before.get("items"):
        listed = {item["product_id"] for item in before["items"]}
        pairs.overlaps.append(len(listed & {item["product_id"] for item in after.get("items", ())}) / len(listed))
        for scores, answer in zip(pairs.scores, (before, after), strict=True):
            scores.extend(item["score"] for item in answer.get("items", ()))
    then, now = dict(_probabilities(before)), dict(_probabilities(after))
    pairs.shifts.extend(abs(then[what] - now[what]) for what in then.keys() & now.keys())


def _probabilities(answer: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], float]]:
    """What it is of → probability: of leaving, and of acquiring each product within each horizon."""
    leaving = answer.get("churn", answer)
    if isinstance(leaving.get("probability"), float):
        yield ("leaving",), leaving["probability"]
    for item in answer.get("items", ()):
        for horizon, value in (item.get("probability") or {}).items():
            yield (item["product_id"], horizon), value


def _standardised(before: Sequence[float], after: Sequence[float]) -> float | None:
    if len(before) < 2 or not after or (spread := statistics.stdev(before)) == 0:
        return None
    return (statistics.fmean(after) - statistics.fmean(before)) / spread


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _median_ms(seconds: Sequence[float]) -> float | None:
    return statistics.median(seconds) * 1000 if seconds else None
