"""`trio-bunws bench URL`: load for a WebSocket server that answers each message with one, and how it took it.

Each connection is one task that sends a message for every one that comes; all begin when the last is open.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from trio_bunws._cli.arguments import FAILURE, CommandError, count, seconds
from trio_bunws._cli.client_arguments import add_client_arguments, client_maker, connected
from trio_bunws._cli.descriptors import write_all
from trio_bunws._cli.interruption import until_interrupted
from trio_bunws._cli.latencies import Latencies
from trio_bunws._cli.racing import until_first_ends
from trio_bunws._errors import ConnectionClosed

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from trio_bunws._client import WebSocket

DESCRIPTION: Final = "Load a WebSocket server that answers each message with one message, as an echo server does."
EPILOG: Final = """\
Every connection sends a message, waits for the answer, and sends the next;
--in-flight sends so many before it waits. The time from a message to its answer
is its latency. Progress is shown on a terminal, the summary on standard output.

This program is one process in Python: a fast server may wait for it. Then
several of them, on other machines, say more.

exit codes:
  0    all connections stayed open, and there were answers
  1    no connection, or some were lost, or there was no answer
  2    wrong usage
  130  Ctrl-C (143: SIGTERM), which shows what was measured until then

examples:
  trio-bunws bench ws://127.0.0.1:3000/
  trio-bunws bench -c 200 -d 30 --size 1024 --binary wss://example.org/echo
"""
AT_A_TIME: Final = 64
"""Connections being opened at a time: more would fill a listener's queue."""
PROGRESS: Final = 0.5
"""Seconds between two lines of progress."""
ERASE: Final = "\r\x1b[K"
PERCENTILES: Final = (50, 90, 99, 99.9)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `bench` takes."""
    add_client_arguments(parser)
    load = parser.add_argument_group("the load")
    load.add_argument("-c", "--connections", type=count, default=10, metavar="N", help="connections (default: 10)")
    load.add_argument(
        *("-d", "--duration"),
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long, once all are open (default: 10)",
    )
    load.add_argument("--size", type=count, default=64, metavar="BYTES", help="of each message (default: 64)")
    load.add_argument("--in-flight", type=count, default=1, metavar="N", help="messages without an answer (default: 1)")
    load.add_argument("--binary", action="store_true", help="send binary messages, not text")


def run(given: argparse.Namespace) -> int:
    """Carry the command out; return its exit code."""
    return trio.run(Bench(client_maker(given), given).run)


class Bench:
    """One measurement."""

    def __init__(
        self,
        make: Callable[[trio.abc.Stream | None], WebSocket],
        given: argparse.Namespace,
        stdout: int = 1,
        stderr: int = 2,
    ) -> None:
        self._make: Final = make
        self._connections: Final[int] = given.connections
        self._duration: Final[float] = given.duration
        self._in_flight: Final[int] = given.in_flight
        self._compress: Final[bool] = given.compress
        self._message: Final[str | bytes] = bytes(given.size) if given.binary else "x" * given.size
        self._stdout: Final = stdout
        self._stderr: Final = stderr
        self._latencies: Final = Latencies()
        self._lost: Final[Counter[str]] = Counter()
        self._open = 0
        self._begun: Final = trio.Event()
        self._failure: CommandError | None = None
        self._begin = 0.0
        self._end = 0.0

    async def run(self, stream: Callable[[], trio.abc.Stream] | None = None) -> int:
        """Measure, show the summary, and return the exit code; `stream` makes connections instead of the URL.

        Raises:
            CommandError: if a connection cannot be opened.
        """
        code = await until_interrupted(partial(self._measure, stream))
        await self._show("")
        if self._failure is not None:
            raise self._failure
        if self._begun.is_set():
            await write_all(self._stdout, self._summary(min(self._end, trio.current_time()) - self._begin))
        return code

    async def _measure(self, stream: Callable[[], trio.abc.Stream] | None) -> int:
        await until_first_ends(partial(self._load, stream), self._show_progress)
        return FAILURE if self._lost or not self._latencies.count else 0

    # The load

    async def _load(self, stream: Callable[[], trio.abc.Stream] | None) -> None:
        opening = trio.CapacityLimiter(AT_A_TIME)
        async with trio.open_nursery() as nursery:
            for _ in range(self._connections):
                ws = self._make(None if stream is None else stream())
                nursery.start_soon(self._connect, ws, opening, nursery.cancel_scope)

    async def _connect(self, ws: WebSocket, opening: trio.CapacityLimiter, everything: trio.CancelScope) -> None:
        """Run one connection."""
        try:
            async with AsyncExitStack() as stack:
                async with opening:
                    await stack.enter_async_context(connected(ws))
                self._opened()
                await self._begun.wait()
                with trio.CancelScope(deadline=self._end):
                    await self._converse(ws)
        except CommandError as exc:
            self._failure = exc
            everything.cancel()

    def _opened(self) -> None:
        self._open += 1
        if self._open == self._connections:
            self._begin = trio.current_time()
            self._end = self._begin + self._duration
            self._begun.set()

    async def _converse(self, ws: WebSocket) -> None:
        """Send and receive until the end of the measurement, or of the connection."""
        sent: deque[float] = deque()
        latencies = self._latencies
        try:
            for _ in range(self._in_flight):
                sent.append(trio.current_time())
                await ws.send_wait(self._message, self._compress)
            while True:
                await ws.receive()
                now = trio.current_time()
                latencies.add(now - sent.popleft())
                sent.append(now)
                await ws.send_wait(self._message, self._compress)
        except ConnectionClosed as exc:
            self._lost[str(exc)] += 1

    # What is shown

    async def _show_progress(self) -> None:
        while True:
            if self._begun.is_set():
                passed = trio.current_time() - self._begin
                rate = self._latencies.count / passed if passed else 0.0
                middle, high = (milliseconds(self._latencies.percentile(percent)) for percent in (50, 99))
                await self._show(
                    f"{passed:5.1f} of {self._duration:g} s   {rate:,.0f} messages/s   p50 {middle}   p99 {high}"
                )
            else:
                await self._show(f"{self._open:,} of {self._connections:,} connections")
            await trio.sleep(PROGRESS)

    async def _show(self, line: str) -> None:
        if os.isatty(self._stderr):
            await write_all(self._stderr, ERASE + line)

    def _summary(self, passed: float) -> str:
        answers = self._latencies.count
        size = len(self._message)
        rate = answers / passed if passed else 0.0
        times = [f"p{percent:g} {milliseconds(self._latencies.percentile(percent))}" for percent in PERCENTILES]
        kind = "binary" if isinstance(self._message, bytes) else "text"
        what = f"{self._in_flight:,} in flight on each, {kind} messages of {size:,} bytes"
        lines = [
            f"{self._connections:,} connections, {what}",
            f"answers      {answers:,} in {passed:.2f} s",
            f"throughput   {rate:,.0f} messages/s, {rate * size / 1e6:,.2f} MB/s each way",
            f"latency      {'   '.join(times)}   max {milliseconds(self._latencies.greatest)}",
        ]
        if not answers:
            lines[2:] = ["There was no answer: is this an echo server?"]
        lines += [f"lost         {number:,} connections: {words}" for words, number in self._lost.items()]
        return "".join(f"{line}\n" for line in lines)


def milliseconds(seconds: float) -> str:
    """Return a time with three digits that mean something."""
    value = seconds * 1000
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} ms"
