"""The documentation is true where a program can tell: links, commands, files and figures."""

import re
import shlex
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from recsys import __main__ as cli
from recsys.shipped import names

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md"), ROOT / "data" / "README.md"]
)
GUIDES = [page for page in PAGES if page.parent.name != "benchmarks"]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FILE = re.compile(
    r"`((?:recsys|training|serving|data|configs|benchmarks|tests|docs|notebooks)/[\w./-]+\.(?:py|yaml|md))`"
)
FIGURE = re.compile(r"(?<![\w.])0?(\.\d{3,})")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them: small letters, no punctuation, a hyphen for each blank."""
    headings = re.findall(r"^#+ +(.+?) *#*$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    kept = ("".join(c for c in text if c in " -_" or unicodedata.category(c)[0] in "LN") for text in plain)
    return {text.replace(" ", "-") for text in kept}


def broken_links(page: Path) -> list[str]:
    broken = []
    for target in LINK.findall(without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        if not aim.exists() or (anchor and aim.suffix == ".md" and anchor not in anchors(aim)):
            broken.append(target)
    return broken


def commands(text: str) -> Iterator[tuple[str, bool]]:
    """Every `recsys …` of a page, and whether it is whole: a line of a block, not some words in a sentence."""
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = without_code(text)
    blocks = [*fenced, "\n".join(re.findall(r"^ {4}(.*)$", rest, re.MULTILINE))]
    for block in blocks:
        joined = re.sub(r"\\\n\s*", " ", block)
        for line in re.findall(r"^(?:\$ )?(?:\w+=\S+ )*(recsys .*)$", joined, re.MULTILINE):
            for command in re.split(r"[;|&>]+ *|  +#.*$| # .*$", line):
                if command.startswith("recsys "):
                    yield command.strip(), True
    running = re.sub(r"^ {4}.*$", "", rest, flags=re.MULTILINE)
    for inline in re.findall(r"`(recsys [^`]+)`", running):
        yield " ".join(inline.split()), False


def refused(command: str, whole: bool) -> str | None:
    """Why the command line does not take it, or None: an unknown verb or option, an argument too few or too many."""
    words = [word.strip("[]") for word in shlex.split(command)[1:] if word not in ("…", "...")]
    found: Any = typer.main.get_command(cli.application(words))
    context = found.context_class(found, info_name="recsys")
    while hasattr(found, "get_command"):
        if not words or words[0].startswith("-"):
            return None
        verb = found.get_command(context, words[0])
        if verb is None:
            return f"no command {words[0]!r}"
        context, found, words = verb.context_class(verb, info_name=words[0], parent=context), verb, words[1:]
    options = {option for param in found.params for option in (*param.opts, *param.secondary_opts)} | {"--help"}
    unknown = [word for word in words if word.startswith("--") and word.split("=")[0] not in options]
    if unknown:
        return f"no option {', '.join(unknown)}"
    if not whole or "--help" in words:
        return None
    parsed, left, _ = found.make_parser(context).parse_args(args=words)
    if left:
        return f"too many arguments: {' '.join(left)}"
    missing = [str(param.name) for param in found.params if param.required and not parsed.get(str(param.name))]
    return f"without {', '.join(missing)}" if missing else None


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_every_command_is_one_that_the_command_line_takes(page: Path) -> None:
    found = list(commands(page.read_text(encoding="utf-8")))
    wrong = {command: why for command, whole in found if (why := refused(command, whole)) is not None}
    assert wrong == {}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_that_is_named_exists(page: Path) -> None:
    assert [name for name in FILE.findall(page.read_text(encoding="utf-8")) if not (ROOT / name).exists()] == []


def test_every_figure_of_the_readme_stands_in_the_page_that_its_row_links() -> None:
    rows = re.findall(r"^\| \[.*benchmarks/.*$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert len(rows) >= 7
    for row in rows:
        page = (ROOT / "benchmarks" / re.findall(r"benchmarks/(\w+\.md)", row)[0]).read_text("utf-8")
        measured = set(FIGURE.findall(page))
        assert FIGURE.findall(row) and not set(FIGURE.findall(row)) - measured, row


def test_the_best_baseline_of_the_readme_is_the_best_of_the_page() -> None:
    """By the first metric of the row: no baseline of the page's table is above the one that is named."""
    tables = {"Amazon Beauty": ("sequences", "recall@10"), "Amazon Sports": ("sequences", "recall@10")}
    tables |= {"Gowalla": ("gowalla", "recall@20"), "Zimnat insurance": ("zimnat", "mrr")}
    readme = (ROOT / "README.md").read_text("utf-8")
    for name, (page, metric) in tables.items():
        text = (ROOT / "benchmarks" / f"{page}.md").read_text("utf-8")
        table = text[text.find(f"## {name}") :] if f"## {name}" in text else text
        lines = [line.strip("| ").split(" | ") for line in table[table.find("| model") :].split("\n\n")[0].splitlines()]
        column = lines[0].index(metric)
        baselines = [float(line[column].split()[0]) for line in lines[2:] if "two_tower" not in line[0]]
        row = next(line for line in readme.splitlines() if line.startswith(f"| [{name}](benchmarks/{page}.md)"))
        assert float(FIGURE.findall(row.split(" | ")[3])[0]) == max(baselines), row


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {
        *re.findall(r"\((\w+\.md)\)", index),
        "README.md",
    } == set()


def test_the_readme_names_every_shipped_configuration() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert [name for name in names("configs") if f"`{name}`" not in readme] == []


def test_every_benchmark_that_is_named_can_be_run() -> None:
    named = {name for page in PAGES for name in re.findall(r"python -m benchmarks\.(\w+)", page.read_text("utf-8"))}
    assert {name for name in named if not (ROOT / "benchmarks" / f"{name}.py").exists()} == set()
    assert "zimnat" in named


def test_every_target_of_make_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in GUIDES:
        assert set(re.findall(r"(?:^ {4}|`)make ([a-z]+)", page.read_text("utf-8"), re.MULTILINE)) <= targets, page


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One two\n[a](page.md#one-two) [b](page.md#three) [c](none.md) [d](https://x.org/none)\n")
    assert broken_links(page) == ["page.md#three", "none.md"]
    text = (
        "Say `recsys trian` or `recsys train zimnat`.\n\n    recsys score B L O --topp 5   # five\n    recsys verify\n"
    )
    found = {command: refused(command, whole) for command, whole in commands(text)}
    assert found["recsys train zimnat"] is None
    assert found["recsys trian"] == "no command 'trian'"
    assert "--topp" in str(found["recsys score B L O --topp 5"])
    assert found["recsys verify"] == "without bundle"
