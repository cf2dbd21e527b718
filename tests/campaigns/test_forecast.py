"""A forecast is told where attributes foretell the return of campaigns left out, and refused where they do not."""

import numpy as np
import pytest

from recsys.campaigns.forecast import forecast

CHANNELS = ("email", "phone", "post")


def past(count: int, spread: float, seed: int = 0) -> tuple[np.ndarray, list[dict[str, str]]]:
    """E-mail returns 3, the phone 1, post -1, give or take chance."""
    rng = np.random.default_rng(seed)
    channel = rng.integers(0, 3, count)
    returns = spread * (3.0 - 2.0 * channel) + rng.normal(0, 1, count)
    return returns, [{"channel": CHANNELS[i], "day": "Monday"} for i in channel]


def test_told_beside_its_skill() -> None:
    returns, attributes = past(60, 1.0)
    found = forecast(returns, attributes, {"channel": "email"})
    assert found.skill is not None and found.skill.low > 0.3 and found.refused == ""
    assert found.value is not None and found.value.value == pytest.approx(3, abs=0.5)
    assert found.value.high - found.value.low > 3, "one campaign varies more than the mean of many"
    told = found.told()
    assert told["skill"]["method"] == "bootstrap over campaigns" and told["campaigns"] == 60


def test_the_range_holds_new_campaigns() -> None:
    returns, attributes = past(80, 1.0)
    new, kinds = past(600, 1.0, seed=1)
    ranges = {name: forecast(returns, attributes, {"channel": name}).value for name in CHANNELS}
    inside = [ranges[k["channel"]].low <= r <= ranges[k["channel"]].high for r, k in zip(new, kinds, strict=True)]  # type: ignore[union-attr]
    assert np.mean(inside) >= 0.92


def test_refused_where_there_is_no_skill() -> None:
    returns, attributes = past(60, 0.0)
    found = forecast(returns, attributes, {"channel": "email"})
    assert found.value is None and "no better than the mean" in found.refused
    assert found.skill is not None and found.skill.low <= 0


def test_refused_for_too_few_or_unseen() -> None:
    returns, attributes = past(60, 1.0)
    assert "10 are needed" in forecast(returns[:9], attributes[:9], {"channel": "email"}).refused
    assert "no past campaign has channel=pigeon" in forecast(returns, attributes, {"channel": "pigeon"}).refused
    same = forecast(np.ones(20), attributes[:20], {"channel": "email"})
    assert same.value is None, "where all returned the same there is nothing to beat"
