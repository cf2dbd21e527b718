"""The bill of materials: every installed package, named as package managers look it up."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_every_dependency_is_listed_with_version_and_licence(tmp_path: Path) -> None:
    out = tmp_path / "sbom.json"
    subprocess.run([sys.executable, str(ROOT / ".ci" / "sbom.py"), str(out)], check=True, capture_output=True)
    bill = json.loads(out.read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", bill["serialNumber"])
    parts = {part["name"]: part for part in bill["components"]}
    assert len(parts) == len(bill["components"]) > 30 and "recsys" not in parts
    for name in ("bentoml", "polars", "onnxruntime", "pydantic"):
        assert parts[name]["version"] == version(name)
        assert parts[name]["purl"] == parts[name]["bom-ref"] == f"pkg:pypi/{name}@{version(name)}"
        assert parts[name]["licenses"]
        assert re.fullmatch(r"[0-9a-f]{64}", parts[name]["properties"][0]["value"])
    pinned = re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "constraints.txt").read_text(), re.M)
    known = {re.sub(r"[-_.]+", "-", name).lower() for name in pinned}
    assert {"bentoml", "polars"} <= known & set(parts)
