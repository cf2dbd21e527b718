"""Write a CycloneDX 1.6 bill of materials of the installed distributions: name, version, licence, purl, RECORD hash."""

import hashlib
import json
import re
import sys
import uuid
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any


def component(distribution: Distribution) -> dict[str, Any]:
    """One library as CycloneDX has it."""
    about = distribution.metadata
    name = re.sub(r"[-_.]+", "-", about["Name"]).lower()
    purl = f"pkg:pypi/{name}@{distribution.version}"
    found: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": distribution.version}
    found["purl"] = purl
    if licence := licence_of(distribution):
        found["licenses"] = [licence]
    record = distribution.read_text("RECORD")
    if record:  # pip's list of the files and their hashes: it stands for all that was installed
        content = hashlib.sha256(record.encode()).hexdigest()
        found["properties"] = [{"name": "recsys:record-sha256", "value": content}]
    return found


def licence_of(distribution: Distribution) -> dict[str, Any] | None:
    """The licence: an SPDX expression, else the classifier, else the first line of the text field."""
    about = distribution.metadata
    if expression := about.get("License-Expression"):
        return {"expression": expression}
    classified = [text.split(" :: ")[-1] for text in about.get_all("Classifier") or [] if text.startswith("License ::")]
    text = ", ".join(classified) or (about.get("License") or "").strip().split("\n")[0][:200]
    return {"license": {"name": text}} if text else None


def bill() -> dict[str, Any]:
    """The whole document; a distribution that is found twice is listed once."""
    found = {part["bom-ref"]: part for part in map(component, distributions()) if part["name"] != "recsys"}
    ours = next((d.version for d in distributions() if (d.metadata["Name"] or "").lower() == "recsys"), "0")
    parts = [found[reference] for reference in sorted(found)]
    content = json.dumps(parts, sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "component": {"type": "application", "bom-ref": "recsys", "name": "recsys", "version": ours},
        },
        "components": parts,
    }


if __name__ == "__main__":
    out = Path(sys.argv[1])
    made = bill()
    without = [part["name"] for part in made["components"] if "licenses" not in part]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(made, indent=1) + "\n")
    unnamed = f"; no licence named: {', '.join(without)}" if without else ""
    print(f"{out}: {len(made['components'])} components{unnamed}", file=sys.stderr)
