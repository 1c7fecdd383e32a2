"""What every member of a socket, a server, a request and a response gives and takes.

Read by type checkers only, through tests/test_typing.py; nothing here is run.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator, Awaitable
from typing import TYPE_CHECKING, Any, Literal, assert_type

import trio

from trio_bunws import (
    CloseFrame,
    CloseInfo,
    ConnectionClosed,
    Headers,
    Limits,
    MultiDict,
    ReadyState,
    Request,
    Response,
    SendStatus,
    Server,
    ServerStatistics,
    ServerWebSocket,
    SocketAddress,
    SocketStatistics,
    open_server,
)

if TYPE_CHECKING:
    from pathlib import Path


def sending(ws: ServerWebSocket[None]) -> None:
    for data in ("text", b"bytes", bytearray(b"buffer"), memoryview(b"view"), array("B", [1])):
        assert_type(ws.send(data, compress=True), SendStatus)
        assert_type(ws.publish("room", data, True), SendStatus)
        assert_type(ws.ping(data), SendStatus)
        assert_type(ws.pong(data), SendStatus)
    assert_type(ws.send_text("text", True), SendStatus)
    assert_type(ws.send_binary(bytearray(4), compress=False), SendStatus)
    assert_type(ws.publish_text("room", "text"), SendStatus)
    assert_type(ws.publish_binary("room", memoryview(b"view")), SendStatus)
    assert_type(ws.ping(), SendStatus)
    assert_type(ws.pong(), SendStatus)
    assert_type(ws.get_buffered_amount(), int)


def topics(ws: ServerWebSocket[None]) -> None:
    assert_type(ws.subscribe("room"), bool)
    assert_type(ws.unsubscribe("room"), bool)
    assert_type(ws.is_subscribed("room"), bool)
    assert_type(ws.subscriptions, list[str])


def corks(ws: ServerWebSocket[str]) -> None:
    def callback(corked: ServerWebSocket[str]) -> list[str]:
        corked.send(corked.data)
        return [corked.data]

    assert_type(ws.cork(callback), list[str])
    assert_type(ws.cork(lambda corked: corked.send("in one piece")), SendStatus)
    with ws.corked():
        ws.send("in one piece")


def state(ws: ServerWebSocket[None]) -> None:
    assert_type(ws.ready_state, ReadyState)
    assert_type(ws.remote_address, str | None)
    assert_type(ws.protocol, str | None)
    assert_type(ws.request, Request)
    assert_type(ws.statistics(), SocketStatistics)
    assert_type(ws.statistics().bytes_out, int)
    ws.binary_type = "nodebuffer"
    ws.binary_type = "memoryview"
    ws.pause()
    ws.resume()
    assert_type(ws.is_paused, bool)
    ws.close(4000, "reason")
    ws.terminate()


async def tick(ws: ServerWebSocket[None], seconds: float) -> None:
    while True:
        await trio.sleep(seconds)
        ws.ping()


async def with_status(task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    task_status.started(1)
    await trio.sleep_forever()


async def waiting(ws: ServerWebSocket[None]) -> None:
    await ws.drained()
    assert_type(await ws.send_wait(b"data", compress=True), SendStatus)
    ws.start_soon(tick, ws, 1.5)
    await ws.start(with_status)
    try:
        ending = await ws.closed()
    except ConnectionClosed as exc:
        assert_type(exc.received, CloseFrame | None)
        assert_type(exc.code, int)
    else:
        assert_type(ending, CloseInfo)
        assert_type(ending.code, int)
        assert_type(ending.sent, CloseFrame | None)


async def of_a_server(server: Server[str], request: Request) -> None:
    assert_type(server.upgrade(request, data="name"), bool)
    assert_type(server.upgrade(request, headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], data="name"), bool)
    assert_type(server.publish("room", b"data", compress=False), SendStatus)
    assert_type(server.subscriber_count("room"), int)
    assert_type(server.topics(), tuple[str, ...])
    assert_type(server.request_ip(request), SocketAddress | None)
    server.timeout(request, 0.5)
    assert_type(server.url, str)
    assert_type(server.hostname, str | None)
    assert_type(server.port, int | None)
    assert_type(server.pending_requests, int)
    assert_type(server.pending_websockets, int)
    assert_type(server.statistics(), ServerStatistics)
    assert_type(server.statistics().topics, int)
    server.start_soon(trio.sleep, 1)
    assert_type(server.stop(), Awaitable[None])
    await server.stop(True)


async def of_a_request(request: Request) -> None:
    assert_type(request.method, str)
    assert_type(request.url, str)
    assert_type(request.path, str)
    assert_type(request.http_version, str)
    assert_type(request.query, MultiDict)
    assert_type(request.query.get("name"), str | None)
    assert_type(request.query.get("name", "guest"), str)
    assert_type(request.query.getall("name"), list[str])
    assert_type(request.headers, Headers)
    assert_type(request.headers["host"], str)
    assert_type(request.headers.get("origin", None), str | None)
    assert_type(request.cookies, dict[str, str])
    assert_type(await request.body(), bytes)
    assert_type(await request.text(), str)
    assert_type(await request.json(), Any)
    async for chunk in request.stream():
        assert_type(chunk, bytes)


async def numbers() -> AsyncGenerator[bytes]:
    yield b"1"
    await trio.lowlevel.checkpoint()
    yield b"2"


def responses(path: Path) -> list[Response]:
    return [
        Response(),
        Response("text", 201, {"X-Name": "value"}),
        Response(b"bytes", status=404, headers=Headers({"X-Name": "value"})),
        Response(numbers(), headers=[("Content-Type", "text/plain")]),
        Response.json({"any": ["value", 1, None]}, status=400),
        Response.redirect("/elsewhere", 303),
        Response.file(path),
        Response.file("index.html", root=path),
    ]


async def limits() -> None:
    granted = Limits(max_connections=100, close_timeout=2.5)
    assert_type(granted.max_connections, int | None)
    async with open_server(lambda _request, _server: Response(), limits=granted, port=0) as server:
        assert_type(server, Server[None])
        address = SocketAddress("127.0.0.1", "IPv4", server.port or 0)
        assert_type(address.family, Literal["IPv4", "IPv6"])
