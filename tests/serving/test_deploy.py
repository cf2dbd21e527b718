"""Following a registry and deploying to it: two workers in one process, each with a lake, a bundle and its follower."""

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recsys.errors import BundleError, ConfigError, LakeError
from serving import follower
from serving.answers import Answers
from serving.application import Application
from serving.canary import Comparison, compare, judge
from serving.current import Asked, Current
from serving.deploy import Deployed, deploy
from serving.follower import Follower, workers
from serving.registry import Registry
from serving.registry_contents import Bounds
from serving.request import BadRequest

QUESTIONS = [Asked("/recommend", json.dumps({"customer_id": f"C{n:04}", "k": 5}).encode()) for n in range(1, 21)]
LOOSE = Bounds(overlap=0, slower=1000)


def ask(answers: Answers, question: Asked) -> dict[str, Any]:
    return Application().ask(answers, question)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "EVERY", 0.05)


@pytest.fixture
def pair(two: tuple[Registry, str, str], small_lake: Path, quick: None) -> Iterator[list[Follower]]:
    """Two workers that serve the first bundle."""
    registry, first, _ = two
    registry.promote(first, by="ann")
    found = [follows(registry, small_lake) for _ in range(2)]
    yield found
    for worker in found:
        worker.stop()


def follows(registry: Registry, lake: Path) -> Follower:
    def opens(path: Path) -> Answers:
        return Answers.open(path, lake, None)

    promoted = registry.read().promoted
    assert promoted is not None
    current = Current(opens(registry.where(promoted)))
    for question in QUESTIONS:
        current.note(*question)
    worker = Follower(registry, current, opens, ask)
    worker.start()
    return worker


def in_force(worker: Follower) -> str:
    return worker.current.answers.bundle.bundle_id


