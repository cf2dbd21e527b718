"""Who will leave, asked over HTTP and in a batch: the same answers, and clear ones where there is none to give."""

import io
import json
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from recsys.bundle import Bundle, Churn
from recsys.churn.config import LeavingRule
from recsys.churn.standing import standing
from recsys.errors import BundleError
from recsys.lake.store import Lake, LakeWriter
from serving.answers import Answers
from serving.churn import COLUMNS, score_churn
from serving.report import print_report
from serving.request import BadRequest, Who
from serving.schemas import ChurnAnswer
from tests.churn.customers import customers, leaving_config, write_lake
from tests.churn.test_leaving import bank
from tests.conftest import SmallBank, called
from tests.once import made_once
from tests.serving.conftest import serving
from training.config import parse_config
from training.fit import train

DAY = date(2024, 1, 1)


@pytest.fixture(scope="session")
def leaving_bank(tmp_path_factory: pytest.TempPathFactory) -> SmallBank:
    """Customers alone, and a bundle that says which of them leave and nothing else."""
    bundle = made_once("leaving_bank", tmp_path_factory, _make_leaving_bank)
    return SmallBank(bundle.parent.parent / "lake", bundle)


def _make_leaving_bank(folder: Path) -> Path:
    lake = write_lake(folder / "lake", customers(600))
    return train(leaving_config(), lake, folder / "bundles", lambda done, total, what: None)


@pytest.fixture(scope="session")
def closing_bank(tmp_path_factory: pytest.TempPathFactory) -> SmallBank:
    """Customers with accounts of whom every fifth closes the last one within three months of each day."""
    bundle = made_once("closing_bank", tmp_path_factory, _make_closing_bank)
    return SmallBank(bundle.parent.parent / "lake", bundle)


def _make_closing_bank(folder: Path) -> Path:
    months = pl.date_range(date(2022, 1, 15), date(2024, 12, 15), "1mo", eager=True).to_list()
    accounts: list[tuple[str, str, str | None]] = []
    for i in range(600):
        closed = months[(7 * i) % len(months)] if i % 2 else None
        accounts.append((f"C{i:03d}", "2020-01-01", str(closed) if closed else None))
    accounts.append(("late", "2024-11-01", None))
    rows = bank(accounts)
    held = rows["account_holders"].join(rows["accounts"], on="account_id")
    reads = held.join(pl.DataFrame({"at": months}).cast(pl.Datetime("us")), how="cross")
    day, closed = pl.col("at").dt.date(), pl.col("closed").fill_null(date(2100, 1, 1))
    reads = reads.filter((day >= pl.col("opened")) & (day <= closed))
    with LakeWriter(folder / "lake", buckets=2, until=date(2024, 12, 31)) as writer:
        for name in ("customers", "account_holders", "accounts"):
            writer.append(name, rows[name])
        writer.append("balances", reads.select("account_id", "at", amount=pl.lit(-5_000)))
    config = {"name": "closing", "threads": 1, "recommender": False, "churn": {"rule": {"accounts_closed": True}}}
    lake = Lake.open(folder / "lake")
    return train(parse_config(config, "test"), lake, folder / "bundles", lambda done, total, what: None)


def ask(answers: Answers, **question: Any) -> dict[str, Any]:
    return answers.churn(json.dumps(question).encode())


def batch(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted(folder.glob("bucket=*.parquet"))])


def test_the_service_answers_as_the_batch_does(leaving_bank: SmallBank, tmp_path: Path) -> None:
    said = called("churn", "score", str(leaving_bank.bundle), str(leaving_bank.lake), str(tmp_path / "scores"))
    assert said == [str(tmp_path / "scores")]
    scores = batch(tmp_path / "scores")
    assert scores.schema == pl.Schema(COLUMNS) and scores.height == 600
    assert set(scores["standing"]) == {"customer"} and scores["probability"].null_count() == 0
    answers = Answers.open(leaving_bank.bundle, leaving_bank.lake, None)
    for row in scores.sample(25, seed=0).to_dicts():
        answer = ask(answers, customer_id=row["customer_id"])
        why = answer.pop("reasons")
        assert answer == {**row, "horizon_months": None}
        assert len(why) == 3
    json.dumps(why)
    assert len(ask(answers, customer_id=row["customer_id"], reasons=1)["reasons"]) == 1
    assert "reasons" not in ask(answers, customer_id=row["customer_id"], reasons=0)
    with pytest.raises(BadRequest) as refused:
        ask(answers, customer_id=row["customer_id"], reasons=11)
    assert refused.value.field == "reasons" and "how many for leaving" in refused.value.message


