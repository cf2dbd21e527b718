"""A store on SQLite and one on a real PostgreSQL, filled from the small bank; every test gets a copy of its own."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving.answers import Answers
from serving.day import Clock
from serving.store import Store
from serving.store.load import load
from serving.store.suppression import KEY
from tests.conftest import SmallBank

SECRET = "a secret that only tests use"
NAMES = itertools.count()


@dataclass(frozen=True)
class Place:
    """Where stores can be made: a new empty one, and a copy of one."""

    empty: Callable[[], str]
    copy: Callable[[str], str]


@dataclass
class Open:
    """A store, and services on it that each have an engine of their own, as workers have."""

    name: str
    bank: SmallBank
    opened: list[Store]

    def store(self) -> Store:
        self.opened.append(Store.open(self.name))
        return self.opened[-1]

    def answers(self, clock: Clock | None = None) -> Answers:
        return Answers.open(self.bank.bundle, None, None, None, self.store(), clock)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    patch = pytest.MonkeyPatch()
    patch.setenv(KEY, SECRET)
    if request.param == "sqlite":
        folder = tmp_path_factory.mktemp("stores")

        def empty() -> str:
            return str(folder / f"store-{next(NAMES)}.db")

        def copy(name: str) -> str:
            return str(shutil.copy(name, empty()))
    else:
        server = request.getfixturevalue("server")

        def named(sql: str) -> str:
            name = f"store_{next(NAMES)}"
            server.execute(f"CREATE DATABASE {name} {sql}")
            return str(server.url.rsplit("/", 1)[0]) + f"/{name}"

        def empty() -> str:
            return named("")

        def copy(name: str) -> str:
            return named(f"TEMPLATE {name.rsplit('/', 1)[1]}")

    yield Place(empty, copy)
    patch.undo()


@pytest.fixture(scope="session")
def filled(place: Place, whole_bank: SmallBank) -> str:
    """Filled once, and then only copied."""
    name = place.empty()
    load(str(whole_bank.bundle), str(whole_bank.lake), name, threads=1)
    return name


@pytest.fixture
def state(place: Place, filled: str, whole_bank: SmallBank) -> Iterator[Open]:
    found = Open(place.copy(filled), whole_bank, [])
    yield found
    for store in found.opened:
        store.close()


def sqlite_files(name: str) -> bytes:
    """All bytes of a store in a file, with its log."""
    return b"".join(path.read_bytes() for path in sorted(Path(name).parent.glob(f"{Path(name).name}*")))
