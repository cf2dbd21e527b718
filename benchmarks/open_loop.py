"""A load generator that costs little: callers over kept connections and one epoll, in an open or a closed loop.

It shares the machine with what it measures. A request costs it a few system calls and no task of an event loop, so
that it is seldom late itself, and it sleeps while nothing is due.
"""

import errno
import gc
import select
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

from benchmarks.http_load import Answer

AT_ONCE = 16
"""Requests that are sent in a row, when several are due, before answers are read again."""
PIECE = 1 << 16
LONGEST = 30.0
"""Seconds without any answer after which those that are missing have failed."""


class _Caller:
    """A connection and the request that it waits for."""

    __slots__ = ("due", "got", "late", "socket", "unsent")

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex(("127.0.0.1", port))
        self.due, self.late, self.got, self.unsent = -1.0, 0.0, b"", b""

    def send(self, wire: bytes) -> bool:
        """Write a request; False if the connection is not open yet, or takes no more."""
        try:
            sent = self.socket.send(wire)
        except (BlockingIOError, OSError) as error:
            if error.errno not in (errno.EAGAIN, errno.ENOTCONN, errno.EINPROGRESS):
                raise
            sent = 0
        self.unsent = wire[sent:]
        return not self.unsent


class _Callers:
    """All connections to one server; `began` is when their clock started."""

    def __init__(self, port: int) -> None:
        self._port, self._poll = port, select.epoll()
        self._all: dict[int, _Caller] = {}
        self._free: list[_Caller] = []
        self.began = perf_counter()
        self.waiting = 0
        """Requests without an answer."""

    def now(self) -> float:
        """Seconds since they started."""
        return perf_counter() - self.began

    def ask(self, wire: bytes, due: float) -> Answer | None:
        """Send a request over a free connection, else over a new one; an answer only if that failed."""
        try:
            caller = self._free.pop() if self._free else self._opened()
        except OSError as error:  # as many connections are open as the system allows
            return Answer(due, self.now() - due, 0, type(error).__name__.encode(), 0.0)
        caller.due = due
        self.waiting += 1
        try:
            whole = caller.send(wire)
        except OSError as error:
            return self._failed(caller, type(error).__name__)
        caller.late = self.now() - due
        if not whole:
            self._poll.modify(caller.socket, select.EPOLLIN | select.EPOLLOUT)
        return None

    def answers(self, wait: float) -> Iterator[Answer]:
        """Those that come within `wait` seconds, and all that are there then."""
        select.select([self._poll], (), (), wait)  # an epoll itself counts whole milliseconds
        for number, event in self._poll.poll(0):
            caller = self._all[number]
            if event & select.EPOLLOUT and self._goes_on(caller):
                continue
            if event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and (found := self._read(caller)):
                yield found

    def missing(self) -> list[Answer]:
        """An answer of status 0 for every request that still waits."""
        asked = [one for one in self._all.values() if one.due >= 0]
        return [failed for one in asked if (failed := self._failed(one, "no answer"))]

    def close(self) -> None:
        """Close all connections."""
        for caller in self._all.values():
            caller.socket.close()
        self._poll.close()

    def _opened(self) -> _Caller:
        caller = _Caller(self._port)
        self._all[caller.socket.fileno()] = caller
        self._poll.register(caller.socket, select.EPOLLIN)
        return caller

    def _goes_on(self, caller: _Caller) -> bool:
        """Write what could not be written before; False if the connection is broken, which reading it tells."""
        try:
            whole = caller.send(caller.unsent)
        except OSError:
            return False
        caller.late = self.now() - caller.due
        if whole:
            self._poll.modify(caller.socket, select.EPOLLIN)
        return True

    def _read(self, caller: _Caller) -> Answer | None:
        try:
            data = caller.socket.recv(PIECE)
        except BlockingIOError:
            return None
        except OSError as error:
            return self._failed(caller, type(error).__name__)
        if not data:
            return self._failed(caller, "closed")
        caller.got = got = caller.got + data if caller.got else data
        if (end := got.find(b"\r\n\r\n")) < 0:
            return None
        head = got[:end].lower() + b"\r\n"
        start = head.index(b"content-length:") + 15
        if len(got) < end + 4 + int(head[start : head.index(b"\r\n", start)]):
            return None
        answer = Answer(caller.due, self.now() - caller.due, int(got[9:12]), got[end + 4 :], caller.late)
        self.waiting -= 1
        caller.due, caller.got = -1.0, b""
        if b"\r\nconnection: close\r\n" in head:
            self._drop(caller)
        else:
            self._free.append(caller)
        return answer

    def _failed(self, caller: _Caller, why: str) -> Answer | None:
        """The answer to the request whose connection broke; None where none waited."""
        self._drop(caller)
        if caller.due < 0:
            self._free.remove(caller)
            return None
        self.waiting -= 1
        return Answer(caller.due, self.now() - caller.due, 0, why.encode(), caller.late)

    def _drop(self, caller: _Caller) -> None:
        del self._all[caller.socket.fileno()]
        caller.socket.close()


@contextmanager
def _callers(port: int) -> Iterator[_Callers]:
    collects = gc.isenabled()
    gc.disable()  # its pauses would be told as the server's
    callers = _Callers(port)
    try:
        yield callers
    finally:
        callers.close()
        if collects:
            gc.enable()


def arriving(port: int, wires: Sequence[bytes], rate: float, seconds: float) -> list[Answer]:
    """Answers to requests that arrive `rate` a second, evenly, whether or not earlier ones were answered.

    In the order in which they were due. A request without an answer has the status 0.
    """
    found: list[Answer] = []
    count, number, last = int(rate * seconds), 0, 0.0
    with _callers(port) as callers:
        while number < count or (callers.waiting and callers.now() - last < LONGEST):
            due = min(count, number + AT_ONCE, int(callers.now() * rate) + 1)
            while number < due:
                failed = callers.ask(wires[number % len(wires)], number / rate)
                found += [failed] if failed else []
                number += 1
            pause = max(0.0, number / rate - callers.now()) if number < count else LONGEST
            answers = list(callers.answers(pause))
            found += answers
            last = callers.now() if answers or number < count else last
        found += callers.missing()
    return sorted(found, key=lambda answer: answer.due)


def asking(port: int, wires: Sequence[bytes], callers: int, more: Callable[[int, float], bool]) -> list[Answer]:
    """Answers to `callers` who each ask on and on, after the answer, while `more(number, seconds since the start)`."""
    found: list[Answer] = []
    with _callers(port) as those:
        number = 0
        while True:
            while those.waiting < callers and more(number, those.now()):
                failed = those.ask(wires[number % len(wires)], those.now())
                number += 1
                if failed is not None:
                    found.append(failed)
            if not those.waiting:
                return found
            found += those.answers(LONGEST)
