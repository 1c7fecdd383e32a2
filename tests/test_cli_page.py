"""docs/cli.md: what its sessions show is what happens, character by character, and its other commands are understood.

The page's port, 3000, may be taken, so the server listens elsewhere, and the page is read with that port.
"""

from __future__ import annotations

import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from commands import PROGRAM, at_terminal, environment, started
from patience import PATIENCE

from trio_bunws._cli.command_line import parser

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

PAGE = (Path(__file__).parent.parent / "docs" / "cli.md").read_text("utf-8")


def blocks(kind: str) -> list[str]:
    found: list[str] = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found


def sessions() -> list[tuple[str, str]]:
    """Return each command that the page shows with what it shows of its output."""
    shown = "".join(blocks("console"))
    return [(command, output) for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", shown, re.MULTILINE)]


SERVE, CONNECT, *PIPES, BENCH = sessions()


@pytest.fixture(name="place")
async def _place(tmp_path: Path) -> AsyncGenerator[tuple[Path, str]]:
    """Serve the page's echo.py; yield a folder that has `bin/trio-bunws`, and the server's port."""
    (source,) = blocks("python")
    (tmp_path / "echo.py").write_text(source)
    program = tmp_path / "bin" / "trio-bunws"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(PROGRAM)} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    command, output = SERVE
    _, *arguments = shlex.split(command)
    async with started(tmp_path, *arguments, "--port", "0") as process:
        port = await process.line(output.strip().replace("3000", r"(\d+)"))
        yield tmp_path, port


async def ran(place: tuple[Path, str], command: str) -> str:
    """Run a command of the page; return all that it writes."""
    folder, port = place
    path = f"{folder / 'bin'}:/usr/local/bin:/usr/bin:/bin"
    with trio.fail_after(PATIENCE):
        done = await trio.run_process(
            ["sh", "-c", command.replace("3000", port)],
            env=environment(PATH=path),
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return done.stdout.decode().replace(port, "3000")


@pytest.mark.parametrize(("command", "output"), PIPES, ids=lambda text: text[:30])
async def test_a_session_with_pipes_is_what_happens(place: tuple[Path, str], command: str, output: str) -> None:
    assert await ran(place, command) == output


async def test_the_session_on_a_terminal_is_what_happens(place: tuple[Path, str]) -> None:
    _, port = place
    command, screen = CONNECT
    _, *arguments = shlex.split(command.replace("3000", port))
    with at_terminal(*arguments) as person:
        written = await person.raw_until("\x1b[2m> \x1b[0m")
        for line in screen.splitlines():
            if line.startswith("> "):
                person.type(line.removeprefix("> "))
                person.type("\r")
            elif "Connected" not in line and "/help" not in line:
                written += await person.raw_until(line)
        assert await person.code() == 0
        written += await person.rest()
    assert on_screen(written).replace(port, "3000") == screen


def on_screen(written: str) -> str:
    """Return what a terminal shows after this was written to it."""
    lines = [""]
    column = 0
    for sequence in re.findall(r"\x1b\[\d*[A-Za-z]|[^\x1b]", written):
        line = lines[-1]
        if sequence == "\n":
            lines.append("")
        elif sequence == "\r":
            column = 0
        elif sequence == "\x1b[K":
            lines[-1] = line[:column]
        elif sequence.endswith("D"):
            column -= int(sequence[2:-1])
        elif not sequence.startswith("\x1b"):
            lines[-1] = line[:column] + sequence + line[column + 1 :]
            column += 1
    return "\n".join(lines)


async def test_the_summary_of_bench_has_that_form(place: tuple[Path, str]) -> None:
    command, output = BENCH
    figures = r"\d[\d,.]*"
    assert re.sub(figures, "#", await ran(place, command)) == re.sub(figures, "#", output)


@pytest.mark.parametrize("command", "".join(blocks("sh")).splitlines())
def test_the_other_commands_are_understood(command: str) -> None:
    program, *arguments = shlex.split(command)
    assert program == "trio-bunws"
    assert parser().parse_args(arguments).command == arguments[0]


def test_the_keys_that_it_names_are_those_of_the_editor() -> None:
    editor = (Path(sys.modules[parser.__module__].__file__ or "").parent / "line_editor.py").read_text("utf-8")
    (keys,) = re.findall(r"Home, End, (Ctrl-.*?)\. Ctrl-D", PAGE, re.DOTALL)
    control, _, alt = keys.partition("Alt-")
    for letter in re.findall(r"-([A-Z])", control):
        assert f'"\\x{ord(letter) - 64:02x}": self._' in editor
    for letter in re.findall(r"([A-Z])", alt):
        assert f'"\\x1b{letter.lower()}": self._' in editor
