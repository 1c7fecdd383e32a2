"""BEHAVIOUR.md, "Sending", sentence by sentence: 0 to 9, seen by clients that choose every byte, and by a library's.

A test's name begins with the number of its sentence. Nothing here looks behind the public names.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

import socket
from array import array
from typing import TYPE_CHECKING, Any

import pytest
import trio
from links import (
    BIG,
    BIG_FRAME,
    KERNEL,
    Watched,
    congest,
    drops,
    kernel,
    lockstep,
    memory,
    receive_big,
    sent_out,
    served,
)
from playground import Socket, settled
from trio_websocket import ConnectionClosed as ClientClosed

from trio_bunws import (
    ConnectionClosed,
    MessageBackpressured,
    MessageDropped,
    MessageSent,
    ReadyState,
    ServerWebSocket,
    WebSocketHandler,
    open_server,
)
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import Callable

    from links import Pair
    from trio.testing import MockClock
    from typing_extensions import Buffer

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
BATCH = 16 * 1024


# 0: unsent, batches and drained()


async def test_00_unsent_is_what_the_transport_refused(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        ws, peer = await place.pair()
        before = sent_out(ws)
        assert ws.send(BIG) == -1
        taken = sent_out(ws) - before
        assert 0 < taken < KERNEL
        assert ws.get_buffered_amount() == BIG_FRAME - taken
        assert len(await peer.stream.receive_some()) == taken


async def test_00_frames_of_this_tick_return_their_length_and_are_not_unsent(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        ws, _ = await place.pair()
        assert ws.send(BIG[:8000]) == 8000  # more than the kernel is going to take
        assert ws.send("abc") == 3
        assert ws.get_buffered_amount() == 0
        await settled()
        assert ws.get_buffered_amount() > 0


async def test_00_frames_in_a_cork_return_their_length_and_are_not_unsent(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        ws, _ = await place.pair()
        with ws.corked():
            assert ws.send(BIG[:8000]) == 8000
            await settled()
            assert ws.send("abc") == 3
            assert ws.get_buffered_amount() == 0
        assert ws.get_buffered_amount() > 0


async def test_00_frames_in_the_hubs_log_return_their_length_and_are_not_unsent(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        ws, _ = await place.pair()
        ws.subscribe("news")
        assert [place.server.publish("news", BIG) for _ in range(4)] == [len(BIG)] * 4
        assert ws.get_buffered_amount() == 0
        await settled()
        assert ws.get_buffered_amount() > 4 * BIG_FRAME - KERNEL


@pytest.mark.parametrize("where", ["open", "handler", "cork", "outside"])
async def test_00_a_batch_is_written_as_soon_as_it_holds_16_kib(autojump_clock: MockClock, where: str) -> None:
    answer = 0
    taken: list[int] = []

    def send(ws: Socket, *_: object) -> None:
        begun = sent_out(ws)
        waiting = answer if where == "open" else 0  # the handshake's answer leaves with the first frames
        ws.send(BIG[: BATCH - waiting - 4 - 2 - 1])
        ws.send(b"")
        taken.append(sent_out(ws) - begun)  # one byte is missing
        ws.send(b"")
        taken.append(sent_out(ws) - begun)

    async with served() as place:
        answer = sent_out((await place.pair())[0])
    handler = WebSocketHandler(open=send if where == "open" else None, message=send)
    async with served(handler, kernel) as place:
        ws, peer = await place.pair()
        match where:
            case "handler":
                await peer.send_text("go")
                await settled()
            case "cork":
                ws.cork(send)
            case "outside":
                send(ws)
        almost, full = taken
        assert almost == 0 < full


async def test_00_a_batch_of_exactly_16_kib_is_full(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        ws, _ = await place.pair()
        before = sent_out(ws)
        ws.send(BIG[: BATCH - 4 - 1])
        assert sent_out(ws) == before
        await settled()
    async with served(link=kernel) as place:
        ws, _ = await place.pair()
        before = sent_out(ws)
        ws.send(BIG[: BATCH - 4])
        assert sent_out(ws) > before


async def test_00_on_a_stream_the_batch_handed_to_an_idle_writer_is_not_unsent(autojump_clock: MockClock) -> None:
    async with served(link=lockstep) as place:
        ws, peer = await place.pair()
        assert ws.send("a") == 1
        await settled()  # handed over, and nobody reads
        assert ws.get_buffered_amount() == 0
        assert await peer.receive_text() == "a"


async def test_00_on_a_stream_bytes_accepted_while_a_write_is_in_flight_are_unsent(autojump_clock: MockClock) -> None:
    async with served(link=lockstep) as place:
        ws, peer = await place.pair()
        assert ws.send("a") == 1
        await settled()
        assert ws.send("bc") == -1
        assert ws.get_buffered_amount() == 4
        assert await peer.receive_text() == "a"
        await settled()  # now the rest is handed over
        assert ws.get_buffered_amount() == 0
        assert await peer.receive_text() == "bc"


@pytest.mark.parametrize("link", [lockstep, memory])
async def test_00_on_a_stream_what_follows_a_full_batch_is_unsent(
    autojump_clock: MockClock, link: Callable[[], Pair]
) -> None:
    statuses: list[int] = []

    def message(ws: Socket, _: str | bytes) -> None:
        statuses.extend([ws.send("a"), ws.send(BIG), ws.send("bc"), ws.get_buffered_amount()])

    async with served(WebSocketHandler(message=message), link) as place:
        _, peer = await place.pair()
        await peer.send_text("go")
        assert await peer.receive_text() == "a"
        await receive_big(peer)
        assert await peer.receive_text() == "bc"
        assert statuses == [1, len(BIG), -1, 4]


class Drained:
    """A task that waits in `drained()`."""

    def __init__(self) -> None:
        self.done = False
        self.scope = trio.CancelScope()

    async def __call__(self, ws: Socket) -> None:
        with self.scope:
            await ws.drained()
            self.done = True


async def test_00_drained_waits_for_the_batch(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        ws, _ = await place.pair()
        ws.subscribe("news")
        before = sent_out(ws)
        with ws.corked():
            ws.send("a")
            place.server.publish("news", "bc")
            await ws.drained()
            assert sent_out(ws) == before + 3 + 4


async def test_00_drained_waits_for_the_unsent_bytes(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place, trio.open_nursery() as nursery:
        ws, peer = await place.pair()
        ws.send(BIG)
        drained = Drained()
        nursery.start_soon(drained, ws)
        await settled()
        await peer.receive_exactly(BIG_FRAME // 2)
        await settled()
        assert not drained.done
        await peer.receive_exactly(BIG_FRAME - BIG_FRAME // 2)
        await settled()
        assert drained.done


async def test_00_drained_waits_for_the_writer(autojump_clock: MockClock) -> None:
    async with served(link=lockstep) as place, trio.open_nursery() as nursery:
        ws, peer = await place.pair()
        ws.send("a")
        drained = Drained()
        nursery.start_soon(drained, ws)
        await settled()
        assert ws.get_buffered_amount() == 0
        assert not drained.done
        await peer.receive()
        await settled()
        assert drained.done


async def test_00_drained_waits_for_what_is_sent_meanwhile(autojump_clock: MockClock) -> None:
    async with served(link=lockstep) as place, trio.open_nursery() as nursery:
        ws, peer = await place.pair()
        ws.send("a")
        drained = Drained()
        nursery.start_soon(drained, ws)
        await settled()
        ws.send("b")
        assert await peer.receive_text() == "a"
        await settled()
        assert not drained.done
        assert await peer.receive_text() == "b"
        await settled()
        assert drained.done


@pytest.mark.parametrize("link", [lockstep, kernel])
async def test_00_cancelling_drained_changes_nothing(autojump_clock: MockClock, link: Callable[[], Pair]) -> None:
    async with served(link=link) as place, trio.open_nursery() as nursery:
        ws, peer = await place.pair()
        ws.send("a")
        drained = Drained()
        drained.scope.cancel()  # at its first checkpoint
        await drained(ws)
        assert drained.scope.cancelled_caught
        ws.send(BIG)
        await settled()
        cancelled, kept = Drained(), Drained()
        nursery.start_soon(cancelled, ws)
        nursery.start_soon(kept, ws)
        await settled()
        cancelled.scope.cancel()
        await settled()
        assert cancelled.scope.cancelled_caught
        assert await peer.receive_text() == "a"
        await receive_big(peer)
        await settled()
        assert kept.done
        ws.send("end")
        assert await peer.receive_text() == "end"


@pytest.mark.parametrize("link", [lockstep, kernel])
async def test_00_drained_raises_if_the_socket_ends_first(autojump_clock: MockClock, link: Callable[[], Pair]) -> None:
    async with served(link=link) as place:
        ws, _ = await place.pair()
        ws.send("a")
        ws.send(BIG)

        async def wait() -> None:
            with pytest.raises(ConnectionClosed) as caught:
                await ws.drained()
            assert caught.value.code == 1006

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await settled()
            ws.terminate()
        await wait()


# 1: what a send returns


SENDS: list[tuple[Callable[[Socket], int], int, tuple[int, bytes]]] = [
    (lambda ws: ws.send("text"), 4, (TEXT, b"text")),
    (lambda ws: ws.send("zażółć"), 10, (TEXT, "zażółć".encode())),
    (lambda ws: ws.send(b"data"), 4, (BINARY, b"data")),
    (lambda ws: ws.send(bytearray(b"data")), 4, (BINARY, b"data")),
    (lambda ws: ws.send(memoryview(b"-data-")[1:5]), 4, (BINARY, b"data")),
    (lambda ws: ws.send(memoryview(b"d-a-t-a")[::2]), 4, (BINARY, b"data")),
    (lambda ws: ws.send(array("I", [1, 2, 3])), 12, (BINARY, array("I", [1, 2, 3]).tobytes())),
    (lambda ws: ws.send(b"\x00" * 125), 125, (BINARY, b"\x00" * 125)),
    (lambda ws: ws.send(b"\x00" * 126), 126, (BINARY, b"\x00" * 126)),
    (lambda ws: ws.send("é" * 40_000), 80_000, (TEXT, "é".encode() * 40_000)),
    (lambda ws: ws.send("text", False), 4, (TEXT, b"text")),
    (lambda ws: ws.send("text", compress=True), 4, (TEXT, b"text")),
    (lambda ws: ws.send_text("text", compress=True), 4, (TEXT, b"text")),
    (lambda ws: ws.send_binary(bytearray(b"data"), compress=True), 4, (BINARY, b"data")),
    (lambda ws: ws.ping(), 0, (PING, b"")),
    (lambda ws: ws.ping("é"), 2, (PING, "é".encode())),
    (lambda ws: ws.ping(bytearray(b"x" * 125)), 125, (PING, b"x" * 125)),
    (lambda ws: ws.pong(), 0, (PONG, b"")),
    (lambda ws: ws.pong(memoryview(b"data")), 4, (PONG, b"data")),
]


@pytest.mark.parametrize(("send", "value", "frame"), SENDS)
@pytest.mark.parametrize("link", [memory, kernel])
async def test_01_a_send_returns_the_payloads_length(
    autojump_clock: MockClock,
    link: Callable[[], Pair],
    send: Callable[[Socket], int],
    value: int,
    frame: tuple[int, bytes],
) -> None:
    statuses: list[int] = []

    def message(ws: Socket, _: str | bytes) -> None:
        statuses.append(send(ws))

    async with served(WebSocketHandler(message=message), link) as place:
        ws, peer = await place.pair()
        await peer.send_text("go")
        assert await peer.receive() == (*frame, True, 0)
        await ws.drained()
        statuses.append(send(ws))
        assert await peer.receive() == (*frame, True, 0)
    if len(frame[1]) < BATCH or link is memory:
        assert statuses == [value, value]
        assert {type(status) for status in statuses} == {MessageSent}
    else:
        assert statuses == [-1, -1]  # see 2


async def test_01_an_empty_message_is_sent_and_equals_zero(autojump_clock: MockClock) -> None:
    async with served() as place:
        ws, peer = await place.pair()
        empties: list[str | Buffer] = ["", b"", bytearray(), memoryview(b"")]
        for empty in empties:
            status = ws.send(empty)
            assert status == 0
            assert status == MessageSent(0)
            assert isinstance(status, MessageSent)
            assert not isinstance(status, MessageDropped)
            assert await peer.receive() == (TEXT if empty == "" else BINARY, b"", True, 0)
            await settled()


async def test_01_a_library_client_gets_what_was_sent(autojump_clock: MockClock) -> None:
    messages: list[str | bytes] = ["", "text", "zażółć 👩🏽‍🚀", b"", b"data", BIG[:300], "é" * 40_000, BIG]
    async with served() as place, place.library_client() as (ws, client):
        for message in messages:
            ws.send(message)
        assert [await client.get_message() for _ in messages] == messages


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
    async with served(WebSocketHandler(backpressure_limit=10), lockstep) as place, trio.open_nursery() as nursery:
        ws, peer = await place.pair()
        ws.send("a")
        await settled()
        ws.send("12345678")
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
    async with served(WebSocketHandler(backpressure_limit=10), lockstep) as place, trio.open_nursery() as nursery:
        ws, peer = await place.pair()
        ws.send("a")
        await settled()
        ws.send("12345678")
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
    async with served(WebSocketHandler(backpressure_limit=10), lockstep) as place:
        ws, _ = await place.pair()
        ws.send("a")
        await settled()
        ws.send("12345678")

        async def wait() -> None:
            with pytest.raises(ConnectionClosed):
                await ws.send_wait("never")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await settled()
            end(ws)
        await wait()


# 4: pings and pongs


async def test_04_every_ping_is_answered_while_nothing_is_unsent(autojump_clock: MockClock) -> None:
    async with served() as place:
        _, peer = await place.pair()
        payloads = [b"", b"1", b"\x00" * 125, b"2"]
        await peer.send(b"".join(RawPeer.frame(PING, payload) for payload in payloads))
        assert [await peer.receive() for _ in payloads] == [(PONG, payload, True, 0) for payload in payloads]


async def test_04_while_bytes_are_unsent_one_pong_waits_and_a_newer_ping_replaces_it_in_place(
    autojump_clock: MockClock,
) -> None:
    async with served(link=lockstep) as place:
        ws, peer = await place.pair()
        ws.send("in flight")
        await settled()
        ws.send("before")
        for payload in [b"1", b"22", b""]:
            await peer.send(RawPeer.frame(PING, payload))
            await settled()
            ws.send(b"after " + payload)
        await peer.send(RawPeer.frame(PING, b"last"))
        await settled()
        assert ws.get_buffered_amount() == (2 + 6) + (2 + 4) + (2 + 7) + (2 + 8) + (2 + 6)
        assert [await peer.receive() for _ in range(6)] == [
            (TEXT, b"in flight", True, 0),
            (TEXT, b"before", True, 0),
            (PONG, b"last", True, 0),
            (BINARY, b"after 1", True, 0),
            (BINARY, b"after 22", True, 0),
            (BINARY, b"after ", True, 0),
        ]
        await settled()
        await peer.send(RawPeer.frame(PING, b"again"))  # nothing waits any more: a pong of its own
        assert await peer.receive() == (PONG, b"again", True, 0)


async def test_04_a_pong_is_replaced_wherever_the_transport_stopped(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        ws, peer = await place.pair()
        ws.send(BIG)
        ws.send("before")
        await peer.send(RawPeer.frame(PING, b"old"))
        await settled()
        ws.send("after")
        received = 0
        for number in range(3):
            received += len(await peer.receive_exactly(BIG_FRAME // 5))
            await settled()  # the writer has offered all that is unsent, and the kernel refused the end of it
            await peer.send(RawPeer.frame(PING, b"new %d" % number))
            await settled()
        await peer.receive_exactly(BIG_FRAME - received)
        assert [await peer.receive() for _ in range(3)] == [
            (TEXT, b"before", True, 0),
            (PONG, b"new 2", True, 0),
            (TEXT, b"after", True, 0),
        ]
        ws.send("end")
        assert await peer.receive_text() == "end"


async def test_04_automatic_pongs_are_not_dropped_over_the_limit(autojump_clock: MockClock) -> None:
    async with served(WebSocketHandler(backpressure_limit=1), lockstep) as place:
        ws, peer = await place.pair()
        ws.send("in flight")
        await settled()
        ws.send("over the limit")
        assert ws.send("dropped") == 0
        for number in range(1000):
            await peer.send(RawPeer.frame(PING, b"%d" % number))
        await settled()
        assert ws.get_buffered_amount() == (2 + 14) + (2 + 3)  # a peer that pings and does not read costs one frame
        assert await peer.receive_text() == "in flight"
        assert await peer.receive_text() == "over the limit"
        assert await peer.receive() == (PONG, b"999", True, 0)
        assert drops(ws) == 1


@pytest.mark.parametrize("method", ["ping", "pong"])
async def test_04_pings_and_pongs_of_the_app_return_as_messages_do(autojump_clock: MockClock, method: str) -> None:
    async with served(link=lockstep) as place:
        ws, peer = await place.pair()
        control = getattr(ws, method)
        assert control(b"one") == MessageSent(3)
        await settled()
        assert control("é") == -1
        assert control() == -1
        assert ws.get_buffered_amount() == 4 + 2
        opcode = PING if method == "ping" else PONG
        assert [await peer.receive() for _ in range(3)] == [
            (opcode, payload, True, 0) for payload in [b"one", "é".encode(), b""]
        ]


@pytest.mark.parametrize("method", ["ping", "pong"])
async def test_04_over_the_limit_pings_and_pongs_of_the_app_are_accepted_up_to_64_kib(
    autojump_clock: MockClock, method: str
) -> None:
    payload = b"x" * 125
    async with served(WebSocketHandler(backpressure_limit=BIG_FRAME), kernel) as place:
        ws, peer = await place.pair()
        control = getattr(ws, method)
        for _ in range(2):  # the second time anew
            while (status := ws.send(BIG)) == -1:
                pass
            assert status == 0
            before, dropped = ws.get_buffered_amount(), drops(ws)
            accepted = 0
            while (status := control(payload)) == -1:
                accepted += 1
            assert status == 0
            assert isinstance(status, MessageDropped)
            assert 64 * 1024 - 127 < accepted * 127 <= 64 * 1024
            assert ws.get_buffered_amount() == before + accepted * 127
            assert drops(ws) == dropped + 1
            assert ws.send("a message") == 0
            await receive_big(peer, 2)
            for _ in range(accepted):
                assert await peer.receive() == (PING if method == "ping" else PONG, payload, True, 0)
            await settled()
            assert control(payload) == 125
            assert (await peer.receive()).payload == payload
            await settled()


async def test_04_a_library_client_gets_its_pong_while_the_server_has_much_to_send(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place, place.library_client() as (ws, client), trio.open_nursery() as nursery:
        for _ in range(5):
            ws.send(BIG)
        nursery.start_soon(client.ping, b"are you there?")  # returns with the pong
        ws.ping(b"and you?")
        for _ in range(5):
            assert await client.get_message() == BIG


# 5: closed sockets and wrong arguments


NOTHING: list[Callable[[Socket], int]] = [
    lambda ws: ws.send("x"),
    lambda ws: ws.send(b"x", True),
    lambda ws: ws.send_text("x"),
    lambda ws: ws.send_binary(b"x"),
    lambda ws: ws.ping(),
    lambda ws: ws.pong("x"),
    lambda ws: ws.publish("news", "x"),
    lambda ws: ws.publish_text("news", "x"),
    lambda ws: ws.publish_binary("news", b"x"),
]


@pytest.mark.parametrize("end", ["close", "terminate", "peer closes", "peer vanishes"])
async def test_05_on_a_closed_socket_every_send_returns_zero_and_nothing_raises(
    autojump_clock: MockClock, end: str
) -> None:
    statuses: list[object] = []

    def use(ws: Socket, *_: object) -> None:
        statuses.extend(send(ws) for send in NOTHING)
        statuses.append(ws.cork(lambda ws: ws.send("x")))
        ws.close()
        ws.terminate()

    async with served(WebSocketHandler(close=use)) as place:
        ws, peer = await place.pair()
        ws.subscribe("news")
        match end:
            case "close":
                ws.close()
                assert ws.ready_state is ReadyState.CLOSING
                statuses.extend(send(ws) for send in NOTHING)
                assert await peer.receive_close() == (1000, "")
                await peer.send_close(1000)
            case "terminate":
                ws.terminate()
                statuses.extend(send(ws) for send in NOTHING)
            case "peer closes":
                await peer.send_close(1000)
                assert await peer.receive_close() == (1000, "")
            case _:
                await peer.stream.aclose()
        await ws.closed()
        await settled()
        assert ws.ready_state is ReadyState.CLOSED
        use(ws)
        if end != "peer vanishes":
            await peer.receive_eof()
        assert drops(ws) == 0  # not dropped for the limit
    assert set(statuses) == {0}
    assert {type(status) for status in statuses} == {MessageDropped}


NEITHER = [None, 1, 1.5, True, [b"x"], {"a": 1}, object()]


@pytest.mark.parametrize("data", NEITHER, ids=["None", "int", "float", "bool", "list", "dict", "object"])
async def test_05_what_is_neither_str_nor_buffer_raises_type_error(
    autojump_clock: MockClock,
    data: Any,  # noqa: ANN401  # wrong on purpose
) -> None:
    async with served() as place:
        ws, peer = await place.pair()
        ws.subscribe("news")
        for name in ["send", "send_text", "send_binary", "ping", "pong"]:
            with pytest.raises(TypeError, match=f"^{name} expects data to be a "):
                getattr(ws, name)(data)
        for name in ["publish", "publish_text", "publish_binary"]:
            with pytest.raises(TypeError, match=f"^{name} expects data to be a "):
                getattr(ws, name)("news", data)
        with pytest.raises(TypeError, match=r"^publish expects data to be a "):
            place.server.publish("news", data)
        with pytest.raises(TypeError, match=r"^send_wait expects data to be a "):
            await ws.send_wait(data)
        ws.send("end")
        assert await peer.receive_text() == "end"


@pytest.mark.parametrize("compress", [None, 0, 1, "yes", b""], ids=repr)
async def test_05_compress_must_be_a_bool(
    autojump_clock: MockClock,
    compress: Any,  # noqa: ANN401  # wrong on purpose
) -> None:
    async with served() as place:
        ws, peer = await place.pair()
        ws.subscribe("news")
        calls: list[tuple[str, Callable[[], object]]] = [
            ("send", lambda: ws.send("x", compress)),
            ("send", lambda: ws.send(b"x", compress=compress)),
            ("send_text", lambda: ws.send_text("x", compress)),
            ("send_binary", lambda: ws.send_binary(b"x", compress)),
            ("publish", lambda: ws.publish("news", "x", compress)),
            ("publish_text", lambda: ws.publish_text("news", "x", compress)),
            ("publish_binary", lambda: ws.publish_binary("news", b"x", compress)),
            ("publish", lambda: place.server.publish("news", "x", compress)),
        ]
        for name, call in calls:
            with pytest.raises(TypeError, match=f"^{name} expects compress to be a boolean"):
                call()
        with pytest.raises(TypeError, match=r"^send_wait expects compress to be a boolean"):
            await ws.send_wait("x", compress)
        ws.send("end")
        assert await peer.receive_text() == "end"


async def test_05_text_and_binary_methods_take_only_their_kind(autojump_clock: MockClock) -> None:
    async with served() as place:
        ws, peer = await place.pair()
        ws.subscribe("news")
        wrong: Any
        for wrong in [b"x", bytearray(b"x"), memoryview(b"x")]:
            with pytest.raises(TypeError, match=r"^send_text expects data to be a string"):
                ws.send_text(wrong)
            with pytest.raises(TypeError, match=r"^publish_text expects data to be a string"):
                ws.publish_text("news", wrong)
        wrong = "x"
        with pytest.raises(TypeError, match=r"^send_binary expects data to be a buffer"):
            ws.send_binary(wrong)
        with pytest.raises(TypeError, match=r"^publish_binary expects data to be a buffer"):
            ws.publish_binary("news", wrong)
        ws.send("end")
        assert await peer.receive_text() == "end"


@pytest.mark.parametrize("payload", [b"x" * 126, "é" * 63, bytearray(1000)], ids=["bytes", "str", "bytearray"])
async def test_05_a_ping_or_pong_over_125_bytes_raises_value_error_and_sends_nothing(
    autojump_clock: MockClock, payload: str | bytes
) -> None:
    async with served() as place:
        ws, peer = await place.pair()
        for name in ["ping", "pong"]:
            with pytest.raises(ValueError, match=f"^{name} expects data of at most 125 bytes, not 1"):
                getattr(ws, name)(payload)
        ws.send("end")
        assert await peer.receive_text() == "end"


@pytest.mark.parametrize("link", [memory, lockstep])
async def test_05_a_buffer_may_be_changed_after_the_call(autojump_clock: MockClock, link: Callable[[], Pair]) -> None:
    sends: list[Callable[[Socket, bytearray], object]] = [
        lambda ws, data: ws.send(data),
        lambda ws, data: ws.send(memoryview(data)),
        lambda ws, data: ws.send_binary(data),
        lambda ws, data: ws.ping(data),
        lambda ws, data: ws.pong(data),
        lambda ws, data: ws.publish("news", data),
        lambda ws, data: ws.publish_binary("news", data),
    ]
    async with served(WebSocketHandler(publish_to_self=True), link) as place:
        ws, peer = await place.pair()
        ws.subscribe("news")
        for number, send in enumerate(sends):
            data = bytearray(b"data %d" % number)
            send(ws, data)
            data.clear()  # nothing holds on to it either
        for number in range(len(sends)):
            assert (await peer.receive()).payload == b"data %d" % number


# 6: order


@pytest.mark.parametrize("congested", [False, True])
@pytest.mark.parametrize("link", [memory, lockstep, kernel])
async def test_06_what_is_sent_to_one_socket_arrives_in_call_order(
    autojump_clock: MockClock, link: Callable[[], Pair], congested: bool
) -> None:
    def message(ws: Socket, _: str | bytes) -> None:
        server = place.server
        ws.send("1")
        ws.publish("news", "2")
        ws.ping("3")
        ws.publish("other", "not to us")
        server.publish("news", BIG)
        ws.send("4")
        ws.send(BIG)
        ws.publish("news", "5")
        ws.publish("news", "6")
        ws.pong("7")
        ws.unsubscribe("news")
        server.publish("news", "not to us any more")
        ws.send("8")
        ws.subscribe("news")
        server.publish("news", "9")
        ws.close(4000, "10")
        server.publish("news", "too late")
        assert ws.send("too late") == 0

    handler = WebSocketHandler(open=lambda ws: ws.subscribe("news"), message=message, publish_to_self=True)
    async with served(handler, link) as place:
        ws, peer = await place.pair()
        if congested:
            ws.send(BIG)
            await settled()
        await peer.send_text("go")
        if congested:
            await receive_big(peer)
        for opcode, payload in [(TEXT, b"1"), (TEXT, b"2"), (PING, b"3"), (BINARY, BIG), (TEXT, b"4"), (BINARY, BIG)]:
            assert await peer.receive() == (opcode, payload, True, 0)
        for opcode, payload in [(TEXT, b"5"), (TEXT, b"6"), (PONG, b"7"), (TEXT, b"8"), (TEXT, b"9")]:
            assert await peer.receive() == (opcode, payload, True, 0)
        assert await peer.receive_close() == (4000, "10")
        await peer.send_close(4000)
        await peer.receive_eof()


async def test_06_sends_of_many_tasks_and_sockets_in_one_tick_arrive_in_call_order(autojump_clock: MockClock) -> None:
    called: list[bytes] = []

    def use(way: int) -> None:
        name = str(len(called))
        called.append(name.encode())
        match way:
            case 0:
                target.send(name)
            case 1:
                target.ping(name)
            case 2:
                other.publish("news", name)
            case 3:
                place.server.publish("news", name)
            case _:
                target.cork(lambda ws: ws.send(name))

    async def task(way: int) -> None:
        for turn in range(way, way + 5):
            use(turn % 5)
            await trio.lowlevel.checkpoint()

    def message(_: Socket, text: str | bytes) -> None:
        use(int(text))

    async with served(WebSocketHandler(message=message)) as place, trio.open_nursery() as nursery:
        target, peer = await place.pair()
        other, other_peer = await place.pair()
        target.subscribe("news")
        await other_peer.send(b"".join(RawPeer.frame(TEXT, b"%d" % way) for way in range(5)))
        for way in range(10):
            nursery.start_soon(task, way)
        await settled()
        assert len(called) == 55
        assert [(await peer.receive()).payload for _ in called] == called


async def test_06_a_send_from_another_thread_takes_its_place() -> None:
    async with served() as place:
        ws, peer = await place.pair()
        ws.send("1")
        await trio.to_thread.run_sync(lambda: trio.from_thread.run_sync(ws.send, "2"))
        ws.send("3")
        assert [await peer.receive_text() for _ in range(3)] == ["1", "2", "3"]


async def test_06_a_library_client_gets_messages_in_call_order(autojump_clock: MockClock) -> None:
    def message(ws: Socket, _: str | bytes) -> None:
        ws.send("sent")
        place.server.publish("news", "published")
        ws.send(b"big" + BIG)
        place.server.publish("news", "published again")
        ws.close(4000, "bye")

    handler = WebSocketHandler(open=lambda ws: ws.subscribe("news"), message=message)
    async with served(handler) as place, place.library_client() as (_, client):
        await client.send_message("hello")
        assert await client.get_message() == "sent"
        assert await client.get_message() == "published"
        assert await client.get_message() == b"big" + BIG
        assert await client.get_message() == "published again"
        with pytest.raises(ClientClosed):
            await client.get_message()
        assert client.closed is not None
        assert (client.closed.code, client.closed.reason) == (4000, "bye")


# 7: drain


async def test_07_drain_is_called_at_least_once_after_each_episode_and_not_without_one(
    autojump_clock: MockClock,
) -> None:
    calls: list[Socket] = []
    async with served(WebSocketHandler(drain=calls.append), kernel) as place:
        ws, peer = await place.pair()
        _, other_peer = await place.pair()
        for _ in range(3):
            ws.send("small")
            await settled()
            assert await peer.receive_text() == "small"
            await settled()
            assert calls == []
            ws.send(BIG)
            await settled()
            assert calls == []
            await receive_big(peer)
            await settled()
            assert set(calls) == {ws}
            calls.clear()
        assert not other_peer.received


async def test_07_drain_is_called_when_some_bytes_were_written(autojump_clock: MockClock) -> None:
    amounts: list[int] = []
    handler = WebSocketHandler(drain=lambda ws: amounts.append(ws.get_buffered_amount()))
    async with served(handler, kernel) as place:
        ws, peer = await place.pair()
        ws.send(BIG)
        before = ws.get_buffered_amount()
        await peer.receive_exactly(KERNEL)
        await settled()
        assert 0 < amounts[0] < before


async def test_07_drain_is_not_called_over_the_limit(autojump_clock: MockClock) -> None:
    amounts: list[int] = []
    handler = WebSocketHandler(drain=lambda ws: amounts.append(ws.get_buffered_amount()), backpressure_limit=BIG_FRAME)
    async with served(handler, kernel) as place:
        ws, peer = await place.pair()
        while ws.send(BIG) == -1:
            pass
        over = ws.get_buffered_amount()
        assert over > BIG_FRAME
        received = 0
        while ws.get_buffered_amount() > BIG_FRAME:
            received += len(await peer.receive_exactly(1000))
            await settled()
            assert bool(amounts) == (ws.get_buffered_amount() <= BIG_FRAME)
        assert BIG_FRAME - KERNEL < amounts[0] <= BIG_FRAME
        await peer.receive_exactly(2 * BIG_FRAME - received)
        await settled()
        assert amounts[-1] == 0
        assert max(amounts) <= BIG_FRAME


async def test_07_on_a_stream_drain_is_called_too(autojump_clock: MockClock) -> None:
    calls: list[Socket] = []
    async with served(WebSocketHandler(drain=calls.append), lockstep) as place:
        ws, peer = await place.pair()
        ws.send("a")
        await settled()
        assert await peer.receive_text() == "a"
        await settled()
        assert calls == []  # it was in flight, never unsent
        ws.send("b")
        await settled()
        ws.send("c")
        assert await peer.receive_text() == "b"
        await settled()
        assert calls == [ws]


@pytest.mark.parametrize("end", ["close", "terminate", "peer closes"])
@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_07_drain_is_never_called_while_closing_or_closed(autojump_clock: MockClock, end: str, kind: str) -> None:
    calls: list[Socket] = []

    async def drain(ws: Socket) -> None:
        calls.append(ws)
        await trio.lowlevel.checkpoint()

    handler = WebSocketHandler(drain=drain if kind == "async def" else calls.append)
    async with served(handler, kernel) as place:
        ws, peer = await place.pair()
        ws.send(BIG)
        match end:
            case "close":
                ws.close()
            case "terminate":
                ws.terminate()
            case _:
                await peer.send_close(1000)
        await settled()
        if end == "terminate":
            with pytest.raises(EOFError):
                await peer.receive()
        else:
            await receive_big(peer)
            assert await peer.receive_close() == (1000, "")
            await peer.send_close(1000)
            await peer.receive_eof()
        await ws.closed()
        await settled()
        assert calls == []


async def test_07_what_drain_sends_is_corked(autojump_clock: MockClock) -> None:
    taken: list[int] = []

    def drain(ws: Socket) -> None:
        if ws.get_buffered_amount() == 0 and not taken:
            taken.append(sent_out(ws))
            assert [ws.send("a"), ws.send("b"), ws.send("c")] == [1, 1, 1]
            taken.append(sent_out(ws))

    async with served(WebSocketHandler(drain=drain), kernel) as place:
        ws, peer = await place.pair()
        ws.send(BIG)
        await receive_big(peer)
        assert await peer.stream.receive_some() == b"\x81\x01a\x81\x01b\x81\x01c"
        before, after = taken
        assert before == after


async def test_07_a_send_in_drain_that_meets_backpressure_leads_to_another_drain(autojump_clock: MockClock) -> None:
    statuses: list[int] = []

    def drain(ws: Socket) -> None:
        if ws.get_buffered_amount() == 0 and len(statuses) < 5:
            statuses.append(ws.send(BIG))

    async with served(WebSocketHandler(drain=drain), kernel) as place:
        ws, peer = await place.pair()
        ws.send(BIG)
        await receive_big(peer, 6)
        assert statuses == [-1] * 5


async def test_07_an_async_drain_never_overlaps_itself_and_runs_once_more_for_later_edges(
    autojump_clock: MockClock,
) -> None:
    running = 0
    finished = 0
    go_on = trio.Event()

    async def drain(ws: Socket) -> None:
        nonlocal running, finished
        running += 1
        assert running == 1
        await go_on.wait()
        ws.send(f"drained {finished}")
        running -= 1
        finished += 1

    async with served(WebSocketHandler(drain=drain), kernel) as place:
        ws, peer = await place.pair()
        ws.send(BIG)
        await receive_big(peer)  # many writes, so many edges
        await settled()
        assert (running, finished) == (1, 0)
        ws.send("not held back by a drain that waits")
        assert await peer.receive_text() == "not held back by a drain that waits"
        go_on.set()
        await settled()
        assert (running, finished) == (0, 2)
        assert [await peer.receive_text() for _ in range(2)] == ["drained 0", "drained 1"]


async def test_07_an_async_drain_does_not_run_once_more_when_the_socket_closes(autojump_clock: MockClock) -> None:
    begun = 0
    go_on = trio.Event()

    async def drain(_: Socket) -> None:
        nonlocal begun
        begun += 1
        await go_on.wait()

    async with served(WebSocketHandler(drain=drain), kernel) as place:
        ws, peer = await place.pair()
        ws.send(BIG)
        await receive_big(peer)
        ws.close()
        go_on.set()
        assert await peer.receive_close() == (1000, "")
        await settled()
        assert begun == 1


async def test_07_a_library_client_gets_all_of_a_stream_paced_by_drain(autojump_clock: MockClock) -> None:
    chunks = [bytes([number]) * 50_000 for number in range(20)]
    waiting = list(chunks)

    def feed(ws: Socket, *_: object) -> None:
        while waiting and ws.send(waiting.pop(0)) > 0:
            pass

    handler = WebSocketHandler(message=feed, drain=feed, backpressure_limit=1000)
    async with served(handler, kernel) as place, place.library_client() as (ws, client):
        await client.send_message("go")
        assert [await client.get_message() for _ in chunks] == chunks
        assert drops(ws) == 0


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


async def test_08_publishing_triggers_it_too_and_the_others_get_everything(autojump_clock: MockClock) -> None:
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


async def test_08_without_it_the_socket_stays_open(autojump_clock: MockClock) -> None:
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


# 9: corks


async def test_09_cork_makes_one_write_and_returns_what_the_callback_returns(autojump_clock: MockClock) -> None:
    watched = Watched()
    async with served(link=watched) as place:
        ws, peer = await place.pair()
        watched.writes.clear()

        def callback(corked: Socket) -> list[int]:
            assert corked is ws
            return [corked.send("a"), corked.ping("b"), corked.send(b"c")]

        assert ws.cork(callback) == [1, 1, 1]
        await settled()
        assert watched.writes == [b"\x81\x01a\x89\x01b\x82\x01c"]
        assert ws.cork(lambda _: None) is None
        await settled()
        assert len(watched.writes) == 1
        assert await peer.receive_exactly(9) == watched.writes[0]


async def test_09_what_a_cork_holds_has_left_when_it_returns(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        ws, peer = await place.pair()
        before = sent_out(ws)
        with ws.corked():
            ws.send("a")
            await settled()
            assert sent_out(ws) == before
        assert sent_out(ws) == before + 3
        ws.cork(lambda ws: ws.send("b"))
        assert sent_out(ws) == before + 6
        assert await peer.stream.receive_some() == b"\x81\x01a\x81\x01b"


async def test_09_an_exception_propagates_after_the_flush(autojump_clock: MockClock) -> None:
    error = ValueError("of the callback")

    def callback(ws: Socket) -> None:
        ws.send("a")
        ws.send("b")
        raise error

    async with served(link=kernel) as place:
        ws, peer = await place.pair()
        before = sent_out(ws)
        with pytest.raises(ValueError, match="of the callback") as caught:
            ws.cork(callback)
        assert caught.value is error
        assert sent_out(ws) == before + 6

        def use_block() -> None:
            with ws.corked():
                ws.send("c")
                raise KeyError

        with pytest.raises(KeyError):
            use_block()
        assert sent_out(ws) == before + 9
        assert [await peer.receive_text() for _ in range(3)] == ["a", "b", "c"]
        ws.send("not corked any more")
        assert await peer.receive_text() == "not corked any more"


async def test_09_an_exception_in_a_cork_of_a_handler_reaches_the_error_handler(autojump_clock: MockClock) -> None:
    errors: list[Exception] = []

    def callback(ws: Socket) -> None:
        ws.send("sent before")
        raise KeyError("oops")

    handler = WebSocketHandler(
        message=lambda ws, _: ws.cork(callback),
        error=lambda exc, _: errors.append(exc),
    )
    async with served(handler) as place:
        ws, peer = await place.pair()
        await peer.send_text("go")
        assert await peer.receive_text() == "sent before"
        assert [repr(error) for error in errors] == ["KeyError('oops')"]
        assert ws.ready_state is ReadyState.OPEN


async def test_09_nested_corks_make_one_write(autojump_clock: MockClock) -> None:
    def inner(ws: Socket) -> str:
        ws.send("b")
        return "inner"

    def outer(ws: Socket) -> str:
        ws.send("a")
        before = sent_out(ws)
        value = ws.cork(inner)
        with ws.corked(), pytest.raises(ValueError, match="inside"):
            ws.cork(raising)
        assert sent_out(ws) == before
        ws.send("c")
        return value

    def raising(ws: Socket) -> None:
        ws.send("!")
        raise ValueError("inside")

    watched = Watched()
    async with served(link=watched) as place:
        ws, _ = await place.pair()
        watched.writes.clear()
        assert ws.cork(outer) == "inner"
        await settled()
        assert watched.writes == [b"\x81\x01a\x81\x01b\x81\x01!\x81\x01c"]


async def test_09_corks_of_several_sockets_work(autojump_clock: MockClock) -> None:
    watched = Watched()

    def both(one: Socket) -> int:
        one.send("1")
        return two.cork(lambda two: two.send("2") + one.send("1") + two.send("2"))

    async with served(link=watched) as place:
        one, one_peer = await place.pair()
        two, two_peer = await place.pair()
        watched.writes.clear()
        assert one.cork(both) == 3
        with one.corked(), two.corked():
            for ws in (one, two, one):
                ws.send("3")
        await settled()
        texts = [bytes(write).replace(b"\x81\x01", b"") for write in watched.writes]
        assert sorted(texts) == [b"11", b"22", b"3", b"33"]
        assert [await one_peer.receive_text() for _ in range(4)] == ["1", "1", "3", "3"]
        assert [await two_peer.receive_text() for _ in range(3)] == ["2", "2", "3"]


async def test_09_a_cork_under_backpressure_keeps_order_and_counts(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        ws, peer = await place.pair()
        ws.send(BIG)
        assert ws.cork(lambda ws: [ws.send("a"), ws.send("b")]) == [-1, -1]
        await receive_big(peer)
        assert [await peer.receive_text() for _ in range(2)] == ["a", "b"]


@pytest.mark.parametrize("callback", [None, 1, "callback"])
async def test_09_what_is_not_callable_raises_type_error(
    autojump_clock: MockClock,
    callback: Any,  # noqa: ANN401  # wrong on purpose
) -> None:
    async with served() as place:
        ws, _ = await place.pair()
        with pytest.raises(TypeError, match="cork expects callback to be callable"):
            ws.cork(callback)


@pytest.mark.parametrize("kind", ["message", "text", "ping", "pong"])
async def test_09_handlers_run_corked(autojump_clock: MockClock, kind: str) -> None:
    def send(ws: Socket, *_: object) -> None:
        ws.send("b")
        ws.send("c")

    def opened(ws: Socket) -> None:
        ws.send("a")
        ws.send("a")

    watched = Watched()
    handlers: dict[str, Any] = {kind: send}
    async with served(WebSocketHandler(open=opened, **handlers), watched) as place:
        _, peer = await place.pair()
        (first,) = watched.writes
        assert first.endswith(b"\r\n\r\n\x81\x01a\x81\x01a")
        opcode = {"ping": PING, "pong": PONG}.get(kind, TEXT)
        # One read makes one write, also when a handler is called twice.
        await peer.send(RawPeer.frame(opcode) + RawPeer.frame(opcode))
        await settled()
        pong = b"\x8a\x00" if kind == "ping" else b""
        assert watched.writes[1:] == [(pong + b"\x81\x01b\x81\x01c") * 2]


@pytest.mark.parametrize("kind", ["open", "message", "ping", "drain"])
async def test_09_an_async_handler_that_waits_does_not_hold_its_frames_back(
    autojump_clock: MockClock, kind: str
) -> None:
    never = trio.Event()

    async def send(ws: Socket, *_: object) -> None:
        ws.send("a")
        ws.send("b")
        await never.wait()

    handlers: dict[str, Any] = {kind: send}
    async with served(WebSocketHandler(**handlers), kernel) as place:
        peer = await place.open()
        match kind:
            case "message":
                await peer.send_text("go")
            case "ping":
                await peer.send(RawPeer.frame(PING))
                assert await peer.receive() == (PONG, b"", True, 0)
            case "drain":
                congest(place.sockets[0])
                await receive_big(peer)
            case _:
                pass
        assert [await peer.receive_text() for _ in range(2)] == ["a", "b"]


async def test_09_frames_of_an_async_cork_wait_until_its_end_or_16_kib(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        ws, peer = await place.pair()
        before = sent_out(ws)
        with ws.corked():
            ws.send("a")
            await settled()
            assert sent_out(ws) == before
            place.server.publish("news", "nothing to do with it")
            ws.send(BIG)
            assert sent_out(ws) > before
        assert await peer.receive_text() == "a"
        await receive_big(peer)
