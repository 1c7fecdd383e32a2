"""BEHAVIOUR.md, 9, sentence by sentence: what is corked leaves as one write, and handlers run corked.

A test's name begins with the number of its sentence. Nothing here looks behind the public names.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from links import BIG, Watched, congest, kernel, receive_big, sent_out, served
from playground import Socket, settled

from trio_bunws import ReadyState, WebSocketHandler
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from trio.testing import MockClock

TEXT, PING, PONG = 1, 9, 10


async def test_09_cork_makes_one_write_and_returns_what_the_callback_returns(autojump_clock: MockClock) -> None:
    watched = Watched()
    async with served(link=watched) as place:
        ws, peer = await place.pair()
        watched.writes.clear()

        def callback(corked: Socket) -> list[int]:
            assert corked is ws
            return [corked.send("a"), corked.ping("b"), corked.send(b"c")]

        assert ws.cork(callback) == [1, 1, 1]
        await settled()
        assert watched.writes == [b"\x81\x01a\x89\x01b\x82\x01c"]
        assert ws.cork(lambda _: None) is None
        await settled()
        assert len(watched.writes) == 1
        assert await peer.receive_exactly(9) == watched.writes[0]


async def test_09_what_a_cork_holds_has_left_when_it_returns(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        ws, peer = await place.pair()
        before = sent_out(ws)
        with ws.corked():
            ws.send("a")
            await settled()
            assert sent_out(ws) == before
        assert sent_out(ws) == before + 3
        ws.cork(lambda ws: ws.send("b"))
        assert sent_out(ws) == before + 6
        assert await peer.stream.receive_some() == b"\x81\x01a\x81\x01b"


async def test_09_an_exception_propagates_after_the_flush(autojump_clock: MockClock) -> None:
    error = ValueError("of the callback")

    def callback(ws: Socket) -> None:
        ws.send("a")
        ws.send("b")
        raise error

    async with served(link=kernel) as place:
        ws, peer = await place.pair()
        before = sent_out(ws)
        with pytest.raises(ValueError, match="of the callback") as caught:
            ws.cork(callback)
        assert caught.value is error
        assert sent_out(ws) == before + 6

        def use_block() -> None:
            with ws.corked():
                ws.send("c")
                raise KeyError

        with pytest.raises(KeyError):
            use_block()
        assert sent_out(ws) == before + 9
        assert [await peer.receive_text() for _ in range(3)] == ["a", "b", "c"]
        ws.send("not corked any more")
        assert await peer.receive_text() == "not corked any more"


async def test_09_an_exception_in_a_cork_of_a_handler_reaches_the_error_handler(autojump_clock: MockClock) -> None:
    errors: list[Exception] = []

    def callback(ws: Socket) -> None:
        ws.send("sent before")
        raise KeyError("oops")

    handler = WebSocketHandler(
        message=lambda ws, _: ws.cork(callback),
        error=lambda exc, _: errors.append(exc),
    )
    async with served(handler) as place:
        ws, peer = await place.pair()
        await peer.send_text("go")
        assert await peer.receive_text() == "sent before"
        assert [repr(error) for error in errors] == ["KeyError('oops')"]
        assert ws.ready_state is ReadyState.OPEN


async def test_09_nested_corks_make_one_write(autojump_clock: MockClock) -> None:
    def inner(ws: Socket) -> str:
        ws.send("b")
        return "inner"

    def outer(ws: Socket) -> str:
        ws.send("a")
        before = sent_out(ws)
        value = ws.cork(inner)
        with ws.corked(), pytest.raises(ValueError, match="inside"):
            ws.cork(raising)
        assert sent_out(ws) == before
        ws.send("c")
        return value

    def raising(ws: Socket) -> None:
        ws.send("!")
        raise ValueError("inside")

    watched = Watched()
    async with served(link=watched) as place:
        ws, _ = await place.pair()
        watched.writes.clear()
        assert ws.cork(outer) == "inner"
        await settled()
        assert watched.writes == [b"\x81\x01a\x81\x01b\x81\x01!\x81\x01c"]


async def test_09_corks_of_several_sockets_work(autojump_clock: MockClock) -> None:
    watched = Watched()

    def both(one: Socket) -> int:
        one.send("1")
        return two.cork(lambda two: two.send("2") + one.send("1") + two.send("2"))

    async with served(link=watched) as place:
        one, one_peer = await place.pair()
        two, two_peer = await place.pair()
        watched.writes.clear()
        assert one.cork(both) == 3
        with one.corked(), two.corked():
            for ws in (one, two, one):
                ws.send("3")
        await settled()
        texts = [bytes(write).replace(b"\x81\x01", b"") for write in watched.writes]
        assert sorted(texts) == [b"11", b"22", b"3", b"33"]
        assert [await one_peer.receive_text() for _ in range(4)] == ["1", "1", "3", "3"]
        assert [await two_peer.receive_text() for _ in range(3)] == ["2", "2", "3"]


async def test_09_a_cork_under_backpressure_keeps_order_and_counts(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        ws, peer = await place.pair()
        ws.send(BIG)
        assert ws.cork(lambda ws: [ws.send("a"), ws.send("b")]) == [-1, -1]
        await receive_big(peer)
        assert [await peer.receive_text() for _ in range(2)] == ["a", "b"]


@pytest.mark.parametrize("callback", [None, 1, "callback"])
async def test_09_what_is_not_callable_raises_type_error(
    autojump_clock: MockClock,
    callback: Any,  # noqa: ANN401  # wrong on purpose
) -> None:
    async with served() as place:
        ws, _ = await place.pair()
        with pytest.raises(TypeError, match="cork expects callback to be callable"):
            ws.cork(callback)


@pytest.mark.parametrize("kind", ["message", "text", "ping", "pong"])
async def test_09_handlers_run_corked(autojump_clock: MockClock, kind: str) -> None:
    def send(ws: Socket, *_: object) -> None:
        ws.send("b")
        ws.send("c")

    def opened(ws: Socket) -> None:
        ws.send("a")
        ws.send("a")

    watched = Watched()
    handlers: dict[str, Any] = {kind: send}
    async with served(WebSocketHandler(open=opened, **handlers), watched) as place:
        _, peer = await place.pair()
        (first,) = watched.writes
        assert first.endswith(b"\r\n\r\n\x81\x01a\x81\x01a")
        opcode = {"ping": PING, "pong": PONG}.get(kind, TEXT)
        # One read makes one write, also when a handler is called twice.
        await peer.send(RawPeer.frame(opcode) + RawPeer.frame(opcode))
        await settled()
        pong = b"\x8a\x00" if kind == "ping" else b""
        assert watched.writes[1:] == [(pong + b"\x81\x01b\x81\x01c") * 2]


@pytest.mark.parametrize("kind", ["open", "message", "ping", "drain"])
async def test_09_an_async_handler_that_waits_does_not_hold_its_frames_back(
    autojump_clock: MockClock, kind: str
) -> None:
    never = trio.Event()

    async def send(ws: Socket, *_: object) -> None:
        ws.send("a")
        ws.send("b")
        await never.wait()

    handlers: dict[str, Any] = {kind: send}
    async with served(WebSocketHandler(**handlers), kernel) as place:
        peer = await place.open()
        match kind:
            case "message":
                await peer.send_text("go")
            case "ping":
                await peer.send(RawPeer.frame(PING))
                assert await peer.receive() == (PONG, b"", True, 0)
            case "drain":
                congest(place.sockets[0])
                await receive_big(peer)
            case _:
                pass
        assert [await peer.receive_text() for _ in range(2)] == ["a", "b"]


async def test_09_frames_of_an_async_cork_wait_until_its_end_or_16_kib(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        ws, peer = await place.pair()
        before = sent_out(ws)
        with ws.corked():
            ws.send("a")
            await settled()
            assert sent_out(ws) == before
            place.server.publish("news", "nothing to do with it")
            ws.send(BIG)
            assert sent_out(ws) > before
        assert await peer.receive_text() == "a"
        await receive_big(peer)
