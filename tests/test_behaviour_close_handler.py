"""BEHAVIOUR.md, 17, sentence by sentence: when the close handler runs, once, and with which code and reason.

A test's name begins with the number of its sentence. The peer is a client that chooses every byte.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from closes import VALID_CODES, closes_at_the_end, open_over_tcp, take_all
from playground import Socket, playground, settled, texts
from recorder import Recorder, library_client

from trio_bunws import open_server
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from trio.testing import MockClock

PING = 9


@pytest.mark.parametrize("code", VALID_CODES)
async def test_17_the_close_handler_gets_the_peers_code_and_reason(code: int, autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        await peer.send_close(code, "because ☃")
        assert await peer.receive_close() == (code, "because ☃")
        assert await closes_at_the_end(peer, record) == [(code, "because ☃")]


async def test_17_an_empty_close_is_1005_and_answered_by_an_empty_one(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        await peer.send_close()
        assert await peer.receive_exactly(2) == b"\x88\x00"
        assert await closes_at_the_end(peer, record) == [(1005, "")]


async def test_17_the_close_handler_gets_our_code_and_reason_when_we_closed_first(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        record.ws.close(4000, "ours")
        assert await peer.receive_close() == (4000, "ours")
        await peer.send_close(4001, "theirs")
        await peer.receive_eof()
        info = await record.ws.closed()
        assert (info.code, info.reason) == (4000, "ours")
        assert (info.sent, info.received) == ((4000, "ours"), (4001, "theirs"))
        await settled()
        assert record.closes == [(4000, "ours")]


async def test_17_a_plain_close_handler_has_been_called_when_closed_returns(autojump_clock: MockClock) -> None:
    record = Recorder()
    seen: list[list[tuple[object, ...]]] = []

    async def wait(ws: Socket) -> None:
        await ws.closed()
        seen.append(list(record.closes))

    async with playground(record.handler()) as play, trio.open_nursery() as nursery:
        peer = await play.open()
        nursery.start_soon(wait, record.ws)
        await settled()
        await peer.send_close(4000)
        assert await peer.receive_close() == (4000, "")
    assert seen == [[(4000, "")]]


async def test_17_closes_that_cross_are_one_close_of_who_was_first_here(autojump_clock: MockClock) -> None:
    record = Recorder()

    def message(ws: Socket, _message: str | bytes) -> None:
        ws.close(4000, "ours")

    async with playground(record.handler(message=message)) as play:
        peer = await play.open()
        await peer.send(texts("go") + RawPeer.close_frame(4001, "theirs"))
        assert await peer.receive_close() == (4000, "ours")
        await peer.receive_eof()  # there is no second Close
        await settled()
        assert record.closes == [(4000, "ours")]


async def test_17_a_lost_connection_is_1006(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        await peer.stream.aclose()
        await settled()
        assert record.closes == [(1006, "")]


async def test_17_a_stream_that_ends_within_a_frame_is_1006(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        await peer.send(RawPeer.close_frame(1000, "cut")[:-1])
        await peer.stream.aclose()
        await settled()
        assert record.closes == [(1006, "")]


async def test_17_a_reset_connection_is_1006() -> None:
    record = Recorder()
    async with open_server(None, record.handler(), port=0) as server:
        peer = await open_over_tcp(server.port)
        assert isinstance(peer.stream, trio.SocketStream)
        peer.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        await peer.stream.aclose()
        assert (await record.ws.closed()).code == 1006
        await settled()
    assert record.closes == [(1006, "")]


async def test_17_terminate_is_1006(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        await play.open()
        record.ws.terminate()
        await settled()
        assert record.closes == [(1006, "")]


async def test_17_the_backpressure_limit_is_1006(autojump_clock: MockClock) -> None:
    record = Recorder()
    handler = record.handler(backpressure_limit=10, close_on_backpressure_limit=True)
    async with playground(handler, lockstep=True) as play:
        await play.open()
        record.ws.send("in flight")
        await settled()
        record.ws.send("over the limit")
        assert record.ws.send("too much") == 0
        await settled()
        assert record.closes == [(1006, "")]
        assert trio.current_time() == 0


async def test_17_idleness_is_1006_with_a_reason(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(idle_timeout=20, send_pings=False)) as play:
        peer = await play.open()
        assert await closes_at_the_end(peer, record) == [(1006, "WebSocket timed out from inactivity")]


@pytest.mark.parametrize("end", ["close", "terminate"])
async def test_17_the_close_handler_runs_after_the_handler_that_closed_never_inside(
    end: str, autojump_clock: MockClock
) -> None:
    record = Recorder()

    def message(ws: Socket, _message: str | bytes) -> None:
        record.calls.append(("begun",))
        getattr(ws, end)()
        record.calls.append(("done",))

    async with playground(record.handler(message=message)) as play:
        peer = await play.open()
        await peer.send(texts("go") + RawPeer.close_frame(1000))
        await settled()
        assert [call[0] for call in record.calls] == ["open", "begun", "done", "close"]


async def test_17_the_close_handler_waits_for_the_async_handler_in_progress(autojump_clock: MockClock) -> None:
    record = Recorder()
    go_on = trio.Event()

    async def message(_ws: Socket, _message: str | bytes) -> None:
        await go_on.wait()
        record.calls.append(("done",))

    async with playground(record.handler(message=message)) as play:
        peer = await play.open()
        await peer.send(texts("go") + RawPeer.close_frame(4000))
        assert await peer.receive_close() == (4000, "")
        assert await closes_at_the_end(peer, record) == []
        go_on.set()
        await settled()
        assert record.calls == [("open",), ("done",), ("close", 4000, "")]


async def test_17_the_close_handler_runs_once_however_many_ends_there_are(autojump_clock: MockClock) -> None:
    record = Recorder()

    def closed(ws: Socket, code: int, reason: str) -> None:
        record.close(ws, code, reason)
        ws.close(4002)
        ws.terminate()

    async with playground(record.handler(close=closed)) as play:
        peer = await play.open()
        record.ws.close(4000)
        await peer.send_close(4001)
        await peer.stream.aclose()
        record.ws.terminate()
        record.ws.terminate()
        await settled()
        record.ws.close()
        await trio.sleep(100)
    assert record.closes == [(4000, "")]


async def test_17_the_close_handler_runs_also_when_open_raised(autojump_clock: MockClock) -> None:
    record = Recorder()

    def opened(ws: Socket) -> None:
        record.open(ws)
        raise ValueError("in open")

    async with playground(record.handler(open=opened, error=record.error)) as play:
        peer = await play.open()
        assert await peer.receive_close() == (1011, "Internal server error")
        await peer.send_close(1011)
        await peer.receive_eof()
        await settled()
        assert record.calls == [("open",), ("error", ValueError, "in open"), ("close", 1011, "Internal server error")]


@pytest.mark.parametrize("end", ["close", "terminate"])
async def test_17_an_async_open_comes_before_whatever_may_close(end: str, autojump_clock: MockClock) -> None:
    record = Recorder()

    async def opened(ws: Socket) -> None:
        record.open(ws)
        await trio.sleep(1)
        record.calls.append(("open done",))

    def ping(ws: Socket, _data: bytes) -> None:
        record.calls.append(("ping",))
        getattr(ws, end)()

    async with playground(record.handler(open=opened, ping=ping)) as play:
        peer = await play.connect()
        await peer.send(RawPeer.request() + RawPeer.frame(PING) + RawPeer.close_frame())
        await trio.sleep(2)
        assert [call[0] for call in record.calls] == ["open", "ping", "open done", "close"]


async def test_17_the_close_handler_never_runs_for_a_socket_whose_open_was_not_entered(
    autojump_clock: MockClock,
) -> None:
    record = Recorder()
    opened: list[Socket] = []

    async def open_(ws: Socket) -> None:
        opened.append(ws)

    async with playground(record.handler(open=open_)) as play:
        for ticks in range(20):
            peer = await play.connect()
            await peer.send(RawPeer.request())
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
            for connection in play.server._engine.connections:
                connection.ws.close()
            await peer.stream.aclose()
        await settled()
        assert len(record.closes) == len(opened)


async def test_17_the_close_handler_never_runs_for_a_request_that_is_not_upgraded(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.connect()
        await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await take_all(peer)).startswith(b"HTTP/1.1 426 ")
    assert record.calls == []


@pytest.mark.parametrize("code", [1000, 4321])
async def test_17_a_library_client_that_closes_is_answered(code: int, autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        async with library_client(await play.connect()) as client:
            await client.aclose(code, "bye")
            assert (client.closed.code, client.closed.reason) == (code, "bye")
        await settled()
        assert record.closes == [(code, "bye")]
