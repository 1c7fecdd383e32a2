"""An echo client on trio-websocket: what such a program does is told in __init__.py."""

from __future__ import annotations

import json
import sys

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

LONGEST = 16 * 1024 * 1024  # bytes of a message


async def converse(ws: WebSocketConnection) -> None:
    """Do what is told, and send back what is no order."""
    while True:
        message = await ws.get_message()
        match message.split(" ", 2) if isinstance(message, str) else []:
            case ["/ping", what]:
                await ws.ping(what.encode())  # which waits for the answer
                await ws.send_message(f"/pong {what}")
            case ["/close", code, reason]:
                await ws.aclose(int(code), reason)
            case _:
                await ws.send_message(message)


async def main(url: str) -> None:
    """Print the subprotocol, and in the end how it was closed."""
    async with open_websocket_url(url, subprotocols=["v1", "v2"], max_message_size=LONGEST) as ws:
        print(ws.subprotocol or "", flush=True)  # noqa: T201  # the program's output
        try:
            await converse(ws)
        except ConnectionClosed as closed:
            told = (closed.reason.code, closed.reason.reason or "") if closed.reason is not None else (1006, "")
            print(json.dumps(told), flush=True)  # noqa: T201


trio.run(main, sys.argv[1])
