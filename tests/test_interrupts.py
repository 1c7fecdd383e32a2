"""Ctrl-C at any line of the library: the server ends in good order all the same, and says nothing.

A signal comes between any two lines. In the server's own tasks it may not raise there: trio hands it to the main task.
In the application's handlers it does, so that one which never ends can be ended.
"""

from __future__ import annotations

import signal
import sys
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from patience import PATIENCE

import trio_bunws
from trio_bunws import Request, Response, Server, ServerWebSocket, WebSocketHandler, open_server
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncGenerator, Generator
    from types import FrameType

PACKAGE = trio_bunws.__path__[0]
STEP = 31
"""Lines from one run to the next; it has no divisor in common with what repeats."""
CALLS = frozenset({"_ask", "_call", "_fetch", "closed", "interruptible", "interruptibly"})
"""Functions that call the application's."""


class Interrupt:
    """Sends SIGINT to this process before the n-th line of the library that runs in a task of the server."""

    def __init__(self, line: int, within: frozenset[str] | None = None) -> None:
        """`within`: the names of the functions whose lines count; `None`: all."""
        self._left = line
        self._within: Final = within
        self._main: trio.lowlevel.Task | None = None
        self.where = ""
        self.in_application = False
        """Whether it came where the application is called, and is raised."""

    def begin(self) -> None:
        """Count from here on; what this task runs does not count."""
        self._main = trio.lowlevel.current_task()

    def trace(self, frame: FrameType, event: str, _argument: object) -> Any:  # noqa: ANN401 - as `sys.settrace` has it
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        counts = self._within is None or frame.f_code.co_name in self._within
        if event == "line" and counts and self._main is not None and self._left:
            with suppress(RuntimeError):  # it runs in no task
                self._left -= trio.lowlevel.current_task() is not self._main
            if not self._left:
                self.where = f"{frame.f_code.co_filename}:{frame.f_lineno} ({frame.f_code.co_name})"
                self.in_application = not trio.lowlevel.currently_ki_protected()
                signal.raise_signal(signal.SIGINT)
        return self.trace


@contextmanager
def traced(interrupt: Interrupt) -> Generator[None]:
    """Trace the block, with Python's own handler of SIGINT, which trio replaces."""
    tracer, handler = sys.gettrace(), signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.settrace(interrupt.trace)
    try:
        yield
    finally:
        sys.settrace(tracer)
        signal.signal(signal.SIGINT, handler)


class Application:
    """Echoes to a room, and counts."""

    def __init__(self, *, plain: bool) -> None:
        self.opened = self.closed = 0
        message = self.message if plain else self.message_later
        close = self.close if plain else self.close_later
        self.fetch = self.fetch_at_once if plain else self.fetch_later
        self.handler: WebSocketHandler[Any] = WebSocketHandler(open=self.open, message=message, close=close)

    def fetch_at_once(self, request: Request, server: Server[Any]) -> Response | None:
        return None if server.upgrade(request) else Response("hello")

    async def fetch_later(self, request: Request, server: Server[Any]) -> Response | None:
        await trio.lowlevel.checkpoint()
        return self.fetch_at_once(request, server)

    def open(self, ws: ServerWebSocket[Any]) -> None:
        self.opened += 1
        ws.subscribe("room")

    def message(self, ws: ServerWebSocket[Any], message: str | bytes) -> None:
        ws.publish("room", message)
        ws.send(message)

    async def message_later(self, ws: ServerWebSocket[Any], message: str | bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.message(ws, message)

    def close(self, _ws: ServerWebSocket[Any], _code: int, _reason: str) -> None:
        self.closed += 1

    async def close_later(self, ws: ServerWebSocket[Any], code: int, reason: str) -> None:
        self.close(ws, code, reason)
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def connecting(port: int) -> AsyncGenerator[trio.SocketStream]:
    """Connect, without a nursery, which would wrap what interrupts it."""
    sock = trio.socket.socket()
    with sock:
        await sock.connect(("127.0.0.1", port))
        yield trio.SocketStream(sock)


async def converse(application: Application, interrupt: Interrupt) -> None:
    """Two clients talk and a third asks for a page; one of the two leaves without a word."""
    with trio.fail_after(PATIENCE):
        async with open_server(application.fetch, application.handler, port=0) as server:
            assert server.port is not None
            interrupt.begin()
            async with (
                connecting(server.port) as page,
                connecting(server.port) as first,
                connecting(server.port) as second,
            ):
                await page.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                await page.receive_some()
                one, other = RawPeer(first), RawPeer(second)
                await one.upgrade()
                await other.upgrade()
                await one.send_text("hello")
                assert await one.receive_text() == await other.receive_text() == "hello"
                await first.aclose()
                await other.send_close(1000)
                await other.receive_close()
                await other.receive_eof()


@pytest.mark.parametrize(("step", "within"), [(STEP, None), (1, CALLS)], ids=["anywhere", "around the application"])
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "async"])
def test_ctrl_c_at_any_line_ends_the_server_in_good_order(
    plain: bool, step: int, within: frozenset[str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    line = 1
    while True:
        application, interrupt = Application(plain=plain), Interrupt(line, within)
        with traced(interrupt):
            try:
                trio.run(converse, application, interrupt)
            except* KeyboardInterrupt:
                pass
            except* (OSError, EOFError, trio.BrokenResourceError, AssertionError):
                # The clients notice as well when it ends a handler, and with it the server.
                assert interrupt.in_application, interrupt.where
        # Between our call of a handler and its first line there is one at which it has not been entered.
        assert application.opened == application.closed or interrupt.in_application, interrupt.where
        assert complaints(caplog) == [], interrupt.where
        if not interrupt.where:
            break
        line += step
    assert line > (50 * STEP if within is None else len(CALLS))


def test_ctrl_c_ends_a_handler_that_never_ends() -> None:
    def message(_ws: ServerWebSocket[Any], _message: str | bytes) -> None:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the handler went on")

    async def main() -> None:
        async with open_server(None, WebSocketHandler(message=message), port=0) as server:
            assert server.port is not None
            async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
                peer = RawPeer(stream)
                await peer.upgrade()
                await peer.send_text("work")
                await trio.sleep(PATIENCE)

    with traced(Interrupt(0)), pytest.raises(KeyboardInterrupt):
        trio.run(main)


def complaints(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelname not in {"DEBUG", "INFO"}]
