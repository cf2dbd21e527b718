"""Who waits and who is told to come back, partly by a clock of the tests' own."""

import asyncio
import heapq
import itertools
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from serving.turns import CALM, FEW, LONGEST, MOST, WAIT, WINDOW, Overloaded, Turns

TAKES = 0.0013
"""Seconds of an answer."""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_answers_come_back_errors_are_raised_and_a_context_is_kept() -> None:
    async def ask() -> None:
        found = Turns("test")
        assert await found.run(lambda a, b: a + b, 1, b=2) == 3
        with pytest.raises(ZeroDivisionError):
            await found.run(lambda: 1 / 0)
        assert found.waiting == 0

    asyncio.run(ask())


def test_beyond_the_bound_callers_are_turned_away_at_once_and_the_others_answered_in_order() -> None:
    async def ask() -> tuple[list[int | BaseException], list[int]]:
        found, gate, order = Turns("test", most=3), threading.Event(), list[int]()

        def answer(number: int) -> int:
            gate.wait(30)
            order.append(number)
            return number

        asked = [asyncio.ensure_future(found.run(answer, i)) for i in range(5)]
        await asyncio.sleep(0)
        gate.set()
        return await asyncio.gather(*asked, return_exceptions=True), order

    answers, order = asyncio.run(ask())
    assert answers[:3] == order == [0, 1, 2]
    assert all(isinstance(answer, Overloaded) for answer in answers[3:])


def test_nobody_is_answered_after_the_longest_wait() -> None:
    async def ask() -> None:
        clock = Clock()
        found, begun, gate = Turns("test", clock=clock), threading.Event(), threading.Event()

        def held() -> bool:
            begun.set()
            return gate.wait(30)

        first = asyncio.ensure_future(found.run(held))
        second = asyncio.ensure_future(found.run(held))
        while not begun.is_set():
            await asyncio.sleep(0)
        clock.now += LONGEST + 1
        gate.set()
        assert await first
        with pytest.raises(Overloaded):
            await second

    asyncio.run(ask())


class Line:
    """One server behind `Turns`, in simulated time."""

    def __init__(self, takes: float = TAKES) -> None:
        self.clock, self.takes = Clock(), takes
        self.turns = Turns("test", clock=self.clock)
        self.free = 0.0
        self.ends: list[float] = []
        self.refused: list[float] = []
        self.waits: list[float] = []
        """Seconds from an arrival that was let in to the end of its answer."""

    def arrive(self, at: float) -> float | None:
        """One caller; when the answer ends, None if there is none."""
        self.clock.now = at
        while self.ends and self.ends[0] <= at:
            heapq.heappop(self.ends)
            self.turns.waiting -= 1
            self.turns.took(self.takes)
        if self.turns.full():
            self.refused.append(at)
            return None
        self.turns.waiting += 1
        self.free = max(self.free, at) + self.takes
        heapq.heappush(self.ends, self.free)
        self.waits.append(self.free - at)
        return self.free

    def closed(self, callers: int, seconds: float) -> None:
        """Callers who ask again as soon as they are answered; who is refused comes back after a moment."""
        due = [(self.clock.now, number) for number in range(callers)]
        until = self.clock.now + seconds
        while due[0][0] < until:
            at, number = heapq.heappop(due)
            heapq.heappush(due, (self.arrive(at) or at + 0.05, number))

    def p99(self) -> float:
        found, self.waits = float(np.percentile(self.waits, 99)), []
        return found


def poisson(rate: float, start: float, seconds: float, seed: int = 0) -> Iterator[float]:
    draw = np.random.default_rng(seed)
    yield from itertools.takewhile(
        lambda at: at < start + seconds, start + np.cumsum(draw.exponential(1 / rate, 10**5))
    )


@pytest.mark.parametrize("takes", [0.0002, TAKES, 0.02, 0.5])
def test_as_many_callers_as_few_who_ask_on_and_on_are_never_refused(takes: float) -> None:
    line = Line(takes)
    line.closed(FEW, 400 * takes * FEW)
    assert line.refused == [] and len(line.waits) > 1000


def test_at_five_times_the_capacity_who_is_let_in_waits_no_longer_than_twice_the_normal() -> None:
    line = Line()
    line.closed(FEW, 5)
    normal = line.p99()
    for at in poisson(5 / TAKES, 10, 20):
        line.arrive(at)
    assert line.p99() <= 2 * normal
    answered = 20 / TAKES
    assert len(line.refused) == pytest.approx(4 * answered, rel=0.05), "the server is never idle meanwhile"


