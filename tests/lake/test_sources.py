"""Files of any form and encoding are read as they are meant; a file that is not what it should be is named."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.errors import ConfigError, DataError
from recsys.lake.catalog import SourceFile
from recsys.lake.sources import Sources
from recsys.lake.text_file import CHUNK, read_text_file

TEXT = 'id;town\n001;Köln\n002;"a;b"\n003;\n'
ROWS = [("001", "Köln"), ("002", "a;b"), ("003", None)]


def rows(folder: Path, sql: str = "SELECT * FROM f", **file: Any) -> list[tuple[Any, ...]]:
    """The rows of a SELECT from one file."""
    files: Mapping[str, SourceFile] = {"f": SourceFile(**file)}
    with Sources(files, folder, "c.yaml") as sources:
        return pl.concat(sources.select("customers", sql)).rows()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "cp850"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_encodings_and_line_ends(encoding: str, ends: str, tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_bytes(TEXT.replace("\n", ends).encode(encoding))
    stated = "utf-8" if encoding == "utf-8-sig" else encoding
    assert rows(tmp_path, path="f.csv", format="csv", separator=";", encoding=stated) == ROWS


def test_a_file_in_another_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_bytes(TEXT.encode("cp1252"))
    with pytest.raises(DataError, match=r"f.csv: line 2 is not utf-8 text \(byte 0xf6\); state the file's encoding"):
        rows(tmp_path, path="f.csv", format="csv", separator=";")


def test_headers_nulls_and_quotes(tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("1\tNA\t'x'\n2\t\t''\n")
    options: dict[str, Any] = {"path": "f.txt", "format": "csv", "separator": "\t", "header": ["a", "b", "c d"]}
    assert rows(tmp_path, **options, quote="'", nulls=["NA"]) == [("1", None, "x"), ("2", "", "")]
    assert rows(tmp_path, **options, quote="") == [("1", "NA", "'x'"), ("2", None, "''")]
    (tmp_path / "f.txt").write_text("a,A\n1,2\n")
    with pytest.raises(DataError, match="the header names 'a' twice"):
        rows(tmp_path, path="f.txt", format="csv")
    (tmp_path / "f.txt").write_text("")
    with pytest.raises(DataError, match="is empty, it has no header"):
        rows(tmp_path, path="f.txt", format="csv")
    (tmp_path / "f.txt").write_text("a,b\n1,2\n1,2,3\n")
    with pytest.raises(DataError, match="Line: 3"):
        rows(tmp_path, path="f.txt", format="csv")


def test_several_files_of_one_form(tmp_path: Path) -> None:
    (tmp_path / "part-2.csv").write_text("id\n3\n")
    (tmp_path / "part-1.csv").write_text("id\n1\n2\n")
    assert rows(tmp_path, path="part-*.csv", format="csv", checks={"rows": 3}) == [("1",), ("2",), ("3",)]
    (tmp_path / "part-3.csv").write_text("nr\n4\n")
    with pytest.raises(DataError, match="part-3.csv: its header differs from that of part-1.csv"):
        rows(tmp_path, path="part-*.csv", format="csv")
    with pytest.raises(ConfigError, match="3 files match"):
        rows(tmp_path, path="part-*.csv", format="csv", checks={"sha256": "0" * 64})


def test_parquet_json_and_lines(tmp_path: Path) -> None:
    pl.DataFrame({"id": [1, 2], "tags": [["a"], []]}).write_parquet(tmp_path / "f.parquet")
    assert rows(tmp_path, path="f.parquet", format="parquet") == [(1, ["a"]), (2, [])]
    records = [{"id": "a", "n": 1}, {"id": "b", "n": None}]
    (tmp_path / "array.json").write_text(json.dumps(records))
    (tmp_path / "lines.json").write_text("\n".join(map(json.dumps, records)))
    for name in ("array.json", "lines.json"):
        assert rows(tmp_path, path=name, format="json") == [("a", 1), ("b", None)]
    (tmp_path / "object.json").write_text(json.dumps({"x": [1, 2], "ü": []}, ensure_ascii=False), "cp1252")
    tags = "SELECT key, CAST(value AS VARCHAR[]) FROM f"
    read = rows(tmp_path, tags, path="object.json", format="json", layout="object", encoding="cp1252")
    assert read == [("x", ["1", "2"]), ("ü", [])]
    (tmp_path / "f.txt").write_bytes(b'1 "2 3\r\n4, 5\r\n')
    assert rows(tmp_path, path="f.txt", format="lines", checks={"rows": 2}) == [('1 "2 3',), ("4, 5",)]
    (tmp_path / "f.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="f.parquet"):
        rows(tmp_path, path="f.parquet", format="parquet")


def test_no_rows_keep_their_columns(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("id\n")
    with Sources({"f": SourceFile(path="f.csv", format="csv")}, tmp_path, "c.yaml") as sources:
        frames = list(sources.select("customers", "SELECT id, 1 AS n FROM f"))
    assert [frame.shape for frame in frames] == [(0, 2)]
    assert frames[0].columns == ["id", "n"]


def test_an_absent_file_names_what_the_root_holds(tmp_path: Path) -> None:
    (tmp_path / "other.csv").touch()
    with pytest.raises(
        DataError, match=r"f.csv: no such file, which the catalog c.yaml needs as f; .* holds other.csv"
    ):
        rows(tmp_path, path="f.csv", format="csv")
    with pytest.raises(DataError, match="is no folder; --root names the folder"):
        rows(tmp_path / "none", path="f.csv", format="csv")


@pytest.mark.parametrize(
    ("checks", "message"),
    [
        ({"rows": 4}, "this copy is altered: rows expected 4, found 3"),
        ({"sums": {"n": 10.5}}, "sum of n expected 10.5, found 6.75"),
        ({"rows": 3, "sums": {"n": 6.75}}, ""),
        ({"sha256": "ab" * 32}, "this copy is altered: sha256 expected abab"),
        ({"sums": {"town": 1}}, "first in f.csv, row 1, column town"),
    ],
)
def test_an_altered_copy_is_refused_with_what_differs(checks: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("n,town\n1.5,Ulm\n2.25,Bonn\n3,Ulm\n")
    if message:
        with pytest.raises(DataError, match=message):
            rows(tmp_path, path="f.csv", format="csv", checks=checks)
    else:
        assert len(rows(tmp_path, path="f.csv", format="csv", checks=checks)) == 3


def test_the_checksum_does_not_mind_windows_line_ends_wherever_they_fall(tmp_path: Path) -> None:
    for length in (CHUNK - 2, CHUNK - 1, CHUNK, 5):
        plain = b"x" * length + b"\ny\n" + b"\r" + b"z"
        path = tmp_path / "f.txt"
        path.write_bytes(plain.replace(b"\n", b"\r\n"))
        found = read_text_file(path, "utf-8", tmp_path / "copy", hashed=True)
        assert found.path == path
        assert hashlib.sha256(plain).hexdigest() in found.sha256
        assert hashlib.sha256(path.read_bytes()).hexdigest() in found.sha256


def test_nothing_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "f.csv").write_bytes(TEXT.encode("cp1252"))
    rows(tmp_path, path="f.csv", format="csv", separator=";", encoding="cp1252")
    with pytest.raises(ConfigError):
        rows(tmp_path, "SELECT x FROM f", path="f.csv", format="csv", separator=";", encoding="cp1252")
    assert list((tmp_path / "temporary").iterdir()) == []
