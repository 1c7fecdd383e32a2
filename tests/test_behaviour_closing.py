"""BEHAVIOUR.md, "Closing", sentence by sentence: 16 to 20, seen by a client that chooses every byte."""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
import trio_websocket
import trustme
from playground import Socket, playground, settled, texts
from recorder import Recorder, library_client

from trio_bunws import ConnectionClosed, Limits, ReadyState, WebSocketHandler, open_server
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


async def connect(port: int | None) -> RawPeer:
    """Open a WebSocket through the kernel."""
    assert port is not None
    peer = RawPeer(await trio.open_tcp_stream("127.0.0.1", port))
    await peer.upgrade()
    return peer


async def take_all(peer: RawPeer) -> bytes:
    """Return everything up to the end of the stream."""
    taken = bytes(peer.received)
    peer.received.clear()
    async for data in peer.stream:
        taken += data
    return taken


# 16. close


async def test_16_close_sends_what_was_accepted_then_close_then_the_end(autojump_clock: MockClock) -> None:
    record = Recorder()

    def message(ws: Socket, _message: str | bytes) -> None:
        ws.send("one")
        ws.ping(b"two")
        ws.send(b"three")
        ws.close(4000, "enough")

    async with playground(record.handler(message=message)) as play:
        peer = await play.open()
        await peer.send_text("go")
        assert await peer.receive_text() == "one"
        assert (await peer.receive()).payload == b"two"
        assert (await peer.receive()).payload == b"three"
        assert await peer.receive_close() == (4000, "enough")
        await peer.send_close(4000, "enough")
        await peer.receive_eof()
        await settled()
        assert record.closes == [(4000, "enough")]


