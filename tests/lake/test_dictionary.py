"""The data dictionary in the repository is the one that the contract gives."""

from pathlib import Path

from recsys.lake.contract import KINDS, ROLES, TABLES
from recsys.lake.dictionary import markdown

README = Path(__file__).parents[2] / "data" / "README.md"


def test_the_data_dictionary_is_in_step() -> None:
    message = "run: python -m recsys.lake.dictionary > data/README.md"
    assert README.read_text(encoding="utf-8") == markdown(), message


def test_it_names_everything() -> None:
    text = markdown()
    for table in TABLES.values():
        assert f"\n## {table.name}\n" in text
        assert all(f"| `{column.name}` |" in text for column in table.columns)
    assert all(f"| `{name}` |" in text for name in (*ROLES, *KINDS))
