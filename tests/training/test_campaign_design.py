"""`recsys campaign design`: sizes that give the asked power, from a rate or from a lake's past controls."""

import json
from pathlib import Path

import pytest

from recsys.__main__ import main
from tests.conftest import SmallBank, called


def test_sizes_from_a_rate() -> None:
    found = json.loads("\n".join(called("campaign", "design", "--rate", "0.05", "--effect", "1", "--json")))
    assert found["design"]["control"] == found["design"]["each_arm"] == pytest.approx(8_158, abs=5)
    assert found["design"]["watched"] > found["design"]["total"] and "days" not in found["design"]
    totals = [row["total"] for row in found["by_control_share"]]
    assert totals == sorted(totals), "an even split needs the fewest customers"
    words = ["--rate", "0.05", "--effect", "1", "--per-day", "500", "--correlation", "0.7"]
    printed = called("campaign", "design", *words)
    assert "4,160 left out" in printed[1] and "17 days" in printed[1]


def test_sizes_from_past_campaigns(small_bank: SmallBank) -> None:
    printed = called("campaign", "design", str(small_bank.lake), "--effect", "2")
    assert "converted without contact" in printed[0] and "days" in printed[2]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "give either LAKE"),
        (["--rate", "0.05", "LAKE"], "give either LAKE"),
        (["--rate", "0.05", "--effect", "-9"], "a share of 0.05 cannot become -0.04"),
        (["--rate", "0.05", "--effect", "0"], "a size other than zero"),
        (["--rate", "0"], "must lie between 0 and 1"),
        (["LAKE", "--campaign", "K02Z"], "did you mean 'K02B'?"),
    ],
)
def test_what_is_asked_wrongly(
    small_bank: SmallBank, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], why: str
) -> None:
    named = [str(small_bank.lake) if word == "LAKE" else word for word in words]
    effect = [] if "--effect" in named else ["--effect", "1"]
    with pytest.raises(SystemExit) as left:
        main(["campaign", "design", *named, *effect])
    assert left.value.code == 2 and why in capsys.readouterr().err
