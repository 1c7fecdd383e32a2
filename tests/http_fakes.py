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
        self.websockets: list[tuple[Request, Upgrade[Any], bytes, int]] = []
        """What became WebSockets, and how many requests were pending then."""
        self.on_websocket: Callable[[], None] = lambda: None

    async def _run_websocket(
        self, _transport: Transport, request: Request, upgrade: Upgrade[Any], trailing: bytes
    ) -> None:
        self.websockets.append((request, upgrade, trailing, self._pending_requests))
        await trio.lowlevel.checkpoint()
        self.on_websocket()

    @property
    def real(self) -> Server[Any]:
        return cast("Server[Any]", self)
