"""`trio-bunws connect` within the process: a server in memory, and pipes or a pseudo-terminal for the user."""

from __future__ import annotations

import signal
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from terminals import Pipe, Terminal, pipes, terminal

from trio_bunws import Limits, Request, Response, Server, ServerWebSocket, WebSocket, WebSocketHandler, open_server
from trio_bunws._cli import connect_command
from trio_bunws._cli.arguments import CommandError, Parser
from trio_bunws._cli.client_arguments import client_maker
from trio_bunws._cli.connect_command import Conversation
from trio_bunws._cli.console import Console
from trio_bunws._cli.input_lines import COMMANDS
from trio_bunws.testing import MemoryListener

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncGenerator, Callable, Iterator

    from trio.testing import MockClock

URL = "ws://server.test/"


def echo(ws: ServerWebSocket[Any], message: str | bytes) -> None:
    ws.send(message)


ECHO = WebSocketHandler[None](message=echo)


@pytest.fixture(autouse=True)
def _without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


def arguments(*given: str) -> argparse.Namespace:
    parser = Parser()
    connect_command.add_arguments(parser)
    return parser.parse_args([URL, *given])


class Talk:
    """A conversation with a server in memory."""

    def __init__(self, server: Server[Any], listener: MemoryListener) -> None:
        self.server = server
        self._listener = listener
        self.code = -1

    async def make(self, console: Console, *given: str) -> Conversation:
        parsed = arguments(*given)
        ws: WebSocket = client_maker(parsed)(await self._listener.connect())
        return Conversation(ws, console, parsed)

    async def run(self, console: Console, *given: str) -> int:
        self.code = await (await self.make(console, *given)).run()
        return self.code


@asynccontextmanager
async def serving(
    handler: WebSocketHandler[None] = ECHO, fetch: Callable[..., Response | None] | None = None
) -> AsyncGenerator[Talk]:
    listener = MemoryListener()
    async with open_server(fetch, handler, listeners=[listener], limits=Limits(close_timeout=1)) as server:
        yield Talk(server, listener)


class Piped:
    """The three pipes of a conversation without a terminal."""

    def __init__(self, given: Pipe, out: Pipe, err: Pipe) -> None:
        self.given, self.out, self.err = given, out, err
        self.console = Console(given.reader, out.writer, err.writer)


@pytest.fixture(name="piped")
def _piped() -> Iterator[Piped]:
    with pipes(3) as made:
        yield Piped(*made)


@pytest.fixture(name="window")
def _window() -> Iterator[Terminal]:
    with terminal() as made:
        yield made


# Pipes


async def test_each_line_is_sent_and_the_answers_are_waited_for(piped: Piped, autojump_clock: MockClock) -> None:
    piped.given.put(b"one\n//two\n/binary 00ff\n/ping x\n/pong\n")
    piped.given.end()
    async with serving() as talk:
        assert await talk.run(piped.console) == 0
    assert piped.out.get() == "one\n/two\n00ff\n"
    assert piped.err.get() == f"Connected to {URL}\npong after 0.00 ms\nConnection closed: 1000\n"
    assert 1 <= autojump_clock.current_time() < 2


async def test_every_message_begins_the_wait_anew(piped: Piped, autojump_clock: MockClock) -> None:
    async def opened(ws: ServerWebSocket) -> None:
        for number in range(5):
            await trio.sleep(4)
            ws.send(str(number))

    piped.given.end()
    async with serving(WebSocketHandler(open=opened)) as talk:
        assert await talk.run(piped.console, "--wait", "5") == 0
        assert autojump_clock.current_time() == pytest.approx(25)
    assert piped.out.get() == "0\n1\n2\n3\n4\n"


async def test_listening_goes_on_until_the_server_closes(piped: Piped, autojump_clock: MockClock) -> None:
    async def opened(ws: ServerWebSocket) -> None:
        await trio.sleep(1000)
        ws.send("late")
        ws.close(1000, "done")

    piped.given.end()
    async with serving(WebSocketHandler(open=opened, idle_timeout=0)) as talk:
        assert await talk.run(piped.console, "--listen") == 0
    assert autojump_clock.current_time() >= 1000
    assert piped.out.get() == "late\n"
    assert piped.err.get().endswith("Connection closed: 1000 (done)\n")


