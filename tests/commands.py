"""`trio-bunws` as processes of their own, for the tests that run it as users do: with pipes, and on a terminal.

A test waits for what a command writes, never for a time; the command is killed when the block ends.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import trio
from patience import PATIENCE
from terminals import Terminal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

PROGRAM = [sys.executable, "-W", "error", "-m", "trio_bunws"]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR", "FORCE_COLOR"}}
    return {**kept, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm", **more}


class Process:
    """A command that runs."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._output = b""

    async def line(self, pattern: str) -> str:
        """Wait for output that matches; return the match, or its group."""
        assert self._process.stdout is not None
        with trio.fail_after(PATIENCE):
            while (found := re.search(pattern, self._output.decode())) is None:
                data = await self._process.stdout.receive_some()
                assert data, f"it ended; {self._output.decode()}"
                self._output += data
        return found[found.re.groups]

    async def rest(self) -> str:
        """Return all output of a command that has ended."""
        assert self._process.stdout is not None
        with trio.fail_after(PATIENCE):
            while data := await self._process.stdout.receive_some():
                self._output += data
        return self._output.decode()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end; return the exit code."""
        with trio.fail_after(PATIENCE):
            return await self._process.wait()


@asynccontextmanager
async def started(folder: Path, *arguments: str) -> AsyncGenerator[Process]:
    """Run a command in a folder, with its output and its errors together."""
    process = await trio.lowlevel.open_process(
        [*PROGRAM, *arguments],
        cwd=folder,
        env=environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield Process(process)
    finally:
        process.kill()
        with trio.move_on_after(PATIENCE, shield=True):
            await process.wait()
            assert process.stdout is not None
            await process.stdout.aclose()


class Person(Terminal):
    """In front of a terminal in which a command runs."""

    def __init__(self, *arguments: str) -> None:
        self._pid, master = pty.fork()
        if self._pid == 0:  # pragma: no cover - another process
            os.execve(sys.executable, [*PROGRAM, *arguments], environment())
        super().__init__(master, -1)
        self._code: int | None = None

    async def code(self) -> int:
        """Wait for the end of the command; return its exit code."""
        with trio.fail_after(PATIENCE):
            _, status = await trio.to_thread.run_sync(os.waitpid, self._pid, 0, abandon_on_cancel=True)
        self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def end(self) -> None:
        if self._code is None:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        self.close()


@contextmanager
def at_terminal(*arguments: str) -> Generator[Person]:
    """Run a command in a terminal for the block."""
    person = Person(*arguments)
    try:
        yield person
    finally:
        person.end()
