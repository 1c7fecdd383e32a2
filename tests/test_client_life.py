"""The tasks behind a client's block: what is told, awaited and cancelled, and what comes out of it, and when."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from by_hand import ByHand, by_hand, opened

from trio_bunws import (
    CloseEvent,
    CloseInfo,
    ConnectionClosed,
    ErrorEvent,
    HandshakeError,
    MessageEvent,
    ReadyState,
    WebSocket,
)
from trio_bunws._close import CloseFrame
from trio_bunws._connect import open_websocket
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

    from trio_bunws._client_events import EventType
    from trio_bunws._client_options import ClientOptions
    from trio_bunws._transport import Transport
    from trio_bunws._wire.opening import Opened


def listen(ws: WebSocket, *types: Any) -> list[Any]:
    """Collect the events of these types."""
    told: list[Any] = []
    for event_type in types:
        ws.add_event_listener(event_type, told.append)
    return told


@asynccontextmanager
async def answered(**options: Any) -> AsyncGenerator[tuple[WebSocket, ByHand]]:
    """Yield a client that is to be entered, and a server that will answer its handshake and nothing else."""
    async with by_hand(**options) as (ws, server), trio.open_nursery() as nursery:
        nursery.start_soon(server.answer)
        yield ws, server


# A failed opening


async def test_a_failed_opening_is_told_to_listeners_and_then_raised() -> None:
    async with by_hand() as (ws, server):
        told = listen(ws, "open", "error", "close")

        async def later(event: ErrorEvent | CloseEvent) -> None:
            await trio.lowlevel.checkpoint()
            told.append((event.type, ws.ready_state))

        ws.add_event_listener("error", later)
        ws.add_event_listener("close", later)
        await server.peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
        with pytest.raises(HandshakeError) as caught:
            await ws.__aenter__()
    assert told == [
        ErrorEvent(ws, caught.value),
        ("error", ReadyState.CLOSED),
        CloseEvent(ws, 1006, "", was_clean=False),
        ("close", ReadyState.CLOSED),
    ]
    assert await ws.closed() == CloseInfo(1006, "", None, None)


async def test_listeners_of_a_failed_opening_have_a_time_to_end(autojump_clock: MockClock) -> None:
    async with by_hand(open_timeout=3, close_timeout=2) as (ws, _):

        async def never(event: ErrorEvent) -> None:  # noqa: ARG001
            await trio.sleep_forever()

        ws.add_event_listener("error", never)
        with pytest.raises(trio.TooSlowError, match=r"server\.test did not open a WebSocket within 3 s"):
            await ws.__aenter__()
        assert autojump_clock.current_time() == pytest.approx(5, abs=0.1)


async def test_a_cancelled_opening_is_told_to_nobody() -> None:
    async with by_hand() as (ws, _):
        told = listen(ws, "error", "close")
        with trio.CancelScope() as scope:
            scope.cancel()
            await ws.__aenter__()
        assert scope.cancelled_caught
    assert told == []
    assert ws.ready_state is ReadyState.CLOSED


async def test_closing_while_connecting_is_a_failed_opening() -> None:
    async with by_hand() as (ws, server), trio.open_nursery() as nursery:
        told = listen(ws, "error", "close")

        async def enter() -> None:
            with pytest.raises(ConnectionClosed):
                await ws.__aenter__()

        nursery.start_soon(enter)
        await server.peer.receive_until(b"\r\n\r\n")
        ws.close(4000, "never mind")
    assert [event.type for event in told] == ["error", "close"]
    assert told[1].code == 1006


async def test_a_close_that_comes_with_the_server_s_answer_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answered() as (ws, server):

        async def open_and_close(options: ClientOptions) -> tuple[Transport, Opened]:
            opened = await open_websocket(options)
            ws.terminate()
            return opened

        monkeypatch.setattr("trio_bunws._client_life.open_websocket", open_and_close)
        with pytest.raises(ConnectionClosed):
            await ws.__aenter__()
        assert ws.ready_state is ReadyState.CLOSED
        await server.peer.receive_eof()


# Being open


class Pause(trio.abc.Instrument):
    """The machine sleeps for an hour before the scheduler's next pass."""

    def __init__(self, clock: MockClock) -> None:
        self._clock = clock

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - as trio calls it
        self._clock.jump(3600)
        trio.lowlevel.remove_instrument(self)


