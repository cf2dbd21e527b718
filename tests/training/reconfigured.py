"""A bundle as it would be had one setting of its evaluation been another: the weights are the same."""

from pathlib import Path

import yaml

from recsys.bundle import Bundle, write_bundle
from training.config import load_config


def reconfigured(bundle: Bundle, out: Path, overrides: list[str]) -> Bundle:
    """Written below `out` with the same files apart from its configuration, and whole by its own hashes."""
    parts = {name: bundle.part(name) for name in bundle.contents.parts}
    config = load_config(bundle.path / "config.yaml", overrides)
    parts["features"]["config.yaml"] = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).encode()
    manifest = bundle.manifest
    return write_bundle(
        out, config.name, parts, lake=manifest["lake"], feature_hash=bundle.definition.hash(), seconds={}
    )
