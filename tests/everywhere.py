"""One server, reached in each way there is: streams in memory, TCP, and TLS over TCP; for the combined behaviour tests.

A peer is a `RawPeer` whichever way it takes. Over TCP and TLS the clock is a real one and the kernel does as it likes,
so nothing here waits for a time.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import trio
import trio.testing
from certificates import Certified, certified
from patience import PATIENCE, until

from trio_bunws import Server, WebSocketHandler, open_server
from trio_bunws.testing import MemoryListener, RawPeer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from recorder import Recorder

Way: TypeAlias = Literal["memory", "lockstep", "tcp", "tls"]
WAYS: Final[tuple[Way, ...]] = ("memory", "lockstep", "tcp", "tls")
"""Of `lockstep` each write waits until the peer has read it."""


@cache
def contexts() -> Certified:
    """Return contexts for localhost, the same for every test."""
    return certified("localhost")


class Reached:
    """A running server, its sockets, and the way to it."""

    def __init__(self, server: Server[Any], listener: MemoryListener | None, *, tls: bool) -> None:
        self.server = server
        self._listener = listener
        self._tls = tls
        self.peers: list[RawPeer] = []

    async def connect(self) -> RawPeer:
        """Return a peer whose connection has just begun, its TLS handshake done."""
        if self._listener is not None:
            stream = await self._listener.connect()
        else:
            assert self.server.port is not None
            stream = await trio.open_tcp_stream("127.0.0.1", self.server.port)
        if self._tls:
            secured = trio.SSLStream(stream, contexts().client, server_hostname="localhost", https_compatible=True)
            await secured.do_handshake()
            stream = secured
        self.peers.append(RawPeer(stream))
        return self.peers[-1]

    async def open(self) -> RawPeer:
        """Return a peer whose WebSocket is open."""
        peer = await self.connect()
        await peer.upgrade()
        return peer


@asynccontextmanager
async def reached(handler: WebSocketHandler[Any], way: Way, **options: Any) -> AsyncGenerator[Reached]:
    """Serve WebSockets; at the end the peers are closed and the server has nothing left."""
    listener = None
    if way in {"memory", "lockstep"}:
        pair = trio.testing.memory_stream_pair if way == "memory" else trio.testing.lockstep_stream_pair
        listener = MemoryListener(pair)
        options["listeners"] = [listener]
    else:
        options |= {"port": 0, "tls": contexts().server if way == "tls" else None}
    with trio.fail_after(PATIENCE):
        async with open_server(None, handler, **options) as server:
            place = Reached(server, listener, tls=way == "tls")
            try:
                yield place
            finally:
                for peer in place.peers:
                    await trio.aclose_forcefully(peer.stream)
        assert (server.pending_websockets, server.topics()) == (0, ())


async def closed(record: Recorder, count: int = 1) -> None:
    """Wait until so many close handlers have run."""
    await until(lambda: len(record.closes) >= count)
