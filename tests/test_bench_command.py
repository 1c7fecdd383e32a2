"""`trio-bunws bench` within the process, against servers in memory of which each does one thing."""

from __future__ import annotations

import re
import signal
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from terminals import Pipe, pipes, terminal

from trio_bunws import Limits, Request, Response, Server, ServerWebSocket, WebSocketHandler, open_server
from trio_bunws._cli import bench_command
from trio_bunws._cli.arguments import CommandError, Parser
from trio_bunws._cli.bench_command import Bench, milliseconds
from trio_bunws._cli.client_arguments import client_maker
from trio_bunws.testing import MemoryListener

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncGenerator, Callable, Iterator

    from trio.testing import MockClock

    Run = Callable[..., Any]


def arguments(*given: str) -> argparse.Namespace:
    parser = Parser()
    bench_command.add_arguments(parser)
    return parser.parse_args(["ws://server.test/", *given])


class Output:
    """Where the summary goes, and where the progress."""

    def __init__(self, out: Pipe, err: Pipe) -> None:
        self.out, self.err = out, err


@pytest.fixture(name="output")
def _output() -> Iterator[Output]:
    with pipes(2) as made:
        yield Output(*made)


async def slowly(ws: ServerWebSocket, message: str | bytes) -> None:
    """Echo after a hundred milliseconds."""
    await trio.sleep(0.1)
    ws.send(message)


@asynccontextmanager
async def benched(
    output: Output, handler: WebSocketHandler[None], fetch: Callable[..., Any] | None = None
) -> AsyncGenerator[tuple[Server[Any], Run]]:
    """Yield a server and what runs the command against it."""
    listener = MemoryListener()

    async def run(*given: str, stderr: int | None = None) -> int:
        parsed = arguments(*given)
        where = output.err.writer if stderr is None else stderr
        bench = Bench(client_maker(parsed), parsed, output.out.writer, where)
        streams = [await listener.connect() for _ in range(parsed.connections)]
        return await bench.run(streams.pop)

    async with open_server(fetch, handler, listeners=[listener], limits=Limits(close_timeout=1)) as server:
        yield server, run


async def test_the_summary_has_the_rate_and_the_latencies(output: Output, autojump_clock: MockClock) -> None:  # noqa: ARG001
    async with benched(output, WebSocketHandler(message=slowly)) as (server, run):
        assert await run("-c", "3", "-d", "10.05", "--size", "1000") == 0
        counts = server.statistics()
    lines = output.out.get().splitlines()
    assert lines[0] == "3 connections, 1 in flight on each, text messages of 1,000 bytes"
    assert lines[1] == "answers      300 in 10.05 s"
    assert lines[2] == "throughput   30 messages/s, 0.03 MB/s each way"
    assert re.fullmatch(r"latency      p50 10\d ms   p90 10\d ms   p99 10\d ms   p99.9 10\d ms   max 100 ms", lines[3])
    assert len(lines) == 4
    assert counts.messages_in == 303
    assert output.err.get() == ""


async def test_more_may_be_in_flight_and_binary(output: Output, autojump_clock: MockClock) -> None:  # noqa: ARG001
    kinds: set[type] = set()

    async def message(ws: ServerWebSocket, data: str | bytes) -> None:
        kinds.add(type(data))
        await slowly(ws, data)

    async with benched(output, WebSocketHandler(message=message)) as (_, run):
        assert await run("-c", "1", "-d", "2.05", "--in-flight", "5", "--binary") == 0
    assert kinds == {bytes}
    lines = output.out.get().splitlines()
    assert lines[0] == "1 connections, 5 in flight on each, binary messages of 64 bytes"
    assert lines[1] == "answers      20 in 2.05 s"
    assert "max 500 ms" in lines[3]


async def test_messages_are_compressed_if_asked_to(output: Output, autojump_clock: MockClock) -> None:  # noqa: ARG001
    async with benched(output, WebSocketHandler(message=slowly, per_message_deflate=True)) as (server, run):
        assert await run("-c", "1", "-d", "1", "--size", "10000", "--compress") == 0
        assert server.statistics().bytes_in < 10_000


