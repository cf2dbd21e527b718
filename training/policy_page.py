"""The report of a policy's value as one HTML page."""

from collections.abc import Mapping
from html import escape
from typing import Any

from recsys.campaigns.ope.estimators import TITLES
from recsys.pages.page import document, figure
from recsys.segment_cards.labels import percent
from training import policy_plots as plots
from training.segment_tables import section, table

SHOWN = 60
"""Actions that are listed, the most drawn first."""
MEANINGS = {
    "Off-policy": "The decisions were drawn by another policy. Those that this policy would make, too, are weighted by "
    "how much more often it would make them.",
    "Effective sample size": "How many decisions drawn by the policy itself would be as sure an answer as the weighted "
    "ones are.",
    "DM": "A model of the reward answers for every action. Its interval leaves out what the model gets wrong, so it "
    "never decides.",
    "IPS, SNIPS": "The rewards, weighted. SNIPS divides by the weights that came about instead of their number.",
    "DR": "The model's answer, corrected by the weighted errors it makes where the outcome is known: right if either "
    "the propensities or the model are.",
    "Switch-DR, DRos": "DR with large weights left out, or shrunk, as far as an estimate of the squared error gains by "
    "it.",
    "Release": "A policy is released if the lower bound of its gain over the policy in force is above 0.",
}

Row = Mapping[str, Any]


def page(content: Row) -> str:
    """The whole page."""
    sections = {
        "glance": ("At a glance", _glance(content)),
        "value": ("What it would have earned", _value(content)),
        "overlap": ("Can the log tell?", _overlap(content["overlap"])),
        "actions": ("What was done, and what would be", _actions(content)),
        "meaning": ("What these numbers mean", _meaning()),
    }
    shown = {key: (title, body) for key, (title, body) in sections.items() if body}
    source = "contacts of campaign " + content["asked"]["campaign"] if content["asked"]["campaign"] else "decisions"
    lead = (
        f"Policy: <b>{escape(content['policy']['candidate'])}</b>, on {content['decisions']:,} logged "
        f"{escape(source)} of {content['customers']:,} customers. Reward: {escape(content['asked']['reward'])}."
    )
    note = f"Lake {content['lake']['source']}, version {content['lake']['version']}. Seed {content['seed']}."
    return document(
        "What would this policy have earned?",
        lead,
        note,
        [(key, title) for key, (title, _) in shown.items()],
        [section(key, title, body) for key, (title, body) in shown.items()],
    )


def _glance(content: Row) -> str:
    if content["overlap"]["refused"]:
        listed = "".join(f"<li>{escape(reason)}</li>" for reason in content["overlap"]["refused"])
        return (
            "<p class='headline'><b>This log cannot tell.</b> No value is given, because any would be a guess. What is "
            f"missing:</p><ul>{listed}</ul>"
        )
    chosen = content["policy"]["estimator"]
    one, gain = content["estimates"][chosen], content["gain"]
    parts = [f"<p class='headline'><b>{escape(_capital(content['verdict']))}.</b></p>"]
    parts.append(
        f"<p>By {TITLES[chosen]} it would have earned {_amount(content, one['value'])} a decision, 95 % interval "
        f"{_amount(content, one['low'])} to {_amount(content, one['high'])}. The log earned "
        f"{_amount(content, content['logged_value'])}.</p>"
    )
    if gain is not None:
        parts.append(
            f"<p>Gain over the policy in force: {_amount(content, gain['value'], '+')}, 95 % interval "
            f"{_amount(content, gain['low'], '+')} to {_amount(content, gain['high'], '+')}.</p>"
        )
    return "".join(parts)


def _value(content: Row) -> str:
    if not content["estimates"]:
        return ""
    unit, scale = (
        (f"{content['currency']} a decision", 0.01) if content["currency"] else ("% of decisions rewarded", 100.0)
    )
    chosen = content["policy"]["estimator"]
    picture = plots.values(content["estimates"], content["logged_value"], chosen, unit, scale)
    rows = [
        (
            escape(TITLES[name]) + (" <span class='soft small'>decides</span>" if name == chosen else ""),
            _amount(content, one["value"]),
            f"{_amount(content, one['low'])} to {_amount(content, one['high'])}",
            f"{_amount(content, one['bootstrap_low'])} to {_amount(content, one['bootstrap_high'])}",
            "" if one["tuned"] is None else f"{one['tuned']:.3g}",
        )
        for name, one in content["estimates"].items()
    ]
    heads = ("Estimator", "Value a decision", "95 % interval", "by bootstrap", "tuned")
    return figure(picture, "Every estimator with its 95 % interval by the influence function.") + table(
        heads, rows, numbers=(1, 2, 3, 4)
    )


def _overlap(found: Row) -> str:
    rows = [
        ("Decisions", f"{found['decisions']:,}"),
        ("Effective sample size", f"{found['effective']:,.1f}"),
        ("Effective number of rewarded decisions", f"{found['rewarded']:,.1f}"),
        ("Largest share of the weight that one customer has", percent(found["largest"])),
        ("Mean weight, which should be 1", f"{found['mean_weight']:.3f} ± {found['mean_weight_error']:.3f}"),
        ("Share of the policy on actions that were never drawn", percent(found["unsupported"])),
        ("Decisions that chance drew", percent(found["drawn_by_chance"])),
    ]
    return table(("", ""), rows, numbers=(1,))


def _actions(content: Row) -> str:
    listed = sorted(content["actions"], key=lambda row: (-row["drawn"], row["action"]))[:SHOWN]
    rows = [
        (
            escape(row["action"]),
            f"{row['drawn']:,}",
            percent(row["drawn"] / content["decisions"]),
            percent(row["policy_share"]),
            f"{row['least_propensity']:.2g}",
            _amount(content, row["mean_reward"]),
        )
        for row in listed
    ]
    heads = ("Action", "Drawn", "of the log", "of the policy", "least propensity", "earned when drawn")
    more = len(content["actions"]) - len(listed)
    rest = f"<p class='soft small'>{more} more are in the JSON.</p>" if more > 0 else ""
    return table(heads, rows, numbers=(1, 2, 3, 4, 5)) + rest


def _meaning() -> str:
    return (
        "<dl>" + "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in MEANINGS.items()) + "</dl>"
    )


def _amount(content: Row, value: float, sign: str = "") -> str:
    if content["currency"]:
        return f"{value / 100:{sign},.2f} {escape(content['currency'])}"
    return f"{100 * value:{sign}.2f}{' points' if sign else ' %'}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
