"""A bandit's state in one file: arrays as npz, everything else as JSON inside it; no pickle is written or read."""

import io
import json
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from recsys.campaigns.bandits.bandit import Bandit
from recsys.campaigns.bandits.policies import POLICIES, Actions
from recsys.campaigns.bandits.posterior import Posterior
from recsys.durable import rename
from recsys.errors import DataError

SCHEMA = 1


def save(bandit: Bandit, path: Path) -> None:
    """Write the state under its name when it is whole; the same state gives the same bytes."""
    said = {
        "schema": SCHEMA,
        "policy": next(name for name, kind in POLICIES.items() if isinstance(bandit.policy, kind)),
        "settings": asdict(bandit.policy),
        "floor": bandit.floor,
        "actions": list(bandit.actions.names),
        "kind": bandit.belief.kind,
        "noise": bandit.belief.noise,
        "seen": bandit.belief.seen,
        "pending": list(bandit.pending),
    }
    waiting = list(bandit.pending.values())
    arrays = {
        "said": np.frombuffer(json.dumps(said, sort_keys=True).encode(), dtype=np.uint8),
        "worth": bandit.actions.worth,
        "cost": bandit.actions.cost,
        "mean": bandit.belief.mean,
        "precision": bandit.belief.precision,
        "pending": np.stack(waiting) if waiting else np.zeros((0, bandit.belief.size)),
    }
    partial = path.with_name(f".{path.name}.partial")
    with zipfile.ZipFile(partial, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())
    rename(partial, path)


def load(path: Path) -> Bandit:
    """The bandit as it was saved. Raises DataError for a file that is absent, damaged or of another schema."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        said = json.loads(arrays["said"].tobytes().decode())
        if said["schema"] != SCHEMA:
            raise DataError(f"{path}: state of schema {said['schema']}; this version reads {SCHEMA}")
        return Bandit(
            actions=Actions(tuple(said["actions"]), arrays["worth"], arrays["cost"]),
            belief=Posterior(said["kind"], arrays["mean"], arrays["precision"], said["noise"], said["seen"]),
            policy=POLICIES[said["policy"]](**said["settings"]),
            floor=said["floor"],
            pending=dict(zip(said["pending"], arrays["pending"], strict=True)),
        )
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: is no state of a bandit: {error}") from error
