"""docs/parity.md against the code: no public name without a row, no row with a name or a test that does not exist.

Public is what `trio_bunws` and its public submodules export, the members of the exported classes, the arguments of
`serve`, and those arguments of methods that are given by keyword only. Whether a test shows its row is for the reader;
that it names what the row names is checked here.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import NamedTuple

import pytest

import trio_bunws
import trio_bunws.brokers
import trio_bunws.observability
import trio_bunws.testing

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "parity.md"
CODE = re.compile(r"`([^`]+)`")
NONE = "—"
VERDICTS = ("same", "different", "left out")


class Row(NamedTuple):
    """One line of a table: what it is called there (or what it is for), the names here, and the tests."""

    section: str
    label: str
    names: tuple[str, ...]
    verdict: str
    tests: tuple[str, ...]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def read_rows(text: str) -> list[Row]:
    """Read every table; its header says which column is which."""
    rows: list[Row] = []
    section = ""
    header: list[str] = []
    for line in text.splitlines():
        if line.startswith("#"):
            section = line.lstrip("# ")
        if not line.startswith("|"):
            header = []
        elif not header:
            header = cells(line)
        elif set(line) - set("|- "):
            found = dict(zip(header, cells(line), strict=True))
            names = tuple(CODE.findall(found["here"]))
            assert names or found["here"] == NONE, line
            tests = tuple(CODE.findall(found["test"]))
            assert tests or found["test"] == NONE, line
            label = found.get("Bun") or found.get("brioche") or found["here"]
            rows.append(Row(section, label, names, found.get("same or different, and why", ""), tests))
    return rows


ROWS = read_rows(PAGE.read_text("utf-8"))
SHOWN = [row for row in ROWS if row.tests]
NOT_HERE = [row for row in ROWS if not row.tests]


def members(cls: type) -> dict[str, object]:
    """Return what applications find on a class and its instances, its own and what it inherits from ours."""
    found: dict[str, object] = {}
    for base in cls.__mro__:
        if not base.__module__.startswith("trio_bunws"):
            continue
        for name in (*vars(base), *getattr(base, "__slots__", ())):
            found.setdefault(name, inspect.getattr_static(cls, name, None))
        init = vars(base).get("__init__")
        if isinstance(init, FunctionType) and not hasattr(base, "__attrs_attrs__"):
            for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(init)))):
                match node:
                    case ast.Attribute(attr=name, value=ast.Name(id="self"), ctx=ast.Store()):
                        found.setdefault(name, None)
    return {name: member for name, member in found.items() if not name.startswith("_")}


def exports(module: ModuleType) -> dict[str, object]:
    found = {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}
    return {name: thing for name, thing in found.items() if not isinstance(thing, ModuleType)}


def public_names() -> set[str]:
    """List every name that needs a row."""
    names = {f"serve({name}=)" for name in inspect.signature(trio_bunws.serve).parameters}
    names.update(f"testing.{name}" for name in exports(trio_bunws.testing))
    names.update(f"brokers.{name}" for name in exports(trio_bunws.brokers))
    names.update(f"observability.{name}" for name in exports(trio_bunws.observability))
    for name, thing in exports(trio_bunws).items():
        names.add(name)
        if not isinstance(thing, type):
            continue
        for member, value in members(thing).items():
            names.add(f"{name}.{member}")
            function = getattr(value, "__func__", value)
            if isinstance(function, FunctionType):
                arguments = inspect.signature(function).parameters.values()
                names.update(f"{name}.{member}({a.name}=)" for a in arguments if a.kind is a.KEYWORD_ONLY)
    return names


@cache
def functions_of(file: str) -> dict[str, str]:
    """Return the source of every function of a test file, with its decorators."""
    text = (ROOT / file).read_text("utf-8")
    lines = text.splitlines()
    return {
        node.name: "\n".join(
            lines[min((d.lineno for d in node.decorator_list), default=node.lineno) - 1 : node.end_lineno]
        )
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def word_of(name: str) -> str | None:
    """Return the word that a test of a public name cannot do without; a special method has none."""
    word = re.split(r"[.(]", name.removesuffix("=)"))[-1]
    return None if word.startswith("__") else word


def test_every_public_name_has_a_row() -> None:
    assert public_names() - {name for row in SHOWN for name in row.names} == set()


def test_every_name_in_the_tables_is_public() -> None:
    special = {name for name in dir(trio_bunws.ServerWebSocket) + dir(trio_bunws.Headers) if name.startswith("__")}
    named = {name for row in SHOWN for name in row.names if name.rpartition(".")[2] not in special}
    assert named - public_names() == set()


def test_what_is_not_there_is_not_there() -> None:
    assert {name for row in NOT_HERE for name in row.names} & public_names() == set()


def test_a_row_that_is_here_names_something_here() -> None:
    assert [row.label for row in SHOWN if not row.names] == []


def test_a_row_without_a_test_is_left_out() -> None:
    assert [row.label for row in NOT_HERE if not row.verdict.startswith("left out")] == []
    assert [row.label for row in SHOWN if row.verdict.startswith("left out")] == []


def test_every_comparison_begins_with_its_verdict() -> None:
    assert [row.label for row in ROWS if row.verdict and not row.verdict.startswith(VERDICTS)] == []


def test_no_member_has_two_rows() -> None:
    labels = [(row.section, row.label) for row in ROWS]
    assert [label for label in set(labels) if labels.count(label) > 1] == []


@pytest.mark.parametrize("row", SHOWN, ids=lambda row: f"{row.section}: {row.label}")
def test_the_tests_of_a_row_exist_and_name_what_it_names(row: Row) -> None:
    shown = ""
    for test in row.tests:
        file, _, function = test.partition("::")
        assert file.startswith("tests/test_"), test
        assert function.startswith("test_"), test
        shown += functions_of(file)[function]
    words = [word for name in row.names if (word := word_of(name)) is not None]
    assert [word for word in words if not re.search(rf"\b{word}\b", shown)] == []


def test_open_server_takes_what_serve_takes() -> None:
    taken = [set(inspect.signature(function).parameters) for function in (trio_bunws.serve, trio_bunws.open_server)]
    assert taken[0] - taken[1] == {"task_status"}
    assert taken[1] <= taken[0]


def test_a_table_is_read_by_its_header() -> None:
    page = """
