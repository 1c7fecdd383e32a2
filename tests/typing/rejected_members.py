"""Members called with something else, or taken for something else: each line that is marked must not type-check.

Read by type checkers only, through tests/test_typing.py. `E` names mypy's error on its line; pyright, for which the
same line needs an ignore, reports an ignore that it does not need.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import assert_never

from trio_bunws import (
    CloseInfo,
    MessageDropped,
    MessageSent,
    Request,
    Response,
    SendStatus,
    Server,
    ServerWebSocket,
)


def incomplete(status: SendStatus) -> int:
    match status:
        case MessageSent(size):
            return size
        case MessageDropped():
            return 0
        case _:
            assert_never(status)  # E: arg-type  # pyright: ignore[reportArgumentType]


def one_field_only(status: SendStatus) -> None:
    match status:
        case MessageSent(_size, _more):  # E: misc  # pyright: ignore[reportGeneralTypeIssues, reportUnnecessaryComparison]
            pass
        case _:
            pass


class Forwarded(MessageSent):  # E: misc  # pyright: ignore[reportGeneralTypeIssues]
    """The statuses are final: else no match of them would be exhaustive."""


def sending(ws: ServerWebSocket[None]) -> None:
    ws.send(1)  # E: arg-type  # pyright: ignore[reportArgumentType]
    ws.send(None)  # E: arg-type  # pyright: ignore[reportArgumentType]
    ws.send(["text"])  # E: arg-type  # pyright: ignore[reportArgumentType]
    ws.send("text", 1)  # E: arg-type  # pyright: ignore[reportArgumentType]
    ws.send("text", compress="shared")  # E: arg-type  # pyright: ignore[reportArgumentType]
    ws.send_text(b"")  # E: arg-type  # pyright: ignore[reportArgumentType]
    ws.send_binary("")  # E: arg-type  # pyright: ignore[reportArgumentType]
    ws.publish(1, "text")  # E: arg-type  # pyright: ignore[reportArgumentType]
    ws.publish("text")  # E: call-arg  # pyright: ignore[reportCallIssue]
    ws.publish_text("room", b"bytes")  # E: arg-type  # pyright: ignore[reportArgumentType]
    ws.publish_binary("room", "text")  # E: arg-type  # pyright: ignore[reportArgumentType]
    ws.ping(1)  # E: arg-type  # pyright: ignore[reportArgumentType]
    ws.pong(None)  # E: arg-type  # pyright: ignore[reportArgumentType]
    words: str = ws.send("text")  # E: assignment  # pyright: ignore[reportAssignmentType]
    sent: MessageSent = ws.send(words)  # E: assignment  # pyright: ignore[reportAssignmentType]
    _ = ws.send("text").bytes_sent + sent  # E: union-attr  # pyright: ignore[reportAttributeAccessIssue]


def topics(ws: ServerWebSocket[None]) -> None:
    ws.subscribe(1)  # E: arg-type  # pyright: ignore[reportArgumentType]
    ws.subscribe(b"room")  # E: arg-type  # pyright: ignore[reportArgumentType]
    ws.subscribe("room", "other")  # E: call-arg  # pyright: ignore[reportCallIssue]
    ws.unsubscribe(None)  # E: arg-type  # pyright: ignore[reportArgumentType]
    ws.is_subscribed(["room"])  # E: arg-type  # pyright: ignore[reportArgumentType]
    ws.subscriptions()  # E: operator  # pyright: ignore[reportCallIssue]
    ws.subscriptions = ["room"]  # E: misc  # pyright: ignore[reportAttributeAccessIssue]


def ending(ws: ServerWebSocket[None]) -> None:
    ws.close("1000")  # E: arg-type  # pyright: ignore[reportArgumentType]
    ws.close(1000, b"reason")  # E: arg-type  # pyright: ignore[reportArgumentType]
    ws.terminate(1006)  # E: call-arg  # pyright: ignore[reportCallIssue]


def state(ws: ServerWebSocket[None]) -> None:
    ws.ready_state = 3  # E: assignment, misc  # pyright: ignore[reportAttributeAccessIssue]
    ws.remote_address.upper()  # E: union-attr  # pyright: ignore[reportOptionalMemberAccess]
    ws.is_paused = True  # E: misc  # pyright: ignore[reportAttributeAccessIssue]
    ws.is_paused()  # E: operator  # pyright: ignore[reportCallIssue]
    _ = ws.readyState  # E: attr-defined  # pyright: ignore[reportAttributeAccessIssue]


def corks(ws: ServerWebSocket[None]) -> None:
    ws.cork(1)  # E: arg-type  # pyright: ignore[reportArgumentType]
    ws.cork(lambda: None)  # E: arg-type, misc  # pyright: ignore[reportArgumentType]
    number: int = ws.cork(lambda corked: corked.subscriptions)  # E: assignment  # pyright: ignore[reportAssignmentType]
    with ws.corked() as corked:
        corked.send(str(number))  # E: attr-defined  # pyright: ignore[reportAttributeAccessIssue]


async def tick(ws: ServerWebSocket[None], seconds: float) -> None: ...


async def waiting(ws: ServerWebSocket[None]) -> None:
    info: CloseInfo = ws.closed()  # E: assignment  # pyright: ignore[reportAssignmentType]
    code: str = (await ws.closed()).code  # E: assignment  # pyright: ignore[reportAssignmentType]
    info.code = len(code)  # E: misc  # pyright: ignore[reportAttributeAccessIssue]
    ws.drained()  # E: unused-coroutine  # pyright: ignore[reportUnusedCoroutine]
    ws.send_wait("text")  # E: unused-coroutine  # pyright: ignore[reportUnusedCoroutine]
    await ws.send_wait(1)  # E: arg-type  # pyright: ignore[reportArgumentType]
    await ws.send("text")  # E: misc  # pyright: ignore[reportGeneralTypeIssues]
    ws.start_soon(tick, ws)  # E: arg-type  # pyright: ignore[reportArgumentType]
    ws.start_soon(tick, ws, "1")  # E: arg-type  # pyright: ignore[reportArgumentType]
    ws.start_soon(tick(ws, 1))  # E: arg-type  # pyright: ignore[reportArgumentType]
    for message in ws:  # E: attr-defined  # pyright: ignore[reportGeneralTypeIssues]
        ws.send(message)
    async for message in ws:
        message.encode()  # E: union-attr  # pyright: ignore[reportAttributeAccessIssue]


async def of_a_server(server: Server[str], request: Request) -> None:
    server.publish("room", 1)  # E: arg-type  # pyright: ignore[reportArgumentType]
    server.publish("room", "text", compress=None)  # E: arg-type  # pyright: ignore[reportArgumentType]
    server.subscriber_count(1)  # E: arg-type  # pyright: ignore[reportArgumentType]
    _ = server.request_ip(request).address  # E: union-attr  # pyright: ignore[reportOptionalMemberAccess]
    server.timeout(60, request)  # E: arg-type  # pyright: ignore[reportArgumentType]
    server.stop(True, 1001)  # E: call-arg  # pyright: ignore[reportCallIssue]
    server.stop(grace="5")  # E: arg-type  # pyright: ignore[reportArgumentType]
    stopped: bool = await server.stop()  # E: assignment, func-returns-value  # pyright: ignore[reportAssignmentType]
    server.port = int(stopped)  # E: misc  # pyright: ignore[reportAttributeAccessIssue]
    server.start_soon(tick)  # E: arg-type  # pyright: ignore[reportArgumentType]
    _ = server.url.href  # E: attr-defined  # pyright: ignore[reportAttributeAccessIssue]


async def of_http(request: Request) -> Response:
    request.method = "POST"  # E: misc  # pyright: ignore[reportAttributeAccessIssue]
    request.query["name"].decode()  # E: attr-defined  # pyright: ignore[reportAttributeAccessIssue]
    request.headers.get("origin").lower()  # E: union-attr  # pyright: ignore[reportOptionalMemberAccess]
    text: str = await request.body()  # E: assignment  # pyright: ignore[reportAssignmentType]
    Response(1)  # E: arg-type  # pyright: ignore[reportArgumentType]
    Response(["text"])  # E: arg-type  # pyright: ignore[reportArgumentType]
    Response("text", "200")  # E: arg-type  # pyright: ignore[reportArgumentType]
    Response("text", headers={"X-Number": 1})  # E: arg-type  # pyright: ignore[reportArgumentType]
    Response.redirect(b"/")  # E: arg-type  # pyright: ignore[reportArgumentType]
    return Response.file(text, "root")  # E: call-arg  # pyright: ignore[reportCallIssue]
