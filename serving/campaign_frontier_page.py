"""The frontier of a campaign plan as one HTML page: what more budget brings, and where it stops paying."""

from collections.abc import Mapping
from html import escape
from typing import Any

from recsys.pages.page import document, figure
from recsys.pages.svg import COLOURS, INK, one_plot, svg
from recsys.pages.tables import section, table
from recsys.segment_cards.labels import WHOLE_CURRENCIES, money


def frontier_page(content: Mapping[str, Any]) -> str:
    """The whole page."""
    sections = [
        ("spend", "What more budget brings", _spend(content)),
        ("marginal", "Where it stops paying", _marginal(content)),
        ("channels", "By channel", _parts(content, "channels")),
        ("segments", "By segment", _parts(content, "segments")),
        ("levels", "What a personal contact is worth", _levels(content)),
    ]
    kept = [one for one in sections if one[2]]
    stops, currency = content["stops_paying_at"], content["currency"]
    lead = f"The plan for {content['customers']:,} customers, solved again at {len(content['points'])} budgets."
    if stops is not None:
        lead += f" More than {escape(money(stops, currency))} no longer pays."
    note = f"Bundle {content['bundle_id']}, lake version {content['lake']['version']}; before hold-out and exploration."
    links = [(key, title) for key, title, _ in kept]
    return document(f"Frontier: {content['plan']['name']}", lead, note, links, [section(*one) for one in kept])


def _unit(content: Mapping[str, Any]) -> float:
    return 1.0 if content["currency"] is None or content["currency"] in WHOLE_CURRENCIES else 100.0


def _spend(content: Mapping[str, Any]) -> str:
    points, unit, currency = content["points"], _unit(content), content["currency"]
    drawn, axes = one_plot(7.2, 3.4)
    spend = [point["spend"] / unit for point in points]
    axes.plot(spend, [p["incremental_margin"] / unit for p in points], "o-", color=COLOURS[0], label="margin")
    axes.plot(spend, [p["expected_gain"] / unit for p in points], "o-", color=COLOURS[1], label="margin less spend")
    axes.plot(spend, spend, "--", color=INK, linewidth=1, label="spend")
    axes.set_xlabel(f"spend, {currency or 'minor units'}")
    axes.set_ylabel(f"incremental, {currency or 'minor units'}")
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    rows = [
        [
            escape(money(point["budget"], currency)),
            escape(money(point["spend"], currency)),
            escape(money(point["incremental_margin"], currency)),
            escape(money(point["expected_gain"], currency)),
            f"{point['marginal_roi']:.2f}",
            f"{point['gap']:.1e}",
        ]
        for point in points
    ]
    heads = ["budget", "spend", "incremental margin", "less spend", "marginal ROI", "gap to the bound"]
    said = "Every point is the best plan at that budget, the other limits as they are."
    without = "".join(
        f"<p class='soft'>Not at {escape(money(one['budget'], currency))}: {escape(one['why'])}.</p>"
        for one in content["impossible"]
    )
    return figure(svg(drawn, "spend"), said) + table(heads, rows, range(6)) + without


def _marginal(content: Mapping[str, Any]) -> str:
    points, unit, currency = content["points"], _unit(content), content["currency"]
    drawn, axes = one_plot(7.2, 2.8)
    axes.step(
        [point["budget"] / unit for point in points],
        [point["marginal_roi"] for point in points],
        where="post",
        color=COLOURS[2],
    )
    axes.axhline(0, color=INK, linewidth=1)
    axes.set_xlabel(f"budget, {currency or 'minor units'}")
    axes.set_ylabel("marginal ROI")
    stops = content["stops_paying_at"]
    said = "What one more unit of money brings at each budget, its own cost taken off: the price of the budget. "
    said += (
        f"From {money(stops, currency)} on another unit brings nothing: other limits bind, or nobody is left."
        if stops is not None
        else "At the largest budget tried another unit still pays."
    )
    return figure(svg(drawn, "marginal"), said)


def _parts(content: Mapping[str, Any], key: str) -> str:
    points, unit, currency = content["points"], _unit(content), content["currency"]
    names = list(points[0][key])
    if not names:
        return ""
    drawn, axes = one_plot(7.2, 3.2)
    for place, name in enumerate(names):
        margin = [point[key][name]["incremental_margin"] / unit for point in points]
        axes.plot([p["budget"] / unit for p in points], margin, "o-", color=COLOURS[place % len(COLOURS)], label=name)
    axes.set_xlabel(f"budget, {currency or 'minor units'}")
    axes.set_ylabel("incremental margin")
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    return figure(svg(drawn, key), "Where each budget's margin comes from.")


def _levels(content: Mapping[str, Any]) -> str:
    unit, currency = _unit(content), content["currency"] or ""
    rows = [
        [
            escape(level["level"]),
            f"× {level['factor']:g}",
            f"{level['cost'] / unit:,.2f} {currency}",
            f"{level['contacts']:,}",
            f"{level['gain_alone'] / unit:,.2f} {currency}",
            f"{(level['gain_with_all'] - level['gain_without']) / unit:,.2f} {currency}",
        ]
        for level in content["levels"]
    ]
    heads = ["level", "effect", "cost of a contact", "contacts", "plan's gain with it alone", "lost without it"]
    return table(heads, rows, range(1, 6))
