"""BEHAVIOUR.md, 28, sentence by sentence: the order of handlers, what runs beside what, the inbox, and what is async.

A test's name begins with the number of its sentence. Everything is driven from outside.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import pytest
import trio
from playground import Socket, playground, settled, texts
from recorder import KINDS, Recorder, handler_of, provoke

from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio.testing import MockClock

BINARY, PING, PONG = 2, 9, 10


def spans(calls: list[tuple[object, ...]]) -> Iterator[tuple[object, ...]]:
    """Pair each begin with its end, and fail if anything is in between."""
    for begin, end in zip(calls[::2], calls[1::2], strict=True):
        assert (begin[0], end[0]) == ("begin", "end")
        assert begin[1:] == end[1:]
        yield begin[1:]


@pytest.mark.parametrize("kind", ["message", "text and binary"])
async def test_28_open_messages_and_close_run_one_at_a_time(kind: str, autojump_clock: MockClock) -> None:
    calls: list[tuple[object, ...]] = []

    async def handle(name: str, _ws: Socket, *args: object) -> None:
        calls.append(("begin", name, *args))
        await trio.sleep(1)
        calls.append(("end", name, *args))

    names = ["message"] if kind == "message" else ["text", "binary"]
    handler = handler_of(**{name: partial(handle, name) for name in ("open", "close", *names)})
    async with playground(handler) as play:
        peer = await play.connect()
        await peer.send(RawPeer.request() + texts("a") + RawPeer.frame(BINARY, b"b") + texts("c"))
        await trio.sleep(2.5)
        await peer.send(texts("d") + RawPeer.close_frame(1000))
        await trio.sleep(10)
    text, binary = names[0], names[-1]
    assert list(spans(calls)) == [
        ("open",),
        (text, "a"),
        (binary, b"b"),
        (text, "c"),
        (text, "d"),
        ("close", 1000, ""),
    ]


@pytest.mark.parametrize("async_text", [False, True])
async def test_28_plain_and_async_handlers_keep_the_order_of_messages(
    async_text: bool, autojump_clock: MockClock
) -> None:
    got: list[object] = []

    async def slow(_ws: Socket, message: object) -> None:
        await trio.sleep(1)
        got.append(message)

    def quick(_ws: Socket, message: object) -> None:
        got.append(message)

    kinds = {"text": slow, "binary": quick} if async_text else {"text": quick, "binary": slow}
    messages: list[str | bytes] = ["a", "b", b"c", b"d", "e", b"f", "g"]
    async with playground(handler_of(**kinds)) as play:
        peer = await play.open()
        for message in messages:
            await (peer.send_text(message) if isinstance(message, str) else peer.send_binary(message))
        await trio.sleep(10)
    assert got == messages


async def test_28_messages_wait_for_an_async_open(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def opened(ws: Socket) -> None:
        await trio.sleep(5)
        record.open(ws)

    async with playground(record.handler(open=opened)) as play:
        peer = await play.open()
        await peer.send(texts("a", "b") + RawPeer.close_frame())
        await trio.sleep(10)
        assert record.calls == [("open",), ("message", "a"), ("message", "b"), ("close", 1005, "")]


async def test_28_drain_ping_and_pong_run_beside_a_waiting_message_handler(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def wait(*_: object) -> None:
        await trio.sleep(50)

    async def note(name: str, *_: object) -> None:
        record.calls.append((name, trio.current_time()))

    beside = {name: partial(note, name) for name in ("drain", "ping", "pong")}
    async with playground(record.handler(message=wait, **beside), lockstep=True) as play:
        peer = await play.open()
        await settled()
        await peer.send(texts("wait") + RawPeer.frame(PING) + RawPeer.frame(PONG))
        assert await peer.receive() == (PONG, b"", True, 0)
        await settled()
        record.ws.send("in flight")
        await settled()
        record.ws.send("unsent")
        assert await peer.receive_text() == "in flight"
        await settled()
        assert sorted(record.calls[1:]) == [("drain", 0), ("ping", 0), ("pong", 0)]


@pytest.mark.parametrize("kind", ["ping", "pong"])
async def test_28_a_ping_or_pong_handler_never_overlaps_itself(kind: str, autojump_clock: MockClock) -> None:
    calls: list[tuple[object, ...]] = []

    async def handle(_ws: Socket, data: bytes) -> None:
        calls.append(("begin", data))
        await trio.sleep(1)
        calls.append(("end", data))

    async with playground(handler_of(**{kind: handle})) as play:
        peer = await play.open()
        opcode = PING if kind == "ping" else PONG
        await peer.send(b"".join(RawPeer.frame(opcode, b"%d" % number) for number in range(4)))
        await trio.sleep(10)
    assert list(spans(calls)) == [(b"%d" % number,) for number in range(4)]


async def test_28_a_drain_still_running_at_the_next_edges_runs_once_more(autojump_clock: MockClock) -> None:
    record = Recorder()
    times: list[float] = []

    async def drain(_ws: Socket) -> None:
        times.append(trio.current_time())
        await trio.sleep(10)

    async with playground(record.handler(drain=drain), lockstep=True) as play:
        peer = await play.open()
        await settled()
        for _ in range(4):
            record.ws.send("in flight")
            await settled()
            record.ws.send("unsent")
            await peer.receive_text()
            await peer.receive_text()
            await settled()
            await trio.sleep(1)
        await trio.sleep(50)
        assert times == [0, 10]


async def test_28_at_most_max_inbox_messages_wait_and_then_the_socket_is_not_read(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def message(ws: Socket, message: str | bytes) -> None:
        record.message(ws, message)
        await trio.sleep(10)

    async with playground(record.handler(message=message, max_inbox=3), lockstep=True) as play:
        peer = await play.open()
        sent: list[tuple[float, int]] = []
        for number in range(7):
            await peer.send_text(str(number))  # in lockstep this ends when it is read
            sent.append((trio.current_time(), number))
        # One is handled and three wait; each that is done lets one more in.
        assert sent == [(0, 0), (0, 1), (0, 2), (0, 3), (10, 4), (20, 5), (30, 6)]
        await trio.sleep(100)
        assert record.messages == [str(number) for number in range(7)]


async def test_28_at_most_max_payload_length_bytes_wait_too(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def message(ws: Socket, message: str | bytes) -> None:
        record.message(ws, message)
        await trio.sleep(10)

    async with playground(record.handler(message=message, max_payload_length=100), lockstep=True) as play:
        peer = await play.open()
        sent: list[float] = []
        for _ in range(5):
            await peer.send_binary(b"x" * 100)  # one always fits
            sent.append(trio.current_time())
        assert sent == [0, 0, 10, 20, 30]
        await trio.sleep(100)
        assert record.messages == [b"x" * 100] * 5


async def test_28_a_session_has_the_same_inbox(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def session(ws: Socket) -> None:
        await trio.sleep(10)
        async for message in ws:
            record.message(ws, message)

    async with playground(record.handler(session=session, max_inbox=3), lockstep=True) as play:
        peer = await play.open()
        sent: list[float] = []
        for number in range(5):
            await peer.send_text(str(number))
            sent.append(trio.current_time())
        assert sent[:3] == [0, 0, 0]
        assert sent[4] == 10
        await settled()
        assert record.messages == [str(number) for number in range(5)]


async def test_28_a_paused_socket_hands_out_nothing_of_what_came(autojump_clock: MockClock) -> None:
    record = Recorder()

    def message(ws: Socket, message: str | bytes) -> None:
        record.message(ws, message)
        if message == "b":
            ws.pause()

    async with playground(record.handler(message=message), lockstep=True) as play:
        peer = await play.open()
        await peer.send(texts(*"abcbd") + RawPeer.close_frame(4000))
        assert record.messages == ["a", "b"]
        assert record.ws.is_paused
        await trio.sleep(1000)
        assert record.messages == ["a", "b"]
        record.ws.resume()
        await settled()
        assert record.messages == ["a", "b", "c", "b"]
        record.ws.resume()
        assert await peer.receive_close() == (4000, "")
        await peer.receive_eof()
        await settled()
        assert record.messages == [*"abcbd"]
        assert record.closes == [(4000, "")]


@pytest.mark.parametrize("from_outside", [False, True])
@pytest.mark.parametrize("then", ["resume", "close", "terminate", "lost"])
async def test_28_a_paused_socket_hands_out_nothing_of_what_waits_for_an_async_handler(
    then: str, from_outside: bool, autojump_clock: MockClock
) -> None:
    record = Recorder()

    async def message(ws: Socket, message: str | bytes) -> None:
        await trio.sleep(1)
        record.message(ws, message)
        if message == "b" and not from_outside:
            ws.pause()

    async with playground(record.handler(message=message)) as play:
        peer = await play.open()
        await peer.send(texts(*"abcd"))
        await trio.sleep(1.5)
        if from_outside:
            record.ws.pause()
        await trio.sleep(20)
        assert record.messages == ["a", "b"]
        if then == "lost":
            await peer.stream.aclose()
        else:
            getattr(record.ws, then)()
        if then == "close":
            await peer.send_close()
        await trio.sleep(5)
        assert record.messages == (["a", "b"] if then in {"close", "terminate"} else ["a", "b", "c", "d"])
        assert [code for code, _ in record.closes] == {"resume": [], "close": [1000]}.get(then, [1006])


async def test_28_a_socket_paused_in_open_hands_out_what_came_with_the_handshake_later(
    autojump_clock: MockClock,
) -> None:
    record = Recorder()

    def opened(ws: Socket) -> None:
        record.open(ws)
        ws.pause()

    async with playground(record.handler(open=opened)) as play:
        peer = await play.connect()
        await peer.send(RawPeer.request() + texts("a", "b"))
        await peer.receive_101()
        await trio.sleep(5)
        assert record.messages == []
        record.ws.resume()
        await settled()
        assert record.messages == ["a", "b"]


async def test_28_pause_and_resume_in_one_handler_change_nothing(autojump_clock: MockClock) -> None:
    record = Recorder()

    def message(ws: Socket, message: str | bytes) -> None:
        record.message(ws, message)
        ws.pause()
        ws.pause()
        ws.resume()
        assert not ws.is_paused

    async with playground(record.handler(message=message)) as play:
        peer = await play.open()
        await peer.send(texts("a", "b"))
        await settled()
        assert record.messages == ["a", "b"]


class Called:
    """An object that is called, as a handler."""

    def __init__(self, got: list[object]) -> None:
        self._got = got

    async def __call__(self, _ws: Socket, message: object) -> None:
        await trio.sleep(1)
        self._got.append(message)

    async def method(self, _ws: Socket, message: object) -> None:
        await self(_ws, message)

    async def with_more(self, _more: int, ws: Socket, message: object, *, key: str) -> None:
        await self(ws, (message, key))


@pytest.mark.parametrize("make", [Called, lambda got: Called(got).method, lambda got: partial(Called(got))])
async def test_28_async_is_seen_through_methods_call_and_partial(
    make: Callable[[list[object]], Any], autojump_clock: MockClock
) -> None:
    got: list[object] = []
    async with playground(handler_of(message=make(got))) as play:
        peer = await play.open()
        await peer.send(texts("a", "b"))
        await trio.sleep(1.5)
        assert got == ["a"]
        await trio.sleep(1)
        assert got == ["a", "b"]


async def test_28_async_is_seen_through_partials_of_partials(autojump_clock: MockClock) -> None:
    got: list[object] = []
    message = partial(partial(Called(got).with_more, 1), key="k")
    async with playground(handler_of(message=message)) as play:
        peer = await play.open()
        await peer.send(texts("a"))
        await trio.sleep(1.5)
        assert got == [("a", "k")]


@pytest.mark.parametrize("async_error", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_28_a_plain_handler_that_returns_an_awaitable_is_a_type_error(
    kind: str, async_error: bool, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    record = Recorder()

    async def coroutine(*_: object) -> None:
        raise AssertionError("it is not awaited")

    @wraps(coroutine)
    def disguised(ws: Socket, *args: object) -> object:
        if kind == "open":
            record.open(ws)
        return coroutine(*args)

    async def error(exc: Exception, ws: Socket) -> None:
        record.error(exc, ws)

    given = {kind: disguised, "error": error if async_error else record.error}
    async with playground(record.handler(**given), lockstep=True) as play:
        await provoke(play, record, kind)
        errors = [call for call in record.calls if call[0] == "error"]
        if kind == "close":
            assert errors == []
            assert "TypeError" in caplog.text
        else:
            assert [call[1] for call in errors] == [TypeError]
            assert "async def" in str(errors[0][2])
        # The coroutine was closed: else a warning about it, which is an error here, would come by now.
