"""A client in memory and a server for it of which every byte is the test's.

Used by the tests of the client, with frames that no server of ours would send, at moments that it would not choose.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from trio_bunws import ReadyState, WebSocket
from trio_bunws._wire.http import RequestHead
from trio_bunws._wire.upgrade import accept_token
from trio_bunws.testing import Frame, RawPeer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

URL = "ws://server.test/"


class ByHand:
    """A server of which every byte is the test's."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.peer = RawPeer(stream)
        """Its end; what it receives are a client's masked frames."""
        self.request = b""
        self.closed_with = (0, "")

    async def answer(self, *fields: str, rest: bytes = b"") -> None:
        """Read the request, and accept it."""
        self.request = await self.peer.receive_until(b"\r\n\r\n")
        accept = accept_token(RequestHead(self.request).single[b"sec-websocket-key"]).decode()
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Accept: {accept}", *fields, "", ""]
        await self.peer.send("\r\n".join(lines).encode() + rest)

    async def frame(self) -> Frame:
        """Receive a frame, which must be masked."""
        first, second = await self.peer.receive_exactly(2)
        assert second & 0x80
        assert second & 0x7F < 126
        key = await self.peer.receive_exactly(4)
        masked = await self.peer.receive_exactly(second & 0x7F)
        return Frame(first & 0x0F, bytes(byte ^ key[at % 4] for at, byte in enumerate(masked)))

    async def answer_and_close(self) -> None:
        """Accept, and answer the client's Close."""
        await self.answer()
        self.closed_with = (await self.frame()).close
        await self.send(8)

    async def send(self, opcode: int, payload: bytes = b"") -> None:
        await self.peer.send(RawPeer.frame(opcode, payload, mask=None))


@asynccontextmanager
async def by_hand(**options: Any) -> AsyncGenerator[tuple[WebSocket, ByHand]]:
    """Yield a client that is not open yet, and its server."""
    ours, servers = trio.testing.memory_stream_pair()
    yield WebSocket(URL, stream=ours, **options), ByHand(servers)
    await servers.aclose()


@asynccontextmanager
async def opened(**options: Any) -> AsyncGenerator[tuple[WebSocket, ByHand]]:
    """Yield an open client and its server; the server answers the Close with which the block ends."""
    async with by_hand(**options) as (ws, server), trio.open_nursery() as nursery:
        nursery.start_soon(server.answer)
        async with ws:
            yield ws, server
            if ws.ready_state is ReadyState.OPEN:
                nursery.start_soon(server.send, 8)
