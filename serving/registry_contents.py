"""What a registry's one file says: bundles, every change with who and why, and the trial that runs, if any."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

BundleId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Action = Literal["add", "promote", "deploy", "rollback", "refuse"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class Bounds(_Section):
    """How far a candidate may differ from the running bundle on the same questions."""

    errors: int = Field(0, ge=0)
    """Questions that the running bundle answers and the candidate does not, at most."""
    overlap: float = Field(0.2, ge=0, le=1)
    """Share of the running bundle's products that the candidate lists too, on average, at least."""
    shift: float = Field(0.2, ge=0, le=1)
    """Mean absolute difference of one probability (of leaving, of acquiring), at most."""
    slower: float = Field(3.0, gt=0)
    """Median time of an answer as a multiple of the running bundle's, at most; 5 ms more are always allowed."""


class Entry(_Section):
    """A bundle of the registry."""

    path: str = Field(min_length=1)
    """Inside the registry, or absolute where the bundle is referred to and not copied."""
    manifest_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the bytes of `manifest.json`, which holds the hash of every other file."""
    verified: str
    """When the stored answers were last repeated and found right."""


class Change(_Section):
    """One line of the history."""

    at: str
    action: Action
    bundle_id: BundleId
    previous: BundleId | None
    """What was in force before."""
    by: str = Field(min_length=1, max_length=200)
    approved_by: str | None = Field(None, min_length=1, max_length=200)
    why: str = Field("", max_length=2000)


class Trial(_Section):
    """A candidate that every worker is asked to try beside the running bundle."""

    number: int = Field(ge=1)
    bundle_id: BundleId
    ends: float
    """Seconds since 1970; afterwards workers drop the candidate whether or not the deploying process still lives."""
    bounds: Bounds


class Contents(_Section):
    """`registry.json`."""

    schema_version: Literal[1] = Field(1, alias="schema")
    two_person: bool = False
    """Whether what goes into force must be approved by someone other than who puts it there."""
    bundles: dict[BundleId, Entry] = {}
    trial: Trial | None = None
    trials: int = Field(0, ge=0)
    """How many there have been."""
    history: tuple[Change, ...] = ()

    @property
    def in_force(self) -> list[BundleId]:
        """What was promoted and not rolled back since, oldest first; the last is served."""
        stack: list[BundleId] = []
        for change in self.history:
            if change.action in ("promote", "deploy"):
                stack.append(change.bundle_id)
            elif change.action == "rollback":
                stack.pop()
        return stack

    @property
    def promoted(self) -> BundleId | None:
        """The bundle that is served."""
        stack = self.in_force
        return stack[-1] if stack else None


def now() -> str:
    """The time as the history writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
