"""The report of campaigns as one HTML page: the verdict first, then figures, pictures, costs and warnings."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from recsys.campaigns.kpis import FUNNEL, by_name
from recsys.pages.page import document, figure
from training import campaign_plots as plots
from training.segment_tables import HIDDEN, details, section, table
from training.value_page import cash as in_currency

Row = Mapping[str, Any]
Money = Callable[[float | None], str]
FIRST = 12
"""Campaigns that are told one by one in full; of more, the rest is a table."""
MEANINGS = {
    "Effect": "What the campaign added: the outcome of those who were to be contacted less that of the control. "
    "Figures in brackets are a 95 % interval: of intervals made in this way, 19 of 20 contain the true effect.",
    "It cannot be told": "The interval holds zero, or the log does not allow a comparison. It does not mean that there "
    "was no effect.",
    "Newcombe": "Interval of a difference of two shares (1998, method 10).",
    "CUPED": "What a customer did before the contact is taken out of the outcome. It narrows the interval and moves "
    "nothing on average.",
    "Always-valid": "A wider interval that stays right however often one looks, also before the end (confidence "
    "sequence of Waudby-Smith et al.).",
    "AIPW": "For campaigns that chose whom to contact: every customer is weighted by the chance with which they were "
    "contacted, and predictions from other customers take out what is known of them. Hájek's estimate uses the chances "
    "alone. The plain difference is shown because it is wrong here.",
    "Effective sample size": "How many customers the weights are worth.",
    "Sample-ratio check": "Whether the arms are as large as their chances make one expect. If not (p below 0.001), "
    "something is broken and no verdict is given.",
    "Clear": "Still beyond chance when all rows of its table are tested together (Benjamini-Hochberg, 5 %).",
    "Incremental ROI": "(margin that would not have come otherwise − cost) / cost. 0 means that the costs came back. "
    "Ratios have Fieller's interval; where the denominator may be zero there is none.",
    "Attributed ROI": "Credits the campaign with everything that those contacted bought, whether or not they would "
    "have bought anyway. For comparison with other reports only.",
    "Hidden": "A figure that tells of fewer than ten customers, and others from which it could be worked out.",
}


def page(content: Mapping[str, Any]) -> str:
    """The whole page."""
    campaigns, cash = content["campaigns"], _cash(content)
    sections = {
        "glance": ("Did it work?", _glance(content)),
        "effects": ("Effects beside each other", _beside(campaigns)),
        "funnel": ("The funnel", _funnel(content["kpis"])),
        "money": ("What it cost and earned", _money(campaigns, _cash(content, bare=True), _unit(content))),
        "forecast": ("What to expect of the next one", _forecast(content["forecast"])),
        "figures": ("Key figures", _figures(content["kpis"], cash)),
        "segments": ("By segment", _segments(campaigns)),
        "by": ("Key figures by campaign, channel and time", _by(content, cash)),
        "details": ("Campaign by campaign", _each(campaigns)),
        "meaning": ("What these numbers mean", _meaning()),
    }
    shown = {key: (title, body) for key, (title, body) in sections.items() if body}
    links = [(key, title) for key, (title, _) in shown.items()]
    source = content["lake"]["source"] or "the lake"
    lead = f"{len(campaigns):,} campaign{'s' if len(campaigns) > 1 else ''}, {content['customers']:,} customers."
    asked = content["asked"]
    note = f"Lake version {content['lake']['version']}; outcome {asked['outcome']}"
    note += f", within {asked['days']} days of the contact" if not asked["outcome"].startswith("contacts.") else ""
    note += f"; covariate {content['covariate']}." if content["covariate"] else "."
    return document(f"Campaigns of {source}", lead, note, links, [section(key, *both) for key, both in shown.items()])


def _glance(content: Mapping[str, Any]) -> str:
    parts = [f'<p class="headline">{escape(content["overview"])}</p>'] if content["overview"] else []
    for one in content["campaigns"][:FIRST]:
        parts.append(
            f'<p class="headline"><b>{escape(one["campaign"])}</b> {escape(one["verdict"])}</p>'
            f'<p class="soft">{escape(one["money"])}</p>'
        )
    if len(content["campaigns"]) > FIRST:
        rows = [(escape(one["campaign"]), escape(one["verdict"])) for one in content["campaigns"][FIRST:]]
        parts.append(details("The other campaigns", table(("Campaign", "Verdict"), rows)))
    refused = [one for one in content["campaigns"] if one["refused"]]
    if refused:
        items = "".join(f"<li>{escape(text)}</li>" for text in refused[0]["next_time"])
        parts.append(f"<h3>So that the next one can be told</h3><ul>{items}</ul>")
    return "\n".join(parts)


def _beside(campaigns: Sequence[Row]) -> str:
    rows, amounts = [], False
    for one in campaigns:
        for arm in one["arms"]:
            found = arm["watched"] if one["watching"] else arm["best"]
            name = one["campaign"] if len(one["arms"]) == 1 else f"{one['campaign']}, {arm['arm']}"
            rows.append((f"{name} ({one['status']})", found, bool(arm["called"])))
        amounts = amounts or one["amounts"]
    if not rows:
        return ""
    unit = "added per customer assigned" if amounts else "added per 100 customers assigned"
    said = "Green: it worked. Red: it did harm. Grey: it cannot be told."
    said += f" The first {plots.MOST} are drawn." if len(rows) > plots.MOST else ""
    return figure(plots.effects(rows, "effects", 1 if amounts else 100, unit), said)


def _funnel(kpis: Sequence[Row]) -> str:
    found = by_name(kpis)
    texts = ("Reach", "Engagement", "Consideration", "Conversion", "Loyalty")
    stages = [
        (text, found[name])
        for text, name in zip(texts, FUNNEL, strict=True)
        if name in found and found[name]["value"] is not None
    ]
    if len(stages) < 2:
        return ""
    said = (
        "Each bar is a share of those of whom it is known: of everybody drawn for reach, of contacted customers for "
        "the rest. Conversion counts those who would have converted anyway; loyal are those who converted and were "
        "active in the window after."
    )
    return figure(plots.funnel(stages), said)


def _money(campaigns: Sequence[Row], cash: Money, unit: str) -> str:
    told = [one for one in campaigns if one["roi"]]
    rows = []
    for one in told:
        roi, name = one["roi"], escape(one["campaign"])
        money = [cash(roi["cost"]["value"]), *(_interval(roi[key], cash, True) for key in ("margin", "net"))]
        each = _ratio(roi["per_conversion"], cash, True)
        rows.append(
            (name, *money, _ratio(roi["roi"], lambda v: f"{v:+.2f}", True), each, f"{roi['attributed_roi']:+.2f}")
        )
    heads = ("Campaign", f"Cost{unit}", "Incremental margin", "Net", "Incremental ROI", "Cost per extra conversion",
             "Attributed ROI")  # fmt: skip
    body = table(heads, rows, (1, 2, 3, 4, 5, 6))
    bounded = [
        f"<li>{escape(one['campaign'])}: {escape(said)}</li>" for one in told if (said := one["money_winsorised"])
    ]
    if bounded:
        body += (
            "<p>A few customers who bring very much can decide a return. So it is told again with no customer counting "
            "for more than a bound that was fixed as a quantile before the campaign; where the two differ in sign, the "
            f"large sales decide.</p><ul>{''.join(bounded)}</ul>"
        )
    without = [one for one in campaigns if not one["roi"]]
    if without:
        items = "".join(f"<li>{escape(one['campaign'])}: {escape(one['roi_refused'])}</li>" for one in without)
        body += (
            details(f"Not told for {len(without):,} campaigns", f"<ul>{items}</ul>") if told else f"<ul>{items}</ul>"
        )
    if told:
        curves = [(one["campaign"], one["roi"]["above"]) for one in told]
        said = "How likely the incremental return exceeds what is asked for. The dashed line is 95 %."
        body += figure(plots.acceptability(curves), said)
    return body


def _forecast(found: Row | None) -> str:
    if found is None:
        return ""
    said = f"<p>{escape(found['sentence'])}</p>"
    if found["skill"]:
        skill = _interval(found["skill"], lambda v: f"{v:.2f}")
        said += (
            f'<p class="soft">Skill {skill}: 0 is no better than the mean of past campaigns, 1 is perfect; each was '
        )
        said += "foretold from the others.</p>"
    return said


def _figures(kpis: Sequence[Row], cash: Money) -> str:
    rows = [
        (
            escape(row["text"]),
            _kpi(row, cash),
            f"{escape(row['numerator']['text'])}: {row['numerator']['value']:,.0f}",
            f"{escape(row['denominator']['text'])}: {row['denominator']['value']:,.0f}",
            escape(row["population"]),
            f'<span class="soft small">{escape(row["method"])}</span>',
        )
        for row in kpis
    ]
    heads = ("Figure", "Value", "Numerator", "Denominator", "Population", "Interval")
    said = f"<p>Window: {kpis[0]['window_days']} days from the first contact.</p>" if kpis else ""
    return said + table(heads, rows, (1,))


def _segments(campaigns: Sequence[Row]) -> str:
    parts: list[str] = []
    for one in campaigns[:FIRST]:
        rows = one["segments"]
        if not rows:
            continue
        several = len(one["arms"]) > 1
        named = [
            (
                f"{row['by'].replace('_', ' ')}: {row['segment']}" + (f", {row['arm']}" if several else ""),
                row,
                row["clear"],
            )
            for row in rows
            if row["low"] is not None
        ]
        clear = sum(row["clear"] for row in rows)
        said = f"{clear} of {len(rows)} are clear of chance when all are tested together; the others are grey."
        unit = "added per customer assigned" if one["amounts"] else "added per 100 customers assigned"
        picture = plots.effects(named, f"segments-{len(parts)}", 1 if one["amounts"] else 100, unit)
        parts.append(f"<h3>{escape(one['campaign'])}</h3>" + figure(picture, said))
    return "\n".join(parts)


def _by(content: Mapping[str, Any], cash: Money) -> str:
    shown = [
        ("reach", "Reach"), ("engagement", "Engagement"), ("ctr_unique", "Clicked"), ("lead_rate", "Leads"),
        ("conversion", "Conversion"), ("conversion_control", "of the control"), ("retention", "Retention"),
        ("opt_outs", "Opt-outs per 1,000"), ("cost_per_conversion", "Cost per conversion"),
        ("customer_value", "Revenue per converter"),
    ]  # fmt: skip
    parts = []
    for by, groups in content["by"].items():
        rows = []
        for group in groups:
            found = by_name(group["kpis"])
            cells = [_kpi(found[name], cash) if name in found else "" for name, _ in shown]
            rows.append((escape(group["value"]), f"{group['customers']:,}", *cells))
        heads = (by.replace("_", " "), "Customers", *(text for _, text in shown))
        parts.append(details(f"By {by.replace('_', ' ')}", table(heads, rows, range(1, len(heads)))))
    return "\n".join(parts)


def _each(campaigns: Sequence[Row]) -> str:
    return "\n".join(details(one["campaign"], _campaign(one)) for one in campaigns)


def _campaign(one: Row) -> str:
    parts = [f"<p>{escape(one['verdict'])}</p>"]
    sizes = [
        (escape(str(row["arm"])), f"{row['assigned']:,}", f"{row['contacted']:,}", f"{row['with_outcome']:,}")
        for row in one["sizes"]
    ]
    parts.append(table(("Arm", "Assigned", "Contacted", "With the outcome"), sizes, (1, 2, 3)))
    said: Callable[[float], str] = (lambda v: f"{v:+,.4g}") if one["amounts"] else (lambda v: f"{100 * v:+.2f}")
    rows = []
    for arm in one["arms"]:
        named = (("verdict", "best"), ("as observed", "plain"), ("CUPED", "cuped"), ("Hájek", "hajek"))
        for text, key in (*named, ("always valid", "watched")):
            if key in arm:
                method = f'<span class="soft small">{escape(arm[key]["method"])}</span>'
                rows.append((escape(arm["arm"]), text, _interval(arm[key], said), method))
        p = "" if arm["adjusted_p"] is None else f"{arm['adjusted_p']:.2g}"
        rows.append((escape(arm["arm"]), "relative", _ratio(arm["relative"], lambda v: f"{100 * v:+.0f} %"), f"p {p}"))
    unit = "amount per customer" if one["amounts"] else "points"
    parts.append(table(("Arm", "Estimate", f"Effect, {unit}", "Method"), rows, (2,)))
    if one["sample_ratio"]:
        parts.append(f"<p>Sample-ratio check: p = {one['sample_ratio']['p']:.2g}.</p>")
    if one["overlap"]:
        effective = ", ".join(f"{n:,.0f}" for n in one["overlap"]["effective"])
        counts = ", ".join(f"{n:,}" for n in one["overlap"]["counts"])
        parts.append(f"<p>Effective sample sizes {effective} of {counts} customers in the arms.</p>")
    parts += [f"<p>Warning: {escape(text)}.</p>" for text in one["warnings"]]
    return "\n".join(parts)


def _kpi(row: Row, cash: Money) -> str:
    if row.get("hidden"):
        return HIDDEN
    if row["kind"] == "share":
        return _interval(row, lambda v: f"{100 * v:.1f}%")
    if row["kind"] in ("money", "price"):
        if row["value"] is None and row["low"] is not None:
            return f"at least {cash(row['low'])}"
        return _interval(row, cash)
    return _interval(row, lambda v: f"{v:,.3g}")


def _interval(found: Row, said: Callable[[float], str], below: bool = False) -> str:
    """A value with its interval beside it or below it, HTML."""
    if found["value"] is None:
        return '<span class="soft">not known</span>'
    if found["low"] is None or found["high"] is None:
        return f"{said(found['value'])} <span class='soft small'>(no interval)</span>"
    apart = "<br>" if below else " "
    return f"{said(found['value'])}{apart}<span class='soft small'>[{said(found['low'])}, {said(found['high'])}]</span>"


def _ratio(found: Row, said: Callable[[float], str], below: bool = False) -> str:
    if found["shape"] == "rays" and found["at_least"] is not None and found["at_least"] > 0:
        return f"at least {said(found['at_least'])}, if anything"
    if found["shape"] != "interval":
        return '<span class="soft">not known</span>'
    return _interval(found, said, below)


def _cash(content: Mapping[str, Any], bare: bool = False) -> Money:
    """How amounts are written; `bare` leaves the currency out. An attribute of customers has no minor units."""
    if content["asked"]["randomised"]:
        return lambda v: "not known" if v is None else f"{v:,.2f}"
    currency = content["currency"]
    left_out = f" {currency}" if currency else " (minor units)"
    return lambda v: in_currency(v, currency).removesuffix(left_out if bare else "")


def _unit(content: Mapping[str, Any]) -> str:
    """The unit of amounts, for a heading."""
    return "" if content["asked"]["randomised"] else f", {content['currency'] or 'minor units'}"


def _meaning() -> str:
    return "<dl>" + "".join(f"<dt>{escape(t)}</dt><dd>{escape(text)}</dd>" for t, text in MEANINGS.items()) + "</dl>"