def awaited(holds: Any, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def deployed(registry: Registry, bundle: Path, bounds: Bounds = LOOSE, seconds: float = 60) -> Deployed:
    return deploy(registry, bundle, bounds=bounds, seconds=seconds, by="ann", progress=lambda *_: None)


def test_workers_follow_what_is_promoted_and_rolled_back(pair: list[Follower], two: tuple[Registry, str, str]) -> None:
    registry, first, second = two
    before = ask(pair[0].current.answers, QUESTIONS[0])["items"]
    registry.promote(second, by="ann")
    awaited(lambda: {in_force(worker) for worker in pair} == {second})
    assert ask(pair[0].current.answers, QUESTIONS[0])["items"] != before
    registry.rollback(by="ann")
    awaited(lambda: {in_force(worker) for worker in pair} == {first})


def test_a_deployment_is_tried_by_every_worker_and_then_in_force_in_all(
    pair: list[Follower], two: tuple[Registry, str, str], holding_bundle: Path
) -> None:
    registry, _, second = two
    done = deployed(registry, holding_bundle)
    assert done.bundle_id == second
    assert {in_force(worker) for worker in pair} == {second}
    assert done.workers.keys() == {worker.name for worker in pair}
    for found in done.workers.values():
        assert (found["questions"], found["errors"]) == (20, 0)
        assert 0 < found["overlap"] < 1  # the one lists what is held, the other does not
    assert (registry.read().history[-1].action, registry.read().trial) == ("deploy", None)


def test_a_candidate_outside_the_bounds_is_refused_and_nothing_changes(
    pair: list[Follower], two: tuple[Registry, str, str], holding_bundle: Path
) -> None:
    registry, first, second = two
    with pytest.raises(BundleError, match="lists share 0.* of their products; at least 1 is asked"):
        deployed(registry, holding_bundle, Bounds(overlap=1, slower=1000))
    assert {in_force(worker) for worker in pair} == {first} == {registry.read().promoted}
    last = registry.read().history[-1]
    assert (last.action, last.bundle_id) == ("refuse", second)
    assert "of their products" in last.why
    awaited(lambda: all(worker._ready is None for worker in pair))  # nothing is kept in memory for it
    assert deployed(registry, holding_bundle).bundle_id == second  # and it may be tried again


def test_a_bundle_that_does_not_fit_the_lake_is_refused_with_what_is_missing(
    pair: list[Follower], two: tuple[Registry, str, str], holding_bundle: Path
) -> None:
    registry, first, _ = two
    good = pair[1]._opens

    def unfit(path: Path) -> Answers:
        if path.name.startswith("holding"):
            raise LakeError("lake: customers.region is not there, but the bundle reads it")
        return good(path)

    pair[1]._opens = unfit
    with pytest.raises(BundleError, match=r"customers\.region is not there"):
        deployed(registry, holding_bundle)
    assert registry.read().promoted == first
    # promoted by hand all the same: the one worker changes, the other goes on and says why
    registry.promote(two[2], by="ann")
    awaited(lambda: in_force(pair[0]) == two[2] and any(status.problem for status in workers(registry)[0]))
    assert in_force(pair[1]) == first


def test_a_candidate_that_workers_die_of_is_refused(
    pair: list[Follower], two: tuple[Registry, str, str], holding_bundle: Path
) -> None:
    registry = two[0]
    pair[1]._opens = lambda path: time.sleep(60)  # type: ignore[assignment, return-value]

    def die() -> None:
        awaited(lambda: registry.read().trial is not None)
        trial = registry.read().trial
        assert trial is not None
        long_ago = time.time() - 60
        for name in ("dead-1", "dead-2"):  # two workers begun the trial, and were not heard of since
            path = registry.path / "workers" / f"{name}.json"
            told = {"worker": name, "in_force": two[1], "trial": {"number": trial.number}}
            path.write_text(json.dumps(told))
            os.utime(path, (long_ago, long_ago))

    killer = threading.Thread(target=die)
    killer.start()
    with pytest.raises(BundleError, match="died while they tried it: dead-1, dead-2"):
        deployed(registry, holding_bundle)
    killer.join()
    assert registry.read().history[-1].action == "refuse"


def test_a_worker_that_leaves_during_a_trial_is_waited_for_until_another_has_taken_its_place(
    pair: list[Follower], two: tuple[Registry, str, str], small_lake: Path, holding_bundle: Path
) -> None:
    registry, _, second = two

    def replace() -> None:
        awaited(lambda: registry.read().trial is not None)
        pair[1].stop()
        pair.append(follows(registry, small_lake))

    replacing = threading.Thread(target=replace)
    replacing.start()
    done = deployed(registry, holding_bundle)
    replacing.join()
    assert done.workers.keys() == {pair[0].name, pair[2].name}
    assert in_force(pair[2]) == second


def test_a_worker_that_takes_too_long_and_a_change_by_another_hand_end_the_trial(
    pair: list[Follower], two: tuple[Registry, str, str], holding_bundle: Path
) -> None:
    registry, first, second = two
    good = pair[0]._opens
    release = threading.Event()

    def slow(path: Path) -> Answers:
        release.wait(30)
        return good(path)

    pair[0]._opens = slow
    with pytest.raises(BundleError, match="not tried by all workers within 2 s"):
        deployed(registry, holding_bundle, seconds=2)

    def meddle() -> None:
        awaited(lambda: registry.read().trial is not None)
        registry.promote(second, by="bob")

    meddler = threading.Thread(target=meddle)
    meddler.start()
    with pytest.raises(BundleError, match="changed by somebody else"):
        deployed(registry, holding_bundle)
    meddler.join()
    release.set()
    awaited(lambda: {in_force(worker) for worker in pair} == {second})
    assert [change.action for change in registry.read().history[-2:]] == ["refuse", "promote"]
    assert first != second


def test_a_deployment_needs_workers_and_a_running_bundle(two: tuple[Registry, str, str], holding_bundle: Path) -> None:
    registry, first, _ = two
    with pytest.raises(ConfigError, match="nothing is in force"):
        deployed(registry, holding_bundle)
    registry.promote(first, by="ann")
    with pytest.raises(ConfigError, match="no worker serves from here"):
        deployed(registry, holding_bundle)


def test_what_a_killed_deployment_left_behind_is_dropped_when_its_time_is_over(
    pair: list[Follower], two: tuple[Registry, str, str]
) -> None:
    registry, first, second = two
    registry.try_out(second, LOOSE, seconds=20)
    awaited(lambda: all(worker._ready is not None for worker in pair))
    trial = registry.read().trial
    assert trial is not None
    for worker in pair:
        assert worker._contents is not None
        past = trial.model_copy(update={"ends": time.time() - 1})
        worker._contents = worker._contents.model_copy(update={"trial": past})
    awaited(lambda: all(worker._ready is None for worker in pair))
    assert {in_force(worker) for worker in pair} == {first}


def test_a_registry_that_is_away_for_a_while_stops_nobody(
    pair: list[Follower], two: tuple[Registry, str, str], tmp_path: Path
) -> None:
    registry, first, second = two
    registry.path.rename(tmp_path / "away")
    time.sleep(0.3)
    assert in_force(pair[0]) == first
    (tmp_path / "away").rename(registry.path)
    registry.promote(second, by="ann")
    awaited(lambda: {in_force(worker) for worker in pair} == {second})


class Canned:
    """Gives the answer to each question from a table; none: it has no answer."""

    def __init__(self, told: dict[bytes, Any], seconds: float = 0) -> None:
        self.told, self.seconds = told, seconds

    def recommend(self, body: bytes) -> Any:
        time.sleep(self.seconds)
        if body not in self.told:
            raise BadRequest("customer_id", "unknown", 404)
        if isinstance(self.told[body], Exception):
            raise self.told[body]
        return self.told[body]


def look_up(answers: Any, question: Asked) -> dict[str, Any]:
    found: dict[str, Any] = answers.recommend(question.body)
    return found


def listing(*products: str, probability: float | None = None, score: float = 1.0) -> dict[str, Any]:
    when = None if probability is None else {"1m": probability}
    return {"items": [{"product_id": p, "score": score + i, "probability": when} for i, p in enumerate(products)]}


def test_overlap_shift_errors_and_time_are_those_of_the_same_questions() -> None:
    questions = [Asked("/recommend", body) for body in (b"1", b"2", b"3", b"4")]
    running = Canned({b"1": listing("A", "B", probability=0.1), b"2": listing("C", "D"), b"3": listing("E")})
    candidate = Canned(
        {b"1": listing("B", "X", probability=0.4, score=3), b"2": listing("C", "D"), b"4": listing("A")}, 0.03
    )
    found = compare(running, candidate, questions, look_up)  # type: ignore[arg-type]
    assert (found.questions, found.errors, found.first_error) == (4, 1, "/recommend: status 404")
    assert found.overlap == pytest.approx((0.5 + 1) / 2)
    assert found.shift == pytest.approx(0.3)  # of B alone: X was not listed before
    said = judge(found, Bounds(overlap=0.8, shift=0.2, slower=2))
    assert [sentence.split()[0] for sentence in said] == ["1", "lists", "probabilities", "an"]
    assert judge(found, Bounds(errors=1, overlap=0.7, shift=0.4, slower=1e6)) == []


def test_each_customer_of_a_list_is_compared() -> None:
    questions = [Asked("/recommend", b"1")]
    running = Canned({b"1": {"answers": [listing("A"), listing("B")]}})
    candidate = Canned({b"1": {"answers": [listing("A"), listing("C")]}})
    assert compare(running, candidate, questions, look_up).overlap == 0.5  # type: ignore[arg-type]


def test_the_chance_to_leave_is_compared_wherever_an_answer_tells_it() -> None:
    questions = [Asked("/churn", b"1"), Asked("/decide", b"2")]
    running = Canned({b"1": {"probability": 0.1}, b"2": {"items": [], "churn": {"probability": 0.2}}})
    candidate = Canned({b"1": {"probability": 0.4}, b"2": {"items": [], "churn": {"probability": 0.3}}})
    found = compare(running, candidate, questions, look_up)  # type: ignore[arg-type]
    assert found.shift == pytest.approx(0.2)


def test_an_unforeseen_error_of_a_candidate_is_told_by_its_kind_alone() -> None:
    questions = [Asked("/recommend", b"1")]
    candidate = Canned({b"1": ValueError("customer C0001 has no income")})
    found = compare(Canned({b"1": listing("A")}), candidate, questions, look_up)  # type: ignore[arg-type]
    assert found.first_error == "/recommend: ValueError"
    assert "C0001" not in " ".join(judge(found, Bounds()))


def test_without_questions_nothing_is_judged() -> None:
    assert judge(Comparison(questions=0), Bounds()) == []
