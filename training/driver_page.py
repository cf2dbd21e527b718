"""The report of drivers as one HTML page."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from recsys.drivers.advice import TIERS
from recsys.drivers.outcome import DAYS
from recsys.pages.page import document, figure
from recsys.segment_cards.labels import percent
from training import driver_plots as plots
from training.segment_tables import HIDDEN, bar, details, section, table

SHOWN = 18
"""Drivers in the plot of sizes, and columns in that of importances."""
TIER_TEXT = {
    "randomised": "Chance decided who got it. The difference is its effect.",
    "adjusted": "Customers alike in everything else that the lake holds are compared. What it does not hold may still "
    "be behind the difference.",
    "predictive": "It goes with the outcome. It tells whom to address, not what changing it would do.",
}
MEANINGS = {
    "AUC": "How often a customer with the outcome is ranked above one without, over random splits by customer. 0.5 is "
    "a coin, 1 is perfect.",
    "Glass box": "Boosted trees that look at one column each: the model is a sum of the curves that are drawn. What it "
    "gives away against the black box, which may combine columns, is its cost.",
    "Importance": "AUC that the black box loses when a column is shuffled among customers it never saw. Two columns "
    "that say the same share it. The rank is over 15 splits: stable means in the first ten in four of five.",
    "Points": "Percentage points of the outcome's rate, with the 95 % interval in brackets. A direction is told only "
    "where it holds up when all rows are tested together (Benjamini-Hochberg, 5 %).",
    "Overlap": "Share of the rows that have others like them on the other side of the comparison. The adjusted effect "
    "is of these.",
    "E-value": "How strongly something unseen would have to go with both the driver and the outcome, as a ratio of "
    "risks, to explain the effect away. Near 1 is fragile.",
    "Shrunk": "Rates of small groups are drawn to the rate of all, as far as the groups do not really differ. Rank "
    "groups by these.",
    "Hidden": "Groups are hidden whose rate tells of fewer than ten customers with the outcome or without it.",
}

Row = Mapping[str, Any]


def page(content: Mapping[str, Any]) -> str:
    """The whole page."""
    drivers = content["drivers"]
    clear = [row for row in drivers if row["direction"] != "unclear"]
    sections = {
        "glance": ("At a glance", _glance(content, clear)),
        "table": ("The drivers", _drivers(drivers, clear)),
        "try": ("What to try", _tries(clear)),
        "models": ("What the models see", _models(content)),
        "rates": ("Rates", _rates(content["rates"])),
        "meaning": ("What these numbers mean", _meaning(content)),
    }
    shown = {key: (title, body) for key, (title, body) in sections.items() if body}
    only = f", in campaigns with {escape(content['outcome']['campaigns'])}" if content["outcome"]["campaigns"] else ""
    lead = (
        f"Outcome: {escape(content['outcome']['text'])}{only}. It came about in {percent(content['rate'])} of "
        f"{content['units']:,} rows of {content['customers']:,} customers."
    )
    note = f"Lake {content['lake']['source']}, version {content['lake']['version']}. Seed {content['seed']}."
    return document(
        f"What drives {content['outcome']['text']}",
        lead,
        note,
        [(key, title) for key, (title, _) in shown.items()],
        [section(key, title, body) for key, (title, body) in shown.items()],
    )


def _glance(content: Mapping[str, Any], clear: Sequence[Row]) -> str:
    said = "".join(f"<li><b>{_title(row)}</b> {escape(_said(row))}</li>" for row in clear[:6])
    head = f"<ul>{said}</ul>" if said else "<p>No driver stands out beyond chance.</p>"
    tiers = "".join(f"<dt>{_tier(tier)}</dt><dd>{escape(TIER_TEXT[tier])}</dd>" for tier in TIERS)
    return f"{head}<h3>Three kinds of knowledge</h3><dl>{tiers}</dl>"


def _drivers(drivers: Sequence[Row], clear: Sequence[Row]) -> str:
    parts = []
    drawn = list(clear or drivers)[:SHOWN]
    if drawn:
        said = "Effects in points, as far as each kind of knowledge goes. Where the colours disagree, believe green."
        parts.append(figure(plots.sizes(drawn), said))
    unclear = [row for row in drivers if row["direction"] == "unclear"]
    parts.append(_table(clear))
    parts.append(details(f"{len(unclear)} more that chance alone could explain", _table(unclear)))
    return "".join(parts)


def _table(rows: Sequence[Row]) -> str:
    heads = ("Driver", "Knowledge", "Direction", "Randomised", "Adjusted", "As observed", "AUC lost", "Rank")
    cells = []
    for row in rows:
        adjusted = row["adjusted"] or {}
        told = "".join(f'<div class="small"><b>Warning:</b> {escape(text)}</div>' for text in row["warnings"])
        extra = []
        if adjusted.get("value") is not None:
            extra.append(f"overlap {percent(adjusted['overlap'])}")
            if adjusted["e_value"] is not None:
                extra.append(f"E-value {adjusted['e_value']:.1f}")
        more = f'<div class="soft small">{", ".join(extra)}</div>' if extra else ""
        cells.append(
            (
                f'<div style="min-width:13rem">{_title(row)}{told}</div>',
                _tier(row["tier"]),
                escape(row["direction"]),
                _points(row["randomised"]),
                _points(adjusted) + more,
                _points(row["predictive"]["observed"]),
                _lost(row["predictive"]["auc_lost"]),
                _rank(row["predictive"]),
            )
        )
    return table(heads, cells, numbers=(3, 4, 5, 6, 7))


def _tries(clear: Sequence[Row]) -> str:
    levers = [row for row in clear if row["lever"]]
    others = [row for row in clear if not row["lever"]]
    heads = ("Driver", "Knowledge", "To try", "Did it work?")
    each = [
        [(_title(r), _tier(r["tier"]), escape(r["approach"]), escape(r["kpi"])) for r in rows]
        for rows in (levers, others)
    ]
    parts = []
    if levers:
        parts.append(f"<h3>What the bank can change</h3>{table(heads, each[0])}")
    if others:
        parts.append(f"<h3>Whom to address</h3>{table(heads, each[1])}")
    return "".join(parts)


def _models(content: Mapping[str, Any]) -> str:
    found = content["validation"]
    names = {"black_box": "Black box", "glass_box": "Glass box", "cost": "What the glass box costs"}
    rows = [
        (names[key], f"{v[0]:.3f} <span class='soft small'>({v[1]:.3f} to {v[2]:.3f})</span>")
        for key, v in found.items()
    ]
    parts = [f"<p>Learned from {content['learned_from']:,} rows.</p>", table(("Model", "AUC"), rows)]
    important = [row for row in content["importances"] if (row["auc_lost"][0] or 0) > 0][:SHOWN]
    if important:
        parts.append(
            figure(plots.importances(important), "Importance in the black box, with intervals over 15 splits.")
        )
    drawn = [one for one in content["curves"] if len(one["points"]) > 1]
    if drawn:
        said = (
            "The glass box: what each value adds to the log-odds of the outcome. Points are of ten customers or more."
        )
        parts.append(figure(plots.curves(drawn), said))
    return "".join(parts)


def _rates(rates: Sequence[Row]) -> str:
    parts = []
    for told in rates:
        title = " and ".join(told["text"])
        if len(told["by"]) == 2:
            said = "Shrunk rates; groups that are hidden or absent are empty."
            parts.append(f"<h3>By {escape(title)}</h3>{figure(plots.rate_map(told), said)}")
            continue
        rows, top = [], max([row["shrunk"][0] for row in told["rows"] if "shrunk" in row], default=1.0) or 1.0
        for row in sorted(told["rows"], key=lambda r: _place(told["by"][0], r["value"][0])):
            if row.get("hidden"):
                rows.append((escape(row["value"][0]), HIDDEN, "", "", ""))
                continue
            own, drawn = row["rate"], row["shrunk"]
            rows.append(
                (
                    escape(row["value"][0]),
                    f"{row['rows']:,}",
                    f"{percent(own[0])} <span class='soft small'>({percent(own[1])} to {percent(own[2])})</span>",
                    percent(drawn[0]),
                    bar(drawn[0] / top, min(told["overall"] / top, 1.0)),
                )
            )
        heads = (title.capitalize(), "Rows", "Rate", "Shrunk", "")
        parts.append(f"<h3>By {escape(title)}</h3>{table(heads, rows, numbers=(1, 2, 3))}")
    return "".join(parts)


def _place(by: str, value: str) -> tuple[int, str]:
    if by == "weekday" and value in DAYS:
        return DAYS.index(value), ""
    return (int(value), "") if value.isdigit() else (0, value)


def _meaning(content: Mapping[str, Any]) -> str:
    terms = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in MEANINGS.items())
    notes = []
    trials = content["trials"]
    if trials["used"]:
        notes.append(f"Chance decided in {len(trials['used'])} campaigns, with the chances that the lake has logged.")
    notes += [
        f"Campaign {name} is left out of what chance has shown: {why}." for name, why in trials["left_out"].items()
    ]
    if content["as_of_today"]:
        listed = ", ".join(content["as_of_today"])
        notes.append(f"Known only as they are today, whatever the row's day: {listed}.")
    if (content["share"] or 1) < 1:
        notes.append(f"A sample of {percent(content['share'])} of the customers was looked at.")
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<dl>{terms}</dl>" + (f"<h3>About this report</h3><ul>{listed}</ul>" if notes else "")


def _title(row: Row) -> str:
    against = f' <span class="soft small">against {escape(row["against"])}</span>'
    side = "" if row["side"] == "yes" else f": {escape(row['side'])}"
    return escape(row["text"]) + side + ("" if row["side"] == "yes" else against)


def _said(row: Row) -> str:
    return f"{row['direction']} it. {row['in_words']}"


def _tier(tier: str) -> str:
    colour = {"randomised": plots.COLOURS[2], "adjusted": plots.COLOURS[0], "predictive": plots.COLOURS[9]}[tier]
    return f'<span class="chip" style="background:{colour}">{tier}</span>'


def _points(effect: Row | None) -> str:
    if not effect or effect.get("value") is None:
        return ""
    value = f"{100 * effect['value']:+.1f}"
    if effect["low"] is None:
        return value
    return f"{value} <span class='soft small'>({100 * effect['low']:+.1f} to {100 * effect['high']:+.1f})</span>"


def _lost(lost: Sequence[float] | None) -> str:
    return "" if lost is None or lost[0] is None else f"{lost[0]:.4f}"


def _rank(predictive: Row) -> str:
    rank = predictive["rank"]
    if rank is None:
        return ""
    stable = "" if predictive["stable"] else " <span class='soft small'>unstable</span>"
    return f"{rank[0]:.0f} <span class='soft small'>({rank[1]:.0f} to {rank[2]:.0f})</span>{stable}"
