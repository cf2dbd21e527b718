"""The values of a plan's actions for every bucket, kept as arrays that are mapped from the disk."""

import json
import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from recsys.bundle import Bundle
from recsys.campaigns.allocation import Part
from recsys.campaigns.plan import CampaignPlan
from recsys.durable import rename, sync
from recsys.lake.store import Lake
from recsys.rules import Rules
from serving.campaign_since import Since
from serving.campaign_values import Bucket, Valuation, check_groups
from serving.rules import RulesInForce
from serving.run_record import partial_of
from serving.store.event_rows import TABLES_IN

IDS, ABOUT = "ids.parquet", "about.json"


@dataclass(frozen=True)
class Valuing:
    """What a plan asks of every bucket; kept as a folder of arrays."""

    valuation: Valuation
    since: Since | None = None
    """What a store knows since the lake."""

    def answer(self, tables: dict[str, pl.DataFrame], as_of: date | None) -> Bucket:
        """Everyone in these tables, by id."""
        if self.since is None:
            return self.valuation.of(tables, as_of)
        known = self.since.known(tables["customers"]["customer_id"].unique())
        return self.valuation.of(known.joined(tables), as_of, known)

    def write(self, place: Path, parts: list[Bucket], bundle_id: str) -> None:
        """A folder that appears when whole."""
        partial = partial_of(place)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        ids = pl.concat([part.ids for part in parts])
        order = ids.arg_sort().to_numpy()
        ids.gather(order).to_frame("customer_id").write_parquet(partial / IDS)
        for name, axis, arrays in (
            ("values", 1, [part.part.values for part in parts]),
            ("costs", 1, [part.part.costs for part in parts]),
            ("group", 0, [part.part.group for part in parts]),
            ("most", 0, [part.part.most for part in parts]),
            ("blocked", 0, [part.blocked for part in parts]),
            ("removed", 1, [part.removed for part in parts]),
        ):
            if arrays[0] is not None:
                whole = np.concatenate([array for array in arrays if array is not None], axis=axis)
                np.save(partial / f"{name}.npy", np.ascontiguousarray(whole.take(order, axis=axis)))
        (partial / ABOUT).write_text(json.dumps({"rules": parts[0].rules}) + "\n", encoding="utf-8")
        for file in partial.iterdir():
            sync(file)
        rename(partial, place)


def valuing_all(
    bundle: Bundle,
    lake: Lake,
    as_of: date | None,
    *,
    plan: CampaignPlan,
    rules: Rules | None,
    rules_file: str,
    threads: int,
    since: Since | None = None,
) -> Valuing:
    """`Valuing` from a bundle and a lake; `rules_file` names where the rules were read, for errors.

    Raises ConfigError and BundleError for a plan and rules that do not fit them.
    """
    check_groups(plan, lake.tables["customers"].columns)
    others = () if since is None else TABLES_IN
    in_force = None if rules is None else RulesInForce.of(rules, rules_file, bundle, lake, as_of, threads, others)
    return Valuing(Valuation(bundle, plan, threads, in_force), since)


def read_values(place: Path) -> Bucket:
    """A bucket's arrays; values and costs stay on the disk until they are used."""

    def array(name: str, mapped: bool = False) -> np.ndarray | None:
        path = place / f"{name}.npy"
        return np.load(path, mmap_mode="r" if mapped else None) if path.exists() else None

    values, blocked = array("values", True), array("blocked")
    assert values is not None and blocked is not None
    ids = pl.read_parquet(place / IDS)["customer_id"]
    part = Part(values, array("costs", True), array("group"), array("most"))
    rules = tuple(json.loads((place / ABOUT).read_text(encoding="utf-8"))["rules"])
    return Bucket(ids, part, blocked, rules, array("removed", True))
