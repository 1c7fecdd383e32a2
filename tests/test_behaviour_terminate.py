"""BEHAVIOUR.md, 19, sentence by sentence: `terminate`, wherever it is called, and what it loses.

A test's name begins with the number of its sentence. The peer is a client that chooses every byte.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from closes import closes_at_the_end, open_over_tcp, take_all
from playground import Socket, playground, settled, texts
from recorder import Recorder

from trio_bunws import ReadyState, WebSocketHandler, open_server
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from trio.testing import MockClock

TEXT, PING, PONG = 1, 9, 10


async def test_19_terminate_sends_no_close_frame(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        record.ws.terminate()
        states = [record.ws.ready_state]
        await peer.receive_eof()
        await settled()
        assert [*states, record.ws.ready_state] == [ReadyState.CLOSING, ReadyState.CLOSED]
        assert record.closes == [(1006, "")]
        assert trio.current_time() == 0


async def test_19_terminate_works_in_open(autojump_clock: MockClock) -> None:
    record = Recorder()

    def opened(ws: Socket) -> None:
        record.open(ws)
        ws.terminate()
        assert ws.send("x") == 0

    async with playground(record.handler(open=opened)) as play:
        peer = await play.connect()
        await peer.send(RawPeer.request() + texts("with the handshake"))
        await take_all(peer)
        await settled()
        assert record.calls == [("open",), ("close", 1006, "")]
        assert play.server.pending_websockets == 0


@pytest.mark.parametrize("session", [False, True])
async def test_19_terminate_works_in_an_async_open(session: bool, autojump_clock: MockClock) -> None:
    record = Recorder()

    async def opened(ws: Socket) -> None:
        record.open(ws)
        ws.terminate()
        await trio.lowlevel.checkpoint()
        record.calls.append(("still in open",))

    async def reading(_ws: Socket) -> None:
        record.calls.append(("session",))

    more = {"session": reading} if session else {}
    async with playground(record.handler(open=opened, **more)) as play:
        peer = await play.connect()
        await peer.send(RawPeer.request() + texts("with the handshake"))
        await take_all(peer)
        await settled()
        assert record.calls == [("open",), ("still in open",), ("close", 1006, "")]


async def test_19_the_batch_is_offered_once_and_no_reset_destroys_it() -> None:
    record = Recorder()

    def message(ws: Socket, _message: str | bytes) -> None:
        ws.subscribe("news")
        ws.send("one")
        ws.publish("news", "not to itself")
        server.publish("news", "two")
        ws.terminate()
        assert ws.send("three") == 0

    async with (
        open_server(None, record.handler(message=message), port=0) as server,
        await open_over_tcp(server.port) as peer,
    ):
        await peer.send_text("go")
        assert await peer.receive_text() == "one"
        assert await peer.receive_text() == "two"
        await peer.receive_eof()
        assert (await record.ws.closed()).code == 1006
        await settled()
    assert record.closes == [(1006, "")]


async def test_19_terminate_in_open_lets_the_101_out() -> None:
    def opened(ws: Socket) -> None:
        ws.send("hello")
        ws.terminate()

    async with (
        open_server(None, WebSocketHandler(open=opened), port=0) as server,
        await open_over_tcp(server.port) as peer,
    ):
        assert await peer.receive_text() == "hello"
        await peer.receive_eof()


async def test_19_unsent_bytes_are_lost(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(), lockstep=True) as play:
        peer = await play.open()
        record.ws.send("in flight")
        await settled()
        record.ws.send("unsent")
        record.ws.terminate()
        assert record.ws.get_buffered_amount() == 0
        await settled()
        assert b"unsent" not in await take_all(peer)
        assert record.closes == [(1006, "")]


async def test_19_after_close_terminate_aborts_at_once_and_the_close_is_reported(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        record.ws.close(4000, "ours")
        assert await peer.receive_close() == (4000, "ours")
        record.ws.terminate()
        assert await closes_at_the_end(peer, record) == [(4000, "ours")]
        assert trio.current_time() == 0


async def test_19_after_the_peers_close_terminate_reports_that_close(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def message(ws: Socket, _message: str | bytes) -> None:
        await trio.sleep(1)
        ws.terminate()

    async with playground(record.handler(message=message), lockstep=True) as play:
        peer = await play.open()
        await peer.send(texts("go") + RawPeer.close_frame(4001, "theirs"))
        await trio.sleep(2)
        assert record.closes == [(4001, "theirs")]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", ["message", "ping", "pong", "error", "task"])
async def test_19_terminate_works_in_every_handler(kind: str, is_async: bool, autojump_clock: MockClock) -> None:
    record = Recorder()

    def end(*_: object) -> None:
        record.ws.terminate()

    async def async_end(*_: object) -> None:
        end()
        await trio.lowlevel.checkpoint()

    def failing(_ws: Socket, _message: str | bytes) -> None:
        raise ValueError

    given: dict[str, Any] = {} if kind == "task" else {kind: async_end if is_async else end}
    async with playground(record.handler(**({"message": failing} if kind == "error" else {}), **given)) as play:
        peer = await play.open()
        if kind == "task":
            record.ws.start_soon(async_end)
        opcode = {"ping": PING, "pong": PONG}.get(kind, TEXT)
        await peer.send(RawPeer.frame(opcode) * 3)
        await settled()
        assert record.closes == [(1006, "")]


async def test_19_the_messages_behind_a_terminate_are_discarded(autojump_clock: MockClock) -> None:
    record = Recorder()

    def message(ws: Socket, message: str | bytes) -> None:
        record.message(ws, message)
        ws.terminate()

    async with playground(record.handler(message=message)) as play:
        peer = await play.open()
        await peer.send(texts("one", "two", "three"))
        await peer.receive_eof()
        await settled()
        assert record.calls == [("open",), ("message", "one"), ("close", 1006, "")]
