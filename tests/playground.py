"""A server in memory and raw clients for it: what the behaviour tests run on.

Also the words that they share: `Socket`, `settled` and `texts`. Servers reached in other ways are in `links.py` and
`everywhere.py`; handlers that note their calls are in `recorder.py`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import trio
import trio.testing

from trio_bunws import Server, ServerWebSocket, WebSocketHandler, open_server
from trio_bunws.testing import MemoryListener, RawPeer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

Socket: TypeAlias = "ServerWebSocket[Any]"
TEXT = 1


async def settled() -> None:
    """Let all tasks do what they can."""
    await trio.testing.wait_all_tasks_blocked()


def texts(*messages: str) -> bytes:
    """Return text messages, one frame each."""
    return b"".join(RawPeer.frame(TEXT, message.encode()) for message in messages)


class Playground:
    """A running server, and the way to it."""

    def __init__(self, server: Server[Any], listener: MemoryListener) -> None:
        self.server = server
        self._listener = listener

    async def connect(self) -> RawPeer:
        """Return a peer whose connection has just begun."""
        return RawPeer(await self._listener.connect())

    async def open(self, path: str = "/", headers: tuple[tuple[str, str], ...] = ()) -> RawPeer:
        """Return a peer whose WebSocket is open."""
        peer = await self.connect()
        await peer.upgrade(path, headers)
        return peer


@asynccontextmanager
async def playground(
    websocket: WebSocketHandler[Any] | None = None,
    fetch: Callable[..., Any] | None = None,
    *,
    lockstep: bool = False,
    **options: Any,
) -> AsyncGenerator[Playground]:
    """Serve in memory; with `lockstep` every write of the server waits until the peer reads it."""
    listener = MemoryListener(trio.testing.lockstep_stream_pair if lockstep else trio.testing.memory_stream_pair)
    async with open_server(fetch, websocket, listeners=[listener], **options) as server:
        yield Playground(server, listener)
