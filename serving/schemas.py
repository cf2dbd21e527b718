"""The shapes of questions and answers, as the OpenAPI document shows them; hot paths read and write plain JSON."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_CUSTOMERS = 100
"""Customers that one question may be about."""
Rows = dict[str, list[dict[str, Any]]]
"""Table → rows; the OpenAPI document puts the tables of the contract in its place."""


class Shape(BaseModel):
    """A closed object whose fields are described by the text below each."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class One(Shape):
    """One customer: known by id, or with their own data."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["customer_id"]}, {"required": ["customer"]}],
            "dependentRequired": {"events": ["customer_id"]},
        }
    )

    customer_id: str | None = Field(None, min_length=1, max_length=256)
    """A customer that the bank knows."""
    events: Rows | None = None
    """What has just happened to that customer: table → rows, for this answer only; nothing is stored."""
    customer: Rows | None = None
    """The customer's own data: table → rows, as the lake's contract has them; `customers` has one row."""


class Who(One):
    """About whom: one customer, or a list of them."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["customer_id"]}, {"required": ["customer"]}, {"required": ["customers"]}],
            "dependentRequired": {"events": ["customer_id"]},
        }
    )

    customers: list[One] | None = Field(None, min_length=1, max_length=MOST_CUSTOMERS)
    """Several customers; the answer has them in this order, under `answers`."""


class AskRecommend(Who):
    """Which products next?"""

    k: int = Field(10, ge=1)
    """How many products; at most as many as the catalogue has."""
    exclude: list[str] = []
    """Products that must not be recommended."""
    candidates: list[str] | None = Field(None, min_length=1)
    """The only products that may be recommended."""
    diversity: float | None = Field(None, ge=0, le=1)
    """0 ranks by score alone, up to 1 for variety; as the bundle was configured if left out."""
    reasons: int = Field(0, ge=0, le=10)
    """How many reasons to give for each product."""
    removed: bool = False
    """Whether to tell which products were removed before the ranking, and by which rule."""


class AskChurn(Who):
    """Who will leave?"""

    reasons: int = Field(3, ge=0, le=10)
    """How many reasons to give."""


class AskLike(Who):
    """Who is like this customer?"""

    k: int = Field(10, ge=1, le=100)
    """How many customers."""


class AskLikeProduct(Shape):
    """What is like this product?"""

    product_id: str = Field(min_length=1, max_length=256)
    k: int = Field(10, ge=1, le=100)
    """How many products, at most."""


class Answer(Shape):
    """What every answer carries."""

    bundle_id: str
    """The bundle that answered."""
    request_id: str
    """Of the header X-Request-Id, or made for this request; also in the answer's header."""


class Segment(Shape):
    """A segment of the bundle, and how far the customer is from its prototype."""

    id: str
    name: str
    distance: float


class Placed(Shape):
    """Where a customer is; the last two only from a bundle with segments."""

    customer_id: str
    segment: Segment | None = None
    unusual: list[str] | None = None
    """Features that make the customer unusual, the worst first; null if they are not."""


class Reason(Shape):
    """What raised a score, and by how much."""

    kind: str
    name: str
    effect: float


class Item(Shape):
    """One recommended product."""

    rank: int = Field(ge=1)
    product_id: str
    score: float
    """Higher is better; comparable within one answer; not a probability."""
    probability: dict[str, float] | None = None
    """That the customer acquires the product, by horizon; null for one that they hold."""
    reasons: list[Reason] | None = None


class Removed(Shape):
    """A product that was removed before the ranking."""

    product_id: str
    rule: str
    """The first rule that removed it; where none did, held, excluded or not_a_candidate."""


class Recommended(Placed):
    """Products, the best first."""

    items: list[Item]
    removed: list[Removed] | None = None
    """Where the question asked for it."""


class Leaving(Shape):
    """How likely a customer is to leave."""

    customer_id: str
    standing: str
    """customer, left or joins_later."""
    horizon_months: int | None
    """Within how many months; null where leaving is a label of the bank's."""
    probability: float | None
    tier: str | None
    act: bool
    """Whether acting is worth its costs."""
    survival: dict[str, float] | None = None
    """That the customer is still there, by horizon; null for who has left."""
    reasons: list[dict[str, Any]] | None = None


