"""What the behaviour tests watch a server with: handlers that write down how they are called, and a library's client.

Only `test_behaviour_*.py` use them.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio
import trio_websocket

from trio_bunws import WebSocketHandler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio_bunws import ServerWebSocket
    from trio_bunws.testing import RawPeer


class Recorder:
    """The handlers of one server."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        """Each call in order: the handler's name, and its arguments but the socket."""
        self.sockets: list[ServerWebSocket[Any]] = []
        """The sockets, as they were opened."""

    def open(self, ws: ServerWebSocket[Any]) -> None:
        self.sockets.append(ws)
        self.calls.append(("open",))

    def message(self, _ws: ServerWebSocket[Any], message: str | bytes) -> None:
        self.calls.append(("message", message))

    def drain(self, _ws: ServerWebSocket[Any]) -> None:
        self.calls.append(("drain",))

    def close(self, _ws: ServerWebSocket[Any], code: int, reason: str) -> None:
        self.calls.append(("close", code, reason))

    def error(self, exc: Exception, _ws: ServerWebSocket[Any]) -> None:
        self.calls.append(("error", type(exc), str(exc)))

    def handler(self, **given: Any) -> WebSocketHandler[Any]:
        """Return a handler of `open`, `message` and `close`, with these changes."""
        return handler_of(
            **{"open": self.open, "close": self.close}
            | ({} if "session" in given else {"message": self.message})
            | given
        )

    @property
    def ws(self) -> ServerWebSocket[Any]:
        """The socket that was opened last."""
        return self.sockets[-1]

    @property
    def messages(self) -> list[object]:
        """What the message handler got."""
        return [call[1] for call in self.calls if call[0] == "message"]

    @property
    def closes(self) -> list[tuple[object, ...]]:
        """Code and reason of each call of the close handler."""
        return [call[1:] for call in self.calls if call[0] == "close"]


def handler_of(**given: Any) -> WebSocketHandler[Any]:
    """Return a handler whose arguments come out of a test's table, past the type checker."""
    return WebSocketHandler(**given)


@asynccontextmanager
async def library_client(peer: RawPeer, path: str = "/", **options: Any) -> AsyncGenerator[Any]:
    """Open a WebSocket of trio-websocket on a connection that has just begun; both are closed at the end."""
    stream: Any = peer.stream  # typed for kernel sockets, but any stream will do
    async with peer, trio.open_nursery() as nursery:
        client = await trio_websocket.wrap_client_stream(nursery, stream, "localhost", path, **options)
        async with client:
            yield client
