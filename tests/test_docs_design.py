"""docs/design.md against the tree: the files and tests that it names exist, and no module is left out of its rows."""

from __future__ import annotations

import re

import pytest
from pages import ROOT, text_of

PAGE = text_of("design.md")
PACKAGE = ROOT / "trio_bunws"
TABLES = [line for line in PAGE.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`((?:_wire/)?(?:_|test_)\w+\.py|_cli/|_wire/|testing/)`", PAGE)))
)
def test_a_file_that_it_names_exists(name: str) -> None:
    assert (ROOT / "tests" / name).is_file() if name.startswith("test_") else (PACKAGE / name).exists()


def test_every_module_has_its_row_in_the_page() -> None:
    named = set(re.findall(r"`(_\w+\.py)`", "\n".join(TABLES)))
    assert {path.name for path in PACKAGE.glob("_*.py")} - {"__init__.py", "__main__.py"} - named == set()


def test_contributors_are_told_of_every_session_that_nox_runs_by_itself() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    noxfile = (ROOT / "noxfile.py").read_text("utf-8")
    told = {name for line in page.splitlines() if line.startswith("| `") for name in re.findall(r"`(\w+)`", line)}
    (default,) = re.findall(r"^nox\.options\.sessions = \[(.*)\]$", noxfile, re.MULTILINE)
    assert set(re.findall(r'"(\w+)"', default)) - told == set()
    sessions = re.findall(r"^@nox\.session.*\ndef (\w+)", noxfile, re.MULTILINE)
    table = page.partition("| session |")[2].partition("\n\n")[0]
    named = {name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert named - set(sessions) == set()


def test_the_links_and_files_of_contributing_are_there() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page)
    files = re.findall(r"`((?:tests|trio_bunws|docs)/[\w./]*)`", page)
    assert len(links) > 4
    assert len(files) > 4
    assert [name for name in (*links, *files) if not (ROOT / name).exists()] == []