class RecommendAnswer(Answer, Recommended):
    """Products for one customer."""


class RecommendAnswers(Answer):
    """Products for several customers."""

    answers: list[Recommended]


class SegmentAnswer(Answer, Placed):
    """Where one customer is."""


class SegmentAnswers(Answer):
    """Where several customers are."""

    answers: list[Placed]


class ChurnAnswer(Answer, Leaving):
    """How likely one customer is to leave."""


class ChurnAnswers(Answer):
    """How likely several customers are to leave."""

    answers: list[Leaving]


class Decided(Placed):
    """Everything that the bundle says of one customer, seen once; what it does not tell is left out."""

    items: list[Item] | None = None
    removed: list[Removed] | None = None
    churn: "DecidedChurn | None" = None
    next_best_action: "NextBestAction | None" = None
    """Where the prices of a campaign plan are in force."""


class DecidedChurn(Shape):
    """How likely the customer is to leave."""

    standing: str
    horizon_months: int | None
    """Within how many months; null where leaving is a label of the bank's."""
    probability: float | None
    tier: str | None
    act: bool
    survival: dict[str, float] | None = None


class Contact(Shape):
    """One contact to make; `cost`, `expected_gain` and `price` in minor units (pence), amounts in `reason` as people
    read them (pounds)."""

    action: str
    product_id: str
    channel: str
    level: str
    cost: float
    expected_gain: float
    """Costs taken off."""
    price: float
    """Of what the contact takes of the plan's limits."""
    reason: str


class NextBestAction(Shape):
    """What the campaign plan would do with the customer at the prices in force, or nothing, and why."""

    prices: str
    """The version of the prices that decided."""
    actions: list[Contact]
    """Empty for nothing."""
    arm: Literal["plan", "hold_out", "explore"] | None
    propensity: float | None
    """The probability of this decision, to be logged with it; null where nothing was drawn."""
    decision_id: str | None = None
    """Under which it was written to the store, for outcomes to name; only of a store's customers."""
    reason: str
    removed: list["RemovedAction"] | None = None
    """Where the question asks for what was removed: actions that all but the rules allowed."""


class RemovedAction(Shape):
    """An action that rules removed before the choice."""

    action: str
    rule: str
    """The first rule that removed it, of those for contacts before those for products."""


class DecideAnswer(Answer, Decided):
    """Everything about one customer."""


class DecideAnswers(Answer):
    """Everything about several customers."""

    answers: list[Decided]


class Embedded(Shape):
    """A customer as a vector."""

    customer_id: str
    of: Literal["embedding", "recommender"]
    """Which part of the bundle made it; vectors of two bundles cannot be compared."""
    vector: list[float]


class EmbedAnswer(Answer, Embedded):
    """One customer as a vector."""


class EmbedAnswers(Answer):
    """Several customers as vectors."""

    answers: list[Embedded]


class LikeProduct(Shape):
    """A product that is like another."""

    rank: int
    product_id: str
    cosine: float


class LikeProducts(Answer):
    """The products most like one, the likest first."""

    product_id: str
    items: list[LikeProduct]


class LikeCustomer(Shape):
    """A customer who is like another."""

    rank: int
    customer_id: str
    cosine: float


class Alike(Shape):
    """The customers most like one, the likest first."""

    customer_id: str
    items: list[LikeCustomer]


class LikeAnswer(Answer, Alike):
    """Who is like one customer."""


class LikeAnswers(Answer):
    """Who is like each of several customers."""

    answers: list[Alike]


class Problem(Shape):
    """An error, after RFC 9457."""

    type: str
    """Which kind of problem, as a URN."""
    title: str
    """The kind in words."""
    status: int
    detail: str
    """What was wrong with this request, and what would be right."""
    field: str | None
    """The field of the request at fault, such as `customer.interactions[3].at`."""
    request_id: str
