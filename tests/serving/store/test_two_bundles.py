"""Two bundles over one store, as while one replaces the other: each answers from what it saw itself."""

from pathlib import Path

import sqlalchemy as sa
import yaml

from recsys.bundle import Bundle, write_bundle
from serving.answers import Answers
from serving.served import Served
from serving.store import schema
from tests.serving.store.conftest import Open

CUSTOMERS = ("C0000", "C0001", "C0002")


def otherwise(path: Path, folder: Path) -> Path:
    """The same model under another configuration, and so another bundle: it recommends what is held, too."""
    bundle = Bundle.load(path)
    parts = {name: bundle.part(name) for name in bundle.contents.parts}
    parts["features"]["config.yaml"] = yaml.safe_dump({**bundle.config, "serving": {"exclude_held": False}}).encode()
    lake, hashed = bundle.manifest["lake"], bundle.contents.feature_hash
    return write_bundle(folder, "otherwise", parts, lake=lake, feature_hash=hashed, seconds={}).path


def test_each_bundle_answers_from_its_own_vectors_and_both_share_one_store(state: Open, tmp_path: Path) -> None:
    paths = [state.bank.bundle, otherwise(state.bank.bundle, tmp_path)]
    served = Served(bundle=str(paths[0]), store=state.name)
    first, second = (served.answers(path) for path in paths)
    assert first.store is second.store
    assert first.store is not None
    state.opened.append(first.store)
    right = [Answers.open(path, state.bank.lake, first.as_of) for path in paths]
    for _ in range(2):  # computed, then as stored
        for customer in CUSTOMERS:
            for answers, alone in zip((second, first), reversed(right), strict=True):
                question = {"customer_id": customer, "k": 5}
                assert answers.recommend(question) == alone.recommend(question)
    with first.store.reads() as connection:
        bundles = connection.execute(sa.select(schema.seen.c.bundle_id).distinct()).scalars().all()
    assert {bundle.bundle.bundle_id for bundle in right} == set(bundles)
