"""BEHAVIOUR.md, 6 and 16 to 20, combined, in every way a server is reached.

Several frames in one read around a close, closes in handlers, corks and backpressure, `terminate` wherever it may be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from everywhere import WAYS, Way, closed, reached
from patience import until
from recorder import Recorder

from trio_bunws import ReadyState
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from playground import Socket

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
frame, close_frame = RawPeer.frame, RawPeer.close_frame
A, B = frame(TEXT, b"a"), frame(TEXT, b"b")
BULK = bytes(3_000_000)
"""More than kernels take while nobody reads."""


async def conversation(peer: RawPeer) -> list[tuple[int, bytes]]:
    """Return opcode and payload of each frame up to the end of the stream."""
    frames = []
    try:
        while True:
            got = await peer.receive()
            frames.append((got.opcode, got.payload))
    except (EOFError, trio.BrokenResourceError):
        assert peer.received == b""
        return frames


def code(number: int, reason: str = "") -> tuple[int, bytes]:
    return CLOSE, number.to_bytes(2, "big") + reason.encode()


READS: dict[str, tuple[bytes, list[str], tuple[int, bytes] | None, tuple[int, str | None]]] = {
    "a close": (A + close_frame(1000, "x") + B, ["a"], code(1000, "x"), (1000, "x")),
    "an empty close": (A + B + close_frame(), ["a", "b"], (CLOSE, b""), (1005, "")),
    "two closes": (A + close_frame(4000) + close_frame(4001), ["a"], code(4000), (4000, "")),
    "garbage behind a close": (A + close_frame(3000) + b"\xff\xff garbage", ["a"], code(3000), (3000, "")),
    "a close within a message": (
        A + frame(TEXT, b"half", fin=False) + close_frame(1001),
        ["a"],
        code(1001),
        (1001, ""),
    ),
    "an opcode that does not exist": (A + frame(3, b"") + B + close_frame(1000), ["a"], None, (1002, None)),
    "no UTF-8": (A + frame(TEXT, b"\xff") + B, ["a"], None, (1007, None)),
    "a ping in fragments": (A + frame(PING, b"1", fin=False) + B, ["a"], None, (1002, None)),
    "a code that is not sent": (A + close_frame(1006), ["a"], None, (1002, None)),
    "half a code": (A + frame(CLOSE, b"\x03"), ["a"], None, (1002, None)),
    "a reason that is no UTF-8": (A + frame(CLOSE, b"\x03\xe8\xff"), ["a"], None, (1007, None)),
    "no mask": (A + frame(TEXT, b"b", mask=None) + B, ["a"], None, (1002, None)),
}
"""What is in one read; then the messages handled, the answer, and the handler's code and reason (None: any words)."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("with_request", [False, True])
@pytest.mark.parametrize("read", READS)
async def test_18_frames_in_one_read_around_a_close(read: str, with_request: bool, is_async: bool, way: Way) -> None:
    data, messages, answer, ending = READS[read]
    record = Recorder()

    async def message(ws: Socket, message: str | bytes) -> None:
        await trio.lowlevel.checkpoint()
        record.message(ws, message)

    async with reached(record.handler(message=message if is_async else record.message), way) as place:
        peer = await place.connect()
        if with_request:
            await peer.send(peer.request() + data)
            await peer.receive_101()
        else:
            await peer.upgrade()
            await peer.send(data)
        frames = await conversation(peer)
        await closed(record)
        ((was, reason),) = record.closes
        assert was == ending[0]
        if answer is None:
            assert reason
            answer = code(ending[0], str(reason))
        else:
            assert reason == ending[1]
        assert frames == [answer]
        assert record.messages == messages


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("end", ["close", "terminate"])
async def test_20_what_follows_in_the_read_in_which_a_handler_ends_the_socket_is_discarded(
    end: str, is_async: bool, way: Way
) -> None:
    record = Recorder()

    def handle(ws: Socket, message: str | bytes) -> None:
        record.message(ws, message)
        assert ws.send("before")  # -1 behind a write in flight
        ws.close(4000, "done") if end == "close" else ws.terminate()
        assert ws.ready_state is ReadyState.CLOSING
        assert ws.send("after") == ws.ping() == 0
        assert not ws.subscribe("topic")
        assert ws.cork(lambda ws: ws.send("after")) == 0

    async def handle_async(ws: Socket, message: str | bytes) -> None:
        handle(ws, message)
        await trio.lowlevel.checkpoint()

    async with reached(record.handler(message=handle_async if is_async else handle), way) as place:
        peer = await place.open()
        await trio.testing.wait_all_tasks_blocked()  # or the 101 is still in flight, and what is sent behind it unsent
        # An async handler begins after all of the read is decoded: a Close in it would be first.
        await peer.send(A + B + frame(PING, b"unanswered") + B + (b"" if is_async else close_frame(1000)))
        if is_async and end == "close":
            await until(lambda: record.messages)
            await peer.send(B + close_frame(1000))
        frames = await conversation(peer)
        await closed(record)
    assert record.messages == ["a"]
    pong = [(PONG, b"unanswered")] if is_async and (PONG, b"unanswered") in frames else []
    if end == "close":
        assert frames == [*pong, (TEXT, b"before"), code(4000, "done")]
        assert record.closes == [(4000, "done")]
    else:
        sent = [*pong, (TEXT, b"before")]
        # A write that waits for its reader, or is in flight, keeps the batch from being offered.
        waits = is_async or way == "lockstep"
        assert frames == sent[: len(frames) if waits else None]
        assert record.closes == [(1006, "")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize("by", ["us", "peer", "violation", "stop"])
async def test_16_under_backpressure_or_over_the_limit_everything_accepted_comes_before_the_close(
    by: str, over: bool, way: Way
) -> None:
    record = Recorder()
    limit = 1_000_000 if over else 0
    async with reached(record.handler(backpressure_limit=limit), way) as place:
        peer = await place.open()
        await trio.testing.wait_all_tasks_blocked()
        ws = record.ws
        statuses = [int(ws.send(BULK)) for _ in range(6)]
        accepted = sum(status != 0 for status in statuses)
        assert statuses[-1] == (0 if over else -1)
        assert ws.send("small") == (0 if over else -1)
        expected: list[tuple[int, bytes]] = [(BINARY, BULK)] * accepted + ([] if over else [(TEXT, b"small")])
        ending = (4000, "bye")
        if by == "us":
            ws.close(*ending)
        elif by == "peer":
            await peer.send(close_frame(*ending))
        elif by == "violation":
            await peer.send(frame(TEXT, b"\xff"))
        else:
            place.server.stop(True)
            ending = (1001, "Server closed")
        await until(lambda: ws.ready_state is not ReadyState.OPEN)
        assert ws.send("too late") == 0
        for want in expected:
            assert await peer.receive() == (*want, True, 0)
        got = await peer.receive_close()
        if by == "violation":
            assert got[0] == 1007
            ending = got
        assert got == ending
        if by in {"us", "stop"}:
            await peer.send(close_frame(4000))
        await peer.receive_eof()
        await closed(record)
        assert record.closes == [ending]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("end", ["terminate", "close", "close, terminate", "terminate, close"])
async def test_19_in_open_with_frames_coalesced_with_the_handshake(end: str, is_async: bool, way: Way) -> None:
    record = Recorder()

    def opened(ws: Socket) -> None:
        record.open(ws)
        assert ws.subscribe("room")
        ws.publish("room", "to the others")
        assert ws.send("hello")  # -1 behind a 101 in flight
        for method in end.split(", "):
            getattr(ws, method)()
        assert ws.subscriptions == []
        assert ws.send("late") == 0

    async def opened_async(ws: Socket) -> None:
        opened(ws)
        await trio.lowlevel.checkpoint()

    async with reached(record.handler(open=opened_async if is_async else opened), way) as place:
        peer = await place.connect()
        await peer.send(peer.request() + A + B + frame(PING, b"") + close_frame(4001))
        try:
            await peer.receive_101()
            frames = await conversation(peer)
        except (EOFError, trio.BrokenResourceError):
            assert end != "close"
            frames = []
        await closed(record)
    assert record.calls[0] == ("open",)
    assert record.messages == []
    if end == "close":
        assert frames == [(TEXT, b"hello"), code(1000)]
        assert record.closes == [(1000, "")]
    else:
        assert frames in ([], [(TEXT, b"hello")], [(TEXT, b"hello"), code(1000)])
        assert record.closes == [(1000, "") if end == "close, terminate" else (1006, "")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("end", ["close", "terminate", "raise"])
async def test_09_a_socket_ended_within_nested_corks(end: str, way: Way) -> None:
    record = Recorder()

    class TestError(Exception):
        pass

    def inner(ws: Socket) -> str:
        ws.send("two")
        if end == "raise":
            raise TestError
        getattr(ws, end)()
        return "returned"

    def outer(ws: Socket) -> object:
        ws.send("one")
        if end == "raise":
            with pytest.raises(TestError):
                ws.cork(inner)
        else:
            assert ws.cork(inner) == "returned"
        return ws.send("three")

    def message(ws: Socket, _message: str | bytes) -> None:
        record.calls.append(("cork", ws.cork(outer)))

    async with reached(record.handler(message=message), way) as place:
        peer = await place.open()
        await peer.send(A)
        if end != "terminate":
            await until(lambda: record.calls[1:])
            await peer.send(close_frame(1000))
        frames = await conversation(peer)
        await closed(record)
    texts = [payload for opcode, payload in frames if opcode == TEXT]
    if end == "terminate":
        assert texts in ([], [b"one", b"two"])
    else:
        assert texts == [b"one", b"two", b"three"][: 3 if end == "raise" else 2]
    (status,) = (call[1] for call in record.calls if call[0] == "cork")
    assert status in {5, -1} if end == "raise" else status == 0  # -1: the 101 is still in flight
    assert len(record.closes) == 1
