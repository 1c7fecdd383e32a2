"""`trio-bunws` as processes of their own, with signals, pipes and a terminal between them: what users really run.

Each fact is tested within the process too, file by file; here it is the whole, from the arguments to the exit code.
"""

from __future__ import annotations

import re
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from commands import PROGRAM, Process, at_terminal, environment, started
from patience import PATIENCE

from trio_bunws import WebSocket

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

ECHO = """
from trio_bunws import Response, WebSocketHandler

def fetch(request, server):
    return None if server.upgrade(request) else Response("hello")

def message(ws, message):
    ws.send(message)
    if message == "bye":
        ws.close()

websocket = WebSocketHandler(message=message)
"""
UNTIL_BYE = ("--wait", str(PATIENCE))
"""The server closes then, so that no time decides how much of its echo is seen."""
AT_ONCE = ("--wait", "0.01")


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


@pytest.mark.parametrize("workers", [(), ("--workers", "1")])
async def test_an_application_that_configures_its_log_has_it_so(folder: Path, workers: tuple[str, ...]) -> None:
    logs = "import logging\nlogging.basicConfig(level=logging.INFO, format='mine: %(message)s')\n"
    opened = "websocket = WebSocketHandler(open=lambda ws: logging.info('opened'))\n"
    (folder / "app.py").write_text(f"{logs}{ECHO}{opened}")
    async with echoing(folder, *workers) as (process, url), WebSocket(url):
        await process.line(r"mine: opened\n")


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
        given = b"hello\n/binary 00ff\nbye\n"
        assert await run(folder, "connect", url, *UNTIL_BYE, given=given) == (
            0,
            "hello\n00ff\nbye\n",
            f"Connected to {url}\nConnection closed: 1000\n",
        )


async def test_files_and_nothing_at_all_are_input_too(folder: Path) -> None:
    lines = folder / "lines"
    lines.write_text("from a file\nbye\n")
    given = (f"< {lines}", UNTIL_BYE, "from a file\nbye\n"), ("< /dev/null", AT_ONCE, ""), ("<&-", AT_ONCE, "")
    async with echoing(folder) as (_, url):
        for redirection, wait, output in given:
            command = f'exec "$0" "$@" {redirection} > out'
            done = await trio.run_process(
                ["sh", "-c", command, *PROGRAM, "connect", url, *wait],
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


async def test_a_conversation_on_a_terminal(folder: Path) -> None:
    async with echoing(folder) as (_, url):
        with at_terminal("connect", url) as person:
            assert "\x1b[32mConnected to" in await person.raw_until("\x1b[2m> \x1b[0m")
            person.type("hello\r")
            await person.until("< hello\n> ")
            person.type("\x1b[A!\r")
            await person.until("< hello!\n> ")
            person.type("\x04")
            await person.until("Connection closed: 1000\n")
            assert await person.code() == 0


async def test_ctrl_c_at_the_prompt_leaves(folder: Path) -> None:
    closes = "import sys\ndef closed(ws, code, reason):\n    print('closed', code)\n"
    (folder / "app.py").write_text(f"{ECHO}\n{closes}\nwebsocket = WebSocketHandler(close=closed)\n")
    async with echoing(folder) as (process, url):
        with at_terminal("connect", url) as person:
            await person.until("/help\n> ")
            person.type("half a li\x03")
            assert await person.code() == 130
            await process.line("closed 1001")


async def test_ctrl_c_while_it_connects_leaves() -> None:
    listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        with at_terminal("connect", f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/") as person:
            async with await listener.accept() as stream:
                await stream.receive_some()
                person.type("\x03")
                assert await person.code() == 130


async def test_progress_is_shown_on_a_terminal(folder: Path) -> None:
    async with echoing(folder) as (_, url):
        with at_terminal("bench", url, "-c", "2", "-d", "600") as person:
            await person.until("of 600 s")
            person.type("\x03")
            await person.until("latency ")
            assert await person.code() == 130