async def test_slashes_mean_nothing_without_commands(piped: Piped, autojump_clock: MockClock) -> None:  # noqa: ARG001
    piped.given.put(b"/ping\n//x\n")
    piped.given.end()
    async with serving() as talk:
        assert await talk.run(piped.console, "--no-commands") == 0
    assert piped.out.get() == "/ping\n//x\n"


async def test_empty_lines_of_a_pipe_are_messages(piped: Piped, autojump_clock: MockClock) -> None:  # noqa: ARG001
    piped.given.put(b"\n\n")
    piped.given.end()
    async with serving() as talk:
        assert await talk.run(piped.console) == 0
    assert piped.out.get() == "\n\n"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"/nothing\n", "there is no command '/nothing'"),
        (b"/close 1005\n", "close expects code to be"),
        (b"/ping " + b"x" * 126 + b"\n", "at most 125 bytes"),
        (b"/close 1000 " + b"x" * 124 + b"\n", "at most 123 bytes"),
        (b"\xff\n", "the input is not UTF-8 text"),
    ],
)
async def test_a_mistake_in_a_pipe_ends_it(piped: Piped, given: bytes, words: str) -> None:
    piped.given.put(given)
    async with serving() as talk:
        with pytest.raises(CommandError, match=words):
            await talk.run(piped.console)


async def test_a_close_with_a_code_is_in_order_if_it_was_ours(piped: Piped) -> None:
    piped.given.put(b"/close 4001 that's all\nmore\n")
    closes: list[tuple[int, str]] = []

    def closed(_ws: ServerWebSocket, code: int, reason: str) -> None:
        closes.append((code, reason))

    async with serving(WebSocketHandler(close=closed)) as talk:
        assert await talk.run(piped.console) == 0
    assert closes == [(4001, "that's all")]
    assert piped.err.get().endswith("Connection closed: 4001 (that's all)\n")


@pytest.mark.parametrize(("code", "exit_code"), [(1000, 0), (1001, 0), (4001, 1), (1011, 1)])
async def test_a_close_of_the_server_is_judged_by_its_code(piped: Piped, code: int, exit_code: int) -> None:
    def opened(ws: ServerWebSocket) -> None:
        ws.send("last words")
        ws.close(code, "why")

    async with serving(WebSocketHandler(open=opened)) as talk:
        assert await talk.run(piped.console) == exit_code
    assert piped.out.get() == "last words\n"
    assert piped.err.get().endswith(f"Connection closed: {code} (why)\n")


async def test_a_lost_connection_is_exit_code_1(piped: Piped) -> None:
    async with serving(WebSocketHandler(open=ServerWebSocket.terminate)) as talk:
        assert await talk.run(piped.console) == 1
    assert piped.err.get().endswith("Connection closed: 1006\n")


async def test_what_was_agreed_on_is_told(piped: Piped) -> None:
    def fetch(request: Request, server: Server) -> None:
        assert server.upgrade(request, protocol="chat")

    handler = WebSocketHandler[None](open=ServerWebSocket.close, per_message_deflate=True)
    async with serving(handler, fetch) as talk:
        assert await talk.run(piped.console, "-s", "chat") == 0
    first, *_ = piped.err.get().splitlines()
    assert first.startswith(f"Connected to {URL} (subprotocol chat, permessage-deflate")


async def test_messages_are_compressed_if_asked_to(piped: Piped, autojump_clock: MockClock) -> None:  # noqa: ARG001
    piped.given.put(b"x" * 10_000 + b"\n")
    piped.given.end()
    async with serving(WebSocketHandler(message=echo, per_message_deflate=True)) as talk:
        assert await talk.run(piped.console, "--compress") == 0
        assert talk.server.statistics().bytes_in < 1000
    assert piped.out.get() == "x" * 10_000 + "\n"


async def test_nobody_at_the_other_end_of_the_output_is_an_error_of_the_system(piped: Piped) -> None:
    piped.out.leave()
    piped.given.put(b"one\n")
    async with serving() as talk:
        with pytest.raises(BrokenPipeError):
            await talk.run(piped.console)


