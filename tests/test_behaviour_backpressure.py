"""BEHAVIOUR.md, 2, 3 and 8, sentence by sentence: a peer that reads too slowly, the limit, and what waits for room.

A test's name begins with the number of its sentence. Nothing here looks behind the public names.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from links import BIG, BIG_FRAME, KERNEL, congest, drops, kernel, lockstep, receive_big, sent_out, served
from playground import Socket, settled

from trio_bunws import (
    ConnectionClosed,
    MessageBackpressured,
    MessageDropped,
    ReadyState,
    ServerWebSocket,
    WebSocketHandler,
    open_server,
)
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from links import Pair, Place
    from trio.testing import MockClock

TEXT, BINARY = 1, 2


# 2: backpressure


async def test_02_with_unsent_bytes_after_the_call_a_message_is_queued_and_the_value_is_minus_one(
    autojump_clock: MockClock,
) -> None:
    async with served(link=kernel) as place:
        ws, peer = await place.pair()
        statuses = [ws.send("first"), ws.send(BIG), ws.send("second"), ws.send_text(""), ws.send_binary(b"third")]
        assert statuses == [5, -1, -1, -1, -1]
        assert {type(status) for status in statuses[1:]} == {MessageBackpressured}
        assert await peer.receive_text() == "first"
        await receive_big(peer)
        assert await peer.receive_text() == "second"
        assert await peer.receive_text() == ""
        assert await peer.receive() == (BINARY, b"third", True, 0)
        await settled()
        assert ws.send("fourth") == 6  # over
        assert await peer.receive_text() == "fourth"


async def test_02_backpressure_over_tcp_with_a_peer_that_does_not_read() -> None:
    opened: list[Socket] = []
    drained: list[int] = []
    handler = WebSocketHandler(open=opened.append, drain=lambda ws: drained.append(ws.get_buffered_amount()))
    payload = bytes(range(256)) * 4096
    async with open_server(None, handler, port=0) as server:
        sock = trio.socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await sock.connect(("127.0.0.1", server.port))
        async with RawPeer(trio.SocketStream(sock)) as peer:
            await peer.upgrade()
            (ws,) = opened
            assert ws.send("first") == 5
            sent = 0
            while ws.get_buffered_amount() == 0:
                ws.send(payload)
                sent += 1
            assert ws.send("last") == -1
            assert ws.get_buffered_amount() > 0
            assert await peer.receive_text() == "first"
            for _ in range(sent):
                assert await peer.receive() == (BINARY, payload, True, 0)
            assert await peer.receive_text() == "last"
            await ws.drained()
            assert drained
            assert ws.get_buffered_amount() == 0
            assert ws.send("after") == 5
            assert await peer.receive_text() == "after"


# 3: the limit


async def test_03_over_the_limit_a_message_is_dropped_and_counted(autojump_clock: MockClock) -> None:
    async with served(WebSocketHandler(backpressure_limit=10), lockstep) as place:
        ws, peer = await place.pair()
        assert ws.send("a") == 1
        await settled()  # handed over; whatever follows is unsent, as nobody reads
        assert ws.send("12345678") == -1
        assert ws.get_buffered_amount() == 10  # headers included, and not over the limit
        assert ws.send("one frame may pass the limit") == -1
        over = 10 + 2 + 28
        assert ws.get_buffered_amount() == over
        dropped = [ws.send("x"), ws.send(""), ws.send_text("x"), ws.send_binary(b"x")]
        assert dropped == [0, 0, 0, 0]
        assert {type(status) for status in dropped} == {MessageDropped}
        assert ws.get_buffered_amount() == over
        assert drops(ws) == 4
        assert place.server.statistics().drops == 4
        assert ws.statistics().messages_out == 3
        for text in ["a", "12345678", "one frame may pass the limit"]:
            assert await peer.receive_text() == text
        await settled()
        assert ws.send("there is room again") == 19
        assert await peer.receive_text() == "there is room again"
        assert drops(ws) == 4
    assert place.server.statistics().drops == 4


async def test_03_over_the_limit_with_direct_writes(autojump_clock: MockClock) -> None:
    async with served(WebSocketHandler(backpressure_limit=BIG_FRAME), kernel) as place:
        ws, peer = await place.pair()
        assert ws.send(BIG) == -1
        assert ws.get_buffered_amount() < BIG_FRAME
        assert ws.send(BIG) == -1
        assert ws.get_buffered_amount() > BIG_FRAME
        assert ws.send("x") == 0
        assert drops(ws) == 1
        await receive_big(peer, 2)
        await settled()
        assert ws.send("end") == 3
        assert await peer.receive_text() == "end"


async def test_03_a_limit_of_zero_never_drops(autojump_clock: MockClock) -> None:
    async with served(WebSocketHandler(backpressure_limit=0, close_on_backpressure_limit=True), kernel) as place:
        ws, peer = await place.pair()
        assert [ws.send(BIG) for _ in range(50)] == [-1] * 50
        assert ws.get_buffered_amount() > 50 * BIG_FRAME - KERNEL
        assert drops(ws) == 0
        await receive_big(peer, 50)


@pytest.mark.parametrize("link", [lockstep, kernel])
async def test_03_the_buffered_amount_of_a_closed_socket_is_zero(
    autojump_clock: MockClock, link: Callable[[], Pair]
) -> None:
    async with served(link=link) as place:
        ws, _ = await place.pair()
        ws.send("a")
        await settled()
        ws.send(BIG)
        ws.close()
        assert ws.get_buffered_amount() > BIG_FRAME - KERNEL  # closing, what was accepted still waits
        ws.terminate()
        assert ws.get_buffered_amount() == 0
        await ws.closed()
        assert ws.get_buffered_amount() == 0


class Waiting:
    """A task in `send_wait`."""

    def __init__(self, ws: Socket, data: str | bytes) -> None:
        self._ws = ws
        self._data = data
        self.status: int | None = None
        self.scope = trio.CancelScope()

    async def __call__(self) -> None:
        with self.scope:
            self.status = await self._ws.send_wait(self._data)


@asynccontextmanager
async def at_its_limit() -> AsyncGenerator[tuple[Place, Socket, RawPeer]]:
    """Yield a socket with "a" in flight and "12345678" unsent, the ten bytes of its limit; with its server and peer."""
    async with served(WebSocketHandler(backpressure_limit=10), lockstep) as place:
        ws, peer = await place.pair()
        ws.send("a")
        await settled()
        ws.send("12345678")
        yield place, ws, peer


async def test_03_send_wait_waits_for_room_instead_of_passing_the_limit(autojump_clock: MockClock) -> None:
    async with served(WebSocketHandler(backpressure_limit=30), lockstep) as place, trio.open_nursery() as nursery:
        ws, peer = await place.pair()
        assert await ws.send_wait("a") == 1
        await settled()
        assert await ws.send_wait("x" * 20) == -1
        assert ws.get_buffered_amount() == 22
        waiting = Waiting(ws, b"123456789")
        nursery.start_soon(waiting)
        await settled()
        assert waiting.status is None
        assert ws.get_buffered_amount() == 22
        assert await ws.send_wait("123456") == -1  # 8 bytes do fit
        assert ws.get_buffered_amount() == 30
        assert await peer.receive_text() == "a"
        await settled()
        assert waiting.status is not None
        assert [(await peer.receive()).payload for _ in range(3)] == [b"x" * 20, b"123456", b"123456789"]
        assert drops(ws) == 0


async def test_03_send_wait_lets_pass_what_is_larger_than_the_limit_when_nothing_waits(
    autojump_clock: MockClock,
) -> None:
    async with served(WebSocketHandler(backpressure_limit=100), kernel) as place, trio.open_nursery() as nursery:
        ws, peer = await place.pair()
        assert await ws.send_wait(BIG) == -1
        waiting = Waiting(ws, BIG)
        nursery.start_soon(waiting)
        await settled()
        assert waiting.status is None
        await receive_big(peer, 2)
        assert waiting.status == -1


async def test_03_many_senders_that_wait_never_pass_the_limit_and_lose_nothing(autojump_clock: MockClock) -> None:
    limit, size, senders = 10_000, 9_000, 5
    most = 0
    async with served(WebSocketHandler(backpressure_limit=limit), kernel) as place, trio.open_nursery() as nursery:
        ws, peer = await place.pair()

        async def send(number: int) -> None:
            nonlocal most
            for _ in range(3):
                assert await ws.send_wait(bytes([number]) * size) != 0
                most = max(most, ws.get_buffered_amount())

        for number in range(senders):
            nursery.start_soon(send, number)
        received: list[bytes] = []
        for _ in range(3 * senders):
            await settled()
            most = max(most, ws.get_buffered_amount())
            received.append((await peer.receive()).payload)
        assert sorted(received) == [bytes([number]) * size for number in range(senders) for _ in range(3)]
        assert 0 < most <= limit
        assert drops(ws) == 0


async def test_03_send_wait_does_not_drop_when_the_log_passes_the_limit(autojump_clock: MockClock) -> None:
    async with served(WebSocketHandler(backpressure_limit=BIG_FRAME), kernel) as place, trio.open_nursery() as nursery:
        ws, peer = await place.pair()
        ws.subscribe("news")
        waiting = Waiting(ws, "patient")
        nursery.start_soon(waiting)

        async def publish() -> None:
            # In the tick in which send_wait goes on: the log is put before its frame.
            for _ in range(3):
                place.server.publish("news", BIG)
            await trio.lowlevel.checkpoint()

        nursery.start_soon(publish)
        await settled()
        await receive_big(peer, 3)
        assert await peer.receive_text() == "patient"
        assert waiting.status in {-1, 7}
        assert drops(ws) == 0


async def test_03_a_cancelled_send_wait_has_sent_nothing(autojump_clock: MockClock) -> None:
    async with served(WebSocketHandler(backpressure_limit=10), lockstep) as place, trio.open_nursery() as nursery:
        ws, peer = await place.pair()
        at_once = Waiting(ws, "at once")
        at_once.scope.cancel()
        await at_once()
        assert at_once.scope.cancelled_caught
        ws.send("a")
        await settled()
        ws.send("12345678")
        waiting = Waiting(ws, "waiting")
        nursery.start_soon(waiting)
        await settled()
        waiting.scope.cancel()
        await settled()
        assert waiting.scope.cancelled_caught
        ws.send("end")
        assert [await peer.receive_text() for _ in range(3)] == ["a", "12345678", "end"]


@pytest.mark.parametrize("first", ["room", "cancel"])
async def test_03_a_send_wait_that_is_cancelled_when_room_comes_has_sent_or_was_cancelled(
    autojump_clock: MockClock, first: str
) -> None:
    async with at_its_limit() as (_, ws, peer), trio.open_nursery() as nursery:
        waiting = Waiting(ws, "waiting")
        nursery.start_soon(waiting)
        await settled()
        if first == "cancel":
            waiting.scope.cancel()
        received = [await peer.receive_text()]  # room comes
        waiting.scope.cancel()
        await settled()
        ws.send("end")
        while received[-1] != "end":
            received.append(await peer.receive_text())
        accepted = ["waiting"] if waiting.status is not None else []
        assert waiting.scope.cancelled_caught is not bool(accepted)
        assert received == ["a", "12345678", *accepted, "end"]


async def test_03_send_wait_goes_on_when_a_reload_raises_the_limit(autojump_clock: MockClock) -> None:
    async with at_its_limit() as (place, ws, peer), trio.open_nursery() as nursery:
        waiting = Waiting(ws, "waiting")
        nursery.start_soon(waiting)
        await settled()
        assert waiting.status is None
        place.server.reload(websocket=WebSocketHandler(backpressure_limit=100))
        await settled()
        assert waiting.status == -1
        assert [await peer.receive_text() for _ in range(3)] == ["a", "12345678", "waiting"]


@pytest.mark.parametrize("end", [ServerWebSocket.close, ServerWebSocket.terminate])
async def test_03_send_wait_raises_if_the_socket_closes(
    autojump_clock: MockClock, end: Callable[[Socket], None]
) -> None:
    async with at_its_limit() as (_, ws, _peer):

        async def wait() -> None:
            with pytest.raises(ConnectionClosed):
                await ws.send_wait("never")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await settled()
            end(ws)
        await wait()


# 8: close_on_backpressure_limit


@pytest.mark.parametrize("link", [lockstep, kernel])
async def test_08_the_send_over_the_limit_returns_zero_and_closes_the_socket_without_waiting_for_the_peer(
    autojump_clock: MockClock, link: Callable[[], Pair]
) -> None:
    closed: list[tuple[Socket, int, str]] = []
    handler = WebSocketHandler(
        close=lambda ws, code, reason: closed.append((ws, code, reason)),
        backpressure_limit=BIG_FRAME,
        close_on_backpressure_limit=True,
    )
    async with served(handler, link) as place:
        ws, peer = await place.pair()
        before = trio.current_time()
        statuses: list[int] = [ws.send(BIG)]
        while statuses[-1]:
            statuses.append(ws.send(BIG))
        assert statuses[-1] == 0
        assert isinstance(statuses[-1], MessageDropped)
        assert ws.ready_state >= ReadyState.CLOSING
        assert ws.send("more") == 0
        assert closed == []  # not inside the call
        await settled()
        assert closed == [(ws, 1006, "")]
        assert ws.ready_state is ReadyState.CLOSED
        assert place.server.pending_websockets == 0
        assert trio.current_time() == before
        assert drops(ws) == 1
        info = await ws.closed()
        assert (info.code, info.reason, info.sent, info.received) == (1006, "", None, None)
        if link is kernel:  # what the kernel had taken still arrives
            taken = sent_out(ws)
            received = 0
            while data := await peer.stream.receive_some():
                received += len(data)
            assert 0 < received < taken  # the answer to the handshake came before


async def test_08_the_close_handler_runs_after_the_handler_that_sent_too_much(autojump_clock: MockClock) -> None:
    events: list[object] = []

    def message(ws: Socket, text: str | bytes) -> None:
        events.append(text)
        while (status := ws.send(BIG)) == -1:
            pass
        events.append(status)

    handler = WebSocketHandler(
        message=message,
        close=lambda _, code, reason: events.append((code, reason)),
        backpressure_limit=BIG_FRAME,
        close_on_backpressure_limit=True,
    )
    async with served(handler, kernel) as place:
        _, peer = await place.pair()
        await peer.send(RawPeer.frame(TEXT, b"one") + RawPeer.frame(TEXT, b"not handled any more"))
        await settled()
        assert events == ["one", 0, (1006, "")]


async def test_08_publishing_closes_the_slow_socket_too_and_the_others_get_everything(
    autojump_clock: MockClock,
) -> None:
    closed: list[tuple[Socket, int, str]] = []
    handler = WebSocketHandler(
        open=lambda ws: ws.subscribe("news"),
        close=lambda ws, code, reason: closed.append((ws, code, reason)),
        backpressure_limit=BIG_FRAME,
        close_on_backpressure_limit=True,
    )
    async with served(handler, kernel) as place:
        slow, _ = await place.pair()
        fast, peer = await place.pair()
        sender, _ = await place.pair()
        congest(slow, BIG_FRAME + 1)
        assert closed == []
        assert sender.publish("news", "one") == 0
        assert sender.publish("news", "two") == 0
        await settled()
        assert closed == [(slow, 1006, "")]
        assert drops(slow) == 2
        assert place.server.subscribers("news") == (fast, sender)
        assert sender.publish("news", "three") == 5
        assert [await peer.receive_text() for _ in range(3)] == ["one", "two", "three"]


async def test_08_without_that_option_the_socket_stays_open(autojump_clock: MockClock) -> None:
    async with served(WebSocketHandler(backpressure_limit=1), kernel) as place:
        ws, peer = await place.pair()
        assert [ws.send(BIG), ws.send("dropped")] == [-1, 0]
        await settled()
        assert ws.ready_state is ReadyState.OPEN
        await receive_big(peer)
        await settled()
        assert ws.send("end") == 3
        assert await peer.receive_text() == "end"


async def test_08_a_socket_at_its_limit_is_not_closed(autojump_clock: MockClock) -> None:
    handler = WebSocketHandler(backpressure_limit=10, close_on_backpressure_limit=True)
    async with served(handler, lockstep) as place:
        ws, _ = await place.pair()
        ws.send("a")
        await settled()
        assert [ws.send("12345678"), ws.send("passes it")] == [-1, -1]
        await settled()
        assert ws.ready_state is ReadyState.OPEN
        assert ws.send("") == 0
        assert ws.ready_state is not ReadyState.OPEN
