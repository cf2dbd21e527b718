"""What to try about a driver, and the figure that would show whether it worked."""

from collections.abc import Collection
from dataclasses import dataclass

from recsys.campaigns.sample_size import sample_per_arm
from recsys.drivers.columns import HOLDS, Columns, Contrast
from recsys.drivers.outcome import CAMPAIGN, CONTEXT, LOOKS

TIERS = ("randomised", "adjusted", "predictive")
"""The most trustworthy first."""


@dataclass(frozen=True)
class Advice:
    """A proposal, and its key performance indicator."""

    approach: str
    kpi: str
    lever: bool
    """Whether the bank can change it; if not, it tells whom to address."""


def advise(
    columns: Columns,
    contrast: Contrast,
    tier: str,
    sign: int,
    rate: float,
    size: float,
    outcome: str,
    name: str = "",
    levers: Collection[str] = (),
) -> Advice:
    """The proposal for a driver of which this is known: `sign` 1 raises, -1 lowers, 0 unclear; `rate` without it.

    `name` is what it is called where it is not the whole column. `levers` are attributes that the bank can change.
    """
    approach, measure, lever = _play(columns, contrast, sign, name)
    if contrast.column in levers:
        approach, measure, lever = _lever(columns.text(contrast.column), contrast, sign)
    if sign == 0:
        return Advice(
            f"Nothing yet: no effect is shown. Look again when there is more data on {columns.text(contrast.column)}.",
            f"Rate of {outcome} on both sides of {columns.text(contrast.column)}, and the width of its interval.",
            lever,
        )
    if not lever:
        return Advice(approach, f"{measure}, against a random hold-out of the same group.", lever)
    if tier == "randomised":
        return Advice(
            f"{approach} Chance has shown that it works: roll it out, and keep a random 5 % out of it.",
            f"{measure}, treated against the 5 % hold-out.",
            lever,
        )
    needed = sample_per_arm(rate, size)
    arms = f" with about {needed:,} customers in each arm" if needed else ""
    return Advice(
        f"{approach} Test it first{arms}, drawn by chance: this is no proof that changing it changes the outcome.",
        f"{measure}, treated against control in that test.",
        lever,
    )


def _play(columns: Columns, contrast: Contrast, sign: int, called: str) -> tuple[str, str, bool]:
    """What to do, what to count, and whether it is the bank's to change."""
    name, text, side = contrast.column, columns.text(contrast.column), contrast.text
    table = columns.labels.label(name).table
    if name == LOOKS:
        who = f"customers {'who looked' if sign > 0 else 'who did not look'} at the campaign's product"
        return f"Address {who} first, within days of it.", f"Conversion rate of {who}", False
    if name.startswith(CAMPAIGN):
        return f"Compare campaigns by {text} before the next is planned.", "Conversions per 1,000 contacts", False
    if name.startswith(CONTEXT):
        return _contact(name.removeprefix(CONTEXT), called or text, side, sign)
    if name.startswith(HOLDS):
        product = columns.text(name).removeprefix("holds ")
        who = f"customers who {'hold' if sign > 0 else 'do not hold'} {product}"
        more = f"; offer {product} to others where it suits them" if sign > 0 else ""
        return f"Address {who} first{more}.", f"Outcome rate of {who}", False
    if table == "contacts":
        if sign < 0:
            return "Contact less often: set a cap on contacts in 90 days.", "Outcome rate and opt-outs per 1,000", True
        return "Follow up sooner after the last contact, within consent.", "Outcome rate and opt-outs per 1,000", True
    if table == "interactions":
        way = "Bring customers to do this more" if sign > 0 else "Ask why these customers do this"
        return (
            f"{way} ({text}): a reminder in the app, a message after it.",
            f"Share of customers with {text} of {side}",
            True,
        )
    if table == "transactions":
        way = "Encourage" if sign > 0 else "Do not push"
        return f"{way} this use ({text}), for example by a reward.", f"Share of customers with {text} of {side}", True
    if table in ("holdings", "accounts"):
        way = "Offer a next product that suits" if sign > 0 else "Ask customers with many products what they lack"
        return f"{way}.", "Products per customer", True
    who = _who(text, contrast, sign)
    return f"Address {who} first, in words that suit them.", f"Outcome rate of {who}", False


def _who(text: str, contrast: Contrast, sign: int) -> str:
    """The customers on the side where the outcome is more frequent."""
    if contrast.level is not None:
        return f"customers with {text} {contrast.text if sign > 0 else f'other than {contrast.text}'}"
    if contrast.above is None:
        return f"customers {'with' if sign > 0 else 'without'} {text}"
    return f"customers with {text} of {contrast.text if sign > 0 else contrast.against}"


def _lever(text: str, contrast: Contrast, sign: int) -> tuple[str, str, bool]:
    """An attribute that is the bank's to set, by the word of whoever asks."""
    if contrast.level is not None:
        way = f"Choose {text} {contrast.text} {'more' if sign > 0 else 'less'} often."
    elif contrast.above is None:
        way = f"{'Bring about' if sign > 0 else 'Avoid'} {text}."
    else:
        way = f"Bring {text} to {contrast.text if sign > 0 else contrast.against}."
    return way, f"Outcome rate and cost per outcome by {text}", True


def _contact(what: str, text: str, side: str, sign: int) -> tuple[str, str, bool]:
    if what == "contacted":
        if sign < 0:
            return f"Stop {text}: it does harm.", "Outcome rate and opt-outs per 1,000 customers", True
        way = "Choose" if text.startswith("the arm") else "Do more of"
        return f"{way} {text}, where customers have consented.", "Incremental outcomes per 1,000 contacts", True
    if what in ("hour", "weekday"):
        way = "Send more of the contacts" if sign > 0 else "Send fewer contacts"
        return f"{way} at this time ({side}).", "Outcome rate by time of sending", True
    if what == "channel":
        way = "Use this channel more" if sign > 0 else "Use another channel"
        return f"{way} ({side}), where the customer allows it.", "Outcome rate and cost per outcome by channel", True
    way = "Prefer" if sign > 0 else "Avoid"
    return f"{way} {text} {side}.", "Incremental outcomes per 1,000 customers", True
