"""A client program on trio-websocket: what such a program does is told in __init__.py."""

from __future__ import annotations

import os
import sys

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url


async def send(ws: WebSocketConnection) -> None:
    """Send the lines of the input, and close at its end."""
    rest = b""
    async with trio.lowlevel.FdStream(os.dup(0)) as chunks:
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                await ws.send_message(line.decode())
    await ws.aclose()


async def main(url: str) -> None:
    """Print what comes, and at last the close code."""
    async with open_websocket_url(url) as ws, trio.open_nursery() as nursery:
        nursery.start_soon(send, ws)
        try:
            while True:
                print(await ws.get_message(), flush=True)  # noqa: T201  # the program's output
        except ConnectionClosed as closed:
            print(closed.reason.code if closed.reason is not None else 1006, flush=True)  # noqa: T201
        nursery.cancel_scope.cancel()


trio.run(main, sys.argv[1])
