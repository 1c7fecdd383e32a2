"""Data of one type where another is expected: each line that is marked must not type-check.

Read by type checkers only, through tests/test_typing.py. `E` names mypy's error on its line; pyright, for which the
same line needs an ignore, reports an ignore that it does not need.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from dataclasses import dataclass

from trio_bunws import Request, Response, Server, ServerWebSocket, WebSocketHandler, open_server, serve


@dataclass
class User:
    """What a chat knows of a client."""

    name: str


def opened(ws: ServerWebSocket[User]) -> None:
    ws.data.nick = "ada"  # E: attr-defined  # pyright: ignore[reportAttributeAccessIssue]
    ws.data = "ada"  # E: assignment  # pyright: ignore[reportAttributeAccessIssue]
    ws.data.name.append("a")  # E: attr-defined  # pyright: ignore[reportAttributeAccessIssue]


def opened_number(ws: ServerWebSocket[int]) -> None:
    ws.data += 1


def closed_number(ws: ServerWebSocket[int], code: int, reason: str) -> None:
    ws.data = code + len(reason)


def opened_without_data(ws: ServerWebSocket) -> None:
    ws.data.name = "ada"  # E: attr-defined  # pyright: ignore[reportAttributeAccessIssue]


def fetch(request: Request, server: Server[User]) -> Response | None:
    server.upgrade(request)  # E: call-arg  # pyright: ignore[reportCallIssue]
    server.upgrade(request, data="ada")  # E: arg-type  # pyright: ignore[reportArgumentType]
    server.upgrade(request, data={"name": "ada"})  # E: arg-type  # pyright: ignore[reportArgumentType]
    server.upgrade(request, User("ada"))  # E: arg-type, call-arg  # pyright: ignore[reportCallIssue]
    server.upgrade("request", data=User("ada"))  # E: arg-type  # pyright: ignore[reportArgumentType]
    server.upgrade(request, data=User("ada"), headers={"X-Number": 1})  # E: arg-type  # pyright: ignore[reportArgumentType]
    server.upgrade(request, data=User("ada"), protocol=b"chat")  # E: arg-type  # pyright: ignore[reportArgumentType]
    return None


def fetch_number(request: Request, server: Server[int]) -> Response | None:
    return None if server.upgrade(request, data=1) else Response("no WebSocket")


def fetch_without_data(request: Request, server: Server) -> Response | None:
    server.upgrade(request, data=1)  # E: call-overload  # pyright: ignore[reportArgumentType, reportCallIssue]
    return None


def fetch_without_server(request: Request) -> Response:
    return Response(request.path)


def fetch_text(request: Request, server: Server[User]) -> str:
    return f"{request.url} {server.url}"


def failure_text(exc: Exception) -> str:
    return str(exc)


async def main() -> None:
    handler = WebSocketHandler(open=opened)
    await serve(fetch, handler)
    await serve(fetch_number, handler)  # E: arg-type  # pyright: ignore[reportArgumentType]
    await serve(fetch_without_data, handler)  # E: arg-type  # pyright: ignore[reportArgumentType]
    await serve(fetch, WebSocketHandler(open=opened_number))  # E: arg-type  # pyright: ignore[reportArgumentType]
    await serve(fetch_without_server, handler)  # E: arg-type  # pyright: ignore[reportArgumentType]
    await serve(fetch_text, handler)  # E: arg-type  # pyright: ignore[reportArgumentType]
    await serve(fetch, handler, error=failure_text)  # E: arg-type  # pyright: ignore[reportArgumentType]
    await serve(fetch, {"open": opened})  # E: arg-type  # pyright: ignore[reportArgumentType]
    await serve(fetch, handler, port="3000")  # E: arg-type  # pyright: ignore[reportArgumentType]
    await serve(fetch, handler, Limits=None)  # E: call-arg  # pyright: ignore[reportCallIssue]
    WebSocketHandler(open=opened, close=closed_number)  # E: misc  # pyright: ignore[reportArgumentType]
    WebSocketHandler(open=opened).on_close(closed_number)  # E: arg-type  # pyright: ignore[reportArgumentType]
    async with open_server(fetch_number, handler):  # E: arg-type  # pyright: ignore[reportArgumentType]
        pass
    async with open_server(fetch, handler) as server:
        server.reload(websocket=WebSocketHandler(open=opened_number))  # E: arg-type  # pyright: ignore[reportArgumentType]
        server.reload(websocket=None)  # E: arg-type  # pyright: ignore[reportArgumentType]
        server.reload(fetch=fetch_number)  # E: arg-type  # pyright: ignore[reportArgumentType]
        server.reload(fetch, handler)  # E: call-arg  # pyright: ignore[reportCallIssue]
        for ws in server.subscribers("room"):
            ws.data.nick = "ada"  # E: attr-defined  # pyright: ignore[reportAttributeAccessIssue]
