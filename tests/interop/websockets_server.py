"""An echo server on the asyncio server of websockets: what such a program does is told in __init__.py."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

from websockets.asyncio.server import ServerConnection, serve
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.typing import Subprotocol
from websockets_converse import LONGEST, converse

if TYPE_CHECKING:
    from collections.abc import Sequence


def choose(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Choose v2 of what is offered."""
    return Subprotocol("v2") if "v2" in offered else None


async def main(compression: str = "") -> None:
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
    ) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)  # noqa: T201  # the program's output
        await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
