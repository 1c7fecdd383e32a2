"""A fake transport that a test plays the network and the peer of, and the surroundings that a connection needs.

Used by the tests of connections, and of the server that has them. The peer is a `RawPeer` on the other end of the wire.
"""

from __future__ import annotations

import math
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_bunws._engine import Engine
from trio_bunws._handlers import HandlerSlot, WebSocketHandler
from trio_bunws._options import Limits
from trio_bunws._request import Request
from trio_bunws._server_connection import ServerConnection
from trio_bunws._stream_transport import PIECE
from trio_bunws._transport import SocketAddress, Transport
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from trio_bunws._poller import Reader
    from trio_bunws._websocket import ServerWebSocket
    from trio_bunws._wire.compression import Agreement

RESPONSE: Final = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


class Wire(Transport):
    """The server's end of a connection that takes `room` bytes; without direct writes if `Handing`."""

    direct = True
    tls = False

    def __init__(self) -> None:
        self.remote: SocketAddress | None = SocketAddress("192.0.2.1", "IPv4", 5)
        self.room: float = math.inf
        """Bytes that it still takes."""
        self.writes: list[bytes] = []
        self.incoming: list[bytes] = []
        """What the peer has sent and nobody has read."""
        self.at_eof = False
        self.broken = False
        self.reads_go_on = False
        """Whether the reader does not notice that it is broken."""
        self.closed = False
        self.eof_sent = False
        self.changed = trio.Event()

    def change(self) -> None:
        """Let everybody look again."""
        self.changed.set()
        self.changed = trio.Event()

    def make_room(self, size: float = math.inf) -> None:
        self.room += size
        self.change()

    def lose(self, *, reads_go_on: bool = False) -> None:
        """Break, as when the peer's machine has said so."""
        self.broken = True
        self.reads_go_on = reads_go_on
        self.change()

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        while True:
            if self.closed:
                raise trio.ClosedResourceError
            if self.incoming:
                return self.incoming.pop(0)
            if self.broken and not self.reads_go_on:
                raise trio.BrokenResourceError
            if self.at_eof:
                return b""
            await self.changed.wait()

    async def send_all(self, data: bytes) -> None:
        raise NotImplementedError

    def to_stream(self) -> trio.abc.Stream:
        raise NotImplementedError

    def _take(self, data: bytes | bytearray | memoryview) -> int:
        if self.closed or self.broken:
            raise trio.BrokenResourceError
        taken = int(min(len(data), self.room))
        self.room -= taken
        if taken:
            self.writes.append(bytes(data[:taken]))
            self.change()
        return taken

    def try_write(self, data: bytes | bytearray | memoryview) -> int:
        return self._take(data)

    async def settle(self) -> bool:
        await trio.lowlevel.checkpoint()
        while not self.room and not self.closed and not self.broken:
            await self.changed.wait()
        if self.closed:
            raise trio.ClosedResourceError
        return True

    async def send_eof(self) -> None:
        self.eof_sent = True
        self.change()
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        self.closed = self.eof_sent = True
        self.change()

    async def aclose(self) -> None:
        self.abort()
        await trio.lowlevel.checkpoint()


