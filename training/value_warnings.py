"""What a reader of lifetime values must know before using them, said in sentences where the figures ask for it."""

from collections.abc import Mapping
from typing import Any

FAR = 1.1
"""The factor by which a prediction without an interval may be wrong before it is said."""
EARLY = 0.5
"""Share of customers who first bought in the first 30 days, from which the file may begin in the middle of things."""


def warnings_of(content: Mapping[str, Any]) -> list[str]:
    """Sentences, the gravest first; empty where nothing was found."""
    found = [*_parameters(content), *_holdout(content["holdout"]), *_spend(content)]
    if content["started_early"] >= EARLY:
        found.append(
            f"{content['started_early']:.0%} of the customers first bought in the first 30 days of the data. Many were "
            "customers before, and their real first purchase is not known, so their age is too low."
        )
    return found


def _parameters(content: Mapping[str, Any]) -> list[str]:
    said = []
    fitted = content["parameters"]["all days"]
    if any(value["low"] is None for value in fitted["bg_nbd"]["values"].values()):
        said.append(
            "The data do not determine all parameters of BG/NBD: no interval can be given for these, and perhaps none "
            "for the totals."
        )
    if fitted["gamma_gamma"] is None:
        said.append(
            "There is no model of amounts: too few customers spent something on a second day, or their spend is so "
            "uneven that it has no mean. Purchases are told, value is not."
        )
    return said


def _holdout(judged: Mapping[str, Any]) -> list[str]:
    said = []
    total, real = judged["total"], judged["purchases"]["actual"]
    told = total["low"] is not None
    low, high = (total["low"], total["high"]) if told else (real / FAR, real * FAR)
    if not low <= (real if told else total["value"]) <= high:
        span = f" ({low:,.0f} to {high:,.0f})" if told else ""
        said.append(
            f"On the last {judged['days']} days the model expected {total['value']:,.0f} purchases{span} and there "
            f"were {real:,.0f}. Something has changed over time that the model does not know, such as a season or a "
            "campaign; its intervals are too narrow for that."
        )
    for name, what in (("purchases", "purchases"), ("money", "money spent")):
        entry = judged.get(name)
        if entry and (outside := [part for part in entry["deciles"] if not part["inside"]]):
            said.append(
                f"In {len(outside)} of {len(entry['deciles'])} parts of the customers the prediction of {what} lies "
                "outside what chance allows around what happened."
            )
        gain = entry["gini"].get("model − own pace so far") if entry else None
        if gain and gain["low"] <= 0:
            said.append(
                f"By {what}, the model does not put the customers in a better order than their own pace so far does "
                f"(difference in normalised Gini {gain['value']:+.3f}, {gain['low']:+.3f} to {gain['high']:+.3f})."
            )
    return said


def _spend(content: Mapping[str, Any]) -> list[str]:
    spend = content["spend"]
    if spend is None or spend["independent"]:
        return []
    found = spend["correlation"]
    more, wrong = ("more", "too low") if found["value"] > 0 else ("less", "too high")
    return [
        f"Customers who buy often spend {more} at a time: correlation {found['value']:.2f} ({found['low']:.2f} to "
        f"{found['high']:.2f}). Gamma-Gamma takes it that the two are independent, so values of frequent buyers may be "
        f"{wrong}. Compare the table of spend by frequency."
    ]