async def test_16_the_default_is_1000_without_a_reason(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        record.ws.close()
        assert await peer.receive_exactly(4) == b"\x88\x02\x03\xe8"
        await peer.send_close(1000)
        await peer.receive_eof()
        await settled()
        assert record.closes == [(1000, "")]


async def test_16_publishes_and_sends_of_the_same_tick_leave_before_the_close(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        ws = record.ws
        ws.subscribe("news")
        play.server.publish("news", "published")
        ws.send("sent")
        play.server.publish("news", "published again")
        ws.close()
        play.server.publish("news", "too late")
        assert [await peer.receive_text() for _ in range(3)] == ["published", "sent", "published again"]
        assert await peer.receive_close() == (1000, "")


async def test_16_the_end_comes_once_the_peer_has_answered(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        ws = record.ws
        ws.close()
        assert await peer.receive_close() == (1000, "")
        with trio.move_on_after(9) as waiting:
            await peer.receive_eof()
        assert waiting.cancelled_caught
        states = [ws.ready_state]
        assert record.closes == []
        assert play.server.pending_websockets == 1
        await peer.send_close(1000)
        await peer.receive_eof()
        await settled()
        assert [*states, ws.ready_state] == [ReadyState.CLOSING, ReadyState.CLOSED]
        assert record.closes == [(1000, "")]
        assert play.server.pending_websockets == 0


async def test_16_an_end_of_stream_is_an_answer_too(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        record.ws.close(1001, "away")
        assert await peer.receive_close() == (1001, "away")
        await peer.stream.aclose()
        await settled()
        assert record.closes == [(1001, "away")]
        assert trio.current_time() == 0


async def test_16_under_backpressure_everything_accepted_comes_before_the_close(autojump_clock: MockClock) -> None:
    record = Recorder()
    payloads = [bytes([number]) * 40_000 for number in range(5)]
    async with playground(record.handler(), lockstep=True) as play:
        peer = await play.open()
        for payload in payloads:
            record.ws.send(payload)
            await settled()
        record.ws.close(1000, "done")
        assert record.ws.get_buffered_amount() > 160_000
        await settled()
        for payload in payloads:
            assert (await peer.receive()).payload == payload
        assert await peer.receive_close() == (1000, "done")
        await peer.send_close(1000, "done")
        await peer.receive_eof()
        await settled()
        assert record.closes == [(1000, "done")]


async def test_16_over_the_limit_the_close_is_still_sent_after_what_was_accepted(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(backpressure_limit=10), lockstep=True) as play:
        peer = await play.open()
        ws = record.ws
        ws.send("in flight")
        await settled()
        ws.send("one more than the limit")
        await settled()
        assert ws.send("dropped") == 0
        ws.close(4001, "over")
        await settled()
        assert await peer.receive_text() == "in flight"
        assert await peer.receive_text() == "one more than the limit"
        assert await peer.receive_close() == (4001, "over")
        await peer.send_close(4001)
        await peer.receive_eof()
        await settled()
        assert record.closes == [(4001, "over")]


async def test_16_through_a_full_kernel_everything_comes_before_the_close() -> None:
    record = Recorder()
    payload = b"x" * 1_000_000
    async with open_server(None, record.handler(), port=0) as server:
        async with await connect(server.port) as peer:
            for _ in range(12):
                record.ws.send(payload)
            record.ws.close(1000, "all of it")
            assert record.ws.get_buffered_amount() > 1_000_000
            for _ in range(12):
                assert (await peer.receive()).payload == payload
            assert await peer.receive_close() == (1000, "all of it")
            await peer.send_close(1000)
            await peer.receive_eof()
        assert (await record.ws.closed()).received == (1000, "")


async def test_16_close_is_idempotent(autojump_clock: MockClock) -> None:
    record = Recorder()

    def message(ws: Socket, _message: str | bytes) -> None:
        ws.close(4000, "first")
        ws.close(4001, "second")

    async with playground(record.handler(message=message)) as play:
        peer = await play.open()
        await peer.send_text("go")
        assert await peer.receive_close() == (4000, "first")
        record.ws.close(4002, "third")
        await peer.send_close(4000)
        await peer.receive_eof()
        await settled()
        record.ws.close(4003, "fourth")
        assert record.closes == [(4000, "first")]


async def test_16_sends_return_0_from_the_call_on(autojump_clock: MockClock) -> None:
    results: list[int] = []
    states: list[ReadyState] = []

    def message(ws: Socket, _message: str | bytes) -> None:
        states.append(ws.ready_state)
        ws.close()
        states.append(ws.ready_state)
        results.extend([ws.send("x"), ws.send_text("x"), ws.send_binary(b"x"), ws.ping(), ws.pong()])

    def closed(ws: Socket, _code: int, _reason: str) -> None:
        states.append(ws.ready_state)
        results.append(ws.send("x"))

    async with playground(WebSocketHandler(message=message, close=closed)) as play:
        peer = await play.open()
        await peer.send_text("go")
        assert await peer.receive_close() == (1000, "")
        await peer.send_close()
        await peer.receive_eof()
        await settled()
    assert results == [0] * 6
    assert states == [ReadyState.OPEN, ReadyState.CLOSING, ReadyState.CLOSED]


VALID_CODES = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
INVALID_CODES = [1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535, 999, 1, 0]


@pytest.mark.parametrize("code", VALID_CODES)
async def test_16_a_valid_code_is_sent(code: int, autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        record.ws.close(code, "why")
        assert await peer.receive_close() == (code, "why")
        await peer.stream.aclose()
        await settled()
        assert record.closes == [(code, "why")]


@pytest.mark.parametrize("code", [*INVALID_CODES, -1, 1 << 20])
async def test_16_another_code_is_a_value_error_and_nothing_happens(code: int, autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        with pytest.raises(ValueError, match="close expects code"):
            record.ws.close(code)
        assert record.ws.ready_state is ReadyState.OPEN
        record.ws.send("still here")
        assert await peer.receive_text() == "still here"


@pytest.mark.parametrize(
    ("reason", "sent"),
    [
        ("x" * 123, "x" * 123),
        ("x" * 124, "x" * 123),
        ("é" * 62, "é" * 61),
        ("x" + "é" * 62, "x" + "é" * 61),
        ("x" * 120 + "😀", "x" * 120),
        ("x" * 119 + "😀", "x" * 119 + "😀"),
    ],
)
async def test_16_a_long_reason_is_cut_at_a_character(reason: str, sent: str, autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        record.ws.close(1000, reason)
        assert await peer.receive_close() == (1000, sent)
        await peer.send_close(1000, sent)
        await peer.receive_eof()
        await settled()
        assert record.closes == [(1000, sent)]


async def test_16_from_close_on_input_is_read_and_discarded_also_when_paused(autojump_clock: MockClock) -> None:
    record = Recorder()

    def message(ws: Socket, message: str | bytes) -> None:
        record.message(ws, message)
        ws.pause()

    async with playground(record.handler(message=message), lockstep=True) as play:
        peer = await play.open()
        await peer.send(texts("first", "in the same read"))
        with trio.move_on_after(5) as sending:
            await peer.send(texts("not read"))
        assert sending.cancelled_caught
        record.ws.close(4000, "over")
        assert await peer.receive_close() == (4000, "over")
        for _ in range(50):
            await peer.send_text("discarded")  # in lockstep this ends only when it was read
        await peer.send_close(4000)
        await peer.receive_eof()
        await settled()
        assert record.messages == ["first"]
        assert record.closes == [(4000, "over")]


async def test_16_from_close_on_input_is_read_and_discarded_also_with_a_full_inbox(autojump_clock: MockClock) -> None:
    record = Recorder()
    go_on = trio.Event()

    async def message(ws: Socket, message: str | bytes) -> None:
        record.message(ws, message)
        await go_on.wait()

    async with playground(record.handler(message=message, max_inbox=2), lockstep=True) as play:
        peer = await play.open()
        await peer.send(texts("being handled", "waits", "waits", "does not fit"))
        with trio.move_on_after(5) as sending:
            await peer.send(texts("not read"))
        assert sending.cancelled_caught
        record.ws.close(4000, "over")
        assert await peer.receive_close() == (4000, "over")
        for _ in range(50):
            await peer.send_text("discarded")
        await peer.send(RawPeer.frame(PING, b"discarded"))
        await peer.send_close(4000)
        await peer.receive_eof()
        assert record.closes == []  # the handler still runs
        go_on.set()
        await settled()
        assert record.messages == ["being handled"]
        assert record.closes == [(4000, "over")]


async def test_16_a_close_without_answer_is_given_up_after_close_timeout(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(), limits=Limits(close_timeout=7)) as play:
        peer = await play.open()
        await trio.sleep(3)
        record.ws.close(4000, "over")
        assert await peer.receive_close() == (4000, "over")
        await peer.receive_eof()
        assert trio.current_time() == 10
        await settled()
        assert record.closes == [(4000, "over")]


async def test_16_input_is_no_progress_of_a_close(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(), limits=Limits(close_timeout=7)) as play:
        peer = await play.open()
        record.ws.close()
        assert await peer.receive_close() == (1000, "")
        for _ in range(6):
            await trio.sleep(1)
            await peer.send_text("instead of an answer")
        await peer.receive_eof()
        assert trio.current_time() == 7


async def test_16_a_stalled_close_is_given_up_after_close_timeout(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(), lockstep=True, limits=Limits(close_timeout=7)) as play:
        await play.open()
        ws = record.ws
        ws.send("never read")
        await settled()
        ws.send("not even written")
        ws.close(4000, "over")
        assert (await ws.closed()).code == 4000
        assert trio.current_time() == 7
        await settled()
        assert record.closes == [(4000, "over")]
        assert ws.get_buffered_amount() == 0


async def test_16_a_close_that_makes_progress_is_not_given_up(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(), lockstep=True, limits=Limits(close_timeout=7)) as play:
        peer = await play.open()
        ws = record.ws
        for number in range(10):
            ws.send(bytes([number]) * 70_000)
            await settled()
        ws.close(1000, "slowly")
        for number in range(10):
            await trio.sleep(6)
            assert (await peer.receive()).payload == bytes([number]) * 70_000
        assert await peer.receive_close() == (1000, "slowly")
        assert trio.current_time() == 60
        await peer.receive_eof()
        assert trio.current_time() == 67
        await settled()
        assert record.closes == [(1000, "slowly")]


async def test_16_a_large_message_that_is_read_piece_by_piece_makes_progress(autojump_clock: MockClock) -> None:
    record = Recorder()
    payload = b"x" * 1_000_000
    async with playground(record.handler(), lockstep=True, limits=Limits(close_timeout=7)) as play:
        peer = await play.open()
        await settled()
        assert record.ws.send(payload) == 1_000_000
        record.ws.close(1000, "slowly")
        taken = b""
        while len(taken) < 1_000_000:
            await trio.sleep(3)
            data = await peer.stream.receive_some(65_536)
            assert data, "given up"
            taken += data
        peer.received += taken
        assert (await peer.receive()).payload == payload
        assert await peer.receive_close() == (1000, "slowly")


@pytest.mark.parametrize(("idle_timeout", "longest"), [(30, 30), (0, 60)])
async def test_16_a_close_takes_idle_timeout_at_most(
    idle_timeout: int, longest: int, autojump_clock: MockClock
) -> None:
    record = Recorder()
    async with playground(record.handler(idle_timeout=idle_timeout), lockstep=True) as play:
        peer = await play.open()
        ws = record.ws
        for _ in range(20):
            ws.send(b"x" * 70_000)
            await settled()
        ws.close(1000, "slowly")
        with suppress(EOFError):
            while True:
                await trio.sleep(6)
                await peer.receive()
        assert (await ws.closed()).code == 1000
        await settled()
        assert record.closes == [(1000, "slowly")]
        assert longest <= trio.current_time() < longest + 6


async def test_16_the_longest_time_ends_a_close_by_itself(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(idle_timeout=4)) as play:
        peer = await play.open()
        record.ws.close()
        assert await peer.receive_close() == (1000, "")
        await peer.receive_eof()
        assert trio.current_time() == 4


@pytest.mark.parametrize("is_async", [False, True])
async def test_16_close_in_open_lets_the_101_out_and_handles_nothing(is_async: bool, autojump_clock: MockClock) -> None:
    record = Recorder()

    def opened(ws: Socket) -> None:
        record.open(ws)
        ws.send("no room")
        ws.close(1013, "try again later")

    async def async_open(ws: Socket) -> None:
        await trio.sleep(1)
        opened(ws)
        await trio.sleep(1)

    async with playground(record.handler(open=async_open if is_async else opened)) as play:
        peer = await play.connect()
        await peer.send(RawPeer.request() + texts("not", "handled"))
        await peer.receive_101()
        assert await peer.receive_text() == "no room"
        assert await peer.receive_close() == (1013, "try again later")
        await peer.send(texts("neither") + RawPeer.close_frame(1013))
        await peer.receive_eof()
        await trio.sleep(2)
        assert record.calls == [("open",), ("close", 1013, "try again later")]


async def test_16_a_socket_may_be_closed_by_the_handler_of_another(autojump_clock: MockClock) -> None:
    record = Recorder()

    def message(ws: Socket, _message: str | bytes) -> None:
        victim = record.sockets[0]
        victim.send("you are")
        ws.publish("room", "out")
        victim.close(4003, "kicked")
        ws.publish("room", "and gone")

    async with playground(record.handler(message=message)) as play:
        victim, kicker = await play.open(), await play.open()
        for ws in record.sockets:
            ws.subscribe("room")
        await victim.send(texts("a")[:3])  # its reader is in the middle of something
        await kicker.send_text("kick")
        assert await victim.receive_text() == "you are"
        assert await victim.receive_text() == "out"
        assert await victim.receive_close() == (4003, "kicked")
        await victim.send(texts("a")[3:] + RawPeer.close_frame(4003))
        await victim.receive_eof()
        await settled()
        assert record.calls[2:] == [("close", 4003, "kicked")]


async def test_16_a_library_client_sees_code_and_reason(autojump_clock: MockClock) -> None:
    record = Recorder()

    def message(ws: Socket, _message: str | bytes) -> None:
        ws.send("bye")
        ws.close(4000, "enough")

    async with playground(record.handler(message=message)) as play:
        async with library_client(await play.connect()) as client:
            await client.send_message("go")
            assert await client.get_message() == "bye"
            with pytest.raises(trio_websocket.ConnectionClosed) as caught:
                await client.get_message()
            assert caught.value.reason is not None
            assert (caught.value.reason.code, caught.value.reason.reason) == (4000, "enough")
        await settled()
        assert record.closes == [(4000, "enough")]


# 17. The close handler


@pytest.mark.parametrize("code", VALID_CODES)
async def test_17_the_close_handler_gets_the_peers_code_and_reason(code: int, autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        await peer.send_close(code, "because ☃")
        assert await peer.receive_close() == (code, "because ☃")
        await peer.receive_eof()
        await settled()
        assert record.closes == [(code, "because ☃")]


async def test_17_an_empty_close_is_1005_and_answered_by_an_empty_one(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        await peer.send_close()
        assert await peer.receive_exactly(2) == b"\x88\x00"
        await peer.receive_eof()
        await settled()
        assert record.closes == [(1005, "")]


async def test_17_it_gets_ours_when_we_closed_first(autojump_clock: MockClock) -> None:
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
    seen: list[list[tuple[int, str]]] = []

    async def wait(ws: ServerWebSocket) -> None:
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
        peer = await connect(server.port)
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
        await peer.receive_eof()
        await settled()
        assert record.closes == [(1006, "WebSocket timed out from inactivity")]


@pytest.mark.parametrize("end", ["close", "terminate"])
async def test_17_it_runs_after_the_handler_that_closed_never_inside(end: str, autojump_clock: MockClock) -> None:
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


async def test_17_it_waits_for_the_async_handler_in_progress(autojump_clock: MockClock) -> None:
    record = Recorder()
    go_on = trio.Event()

    async def message(_ws: Socket, _message: str | bytes) -> None:
        await go_on.wait()
        record.calls.append(("done",))

    async with playground(record.handler(message=message)) as play:
        peer = await play.open()
        await peer.send(texts("go") + RawPeer.close_frame(4000))
        assert await peer.receive_close() == (4000, "")
        await peer.receive_eof()
        await settled()
        assert record.closes == []
        go_on.set()
        await settled()
        assert record.calls == [("open",), ("done",), ("close", 4000, "")]


async def test_17_exactly_once_however_many_ends_there_are(autojump_clock: MockClock) -> None:
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


async def test_17_also_when_open_raised(autojump_clock: MockClock) -> None:
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


async def test_17_never_for_a_socket_whose_open_was_not_entered(autojump_clock: MockClock) -> None:
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


async def test_17_never_for_a_request_that_is_not_upgraded(autojump_clock: MockClock) -> None:
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


# 18. Protocol errors

BAD_UTF8 = b"\xff"
VIOLATIONS = {
    "unmasked": (RawPeer.frame(TEXT, b"x", mask=None), 1002),
    "rsv1": (RawPeer.frame(TEXT, b"x", rsv=4), 1002),
    "rsv2": (RawPeer.frame(TEXT, b"x", rsv=2), 1002),
    "rsv3 of a ping": (RawPeer.frame(PING, rsv=1), 1002),
    "unknown data opcode": (RawPeer.frame(3), 1002),
    "unknown control opcode": (RawPeer.frame(11), 1002),
    "continuation of nothing": (RawPeer.frame(0, b"x"), 1002),
    "message within a message": (RawPeer.frame(TEXT, b"x", fin=False) + RawPeer.frame(TEXT, b"x"), 1002),
    "fragmented ping": (RawPeer.frame(PING, fin=False), 1002),
    "long ping": (RawPeer.frame(PING, b"x" * 126), 1002),
    "length in two bytes for no need": (b"\x81\xfe\x00\x7d", 1002),
    "length in eight bytes for no need": (b"\x82\xff" + (65535).to_bytes(8), 1002),
    "length with the high bit": (b"\x82\xff" + (1 << 63).to_bytes(8), 1002),
    "close of one byte": (RawPeer.frame(CLOSE, b"\x03"), 1002),
    "close with a reason that is not UTF-8": (RawPeer.frame(CLOSE, b"\x03\xe8" + BAD_UTF8), 1007),
    "text that is not UTF-8": (RawPeer.frame(TEXT, BAD_UTF8), 1007),
    "text that ends within a character": (RawPeer.frame(TEXT, "☃".encode()[:2]), 1007),
    "a surrogate": (RawPeer.frame(TEXT, b"\xed\xa0\x80"), 1007),
    "fragments that are not UTF-8": (RawPeer.frame(TEXT, b"ok", fin=False) + RawPeer.frame(0, BAD_UTF8), 1007),
    "too long": (RawPeer.frame(BINARY, b"x" * 1001), 1009),
    "too long in fragments": (
        RawPeer.frame(BINARY, b"x" * 600, fin=False) + RawPeer.frame(0, b"x" * 401, fin=False),
        1009,
    ),
    "too many fragments": (RawPeer.frame(TEXT, b"", fin=False) + RawPeer.frame(0, b"", fin=False) * 8, 1009),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
async def test_18_the_wire_and_the_handler_get_one_code_and_words(violation: str, autojump_clock: MockClock) -> None:
    frames, code = VIOLATIONS[violation]
    record = Recorder()
    async with playground(record.handler(max_payload_length=1000), limits=Limits(max_fragments=8)) as play:
        peer = await play.open()
        await peer.send(texts("before") + frames + texts("after"))
        closed = await peer.receive_close()
        await peer.receive_eof()
        await settled()
        assert closed[0] == code
        assert len(closed[1]) > 5
        assert record.calls == [("open",), ("message", "before"), ("close", *closed)]


@pytest.mark.parametrize("violation", ["unmasked", "text that is not UTF-8", "too long"])
async def test_18_what_was_sent_before_leaves_before_the_close(violation: str, autojump_clock: MockClock) -> None:
    frames, code = VIOLATIONS[violation]

    def message(ws: Socket, message: str | bytes) -> None:
        ws.send(message)

    async with playground(WebSocketHandler(message=message, max_payload_length=1000)) as play:
        peer = await play.open()
        await peer.send(texts("one", "two") + frames)
        assert await peer.receive_text() == "one"
        assert await peer.receive_text() == "two"
        assert (await peer.receive_close())[0] == code
        await peer.receive_eof()


async def test_18_for_1009_the_declared_length_is_enough(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(max_payload_length=1000)) as play:
        peer = await play.open()
        await peer.send(RawPeer.frame(BINARY, b"x" * 1000))
        await settled()
        assert record.messages == [b"x" * 1000]
        await peer.send(b"\x82\xff" + (1 << 40).to_bytes(8) + b"mask")
        closed = await peer.receive_close()
        assert closed[0] == 1009
        await peer.receive_eof()
        await settled()
        assert record.closes == [closed]


async def test_18_for_1009_the_total_of_fragments_counts(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(max_payload_length=1000)) as play:
        peer = await play.open()
        await peer.send(RawPeer.frame(BINARY, b"x" * 600, fin=False) + RawPeer.frame(0, b"x" * 400))
        await settled()
        assert record.messages == [b"x" * 1000]
        await peer.send(RawPeer.frame(BINARY, b"x" * 600, fin=False) + b"\x00\xfe\x01")
        await settled()
        assert record.closes == []  # the length has not arrived
        await peer.send(b"\x91")
        assert (await peer.receive_close())[0] == 1009


async def test_18_as_many_fragments_as_allowed_are_one_message(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(), limits=Limits(max_fragments=3)) as play:
        peer = await play.open()
        fragments = [RawPeer.frame(TEXT, b"a", fin=False), RawPeer.frame(0, b"b", fin=False), RawPeer.frame(0, b"c")]
        await peer.send(b"".join(fragments) * 2)
        await settled()
        assert record.messages == ["abc", "abc"]


@pytest.mark.parametrize("code", INVALID_CODES)
async def test_18_an_invalid_incoming_code_is_1002(code: int, autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        await peer.send_close(code, "why")
        closed = await peer.receive_close()
        await peer.receive_eof()
        await settled()
        assert closed[0] == 1002
        assert record.closes == [closed]


@pytest.mark.parametrize(
    "begun",
    [
        b"\x81\xfe\x40\x00" + RawPeer.frame(TEXT, b"good \xff")[2:],
        b"\x01\x85" + RawPeer.frame(TEXT, b"go\xf5")[2:],
        RawPeer.frame(TEXT, "☃".encode()[:1], fin=False) + b"\x80\x85" + RawPeer.frame(TEXT, b"x")[2:],
        b"\x81\x85" + RawPeer.frame(TEXT, b"\xed\xa0")[2:],
    ],
    ids=["one frame", "first fragment", "across fragments", "half a surrogate"],
)
async def test_18_text_fails_as_soon_as_it_cannot_become_utf8(begun: bytes, autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        await peer.send(begun)  # more of the frame is to come
        assert (await peer.receive_close())[0] == 1007
        await peer.receive_eof()
        assert trio.current_time() == 0


async def test_18_a_violation_after_our_close_changes_nothing(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        record.ws.close(4000, "ours")
        await peer.send(RawPeer.frame(3))
        assert await peer.receive_close() == (4000, "ours")
        await peer.receive_eof()
        await settled()
        assert record.closes == [(4000, "ours")]
        assert trio.current_time() == 0


async def test_18_through_the_kernel_the_close_arrives_though_more_input_was_unread() -> None:
    record = Recorder()
    async with (
        open_server(None, record.handler(max_payload_length=1000), port=0) as server,
        await connect(server.port) as peer,
    ):
        await peer.send(RawPeer.frame(BINARY, b"x" * 300_000))
        assert (await peer.receive_close())[0] == 1009
        await peer.receive_eof()
    assert [code for code, _ in record.closes] == [1009]


async def test_18_also_through_tls() -> None:
    record = Recorder()
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server_context)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    handler = record.handler(max_payload_length=1000)
    async with open_server(None, handler, port=0, tls=server_context) as server:
        assert server.port is not None
        tcp = await trio.open_tcp_stream("127.0.0.1", server.port)
        stream = trio.SSLStream(tcp, context, server_hostname="localhost", https_compatible=True)
        async with RawPeer(stream) as peer:
            await peer.upgrade()
            await peer.send(RawPeer.frame(BINARY, b"x" * 300_000))
            assert (await peer.receive_close())[0] == 1009
            await peer.receive_eof()
    assert [code for code, _ in record.closes] == [1009]


# 19. terminate


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
        await connect(server.port) as peer,
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
        await connect(server.port) as peer,
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


async def test_19_after_close_it_aborts_at_once_and_the_close_is_reported(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        record.ws.close(4000, "ours")
        assert await peer.receive_close() == (4000, "ours")
        record.ws.terminate()
        await peer.receive_eof()
        await settled()
        assert record.closes == [(4000, "ours")]
        assert trio.current_time() == 0


async def test_19_after_the_peers_close_it_reports_that(autojump_clock: MockClock) -> None:
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


async def test_19_the_messages_behind_it_are_discarded(autojump_clock: MockClock) -> None:
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


# 20. What an end means for others


@pytest.mark.parametrize("end", ["ours", "theirs", "violation", "terminate"])
async def test_20_a_closing_socket_is_nobodys_receiver(end: str, autojump_clock: MockClock) -> None:
    record = Recorder()
    seen: list[object] = []

    async def message(ws: Socket, _message: str | bytes) -> None:
        await trio.sleep(1)
        seen.extend([ws.subscriptions, ws.is_subscribed("a"), ws.subscribe("a"), play.server.subscriber_count("a")])
        seen.extend([play.server.publish("a", "x"), ws.unsubscribe("a")])

    async with playground(record.handler(message=message)) as play:
        peer = await play.open()
        ws = record.ws
        assert ws.subscribe("a")
        assert ws.subscribe("b")
        await peer.send_text("go")
        await settled()
        if end == "ours":
            ws.close()
        elif end == "theirs":
            await peer.send_close()
        elif end == "violation":
            await peer.send(RawPeer.frame(3))
        else:
            ws.terminate()
        await settled()
        assert play.server.topics() == ()
        await trio.sleep(2)
    assert seen == [[], False, False, 0, 0, False]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("end", [RawPeer.close_frame(4000), b""], ids=["close", "end of stream"])
async def test_20_messages_before_the_peers_end_are_handled(
    is_async: bool, end: bytes, autojump_clock: MockClock
) -> None:
    record = Recorder()

    async def message(ws: Socket, message: str | bytes) -> None:
        await trio.sleep(1)
        record.message(ws, message)

    given = {"message": message, "max_inbox": 2} if is_async else {}
    async with playground(record.handler(**given)) as play:
        peer = await play.open()
        await peer.send(texts(*"abcde") + end + (texts("after") if end else b""))
        if not end:
            await peer.stream.aclose()
        await trio.sleep(10)
        assert record.messages == list("abcde")
        assert record.closes == [(4000 if end else 1006, "")]


@pytest.mark.parametrize("end", ["close", "terminate"])
async def test_20_messages_that_wait_are_discarded_after_our_end(end: str, autojump_clock: MockClock) -> None:
    record = Recorder()

    async def message(ws: Socket, message: str | bytes) -> None:
        record.message(ws, message)
        await trio.sleep(1)
        getattr(ws, end)()
        await trio.sleep(1)

    async with playground(record.handler(message=message)) as play:
        peer = await play.open()
        await peer.send(texts("one", "two", "three") + RawPeer.close_frame())
        # The peer's Close was read while the handler waited; so these are still handled.
        await trio.sleep(20)
        assert record.messages == ["one", "two", "three"]
        peer = await play.open()
        await peer.send(texts("four", "five", "six"))
        await trio.sleep(20)
        assert record.messages == ["one", "two", "three", "four"]


async def test_20_a_session_gets_what_came_before_the_peers_close(autojump_clock: MockClock) -> None:
    got: list[object] = []
    record = Recorder()

    async def session(ws: Socket) -> None:
        async for message in ws:
            got.append(message)
            await trio.sleep(1)
        got.append("end")

    async with playground(record.handler(session=session, max_inbox=2)) as play:
        peer = await play.open()
        await peer.send(texts(*"abcde") + RawPeer.close_frame(1000, "bye"))
        await trio.sleep(10)
        assert got == [*"abcde", "end"]
        assert record.closes == [(1000, "bye")]


@pytest.mark.parametrize("kind", ["message", "session", "open", "ping"])
async def test_20_a_handler_still_running_close_timeout_after_the_end_is_cancelled(
    kind: str, autojump_clock: MockClock
) -> None:
    record = Recorder()

    async def stuck(*_: object) -> None:
        try:
            await trio.sleep_forever()
        finally:
            record.calls.append(("cancelled", trio.current_time()))

    async with playground(record.handler(**{kind: stuck}), limits=Limits(close_timeout=7)) as play:
        peer = await play.open()
        await peer.send(RawPeer.frame(PING) + texts("go"))
        await trio.sleep(3)
        await peer.send_close(4000)
        await trio.sleep(100)
        assert record.calls[-2:] == [("cancelled", 10), ("close", 4000, "")]
        assert play.server.pending_websockets == 0


async def test_20_an_async_close_handler_has_close_timeout(autojump_clock: MockClock) -> None:
    record = Recorder()
    times: list[float] = []

    async def closed(ws: Socket, code: int, reason: str) -> None:
        record.close(ws, code, reason)
        times.append(trio.current_time())
        try:
            await trio.sleep_forever()
        finally:
            times.append(trio.current_time())

    async with playground(record.handler(close=closed), limits=Limits(close_timeout=7)) as play:
        peer = await play.open()
        await peer.send_close(4000)
        await trio.sleep(5)
        assert play.server.pending_websockets == 1
        await trio.sleep(5)
        assert play.server.pending_websockets == 0
    assert record.closes == [(4000, "")]
    assert times == [0, 7]


async def test_20_an_async_close_handler_has_it_also_when_the_server_is_being_cancelled(
    autojump_clock: MockClock,
) -> None:
    times: list[float] = []

    async def closed(_ws: Socket, code: int, _reason: str) -> None:
        times.append(code)
        times.append(trio.current_time())
        await trio.sleep(3)
        times.append(trio.current_time())
        try:
            await trio.sleep_forever()
        finally:
            times.append(trio.current_time())

    async def answer(peer: RawPeer) -> None:
        assert await peer.receive_close() == (1001, "Server closed")
        await trio.sleep(1)
        await peer.send_close(1001)
        await peer.receive_eof()

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(5):
            async with playground(WebSocketHandler(close=closed), limits=Limits(close_timeout=7)) as play:
                nursery.start_soon(answer, await play.open())
                await trio.sleep_forever()
        assert times[:3] == [1001, 6, 9]
        assert times[3] <= 13  # 7 s for the handler


async def test_20_drained_and_send_wait_raise_if_the_socket_closes_first(autojump_clock: MockClock) -> None:
    record = Recorder()
    caught: list[tuple[str, int, str]] = []

    async def waiting(name: str, call: Callable[[], Any]) -> None:
        try:
            await call()
        except ConnectionClosed as exc:
            caught.append((name, exc.code, exc.reason))

    async with playground(record.handler(backpressure_limit=10), lockstep=True) as play:
        peer = await play.open()
        ws = record.ws
        ws.send("in flight")
        await settled()
        ws.send("over the limit")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiting, "drained", ws.drained)
            nursery.start_soon(waiting, "send_wait", lambda: ws.send_wait("not sent"))
            await settled()
            assert caught == []
            await peer.stream.aclose()
        assert sorted(caught) == [("drained", 1006, ""), ("send_wait", 1006, "")]
        for name, call in (("drained", ws.drained), ("send_wait", lambda: ws.send_wait("x"))):
            await waiting(name, call)
        assert len(caught) == 4
        info = await ws.closed()
        assert (info.code, info.reason, info.sent, info.received) == (1006, "", None, None)


async def test_20_send_wait_raises_as_soon_as_a_close_begins(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(backpressure_limit=10), lockstep=True) as play:
        await play.open()
        ws = record.ws
        ws.send("in flight")
        await settled()
        ws.send("over the limit")
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def waiting() -> None:
                with pytest.raises(ConnectionClosed) as caught:
                    await ws.send_wait("not sent")
                assert (caught.value.code, caught.value.sent) == (4000, (4000, "ours"))

            await settled()
            ws.close(4000, "ours")
        assert trio.current_time() == 0


async def test_20_drained_returns_when_a_close_delivers_everything(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(), lockstep=True) as play:
        peer = await play.open()
        ws = record.ws
        ws.send("in flight")
        await settled()
        ws.send("unsent")
        ws.close()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ws.drained)
            assert await peer.receive_text() == "in flight"
            assert await peer.receive_text() == "unsent"
            assert await peer.receive_close() == (1000, "")
        assert ws.ready_state is ReadyState.CLOSING


@pytest.mark.parametrize("code", [1000, 1001, 1005])
@pytest.mark.parametrize("ours", [False, True])
async def test_20_async_for_ends_quietly(code: int, ours: bool, autojump_clock: MockClock) -> None:
    record = Recorder()

    async def session(ws: Socket) -> None:
        async for message in ws:
            record.message(ws, message)
        record.calls.append(("end",))

    async with playground(record.handler(session=session)) as play:
        peer = await play.open()
        await peer.send_text("x")
        await settled()
        if ours and code != 1005:
            record.ws.close(code)
            assert await peer.receive_close() == (code, "")
        await peer.send_close(None if code == 1005 else code)
        await settled()
        assert record.calls == [("open",), ("message", "x"), ("end",), ("close", code, "")]


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (RawPeer.close_frame(4000, "why"), 4000),
        (RawPeer.frame(3), 1002),
        (b"", 1006),
        (RawPeer.close_frame(1011), 1011),
    ],
    ids=["close", "violation", "lost", "1011"],
)
async def test_20_async_for_raises_otherwise(end: bytes, code: int, autojump_clock: MockClock) -> None:
    record = Recorder()
    caught: list[ConnectionClosed] = []

    async def session(ws: Socket) -> None:
        try:
            async for message in ws:
                record.message(ws, message)
        except ConnectionClosed as exc:
            caught.append(exc)
            raise

    async with playground(record.handler(session=session)) as play:
        peer = await play.open()
        await peer.send(texts("before") + end)
        if not end:
            await peer.stream.aclose()
        await settled()
        assert record.messages == ["before"]
        assert [exc.code for exc in caught] == [code]
        assert record.closes == [(code, caught[0].reason)]


async def test_20_a_session_blocked_elsewhere_is_cancelled(autojump_clock: MockClock) -> None:
    record = Recorder()
    cancelled: list[bool] = []

    async def session(_ws: Socket) -> None:
        with trio.CancelScope() as scope:
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                cancelled.append(scope.cancel_called)
                raise

    async with playground(record.handler(session=session)) as play:
        peer = await play.open()
        await peer.send_close(1000)
        await trio.sleep(30)
        assert cancelled == [False]
        assert record.closes == [(1000, "")]
        assert play.server.pending_websockets == 0


async def test_20_tasks_of_the_socket_are_cancelled_when_the_connection_is_over(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def task() -> None:
        try:
            await trio.sleep_forever()
        finally:
            record.calls.append(("cancelled", trio.current_time()))

    async with playground(record.handler()) as play:
        peer = await play.open()
        record.ws.start_soon(task)
        await trio.sleep(1)
        await peer.send_close(1000)
        await settled()
        assert record.calls == [("open",), ("cancelled", 1), ("close", 1000, "")]
        with pytest.raises(ConnectionClosed):
            record.ws.start_soon(task)
