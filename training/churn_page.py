"""The report of churn as one HTML page."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from recsys.pages.page import document, figure
from recsys.segment_cards.labels import percent, spoken, worded
from training.segment_tables import HIDDEN, section, table
from training.survival_report import survival_section

Content = Mapping[str, Any]
PICTURES = {
    "roc": "Going down from the most likely customer: how many of those who leave are named, and how many who stay. "
    "The dashed line is chance.",
    "pr": "How many of those named do leave, against how many of those who leave are named. The dashed line is chance.",
    "gains": "How many of those who leave are among the customers most likely to. The dashed line is chance.",
    "reliability": "Predicted and real share of leavers in groups of equal size. On the dashed line a probability "
    "means what it says. Bars are 95 % intervals.",
    "costs": "Mean cost of a customer if everybody from a probability on is acted on.",
    "tiers": "Share of each tier that left, with its 95 % interval, and what was predicted.",
    "importance": "How much each group of features moves a customer's log-odds, up or down, on average. Bars are 95 % "
    "intervals over customers.",
    "dependence": "The mean probability if every customer had this value and nothing else were different. Bands are "
    "95 % intervals of the mean.",
}
MEANINGS = {
    "Test customers": "A fifth of the customers, drawn by a hash of the id, of whom training saw nothing. With dates, "
    "they are also seen from a later day than any that training saw.",
    "The range in brackets": "A 95 % interval: of ranges made in this way, 19 of 20 contain the true figure.",
    "AUC": "The chance that a customer who leaves has the higher probability of two, one who leaves and one who stays. "
    "Chance gives 0.5.",
    "PR AUC": "The precision over all levels of recall. Chance gives the share of leavers.",
    "Brier score, log loss": "Mean error of the probabilities; less is better. The base rate, the same probability for "
    "everybody, is what a model has to beat.",
    "Calibration error": "How far the share that leaves is from what was predicted, over fifteen groups of equal size. "
    "A perfect model is not at 0 either, since customers leave by chance: it stays below the figure in brackets "
    "19 times of 20.",
    "Threshold": "From this probability on acting pays. With costs it is false alarm / (false alarm + missed); "
    "without, the one of the best F1 on validation.",
    "Recall, precision, F1": "Recall: of those who leave, how many are acted on. Precision: of those acted on, how "
    "many leave. F1: their harmonic mean.",
    "Concordance": "The chance that, of two customers of whom one left first, that one was thought the more likely to.",
    "Integrated Brier score": "Mean error of the chance of still being there, over the horizons; less is better. Who "
    "is no longer seen is made up for by the others. Kaplan-Meier gives everybody the same chance.",
    "What the model goes by": "Importance and dependence say what the model uses. They do not say what makes customers "
    "leave, nor what would keep them.",
    "Hidden": "Figures of fewer than ten customers, or of fewer than ten who left or stayed, are not shown.",
}
_NAMES = {"auc": "AUC", "pr_auc": "PR AUC", "brier": "Brier score", "log_loss": "Log loss", "ece": "Calibration error"}


def page(content: Content, pictures: Mapping[str, str]) -> str:
    """The whole page; `pictures` are SVG elements by name."""
    about = content["about"]
    sections = [
        ("glance", "At a glance", _glance(content)),
        ("ranking", "Does it find those who leave?", _figures(pictures, "roc", "gains", "pr")),
        ("calibration", "Do the probabilities mean what they say?", _figures(pictures, "reliability")),
        ("decision", "Whom to act on", _decision(content) + _figures(pictures, "costs")),
        ("tiers", "Tiers", _tiers(content["tiers"]) + _figures(pictures, "tiers")),
        *([("survival", "When they leave", survival_section(content["survival"]))] if content["survival"] else []),
        ("groups", "For whom is it right?", _groups(content["groups"])),
        ("why", "What the model goes by", _importance(content) + _figures(pictures, "importance", "dependence")),
        ("models", "What was tried", _candidates(content)),
        ("limits", "What it never read", _limits(about)),
        ("meaning", "What these numbers mean", _meaning()),
    ]
    lead = f"{content['customers']:,} customers of whom training saw nothing; {content['left']:,} of them left."
    note = f"Bundle {content['bundle']}, lake version {content['lake']['version']}. {said(about)}"
    links = [(key, title) for key, title, _ in sections]
    title = f"Who will leave: {content['lake']['source'] or 'the lake'}"
    return document(title, lead, note, links, [section(*one) for one in sections])


def said(about: Content) -> str:
    """What leaving is, in a sentence."""
    if about["label"]:
        return f"Left means that {spoken(about['label'])} is {about['positive']}."
    rule, ways = about["rule"], []
    if rule["accounts_closed"]:
        ways.append("the last open account was closed")
    if rule["inactive_days"]:
        ways.append(f"nothing was done for {rule['inactive_days']} days")
    return f"Left means that {' or '.join(ways)} within {about['horizon_months']} months after the day."


def _glance(content: Content) -> str:
    found = content["measures"]
    rows = []
    for name in ("auc", "pr_auc", "brier", "log_loss"):
        baseline = {"auc": "0.5 by chance", "pr_auc": f"{content['left'] / content['customers']:.3f} by chance"}
        if name in ("brier", "log_loss"):
            baseline[name] = (
                f"{found[f'{name}_of_base_rate']['value']:.4f} for the base rate; "
                f"difference {_interval(found[f'{name}_difference'], '{:+.4f}')}"
            )
        digits = "{:.3f}" if "auc" in name else "{:.4f}"
        rows.append((_NAMES[name], _interval(found[name], digits), baseline[name]))
    ece = found["ece"]
    rows.append((_NAMES["ece"], f"{ece['value']:.4f}", f"a perfect model: up to {ece['by_chance']:.4f}"))
    alone = content["single_column"]
    told = ""
    if alone:
        column = escape(spoken(alone["column"].replace(".", " ")))
        told = (
            f"<p>The best single column, {column}, alone has an AUC of {_interval(alone['auc'], '{:.3f}')}; "
            f"the model's is different by {_interval(alone['difference'], '{:+.3f}')}.</p>"
        )
    days = f"<p>Seen from {', '.join(content['days'])}.</p>" if content["days"] else ""
    return table(("Measure", "Value", "Beside it"), rows) + told + days


def _decision(content: Content) -> str:
    found = content["threshold"]
    why = "the costs" if found["by"] == "costs" else "the best F1 on validation"
    lines = [f"<p>Act on a customer from a probability of <b>{percent(found['probability'])}</b> on, by {why}.</p>"]
    rows = [
        ("Acted on", _share(found["acted_on"])),
        ("Of those who leave, acted on (recall)", _share(found["recall"])),
        ("Of those acted on, who leave (precision)", _share(found["precision"]) if found["precision"] else HIDDEN),
        ("F1", f"{found['f1']:.3f}"),
    ]
    if found["cost"] is not None:
        costs = found["costs"]
        lines.append(
            f"<p>A false alarm costs {costs['false_alarm']:g}, a customer who is missed {costs['missed']:g}.</p>"
        )
        rows += [
            ("Mean cost of a customer", f"{found['cost']:.4f}"),
            ("… if nobody is acted on", f"{found['cost_of_none']:.4f}"),
            ("… if everybody is", f"{found['cost_of_all']:.4f}"),
        ]
    return "".join(lines) + table(("", "On the test customers"), rows)


def _tiers(entries: Sequence[Content]) -> str:
    rows = []
    for entry in entries:
        name, size = escape(str(entry["tier"])), f"{entry['customers']:,}"
        if "value" not in entry:
            rows.append((name, HIDDEN, HIDDEN, HIDDEN, ""))
            continue
        rows.append((name, size, percent(entry["predicted"]), _share(entry), f"{entry['lift']:.1f} ×"))
    return table(("Tier", "Customers", "Predicted", "Left", "Against all"), rows, numbers=(1, 4))


def _groups(groups: Sequence[Content]) -> str:
    if not groups:
        return (
            '<p class="soft">The lake has no attribute with the role group or protected, so nothing is said here.</p>'
        )
    parts = [
        "<p>A model can be right on the whole and wrong for some. Look at values whose calibration interval leaves out "
        "zero, and at different shares of leavers who are found, before a campaign is decided by it.</p>"
    ]
    heads = ("Value", "Customers", "Left", "Predicted − left", "Acted on", "Leavers found", "Stayers disturbed", "AUC")
    for group in groups:
        rows = []
        for entry in group["values"]:
            name = escape(worded(entry["value"]))
            if entry.get("hidden"):
                rows.append((name, *[HIDDEN] * 7))
                continue
            shares = [_share(entry[key]) for key in ("acted_on", "recall", "false_alarms")]
            off = _interval(entry["calibration"], "{:+.3f}")
            rows.append((name, f"{entry['customers']:,}", _share(entry["left"]), off, *shares, f"{entry['auc']:.3f}"))
        role = "protected, never an input unless said so" if group["role"] == "protected" else "a group"
        parts.append(f"<h3>{escape(spoken(group['column']))} <span class='soft small'>({role})</span></h3>")
        parts.append(table(heads, rows, numbers=(1, 7)))
    return "".join(parts)


def _importance(content: Content) -> str:
    rows = [
        (
            escape(str(entry["group"]).replace("_", " ").replace(".", " ")),
            _interval({"value": entry["effect"], "low": entry["low"], "high": entry["high"]}, "{:.3f}"),
            f"{entry['rank_low']:.0f} to {entry['rank_high']:.0f}",
        )
        for entry in content["importance"]
    ]
    return table(("Group of features", "Mean size of effect on the log-odds", "Place"), rows)


def _candidates(content: Content) -> str:
    shares = content["shares"]
    names = ("auc", "pr_auc", "brier", "log_loss", "ece")
    rows = []
    for name, found in content["candidates"].items():
        weight = percent(shares[name]) if name in shares else ""
        cells = [f"{found[measure]:.4f}" if measure in found else "" for measure in names]
        rows.append((escape(name), *cells, weight))
    heads = ("Model", *(_NAMES[name] for name in names), "Share of the blend")
    counted = content["about"]["parts"]
    parts = ", ".join(f"{part}: {one['left']:,} of {one['examples']:,} left" for part, one in counted.items())
    lead = f"<p>On rows that each model was not fitted on ({escape(parts)}). The test customers had no part in it.</p>"
    return lead + table(heads, rows, numbers=range(1, len(heads)))


def _limits(about: Content) -> str:
    late, trusted = escape(", ".join(about["known_afterwards"])), about["trusted"]
    parts = [f"<p>Known only afterwards (role outcome): {late or 'no attribute is so marked'}.</p>"]
    parts.append(
        "<p>Every other column was tried alone on the training part; one with an AUC of .99 or more stops training.</p>"
    )
    if trusted:
        parts.append(
            f"<p>Read although they may tell by themselves, by configuration: {escape(', '.join(trusted))}.</p>"
        )
    return "".join(parts)


def _meaning() -> str:
    return f"<dl>{''.join(f'<dt>{escape(term)}</dt><dd>{escape(text)}</dd>' for term, text in MEANINGS.items())}</dl>"


def _interval(found: Content, form: str) -> str:
    span = f"{form.format(found['low'])} to {form.format(found['high'])}"
    return f"{form.format(found['value'])} <span class='soft small'>({span})</span>"


def _share(found: Content) -> str:
    span = f"{percent(found['low'])} to {percent(found['high'])}"
    return f"{percent(found['value'])} <span class='soft small'>({span})</span>"


def _figures(pictures: Mapping[str, str], *names: str) -> str:
    drawn = [figure(pictures[name], PICTURES[name]) for name in names if name in pictures]
    side = "".join(drawn)
    return f'<div class="two">{side}</div>' if len(drawn) > 1 and names[0] == "roc" else side
