"""Ways to reach a server without a network, for the behaviour tests of sending, topics and backpressure.

A link makes the two ends of a connection, for a `MemoryListener`. `served` is `playground` with a link of choice; it
remembers the server's sockets, so that a test can use them from its own task, and closes the peers in the end.
"""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import trio
import trio.testing
from playground import Playground, Socket, settled
from recorder import library_client

from trio_bunws import Server, WebSocketHandler, open_server
from trio_bunws.testing import MemoryListener, RawPeer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

Pair: TypeAlias = "tuple[trio.abc.Stream, trio.abc.Stream]"

KERNEL = 16 * 1024
"""Bytes that a kernel link takes at most before it refuses more; in truth 4 to 5 KiB."""
BATCH = 16 * 1024
"""Bytes of frames that are written without waiting for more."""
BIG = b"\x00" * (64 * 1024)
"""More than any link takes at once, but `memory`: sent first, the rest of it is unsent."""
BIG_FRAME = len(BIG) + 10
"""Bytes of its frame."""

memory = trio.testing.memory_stream_pair
"""Takes everything, by the writer task."""
lockstep = trio.testing.lockstep_stream_pair
"""Each write of the writer task waits until the peer has read it."""


def kernel() -> Pair:
    """Connect two kernel sockets, the server's with the smallest buffer there is: writes are direct."""
    client, server = socket.socketpair()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    return _stream(client), _stream(server)


def _stream(sock: socket.socket) -> trio.SocketStream:
    return trio.SocketStream(trio.socket.from_stdlib_socket(sock))


class Watched:
    """A link in memory that writes down each write, and lets none through while it is held."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        """Every write of the server, on all its connections."""
        self._open = trio.Event()
        self._open.set()

    def hold(self) -> None:
        """Let the next write wait."""
        self._open = trio.Event()

    def let_go(self) -> None:
        """Let writes through again."""
        self._open.set()

    def __call__(self) -> Pair:
        client, server = trio.testing.memory_stream_pair()
        sending, receiving = server.send_stream, client.receive_stream

        async def pump() -> None:
            await self._open.wait()
            data = sending.get_data_nowait()
            self.writes.append(bytes(data))
            receiving.put_data(data)

        sending.send_all_hook = pump
        return client, server


class Place(Playground):
    """A running server, the way to it, and its sockets."""

    def __init__(self, server: Server[Any], listener: MemoryListener) -> None:
        super().__init__(server, listener)
        self.sockets: list[Socket] = []
        """The server's sockets in the order in which they were opened."""
        self._peers: list[RawPeer] = []

    async def connect(self) -> RawPeer:
        peer = await super().connect()
        self._peers.append(peer)
        return peer

    async def pair(self) -> tuple[Socket, RawPeer]:
        """Open a WebSocket and return both ends of it, with no write in flight."""
        peer = await self.open()
        await settled()
        return self.sockets[-1], peer

    async def pairs(self, count: int) -> list[tuple[Socket, RawPeer]]:
        """Open so many WebSockets, as `pair` does."""
        return [await self.pair() for _ in range(count)]

    @asynccontextmanager
    async def library_client(self) -> AsyncGenerator[tuple[Socket, Any]]:
        """As `pair`, with trio-websocket for a peer."""
        async with library_client(await self.connect()) as client:
            yield self.sockets[-1], client

    async def leave(self) -> None:
        """Close the peers' ends."""
        for peer in self._peers:
            await trio.aclose_forcefully(peer.stream)


@asynccontextmanager
async def served(
    handler: WebSocketHandler[Any] | None = None, link: Callable[[], Pair] = memory, **options: Any
) -> AsyncGenerator[Place]:
    """Serve WebSockets over a link."""
    handler = handler or WebSocketHandler()
    opened = handler.open
    listener = MemoryListener(link)

    def note(ws: Socket) -> object:
        place.sockets.append(ws)
        return None if opened is None else opened(ws)

    async def note_async(ws: Socket) -> None:
        await cast("Awaitable[None]", note(ws))

    handler = handler.on_open(note_async if iscoroutinefunction(opened) else note)
    async with open_server(None, handler, listeners=[listener], **options) as server:
        place = Place(server, listener)
        try:
            yield place
        finally:
            with trio.CancelScope(shield=True):  # closing does not wait, but is a checkpoint
                await place.leave()


def sent_out(ws: Socket) -> int:
    """Return the bytes that the transport has taken."""
    return ws.statistics().bytes_out


def drops(ws: Socket) -> int:
    """Return the messages that were dropped."""
    return ws.statistics().drops


def congest(ws: Socket, at_least: int = BIG_FRAME - KERNEL) -> int:
    """Send `BIG` over a `kernel` link until so many bytes are unsent; return how many messages that took."""
    count = 0
    while ws.get_buffered_amount() < at_least:
        assert ws.send(BIG) == -1
        count += 1
    return count


def subscribed(*topics: str, **options: Any) -> WebSocketHandler[Any]:
    """Return a handler whose sockets subscribe at once."""

    def opened(ws: Socket) -> None:
        for topic in topics:
            ws.subscribe(topic)

    return WebSocketHandler(open=opened, **options)


async def nothing_else(ws: Socket, peer: RawPeer) -> None:
    """Check that a peer has got nothing that it was not asked for."""
    ws.send("end")
    assert await peer.receive_text() == "end"


async def receive_big(peer: RawPeer, count: int = 1) -> None:
    """Receive so many messages of `BIG`."""
    for _ in range(count):
        assert await peer.receive() == (2, BIG, True, 0)
