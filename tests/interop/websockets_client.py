"""A client program on the asyncio client of websockets: what such a program does is told in __init__.py."""

from __future__ import annotations

import asyncio
import sys

from websockets.asyncio.client import ClientConnection, connect


async def send(ws: ClientConnection) -> None:
    """Send the lines of the input, and close at its end."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async for line in lines:
        await ws.send(line.decode().rstrip("\n"))
    await ws.close()


async def main(url: str) -> None:
    """Print what comes, and at last the close code."""
    async with connect(url, proxy=None) as ws:
        sending = asyncio.create_task(send(ws))
        async for message in ws:
            print(message, flush=True)  # noqa: T201  # the program's output
        print(ws.close_code, flush=True)  # noqa: T201
        sending.cancel()


asyncio.run(main(sys.argv[1]))
