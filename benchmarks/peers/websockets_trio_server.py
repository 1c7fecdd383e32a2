"""websockets on trio, with its own `broadcast` for the chat. Compression is off.

Started by the benchmarks with `chat CLIENTS` or `echo`; prints its port.
"""

from __future__ import annotations

import sys
from functools import partial
from urllib.parse import parse_qs, urlsplit

import trio
from websockets.trio.connection import broadcast
from websockets.trio.server import Server, ServerConnection, serve

connections: set[ServerConnection] = set()


async def chat(connection: ServerConnection) -> None:
    assert connection.request is not None
    name = parse_qs(urlsplit(connection.request.path).query)["name"][0]
    connections.add(connection)
    if len(connections) == int(sys.argv[2]):
        await broadcast(connections, "ready")
    async for text in connection:
        await broadcast(connections, f"{name}: {text}")  # type: ignore[str-bytes-safe]  # clients send text


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def main() -> None:
    handler = chat if sys.argv[1] == "chat" else echo
    async with trio.open_nursery() as nursery:
        server: Server = await nursery.start(partial(serve, handler, 0, host="127.0.0.1", compression=None))
        print(server.listeners[0].socket.getsockname()[1], flush=True)


trio.run(main)
