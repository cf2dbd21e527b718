"""The report of lifetime value from purchases as one HTML page."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from recsys.pages.page import document, figure
from recsys.segment_cards.labels import WHOLE_CURRENCIES, percent, plain
from training.segment_tables import section, table

PICTURES = {
    "deciles-purchases": "Customers in order of the purchases predicted for the hold-out. All intervals together "
    "hold the true means 19 times of 20.",
    "deciles-money": "The same for money spent in the hold-out.",
    "tracking": "Repeated purchases week by week. The line is what the days left of the dotted line make one expect; "
    "purchases of customers who came later are part of what happened only.",
    "gains": "How much of what the hold-out brought comes from the customers whom each order puts first. The dashed "
    "line is chance.",
    "alive": "How the chance to buy still falls with silence. The more often somebody bought, the sooner it tells.",
    "concentration": "How the expected value is spread over the customers.",
}
MEANINGS = {
    "Purchase": "A day on which the customer spent something. The first one makes the customer; later ones are "
    "repeated.",
    "Value": "What is expected to be earned from a customer's purchases within the horizon: purchases × spend at a "
    "time × margin, each purchase discounted to today by its time.",
    "At stake": "The value of a customer under the condition that they have not left already. It is what is lost with "
    "one who leaves now, and what the retention list multiplies with the chance to leave.",
    "Chance to buy still": "In this model one leaves after a repeated purchase only. Somebody who bought once is "
    "therefore taken as a customer for certain, however long ago it was; the expected purchases take account of it.",
    "The range in brackets": "A 95 % interval: of ranges made in this way, 19 of 20 contain the true figure. That of a "
    "total holds what the parameters leave open and what chance does, not that the future may be another kind of time.",
    "r, alpha, a, b": "BG/NBD. r / alpha is the mean number of purchases a unit of time while a customer stays, "
    "a / (a + b) the mean chance to leave after a repeated purchase.",
    "p, q, v": "Gamma-Gamma. p v / (q − 1) is the mean spend at a time.",
    "Normalised Gini": "How well customers are put in order by what they brought: 1 at best, 0 like chance.",
    "Own pace so far": "The baseline: everyone goes on as from the first purchase to the end of the calibration.",
}


def purchases_page(content: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """The whole page; `pictures` are SVG elements by name."""
    days, source = content["days"], content["lake"]["source"] or "the lake"
    sections = [
        ("glance", "At a glance", _glance(content) + _figures(pictures, "concentration")),
        ("care", "Read this first", _warnings(content)),
        ("holdout", "Is it right?", _holdout(content, pictures)),
        ("alive", "Who still buys?", _figures(pictures, "alive")),
        ("spend", "How much at a time?", _spend(content)),
        ("parameters", "Parameters", _parameters(content)),
        ("meaning", "What these numbers mean", _meaning()),
    ]
    lead = f"{content['customers']:,} customers who bought from {days['first']} to {days['last']}."
    note = f"Lake version {content['lake']['version']}; horizon {content['horizon_months']} months, discounted by "
    note += f"{percent(content['discount'])} a year, margin {content['config']['purchases']['margin']:g}."
    links = [(key, title) for key, title, _ in sections]
    return document(f"Lifetime value of {source}", lead, note, links, [section(*one) for one in sections])


def cash(minor: float | None, currency: str | None) -> str:
    """Minor units as an amount, with two digits where it is small."""
    if minor is None:
        return "not known"
    if currency is None:
        return f"{minor:,.0f} (minor units)"
    amount = minor if currency in WHOLE_CURRENCIES else minor / 100
    return f"{amount:,.0f} {currency}" if abs(amount) >= 1000 else f"{amount:,.2f} {currency}"


def interval(found: Mapping[str, float | None] | None, said: Any = plain) -> str:
    """A value with its range, HTML."""
    if not found or found["value"] is None:
        return '<span class="soft">not known</span>'
    if found["low"] is None:
        return f"{said(found['value'])} <span class='soft small'>(no interval)</span>"
    return f"{said(found['value'])} <span class='soft small'>({said(found['low'])} to {said(found['high'])})</span>"


def _glance(content: Mapping[str, Any]) -> str:
    totals, currency = content["totals"], content["currency"]
    ahead = f"in the {content['horizon_months']} months after {content['days']['last']}"
    rows = [
        (f"Purchases expected {ahead}", interval(totals["purchases"], lambda v: f"{v:,.0f}")),
        ("Their value", interval(totals["value"], lambda v: cash(v, currency))),
        ("Customers who are expected to buy still", f"{totals['summed']['p_alive']:,.0f}"),
    ]
    if content["concentration"]:
        rows.append(("Share of the most valuable tenth", percent(content["concentration"][0])))
    return table(("", ""), rows)


def _warnings(content: Mapping[str, Any]) -> str:
    if not content["warnings"]:
        return "<p>Nothing was found that speaks against these figures.</p>"
    return "<ul>" + "".join(f"<li>{escape(one)}</li>" for one in content["warnings"]) + "</ul>"


def _holdout(content: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    judged, days = content["holdout"], content["days"]
    said = (
        f"<p>Fitted on purchases up to {days['cut']} and asked what would follow in {judged['days']} days, of "
        f"{judged['customers']:,} customers. Then it was fitted again on all days.</p>"
    )
    rows = []
    for name, title, shown in (("purchases", "Purchases", plain), ("money", "Money", None)):
        if name not in judged:
            continue
        entry, gini = judged[name], judged[name]["gini"]
        told = shown or (lambda v: cash(v, content["currency"]))
        whole = (lambda v: f"{v:,.0f}") if shown else told
        total = interval(judged["total"], whole) if name == "purchases" else whole(entry["predicted"])
        error = entry["mean_absolute_error"]
        for who, sums in (("model", total), ("own pace so far", whole(entry["pace"]))):
            ordered = interval(gini.get(who), lambda v: f"{v:.3f}")
            rows.append((title, escape(who), sums, whole(entry["actual"]), told(error[who]), ordered))
        gain = interval(gini.get("model − own pace so far"), lambda v: f"{v:+.3f}")
        rows.append((title, "difference", "", "", "", gain))
    heads = ("", "By", "Predicted", "Happened", "Mean absolute error", "Normalised Gini")
    return (
        said
        + table(heads, rows, (2, 3, 4))
        + _figures(pictures, "deciles-purchases", "deciles-money", "gains", "tracking")
    )


def _spend(content: Mapping[str, Any]) -> str:
    spend = content["spend"]
    if spend is None:
        return '<p class="soft">There is no model of amounts.</p>'
    currency = content["currency"]
    rows = []
    for group in spend["groups"]:
        span = f"{group['from']:.0f}" if group["from"] == group["to"] else f"{group['from']:.0f} to {group['to']:.0f}"
        rows.append(
            (span, f"{group['customers']:,.0f}", cash(group["spend"], currency), cash(group["expected"], currency))
        )
    said = (
        f"<p>Over {spend['customers']:,} customers who bought again, frequency and spend at a time have a correlation "
        f"of {interval(spend['correlation'], lambda v: f'{v:.2f}')}. The model takes it that they have none.</p>"
    )
    heads = ("Repeated purchases", "Customers", "Spend at a time", "Model")
    return said + table(heads, rows, (1, 2, 3))


def _parameters(content: Mapping[str, Any]) -> str:
    rows: list[Sequence[str]] = []
    for title, entry in content["parameters"].items():
        for name in ("bg_nbd", "gamma_gamma"):
            for parameter, found in (entry[name] or {"values": {}})["values"].items():
                model = {"bg_nbd": "BG/NBD", "gamma_gamma": "Gamma-Gamma"}[name]
                rows.append((model, parameter, escape(title), interval(found, lambda v: f"{v:,.4g}")))
    unit = content["parameters"]["all days"]["unit_days"]
    return f"<p>Times in units of {unit:g} days, amounts in minor units.</p>" + table(
        ("Model", "Parameter", "Fitted on", "Value"), rows
    )


def _meaning() -> str:
    return "<dl>" + "".join(f"<dt>{escape(t)}</dt><dd>{escape(text)}</dd>" for t, text in MEANINGS.items()) + "</dl>"


def _figures(pictures: Mapping[str, str], *names: str) -> str:
    return "\n".join(figure(pictures[name], PICTURES[name]) for name in names if name in pictures)
