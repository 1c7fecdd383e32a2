"""BEHAVIOUR.md, "Handlers", sentence by sentence: 28 to 30, driven from outside."""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from playground import Socket, playground, settled, texts
from recorder import KINDS, HandlerError, Recorder, handler_of, library_client, provoke

from trio_bunws import (
    ConnectionClosed,
    Limits,
    ReadyState,
    Request,
    Response,
    Server,
    WebSocketHandler,
    open_server,
    serve,
)
from trio_bunws.testing import MemoryListener, RawPeer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio.testing import MockClock

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def spans(calls: list[tuple[object, ...]]) -> Iterator[tuple[object, ...]]:
    """Pair each begin with its end, and fail if anything is in between."""
    for begin, end in zip(calls[::2], calls[1::2], strict=True):
        assert (begin[0], end[0]) == ("begin", "end")
        assert begin[1:] == end[1:]
        yield begin[1:]


# 28. Order


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
async def test_28_each_of_them_never_overlaps_itself(kind: str, autojump_clock: MockClock) -> None:
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


async def test_28_and_at_most_max_payload_length_bytes(autojump_clock: MockClock) -> None:
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
async def test_28_nor_of_what_waits_for_an_async_handler(
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


# 29. Exceptions


def failing(record: Recorder, kind: str, is_async: bool) -> Callable[..., Any]:
    """Return a handler of this kind that raises."""

    def handler(ws: Socket, *_: object) -> None:
        if kind == "open":
            record.open(ws)
        raise HandlerError(kind)

    async def async_handler(ws: Socket, *args: object) -> None:
        await trio.lowlevel.checkpoint()
        handler(ws, *args)

    return async_handler if is_async else handler


@pytest.mark.parametrize("error", ["plain", "async"])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"open", "close"}])
async def test_29_an_exception_goes_to_error_and_the_socket_stays_open(
    kind: str, is_async: bool, error: str, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    record = Recorder()

    def plain_error(exc: Exception, ws: Socket) -> None:
        record.error(exc, ws)
        if kind != "drain":  # which would be called again
            ws.send("sorry")

    async def async_error(exc: Exception, ws: Socket) -> None:
        await trio.lowlevel.checkpoint()
        plain_error(exc, ws)

    given = {kind: failing(record, kind, is_async), "error": async_error if error == "async" else plain_error}
    async with playground(record.handler(**given), lockstep=True) as play:
        peer = await provoke(play, record, kind)
        if kind == "drain":
            record.ws.send("sorry")
        assert await peer.receive_text() == "sorry"
        await settled()
        assert record.calls == [("open",), ("error", HandlerError, kind)]
        assert record.ws.ready_state is ReadyState.OPEN
        assert play.server.pending_websockets == 1
        if kind in {"message", "text", "binary"}:
            peer = await provoke(play, record, kind)
            assert await peer.receive_text() == "sorry"
    assert caplog.records == []


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "close"])
async def test_29_without_error_it_is_logged_and_the_socket_closes_with_1011(
    kind: str, is_async: bool, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    record = Recorder()
    async with playground(record.handler(**{kind: failing(record, kind, is_async)}), lockstep=True) as play:
        peer = await provoke(play, record, kind)
        assert (await peer.receive_close())[0] == 1011
        await peer.send_close(1011)
        await peer.receive_eof()
        await settled()
        assert [code for code, _ in record.closes] == [1011]
    assert [entry.levelno for entry in caplog.records] == [logging.ERROR]
    assert f"HandlerError: {kind}" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("error", [None, "plain", "async"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_29_in_open_it_closes_with_1011_either_way(
    is_async: bool, error: str | None, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    record = Recorder()

    async def async_error(exc: Exception, ws: Socket) -> None:
        record.error(exc, ws)

    given: dict[str, Any] = {"open": failing(record, "open", is_async)}
    if error is not None:
        given["error"] = async_error if error == "async" else record.error
    async with playground(record.handler(**given)) as play:
        peer = await play.connect()
        await peer.send(RawPeer.request() + texts("not handled", "neither"))
        await peer.receive_101()
        closed = await peer.receive_close()
        await peer.send_close(1011)
        await peer.receive_eof()
        await settled()
        assert closed[0] == 1011
        told = [] if error is None else [("error", HandlerError, "open")]
        assert record.calls == [("open",), *told, ("close", *closed)]
    assert len(caplog.records) == (error is None)


@pytest.mark.parametrize("async_error", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
async def test_29_a_session_that_raises_is_told_to_error_and_closed_with_1011(
    is_async: bool, async_error: bool, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    record = Recorder()

    async def session(ws: Socket) -> None:
        async for message in ws:
            raise HandlerError(message)

    async def error(exc: Exception, ws: Socket) -> None:
        await trio.sleep(1)
        record.error(exc, ws)

    given = {"error": error if async_error else record.error} if is_async else {}
    async with playground(record.handler(session=session, **given)) as play:
        peer = await play.open()
        await peer.send_text("x")
        assert (await peer.receive_close())[0] == 1011
        await peer.send_close(1011)
        await trio.sleep(2)
        assert [call[0] for call in record.calls] == ["open", *(["error"] if is_async else []), "close"]
    assert ("HandlerError: x" in caplog.text) is not is_async


async def test_29_a_session_that_returns_closes_with_1000(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def session(ws: Socket) -> None:
        async for message in ws:
            ws.send(message)
            return

    async with playground(record.handler(session=session)) as play:
        peer = await play.open()
        await peer.send(texts("a", "b"))
        assert await peer.receive_text() == "a"
        assert await peer.receive_close() == (1000, "")
        await peer.send_close(1000)
        await peer.receive_eof()
        await settled()
        assert record.closes == [(1000, "")]


async def test_29_a_session_whose_peer_vanished_says_nothing_unasked(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    record = Recorder()

    async def session(ws: Socket) -> None:
        async for _ in ws:
            pass

    for given in ({}, {"error": record.error}):
        async with playground(record.handler(session=session, **given)) as play:
            peer = await play.open()
            await peer.stream.aclose()
            await settled()
    assert caplog.records == []
    assert [call for call in record.calls if call[0] == "error"] == [("error", ConnectionClosed, record.calls[-2][2])]
    assert record.closes == [(1006, "")] * 2


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", ["close", "error"])
async def test_29_an_exception_in_close_or_error_is_logged(
    kind: str, is_async: bool, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    record = Recorder()

    def message(_ws: Socket, _message: object) -> None:
        raise ValueError("for the error handler")

    def error(*_: object) -> None:
        raise HandlerError("error")

    async def async_error(*_: object) -> None:
        error()

    given: dict[str, Any] = (
        {"close": failing(record, "close", is_async), "error": record.error}
        if kind == "close"
        else {"message": message, "error": async_error if is_async else error}
    )
    async with playground(record.handler(**given)) as play:
        peer = await play.open()
        await peer.send_text("x")
        await settled()
        assert record.ws.ready_state is ReadyState.OPEN
        await peer.send_close(1000)
        assert await peer.receive_close() == (1000, "")
        await peer.receive_eof()
        await settled()
        assert "error" not in [call[0] for call in record.calls]
    assert [entry.levelno for entry in caplog.records] == [logging.ERROR]
    assert f"HandlerError: {kind}" in caplog.text


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", [*KINDS, "session"])
async def test_29_the_server_and_the_other_sockets_never_notice(
    kind: str, is_async: bool, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    record = Recorder()

    def echo(ws: Socket, message: str | bytes) -> None:
        ws.send(message)

    async with playground(record.handler(message=echo), lockstep=True) as play:
        others = [await play.open() for _ in range(3)]
        play.server.reload(websocket=record.handler(**{kind: failing(record, kind, is_async or kind == "session")}))
        peer = await play.open()
        await settled()
        with trio.move_on_after(1):
            await peer.send(RawPeer.frame(PING) + RawPeer.frame(PONG) + texts("x") + RawPeer.frame(BINARY))
            await peer.send_close()
        await peer.stream.aclose()
        await settled()
        play.server.reload(websocket=record.handler(message=echo))
        for other in [*others, await play.open()]:
            await other.send_text("fine")
            assert await other.receive_text() == "fine"


async def test_29_several_failures_in_one_read_are_each_told(autojump_clock: MockClock) -> None:
    record = Recorder()

    def message(_ws: Socket, message: str | bytes) -> None:
        raise HandlerError(message)

    async with playground(record.handler(message=message, error=record.error)) as play:
        peer = await play.open()
        await peer.send(texts(*"abc") + RawPeer.close_frame())
        await settled()
        errors = [("error", HandlerError, letter) for letter in "abc"]
        assert record.calls == [("open",), *errors, ("close", 1005, "")]


async def test_29_an_async_error_keeps_the_order(autojump_clock: MockClock) -> None:
    record = Recorder()

    def message(ws: Socket, message: str | bytes) -> None:
        record.message(ws, message)
        if message in {"b", "d"}:
            raise HandlerError(message)

    async def error(exc: Exception, ws: Socket) -> None:
        await trio.sleep(1)
        record.error(exc, ws)

    async with playground(record.handler(message=message, error=error)) as play:
        peer = await play.open()
        await peer.send(texts(*"abcde") + RawPeer.close_frame())
        await trio.sleep(10)
        assert [call[-1] for call in record.calls[1:-1]] == ["a", "b", "b", "c", "d", "d", "e"]
        assert record.closes == [(1005, "")]


@pytest.mark.parametrize("with_error", [False, True])
async def test_29_an_exception_in_a_task_of_the_socket_is_one_of_a_handler(
    with_error: bool, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    record = Recorder()

    async def task(message: str) -> None:
        await trio.sleep(1)
        raise HandlerError(message)

    given = {"error": record.error} if with_error else {}
    async with playground(record.handler(**given)) as play:
        peer = await play.open()
        record.ws.start_soon(task, "in a task")
        await trio.sleep(2)
        if with_error:
            assert record.calls == [("open",), ("error", HandlerError, "in a task")]
            assert record.ws.ready_state is ReadyState.OPEN
        else:
            assert (await peer.receive_close())[0] == 1011
    assert ("HandlerError: in a task" in caplog.text) is not with_error


def leaves(exc: BaseException) -> list[BaseException]:
    """Return what an exception, or a group, holds."""
    if isinstance(exc, BaseExceptionGroup):
        return [leaf for inner in exc.exceptions for leaf in leaves(inner)]
    return [exc]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", [*KINDS, "error", "session", "task", "fetch", "error of fetch"])
@pytest.mark.parametrize("kill", [KeyboardInterrupt, SystemExit])
async def test_29_keyboard_interrupt_and_system_exit_are_never_swallowed(
    kill: type[BaseException], kind: str, is_async: bool, grouped: bool, autojump_clock: MockClock
) -> None:
    record = Recorder()

    def handler(*_: object) -> None:
        if kind == "open":
            record.sockets.append(_[0])  # type: ignore[arg-type]
        if grouped:
            raise BaseExceptionGroup("both", [kill("out"), HandlerError("beside it")])
        raise kill("out")

    async def async_handler(*args: object) -> None:
        await trio.lowlevel.checkpoint()
        handler(*args)

    given: dict[str, Any] = {}
    killing = async_handler if is_async or kind == "session" else handler
    options: dict[str, Any] = {}
    if kind == "fetch":
        options["fetch"] = killing
    elif kind == "error of fetch":
        options |= {"fetch": failing(record, "fetch", is_async), "error": killing}
    elif kind != "task":
        given[kind] = killing
    if kind == "error":
        given["message"] = failing(record, "message", is_async)
    with pytest.raises(BaseException) as caught:  # noqa: PT011, PT012 - which one it is comes below
        async with playground(record.handler(**given), lockstep=True, **options) as play:
            if kind == "task":
                await play.open()
                record.ws.start_soon(async_handler)
            else:
                with suppress(EOFError):  # the peer sees the end too
                    await provoke(play, record, "message" if kind in {"error", "session"} else kind)
            await trio.sleep(30)
            raise AssertionError("nothing came out")
    assert any(type(leaf) is kill for leaf in leaves(caught.value))
    if not grouped:
        assert type(caught.value) is kill


async def test_29_a_handler_may_cancel_itself(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def message(ws: Socket, message: str | bytes) -> None:
        with trio.move_on_after(1):
            await trio.sleep_forever()
        record.message(ws, message)

    async with playground(record.handler(message=message)) as play:
        peer = await play.open()
        await peer.send(texts("a", "b"))
        await trio.sleep(5)
        assert record.messages == ["a", "b"]
        assert record.ws.ready_state is ReadyState.OPEN


# 30. reload


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
async def test_30_nothing_queued_is_lost(to_async: bool, autojump_clock: MockClock) -> None:
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


async def test_30_a_running_session_is_left_alone(autojump_clock: MockClock) -> None:
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


# 30. stop


async def test_30_stop_stops_listening_at_once_and_leaves_sockets_alone(autojump_clock: MockClock) -> None:
    record = Recorder()
    stopped: list[float] = []

    async def stop() -> None:
        await play.server.stop()
        stopped.append(trio.current_time())

    async with playground(record.handler()) as play, trio.open_nursery() as nursery:
        first, second = await play.open(), await play.open()
        nursery.start_soon(stop)
        await settled()
        with pytest.raises(trio.BrokenResourceError):
            await play.connect()
        await trio.sleep(50)
        for peer in (first, second):
            await peer.send_text("still here")
        await settled()
        assert record.messages == ["still here"] * 2
        await first.send_close()
        await trio.sleep(10)
        assert stopped == []
        await second.send_close()
        await trio.sleep(10)
        assert stopped == [60]


async def test_30_stop_of_a_kernel_listener_refuses_who_comes_later() -> None:
    async with open_server(None, WebSocketHandler(), port=0) as server:
        assert server.port is not None
        async with RawPeer(await trio.open_tcp_stream("127.0.0.1", server.port)) as peer:
            await peer.upgrade()
            stopping = server.stop()
            await settled()
            with pytest.raises(OSError, match="all attempts to connect"):
                await trio.open_tcp_stream("127.0.0.1", server.port)
            await peer.send(RawPeer.frame(PING, b"x"))
            assert await peer.receive() == (PONG, b"x", True, 0)
        await stopping


@pytest.mark.parametrize(
    ("options", "closed"),
    [
        ({"close_active_connections": True}, (1001, "Server closed")),
        ({"close_active_connections": True, "code": 4000, "reason": "bye"}, (4000, "bye")),
        ({"grace": 3}, (1001, "Server closed")),
        ({"grace": 3, "code": 1012, "reason": "restart"}, (1012, "restart")),
    ],
)
async def test_30_stop_closes_sockets_if_told_to(
    options: dict[str, Any], closed: tuple[int, str], autojump_clock: MockClock
) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peers = [await play.open() for _ in range(3)]
        record.sockets[0].send("before")
        stopping = play.server.stop(**options)
        assert all(ws.ready_state is ReadyState.CLOSING for ws in record.sockets)
        assert await peers[0].receive_text() == "before"
        for peer in peers:
            assert await peer.receive_close() == closed
            await peer.send_close(closed[0])
            await peer.receive_eof()
        await stopping
        await stopping
        await play.server.stop()
        assert record.closes == [closed] * 3
        assert play.server.pending_websockets == 0
        assert trio.current_time() == 0


async def test_30_stop_need_not_be_awaited(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with trio.open_nursery() as nursery:
        listener = MemoryListener()
        server: Server[Any] = await nursery.start(partial(serve, None, record.handler(), listeners=[listener]))
        peer = RawPeer(await listener.connect())
        await peer.upgrade()
        server.stop(True)
        assert await peer.receive_close() == (1001, "Server closed")
        await peer.send_close()
    assert record.closes == [(1001, "Server closed")]  # serve has ended by itself


@pytest.mark.parametrize(("grace", "ends"), [(None, 7), (3, 3), (0.5, 0.5), (100, 100)])
async def test_30_what_is_still_open_at_the_deadline_is_aborted(
    grace: float | None, ends: float, autojump_clock: MockClock
) -> None:
    record = Recorder()
    async with playground(record.handler(), limits=Limits(close_timeout=7), lockstep=True) as play:
        answering, stalled = await play.open(), await play.open()
        await settled()
        record.sockets[1].send("never read")
        await settled()
        record.sockets[1].send("nor this")
        stopping = play.server.stop(True, grace=grace)
        assert await answering.receive_close() == (1001, "Server closed")
        await answering.send_close()
        await stopping
        assert trio.current_time() == ends
        assert record.closes == [(1001, "Server closed")] * 2
        await stalled.stream.aclose()


async def test_30_outboxes_drain_until_the_deadline(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(), limits=Limits(close_timeout=7), lockstep=True) as play:
        peer = await play.open()
        await settled()
        for number in range(4):
            record.ws.send(bytes([number]) * 70_000)
            await settled()
        play.server.stop(grace=60)
        for number in range(4):
            await trio.sleep(12)
            assert (await peer.receive()).payload == bytes([number]) * 70_000
        assert await peer.receive_close() == (1001, "Server closed")
        await peer.send_close()
        await play.server.stop()
        assert trio.current_time() == 48


async def test_30_stop_and_then_stop_and_close(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        play.server.stop()
        await trio.sleep(5)
        assert record.ws.ready_state is ReadyState.OPEN
        play.server.stop(True)
        play.server.stop(True, code=4000)
        assert await peer.receive_close() == (1001, "Server closed")
        await peer.send_close()
        await play.server.stop()


@pytest.mark.parametrize("kind", ["message", "session", "open"])
async def test_30_stop_while_a_handler_waits_lets_it_finish(kind: str, autojump_clock: MockClock) -> None:
    record = Recorder()

    async def handler(*args: object) -> None:
        await trio.sleep(5)
        record.calls.append(("done", trio.current_time()))

    async with playground(record.handler(**{kind: handler})) as play:
        peer = await play.open()
        await peer.send(texts("x"))
        await settled()
        stopping = play.server.stop(True)
        assert await peer.receive_close() == (1001, "Server closed")
        await peer.send_close()
        await stopping
        assert record.calls[-2:] == [("done", 5), ("close", 1001, "Server closed")]
        assert trio.current_time() == 5


async def test_30_stop_while_a_handler_waits_too_long_cancels_it(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def message(_ws: Socket, _message: object) -> None:
        await trio.sleep_forever()

    async with playground(record.handler(message=message), limits=Limits(close_timeout=7)) as play:
        peer = await play.open()
        await peer.send(texts("x"))
        await settled()
        stopping = play.server.stop(True)
        await peer.send_close()
        await stopping
        assert record.closes == [(1001, "Server closed")]
        assert trio.current_time() == 7


@pytest.mark.parametrize("kind", ["open", "message", "close", "ping", "drain", "session", "fetch", "nursery"])
async def test_30_awaiting_stop_in_a_handler_is_a_runtime_error(kind: str, autojump_clock: MockClock) -> None:
    record = Recorder()
    caught: list[RuntimeError] = []

    async def stop() -> None:
        try:
            await play.server.stop(True)
        except RuntimeError as exc:
            caught.append(exc)

    async def handler(*args: object) -> None:
        if kind == "open":
            record.sockets.append(args[0])  # type: ignore[arg-type]
        if kind == "nursery":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stop)
        else:
            await stop()

    async def fetch(request: Request, server: Server[Any]) -> None:
        server.upgrade(request)
        if kind == "fetch":
            await stop()

    event = {"nursery": "message", "fetch": "message"}.get(kind, kind)
    given = {} if kind == "fetch" else {event: handler}
    async with playground(record.handler(**given), fetch, lockstep=True) as play:
        if kind == "fetch":
            peer = await play.connect()
            await peer.send(RawPeer.request())
            await peer.receive_until(b"\r\n\r\n")
        else:
            await provoke(play, record, "message" if kind == "session" else event)
        await settled()
        assert len(caught) == 1
        assert "server.start_soon" in str(caught[0])


async def test_30_awaiting_stop_in_a_task_of_the_server_works(autojump_clock: MockClock) -> None:
    record = Recorder()
    done: list[str] = []

    async def stop(how: str) -> None:
        await play.server.stop(True)
        done.append(how)

    def message(_ws: Socket, _message: object) -> None:
        play.server.start_soon(stop, "task of the server")
        nursery.start_soon(stop, "task of another nursery")

    async with trio.open_nursery() as nursery, playground(record.handler(message=message)) as play:
        peer = await play.open()
        await peer.send(texts("x"))
        assert await peer.receive_close() == (1001, "Server closed")
        await peer.send_close()
        await trio.sleep(5)
        assert sorted(done) == ["task of another nursery", "task of the server"]


async def test_30_a_drain_handler_is_inside_whoever_has_sent_too_much(autojump_clock: MockClock) -> None:
    record = Recorder()
    caught: list[RuntimeError] = []

    async def drain(_ws: Socket) -> None:
        try:
            await play.server.stop()
        except RuntimeError as exc:
            caught.append(exc)

    async with playground(record.handler(drain=drain), lockstep=True) as play:
        await provoke(play, record, "drain")  # sends from the test's own task
        assert len(caught) == 1


async def test_30_a_socket_whose_upgrade_was_granted_is_closed_too(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def fetch(request: Request, server: Server[Any]) -> None:
        assert server.upgrade(request)
        await trio.sleep(2)

    async with playground(record.handler(), fetch) as play:
        peer = await play.connect()
        await peer.send(RawPeer.request() + texts("x"))
        await trio.sleep(1)
        stopping = play.server.stop(True)
        await peer.receive_101()
        assert await peer.receive_close() == (1001, "Server closed")
        await peer.send_close()
        await stopping
        assert record.calls == [("open",), ("close", 1001, "Server closed")]


async def test_30_stop_without_closing_lets_an_upgrade_in_progress_through(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def fetch(request: Request, server: Server[Any]) -> None:
        await trio.sleep(2)
        assert server.upgrade(request)

    async with playground(record.handler(), fetch) as play:
        peer = await play.connect()
        await peer.send(RawPeer.request())
        await trio.sleep(1)
        stopping = play.server.stop()
        await peer.receive_101()
        await trio.sleep(5)
        await peer.send_text("served")
        await settled()
        assert record.messages == ["served"]
        await peer.send_close()
        await stopping
        assert trio.current_time() == 7


async def test_30_a_request_in_progress_is_answered_before_stop_ends(autojump_clock: MockClock) -> None:
    async def fetch(_request: Request, _server: Server[Any]) -> Response:
        await trio.sleep(3)
        return Response("done")

    async with playground(None, fetch) as play:
        idle = await play.connect()
        peer = await play.connect()
        await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        await trio.sleep(1)
        stopping = play.server.stop(True)
        await idle.receive_eof()
        assert trio.current_time() == 1
        head = await peer.receive_until(b"\r\n\r\n")
        assert b"connection: close" in head.lower()
        assert await peer.receive_exactly(4) == b"done"
        await peer.receive_eof()
        await stopping
        assert trio.current_time() == 3


async def test_30_leaving_open_server_is_stop_true(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def answer(peer: RawPeer) -> None:
        assert await peer.receive_close() == (1001, "Server closed")
        await trio.sleep(4)
        await peer.send_close()
        await peer.receive_eof()

    async with trio.open_nursery() as nursery:
        async with playground(record.handler()) as play:
            nursery.start_soon(answer, await play.open())
        assert trio.current_time() == 4
        assert record.closes == [(1001, "Server closed")]


async def test_30_leaving_it_by_an_exception_is_too_and_the_exception_comes_out_alone(
    autojump_clock: MockClock,
) -> None:
    record = Recorder()

    async def answer(peer: RawPeer) -> None:
        assert await peer.receive_close() == (1001, "Server closed")
        await trio.sleep(4)
        await peer.send_close()

    async with trio.open_nursery() as nursery:
        with pytest.raises(HandlerError, match="of the block"):  # noqa: PT012 - the server's end is meant
            async with playground(record.handler()) as play:
                nursery.start_soon(answer, await play.open())
                raise HandlerError("of the block")
        assert trio.current_time() == 4
        assert record.closes == [(1001, "Server closed")]


async def test_30_a_group_of_the_block_stays_a_group(autojump_clock: MockClock) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with playground(WebSocketHandler()):
            raise ExceptionGroup("of the block", [HandlerError("one of one")])
    assert caught.value.message == "of the block"
    assert [type(exc) for exc in caught.value.exceptions] == [HandlerError]


@pytest.mark.parametrize("how", ["exception", "cancelled", "serve cancelled"])
@pytest.mark.parametrize("stuck", ["peer", "message", "session"])
async def test_30_within_one_deadline(how: str, stuck: str, autojump_clock: MockClock) -> None:
    record = Recorder()
    listener = MemoryListener(trio.testing.lockstep_stream_pair)

    async def handler(*_: object) -> None:
        await trio.sleep_forever()

    given = {} if stuck == "peer" else {stuck: handler}
    options: dict[str, Any] = {"listeners": [listener], "limits": Limits(close_timeout=7)}

    async def use() -> None:
        peer = RawPeer(await listener.connect())
        await peer.upgrade()
        await peer.send_text("x")
        await settled()
        record.ws.send("never read")
        await settled()
        record.ws.send("nor this")

    with trio.CancelScope() as scope:
        if how == "serve cancelled":
            async with trio.open_nursery() as nursery:
                await nursery.start(partial(serve, None, record.handler(**given), **options))
                await use()
                scope.cancel()
        else:
            with pytest.raises((HandlerError, trio.Cancelled)):  # noqa: PT012 - the server's end is meant
                async with open_server(None, record.handler(**given), **options):
                    await use()
                    if how == "exception":
                        raise HandlerError
                    scope.cancel()
                    await trio.sleep_forever()
    assert trio.current_time() == 7
    assert record.closes == [(1001, "Server closed")]


async def test_30_a_library_client_is_told(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play, library_client(await play.connect()) as client:
        await client.send_message("x")
        await settled()
        await play.server.stop(True)
        assert (client.closed.code, client.closed.reason) == (1001, "Server closed")
    assert record.closes == [(1001, "Server closed")]
