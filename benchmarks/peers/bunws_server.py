"""trio_bunws, written as its README teaches: `def` handlers, a topic, `publish_to_self`.

Started by the benchmarks with `chat CLIENTS`, `echo` or `fanout CLIENTS COMPRESSOR`, then perhaps `--tls` and a PEM
file with key and certificate; prints its port.
"""

from __future__ import annotations

import ssl
import sys
from functools import partial
from typing import TYPE_CHECKING, cast

import trio

from trio_bunws import (
    Compressor,
    PerMessageDeflate,
    Request,
    Response,
    Server,
    ServerWebSocket,
    WebSocketHandler,
    serve,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def fetch(request: Request, server: Server[str]) -> Response | None:
    if server.upgrade(request, data=request.query.get("name", "guest")):
        return None
    return Response("WebSockets only", status=400)


def entering(clients: int) -> Callable[[ServerWebSocket[str]], None]:
    """Return an `open` handler that tells the room when so many are in it."""
    missing = clients

    def opened(ws: ServerWebSocket[str]) -> None:
        nonlocal missing
        ws.subscribe("room")
        missing -= 1
        if missing == 0:
            ws.publish_text("room", "ready")

    return opened


def chat(clients: int) -> WebSocketHandler[str]:
    def message(ws: ServerWebSocket[str], text: str) -> None:
        if ws.publish_text("room", f"{ws.data}: {text}") == 0:
            raise RuntimeError("a message was dropped")

    return WebSocketHandler(open=entering(clients), text=message, publish_to_self=True)


def echo() -> WebSocketHandler[str]:
    def message(ws: ServerWebSocket[str], message: str | bytes) -> None:
        ws.send(message)

    return WebSocketHandler(message=message)


def fanout(clients: int, compressor: Compressor) -> WebSocketHandler[str]:
    def message(ws: ServerWebSocket[str], text: str) -> None:
        if ws.publish_text("room", text, compress=True) == 0:
            raise RuntimeError("a message was dropped")

    deflate = PerMessageDeflate(compress=compressor, decompress=compressor)
    return WebSocketHandler(open=entering(clients), text=message, publish_to_self=True, per_message_deflate=deflate)


def handler() -> WebSocketHandler[str]:
    match sys.argv[1:]:
        case ["chat", clients, *_]:
            return chat(int(clients))
        case ["fanout", clients, compressor]:
            return fanout(int(clients), cast("Compressor", compressor))
        case _:
            return echo()


def tls() -> ssl.SSLContext | None:
    if "--tls" not in sys.argv:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[sys.argv.index("--tls") + 1])
    return context


async def main() -> None:
    async with trio.open_nursery() as nursery:
        server: Server[str] = await nursery.start(partial(serve, fetch, handler(), port=0, tls=tls()))
        print(server.port, flush=True)


trio.run(main)