async def test_a_machine_that_sleeps_as_the_block_begins_does_no_harm(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def open_and_sleep(options: ClientOptions) -> tuple[Transport, Opened]:
        opened = await open_websocket(options)
        trio.lowlevel.add_instrument(Pause(autojump_clock))
        return opened

    monkeypatch.setattr("trio_bunws._client_life.open_websocket", open_and_sleep)
    for _ in range(20):  # of the tasks that could run after the pause, each is the first in some rounds
        async with answered(open_timeout=7200) as (ws, _server), ws:
            assert ws.ready_state is ReadyState.OPEN
            ws.terminate()


async def test_the_block_begins_when_plain_listeners_have_been_told() -> None:
    async with answered() as (ws, server), trio.open_nursery() as nursery:
        told = listen(ws, "open")
        async with ws:
            assert [event.type for event in told] == ["open"]
            nursery.start_soon(server.send, 8)


async def test_what_a_listener_sends_at_the_opening_comes_first() -> None:
    async with answered() as (ws, server), trio.open_nursery() as nursery:
        ws.add_event_listener("open", lambda event: event.target.send("first"))
        async with ws:
            ws.send("second")
            assert [(await server.frame()).payload for _ in range(2)] == [b"first", b"second"]
            nursery.start_soon(server.send, 8)


@pytest.mark.parametrize("event_type", ["open", "message", "close"])
@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_a_listener_s_exception_cancels_the_block_and_comes_out_of_it(event_type: EventType, kind: str) -> None:
    failure = KeyError("mine")

    def fail(event: object) -> None:  # noqa: ARG001
        raise failure

    async def fail_later(event: object) -> None:  # noqa: ARG001
        await trio.lowlevel.checkpoint()
        raise failure

    async def use(ws: WebSocket) -> None:
        async with ws:
            if event_type == "message":
                await server.send(1, b"x")
            elif event_type == "close":
                await server.send(8, b"\x03\xe8")
            await trio.sleep_forever()

    async with answered() as (ws, server):
        ws._listeners.add(event_type, fail if kind == "plain" else fail_later)
        with pytest.raises(KeyError) as caught:
            await use(ws)
        assert caught.value is failure
        assert (await server.frame()).close[0] == (1000 if event_type == "close" else 1011)


async def test_a_listener_of_a_failed_opening_that_fails_itself_hides_nothing() -> None:
    async with by_hand() as (ws, server):

        def fail(event: ErrorEvent) -> None:  # noqa: ARG001
            raise KeyError("mine")

        ws.add_event_listener("error", fail)
        await server.peer.stream.aclose()
        with pytest.raises(KeyError) as caught:
            await ws.__aenter__()
        assert "without an answer" in str(caught.value.__context__)


async def test_messages_before_the_server_s_close_are_told_to_a_slow_listener() -> None:
    async with answered() as (ws, server), trio.open_nursery() as nursery:
        heard: list[str | bytes] = []

        async def slow(event: MessageEvent) -> None:
            await trio.lowlevel.checkpoint()
            heard.append(event.data)

        ws.add_event_listener("message", slow)
        async with ws:
            data = b"".join(RawPeer.frame(1, b"%d" % number, mask=None) for number in range(5))
            await server.peer.send(data + RawPeer.frame(8, b"\x03\xe8", mask=None))
            await ws.closed()
        assert heard == list("01234")
        nursery.cancel_scope.cancel()


async def test_a_cancelled_block_waits_for_no_listener(autojump_clock: MockClock) -> None:
    async with answered() as (ws, server):

        async def never(event: object) -> None:  # noqa: ARG001
            await trio.sleep_forever()

        ws.add_event_listener("message", never)
        ws.add_event_listener("close", never)
        began = autojump_clock.current_time()
        with trio.CancelScope() as scope:
            async with ws:
                await server.send(1, b"x")
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
                await trio.sleep_forever()
        assert autojump_clock.current_time() == began
        assert (await ws.closed()).sent == CloseFrame(1001, "Going away")


async def test_a_client_that_is_cancelled_as_it_opens_does_not_hang() -> None:
    async with answered() as (ws, _):
        with trio.CancelScope() as scope:
            ws.add_event_listener("open", lambda _: scope.cancel())
            async with ws:
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert ws.ready_state is ReadyState.CLOSED


@pytest.mark.parametrize("exc", [KeyError("mine"), ExceptionGroup("mine", [KeyError("one"), KeyError("two")])])
async def test_an_exception_of_the_block_comes_out_as_it_is(exc: Exception) -> None:
    async def use(ws: WebSocket) -> None:
        async with ws:
            raise exc

    async with by_hand() as (ws, server), trio.open_nursery() as nursery:
        nursery.start_soon(server.answer_and_close)
        with pytest.raises(type(exc)):
            await use(ws)
        assert server.closed_with == (1011, "Internal error")


async def test_binary_messages_are_what_was_asked_for_before_it_opened() -> None:
    async with by_hand() as (ws, server), trio.open_nursery() as nursery:
        ws.binary_type = "bytearray"
        ws.pause()
        nursery.start_soon(server.answer)
        async with ws:
            ws.resume()
            await server.send(2, b"x")
            assert isinstance(await ws.receive(), bytearray)
            nursery.start_soon(server.send, 8)


async def test_leaving_a_block_whose_connection_is_over_does_not_wait() -> None:
    async with opened() as (ws, _):
        ws.terminate()
        assert (await ws.closed()).code == 1006


async def test_an_interrupt_beside_a_failure_of_ours_comes_out_in_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr("trio_bunws._client_life.ClientConnection.run", fail)

    async def interrupted(ws: WebSocket) -> None:
        async with ws:
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                raise KeyboardInterrupt from None

    async with by_hand() as (ws, server), trio.open_nursery() as nursery:
        nursery.start_soon(server.answer)
        with pytest.raises(BaseExceptionGroup) as caught:
            await interrupted(ws)
    assert {type(exc) for exc in caught.value.exceptions} == {ExceptionGroup, KeyboardInterrupt}