async def test_an_echo_of_more_than_fits_holds_nobody_up(piped: Piped) -> None:
    lines = 200
    text = "x" * 20_000

    async def feed() -> None:
        for _ in range(lines):
            await trio.to_thread.run_sync(piped.given.put, f"{text}\n".encode())
        piped.given.put(b"end\n")

    got = ""
    handler = WebSocketHandler[None](message=echo, backpressure_limit=50_000_000)
    async with serving(handler) as talk, trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        nursery.start_soon(talk.run, piped.console)
        while not got.endswith("end\n"):
            await trio.lowlevel.wait_readable(piped.out.reader)
            got += piped.out.get()
        piped.given.put(b"/close\n")
    assert talk.code == 0
    assert got == f"{text}\n" * lines + "end\n"


async def test_what_came_before_the_close_is_shown_however_slowly_and_what_is_sent_after_it_ends_nothing(
    piped: Piped,
) -> None:
    def opened(ws: ServerWebSocket) -> None:
        ws.send("x" * 1_000_000)
        ws.send("last")
        ws.close()

    got = ""
    async with serving(WebSocketHandler(open=opened)) as talk, trio.open_nursery() as nursery:
        nursery.start_soon(talk.run, piped.console)
        await trio.testing.wait_all_tasks_blocked()
        piped.given.put(b"too late\n")
        await trio.testing.wait_all_tasks_blocked()
        while not got.endswith("last\n"):
            await trio.lowlevel.wait_readable(piped.out.reader)
            got += piped.out.get()
    assert talk.code == 0


async def test_the_answer_to_a_ping_is_told_and_to_no_other(piped: Piped, autojump_clock: MockClock) -> None:  # noqa: ARG001
    def opened(ws: ServerWebSocket) -> None:
        ws.pong(b"unasked")

    piped.given.put(b"/ping\n/ping you\n")
    piped.given.end()
    async with serving(WebSocketHandler(open=opened)) as talk:
        assert await talk.run(piped.console, "--wait", "30") == 0
    told = [line for line in piped.err.get().splitlines() if "pong" in line]
    assert told == ["pong after 0.00 ms"] * 2


# A terminal


def on(window: Terminal) -> Console:
    return Console(window.descriptor, window.descriptor, window.descriptor)


@asynccontextmanager
async def talking(window: Terminal, handler: WebSocketHandler[None] = ECHO) -> AsyncGenerator[Talk]:
    async with serving(handler) as talk, trio.open_nursery() as nursery:
        nursery.start_soon(talk.run, on(window))
        await window.until("Type a message, or /help\n> ")
        yield talk


async def test_a_conversation_on_a_terminal(window: Terminal) -> None:
    async with talking(window) as talk:
        window.type("hello\r")
        await window.until("> hello\n")
        await window.until("< hello\n> ")
        window.type("\x1b[A\x7f\r")  # the line before, without its last letter
        await window.until("< hell\n> ")
        window.type("\r/help\r")
        await window.until(COMMANDS.splitlines()[-1])
        window.type("/close 99\r/nothing\r")
        assert "/close expects a code" in await window.until("there is no command '/nothing'")
        assert talk.server.statistics().messages_in == 2
        window.type("\x04")
        await window.until("Connection closed: 1000\n")
    assert talk.code == 0


async def test_the_prompt_is_drawn_again_for_a_window_of_another_size(window: Terminal) -> None:
    async with talking(window):
        for number in (signal.SIGWINCH, signal.SIGCONT):
            signal.raise_signal(number)
            await window.raw_until("\r\x1b[K> ")
        window.type("\x04")


async def test_what_was_typed_ahead_is_sent(window: Terminal) -> None:
    window.type("early\n")
    async with talking(window):
        await window.until("< early\n")
        window.type("\x04")


async def test_a_close_while_something_is_being_sent_is_told(window: Terminal) -> None:
    handler = WebSocketHandler[None](message=lambda ws, _message: ws.close(1001, "bye"))
    async with talking(window, handler) as talk:
        window.type("one\rtwo\rthree\r")
        await window.until("Connection closed: 1001 (bye)\n")
    assert talk.code == 0


# The command


def test_the_command_itself_fails_in_one_line() -> None:
    parser = Parser()
    connect_command.add_arguments(parser)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        given = parser.parse_args([f"ws://127.0.0.1:{taken.getsockname()[1]}/"])
        with pytest.raises(CommandError, match="Connection refused"):
            connect_command.run(given)