def test_reasons_are_those_that_were_planted_and_sum_to_the_log_odds(leaving_bank: SmallBank) -> None:
    answers = Answers.open(leaving_bank.bundle, leaving_bank.lake, None)
    base = {"customer_id": "x", "country": "DE", "balance": 500.0}
    asked = {"customers": [{**base, "age": 79, "active": False}]}
    why = ask(answers, customer=asked)["reasons"]
    assert {reason["text"] for reason in why} == {"age 79", "active: no", "country DE"}
    assert all(reason["effect"] > 0 for reason in why)
    assert [reason["effect"] for reason in why] == sorted((reason["effect"] for reason in why), reverse=True)
    stays = ask(answers, customer={"customers": [{**base, "age": 21, "active": True}]}, reasons=4)["reasons"]
    against = {reason["text"] for reason in stays if reason["effect"] < 0}
    assert {"age 21", "active: yes"} <= against and stays[0]["text"] in against
    assert answers.why is not None and answers.leaving is not None
    rows = answers.customers.asked(Who("C00003", None), answers.as_of).rows
    leaving = answers.why.reasons_for_leaving(rows, 10)[0]
    assert leaving == [reason for reason in answers.why.reasons(rows, 10)[0] if reason.effect > 0]
    arrays = answers.leaving.encoder.encode(rows)
    values = answers.why.values(arrays)
    assert values.base + values.values[0].sum() == pytest.approx(float(answers.leaving.run(arrays)[0][0]), abs=1e-5)


def test_survival_is_told_over_http_and_in_a_batch(staying_bank: SmallBank, tmp_path: Path) -> None:
    score_churn(staying_bank.bundle, staying_bank.lake, tmp_path / "scores", as_of=date(2023, 6, 1))
    scores = batch(tmp_path / "scores")
    horizons = ["survival_3m", "survival_6m", "survival_12m"]
    assert scores.columns[-4:] == [*horizons, "bundle_id"]
    here = scores.filter(pl.col("standing") == "customer")
    assert here.select(horizons).null_count().row(0) == (0, 0, 0)
    answers = Answers.open(staying_bank.bundle, staying_bank.lake, date(2023, 6, 1))
    for row in here.sample(5, seed=0).to_dicts():
        answer = ask(answers, customer_id=row["customer_id"])
        assert answer["survival"] == {"3m": row["survival_3m"], "6m": row["survival_6m"], "12m": row["survival_12m"]}
        assert 1 >= answer["survival"]["3m"] >= answer["survival"]["12m"] >= 0
    gone = scores.filter(pl.col("standing") == "left")["customer_id"][0]
    answer = ask(answers, customer_id=gone)
    assert (answer["survival"], answer["reasons"]) == (None, [])


def test_one_alone_gets_the_bits_of_many(leaving_bank: SmallBank, tmp_path: Path) -> None:
    for threads in (1, 2):
        score_churn(leaving_bank.bundle, leaving_bank.lake, tmp_path / str(threads), threads=threads)
    first, second = (batch(tmp_path / name) for name in ("1", "2"))
    assert first.equals(second)


def test_a_customer_brings_their_own_data(leaving_bank: SmallBank) -> None:
    answers = Answers.open(leaving_bank.bundle, None, None)
    young = {"customer_id": "new", "age": 22, "active": True, "country": "ES", "balance": -120_000.5}
    found = [ask(answers, customer={"customers": [{**young, "age": age}]})["probability"] for age in (22, 50, 79)]
    assert found == sorted(found) and found[0] < 0.2 < found[2]
    with pytest.raises(BadRequest) as refused:
        ask(answers, customer={"customers": [{**young, "balance": "1,200.50"}]})
    assert refused.value.field == "customer.customers[0].balance" and "a string" in refused.value.message
    with pytest.raises(BadRequest) as unknown:
        ask(answers, customer_id="C00001")
    assert unknown.value.status == 404
    with pytest.raises(BadRequest) as more:
        ask(answers, customer={"customers": [young]}, k=3)
    assert more.value.field == "k"


def test_other_questions_are_told_what_the_bundle_answers(leaving_bank: SmallBank, segmented_bank: SmallBank) -> None:
    answers = Answers.open(leaving_bank.bundle, None, None)
    body = b'{"customer": {"customers": [{"customer_id": "x"}]}}'
    for question in (answers.recommend, answers.segment):
        with pytest.raises(BadRequest) as refused:
            question(body)
        assert refused.value.status == 404 and "it answers POST /churn" in refused.value.message
    others = Answers.open(segmented_bank.bundle, None, None)
    with pytest.raises(BadRequest) as without:
        others.churn(body)
    assert without.value.status == 404 and "nothing about who will leave" in without.value.message
    with pytest.raises(BundleError, match="does not say who will leave; train it with a section churn"):
        score_churn(segmented_bank.bundle, segmented_bank.lake, Path("/nowhere"))


