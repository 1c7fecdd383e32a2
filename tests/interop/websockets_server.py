"""An echo server on the asyncio server of websockets: what such a program does is told in __init__.py."""

from __future__ import annotations

import asyncio
import json
import sys

from websockets.asyncio.server import ServerConnection, serve
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory


async def echo(ws: ServerConnection) -> None:
    """Send every message back."""
    async for message in ws:
        await ws.send(message)


async def main(compression: str = "") -> None:
    """Print the port, and serve."""
    extensions = [ServerPerMessageDeflateFactory(**json.loads(compression))] if compression else None
    compressed = None if extensions else "deflate"
    async with serve(echo, "127.0.0.1", 0, compression=compressed, extensions=extensions) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)  # noqa: T201  # the program's output
        await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
