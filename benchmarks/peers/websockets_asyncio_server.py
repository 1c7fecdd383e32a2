"""websockets on asyncio, with what its performance page advises: `broadcast` for the chat, and uvloop if `--uvloop`.

Compression is off. Started by the benchmarks with `chat CLIENTS` or `echo`; prints its port.
"""

from __future__ import annotations

import asyncio
import sys
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, broadcast, serve

connections: set[ServerConnection] = set()


async def chat(connection: ServerConnection) -> None:
    assert connection.request is not None
    name = parse_qs(urlsplit(connection.request.path).query)["name"][0]
    connections.add(connection)
    if len(connections) == int(sys.argv[2]):
        broadcast(connections, "ready")
    async for text in connection:
        broadcast(connections, f"{name}: {text}")  # type: ignore[str-bytes-safe]  # clients send text


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def main() -> None:
    handler = chat if sys.argv[1] == "chat" else echo
    async with serve(handler, "127.0.0.1", 0, compression=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if "--uvloop" in sys.argv:
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
