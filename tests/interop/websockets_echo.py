"""An echo server, or client, on the asyncio side of websockets: what such a program does is told in __init__.py.

Its first argument says which.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.typing import Subprotocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from websockets.asyncio.connection import Connection

LONGEST = 16 * 1024 * 1024  # bytes of a message


async def converse(ws: Connection) -> None:
    """Do what is told, and send back what is no order; print how it was closed."""
    with suppress(ConnectionClosed):
        async for message in ws:
            match message.split(" ", 2) if isinstance(message, str) else []:
                case ["/ping", what]:
                    # The library reads in a task of its own, so the answer may be waited for here.
                    await (await ws.ping(what))
                    await ws.send(f"/pong {what}")
                case ["/close", code, reason]:
                    await ws.close(int(code), reason)
                case _:
                    await ws.send(message)
    print(json.dumps([ws.close_code, ws.close_reason]), flush=True)  # noqa: T201  # the program's output


def choose(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Choose v2 of what is offered."""
    return Subprotocol("v2") if "v2" in offered else None


async def server(compression: str = "") -> None:
    """Print the port, and serve."""
    extensions = [ServerPerMessageDeflateFactory(**json.loads(compression))] if compression else None
    async with serve(
        converse,
        "127.0.0.1",
        0,
        select_subprotocol=choose,
        compression=None if extensions else "deflate",
        extensions=extensions,
        max_size=LONGEST,
    ) as listening:
        print(next(iter(listening.sockets)).getsockname()[1], flush=True)  # noqa: T201
        await listening.serve_forever()


async def client(url: str) -> None:
    """Print the subprotocol, and converse."""
    offered = [Subprotocol("v1"), Subprotocol("v2")]
    async with connect(url, proxy=None, subprotocols=offered, max_size=LONGEST) as ws:
        print(ws.subprotocol or "", flush=True)  # noqa: T201
        await converse(ws)


side, *arguments = sys.argv[1:]
asyncio.run(server(*arguments) if side == "server" else client(*arguments))