def test_right_after_overload_nobody_is_refused_and_a_second_later_a_burst_is_let_in_again() -> None:
    line = Line()
    for at in poisson(5 / TAKES, 0, 5):
        line.arrive(at)
    refused = len(line.refused)
    for at in np.arange(5.1, 8, 2 * TAKES):
        line.arrive(float(at))
    assert len(line.refused) == refused
    assert [line.arrive(9.0) is None for _ in range(MOST)] == [False] * MOST


def test_a_burst_is_let_in_and_one_that_comes_on_top_of_a_full_queue_is_not() -> None:
    line = Line()
    answers = [line.arrive(1.0) for _ in range(MOST + 5)]
    assert [answer is None for answer in answers] == [False] * MOST + [True] * 5
    assert line.arrive(1.0 + TAKES * 2) is None, "overload: only who waits for a moment"
    assert line.arrive(1.0 + TAKES * (MOST - FEW + 2)) is not None


@pytest.mark.parametrize(
    ("ahead", "takes", "let_in"), [(FEW - 1, 1.0, True), (FEW, WAIT, False), (20, WAIT / 25, True)]
)
def test_under_overload_the_wait_decides_and_not_the_length(ahead: int, takes: float, let_in: bool) -> None:
    clock = Clock()
    turns = Turns("test", clock=clock)
    turns.took(takes)
    turns.pressed, turns.waiting = True, ahead
    turns._refused = clock.now
    clock.now += CALM / 2
    assert turns.full() is not let_in


def test_a_queue_that_stays_long_is_overload_even_if_it_is_never_full() -> None:
    clock = Clock()
    turns = Turns("test", clock=clock)
    turns.took(WAIT)
    turns.waiting = FEW + 2
    found = []
    for _ in range(5):
        found.append(turns.full())
        clock.now += WINDOW / 3
    assert found == [False, False, False, False, True] or found == [False, False, False, True, True]


def test_under_overload_who_waited_long_to_be_read_is_let_in_only_where_nobody_is_under_way() -> None:
    clock = Clock()
    turns = Turns("test", clock=clock)
    turns.took(TAKES)
    assert not turns.full(10 * WAIT), "not yet overload"
    turns.pressed, turns._refused = True, clock.now
    assert not turns.full(10 * WAIT)
    turns.waiting = 1
    assert turns.full(10 * WAIT)
    assert not turns.full(WAIT / 2)
    clock.now += CALM * 1.1
    assert not turns.full(10 * WAIT), "overload is over, for nobody else was told to come back"


def test_what_the_event_loop_does_between_two_answers_is_part_of_what_one_takes() -> None:
    async def ask() -> float:
        clock = Clock()
        found = Turns("test", most=200, clock=clock)

        def answer(seconds: float) -> None:
            clock.now += seconds

        async def one() -> None:
            await found.run_short(answer, 0.001)
            clock.now += 0.003  # sends it

        await asyncio.gather(*(one() for _ in range(200)))
        return found._takes

    assert asyncio.run(ask()) == pytest.approx(0.004, rel=0.01)


@pytest.mark.parametrize("short", [False, True])
def test_short_questions_are_answered_without_a_thread_and_in_order_with_the_others(short: bool) -> None:
    async def ask() -> None:
        found, order, where = Turns("test"), list[int](), list[int]()

        def answer(number: int) -> None:
            order.append(number)
            where.append(threading.get_ident())

        run = [found.run, found.run_short]
        await asyncio.gather(*(run[number % 2 == short](answer, number) for number in range(6)))
        assert order == list(range(6))
        assert [one == threading.get_ident() for one in where] == [number % 2 == short for number in range(6)]

    asyncio.run(ask())


def test_who_was_let_in_counts_before_the_turn_is_asked_for() -> None:
    turns = Turns("test", most=2)
    assert not turns.full()
    turns.coming += 2
    assert turns.full()
    turns.came()
    assert not turns.full()


def test_time_of_an_answer_follows_what_answers_take() -> None:
    turns = Turns("test")
    turns.took(0.02)
    for _ in range(50):
        turns.took(0.001)
    turns.waiting = 1
    assert 0.001 <= turns._takes < 0.0012
