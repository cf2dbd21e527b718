"""One check of a bundle: what was looked at, whether it holds, what was found."""

from collections.abc import Callable
from dataclasses import dataclass

from recsys.bundle.bundle import Bundle
from recsys.errors import RecsysError


@dataclass(frozen=True)
class Check:
    """One thing that was checked, whether it holds, and what was found."""

    name: str
    ok: bool
    detail: str


def checked(name: str, check: Callable[[Bundle], str], bundle: Bundle) -> Check:
    """The check of what `check` says of the bundle; it fails if that raises."""
    try:
        return Check(name, True, check(bundle))
    except RecsysError as error:
        return Check(name, False, str(error))
    except Exception as error:  # whatever breaks here is a fault of the bundle, and reported as one
        return Check(name, False, f"{type(error).__name__}: {error}")
