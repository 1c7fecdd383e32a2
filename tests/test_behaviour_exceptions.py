"""BEHAVIOUR.md, 29, sentence by sentence: what handlers raise, who is told of it, and what is never swallowed.

A test's name begins with the number of its sentence. Everything is driven from outside.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio
from closes import closes_at_the_end
from playground import Socket, playground, settled, texts
from recorder import KINDS, HandlerError, Recorder, provoke

from trio_bunws import ConnectionClosed, ReadyState
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

BINARY, PING, PONG = 2, 9, 10


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
        assert await closes_at_the_end(peer, record) == [(1000, "")]


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
