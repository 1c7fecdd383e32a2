"""trio_bunws, written as its README teaches: `def` handlers, a topic, `publish_to_self`.

Started by the benchmarks with `chat CLIENTS` or `echo`; prints its port.
"""

from __future__ import annotations

import sys
from functools import partial

import trio

from trio_bunws import Request, Response, Server, ServerWebSocket, WebSocketHandler, serve


def fetch(request: Request, server: Server[str]) -> Response | None:
    if server.upgrade(request, data=request.query.get("name", "guest")):
        return None
    return Response("WebSockets only", status=400)


def chat(clients: int) -> WebSocketHandler[str]:
    missing = clients

    def opened(ws: ServerWebSocket[str]) -> None:
        nonlocal missing
        ws.subscribe("room")
        missing -= 1
        if missing == 0:
            ws.publish_text("room", "ready")

    def message(ws: ServerWebSocket[str], text: str) -> None:
        if ws.publish_text("room", f"{ws.data}: {text}") == 0:
            raise RuntimeError("a message was dropped")

    return WebSocketHandler(open=opened, text=message, publish_to_self=True)


def echo() -> WebSocketHandler[str]:
    def message(ws: ServerWebSocket[str], message: str | bytes) -> None:
        ws.send(message)

    return WebSocketHandler(message=message)


async def main() -> None:
    handler = chat(int(sys.argv[2])) if sys.argv[1] == "chat" else echo()
    async with trio.open_nursery() as nursery:
        server: Server[str] = await nursery.start(partial(serve, fetch, handler, port=0))
        print(server.port, flush=True)


trio.run(main)
