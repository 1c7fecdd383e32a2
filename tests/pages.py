"""The pages of docs/ as tests see them: their code blocks, and a page's blocks run one after the other.

Only reading and running is here. What the code on a page must do is said by the tests of that page.
"""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import trio

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
FENCE = re.compile(
    r"(?:^<!-- fragment: (?P<why>.+) -->\n)?^(?P<fence>```+)(?P<kind>\w+)\n(?P<source>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """One block of code: its language, its text, where it begins, and why it is not run if it is not."""

    kind: str
    source: str
    line: int
    fragment: str | None


def pages() -> list[str]:
    """List the pages, as paths below docs/."""
    found = (path.relative_to(DOCS) for path in sorted(DOCS.rglob("*.md")))
    return [str(path) for path in found if path.parts[0] != "_build"]


def text_of(page: str) -> str:
    return (DOCS / page).read_text("utf-8")


def read_blocks(text: str) -> list[Block]:
    return [
        Block(
            match["kind"],
            match["source"],
            text.count("\n", 0, match.start("source")) + 1,
            match["why"],
        )
        for match in FENCE.finditer(text)
    ]


def blocks(page: str, kind: str = "python") -> list[Block]:
    """Return a page's blocks in one language."""
    return [block for block in read_blocks(text_of(page)) if block.kind == kind]


def run(page: str, block: Block, names: dict[str, Any]) -> None:
    """Run a block as if it were a file of its own; tracebacks tell the page's lines."""
    code = compile("\n" * (block.line - 1) + block.source, str(DOCS / page), "exec", dont_inherit=True)
    exec(code, names)


class Ran(NamedTuple):
    """A page whose blocks have been run: what they define, and what they would have given to `trio.run`."""

    names: dict[str, Any]
    runs: list[tuple[Any, ...]]


@contextmanager
def ran(page: str, *numbers: int) -> Generator[Ran]:
    """Run these blocks of a page (or all), in one namespace, and without their `trio.run`.

    A block may import another one by the name of a file that the page gives to it in backticks.
    """
    module = ModuleType("page")
    files = dict.fromkeys(re.findall(r"`(\w+)\.py`", text_of(page)), module)
    found = [block for block in blocks(page) if block.fragment is None]
    with mock.patch.dict(sys.modules, files), mock.patch.object(trio, "run") as run_mock:
        for block in [found[number] for number in numbers] or found:
            run(page, block, vars(module))
    yield Ran(vars(module), [call.args for call in run_mock.call_args_list])
