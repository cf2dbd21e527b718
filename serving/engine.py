"""Which processes answer the buckets of a run: this one, or Ray's workers, on this machine or on a cluster."""

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from recsys.errors import ConfigError

if TYPE_CHECKING:
    from serving.buckets import Engine


class Engines(StrEnum):
    """The engines by name."""

    local = "local"
    ray = "ray"


def engine_of(name: Engines, workers: int | None, address: str | None, threads: int) -> "Engine | None":
    """The engine asked for, None for this process; ConfigError for options of another, or without the package."""
    if name is Engines.local:
        given = "--workers" if workers is not None else "--address" if address is not None else None
        if given:
            raise ConfigError(f"{given}: belongs to --engine ray; give that too, or leave {given} out")
        return None
    from serving.engine_ray import answer_on_ray  # says what to install where Ray is absent

    return partial(answer_on_ray, workers=workers, address=address, threads=threads)
