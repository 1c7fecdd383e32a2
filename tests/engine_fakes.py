"""Fakes for the tests of sockets: a sink that takes as much as it is told to, and a driver that writes down its calls.

Used by the tests of what a socket is made of and stands on, from `test_endpoint.py` to `test_reception.py`; the hub is
always the real one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import trio

from trio_bunws._endpoint import Endpoint
from trio_bunws._handlers import HandlerSlot, WebSocketHandler
from trio_bunws._hub import Hub
from trio_bunws._options import Limits
from trio_bunws._request import Request
from trio_bunws._websocket import ServerWebSocket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_bunws._wire.compression import Outbound


def nothing() -> None:
    """Do nothing."""


class FakeSink:
    """The writing half of a transport that tells at once what it took."""

    direct: ClassVar[bool] = True
    kernel_socket: None = None

    def __init__(self) -> None:
        self.room: float = math.inf
        """Bytes that it still takes."""
        self.writes: list[bytes] = []
        """What each write has brought."""
        self.broken = False
        """Whether a write raises."""

    def try_write(self, data: bytes | bytearray | memoryview) -> int:
        if self.broken:
            raise trio.BrokenResourceError
        taken = int(min(len(data), self.room))
        self.room -= taken
        if taken:
            self.writes.append(bytes(data[:taken]))
        return taken

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)


class FakeDriver:
    """What a socket asks of its connection, written down."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.on_end: Callable[[], None] = nothing
        """Called when the socket closes or aborts."""
        self.tasks: list[tuple[object, ...]] = []
        self.messages: list[str | bytes | Exception] = []
        """What `receive` returns or raises, in this order."""

    def writer_needed(self) -> None:
        self.calls.append("writer_needed")

    def close_begun(self) -> None:
        self.calls.append("close_begun")
        self.on_end()

    def abort(self) -> None:
        self.calls.append("abort")
        self.on_end()

    def resumed(self) -> None:
        self.calls.append("resumed")

    def write_failed(self) -> None:
        self.calls.append("write_failed")

    def start_soon(self, async_fn: Callable[..., Awaitable[object]], *args: object) -> None:
        self.tasks.append((async_fn, *args))

    async def start(self, async_fn: Callable[..., Awaitable[object]], *args: object) -> object:
        await trio.lowlevel.checkpoint()
        self.tasks.append((async_fn, *args))
        return "started"

    async def receive(self) -> str | bytes:
        await trio.lowlevel.checkpoint()
        message = self.messages.pop(0)
        if isinstance(message, Exception):
            raise message
        return message


class FakeEndpoint:
    """An `Endpoint` between a fake sink and a fake driver."""

    def __init__(self, *, limit: int = 0, kind: type[Endpoint] = Endpoint, deflate: Outbound | None = None) -> None:
        self.sink = FakeSink()
        self.driver = FakeDriver()
        self.hub = Hub()
        self.ws = kind(
            sink=self.sink,
            driver=self.driver,
            hub=self.hub,
            backpressure_limit=limit,
            protocol="chat",
            deflate=deflate,
        )

    def write_all(self) -> None:
        """Be the writer: take everything that waits."""
        self.sink.room = math.inf
        while self.ws._outbox.has_work:
            self.ws._outbox.write_more()


class FakeSocket:
    """A `ServerWebSocket` between a fake sink and a fake driver."""

    def __init__(
        self,
        handler: WebSocketHandler[Any] | None = None,
        *,
        hub: Hub | None = None,
        limits: Limits | None = None,
        deflate: Outbound | None = None,
    ) -> None:
        self.sink = FakeSink()
        self.driver = FakeDriver()
        self.hub = hub or Hub()
        self.slot: HandlerSlot[Any] = HandlerSlot(handler or WebSocketHandler())
        self.ws: ServerWebSocket[Any] = ServerWebSocket(
            sink=self.sink,
            driver=self.driver,
            hub=self.hub,
            slot=self.slot,
            limits=limits or Limits(),
            request=Request(b"GET /path HTTP/1.1\r\nHost: x\r\n\r\n"),
            data=None,
            protocol="chat",
            remote_address="192.0.2.1",
            deflate=deflate,
        )
