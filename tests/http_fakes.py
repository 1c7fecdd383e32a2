"""Fakes for the tests of HTTP: a transport in memory that a test plays the client of, and a server without tasks.

Only `test_http_stream.py` and `test_session.py` use them.
"""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any, cast

import trio
import trio.testing

from trio_bunws._handlers import HandlerSlot, WebSocketHandler
from trio_bunws._options import Limits
from trio_bunws._transport import SocketAddress

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from trio_bunws._poller import Reader
    from trio_bunws._request import Request, Upgrade
    from trio_bunws._server import Server
    from trio_bunws._transport import Transport


class FakeTransport:
    """What HTTP uses of a `Transport`. Its client is the test: `put` and `end` send, `sent` is what came."""

    def __init__(self, *data: bytes) -> None:
        self.remote = SocketAddress("192.0.2.1", "IPv4", 5)
        self.tls = False
        self.sent = b""
        self.room: float = math.inf
        """Bytes that the client is still going to read."""
        self._room_grew = trio.Event()
        self.failing: Exception | None = None
        """What the next write raises."""
        self.ended_by: list[str] = []
        """How it was ended: "abort" and "aclose" in their order."""
        self.polled = True
        """Whether a poller reads it for who has no task."""
        self._reader: Reader | None = None
        self._context: Context | None = None
        self._rouse: Callable[[], None] | None = None
        self._failure: BaseException | None = None
        self._send, self._receive = trio.open_memory_channel[bytes](100)
        for one in data:
            self.put(one)

    def put(self, data: bytes) -> None:
        self._send.send_nowait(data)

    def read(self, size: int) -> None:
        self.room += size
        self._room_grew.set()
        self._room_grew = trio.Event()

    def end(self) -> None:
        self._send.close()

    async def receive(self) -> bytes:
        if self.ended_by:
            raise trio.ClosedResourceError
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            return b""

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.failing is not None:
            raise self.failing
        while len(data) > self.room:
            await self._room_grew.wait()
        self.room -= len(data)
        self.sent += data

    def attend(self, reader: Reader, context: Context, rouse: Callable[[], None]) -> bool:
        self._reader, self._context, self._rouse = reader, context, rouse
        return self.polled

    def rouse(self) -> None:
        rouse, self._rouse = self._rouse, None
        if rouse is not None:
            rouse()

    def outcome(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def poll(self, data: bytes) -> None:
        """Be a poller that has read this."""
        assert self._reader is not None
        assert self._context is not None
        reader = self._reader
        try:
            if not self._context.run(reader.absorb, data):
                self.rouse()
        except BaseException as exc:  # noqa: BLE001, ASYNC103  # as the poller's
            self._failure = exc
            self.rouse()
        reader.flush()

    def abort(self) -> None:
        self.ended_by.append("abort")

    async def aclose(self) -> None:
        self.ended_by.append("aclose")
        self._receive.close()
        self._send.close()
        await trio.lowlevel.checkpoint()

    @property
    def real(self) -> Transport:
        return cast("Transport", self)

    async def answers(self) -> bytes:
        """Return what was sent since the last call, once nothing moves any more."""
        await trio.testing.wait_all_tasks_blocked()
        sent, self.sent = self.sent, b""
        return sent


def websocket_slot() -> HandlerSlot[None]:
    return HandlerSlot(WebSocketHandler[None](message=lambda _ws, _message: None))


class FakeConnection:
    """What a session uses of a `ServerConnection`."""

    def __init__(self, server: FakeServer, request: Request, upgrade: Upgrade[Any], *, can_rouse: bool) -> None:
        self.server = server
        self.can_rouse = can_rouse
        self.log: list[str] = []
        self._asked = request, upgrade

    def attend(self, response: bytes, trailing: bytes, context: Context) -> bool:
        assert self.can_rouse
        assert context is not None
        self.begin(response, trailing)
        return self.server.attended

    def begin(self, response: bytes, trailing: bytes) -> None:
        assert response == b"101"
        self.server.websockets.append((*self._asked, trailing, self.server._pending_requests))

    def flush(self) -> None:
        self.log.append("flushed")

    async def run(self, response: bytes, trailing: bytes) -> bool:
        self.log.append("run")
        self.begin(response, trailing)
        del trailing
        return await self._serve()

    async def go_on(self) -> bool:
        self.log.append("goes on")
        return await self._serve()

    async def _serve(self) -> bool:
        await trio.lowlevel.checkpoint()
        self.server.on_websocket()
        return self.can_rouse and self.server.goes_on


class FakeServer:
    """What a session uses of a `Server`."""

    def __init__(
        self,
        fetch: Callable[..., Any] | None = None,
        error: Callable[..., Any] | None = None,
        *,
        slot: HandlerSlot[None] | None = None,
        limits: Limits | None = None,
        idle_timeout: float = 10.0,
    ) -> None:
        self._fetch = fetch
        self._fetch_async: bool = inspect.iscoroutinefunction(fetch)
        self._error = error
        self._error_async: bool = inspect.iscoroutinefunction(error)
        self._slot = slot
        self._limits = limits or Limits()
        self._max_request_body_size = 1000
        self._idle_timeout = idle_timeout
        self._stopping = False
        self._pending_requests = 0
        self._arrivals = self
        self.arrivals: list[object] = []
        """Who waits for its first request."""
        self.attended = True
        """Whether a WebSocket that becomes of one needs no task."""
        self.connections: list[FakeConnection] = []
        self.goes_on = False
        """Whether it needs none any more, once it has had one."""
        self.websockets: list[tuple[Request, Upgrade[Any], bytes, int]] = []
        """What became WebSockets, and how many requests were pending then."""
        self.on_open: Callable[[], None] = lambda: None
        self.on_websocket: Callable[[], None] = lambda: None

    def enter(self, session: object) -> None:
        self.arrivals.append(session)

    def leave(self, session: object) -> None:
        if session in self.arrivals:
            self.arrivals.remove(session)

    def _open(
        self, _transport: Transport, request: Request, upgrade: Upgrade[Any], rouse: Callable[[], None] | None
    ) -> tuple[FakeConnection, bytes]:
        self.on_open()
        self.connections.append(FakeConnection(self, request, upgrade, can_rouse=rouse is not None))
        return self.connections[-1], b"101"

    @property
    def real(self) -> Server[Any]:
        return cast("Server[Any]", self)
