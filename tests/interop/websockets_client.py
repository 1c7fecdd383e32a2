"""A client program on the asyncio client of websockets: what such a program does is told in __init__.py."""

from __future__ import annotations

import asyncio
import json
import sys

from websockets.asyncio.client import ClientConnection, connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory


async def send(ws: ClientConnection) -> None:
    """Send the lines of the input, and close at its end."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async for line in lines:
        await ws.send(line.decode().rstrip("\n"))
    await ws.close()


async def main(url: str, compression: str = "") -> None:
    """Print what comes, and at last the close code."""
    extensions = [ClientPerMessageDeflateFactory(**json.loads(compression))] if compression else None
    async with connect(url, proxy=None, compression=None if extensions else "deflate", extensions=extensions) as ws:
        sending = asyncio.create_task(send(ws))
        async for message in ws:
            print(message, flush=True)  # noqa: T201  # the program's output
        print(ws.close_code, flush=True)  # noqa: T201
        sending.cancel()


asyncio.run(main(*sys.argv[1:]))
