"""The shapes of the online state's questions and answers, as the OpenAPI document shows them."""

from typing import Any, Literal

from pydantic import Field

from serving.schemas import Answer, Segment, Shape

Rows = list[dict[str, Any]]


class Events(Shape):
    """Rows of the lake's event tables, each with an id of its own; 1 to 1,000 in all."""

    interactions: Rows = []
    """What customers did with products; named by `event_id`."""
    transactions: Rows = []
    """Money in and out, of an account or a customer; named by `event_id`."""
    contacts: Rows = []
    """Who was contacted in a campaign; named by `contact_id`."""
    exposures: Rows = []
    """What was shown, with which propensity; named by `exposure_id`."""
    outcomes: Rows = []
    """What came of it; named by `outcome_id`."""


class EventTaken(Shape):
    """What became of one event."""

    event_id: str | None = None
    """Missing where the row has none that could be read."""
    status: Literal["new", "repeated", "refused"]
    counts_after: str | None = None
    """The day of the event, where it has not ended: the event is kept and counts from the day after."""
    field: str | None = None
    """What of a refused event is wrong, such as `interactions[3].at`."""
    reason: str | None = None
    """Why it was refused, and what would be right."""


class EventsTaken(Answer):
    """What became of every event, by table and in the order sent; what is new is on the disk."""

    results: dict[str, list[EventTaken]]
    new: int
    repeated: int
    refused: int


class SayConsent(Shape):
    """What a customer allowed or withdrew."""

    purpose: str = Field(min_length=1, max_length=10_000)
    """Such as marketing or profiling."""
    channel: str | None = Field(None, min_length=1, max_length=10_000)
    """Such as email; null for all channels."""
    granted: bool
    """False: withdrawn."""
    at: str | None = None
    """When it was said, YYYY-MM-DDTHH:MM:SS in the bank's own time; now if left out."""


class ConsentSaid(Answer):
    """What is on record now."""

    customer_id: str
    purpose: str
    channel: str | None
    granted: bool
    at: str


class CustomerKnown(Answer):
    """All that is stored about a customer."""

    customer_id: str
    as_of: str | None
    """The day they are seen from."""
    segment: Segment | None = None
    leaving: dict[str, Any] | None = None
    """Chance to leave, tier and whether to act; only from a bundle with churn."""
    holdings: list[str]
    rows: dict[str, Rows]
    """By table, those of the lake and what came in since."""
    events: Rows
    """Which of the rows came in since the load, and when."""
    consents: Rows
    """What stands for each purpose and channel; the history is in `rows`."""
    decisions: Rows
    """The latest, newest first."""


class Erased(Answer):
    """Nothing is kept of the customer but a keyed hash."""

    customer_id: str
    erased: Literal[True]
