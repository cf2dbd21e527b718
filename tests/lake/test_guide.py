"""The guide's examples work as they are printed, and its reference names every key."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recsys.__main__ import application
from recsys.lake.catalog import AttributeSpec, Catalog, Checks, SourceFile
from recsys.lake.postgres import DatabaseSource
from recsys.lake.store import Lake

GUIDE = (Path(__file__).parents[2] / "docs" / "bring_your_data.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([^`\n]+)`:\n\n```\w*\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds every file that the guide prints, as the working directory."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(line: str) -> str:
    words = line.split()
    result = CliRunner().invoke(application(words), words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_tutorial_gives_what_it_prints(example: Path) -> None:
    printed = GUIDE[GUIDE.index("$ recsys data import") :].split("```")[0]
    imported, checked, _ = (part.partition("\n") for part in printed.split("$ recsys ")[1:])
    assert command(imported[0]) == imported[2]
    assert command(checked[0]) == checked[2]
    lake = Lake.open("my_lake")
    assert lake.read("customers")["branch"].to_list() == ["Köln", "Bonn", "Köln"]
    assert lake.read("transactions")["amount"].to_list() == [215_000, -4_317, -850]
    assert lake.customers(["002"])["transactions"].height == 2


def test_the_cross_section(example: Path) -> None:
    command("data import survey.yaml survey_lake --root survey")
    lake = Lake.open("survey_lake")
    assert lake.tables["interactions"].rows == 5
    assert lake.read("products")["product_id"].to_list() == ["card", "fund", "mortgage"]
    assert lake.as_of is None


def test_the_events(example: Path) -> None:
    command("data import clicks.yaml clicks_lake --root clicks")
    events = Lake.open("clicks_lake").read("interactions").sort("at")
    assert events["kind"].to_list() == ["viewed", "acquired", "viewed"]
    assert str(events["at"][0]) == "2024-03-01 11:00:00"


@pytest.mark.parametrize("model", [Catalog, SourceFile, Checks, AttributeSpec, DatabaseSource])
def test_the_reference_names_every_key(model: type[Catalog]) -> None:
    reference = GUIDE[GUIDE.index("## Reference: every key") : GUIDE.index("## Recipes in SQL")]
    for key, field in model.model_fields.items():
        row = re.search(rf"^\| `{key}` \| (●?)", reference, re.MULTILINE)
        assert row, key
        assert bool(row[1]) == field.is_required(), key
