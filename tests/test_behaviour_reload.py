"""BEHAVIOUR.md, 30, its first sentence: `reload` swaps handlers and options, also of open sockets.

A test's name begins with the number of its sentence. Everything is driven from outside.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from playground import Socket, playground, settled, texts
from recorder import Recorder

from trio_bunws import Request, Response, Server, WebSocketHandler
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from trio.testing import MockClock

PING, PONG = 9, 10


async def test_30_reload_swaps_handlers_of_open_sockets_from_the_next_event_on(autojump_clock: MockClock) -> None:
    calls: list[tuple[object, ...]] = []

    def make(version: int) -> WebSocketHandler[Any]:
        def message(_ws: Socket, message: str | bytes) -> None:
            calls.append((version, message))
            if message == "reload":
                play.server.reload(websocket=make(version + 1))

        def closed(_ws: Socket, code: int, _reason: str) -> None:
            calls.append((version, code))

        def ping(_ws: Socket, _data: bytes) -> None:
            calls.append((version, "ping"))

        return WebSocketHandler(message=message, close=closed, ping=ping)

    async with playground(make(1)) as play:
        peer = await play.open()
        await peer.send(texts("a", "reload", "b") + RawPeer.frame(PING) + texts("reload") + RawPeer.close_frame(4000))
        assert await peer.receive() == (PONG, b"", True, 0)
        await settled()
        assert calls == [(1, "a"), (1, "reload"), (2, "b"), (2, "ping"), (2, "reload"), (3, 4000)]


@pytest.mark.parametrize("to_async", [False, True])
async def test_30_a_reload_loses_nothing_that_is_queued(to_async: bool, autojump_clock: MockClock) -> None:
    calls: list[tuple[object, ...]] = []

    async def slow(version: int, _ws: Socket, message: str | bytes) -> None:
        calls.append((version, message))
        await trio.sleep(10)

    def quick(version: int, _ws: Socket, message: str | bytes) -> None:
        calls.append((version, message))

    async with playground(WebSocketHandler(message=partial(slow, 1), max_inbox=2), lockstep=True) as play:
        peer = await play.open()
        await peer.send(texts(*"abcdef"))
        await settled()
        play.server.reload(websocket=WebSocketHandler(message=partial(slow if to_async else quick, 2)))
        await peer.send(texts("g") + RawPeer.frame(PING))
        assert await peer.receive() == (PONG, b"", True, 0)
        await trio.sleep(100)
        assert calls == [(1, "a"), *((2, letter) for letter in "bcdefg")]


async def test_30_reload_swaps_options_of_open_sockets(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(), lockstep=True) as play:
        peer = await play.open()
        await peer.send_binary(b"x" * 1000)
        await settled()
        handler = record.handler(max_payload_length=999, backpressure_limit=10, idle_timeout=40, send_pings=False)
        play.server.reload(websocket=handler)
        record.ws.send("in flight")
        await settled()
        record.ws.send("over the limit")
        assert record.ws.send("dropped") == 0
        assert await peer.receive_text() == "in flight"
        assert await peer.receive_text() == "over the limit"
        await peer.send_binary(b"x" * 999)
        silent = await play.open()
        await silent.receive_eof()
        assert trio.current_time() == 40
        assert record.messages == [b"x" * 1000, b"x" * 999]
    async with playground(record.handler()) as play:
        peer = await play.open()
        play.server.reload(websocket=record.handler(max_payload_length=999))
        await peer.send_binary(b"x" * 1000)
        assert (await peer.receive_close())[0] == 1009


async def test_30_a_shorter_idle_timeout_begins_with_the_reload(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(idle_timeout=0)) as play:
        peer = await play.open()
        await trio.sleep(1000)
        play.server.reload(websocket=record.handler(idle_timeout=20))
        assert await peer.receive() == (PING, b"", True, 0)
        assert 1000 < trio.current_time() <= 1012
        await peer.receive_eof()
        assert trio.current_time() <= 1020
        await settled()
        assert record.closes == [(1006, "WebSocket timed out from inactivity")]


async def test_30_reload_swaps_publish_to_self(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        record.ws.subscribe("a")
        assert record.ws.publish("a", "not to itself") == 0
        play.server.reload(websocket=record.handler(publish_to_self=True))
        assert record.ws.publish("a", "itself") == 6
        assert await peer.receive_text() == "itself"


async def test_30_a_reload_leaves_a_running_session_alone(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def session(version: int, ws: Socket) -> None:
        async for message in ws:
            ws.send(f"{version}: {message!r}")

    async with playground(record.handler(session=partial(session, 1))) as play:
        first = await play.open()
        play.server.reload(websocket=record.handler(session=partial(session, 2)))
        second = await play.open()
        play.server.reload(websocket=record.handler(message=lambda ws, _message: ws.send("message")))
        third = await play.open()
        for peer, expected in ((first, "1: 'x'"), (second, "2: 'x'"), (third, "message"), (first, "1: 'x'")):
            await peer.send_text("x")
            assert await peer.receive_text() == expected


async def test_30_reload_swaps_fetch_and_error(autojump_clock: MockClock) -> None:
    def failing_fetch(_request: Request, _server: Server[Any]) -> Response:
        raise ValueError("from fetch")

    async def get() -> bytes:
        await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await peer.receive_until(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        return await peer.receive_exactly(length)

    async with playground(WebSocketHandler(), lambda _request, _server: Response("one")) as play:
        peer = await play.connect()
        assert await get() == b"one"
        play.server.reload(fetch=failing_fetch, error=lambda exc: Response(f"sorry, {exc}"))
        assert await get() == b"sorry, from fetch"
        play.server.reload(error=lambda _exc: Response("sorry"))
        assert await get() == b"sorry"
        play.server.reload(fetch=None)
        assert b"WebSocket" in await get()


async def test_30_reload_of_nonsense_is_a_type_error_and_changes_nothing(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        mistakes: list[Any] = [{"websocket": "handler"}, {"websocket": None}, {"fetch": "fetch"}, {"error": 1}]
        for wrong in mistakes:
            with pytest.raises(TypeError, match="reload expects"):
                play.server.reload(**wrong)
        peer = await play.open()
        await peer.send_text("x")
        await settled()
        assert record.messages == ["x"]
