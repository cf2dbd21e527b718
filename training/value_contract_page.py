"""The report of lifetime value under a contract as one HTML page."""

from collections.abc import Mapping
from html import escape
from typing import Any

from recsys.pages.page import document, figure
from recsys.segment_cards.labels import percent
from training.segment_tables import section, table
from training.value_page import PICTURES, cash, interval

MEANINGS = {
    "Value": "The monthly margin of each month within the horizon, times the chance that the customer is still there "
    "at its end, discounted to today.",
    "At stake": "What a customer who does not leave brings within the horizon, less what one who leaves brings: the "
    "gain of keeping somebody who would have left. The retention list multiplies it with the chance to leave.",
    "Expected loss": "The chance to leave times what is at stake, summed up: what leavers take with them.",
    "The range in brackets": "A 95 % interval of what chance makes of it, customer by customer, if the chances to "
    "leave are right. How well these are known is in the bundle's own report.",
}


def contract_page(content: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """The whole page; `pictures` are SVG elements by name."""
    drawn = "".join(figure(pictures[name], PICTURES[name]) for name in ("concentration",) if name in pictures)
    sections = [
        ("glance", "At a glance", _glance(content) + drawn),
        ("care", "Read this first", _warnings(content)),
        ("tiers", "By chance to leave", _tiers(content)),
        ("margins", "Where the margins come from", _margins(content)),
        ("meaning", "What these numbers mean", _meaning()),
    ]
    seen = f", as seen on {content['as_of']}" if content["as_of"] else ""
    lead = f"{content['customers']:,} customers{seen}."
    note = (
        f"Bundle {content['bundle']}, lake version {content['lake']['version']}; horizon {content['horizon_months']} "
        f"months, discounted by {percent(content['discount'])} a year."
    )
    title = f"Lifetime value of {content['lake']['source'] or 'the lake'}"
    links = [(key, name) for key, name, _ in sections]
    return document(title, lead, note, links, [section(*one) for one in sections])


def _glance(content: Mapping[str, Any]) -> str:
    totals, currency = content["totals"], content["currency"]
    ahead = f"in {content['horizon_months']} months"
    rows = [
        (f"Value {ahead}", interval(totals["value"], lambda v: cash(v, currency))),
        ("Margin of a month now", cash(totals["monthly_margin"], currency)),
        (
            f"Expected loss to those who leave in {content['leave_months']} months",
            cash(totals["expected_loss"], currency),
        ),
    ]
    return table(("", ""), rows)


def _warnings(content: Mapping[str, Any]) -> str:
    return "<ul>" + "".join(f"<li>{escape(one)}</li>" for one in content["warnings"]) + "</ul>"


def _tiers(content: Mapping[str, Any]) -> str:
    currency = content["currency"]
    rows = [
        (
            escape(tier["tier"]),
            f"{tier['customers']:,}",
            percent(tier["probability"]),
            cash(tier["value"], currency),
            cash(tier["at_stake"], currency),
            cash(tier["expected_loss"], currency),
        )
        for tier in content["tiers"]
    ]
    leave = f"Leave in {content['leave_months']} months"
    heads = ("Tier", "Customers", leave, "Value of all", "At stake each", "Expected loss")
    return table(heads, rows, range(1, 6)) or '<p class="soft">No tier has ten customers.</p>'


def _margins(content: Mapping[str, Any]) -> str:
    contract, currency = content["config"]["contract"], content["currency"]
    rows = [(escape(product), f"{cash(margin, currency)} a year") for product, margin in contract["products"].items()]
    if contract["balance_rate"]:
        rows.append(("latest balance", f"{contract['balance_rate']:.2%} a year"))
    if contract["attribute"]:
        rows.append((escape(contract["attribute"]), "the customer's margin of a month"))
    return f"<p>{escape(contract['origin'])}</p>" + table(("Of", "Margin"), rows)


def _meaning() -> str:
    return "<dl>" + "".join(f"<dt>{escape(t)}</dt><dd>{escape(text)}</dd>" for t, text in MEANINGS.items()) + "</dl>"