async def test_a_terminal_shows_the_progress(output: Output, autojump_clock: MockClock) -> None:  # noqa: ARG001
    with terminal() as window:
        async with benched(output, WebSocketHandler(message=slowly)) as (_, run):
            assert await run("-c", "2", "-d", "3", stderr=window.descriptor) == 0
        seen = await window.raw_until("2.5 of 3 s")
        assert seen.startswith(("\r\x1b[K0 of 2 connections", "\r\x1b[K2 of 2 connections", "\r\x1b[K  0.0 of 3 s"))
        assert "\r\x1b[K  1.0 of 3 s   " in seen
        assert (await window.raw_until("\r\x1b[K")).startswith("   19 messages/s   p50 100 ms   p99 100 ms")


async def test_who_never_answers_is_no_echo_server(output: Output, autojump_clock: MockClock) -> None:  # noqa: ARG001
    async with benched(output, WebSocketHandler()) as (_, run):
        assert await run("-c", "1", "-d", "1") == 1
    assert output.out.get().splitlines()[-1] == "There was no answer: is this an echo server?"


async def test_lost_connections_are_told_and_the_others_go_on(
    output: Output,
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    victims: list[ServerWebSocket] = []

    async def message(ws: ServerWebSocket, data: str | bytes) -> None:
        await slowly(ws, data)
        if ws in victims:
            ws.close(4000, "enough")

    def opened(ws: ServerWebSocket) -> None:
        if not victims:
            victims.append(ws)

    async with benched(output, WebSocketHandler(open=opened, message=message)) as (_, run):
        assert await run("-c", "2", "-d", "2.05") == 1
    lines = output.out.get().splitlines()
    assert lines[1] == "answers      21 in 2.05 s"
    assert lines[-1].startswith("lost         1 connections: connection closed with 4000 (enough)")


async def test_when_all_are_lost_it_is_over(output: Output, autojump_clock: MockClock) -> None:
    async with benched(output, WebSocketHandler(message=lambda ws, _: ws.close(1000))) as (_, run):
        assert await run("-c", "2", "-d", "1000") == 1
    assert autojump_clock.current_time() < 100
    assert "lost         2 connections: connection closed with 1000" in output.out.get()


async def test_a_connection_that_is_refused_ends_it(output: Output) -> None:
    def fetch(request: Request, server: Server) -> Response | None:
        return None if server.pending_websockets == 0 and server.upgrade(request) else Response("no", status=403)

    async with benched(output, WebSocketHandler(), fetch) as (_, run):
        with pytest.raises(CommandError, match=r"cannot connect to ws://server.test/: .* HTTP status 403"):
            await run("-c", "3", "-d", "1")
    assert output.out.get() == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_ends_the_measurement_and_shows_what_there_is(
    output: Output, number: signal.Signals, code: int
) -> None:
    def message(ws: ServerWebSocket, data: str | bytes) -> None:
        ws.send(data)
        signal.raise_signal(number)

    async with benched(output, WebSocketHandler(message=message)) as (_, run):
        assert await run("-c", "1", "-d", "1000") == code
    assert output.out.get().startswith("1 connections, 1 in flight on each")


async def test_a_signal_before_all_are_open_shows_nothing(output: Output) -> None:
    async def fetch(request: Request, server: Server) -> None:  # noqa: ARG001
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()

    async with benched(output, WebSocketHandler(), fetch) as (_, run):
        assert await run("-c", "1") == 130
    assert output.out.get() == ""


def test_the_command_itself_fails_in_one_line() -> None:
    parser = Parser()
    bench_command.add_arguments(parser)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        given = parser.parse_args([f"ws://127.0.0.1:{taken.getsockname()[1]}/"])
        with pytest.raises(CommandError, match="Connection refused"):
            bench_command.run(given)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.00 ms"), (0.00123, "1.23 ms"), (0.0123, "12.3 ms"), (0.123, "123 ms"), (2, "2000 ms")],
)
def test_times_have_three_digits_that_mean_something(seconds: float, text: str) -> None:
    assert milliseconds(seconds) == text
