"""What the behaviour tests watch a server with: handlers that write down how they are called, and a library's client.

Also what makes each kind of handler be called once. Only `test_behaviour_*.py` use them, and `links.py`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio
import trio_websocket
from playground import Socket, settled

from trio_bunws import WebSocketHandler
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from playground import Playground

KINDS = ["open", "message", "text", "binary", "drain", "close", "ping", "pong"]
TEXT, BINARY, PING, PONG = 1, 2, 9, 10


class HandlerError(Exception):
    """What a handler raises on purpose."""


class Recorder:
    """The handlers of one server."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        """Each call in order: the handler's name, and its arguments but the socket."""
        self.sockets: list[Socket] = []
        """The sockets, as they were opened."""

    def open(self, ws: Socket) -> None:
        self.sockets.append(ws)
        self.calls.append(("open",))

    def message(self, _ws: Socket, message: str | bytes) -> None:
        self.calls.append(("message", message))

    def drain(self, _ws: Socket) -> None:
        self.calls.append(("drain",))

    def close(self, _ws: Socket, code: int, reason: str) -> None:
        self.calls.append(("close", code, reason))

    def error(self, exc: Exception, _ws: Socket) -> None:
        self.calls.append(("error", type(exc), str(exc)))

    def handler(self, **given: Any) -> WebSocketHandler[Any]:
        """Return a handler of `open`, `message` and `close`, with these changes."""
        return handler_of(
            **{"open": self.open, "close": self.close}
            | ({} if "session" in given else {"message": self.message})
            | given
        )

    @property
    def ws(self) -> Socket:
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


async def provoke(play: Playground, record: Recorder, kind: str) -> RawPeer:
    """Open a WebSocket, on a lockstep link, and make the handler of this kind be called once."""
    peer = await play.open()
    await settled()
    ws = record.ws
    if kind == "drain":
        ws.send("in flight")
        await settled()
        ws.send("unsent")
        assert ws.get_buffered_amount()
        assert await peer.receive_text() == "in flight"
        assert await peer.receive_text() == "unsent"
    elif kind == "close":
        await peer.send_close(1000)
        assert await peer.receive_close() == (1000, "")
    elif kind in {"ping", "pong"}:
        await peer.send(RawPeer.frame(PING if kind == "ping" else PONG, b"x"))
        if kind == "ping":
            assert await peer.receive() == (PONG, b"x", True, 0)
    elif kind != "open":
        await peer.send(RawPeer.frame(BINARY if kind == "binary" else TEXT, b"x"))
    await settled()
    return peer


@asynccontextmanager
async def library_client(peer: RawPeer, path: str = "/", **options: Any) -> AsyncGenerator[Any]:
    """Open a WebSocket of trio-websocket on a connection that has just begun; both are closed at the end."""
    stream: Any = peer.stream  # typed for kernel sockets, but any stream will do
    async with peer, trio.open_nursery() as nursery:
        client = await trio_websocket.wrap_client_stream(nursery, stream, "localhost", path, **options)
        async with client:
            yield client
