"""Who waits and who is told to come back."""

import asyncio
import threading

import pytest

from serving.turns import CALM, FEW, LONG, LONGEST, SHORT, WINDOW, Overloaded, Turns


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Passing(Clock):
    """Each look at it takes longer than a short wait."""

    def __call__(self) -> float:
        self.now += SHORT * 2
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


def test_while_waits_stay_long_fewer_may_wait_until_one_is_short_again() -> None:
    clock = Clock()
    found = Turns("test", clock=clock)
    found._waited(LONG * 2)
    assert not found.overloaded, "one long wait is no overload"
    clock.now += WINDOW * 1.1
    found._waited(LONG * 2)
    assert found.overloaded
    found._waited((LONG + SHORT) / 2)
    assert found.overloaded
    found._waited(SHORT / 2)
    assert not found.overloaded


def test_under_overload_only_few_are_accepted() -> None:
    async def ask() -> int:
        found, gate = Turns("test", clock=Passing()), threading.Event()
        found.overloaded = True
        asked = [asyncio.ensure_future(found.run(gate.wait, 30)) for _ in range(FEW + 5)]
        await asyncio.sleep(0)
        gate.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        return sum(not isinstance(answer, Overloaded) for answer in answers)

    assert asyncio.run(ask()) == FEW


def test_once_turned_away_few_are_accepted_until_nobody_was_turned_away_for_a_while() -> None:
    clock = Clock()
    found = Turns("test", most=20, clock=clock)
    assert not found.full(19)
    assert found.full(20)
    clock.now += CALM / 2
    assert found.full(FEW)
    clock.now += CALM * 0.9
    found._waited(SHORT / 2)
    assert found.overloaded, "short waits are what turning away brings"
    clock.now += CALM * 0.2
    found._waited(SHORT / 2)
    assert not found.full(19)


def test_nobody_is_answered_after_the_longest_wait() -> None:
    clock = Clock()
    found = Turns("test", clock=clock)
    with pytest.raises(Overloaded):
        found._waited(LONGEST + 1)
