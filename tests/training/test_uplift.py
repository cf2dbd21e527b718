"""The uplift part trained: effects that are there are found, those that are not are not, and lakes that are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.bundle import Bundle, Uplift, verify
from recsys.errors import ConfigError, DataError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from recsys.uplift.trials import find_trials
from recsys.uplift.units import split_of
from tests.uplift.mailing import UNTIL, contacts, drawn, effect, mailing, mailing_config, people, write
from training.config import Config, parse_config
from training.fit import train
from training.preflight import preflight

LETTER = {"product_id": [None], "channel": ["post"], "level": ["letter"]}
ACTION = pl.DataFrame(LETTER, schema_overrides={"product_id": pl.String})


def silent(done: int, total: int, what: str) -> None:
    pass


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return mailing(tmp_path_factory.mktemp("letters") / "lake")


@pytest.fixture(scope="module")
def bundle(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(train(mailing_config(), lake, tmp_path_factory.mktemp("runs"), silent))


def answers(bundle: Bundle, lake: Lake, action: pl.DataFrame) -> tuple[np.ndarray, ...]:
    """Ages, and what the bundle expects of everybody."""
    uplift = Uplift.of(bundle)
    assert uplift is not None
    known = lake.read("customers").sort("customer_id")
    tables = {name: lake.read(name) for name in lake.tables}
    rows = features(tables, scoring_examples(known["customer_id"], lake.as_of), uplift.definition)
    return (known["age"].to_numpy(), *uplift.expected(rows, action))


def test_a_bundle_of_uplift_alone_verifies(bundle: Bundle) -> None:
    assert set(bundle.contents.parts) == {"features", "parity", "report", "uplift"}
    checks = verify(bundle.path)
    assert all(check.ok for check in checks), [check for check in checks if not check.ok]
    assert {"uplift graphs", "uplift parity at batch 7", "uplift equal bits"} <= {check.name for check in checks}


def test_whom_letters_help_and_whom_they_annoy_is_found_in_spite_of_the_targeting(bundle: Bundle, lake: Lake) -> None:
    age, baseline, found, error = answers(bundle, lake, ACTION)
    assert baseline.shape == found.shape == error.shape == (2_000, 1) and (error > 0).all()
    young, old = age < 38, age > 67
    assert found[young].mean() == pytest.approx(0.35, abs=0.1)
    assert found[old].mean() == pytest.approx(-0.12, abs=0.1)
    assert np.corrcoef(found[:, 0], effect(age))[0, 1] > 0.8
    assert baseline.mean() == pytest.approx(0.225, abs=0.04)
    assert Uplift(bundle).about.test_from == "2024-07-01"


def test_an_action_that_no_campaign_took_is_refused(bundle: Bundle, lake: Lake) -> None:
    for changed, said in (({"channel": ["fax"]}, "channel 'fax'"), ({"level": [None]}, "level None")):
        action = pl.DataFrame(LETTER | changed, schema_overrides=dict.fromkeys(LETTER, pl.String))
        with pytest.raises(DataError, match=f"no trial had the {said}"):
            answers(bundle, lake, action)
    with pytest.raises(DataError, match="'cash_isa' is no product of those learned from"):
        answers(bundle, lake, pl.DataFrame(LETTER | {"product_id": ["cash_isa"]}))
    assert Uplift(bundle).trained_actions.equals(ACTION)


def test_the_latest_campaign_reaches_nothing_of_the_bundle(lake: Lake, bundle: Bundle, tmp_path: Path) -> None:
    last = pl.col("campaign_id") == "K2"
    spoiled = mailing(tmp_path / "lake", converted=pl.when(last).then(~pl.col("converted")).otherwise("converted"))
    other = Bundle.load(train(mailing_config(), spoiled, tmp_path / "runs", silent))
    assert other.read("uplift/uplift.onnx") == bundle.read("uplift/uplift.onnx")


@pytest.mark.parametrize("learner", ["s", "t", "x", "dr"])
def test_every_learner_tells_two_arms_apart(learner: str, tmp_path: Path) -> None:
    lake = drawn(tmp_path / "lake", 2_400)
    asked = {"outcome": "visited", "treatment": "email", "control": "none", "learners": [learner]}
    bundle = Bundle.load(train(mailing_config(**asked), lake, tmp_path / "runs", silent))
    assert all(check.ok for check in verify(bundle.path))
    actions = pl.DataFrame({"product_id": [None] * 2, "channel": [None] * 2, "level": ["plain", "bright"]})
    age, _, found, _ = answers(bundle, lake, actions)
    bright = found[:, 1]
    assert bright[age < 38].mean() - bright[age > 67].mean() > 0.15
    assert found[:, 0].std() < bright.std()
    assert Uplift(bundle).about.learner == learner


def test_nothing_is_made_of_letters_that_do_nothing(tmp_path: Path) -> None:
    chance = pl.Series(np.random.default_rng(0).random(6_000) < 0.2)
    lake = mailing(tmp_path / "lake", converted=pl.lit(chance))
    bundle = Bundle.load(train(mailing_config(), lake, tmp_path / "runs", silent))
    about = Uplift(bundle).about
    assert abs(about.effect[0]) < 4 * about.effect[1]
    assert about.slope[0] < 0.3 or about.slope[0] < 3 * about.slope[1]


def config_of(**uplift: Any) -> Config:
    return mailing_config(**uplift)


def refused(lake: Lake, said: str, error: type[Exception] = DataError, **uplift: Any) -> None:
    with pytest.raises(error, match=said):
        preflight(config_of(**uplift), lake)


def test_all_treated_is_refused(tmp_path: Path) -> None:
    lake = mailing(tmp_path / "lake", 300, contacted=pl.lit(True), arm=pl.lit("letter"))
    refused(lake, "no campaign can tell what a contact adds .*everybody was contacted, so there is no control")


def test_nobody_converted_is_refused(tmp_path: Path) -> None:
    refused(mailing(tmp_path / "lake", 300, converted=pl.lit(False)), "0 have the outcome .* at least 20 of each")


def test_too_few_outcomes_beyond_the_buckets_that_check_samples_are_found_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.preflight.SAMPLE", 1)
    refused(mailing(tmp_path / "lake", 300, converted=pl.lit(False)), "0 have the outcome .* at least 20 of each")
    preflight(config_of(), mailing(tmp_path / "other", 400))


def test_one_arm_is_refused(tmp_path: Path) -> None:
    asked = {"outcome": "visited", "treatment": "email", "control": "none"}
    refused(
        drawn(tmp_path / "lake", 300, email=pl.lit("none")), "email is always 'none': nobody was contacted", **asked
    )
    lake = mailing(tmp_path / "other", 300, contacted=pl.lit(False), arm=pl.lit("control"))
    refused(lake, "nobody was contacted")


def test_a_targeted_campaign_without_propensities_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    targeted = pl.col("campaign_id") == "K1"
    unlogged = pl.when(targeted).then(None).otherwise("propensity")
    lake = mailing(tmp_path / "lake", 400, propensity=unlogged)
    refused(lake, r"1 campaigns have contacts without a propensity .*\(first: K1\).*uplift.randomised")
    refused(lake, "first: K1", randomised="design=randomised")
    assert any(
        "2 trials" in line or "1 trials" in line for line in preflight(config_of(campaigns="design=randomised"), lake)
    )


def test_shares_stand_for_propensities_of_campaigns_known_to_be_drawn_by_chance(tmp_path: Path) -> None:
    lake = mailing(tmp_path / "lake", 400, propensity=pl.lit(None, dtype=pl.Float64))
    config = config_of(campaigns="design=randomised", randomised="design=randomised").uplift
    assert config is not None
    found = find_trials(lake, config, lake.as_of)
    assert [trial.campaign for trial in found.found] == ["K0", "K2"]
    assert all(abs(trial.shares[0] - 0.5) < 0.1 for trial in found.found)


def test_a_propensity_of_one_compares_with_nobody(tmp_path: Path) -> None:
    refused(mailing(tmp_path / "lake", 300, propensity=pl.lit(1.0)), "every propensity is 1")
    some = pl.when(pl.col("customer_id") < "C00020").then(1.0).otherwise("propensity")
    lake = mailing(tmp_path / "other", 400, propensity=some)
    preflight(config_of(), lake)


def test_arms_that_do_not_fit_their_chances_are_left_out_with_the_reason(tmp_path: Path) -> None:
    first = pl.col("campaign_id") == "K0"
    lake = mailing(tmp_path / "lake", 600, propensity=pl.when(first).then(0.2).otherwise("propensity"))
    assert any("K0 left out: the sizes of the arms do not fit" in line for line in preflight(config_of(), lake))


def test_a_product_held_before_the_contact_is_no_outcome_of_it(tmp_path: Path) -> None:
    from recsys.uplift.trials import Action, Trial
    from recsys.uplift.units import without_holders

    rows = pl.DataFrame({"trial": [0, 0], "holdings": [["card"], ["loan", "isa"]], "outcome": [1.0, 1.0]})
    trial = Trial("K", ("control", "a"), (Action("isa", "post", "a"),), (0.5, 0.5), 2)
    assert without_holders(rows, [trial])["holdings"].to_list() == [["card"]]


def test_a_campaign_whose_outcomes_come_in_during_the_test_is_in_neither_part(tmp_path: Path) -> None:
    known = people(400, 1)
    days = {"K0": "2024-03-01", "K1": "2024-06-20", "K2": "2024-07-01"}
    made, about = [], []
    for i, (name, text) in enumerate(days.items()):
        day = UNTIL.fromisoformat(text)
        made.append(contacts(known, name, day, i, False))
        about.append(
            {"campaign_id": name, "starts": day, "ends": day.replace(month=day.month + 1, day=20), "design": "x"}
        )
    lake = write(tmp_path / "lake", known, pl.concat(made), about)
    config = config_of().uplift
    assert config is not None
    split = split_of(find_trials(lake, config, UNTIL), config)
    assert (split.train, split.test) == ((0,), (2,)) and "K1" in split.left_out


def test_wrong_names_are_refused_with_the_right_ones(tmp_path: Path, lake: Lake) -> None:
    refused(lake, "uplift.outcome: 'convertd' .*did you mean 'converted'", ConfigError, outcome="convertd")
    refused(lake, "uplift.campaigns: 'kind=x': write ATTRIBUTE=VALUE", ConfigError, campaigns="kind=x")
    refused(lake, "uplift.treatment: 'email'", ConfigError, treatment="email", control="none")
    with pytest.raises(ConfigError, match="treatment and control go together"):
        parse_config({"name": "x", "recommender": False, "uplift": {"treatment": "email"}}, "x")
