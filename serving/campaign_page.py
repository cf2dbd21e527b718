"""A campaign plan as one HTML page for those who run it."""

from collections.abc import Mapping
from html import escape
from typing import Any

from recsys.pages.page import document, figure
from recsys.pages.svg import COLOURS, INK, one_plot, svg
from recsys.pages.tables import section, table
from recsys.segment_cards.labels import WHOLE_CURRENCIES, money

NOT_ALLOWED = {
    "has_left": "has left",
    "not_a_customer_yet": "not a customer yet",
    "no_consent": "no consent for any channel of the plan",
    "resting": "contacted too recently",
    "window_used_up": "contacts of the window used up",
    "nothing_eligible": "no product of the plan may be offered",
    "ruled_out": "rules leave nothing",
}


def plan_page(content: Mapping[str, Any]) -> str:
    """The whole page."""
    plan = content["plan"]
    sections = [
        ("glance", "At a glance", _glance(content)),
        ("prices", "What limits the plan, and what more of it would bring", _limits(content)),
        ("actions", "Who gets what", _actions(content)),
        ("not", "Who may not be contacted", _not_allowed(content)),
        ("assumed", "What it rests on", _assumed(content)),
    ]
    lead = f"{content['contacts']:,} contacts with {content['contacted']:,} of {content['customers']:,} customers."
    note = f"Bundle {content['bundle_id']}, lake version {content['lake']['version']}, seen from "
    note += f"{content['as_of'] or 'no day'}; plan {content['version']}."
    links = [(key, title) for key, title, _ in sections]
    return document(f"Campaign plan: {plan['name']}", lead, note, links, [section(*one) for one in sections])


def _glance(content: Mapping[str, Any]) -> str:
    currency, gap = content["currency"], content["gap"]
    cautious = f" (cautious by {content['cautious']:g} standard errors)" if content["cautious"] else ""
    said = [
        f"<p class='headline'>Expected gain, costs taken off{cautious}: "
        f"<b>{escape(money(content['expected_gain'], currency))}</b>.</p>",
        f"<p>The plan before the draw is worth {escape(money(content['planned_gain'], currency))}; no plan within the "
        f"same limits is worth more than {escape(money(content['bound'], currency))}, so it is at most {gap:.4%} short "
        "of the best.</p>",
        f"<p>{content['held_out']:,} customers are held out at random and {content['exploring']:,} get an allowed "
        "contact at random; the probability of every decision is in the files.</p>",
    ]
    said.append(_off_policy(content))
    said += [f"<p class='soft'>{escape(note)}</p>" for note in content["notes"]]
    return "\n".join(said)


def exactly(amount: float, currency: str | None) -> str:
    """A small amount of minor units, to two places of the currency's unit."""
    unit = 1.0 if currency is None or currency in WHOLE_CURRENCIES else 100.0
    return f"{amount / unit:,.2f} {currency or '(minor units)'}"


def _off_policy(content: Mapping[str, Any]) -> str:
    """What logged decisions say of the plan, beside the model."""
    found, currency = content["off_policy"], content["currency"]
    if "why" in found:
        return f"<p>What the log of decisions says of this plan cannot be told: {escape(found['why'])}.</p>"
    value, low, high, model = (escape(exactly(found[name], currency)) for name in ("value", "low", "high", "model"))
    return (
        f"<p>By {found['decisions']:,} logged decisions (effective sample size {found['effective']:,.0f}) the plan "
        f"earns <b>at least {low}</b> a decision beyond no contact, costs taken off: {value} ({low} to {high}, doubly "
        f"robust, 95 %). The model expects {model} of the same customers.</p>"
    )


def _limits(content: Mapping[str, Any]) -> str:
    rows = [
        [escape(row["name"]), _figure(content, row, "limit"), _figure(content, row, "used"), escape(row["words"])]
        for row in content["limits"]
    ]
    if not rows:
        return "<p>The plan states no limits.</p>"
    return table(["limit", "allowed", "used", "what one more would bring"], rows, (1, 2)) + _use_plot(content)


def _figure(content: Mapping[str, Any], row: Mapping[str, Any], key: str) -> str:
    if row["name"].startswith("budget"):
        return escape(money(row[key], content["currency"]))
    return f"{row[key]:,.0f}"


def _use_plot(content: Mapping[str, Any]) -> str:
    shown = [row for row in content["limits"] if row["limit"] > 0 and not row["name"].startswith("minimum")][::-1]
    if not shown:
        return ""
    drawn, axes = one_plot(7.2, 0.5 + 0.28 * len(shown))
    axes.barh([row["name"] for row in shown], [100 * row["used"] / row["limit"] for row in shown], color=COLOURS[0])
    axes.axvline(100, color=INK, linewidth=1)
    axes.set_xlabel("used, % of what is allowed")
    return figure(svg(drawn, "use"), "After the draw.")


def _actions(content: Mapping[str, Any]) -> str:
    currency = content["currency"]
    rows = []
    for row in content["actions"]:
        if row["contacts"] == 0:
            continue
        few = row["contacts"] is None
        rows.append(
            [
                escape(row["product_id"]),
                escape(row["channel"]),
                escape(row["level"]),
                "fewer than ten, or hidden" if few else f"{row['contacts']:,}",
                "" if few else escape(money(row["expected_gain"], currency)),
            ]
        )
    heads = ["product", "channel", "level", "contacts", "expected gain"]
    return table(heads, rows, (3, 4)) or "<p>Nobody is contacted.</p>"


def _not_allowed(content: Mapping[str, Any]) -> str:
    rows = [
        [escape(said), f"{content['not_allowed'][name]:,}"]
        for name, said in NOT_ALLOWED.items()
        if content["not_allowed"][name]
    ]
    said = table(["why", "customers"], rows, (1,)) or "<p>Everyone may be contacted by some action.</p>"
    if not content["removed"]:
        return said
    ruled = [[escape(row["rule"]), f"{row['customers']:,}", f"{row['actions']:,}"] for row in content["removed"]]
    heads = ["rule", "customers from whom it removed something", "offers removed"]
    return said + "<p>What rules removed, of what all else had allowed:</p>" + table(heads, ruled, (1, 2))


def _assumed(content: Mapping[str, Any]) -> str:
    rows = [
        [
            escape(channel["channel"]),
            f"{channel['lift']['value']:.0%}",
            f"{channel['lift']['se']:.0%}",
            escape(channel["lift"]["origin"]),
            escape(channel["lift"]["source"]),
        ]
        for channel in content["plan"]["channels"]
        if channel["lift"]
    ]
    if content["plan"]["effect"] == "uplift":
        return (
            "<p>A contact's gain: margin × (effect, less caution) − costs − fatigue. The effects are what the bundle's "
            "part uplift has learned from contacts that chance drew (recsys uplift report).</p>"
        )
    said = (
        "<p>A contact's gain: margin × (chance to acquire × lift of the channel × factor of the level, less caution) − "
        "costs − fatigue. The chance comes from the bundle; the lifts are the plan's.</p>"
    )
    return said + table(["channel", "lift of the chance", "standard error", "origin", "source"], rows, (1, 2))
