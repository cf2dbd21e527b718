"""Where the time of one customer's answer goes: `/decide` with 20 fresh events, in process, stage by stage."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.measure import ROOT, arguments, write
from benchmarks.serving_parts import whole_bank
from recsys.bundle.segment_of import with_events
from recsys.churn.standing import standing
from recsys.features.encoded import EncodedRows
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from recsys.progress import progress_bar
from serving.answers import Answers
from serving.request import read_fields, read_question

FRESH = 20
STAGES = {
    "body": "the body read and checked",
    "events": "fresh events checked against the contract, those known already left out",
    "joined": "put beside the customer's rows",
    "features": "features",
    "standing": "whether they are a customer on the day",
    "encode": "encoder, once for all parts",
    "recommender": "the recommender's tower",
    "adoption": "the adoption tower",
    "segments": "embedding, segment, what is unusual",
    "churn": "chance to leave, tier, survival",
    "rank": "ranking, chances by horizon, the answer",
}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--asked", type=int, default=100, help="customers that are asked about")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--bundle", type=Path, help="a bundle with every part, with --lake; else one is trained")
    parser.add_argument("--lake", type=Path)
    parser.add_argument("--inside", action="store_true", help="internal: measure on one thread, as JSON")
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(measured(options.bundle, Lake.open(options.lake), options.asked, options.rounds)))
        return
    if options.bundle is None:
        bank, options.bundle = whole_bank(options.work, 3000)
        options.lake = bank.path
    command = [sys.executable, "-m", "benchmarks.one_answer", "--inside", "--bundle", str(options.bundle)]
    command += ["--lake", str(options.lake), "--asked", str(options.asked), "--rounds", str(options.rounds)]
    alone = {**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=alone, stdout=subprocess.PIPE, text=True, check=True)
    results = json.loads(done.stdout) | {"load": os.getloadavg()[0]}
    write("one_answer", "Where the time of one answer goes", page(results), results)


def measured(bundle: Path, lake: Lake, asked: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of every stage; of one customer the middle of the rounds after a first that warms up."""
    day = lake.as_of
    assert day is not None
    answers = Answers.open(bundle, lake.path, day + timedelta(days=1))
    ids = lake.read("customers")["customer_id"].unique().sort().head(asked).to_list()
    fresh = [
        {"event_id": f"fresh-{n}", "at": f"{day}T{8 + n // 4:02}:{n % 4 * 15:02}:00", "amount": -1000 - n}
        for n in range(FRESH)
    ]
    times: dict[str, list[float]] = {name: [] for name in STAGES}
    events = []
    with progress_bar("Answering") as progress:
        for place, customer in enumerate(ids):
            body = json.dumps({"customer_id": customer, "events": {"transactions": fresh}}).encode()
            tables = lake.customers([customer])
            events.append(sum(table.height for table in tables.values() if "at" in table.columns))
            turns = [_timed(answers, customer, tables, body) for _ in range(rounds + 1)][1:]
            for name in times:
                times[name].append(float(np.median([turn[name] for turn in turns])))
            progress(place + 1, len(ids), "customers")
    whole = np.sum([times[name] for name in STAGES], axis=0)
    return {
        "customers": len(ids),
        "rounds": rounds,
        "events": int(np.median(events)),
        "columns": len(answers.bundle.definition.numbers),
        "milliseconds": {name: _quantiles(values) for name, values in times.items()} | {"whole": _quantiles(whole)},
    }


def _timed(answers: Answers, customer: str, tables: Mapping[str, pl.DataFrame], body: bytes) -> dict[str, float]:
    """Milliseconds of each stage of one answer."""
    found: dict[str, float] = {}

    def stage(name: str, call: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        made = call()
        found[name] = 1000 * (time.perf_counter() - began)
        return made

    sight, day, contract = answers.sight, answers.as_of, answers.customers.contract
    recommender, adoption, segmentation = sight.recommender, sight.adoption, sight.segmentation
    leaving, survival = sight.leaving, sight.survival
    assert recommender and adoption and segmentation and leaving and survival
    question = stage("body", lambda: read_question(read_fields(body), answers.products))
    events = stage("events", lambda: contract.events(customer, question.events, tables, day))
    joined = stage("joined", lambda: with_events(tables, events))
    rows = stage("features", lambda: features(joined, scoring_examples([customer], day), answers.bundle.definition))
    stage("standing", lambda: standing(joined, day, leaving.about.rule))
    encoded = EncodedRows(rows, answers.bundle.encoder)
    stage("encode", lambda: list(encoded.batches()))
    stage("recommender", lambda: recommender.vectors_from_rows(encoded))
    stage("adoption", lambda: adoption.vectors_from_rows(encoded))
    stage("segments", lambda: _placed(segmentation, encoded))
    stage("churn", lambda: (leaving.scored(encoded), survival.survival(encoded)))
    (seen,) = sight.see(joined, [customer], day)
    stage("rank", lambda: answers.recommended(recommender, seen, question, day))
    return found


def _placed(segmentation: Any, rows: EncodedRows) -> None:
    embedded = segmentation.embed(rows)
    segmentation.assign(segmentation.places(embedded))
    segmentation.embedding.unusual(embedded.errors)


def _quantiles(values: Any) -> dict[str, float]:
    return {f"p{share}": round(float(np.percentile(values, share)), 3) for share in (50, 95)}


def page(results: Mapping[str, Any]) -> str:
    lines = ["| stage | median | 95 % |", "|---|---|---|"]
    for name, said in {**STAGES, "whole": "all of it"}.items():
        found = results["milliseconds"][name]
        lines.append(f"| {said} | {found['p50']:.2f} ms | {found['p95']:.2f} ms |")
    return "\n".join(
        [
            f"`/decide` for {results['customers']} known customers of a synthetic bank, each with {FRESH} fresh "
            f"transactions in the question and {results['events']} dated rows at the median, from a bundle with every "
            f"part and {results['columns']} numbers in a feature row; {results['rounds']} rounds, of each customer the "
            "middle one. One process, one thread (ONNX Runtime, Polars and OpenMP).",
            "",
            *lines,
            "",
            "The customer's rows are in memory: reading them from a store or a lake, HTTP, keys and the log are not in "
            "it; `python -m benchmarks.serving --only decide` has them. "
            f"The machine's load was {results['load']:.1f} afterwards; above 1, others took part of the time.",
        ]
    )


if __name__ == "__main__":
    main()
