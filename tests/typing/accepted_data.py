"""The type of `ws.data` reaches everything that names it: handlers, `fetch`, `upgrade`, `serve` and the server.

Read by type checkers only, through tests/test_typing.py; nothing here is run.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import assert_type

import trio

from trio_bunws import Request, Response, Server, ServerWebSocket, WebSocketHandler, open_server, serve


@dataclass
class User:
    """What a chat knows of a client."""

    name: str


def opened(ws: ServerWebSocket[User]) -> None:
    assert_type(ws.data, User)
    ws.subscribe(ws.data.name)
    ws.data = User("renamed")


async def message(ws: ServerWebSocket[User], message: str | bytes) -> None:
    await trio.lowlevel.checkpoint()
    ws.publish("room", message)


def closed(ws: ServerWebSocket[User], code: int, reason: str) -> None:
    ws.data.name = f"{code} {reason}"


def failed(exc: Exception, ws: ServerWebSocket[User]) -> None:
    ws.close(1011, f"{ws.data.name}: {exc}")


def fetch(request: Request, server: Server[User]) -> Response | None:
    if server.upgrade(request, data=User(request.query.get("name", "guest")), headers={"X-Room": "1"}, protocol="chat"):
        return None
    return Response("no WebSocket")


async def fetch_later(request: Request, server: Server[User]) -> Response | None:
    await request.body()
    return fetch(request, server)


def failure(exc: Exception) -> Response:
    return Response(str(exc), 500)


async def main() -> None:
    handler = WebSocketHandler(open=opened, message=message, close=closed, error=failed)
    assert_type(handler, WebSocketHandler[User])
    await serve(fetch, handler)
    await serve(fetch_later, handler, error=failure, port=0)
    await serve(websocket=handler)
    await serve(fetch)
    async with open_server(fetch, handler) as server:
        assert_type(server, Server[User])
        assert_type(server.subscribers("room"), tuple[ServerWebSocket[User], ...])
        assert_type(server.stop(), Awaitable[None])
        server.reload(fetch=fetch_later)
        server.reload(websocket=handler.with_idle_timeout(60), error=None)
        server.reload(fetch=None, error=failure)
        await server.stop(True, code=1012, reason="restart", grace=5)
    async with trio.open_nursery() as nursery:
        started: Server[User] = await nursery.start(serve, fetch, handler)
        started.stop()


trio.run(serve, fetch, WebSocketHandler(open=opened, message=message))


# Without data it is None, as `upgrade` leaves it, and need not be named.


def fetch_without_data(request: Request, server: Server) -> Response | None:
    return None if server.upgrade(request) else Response("no WebSocket")


def echo(ws: ServerWebSocket, message: str | bytes) -> None:
    assert_type(ws.data, None)
    ws.send(message)


async def main_without_data() -> None:
    assert_type(WebSocketHandler(message=echo), WebSocketHandler[None])
    await serve(fetch_without_data, WebSocketHandler(message=echo))
    await serve(websocket=WebSocketHandler(message=echo))
    await serve(fetch_without_data, WebSocketHandler())
    await serve(lambda _request, _server: Response("no WebSockets at all"))


# An annotation says the type where no handler does.


def greet(ws: ServerWebSocket[dict[str, str]]) -> None:
    ws.send(ws.data["name"])


async def main_with_literals() -> None:
    handler: WebSocketHandler[dict[str, str]] = WebSocketHandler(
        open=greet, message=lambda ws, message: ws.send(message)
    )
    assert_type(handler, WebSocketHandler[dict[str, str]])
    async with open_server(websocket=handler) as server:
        for ws in server.subscribers("room"):
            assert_type(ws.data, dict[str, str])