class PolledWire(Wire):
    """A wire that is read for who has no task: what the peer sends, `poll` hands over."""

    def __init__(self) -> None:
        super().__init__()
        self._reader: Reader | None = None
        self._context: Context | None = None
        self._rouse: Callable[[], None] | None = None
        self._failure: BaseException | None = None

    def attend(self, reader: Reader, context: Context, rouse: Callable[[], None]) -> bool:
        if self.closed or self.at_eof or self.incoming:
            return False
        self._reader, self._context, self._rouse = reader, context, rouse
        return True

    def poll(self) -> None:
        """Be the poller: hand over what has come, or rouse the reader if nothing comes any more."""
        while self._rouse is not None and self.incoming:
            assert self._reader is not None
            assert self._context is not None
            try:
                if not self._context.run(self._reader.absorb, self.incoming.pop(0)):
                    self.rouse()
            except BaseException as exc:  # noqa: BLE001, ASYNC103  # as the poller's
                self._failure = exc
                self.rouse()
            self._reader.flush()
        if self.at_eof:
            self.rouse()

    def rouse(self) -> None:
        rouse, self._rouse = self._rouse, None
        if rouse is not None:
            assert self._context is not None
            self._context.copy().run(rouse)

    def outcome(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def abort(self) -> None:
        super().abort()
        self.rouse()


class HandingWire(Wire):
    """A wire that is handed bytes and writes them while its writer waits, as TLS and memory streams do."""

    direct = False

    def __init__(self) -> None:
        super().__init__()
        self._handed: bytes | bytearray | memoryview = b""

    def try_write(self, data: bytes | bytearray | memoryview) -> int:
        if self.closed:
            raise trio.BrokenResourceError
        if self._handed:
            return 0
        self._handed = data
        return len(data)

    async def settle(self) -> bool:
        await trio.lowlevel.checkpoint()
        whole = memoryview(self._handed)
        rest = whole[:PIECE]
        while rest:
            await super().settle()
            rest = rest[self._take(rest) :]
        self._handed = whole[PIECE:]
        return not self._handed


class Client(trio.abc.Stream):
    """The peer's end of a wire."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._read = 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.wire.incoming.append(bytes(data))
        self.wire.change()

    async def wait_send_all_might_not_block(self) -> None:
        raise NotImplementedError

    async def receive_some(self, max_bytes: int | None = None) -> bytes:  # noqa: ARG002  # tests ask for all
        await trio.lowlevel.checkpoint()
        while len(data := self.wire.written) == self._read and not self.wire.eof_sent:
            await self.wire.changed.wait()
        fresh = data[self._read :]
        self._read = len(data)
        return fresh

    async def aclose(self) -> None:
        """Send the end of the stream."""
        self.wire.at_eof = True
        self.wire.change()
        await trio.lowlevel.checkpoint()


class Link:
    """A running connection: the peer, the wire, and the server's socket."""

    connection: ServerConnection[Any]

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.peer = RawPeer(Client(wire))
        self.over = trio.Event()
        """Set when the connection's task has ended."""
        self.scope = trio.CancelScope()
        """Cancels that task."""
        self.agreement: Agreement | None = None
        """How messages may be compressed."""

    @property
    def ws(self) -> ServerWebSocket[Any]:
        return self.connection.ws

    async def next_frame(self) -> tuple[int, float]:
        """Receive a frame; return its opcode, and when it came."""
        return (await self.peer.receive()).opcode, trio.current_time()

    async def run(
        self,
        engine: Engine[Any],
        response: bytes,
        trailing: bytes,
        data: object,
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        request = Request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        self.connection = ServerConnection(self.wire, engine, request, data, "chat", agreement=self.agreement)
        task_status.started()
        try:
            with self.scope:
                await self.connection.run(response, trailing)
        finally:
            self.wire.abort()
            self.over.set()

    def prepare(self, engine: Engine[Any]) -> None:
        """Make the connection so that it needs no task while it is polled; `resume` runs in one when it does."""
        request = Request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

        def rouse() -> None:
            engine.nursery.start_soon(self.resume)

        self.connection = ServerConnection(self.wire, engine, request, None, None, rouse=rouse)

    def attend(self, engine: Engine[Any], trailing: bytes = b"") -> bool:
        """Begin in a copy of the current context, without a task."""
        self.prepare(engine)
        context = copy_context()
        return context.run(self.connection.attend, RESPONSE, trailing, context)

    async def resume(self, response: bytes = b"") -> None:
        """Be the connection's task: the first one if there is a response to send."""
        goes_on = False
        try:
            goes_on = await (self.connection.run(response, b"") if response else self.connection.go_on())
        finally:
            if not goes_on:
                self.wire.abort()
                self.over.set()


class Surroundings:
    """What all connections of a server share, running."""

    def __init__(self, nursery: trio.Nursery, handler: WebSocketHandler[Any], limits: Limits | None = None) -> None:
        self.nursery = nursery
        self.engine: Engine[Any] = Engine(HandlerSlot(handler), limits or Limits(), nursery)
        nursery.start_soon(self.engine.hub.run)
        nursery.start_soon(self.engine.sweeper.run)

    async def connect(
        self,
        wire: Wire,
        trailing: bytes = b"",
        data: object = None,
        response: bytes = RESPONSE,
        agreement: Agreement | None = None,
    ) -> Link:
        """Begin a connection whose handshake has been read."""
        link = Link(wire)
        link.agreement = agreement
        await self.nursery.start(link.run, self.engine, response, trailing, data)
        return link

    async def open(self, wire: Wire, trailing: bytes = b"") -> Link:
        """Begin a connection, and read the answer to its handshake."""
        link = await self.connect(wire, trailing)
        await link.peer.receive_until(RESPONSE)
        return link
