"""CHANGELOG.md and the fragments in changes/ that become its next part: what towncrier and a release rely on."""

from __future__ import annotations

import re
import tomllib

import pytest
from pages import ROOT

import trio_bunws

CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["towncrier"]
TYPES = [one["directory"] for one in SETTINGS["type"]]
FRAGMENTS = sorted(path for path in (ROOT / SETTINGS["directory"]).iterdir() if path.name != "README.md")
VERSIONS = re.findall(r"^## (\S+) \(\d{4}-\d\d-\d\d\)$", CHANGELOG, re.MULTILINE)


def is_fragment(name: str) -> bool:
    """Return whether ``name`` is ``<issue>.<type>.md`` or ``+<word>.<type>.md``."""
    return re.fullmatch(rf"(\d+|\+[a-z0-9-]+)\.({'|'.join(TYPES)})\.md", name) is not None


def test_the_newest_version_is_that_of_the_package() -> None:
    assert VERSIONS[0] == trio_bunws.__version__


def test_a_version_is_told_once_and_newest_first() -> None:
    numbers = [tuple(map(int, version.split("."))) for version in VERSIONS]
    assert numbers == sorted(set(numbers), reverse=True)


def test_towncrier_finds_where_to_write() -> None:
    before, mark, after = CHANGELOG.partition("<!-- towncrier release notes start -->\n")
    assert mark
    assert "\n## " not in before
    assert after.startswith("\n## ")


def test_every_fragment_has_a_known_type_and_tells_something() -> None:
    assert [path.name for path in FRAGMENTS if not is_fragment(path.name)] == []
    assert [path.name for path in FRAGMENTS if not path.read_text("utf-8").strip()] == []


@pytest.mark.parametrize("name", ["17.fixed.md", "+idle-timeout.security.md"])
def test_an_issue_or_a_word_names_a_fragment(name: str) -> None:
    assert is_fragment(name)


@pytest.mark.parametrize("name", ["17.improved.md", "idle-timeout.fixed.md", "17.fixed", "17.md", "17.fixed.1.md"])
def test_anything_else_does_not(name: str) -> None:
    assert not is_fragment(name)


def test_the_readme_of_the_folder_has_every_type() -> None:
    page = (ROOT / SETTINGS["directory"] / "README.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == TYPES
