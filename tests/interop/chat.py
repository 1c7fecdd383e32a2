"""The chat of examples/chat/ as a process of its own, and client programs in conversation with it.

What a test needs to say "Ada joins, and Grace hears of it" is here; what is said is in the tests. Every wait has a
deadline, and none is a fixed sleep. How the programs are started is in `programs.py`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import trio
from patience import PATIENCE
from ports import kept_port

from interop.programs import next_line

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

CHAT = Path(__file__).parents[2] / "examples" / "chat"
SERVER = [sys.executable, "-W", "error", str(CHAT / "server.py")]
WORKERS = [sys.executable, "-W", "error", "-m", "trio_bunws", "serve", "server:APP", "--workers", "2"]
Event: TypeAlias = dict[str, Any]


class ChatServer:
    """A running examples/chat/server.py; see `running_server`."""

    def __init__(self, port: int, *arguments: str, command: Sequence[str] = SERVER) -> None:
        self._command = command
        self._arguments = arguments
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed by `discard`
        self.port = port
        self.start()

    def start(self) -> None:
        """Start it, each time on the same port, and wait until it listens."""
        command = [*self._command, "--port", str(self.port), *self._arguments]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # it imports what the tests import
        self._process = subprocess.Popen(
            command, cwd=CHAT, env=environment, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        self._asked = False
        line = next_line(self._process)
        assert self.url in line, f"no address in {line!r}; {self.complaints}"

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def socket_url(self) -> str:
        """Where the socket is."""
        return f"ws://127.0.0.1:{self.port}/chat"

    @property
    def workers(self) -> list[int]:
        """Its processes, but for the one above them."""
        threads = Path(f"/proc/{self._process.pid}/task").iterdir()
        return [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]

    @property
    def complaints(self) -> str:
        """What it has logged."""
        return Path(f"/proc/self/fd/{self._log.fileno()}").read_text()  # from its beginning, and moving nobody's place

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self.ended()

    @contextmanager
    def frozen(self) -> Generator[None]:
        """Let it neither run nor die for the block, as a machine that is gone without a word."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def ask_to_stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end, and do not wait for that."""
        self._process.send_signal(how)
        self._asked = True  # once: the second time it would end at once

    def stop(self) -> None:
        """Ask it to end, and demand that it does so in good order and without a complaint."""
        if self._process.returncode is None:
            if not self._asked:
                self.ask_to_stop()
            assert self.ended() == 0, self.complaints
        assert not self.complaints

    def discard(self) -> None:
        """Give everything back, whatever has happened."""
        if self._process.returncode is None:
            self.kill()
        self._log.close()

    def ended(self) -> int:
        """Wait for its end; return the exit code."""
        code = self._process.wait(PATIENCE)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return code


@contextmanager
def running_server(*arguments: str) -> Generator[ChatServer]:
    """Run the chat for the block, and then demand that it ends well."""
    with kept_port() as port:
        server = ChatServer(port, *arguments)
        try:
            yield server
            server.stop()
        finally:
            server.discard()


@contextmanager
def running_workers(broker: str) -> Generator[ChatServer]:
    """Run the chat on two processes for the block, and then demand that they end well; they may complain."""
    with kept_port() as port:
        server = ChatServer(port, "--broker", broker, command=WORKERS)
        try:
            yield server
            server.ask_to_stop()
            assert server.ended() == 0, server.complaints
        finally:
            server.discard()


class Client:
    """A client program in conversation with a server."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._received = b""
        self._rooms: dict[str, int | None] = {}

    async def join(self, name: str, room: str = "lobby") -> Event:
        """Enter a room and return the welcome."""
        await self.send({"type": "join", "name": name, "room": room})
        return await self.hear("welcome")

    async def say(self, text: str) -> None:
        """Say something to the room."""
        await self.send({"type": "say", "text": text})

    async def send(self, message: object) -> None:
        """Send anything as JSON."""
        await self.send_line(json.dumps(message))

    async def send_line(self, text: str) -> None:
        """Send a text message of one line."""
        assert self.process.stdin is not None
        with trio.fail_after(PATIENCE):
            await self.process.stdin.send_all(text.encode() + b"\n")

    async def hear(self, kind: str) -> Event:
        """Return the next event, which must be of that type; the rooms' counts come in between and are left out."""
        event = await self.hear_any()
        assert event["type"] == kind, event
        return event

    async def hear_any(self) -> Event:
        """Return the next event but for the rooms' counts."""
        event = await self._event()
        while event["type"] == "rooms":
            event = await self._event()
        return event

    async def rooms_like(self, **counts: int) -> None:
        """Wait until the server has announced these counts."""
        while self._rooms != counts:
            await self._event()

    async def hear_line(self) -> str:
        """Return the next text message, whatever it is."""
        return await self._line()

    async def leave(self) -> None:
        """End the input, so that the program closes the connection."""
        assert self.process.stdin is not None
        await self.process.stdin.aclose()

    async def closed(self) -> int:
        """Return the close code that the program tells when the connection is over."""
        while not (line := await self._line()).isdecimal():
            assert json.loads(line)["type"] == "rooms", line
        code = int(line)
        with trio.fail_after(PATIENCE):
            assert await self.process.wait() == 0
        return code

    async def _event(self) -> Event:
        event = dict(json.loads(await self._line()))
        if event["type"] == "rooms":
            self._rooms |= event["rooms"]
            self._rooms = {room: count for room, count in self._rooms.items() if count is not None}
        return event

    async def _line(self) -> str:
        assert self.process.stdout is not None
        await trio.lowlevel.checkpoint()
        while b"\n" not in self._received:
            with trio.fail_after(PATIENCE):
                data = await self.process.stdout.receive_some()
            assert data, "the client program has ended"
            self._received += data
        line, self._received = self._received.split(b"\n", 1)
        return line.decode()

    async def told(self) -> tuple[int, str]:
        """Return code and reason of the connection that has ended, as an echo client saw them."""
        code, reason = json.loads(await self._line())
        return code, reason


@asynccontextmanager
async def running_client(command: Sequence[str], url: str, *compression: str) -> AsyncGenerator[Client]:
    """Run a client program in the block."""
    process = await trio.lowlevel.open_process(
        [*command, url, *compression], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    async with process.stdin, process.stdout:
        try:
            yield Client(process)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):  # as short as killing a process is
                await process.wait()
