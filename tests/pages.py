"""The pages of docs/ as tests see them: their code blocks, and a page's blocks run one after the other.

Only reading and running is here; as a program it writes the code to a folder, for type checkers. What the code on a
page must do is said by the tests of that page.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Coroutine
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import trio

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

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


class Answer(NamedTuple):
    """The response to a request."""

    status: int
    headers: dict[str, str]
    body: str


async def ask(stream: trio.abc.Stream, target: str, body: str = "", headers: Mapping[str, str] | None = None) -> Answer:
    """Send one request over a connection: method and path are `target`, as `GET /`. The names in it are lower-case."""
    fields = {"Host": "server.test", "Connection": "close", "Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    async with stream:
        await stream.send_all(f"{target} HTTP/1.1\r\n{head}\r\n{body}".encode())
        answer = b"".join([bytes(part) async for part in stream]).decode()
    first, *rest = answer.partition("\r\n\r\n")[0].split("\r\n")
    found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    return Answer(int(first.split()[1]), found, answer.partition("\r\n\r\n")[2])


class Ran(NamedTuple):
    """A page whose blocks have been run: what they define, and what they would have given to `trio.run`."""

    names: dict[str, Any]
    runs: list[tuple[Any, ...]]


@contextmanager
def ran(page: str, *numbers: int) -> Generator[Ran]:
    """Run these blocks of a page (or all), in one namespace, and without their `trio.run` (or `asyncio.run`).

    A block may import another one by the name of a file that the page gives to it in backticks; where that is on
    another page, a comment says so: `<!-- with other.md -->`.
    """
    module = ModuleType("page")
    text = text_of(page)
    files = dict.fromkeys(re.findall(r"`(\w+)\.py`", text), module)
    found = [block for block in blocks(page) if block.fragment is None]
    with (
        mock.patch.dict(sys.modules, files),
        mock.patch.object(trio, "run") as run_mock,
        mock.patch.object(asyncio, "run", Coroutine.close),
    ):
        for other in re.findall(r"^<!-- with (\S+) -->$", text, re.MULTILINE):
            for block in blocks(other):
                run(other, block, vars(module))
        for block in [found[number] for number in numbers] or found:
            run(page, block, vars(module))
    yield Ran(vars(module), [call.args for call in run_mock.call_args_list])


def write_programs(folder: Path) -> None:
    """Write each page's code as files that a type checker can read; `nox -s typing` does."""
    for page in pages():
        name = re.sub(r"\W", "_", page.removesuffix(".md"))
        sources = [block.source for block in blocks(page) if block.fragment is None]
        # Tests import the application of another block, and need no types.
        sources = [source for source in sources if "async def test_" not in source]
        if page.startswith("howto/from-"):  # two programs that have nothing to do with each other
            for number, source in enumerate(sources):
                (folder / f"{name}_{number}.py").write_text(source, "utf-8")
        elif sources:
            (folder / f"page_{name}.py").write_text("\n".join(sources), "utf-8")


if __name__ == "__main__":
    write_programs(Path(sys.argv[1]))
