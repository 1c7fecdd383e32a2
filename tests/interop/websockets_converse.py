"""How a program on websockets obeys and echoes, on either side: what is told to it is in __init__.py."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from websockets.asyncio.connection import Connection

LONGEST = 16 * 1024 * 1024  # bytes of a message


async def converse(ws: Connection) -> None:
    """Do what is told, and send back what is no order; print how it was closed."""
    with suppress(ConnectionClosed):
        async for message in ws:
            match message.split(" ", 2) if isinstance(message, str) else []:
                case ["/ping", what]:
                    # Its answer is read by the library in a task of its own, so it may be waited for here.
                    await (await ws.ping(what))
                    await ws.send(f"/pong {what}")
                case ["/close", code, reason]:
                    await ws.close(int(code), reason)
                case _:
                    await ws.send(message)
    print(json.dumps([ws.close_code, ws.close_reason]), flush=True)  # noqa: T201  # the program's output
