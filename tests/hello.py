"""A server that says hello over HTTP and echoes over WebSockets, and its clients: for the tests of whole servers.

`test_serve.py` and `test_run.py` use it.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import trio

from trio_bunws import Request, Response, Server, ServerWebSocket, WebSocketHandler
from trio_bunws.testing import MemoryListener, RawPeer

Socket: TypeAlias = "ServerWebSocket[Any]"
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def hello(request: Request, server: Server[Any]) -> Response | None:
    """Say hello, over a WebSocket if that is asked for."""
    if "upgrade" in request.headers and server.upgrade(request):
        return None
    return Response("hello")


def echo(ws: Socket, message: str | bytes) -> None:
    ws.send(message)


ECHO: WebSocketHandler[Any] = WebSocketHandler(message=echo)


class Log(list[Any]):
    """What happened; its methods are handlers."""

    def close(self, _ws: Socket, code: int, reason: str) -> None:
        self.append((code, reason))


async def chat(stream: trio.abc.Stream) -> None:
    """Open a WebSocket, have a message echoed and close it."""
    peer = RawPeer(stream)
    await peer.upgrade()
    await peer.send_text("hello?")
    assert await peer.receive_text() == "hello?"
    await peer.send_close(1000)
    assert await peer.receive_close() == (1000, "")
    await stream.aclose()


async def connect(listener: MemoryListener) -> RawPeer:
    """Open a WebSocket in memory."""
    peer = RawPeer(await listener.connect())
    await peer.upgrade()
    return peer


class BadListener(MemoryListener):
    """Fails to accept when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.fail = trio.Event()

    async def accept(self) -> trio.abc.Stream:
        await self.fail.wait()
        raise KeyError("accept")
