"""The next best action for one customer: what the batch plan would do at the same prices, paced where a clock runs."""

import json
from dataclasses import replace
from datetime import datetime, time, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.bundle import Bundle, Recommender
from recsys.campaigns.draw import draw
from recsys.campaigns.plan import CampaignPlan
from recsys.campaigns.prices import PublishedPrices
from recsys.churn.config import LeavingRule
from recsys.churn.standing import standing
from recsys.errors import ConfigError, DataError
from recsys.lake.store import Lake
from recsys.rules import Eligibility
from recsys.rules.eligibility import Removal
from serving.answers import Answers
from serving.campaign_values import Valuation
from serving.next_action import ARMS, NextAction
from serving.request import Who
from serving.schemas import DecideAnswer
from serving.seen import CustomerRows, Seen
from serving.served import Served
from tests.conftest import ROOT, SmallBank, called


@pytest.fixture(scope="module")
def planned(small_bank: SmallBank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, example = tmp_path_factory.mktemp("plan") / "out", ROOT / "docs" / "campaign_plan.yaml"
    text = example.read_text().replace("budget: 4000", "budget: 20000") + "exploration: 0.1\n"
    (out.parent / "plan.yaml").write_text(text)
    called("campaign", "plan", str(out.parent / "plan.yaml"), str(small_bank.bundle), str(small_bank.lake), str(out))
    return out


@pytest.fixture(scope="module")
def answers(small_bank: SmallBank) -> Answers:
    return Answers.open(small_bank.bundle, small_bank.lake, None)


@pytest.fixture(scope="module")
def action(planned: Path, answers: Answers) -> NextAction:
    return NextAction.open(planned / "prices.json", answers.bundle)


def _everyone(small_bank: SmallBank) -> list[str]:
    return Lake.open(small_bank.lake).bucket(0)["customers"]["customer_id"].unique().sort().to_list()


def _of(action: NextAction, answers: Answers, customer: str, now: datetime | None = None) -> dict[str, object]:
    assert answers.known is not None
    seen = answers.known.seen(customer, answers.as_of)
    assert seen is not None
    return action.of(seen, answers.as_of, now=now)


def test_one_customer_gets_what_the_batch_gives_at_the_same_prices(
    small_bank: SmallBank, planned: Path, action: NextAction, answers: Answers
) -> None:
    lake, plan, prices = Lake.open(small_bank.lake), action.plan, PublishedPrices.read(planned / "prices.json")
    valuation, names = Valuation(Bundle.load(small_bank.bundle), plan, 1), prices.action
    compared, contacted, left, arms = 0, 0, 0, set()
    written = pl.read_parquet(planned / "bucket=*.parquet")
    blocked = ("has left", "not a customer", "no consent", "contacted too recently", "no product", "held out")
    agreed = 0
    for number in range(lake.buckets):
        bucket = valuation.of(lake.bucket(number), lake.as_of)
        if not len(bucket.ids):
            continue
        at_prices = prices.choose(bucket.part)
        drawn = draw(bucket.ids, at_prices, bucket.allowed, plan.holdout, plan.exploration, plan.seed)
        everybody = answers.sight.see(lake.bucket(number), bucket.ids.to_list(), lake.as_of)
        for row, (customer, seen) in enumerate(zip(bucket.ids, everybody, strict=True)):
            told = action.of(seen, answers.as_of)
            if row < 2:
                assert told == _of(action, answers, customer), "read alone or with the others"
            wanted = [names[a] for a in drawn.chosen[:, row] if a >= 0]
            assert [one["action"] for one in told["actions"]] == wanted
            assert told["arm"] == ARMS[drawn.arm[row]]
            assert told["propensity"] == drawn.propensity[row]
            assert told["reason"]
            in_file = written.filter(pl.col("customer_id") == customer)["action"].drop_nulls().to_list()
            agreed += sorted(in_file) == sorted(wanted)
            compared, contacted = compared + 1, contacted + bool(wanted)
            arms.add(told["arm"])
            left += str(told["reason"]).startswith("has left")
            if told["reason"].startswith(blocked):
                assert written.filter(pl.col("customer_id") == customer)["reason"].to_list() == [told["reason"]]
    assert compared == lake.tables["customers"].rows and contacted > 20 and left > 30 and arms == set(ARMS)
    assert agreed > 0.9 * compared, "but for whom the plan moved to keep its limits to the last unit"


def test_who_has_left_by_the_rule_of_the_bundle_gets_nothing(
    small_bank: SmallBank, planned: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = LeavingRule(accounts_closed=True)
    monkeypatch.setattr("serving.campaign_values.leaving_rule", lambda bundle: rule)
    ruled, lake = NextAction.open(planned / "prices.json", answers.bundle), Lake.open(small_bank.lake)
    seen_of: dict[str, dict[str, object]] = {}
    told = standing(lake.bucket(0), lake.as_of, rule)
    for customer, said, joined in told.iter_rows():
        seen = answers.known.seen(customer, answers.as_of) if answers.known else None
        assert seen is not None
        facts = replace(seen.facts, standing=said, joined=joined)  # as a bundle with this rule sees them
        anew = Seen(facts, seen.vectors, seen.adoption, partial(getattr, seen, "rows"), seen.tables)
        seen_of[said] = ruled.of(anew, answers.as_of)
        if said == "left":
            assert seen_of[said]["actions"] == []
            assert seen_of[said]["reason"] == "has left: no customer any more"
    assert {"left", "customer"} <= set(seen_of)


def test_rules_take_a_product_out_before_the_choice(
    small_bank: SmallBank, action: NextAction, answers: Answers
) -> None:
    products = Recommender(answers.bundle).products
    assert answers.known is not None
    for customer in _everyone(small_bank):
        told = _of(action, answers, customer)
        if told["actions"] and told["arm"] == "plan":
            break
    seen = answers.known.seen(customer, answers.as_of)
    assert seen is not None
    without = action.of(seen, answers.as_of, _removed(np.ones(len(products), dtype=bool)))
    assert without["actions"] == [] and without["reason"] == "ruled out: by hand"
    assert {one["rule"] for one in without["removed"]} == {"by hand"}
    but_one = np.array([product != "easy_saver" for product in products])
    other = action.of(seen, answers.as_of, _removed(but_one))
    assert {one["product_id"] for one in other["actions"]} <= {"easy_saver"}
    assert action.of(seen, answers.as_of) == told, "what rules took from one answer is back in the next"


def _removed(products: np.ndarray) -> Eligibility:
    removal = Removal(0, level=np.zeros(1, dtype=np.int64), table=products[None])
    return Eligibility(("by hand",), [removal], (1, len(products)))


def test_expired_prices_decide_nothing(small_bank: SmallBank, action: NextAction, answers: Answers) -> None:
    assert answers.known is not None and action.prices.valid_until is not None
    seen = answers.known.seen(_everyone(small_bank)[0], answers.as_of)
    assert seen is not None
    told = action.of(seen, action.prices.valid_until + timedelta(days=1))
    assert told["actions"] == [] and told["propensity"] is None and "plan again" in told["reason"]


def test_with_a_clock_spend_is_paced_and_no_limit_is_passed(
    small_bank: SmallBank, planned: Path, answers: Answers
) -> None:
    paced = NextAction.open(planned / "prices.json", answers.bundle)
    lake = Lake.open(small_bank.lake)
    tables = lake.bucket(0)
    everybody = answers.sight.see(tables, tables["customers"]["customer_id"].unique().sort().to_list(), lake.as_of)
    assert paced.prices.as_of is not None
    begin = datetime.combine(paced.prices.as_of, time())

    def spent(after: timedelta) -> float:
        told = [paced.of(seen, answers.as_of, now=begin + after) for seen in everybody]
        return sum(one["cost"] for answer in told for one in answer["actions"])

    first = spent(timedelta(0))  # all at once, whom the plan has spread over a month
    assert spent(timedelta(0)) == first and paced.spend.own.used[0] == pytest.approx(first), (
        "asking twice is paying once"
    )
    assert first <= paced.prices.limits[0].limit
    before = paced.spend.own.dual[0]
    second = spent(timedelta(hours=1))
    assert paced.spend.own.dual[0] > before and second < first, "the first hour used what was meant for many"
    assert paced.spend.own.used[0] <= paced.prices.limits[0].limit


def test_what_is_used_up_is_used_up(small_bank: SmallBank, planned: Path, answers: Answers) -> None:
    paced = NextAction.open(planned / "prices.json", answers.bundle, workers=1000)
    assert answers.known is not None and paced.prices.as_of is not None
    now, told = datetime.combine(paced.prices.as_of, time()), []
    for customer in _everyone(small_bank)[:30]:
        told.append(_of(paced, answers, customer, now=now))
    refused = [answer for answer in told if "used up" in str(answer["reason"])]
    assert refused and all(answer["actions"] == [] for answer in refused)
    assert (paced.spend.own.used <= np.maximum(paced.spend.own.limit, 0) + 1e-6)[paced.spend.own.limit >= 0].all()


def test_decide_says_what_to_do_next(small_bank: SmallBank, planned: Path, action: NextAction) -> None:
    served = Served(
        bundle=str(small_bank.bundle), lake=str(small_bank.lake), prices=str(planned / "prices.json"), workers=2
    )
    answers = served.answers(small_bank.bundle)
    for customer in _everyone(small_bank)[:5]:
        told = answers.decide(json.dumps({"customer_id": customer, "k": 2}).encode())
        assert told["next_best_action"] | {"removed": []} == _of(action, answers, customer)
        DecideAnswer.model_validate({**told, "request_id": "r"})
    unpriced = Answers.open(small_bank.bundle, small_bank.lake, None)
    assert "next_best_action" not in unpriced.decide(json.dumps({"customer_id": customer}).encode())
    own = {"customers": [{"customer_id": "new"}]}
    told = answers.decide(json.dumps({"customer": own}).encode())["next_best_action"]
    assert told["actions"] == [] and told["reason"].startswith("no consent"), "nobody is contacted who said nothing"


def test_contacts_and_consents_are_read_anew_where_they_or_the_day_have_changed(
    small_bank: SmallBank, action: NextAction, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answers.known is not None and answers.as_of is not None
    customer, read = next(one for one in _everyone(small_bank) if _of(action, answers, one)["actions"]), []
    rows = answers.known.tables(customer)
    assert rows is not None
    contactable = action.valuation.contactable
    monkeypatch.setattr(action.valuation, "contactable", lambda *args: read.append(args) or contactable(*args))

    def asked(tables: CustomerRows, days: int = 0) -> dict[str, object]:
        day = answers.as_of + timedelta(days=days)  # type: ignore[operator]
        (seen,) = answers.sight.see(tables, [customer], day)
        return action.of(seen, day)

    first = asked(rows)
    assert asked(CustomerRows(dict(rows), rows.worked_out)) == first
    assert len(read) <= 1, "the same rows seen from the same day, even beside other tables"
    asked(rows, days=1)
    mine = rows["contacts"].clear()
    at = datetime.combine(answers.as_of, time()) - timedelta(hours=1)
    contacts = [
        {"contact_id": f"N{i}", "customer_id": customer, "channel": channel, "contacted": True, "at": at}
        for i, channel in enumerate(action.prices.channel)
    ]
    new = pl.concat([mine, pl.DataFrame(contacts, schema_overrides={"at": pl.Datetime("us")})], how="diagonal_relaxed")
    later = asked(CustomerRows({**rows, "contacts": new}, rows.worked_out))
    assert later["actions"] == [] and first["actions"], "contacted an hour ago"
    assert len(read) <= 3


def test_nothing_is_kept_of_contacts_that_a_question_brings(
    small_bank: SmallBank, action: NextAction, answers: Answers
) -> None:
    assert answers.known is not None and answers.as_of is not None
    customer = next(one for one in _everyone(small_bank) if _of(action, answers, one)["actions"])
    at = (datetime.combine(answers.as_of, time()) - timedelta(hours=1)).isoformat()
    campaign = Lake.open(small_bank.lake).read("campaigns")["campaign_id"][0]
    rows = [
        {"contact_id": f"N{i}", "campaign_id": campaign, "channel": channel, "contacted": True, "at": at}
        for i, channel in enumerate(dict.fromkeys(action.prices.channel))
    ]
    answers.known.forget(customer)
    seen = answers.customers.asked(Who(customer, None, events={"contacts": rows}), answers.as_of)
    assert action.of(seen, answers.as_of)["actions"] == [], "contacted an hour ago"
    kept = answers.known.tables(customer)
    assert kept is not None and kept.worked_out == {}
    assert _of(action, answers, customer)["actions"]
    assert kept.worked_out, "but of the customer's own rows it is kept"


def test_prices_of_another_bundle_or_plan_are_refused(planned: Path, answers: Answers, tmp_path: Path) -> None:
    prices = PublishedPrices.read(planned / "prices.json")
    prices.model_copy(update={"bundle_id": "other"}).write(tmp_path / "prices.json")
    with pytest.raises(DataError, match="has no .run.json and plan.json of recsys campaign plan"):
        NextAction.open(tmp_path / "prices.json", answers.bundle)
    for name in (".run.json", "plan.json"):
        (tmp_path / name).write_text((planned / name).read_text())
    with pytest.raises(ConfigError, match="made with bundle other, but .* is served"):
        NextAction.open(tmp_path / "prices.json", answers.bundle)
    plan = CampaignPlan.model_validate({**_plan(planned), "levels": [{"level": "only"}]})
    with pytest.raises(ConfigError, match="of other actions than the plan"):
        NextAction(prices, plan, answers.bundle, 100.0)
    with pytest.raises(DataError, match="not prices of recsys campaign plan"):
        NextAction.open(planned / ".run.json", answers.bundle)


def _plan(planned: Path) -> dict[str, object]:
    return json.loads((planned / ".run.json").read_text())["plan"]
