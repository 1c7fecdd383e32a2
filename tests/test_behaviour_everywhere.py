"""BEHAVIOUR.md, 11 to 13, 26, 29 and 30, combined, in every way a server is reached.

Order across publish, unsubscribe and send; the request cut at every byte; handlers that raise; reload and stop while
sockets are open. What is closed, paused or under backpressure is in files of its own.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from everywhere import WAYS, Way, closed, reached
from patience import until
from playground import Socket, settled
from recorder import HandlerError, Recorder, handler_of

from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from trio_bunws import WebSocketHandler

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
frame, close_frame = RawPeer.frame, RawPeer.close_frame
KINDS = ["open", "message", "text", "binary", "drain", "ping", "pong"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["plain", "async", "corked", "async, waiting"])
async def test_13_publish_then_unsubscribe_then_send_in_one_handler(how: str, way: Way) -> None:
    record = Recorder()
    over = trio.Event()

    def opened(ws: Socket) -> None:
        record.open(ws)
        ws.subscribe("room")

    def act(ws: Socket) -> None:
        first = record.sockets[0]
        assert ws.publish("room", "1") != 0
        assert ws.unsubscribe("room")
        assert not ws.unsubscribe("room")
        ws.send("2")
        for other in record.sockets:
            if other is not ws:
                assert other.unsubscribe("room")
                other.send("3")
        assert ws.publish("room", "nobody") == 0
        assert first.subscribe("room")
        assert ws.publish("room", "4") != 0
        first.ping("5")
        ws.close(4000)
        assert ws.publish("room", "6") != 0
        first.send("7")

    def message(ws: Socket, _message: str | bytes) -> None:
        ws.cork(act) if how == "corked" else act(ws)

    async def message_async(ws: Socket, _message: str | bytes) -> None:
        act(ws)
        if "waiting" in how:
            await over.wait()

    handler = record.handler(open=opened, message=message_async if "async" in how else message)
    async with reached(handler, way) as place:
        first, second, third = [await place.open() for _ in range(3)]
        await settled()
        await third.send(frame(TEXT, b"go"))
        for want in (TEXT, b"1"), (TEXT, b"3"), (TEXT, b"4"), (PING, b"5"), (TEXT, b"6"), (TEXT, b"7"):
            assert (await first.receive())[:2] == want
        assert [await second.receive_text() for _ in range(2)] == ["1", "3"]
        assert await third.receive_text() == "2"
        assert await third.receive_close() == (4000, "")
        await second.send(frame(PING, b""))
        assert await second.receive() == (PONG, b"", True, 0)
        over.set()


@pytest.mark.parametrize("way", ["tcp", "tls"])
async def test_26_the_request_cut_at_every_byte_with_frames_behind_it(way: Way) -> None:
    record = Recorder()
    data = (
        RawPeer.request("/somewhere") + frame(TEXT, b"a") + frame(PING, b"p") + frame(BINARY, b"b") + close_frame(1000)
    )
    async with reached(record.handler(), way) as place:
        for cut in range(1, len(data)):
            peer = await place.connect()
            await peer.send(data[:cut])
            await settled()
            await peer.send(data[cut:])
            await peer.receive_101()
            assert await peer.receive() == (PONG, b"p", True, 0)
            assert await peer.receive_close() == (1000, "")
            await trio.aclose_forcefully(peer.stream)
        await closed(record, len(data) - 1)
    once = [("open",), ("message", "a"), ("message", b"b"), ("close", 1000, "")]
    assert record.calls == once * (len(data) - 1)


class Raising(Recorder):
    """Handlers of which one raises, `def` or `async`, with an error handler or without."""

    def __init__(self, kind: str, error: str, *, is_async: bool) -> None:
        super().__init__()
        self.kind = kind
        self.count = 0
        given: dict[str, Any] = {"open": self.open, "message": self.message, "close": self.close}
        given[kind] = self.fail_async if is_async else self.fail
        if error != "none":
            given["error"] = {"plain": self.error, "async": self.error_async, "raises": self.error_raising}[error]
        self.handlers = handler_of(**given)
        self.told = error in {"plain", "async"}
        self.closed_by_it = error == "none" or kind == "open"
        self.logged = {"none": HandlerError, "raises": ZeroDivisionError}.get(error)

    def fail(self, ws: Socket, *_: object) -> None:
        self.count += 1
        if self.kind == "open":
            self.open(ws)
        ws.send("sent before it raised")
        raise HandlerError(self.kind)

    async def fail_async(self, ws: Socket, *args: object) -> None:
        await trio.lowlevel.checkpoint()
        self.fail(ws, *args)

    async def error_async(self, exc: Exception, ws: Socket) -> None:
        await trio.lowlevel.checkpoint()
        self.error(exc, ws)

    async def error_raising(self, _exc: Exception, _ws: Socket) -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError


async def provoke(record: Raising, peer: RawPeer) -> None:
    """Make the handler be called."""
    await settled()
    if record.kind == "drain":
        for _ in range(3):
            record.ws.send(bytes(3_000_000))
        for _ in range(3):
            assert (await peer.receive()).opcode == BINARY
    elif record.kind != "open":
        await peer.send(frame({"ping": PING, "pong": PONG, "binary": BINARY}.get(record.kind, TEXT), b"x"))
    if record.kind == "ping":
        assert await peer.receive() == (PONG, b"x", True, 0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", ["none", "plain", "async", "raises"])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_29_a_handler_that_raises(
    kind: str, is_async: bool, error: str, way: Way, *, caplog: pytest.LogCaptureFixture
) -> None:
    record = Raising(kind, error, is_async=is_async)
    async with reached(record.handlers, way) as place:
        peer = await place.open()
        await provoke(record, peer)
        assert await peer.receive_text() == "sent before it raised"
        if record.closed_by_it:
            while (got := await peer.receive()).opcode != CLOSE:
                assert kind == "drain"  # again
            assert got.close == (1011, "Internal server error")
            await peer.send(close_frame(1011))
        else:
            await peer.send(frame(PING, b"still open"))
            while await peer.receive() != (PONG, b"still open", True, 0):
                pass
            await peer.send(close_frame(1000))
            while (got := await peer.receive()).opcode != CLOSE:
                assert kind in {"drain", "ping"}  # again
            assert got.close == (1000, "")
        await closed(record)
    logged = [entry.exc_info[0] for entry in caplog.records if entry.levelno >= logging.ERROR and entry.exc_info]
    assert logged == ([] if record.logged is None else [record.logged] * record.count)
    assert [call for call in record.calls if call[0] == "error"] == (
        [("error", HandlerError, kind)] * record.count if record.told else []
    )
    assert record.closes == [(1011, "Internal server error") if record.closed_by_it else (1000, "")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", ["none", "plain"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_29_a_close_handler_that_raises_is_logged(
    is_async: bool, error: str, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    record = Raising("close", error, is_async=is_async)
    async with reached(record.handlers, way) as place:
        peer = await place.open()
        await peer.send(close_frame(1000))
        assert await peer.receive_close() == (1000, "")
        await until(lambda: record.count)
        other = await place.open()
        await other.send(frame(PING, b"others"))
        assert await other.receive() == (PONG, b"others", True, 0)
        await other.send(close_frame(1000))
        assert await other.receive_close() == (1000, "")
    logged = [entry.exc_info[0] for entry in caplog.records if entry.levelno >= logging.ERROR and entry.exc_info]
    assert logged == [HandlerError] * 2
    assert not [call for call in record.calls if call[0] == "error"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_async", [False, True])
async def test_11_a_publish_from_closed_sockets_reaches_the_others(is_async: bool, way: Way) -> None:
    record = Recorder()

    def close(ws: Socket, code: int, reason: str) -> None:
        record.close(ws, code, reason)
        if not record.closes[1:]:
            assert ws.publish("room", "from its close handler") == 22
            assert ws.publish("room", b"again") == 5
            assert ws.publish("elsewhere", "x") == 0

    async def close_async(ws: Socket, code: int, reason: str) -> None:
        close(ws, code, reason)
        await trio.lowlevel.checkpoint()

    def opened(ws: Socket) -> None:
        record.open(ws)
        ws.subscribe("room")

    handler = record.handler(open=opened, close=close_async if is_async else close, publish_to_self=True)
    async with reached(handler, way) as place:
        leaving, staying = await place.open(), await place.open()
        await settled()
        await leaving.send(close_frame(1000))
        assert await leaving.receive_close() == (1000, "")
        assert await staying.receive_text() == "from its close handler"
        assert await staying.receive() == (BINARY, b"again", True, 0)
        ws = record.sockets[0]
        assert ws.publish("room", "long after") == 10
        assert ws.send("x") == ws.ping() == ws.pong() == 0
        assert ws.cork(lambda ws: ws.publish("room", "corked")) in {6, -1}
        assert await staying.receive_text() == "long after"
        assert await staying.receive_text() == "corked"
        await leaving.receive_eof()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kinds", ["plain, plain", "plain, async", "async, plain", "async, async"])
async def test_30_a_reload_between_two_messages_of_one_read(kinds: str, way: Way) -> None:
    heard: list[str] = []

    def listen(name: str, ws: Socket, message: str | bytes) -> None:
        heard.append(f"{name} {message!r}")
        if message == "reload":
            place.server.reload(websocket=after)
        ws.send(f"{name} {message!r}")

    async def listen_async(name: str, ws: Socket, message: str | bytes) -> None:
        await trio.lowlevel.checkpoint()
        listen(name, ws, message)

    first, second = (partial(listen_async if kind == "async" else listen) for kind in kinds.split(", "))
    record = Recorder()
    after: WebSocketHandler[Any] = record.handler(message=partial(second, "new"))
    async with reached(record.handler(message=partial(first, "old")), way) as place:
        peer = await place.open()
        await peer.send(frame(TEXT, b"a") + frame(TEXT, b"reload") + frame(TEXT, b"b") + frame(TEXT, b"c"))
        for want in ("old 'a'", "old 'reload'", "new 'b'", "new 'c'"):
            assert await peer.receive_text() == want
        await peer.send(close_frame(1000))
        assert await peer.receive_close() == (1000, "")
        await closed(record)
    assert heard == ["old 'a'", "old 'reload'", "new 'b'", "new 'c'"]
    assert record.closes == [(1000, "")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("closing", [False, True])
async def test_30_stop_called_in_a_handler(closing: bool, is_async: bool, way: Way) -> None:
    record = Recorder()

    def message(ws: Socket, message: str | bytes) -> None:
        record.message(ws, message)
        if message == "stop":
            ws.send("before")
            place.server.stop(closing, code=4001, reason="bye")
            record.calls.append(("sent", ws.send("after") != 0))

    async def message_async(ws: Socket, got: str | bytes) -> None:
        message(ws, got)
        await trio.lowlevel.checkpoint()

    async with reached(record.handler(message=message_async if is_async else message), way) as place:
        one, other = await place.open(), await place.open()
        await one.send(frame(TEXT, b"stop") + frame(TEXT, b"next"))
        assert await one.receive_text() == "before"
        if closing:
            for peer in (one, other):
                assert await peer.receive_close() == (4001, "bye")
                await peer.send(close_frame(4001))
        else:
            assert await one.receive_text() == "after"
            with pytest.raises((OSError, trio.BrokenResourceError)):
                await place.connect()
            for peer in (one, other):
                await peer.send(frame(TEXT, b"still here") + close_frame(1000))
                assert await peer.receive_close() == (1000, "")
        for peer in (one, other):
            await peer.stream.aclose()
        await closed(record, 2)
        await place.server.stop()
    assert ("sent", not closing) in record.calls
    assert record.messages == (["stop"] if closing else ["stop", "next", "still here", "still here"])
    assert record.closes == [(4001, "bye") if closing else (1000, "")] * 2
