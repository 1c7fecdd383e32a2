"""trio-websocket: it has no broadcast, so the chat is a loop over all connections. It never compresses by default.

Started by the benchmarks with `chat CLIENTS` or `echo`; prints its port.
"""

from __future__ import annotations

import sys
from functools import partial
from urllib.parse import parse_qs, urlsplit

import trio
from trio_websocket import WebSocketConnection, WebSocketRequest, WebSocketServer, serve_websocket

connections: list[WebSocketConnection] = []


async def broadcast(text: str) -> None:
    for connection in connections:
        await connection.send_message(text)


async def chat(request: WebSocketRequest) -> None:
    connection = await request.accept()
    name = parse_qs(urlsplit(request.path).query)["name"][0]
    connections.append(connection)
    if len(connections) == int(sys.argv[2]):
        await broadcast("ready")
    while True:
        text = await connection.get_message()
        await broadcast(f"{name}: {text}")  # type: ignore[str-bytes-safe]  # clients send text


async def echo(request: WebSocketRequest) -> None:
    connection = await request.accept()
    while True:
        await connection.send_message(await connection.get_message())


async def main() -> None:
    handler = chat if sys.argv[1] == "chat" else echo
    async with trio.open_nursery() as nursery:
        server: WebSocketServer = await nursery.start(
            partial(serve_websocket, handler, "127.0.0.1", 0, ssl_context=None)
        )
        print(server.port, flush=True)


trio.run(main)
