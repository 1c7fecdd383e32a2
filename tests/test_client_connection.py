"""A client's connection over a fake wire: it reads unmasked frames, sends masked ones, pings, tells and leaves."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from connection_fakes import Surroundings, Wire

from trio_bunws import CloseEvent, CloseInfo, ErrorEvent, MessageEvent, OpenEvent, WebSocket, WebSocketHandler
from trio_bunws._client_connection import FAILED, GOING_AWAY, ClientConnection
from trio_bunws._client_events import Listeners
from trio_bunws._close import CloseFrame
from trio_bunws._keep_alive import KeepAlive
from trio_bunws._wire.codec import Codec
from trio_bunws._wire.events import Close, Event, Ping, Pong
from trio_bunws._wire.frames import close_frame, ping_frame, pong_frame, text_frame
from trio_bunws._wire.opening import Opened

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

WS = WebSocket("ws://h/")


class Made:
    """A running connection of a client."""

    def __init__(self, surroundings: Surroundings, interval: float, timeout: float) -> None:
        self.wire = Wire()
        self.listeners = Listeners()
        self.told: list[object] = []
        self.failures: list[Exception] = []
        self.keep_alive = KeepAlive(interval, timeout)
        self.connection = ClientConnection(
            self.wire,
            surroundings.engine,
            Opened("chat", b""),
            target=WS,
            listeners=self.listeners,
            keep_alive=self.keep_alive,
            report=self.failures.append,
        )

    def listen(self, *types: str) -> None:
        for event_type in types:
            self.listeners.add(event_type, self.told.append)

    def server_sends(self, *frames: bytes) -> None:
        self.wire.incoming += frames
        self.wire.change()

    @property
    def sent(self) -> list[Event]:
        """What the server has got, which refuses what is not masked."""
        codec = Codec(99, 9)
        codec.feed(self.wire.written)
        return list(codec.events())


@asynccontextmanager
async def running(
    handler: WebSocketHandler[None] | None = None, interval: float = 0, timeout: float = 0
) -> AsyncGenerator[Made]:
    async with trio.open_nursery() as nursery:
        made = Made(Surroundings(nursery, handler or WebSocketHandler(idle_timeout=0)), interval, timeout)
        nursery.start_soon(made.connection.run, b"", b"")
        await trio.testing.wait_all_tasks_blocked()
        yield made
        nursery.cancel_scope.cancel()


async def test_it_receives_answers_pings_and_closes() -> None:
    async with running(WebSocketHandler(max_inbox=1, max_payload_length=99)) as made:
        connection = made.connection
        assert connection.ws.protocol == "chat"
        made.server_sends(text_frame(b"first"))
        assert await connection.receive() == "first"
        made.server_sends(ping_frame(b"p"), close_frame(4000, "bye"))
        info = await connection.ws.closed()
        assert info == CloseInfo(4000, "bye", CloseFrame(4000, "bye"), CloseFrame(4000, "bye"))
        await connection.over.wait()
        assert made.sent == [Pong(b"p"), Close(4000, "bye")]


async def test_listeners_hear_of_everything_and_of_a_broken_protocol_once() -> None:
    async with running() as made:
        made.listen("message", "error", "close")
        made.server_sends(text_frame(b"x"), b"\xff\x00", text_frame(b"late"))
        await made.connection.over.wait()
        message, error, close = made.told
        assert message == MessageEvent(WS, "x")
        assert isinstance(error, ErrorEvent)
        assert isinstance(close, CloseEvent)
        assert (close.code, close.was_clean, error.message) == (1002, False, f"{close.reason} (close code 1002)")


async def test_the_opening_is_told_when_asked_for() -> None:
    async with running() as made:
        made.listen("open")
        made.connection.announce_opening()
        assert made.told == [OpenEvent(WS)]


async def test_what_is_broken_after_our_close_is_no_error() -> None:
    async with running() as made:
        made.listen("error", "close")
        made.connection.ws.close_with(CloseFrame(1000, "done"))
        made.server_sends(b"\xff\x00")
        await made.connection.over.wait()
        assert made.told == [CloseEvent(WS, 1000, "done", was_clean=False)]


async def test_a_failing_listener_closes_with_1011_and_is_reported() -> None:
    failure = KeyError("mine")

    def fail(event: object) -> None:  # noqa: ARG001
        raise failure

    async with running() as made:
        made.listeners.add("message", fail)
        made.server_sends(text_frame(b"x"))
        await trio.testing.wait_all_tasks_blocked()
        assert made.failures == [failure]
        assert made.sent == [Close(*FAILED)]


async def test_pings_go_out_and_are_measured(autojump_clock: MockClock) -> None:
    async with running(interval=20, timeout=5) as made:
        began = autojump_clock.current_time()
        await trio.sleep(20.5)
        [ping] = made.sent
        assert isinstance(ping, Ping)
        assert len(ping.data) == 4
        await trio.sleep(2.5)
        made.server_sends(pong_frame(ping.data))
        await trio.testing.wait_all_tasks_blocked()
        assert made.keep_alive.latency == pytest.approx(3)
        await trio.sleep(3)
        assert made.connection.ws.ready_state.name == "OPEN"
        info = await made.connection.ws.closed()
        assert autojump_clock.current_time() - began == pytest.approx(45)
        assert info == CloseInfo(1006, "WebSocket timed out from inactivity", None, None)


async def test_while_nothing_is_read_nobody_is_given_up(autojump_clock: MockClock) -> None:
    async with running(WebSocketHandler(max_inbox=1, idle_timeout=0), interval=20, timeout=5) as made:
        ws = made.connection.ws
        ws.pause()
        await trio.sleep(100)
        ws.resume()
        await trio.testing.wait_all_tasks_blocked()
        made.server_sends(text_frame(b"1"), text_frame(b"2"))
        await trio.sleep(100)
        assert ws.ready_state.name == "OPEN"
        began = autojump_clock.current_time()
        assert [await made.connection.receive(), await made.connection.receive()] == ["1", "2"]
        await ws.closed()
        assert autojump_clock.current_time() - began <= 25


async def test_without_pings_silence_is_nothing(autojump_clock: MockClock) -> None:
    async with running() as made:
        await trio.sleep(10_000)
        assert made.connection.ws.ready_state.name == "OPEN"
        assert made.connection.look(autojump_clock.current_time()) is None
        assert made.sent == []


async def test_a_close_without_an_answer_is_given_up(autojump_clock: MockClock) -> None:
    async with running(interval=20, timeout=5) as made:
        began = autojump_clock.current_time()
        made.connection.ws.close_with(CloseFrame(1000, ""))
        await made.connection.ws.closed()
        assert autojump_clock.current_time() - began == pytest.approx(10)


async def test_leaving_waits_for_the_answer() -> None:
    async with running() as made, trio.open_nursery() as nursery:
        nursery.start_soon(made.connection.leave, CloseFrame(4000, "bye"), 5)
        await trio.testing.wait_all_tasks_blocked()
        assert made.sent == [Close(4000, "bye")]
        assert not made.wire.closed
        made.server_sends(close_frame(4000, "bye"))


async def test_leaving_aborts_when_the_time_is_over(autojump_clock: MockClock) -> None:
    async with running() as made:
        began = autojump_clock.current_time()
        await made.connection.leave(CloseFrame(1000, ""), 5)
        assert autojump_clock.current_time() - began == 5
        assert made.wire.closed


async def test_leaving_waits_for_listeners_and_then_cancels_them(autojump_clock: MockClock) -> None:
    ended: list[str] = []

    async def slow(event: object) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(type(event).__name__)

    async with running() as made:
        made.listeners.add("message", slow)
        made.listeners.add("close", slow)
        made.server_sends(text_frame(b"x"))
        await trio.testing.wait_all_tasks_blocked()
        made.server_sends(close_frame(1000, ""))
        began = autojump_clock.current_time()
        await made.connection.leave(CloseFrame(1000, ""), 5)
        assert autojump_clock.current_time() - began == 5
        await made.connection.over.wait()
        assert autojump_clock.current_time() - began == 5
        assert ended == ["MessageEvent", "CloseEvent"]


async def test_who_cancels_leaving_aborts() -> None:
    async with running() as made:
        with trio.CancelScope() as scope:
            scope.cancel()
            await made.connection.leave(CloseFrame(1000, ""), 5)
        assert scope.cancelled_caught
        assert made.wire.closed


async def test_abandoning_offers_a_close_and_aborts_also_when_cancelled() -> None:
    async with running() as made:
        with trio.CancelScope() as scope:
            scope.cancel()
            await made.connection.abandon()
        assert made.sent == [Close(*GOING_AWAY)]
        assert made.wire.closed