## Bun

| Bun | here | same or different, and why | test |
|---|---|---|---|
| `sendText(data)` | `ServerWebSocket.send_text`, `X` | same | `tests/test_a.py::test_b`, `tests/test_c.py::test_d` |
| `id` | — | left out: why | — |

## Beyond

| here | what it is for | test |
|---|---|---|
| `serve(limits=)` | limits | `tests/test_a.py::test_b` |
"""
    tests = ("tests/test_a.py::test_b", "tests/test_c.py::test_d")
    assert read_rows(page) == [
        Row("Bun", "`sendText(data)`", ("ServerWebSocket.send_text", "X"), "same", tests),
        Row("Bun", "`id`", (), "left out: why", ()),
        Row("Beyond", "`serve(limits=)`", ("serve(limits=)",), "", tests[:1]),
    ]


@pytest.mark.parametrize("here", ["", "send", "?"])
def test_a_cell_that_names_nothing_is_an_error(here: str) -> None:
    with pytest.raises(AssertionError):
        read_rows(f"| here | what it is for | test |\n|---|---|---|\n| {here} | why | — |\n")


def test_the_word_of_a_name_is_its_last() -> None:
    names = ["Server", "Server.stop", "Server.stop(grace=)", "serve(port=)", "testing.RawPeer", "Headers.__contains__"]
    assert [word_of(name) for name in names] == ["Server", "stop", "grace", "port", "RawPeer", None]
