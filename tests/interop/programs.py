"""The programs of this folder: how each is started, skipped where it cannot be, and the echo servers among them.

What a program is told and prints is in __init__.py. The chat, and conversations with its clients, are in `chat.py`.
"""

from __future__ import annotations

import json
import select
import shutil
import subprocess
import sys
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

HERE = Path(__file__).parent


def next_line(process: subprocess.Popen[str]) -> str:
    """Wait for the next line that a process writes, and return it; "" if it ends or takes too long.

    It must not have written more lines than are asked for: those would be waited for in vain.
    """
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
    return process.stdout.readline() if ready else ""


class EchoServer:
    """A running server program; see `running_echo_server`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(next_line(process))
        self.url = f"ws://127.0.0.1:{self.port}/"

    async def told(self) -> tuple[int, str]:
        """Return code and reason of the connection that has ended, as the program saw them."""
        code, reason = json.loads(await trio.to_thread.run_sync(next_line, self._process))
        return code, reason


@contextmanager
def running_echo_server(command: Sequence[str], *compression: str) -> Generator[EchoServer]:
    """Run a server program in the block."""
    with subprocess.Popen([*command, *compression], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield EchoServer(process)
        finally:
            process.kill()


@contextmanager
def running_echo(command: Sequence[str], *compression: str) -> Generator[int]:
    """Run a server program in the block, and give its port."""
    with running_echo_server(command, *compression) as server:
        yield server.port


def python_client(name: str) -> list[str]:
    """Return the command of a client program in Python."""
    return python_program(f"{name}_client")


def node_client(name: str) -> list[str]:
    """Return the command of a client program for Node, or skip the test."""
    return node_program(name, "client")


def bun_client() -> list[str]:
    """Return the command of the client program for Bun, or skip the test."""
    return bun_program("client")


def python_program(name: str, *arguments: str) -> list[str]:
    """Return the command of a program in Python."""
    return [sys.executable, str(HERE / f"{name}.py"), *arguments]


def uwebsockets_program() -> list[str]:
    """Return the command of the server program on uWebSockets, or skip the test."""
    if complaint := _complaint_of_socketify():
        pytest.skip(f"needs socketify, and libuv, which it does not bring: {complaint}")
    return python_program("uwebsockets_server")


@cache
def _complaint_of_socketify() -> str:
    tried = subprocess.run([sys.executable, "-c", "import socketify"], capture_output=True, text=True, check=False)
    return tried.stderr.strip().rpartition("\n")[2] if tried.returncode else ""


def node_program(name: str, role: str) -> list[str]:
    """Return the command of a package's program for Node, or skip the test."""
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules" / name).is_dir():
        pytest.skip(f"needs Node, and `npm install` in tests/interop for {name}")
    return [node, str(HERE / f"{name}_{role}.mjs")]


def bun_program(role: str) -> list[str]:
    """Return the command of a program for Bun, or skip the test."""
    bun = HERE / "node_modules" / "bun" / "bin" / "bun.exe"  # its name on every system
    if not bun.is_file():
        pytest.skip("needs Bun: `npm install` in tests/interop")
    return [str(bun), str(HERE / f"bun_{role}.mjs")]
