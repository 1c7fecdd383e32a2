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