def test_standing_is_told_from_the_day_alone() -> None:
    tables = bank(
        [
            ("here", "2020-01-01", None),
            ("gone", "2020-01-01", "2023-12-31"),
            ("leaves", "2020-01-01", "2024-01-01"),
            ("joins", "2024-01-01", None),
        ]
    )
    rule = LeavingRule(accounts_closed=True)
    assert dict(standing(tables, DAY, rule).select("customer_id", "standing").iter_rows()) == {
        "here": "customer",
        "gone": "left",
        "leaves": "customer",
        "joins": "joins_later",
    }
    assert set(standing(tables, None, rule)["standing"]) == {"customer"}
    alone = {"customers": tables["customers"]}
    assert set(standing(alone, DAY, rule)["standing"]) == {"customer"}


def test_who_joined_after_the_day_or_has_left_gets_no_probability(closing_bank: SmallBank, tmp_path: Path) -> None:
    day = date(2024, 6, 1)
    score_churn(closing_bank.bundle, closing_bank.lake, tmp_path / "scores", as_of=day)
    scores = batch(tmp_path / "scores")
    lake = Lake.open(closing_bank.lake)
    closed = lake.read("account_holders").join(lake.read("accounts"), on="account_id").select("customer_id", "closed")
    gone = set(closed.filter(pl.col("closed") < day)["customer_id"])
    assert set(scores.filter(pl.col("standing") == "left")["customer_id"]) == gone and len(gone) > 100
    assert scores.filter(pl.col("standing") == "joins_later")["customer_id"].to_list() == ["late"]
    known = pl.col("standing") == "customer"
    assert scores.filter(known)["probability"].null_count() == 0
    assert scores.filter(~known).select("probability", "tier", "act").null_count().row(0) == (len(gone) + 1,) * 3
    answers = Answers.open(closing_bank.bundle, closing_bank.lake, day)
    with pytest.raises(BadRequest) as refused:
        ask(answers, customer_id="late")
    assert refused.value.status == 422
    assert "joins on 2024-11-01, and customers are seen from 2024-06-01" in refused.value.message
    left = ask(answers, customer_id=sorted(gone)[0])
    assert (left["standing"], left["probability"], left["act"]) == ("left", None, False)
    assert ask(answers, customer_id="C000")["horizon_months"] == 3


def test_over_http(leaving_bank: SmallBank, tmp_path: Path) -> None:
    expected = ask(Answers.open(leaving_bank.bundle, leaving_bank.lake, None), customer_id="C00007")
    with serving(leaving_bank.bundle, "--lake", str(leaving_bank.lake), folder=tmp_path) as server:
        found = server.post("churn", {"customer_id": "C00007"})
        told = found.json()
        assert (found.status_code, told.pop("request_id")) == (200, found.headers["x-request-id"])
        assert told == expected
        ChurnAnswer.model_validate(found.json())
        whole = server.post("decide", {"customer_id": "C00007"}).json()
        left_out = ("customer_id", "bundle_id", "reasons")
        assert whole["churn"] == {name: value for name, value in expected.items() if name not in left_out}
        assert server.post("churn", {"customer_id": "nobody"}).status_code == 404
        assert server.post("recommend", {"customer_id": "C00007"}).status_code == 404
        assert server.post("churn", b"{").status_code == 400
        log = server.log.read_text()
    assert "/churn" in log and "C00007" not in log


def test_altered_tiers_are_refused(leaving_bank: SmallBank, tmp_path: Path) -> None:
    from recsys.bundle import write_bundle

    bundle = Bundle.load(leaving_bank.bundle)
    parts = {name: bundle.part(name) for name in bundle.contents.parts}
    about = json.loads(parts["churn"]["churn/about.json"])
    about["tiers"] = about["tiers"][::-1]
    parts["churn"]["churn/about.json"] = json.dumps(about).encode()
    lake, hashed = bundle.manifest["lake"], bundle.contents.feature_hash
    other = write_bundle(tmp_path, "other", parts, lake=lake, feature_hash=hashed, seconds={})
    with pytest.raises(BundleError, match="about.json: tiers do not go down"):
        Churn.of(other)


def test_the_end_report_says_who_leaves_and_what_to_try_next(leaving_bank: SmallBank) -> None:
    text = io.StringIO()
    print_report(leaving_bank.bundle, str(leaving_bank.lake), None, None, Console(file=text, width=120))
    said = text.getvalue()
    assert "Who leaves" in said and "logistic" in said and "Tiers: high from" in said
    assert f"recsys churn report {leaving_bank.bundle} --lake {leaving_bank.lake} --out OUT" in said
    assert "http://127.0.0.1:3000/churn" in said
