"""Calls that are made one at a time, by the event loop and beside it."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from serving.one_at_a_time import OneAtATime

Check = Callable[[OneAtATime], Awaitable[None]]


def run(check: Check) -> None:
    asyncio.run(check(OneAtATime("test")))  # type: ignore[arg-type]


@pytest.mark.parametrize("short", [False, True])
def test_answers_come_back_and_errors_are_raised(short: bool) -> None:
    async def check(calls: OneAtATime) -> None:
        assert await calls.run(lambda: 3, short) == 3
        with pytest.raises(ZeroDivisionError):
            await calls.run(lambda: 1 // 0, short)
        assert await calls.run(lambda: 4, short) == 4, "and it goes on"

    run(check)


def test_the_thread_goes_from_one_long_call_to_the_next_while_the_loop_is_busy() -> None:
    async def check(calls: OneAtATime) -> None:
        made = threading.Event()
        first, second = calls.run(lambda: None, short=False), calls.run(made.set, short=False)
        assert made.wait(30), "and this stands in the loop's way"
        await asyncio.gather(first, second)

    run(check)


def test_a_short_call_waits_for_the_long_one_before_it_and_never_runs_beside_it() -> None:
    async def check(calls: OneAtATime) -> None:
        running, most = 0, 0

        def call(seconds: float) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            time.sleep(seconds)
            running -= 1

        await asyncio.gather(*(calls.run(lambda n=n: call(0.02 * (n % 2)), n % 2 == 0) for n in range(8)))  # type: ignore[misc]
        assert most == 1

    run(check)


def test_the_loop_goes_on_beside_a_long_call_and_between_two_short_ones() -> None:
    async def check(calls: OneAtATime) -> None:
        gate = threading.Event()
        long = calls.run(lambda: gate.wait(30), short=False)
        await asyncio.sleep(0.01)
        gate.set()
        assert await long

        rounds: list[str] = []
        short = [calls.run(lambda n=n: rounds.append(str(n)), short=True) for n in range(3)]  # type: ignore[misc]
        for one in short:
            one.add_done_callback(lambda _: rounds.append("sent"))
        await asyncio.gather(*short)
        assert rounds == ["0", "sent", "1", "sent", "2", "sent"], "each is sent before the next is begun"

    run(check)


@pytest.mark.parametrize("short", [False, True])
def test_who_no_longer_waits_is_left_out(short: bool) -> None:
    async def check(calls: OneAtATime) -> None:
        gate, made = threading.Event(), list[int]()
        first = calls.run(lambda: gate.wait(30), short=False)
        second = calls.run(lambda: made.append(2), short)
        third = calls.run(lambda: made.append(3), short)
        await asyncio.sleep(0.01)
        first.cancel()
        second.cancel()
        await asyncio.sleep(0)
        gate.set()
        await third
        assert made == [3]

    run(check)
