"""The report of uplift as one HTML page, in words that a marketer can act on."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from recsys.pages.page import document, figure
from recsys.segment_cards.labels import percent, spoken
from training.segment_tables import HIDDEN, section, table
from training.uplift_plots import learner_name

Content = Mapping[str, Any]
PICTURES = {
    "served": "Outcomes gained by contacting customers from the highest expected effect down, on contacts that "
    "training saw nothing of. Above the dashed line the ranking beats chance; where the curve falls, contact harms. "
    "The band is a 95 % interval.",
    "deciles": "Ten groups by predicted effect: what was predicted, and what the group showed, with its 95 % interval.",
    "learners": "The learners that were compared, each on customers of the training's contacts that it had not seen. "
    "The one with the least error is served.",
}
MEANINGS = {
    "Effect": "How much more likely the outcome is with the contact than without. It is what chance showed, not what "
    "went with being contacted: each unit is weighted by the logged chance of its arm, and adjusted for what is known.",
    "The range in brackets": "A 95 % interval: of ranges made in this way, 19 of 20 contain the true figure. Where it "
    "holds zero, chance alone could have made the difference.",
    "Qini": "Area between the curve and the dashed line, per contacted customer. 0 is chance. Figures of other "
    "libraries have other scales and cannot be compared with it.",
    "AUUC": "Area under the curve of gained outcomes by share targeted.",
    "AUTOC": "The mean lead of the top over everybody, over all sizes of the top. 0 is chance.",
    "Slope": "How far effects spread for each point by which predictions do. 1 is right, 0 no knowledge of who.",
    "Gain over chance": "Outcomes per 1,000 customers that targeting the top share brings, beyond those of contacting "
    "as many drawn at random.",
    "Harmed": "Customers for whom contact makes the outcome less likely than leaving them alone.",
}


def page(content: Content, pictures: Mapping[str, str]) -> str:
    """The whole page; `pictures` are SVG elements by name."""
    sections = [
        ("glance", "At a glance", _glance(content)),
        ("ranking", "Does the ranking find those whom contact moves?", figure(pictures["served"], PICTURES["served"])),
        ("targeting", "What targeting brings over chance", _targeting(content["served"])),
        (
            "deciles",
            "Are the effects as large as predicted?",
            _deciles(content) + figure(pictures["deciles"], PICTURES["deciles"]),
        ),
        ("harmed", "Whom contact harms", _harmed(content["harmed"])),
        ("actions", "By action", _actions(content["actions"])),
        ("learners", "What was compared", _learners(content) + figure(pictures["learners"], PICTURES["learners"])),
        ("data", "What was learned from", _data(content)),
        ("meaning", "What these numbers mean", _meaning(content)),
    ]
    units = content["units"]
    since = f" of campaigns from {units['from']} on" if units["from"] else ""
    held = f"{units['control']:,} held back"
    lead = f"{units['contacted']:,} contacts{since} and {held}, of which training saw nothing."
    note = (
        f"Bundle {content['bundle']}, lake version {content['lake']['version']}. Outcome: {spoken(content['outcome'])}."
    )
    links = [(key, title) for key, title, _ in sections]
    title = f"What a contact adds: {content['lake']['source'] or 'the lake'}"
    return document(title, lead, note, links, [section(*one) for one in sections])


def sentences(content: Content) -> list[str]:
    """What the report says, in words."""
    effect, gain = content["effect"], content["served"]["targeting"]["30%"]
    said = [f"A contact changes the outcome by {points(effect)} on average."]
    if effect[1] <= 0 <= effect[2]:
        said[0] += " Chance alone could have made that."
    per = f"{1000 * gain[0]:+.1f} outcomes per 1,000 customers ({1000 * gain[1]:+.1f} to {1000 * gain[2]:+.1f})"
    said.append(
        {
            "better": f"Contacting the top 30 % is better than contacting as many at random: {per}.",
            "worse": f"Contacting the top 30 % is worse than contacting as many at random: {per}. Do not use it.",
            "cannot tell": "Whether contacting the top 30 % is better than contacting as many at random cannot be told "
            f"from these contacts: {per}.",
        }[content["verdict"]]
    )
    return said + [harm_sentence(content["harmed"])]


def harm_sentence(groups: Content) -> str:
    """Whether anybody is harmed, and whether that was shown."""
    found = groups["expected"]
    if found is None:
        return "The model expects contact to harm nobody."
    told = f"The model expects contact to harm {percent(found['share'])} of the customers"
    if found["shown"] is None:
        return f"{told}, too few to look at."
    sure = "; that was shown" if found["shown"][2] < 0 else "; that was not shown"
    return f"{told}, by {points([found['predicted']])} on average{sure}: theirs was {points(found['shown'])}."


def points(found: Sequence[float]) -> str:
    """A share in points, with its interval where there is one."""
    said = f"{100 * found[0]:+.2f} points"
    return said if len(found) == 1 else f"{said} ({100 * found[1]:+.2f} to {100 * found[2]:+.2f})"


def _glance(content: Content) -> str:
    served = content["served"]
    rows = [
        ("Mean effect of a contact", points(content["effect"]), "0 where contact does nothing"),
        ("Qini", _number(served["qini"]), "0 by chance"),
        ("AUUC", _number(served["auuc"]), f"{content['effect'][0] / 2:.4f} at random"),
        ("AUTOC", _number(served["autoc"]), "0 by chance"),
        ("Slope of effects on predictions", _number(served["slope"], "{:.2f}"), "1 if right"),
    ]
    told = "".join(f"<p class='headline'>{escape(one)}</p>" for one in sentences(content))
    return told + table(("Measure", "Value", "Beside it"), rows)


def _targeting(served: Content) -> str:
    rows = [
        (f"Top {share}", _gain(gain), _gain(served["targeting_weighted"][share]))
        for share, gain in served["targeting"].items()
    ]
    heads = ("Contacted", "Gain over chance, per 1,000", "The same without outcome models, by weights alone")
    return table(heads, rows)


def _gain(found: Sequence[float]) -> str:
    value, low, high = (f"{1000 * part:+.1f}" for part in found)
    return f"{value} <span class='soft small'>({low} to {high})</span>"


def _deciles(content: Content) -> str:
    rows = []
    for place, group in enumerate(content["deciles"], start=1):
        shown = points(group["shown"]) if group["shown"] else HIDDEN
        rows.append((str(place), f"{group['units']:,}", points([group["predicted"]]), shown))
    return table(("Tenth", "Units", "Predicted", "Shown"), rows, numbers=(1, 2))


def _harmed(groups: Content) -> str:
    heads = ("Customers", "Share", "Predicted", "Shown")
    names = {"expected": "Expected effect below zero", "sure": "… and its 95 % bound too"}
    rows = [
        (
            names[name],
            percent(one["share"]),
            points([one["predicted"]]),
            points(one["shown"]) if one["shown"] else HIDDEN,
        )
        for name, one in groups.items()
        if one is not None
    ]
    return f"<p>{escape(harm_sentence(groups))}</p>" + table(heads, rows, numbers=(1, 2))


def _actions(actions: Sequence[Content]) -> str:
    rows = [
        (
            escape(one["action"]),
            f"{one['contacted']:,}",
            f"{one['control']:,}",
            points(one["effect"]),
            _number(one["qini"]),
        )
        for one in actions
    ]
    return table(("Action", "Contacted", "Held back", "Effect", "Qini"), rows, numbers=(1, 2))


def _learners(content: Content) -> str:
    rows = []
    for name, one in content["learners"].items():
        served = name.split()[0] == content["learner"] and (" " in name) == bool(content["embedding"])
        saved = [10_000 * part for part in one["loss_saved"]]
        cells = (f"{one['trees']}", _number(saved, "{:+.2f}"), _number(one["qini"]), _number(one["slope"], "{:.2f}"))
        rows.append((escape(learner_name(name)) + (" <b>(served)</b>" if served else ""), *cells))
    heads = ("Learner", "Trees", "Squared error saved over one effect for all, × 10,000", "Qini", "Slope")
    return table(heads, rows, numbers=(1,))


def _data(content: Content) -> str:
    trained = content["trained"]
    lines = [
        f"<p>{trained['trials']} trials: {trained['contacted']:,} contacted, {trained['contacted_with_outcome']:,} of "
        f"them with the outcome; {trained['control']:,} held back, {trained['control_with_outcome']:,} of them with "
        "it. Each customer was seen as they were on the day of the contact.</p>"
    ]
    if trained["left_out"]:
        rows = [(escape(name), escape(why)) for name, why in sorted(trained["left_out"].items())]
        lines.append("<p>Left out:</p>" + table(("Campaign", "Why"), rows))
    return "".join(lines)


def _meaning(content: Content) -> str:
    told = f"<dl>{''.join(f'<dt>{escape(term)}</dt><dd>{escape(text)}</dd>' for term, text in MEANINGS.items())}</dl>"
    formulas = content["formulas"]
    return told + f"<p class='soft small'>{escape(formulas['qini'])}<br>{escape(formulas['auuc'])}</p>"


def _number(found: Sequence[float], form: str = "{:.4f}") -> str:
    span = f"{form.format(found[1])} to {form.format(found[2])}"
    return f"{form.format(found[0])} <span class='soft small'>({span})</span>"
