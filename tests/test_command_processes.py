"""`trio-bunws` as processes of their own, with signals, pipes and a terminal between them: what users really run.

Each fact is tested within the process too, file by file; here it is the whole, from the arguments to the exit code.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from terminals import PATIENCE, Terminal

from trio_bunws import WebSocket

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

PROGRAM = [sys.executable, "-W", "error", "-m", "trio_bunws"]
ECHO = """
from trio_bunws import Response, WebSocketHandler

def fetch(request, server):
    return None if server.upgrade(request) else Response("hello")

websocket = WebSocketHandler(message=lambda ws, message: ws.send(message))
"""


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


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(ECHO)
    return tmp_path


@asynccontextmanager
async def echoing(folder: Path, *arguments: str) -> AsyncGenerator[tuple[Process, str]]:
    """Run the echo server; yield it and its WebSocket URL."""
    async with started(folder, "serve", "app", "--port", "0", *arguments) as process:
        yield process, "ws" + await process.line(r"Listening on http(://127\.0\.0\.1:\d+/)")


async def run(folder: Path, *arguments: str, given: bytes = b"") -> tuple[int, str, str]:
    """Run a command to its end; return its exit code, its output and its errors."""
    with trio.fail_after(PATIENCE):
        done = await trio.run_process(
            [*PROGRAM, *arguments],
            cwd=folder,
            env=environment(),
            stdin=given,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_served_application_ends_in_good_order_by_a_signal(folder: Path, number: signal.Signals) -> None:
    async with echoing(folder) as (process, url):
        async with WebSocket(url) as ws:
            ws.send("hello")
            assert await ws.receive() == "hello"
            process.signal(number)
            assert (await ws.closed()).received == (1001, "Server closed")
        assert await process.ended() == 0


async def test_a_second_signal_kills_a_server_whose_handler_hangs(folder: Path) -> None:
    hanging = "import trio\nasync def hang(ws, message):\n    print('hanging')\n    await trio.sleep_forever()\n"
    (folder / "app.py").write_text(f"{ECHO}\n{hanging}\nwebsocket = WebSocketHandler(message=hang)\n")
    async with echoing(folder) as (process, url):
        async with WebSocket(url) as ws:
            ws.send("x")
            await process.line("hanging")
            process.signal(signal.SIGTERM)
            await ws.closed()
        process.signal(signal.SIGTERM)
        assert await process.ended() == -signal.SIGTERM


async def test_a_change_is_served_on_the_same_port(folder: Path) -> None:
    async with echoing(folder, "--reload") as (process, url), WebSocket(url) as ws:
        (folder / "app.py").write_text(ECHO.replace("ws.send(message)", "ws.send('new')"))
        await process.line("reloaded: app.py")
        ws.send("hello")
        assert await ws.receive() == "new"
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0


async def test_a_signal_in_the_middle_of_a_reload_ends_it_in_good_order(folder: Path) -> None:
    async with echoing(folder, "--reload") as (process, url):
        async with WebSocket(url) as ws:
            (folder / "app.py").write_text("import threading\nprint('importing')\nthreading.Event().wait()\n")
            await process.line("importing")
            process.signal(signal.SIGTERM)
            assert (await ws.closed()).received == (1001, "Server closed")
        assert await process.ended() == 0


async def test_pipes_carry_messages_out_and_in(folder: Path) -> None:
    async with echoing(folder) as (_, url):
        given = b"hello\n/binary 00ff\n"
        assert await run(folder, "connect", url, "--wait", "0.5", given=given) == (
            0,
            "hello\n00ff\n",
            f"Connected to {url}\nConnection closed: 1000\n",
        )


async def test_files_and_nothing_at_all_are_input_too(folder: Path) -> None:
    lines = folder / "lines"
    lines.write_text("from a file\n")
    async with echoing(folder) as (_, url):
        for redirection, output in ((f"< {lines}", "from a file\n"), ("< /dev/null", ""), ("<&-", "")):
            command = f'exec "$0" "$@" {redirection} > out'
            done = await trio.run_process(
                ["sh", "-c", command, *PROGRAM, "connect", url, "--wait", "0.5"],
                cwd=folder,
                env=environment(),
                stdin=None,
                check=False,
                capture_stderr=True,
            )
            assert (done.returncode, (folder / "out").read_text()) == (0, output), done.stderr.decode()


async def test_who_reads_no_further_ends_it_without_a_traceback(folder: Path) -> None:
    async with echoing(folder) as (_, url):
        command = '(yes | "$0" "$@"; echo "code $?" >&2) | head -n 2'
        done = await trio.run_process(
            ["sh", "-c", command, *PROGRAM, "connect", url],
            cwd=folder,
            env=environment(),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    assert done.stdout == b"y\ny\n"
    assert done.stderr.decode().splitlines()[-1] == "code 141"
    assert "Traceback" not in done.stderr.decode()


async def test_a_signal_ends_a_client_that_listens(folder: Path) -> None:
    async with echoing(folder) as (_, url), started(folder, "connect", url, "--listen") as client:
        await client.line("Connected")
        client.signal(signal.SIGTERM)
        assert await client.ended() == 143


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["connect", "http://x/"], 2),
        (["connect", "nonsense"], 2),
        (["bench", "ws://127.0.0.1:99999/"], 2),
        (["serve", "nowhere_to_be_found:app"], 2),
        (["serve", "app:nothing"], 2),
        (["serve", "app", "--port", "99999"], 2),
        (["serve", "app", "--port", "x"], 2),
        (["serve", "app", "--host", "192.0.2.1"], 2),
        (["nonsense"], 2),
        (["connect", "ws://127.0.0.1:1/"], 1),
    ],
)
async def test_a_mistake_is_one_line_and_an_exit_code(folder: Path, arguments: list[str], code: int) -> None:
    ended, out, err = await run(folder, *arguments)
    assert (ended, out) == (code, "")
    assert re.fullmatch(r"trio-bunws( \w+)?: error: .+\n", err)


async def test_a_server_is_measured(folder: Path) -> None:
    async with echoing(folder) as (_, url):
        code, out, err = await run(folder, "bench", url, "-c", "2", "-d", "0.5")
    assert (code, err) == (0, "")
    assert out.startswith("2 connections, 1 in flight on each, text messages of 64 bytes\nanswers      ")


# A terminal


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


@pytest.fixture(name="persons")
def _persons() -> Iterator[list[Person]]:
    persons: list[Person] = []
    yield persons
    for person in persons:
        person.end()


async def test_a_conversation_on_a_terminal(folder: Path, persons: list[Person]) -> None:
    async with echoing(folder) as (_, url):
        person = Person("connect", url)
        persons.append(person)
        assert "\x1b[32mConnected to" in await person.raw_until("\x1b[2m> \x1b[0m")
        person.type("hello\r")
        await person.until("< hello\n> ")
        person.type("\x1b[A!\r")
        await person.until("< hello!\n> ")
        person.type("\x04")
        await person.until("Connection closed: 1000\n")
        assert await person.code() == 0


async def test_ctrl_c_at_the_prompt_leaves(folder: Path, persons: list[Person]) -> None:
    closes = "import sys\ndef closed(ws, code, reason):\n    print('closed', code)\n"
    (folder / "app.py").write_text(f"{ECHO}\n{closes}\nwebsocket = WebSocketHandler(close=closed)\n")
    async with echoing(folder) as (process, url):
        person = Person("connect", url)
        persons.append(person)
        await person.until("/help\n> ")
        person.type("half a li\x03")
        assert await person.code() == 130
        await process.line("closed 1001")


async def test_ctrl_c_while_it_connects_leaves(persons: list[Person]) -> None:
    listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        person = Person("connect", f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/")
        persons.append(person)
        async with await listener.accept() as stream:
            await stream.receive_some()
            person.type("\x03")
            assert await person.code() == 130


async def test_progress_is_shown_on_a_terminal(folder: Path, persons: list[Person]) -> None:
    async with echoing(folder) as (_, url):
        person = Person("bench", url, "-c", "2", "-d", "600")
        persons.append(person)
        await person.until("of 600 s")
        person.type("\x03")
        await person.until("latency ")
        assert await person.code() == 130
