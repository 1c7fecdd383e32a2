"""BEHAVIOUR.md, 16, sentence by sentence: `close`, what arrives before it, how long it may take, and what it refuses.

A test's name begins with the number of its sentence. The peer is a client that chooses every byte.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio
import trio_websocket
from closes import INVALID_CODES, VALID_CODES, closes_at_the_end, open_over_tcp
from playground import Socket, playground, settled, texts
from recorder import Recorder, library_client

from trio_bunws import Limits, ReadyState, WebSocketHandler, open_server
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from trio.testing import MockClock

PING = 9


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
        assert await closes_at_the_end(peer, record) == [(4000, "enough")]


async def test_16_the_default_is_1000_without_a_reason(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        record.ws.close()
        assert await peer.receive_exactly(4) == b"\x88\x02\x03\xe8"
        await peer.send_close(1000)
        assert await closes_at_the_end(peer, record) == [(1000, "")]


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
        assert await closes_at_the_end(peer, record) == [(1000, "done")]


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
        assert await closes_at_the_end(peer, record) == [(4001, "over")]


async def test_16_through_a_full_kernel_everything_comes_before_the_close() -> None:
    record = Recorder()
    payload = b"x" * 1_000_000
    async with open_server(None, record.handler(), port=0) as server:
        async with await open_over_tcp(server.port) as peer:
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
        assert await closes_at_the_end(peer, record) == [(1000, sent)]


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
