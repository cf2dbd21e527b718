"""From which contacts the effect of a contact is learned, and by which learners: the section `uplift`."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Learner = Literal["s", "t", "x", "dr"]
LEARNERS: tuple[Learner, ...] = ("s", "t", "x", "dr")


class TreesConfig(BaseModel):
    """Boosted trees of one kind; effects are small beside outcomes, so theirs are the more restrained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trees: int = Field(default=120, ge=8)
    """The most trees; of an eighth, a quarter, half and all of them the number is taken that is best held out."""
    leaves: int = Field(default=12, ge=2)
    learning_rate: float = Field(default=0.06, gt=0, le=1)
    least_in_leaf: int = Field(default=40, ge=1)
    """Units in a leaf at least."""
    l2: float = Field(default=5.0, ge=0)
    columns: float = Field(default=0.4, gt=0, le=1)
    """Share of the columns that a tree may read."""
    rows: float = Field(default=0.7, gt=0, le=1)
    """Share of the units that a tree sees."""


class UpliftConfig(BaseModel):
    """What contacts add, and for whom: contacts of campaigns with a control, or an attribute that chance drew."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: str = "converted"
    """What came of it, a yes or a no: of contacts opened, clicked or converted; with `treatment` an attribute of
    customers with the role label or outcome."""
    treatment: str | None = None
    """Attribute of customers, with the role group, that says which arm chance drew for them, each with the same
    probability for all; without it the table contacts says who was contacted."""
    control: str | None = None
    """With `treatment`: its value that means not contacted."""
    campaigns: str | None = None
    """Only campaigns with this attribute and value, such as objective=sale."""
    randomised: str | None = None
    """Campaigns with this attribute and value, such as design=randomised, are known to have drawn their arms by chance
    with the same probabilities for all: where no propensity was logged, the shares of the arms stand for it."""
    learners: tuple[Learner, ...] = LEARNERS
    """What is tried: s (one model), t (two), x (imputed effects), dr (doubly robust scores)."""
    folds: int = Field(default=4, ge=3, le=20)
    """Parts of the customers, three or more; what is said of one is learned from the others."""
    bags: int = Field(default=8, ge=2, le=64)
    """Fits on halves of the customers, whose mean is the effect and whose spread its standard error; an even number."""
    examples: int = Field(default=60_000, ge=500)
    """Contacts that are read at most; of more, those of a sample of customers."""
    test_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of the contacts, of the latest campaigns, of which training sees nothing; customers drawn by a hash where
    there is one campaign only, or no date."""
    embedding: bool = True
    """Try the customer embedding beside the columns, where there is a section embedding; it stays if it helps."""
    seed: int = 0
    """Draws folds, bags, and the customers of the test."""
    outcome_trees: TreesConfig = TreesConfig()
    effect_trees: TreesConfig = TreesConfig(leaves=6, least_in_leaf=150, l2=20.0)

    @model_validator(mode="after")
    def _arms(self) -> Self:
        if (self.treatment is None) != (self.control is None):
            raise ValueError("treatment and control go together: the attribute, and its value for not contacted")
        if self.treatment and (self.campaigns or self.randomised):
            raise ValueError("campaigns and randomised are about the table contacts; leave them out with treatment")
        if not self.learners or len(set(self.learners)) < len(self.learners):
            raise ValueError("learners: name one or more of s, t, x, dr, each once")
        if self.bags % 2:
            raise ValueError("bags: an even number, because halves come in pairs")
        return self
