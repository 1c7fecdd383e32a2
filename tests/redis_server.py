"""A Redis of a test's own, from the system's package: started on a free port, paused, killed, and started again.

Without `redis-server` the tests that ask for one are skipped; in CI that is a failure.
"""

from __future__ import annotations

import inspect
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

PROGRAM = shutil.which("redis-server")


def free_port() -> int:
    """Return a port that nobody listens on, below those that the kernel gives away while a Redis is down."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as found, suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port


class RedisServer:
    """One Redis, which keeps nothing on a disk."""

    def __init__(self, folder: str, *options: str) -> None:
        self._folder = folder
        self._options = options
        self.path = str(Path(folder) / "redis.sock")
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, on the port that it had before; return when it listens."""
        for _ in range(10):
            port = self.port or free_port()
            command = [
                *(str(PROGRAM), "--port", str(port), "--bind", "127.0.0.1", "--unixsocket", self.path),
                *("--dir", self._folder, "--save", "", "--appendonly", "no", *self._options),
            ]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            if any("eady to accept connections" in line for line in process.stdout):
                self.port, self._process = port, process
                return
            process.stdout.close()
            process.wait()  # somebody was faster with this port
        raise AssertionError("redis-server does not start")

    def kill(self) -> None:
        """Kill it with no word to anybody."""
        process = self._process
        if process is not None:
            assert process.stdout is not None
            self._process = None
            process.kill()
            process.stdout.close()
            process.wait()

    def pause(self) -> None:
        """Let it hang."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on where it was."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *command: str) -> str:
        """Run one command, and return the answer: its line, or the text that it announces."""
        with (
            socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection,
            connection.makefile("rb") as answers,
        ):
            words = [word.encode() for word in command]
            parts = [b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)]
            connection.sendall(b"".join(parts))
            line = answers.readline().decode().strip()
            return answers.read(int(line[1:])).decode() if line.startswith("$") else line


@contextmanager
def redis_server(*options: str) -> Generator[RedisServer]:
    """Run a Redis with options of its command line, as ``("--maxmemory", "1mb")``."""
    if PROGRAM is None:
        pytest.skip("redis-server is missing")
    if "reason" not in inspect.signature(trio.CancelScope.cancel).parameters:
        pytest.skip("anyio, under coredis, needs trio 0.31")
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(folder, *options)
        try:
            yield server
        finally:
            server.kill()


async def until(condition: Callable[[], object]) -> None:
    """Wait until something holds that nobody tells of."""
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 - another process, or what has no event
            await trio.sleep(0.002)
