"""All pages of docs/ at once: their code runs, their links lead somewhere, and the reference has every public name.

What the code of one page does is tested in that page's own file. Sphinx checks links once more, with those between
headings and to Python's names, in `nox -s docs`.
"""

from __future__ import annotations

import ast
import importlib.util
import re

import pytest
from pages import DOCS, ROOT, Block, blocks, pages, ran, read_blocks, text_of
from test_parity import exports

MACHINE = re.compile(r"/(?:tmp|root|home|work)\b(?!/chat\b)")
PAGES = pages()
WITH_CODE = [page for page in PAGES if any(block.fragment is None for block in blocks(page))]
AUTODOC = re.compile(r"^\.\. auto(?:class|function|data|exception):: ([\w.]+)", re.MULTILINE)
REFERENCE = [name for page in PAGES if page.startswith("reference/") for name in AUTODOC.findall(text_of(page))]
PACKAGES = [
    importlib.import_module(name)
    for name in ("trio_bunws", "trio_bunws.testing", "trio_bunws.brokers", "trio_bunws.observability")
    if importlib.util.find_spec(name) is not None
]


@pytest.mark.parametrize("page", WITH_CODE)
def test_the_code_of_a_page_runs(page: str) -> None:
    with ran(page) as page_ran:
        assert page_ran.names.keys() - {"__builtins__"}


@pytest.mark.parametrize("page", WITH_CODE)
def test_the_code_of_a_page_has_tests(page: str) -> None:
    tests = [path for path in sorted((ROOT / "tests").glob("test_*.py")) if path.name != "test_docs.py"]
    assert [path.name for path in tests if re.search(rf'"{page}"', path.read_text("utf-8"))]


def test_a_fragment_says_why_it_is_not_run() -> None:
    fragments = [block for page in PAGES for block in blocks(page) if block.fragment is not None]
    assert [block for block in fragments if len(block.fragment or "") < len("it is")] == []
    for block in fragments:  # it is Python, all the same
        compile(block.source, "fragment", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


@pytest.mark.parametrize("page", [*PAGES, "../README.md"])
def test_links_to_files_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text_of(page))
    assert [link for link in links if not (DOCS / page).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("page", [*PAGES, "../README.md"])
def test_a_page_names_no_place_of_this_machine(page: str) -> None:
    assert MACHINE.findall(text_of(page)) == []


def test_every_public_name_is_in_the_reference_once() -> None:
    public = [f"{package.__name__}.{name}" for package in PACKAGES for name in exports(package)]
    assert sorted(REFERENCE) == sorted(public)


def test_every_page_is_reached_from_the_first_one() -> None:
    trees = re.compile(r"^```\{toctree\}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    reached: set[str] = set()
    waiting = ["index.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        for tree in trees.findall(text_of(page)):
            for entry in (line for line in tree.splitlines() if line and not line.startswith(":")):
                found = (DOCS / page).parent.glob(f"{entry}.md")
                waiting += [str(path.relative_to(DOCS)) for path in found]
    assert reached == set(PAGES)


def test_warnings_are_errors_when_the_pages_are_built() -> None:
    session = (ROOT / "noxfile.py").read_text("utf-8").partition("def docs(")[2].partition("\n\n\n")[0]
    assert '"sphinx-build", "-W", "-n"' in session


def test_blocks_are_found_with_their_lines_and_reasons() -> None:
    page = "a\n```python\nx = 1\n```\n<!-- fragment: too long -->\n```python\nawait y\n```\n```sh\nls\n```\n"
    assert read_blocks(page) == [
        Block("python", "x = 1\n", 3, None),
        Block("python", "await y\n", 7, "too long"),
        Block("sh", "ls\n", 10, None),
    ]
