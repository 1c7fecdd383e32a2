"""CONTRIBUTING.md against the tree: it tells of every session of nox, and what it names exists."""

from __future__ import annotations

import re

from pages import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_its_table_has_every_session_of_nox_and_no_other() -> None:
    sessions = re.findall(r"^@nox\.session.*\ndef (\w+)", (ROOT / "noxfile.py").read_text("utf-8"), re.MULTILINE)
    rows = PAGE.partition("| session |")[2].partition("\n\n")[0].splitlines()
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert len(sessions) > 10
    assert sorted(named) == sorted(sessions)


def test_its_links_and_the_files_that_it_names_are_there() -> None:
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", PAGE)
    files = re.findall(r"`((?:tests|trio_bunws|docs)/[\w./]*)`", PAGE)
    assert len(links) > 4
    assert len(files) > 4
    assert [name for name in (*links, *files) if not (ROOT / name).exists()] == []
