"""BEHAVIOUR.md, "Liveness", sentence by sentence: 21 and 22, under a clock that jumps over every wait."""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from playground import Socket, playground, settled
from recorder import Recorder, handler_of, library_client

from trio_bunws import Limits, ReadyState, Request, Server, WebSocketHandler, open_server
from trio_bunws.testing import MemoryListener, RawPeer

if TYPE_CHECKING:
    from trio.testing import MockClock

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
IDLE = (1006, "WebSocket timed out from inactivity")


def kernel_pair() -> tuple[trio.abc.Stream, trio.abc.Stream]:
    """Connect two sockets in the kernel, where nothing takes time: the server's end is written to directly."""
    ours, servers = trio.socket.socketpair()
    return trio.SocketStream(ours), trio.SocketStream(servers)


async def arrivals(peer: RawPeer) -> list[tuple[float, bytes]]:
    """Return all that comes until the end of the stream, and the end, each with its time."""
    arrived: list[tuple[float, bytes]] = []
    data = b"?"
    while data:
        data = bytes(await peer.stream.receive_some())
        arrived.append((trio.current_time(), data))
    return arrived


async def keep_sending(peer: RawPeer, every: float, times: int) -> None:
    """Send a pong, byte by byte, one byte at a time."""
    frame = RawPeer.frame(PONG)
    for number in range(times):
        await trio.sleep(every)
        index = number % len(frame)
        await peer.send(frame[index : index + 1])


# 21. Silence

MARGINS = [
    (0.5, 0.25),
    (3, 1.5),
    (7.5, 3.75),
    (8, 4),
    (12, 8),
    (15.5, 11.5),
    (16, 8),
    (31, 23),
    (32, 16),
    (120, 104),
    (960, 944),
]


@pytest.mark.parametrize("kernel", [False, True], ids=["memory", "kernel"])
@pytest.mark.parametrize("begin", [0, 1000.25])
@pytest.mark.parametrize(("timeout", "ping_at"), MARGINS)
async def test_21_a_silent_peer_is_pinged_a_margin_before_it_is_given_up(
    timeout: float, ping_at: float, begin: float, kernel: bool, autojump_clock: MockClock
) -> None:
    record = Recorder()
    await trio.sleep(begin)
    listener = MemoryListener(kernel_pair if kernel else trio.testing.memory_stream_pair)
    async with open_server(None, record.handler(idle_timeout=timeout), listeners=[listener]):
        async with RawPeer(await listener.connect()) as peer:
            await peer.upgrade()
            # An empty ping; then the end, without a Close frame.
            assert await arrivals(peer) == [(begin + ping_at, b"\x89\x00"), (begin + timeout, b"")]
        await settled()
        assert record.closes == [IDLE]


async def test_21_the_default_is_120_seconds_with_a_ping_at_104(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        assert await arrivals(peer) == [(104, b"\x89\x00"), (120, b"")]
        await settled()
        assert record.closes == [IDLE]
        assert record.ws.ready_state is ReadyState.CLOSED


async def test_21_without_pings_a_silent_peer_is_given_up_without_a_word(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(idle_timeout=20, send_pings=False)) as play:
        peer = await play.open()
        assert await arrivals(peer) == [(20, b"")]
        await settled()
        assert record.closes == [IDLE]


@pytest.mark.parametrize("send_pings", [False, True])
async def test_21_zero_turns_pings_and_the_timeout_off(send_pings: bool, autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(idle_timeout=0, send_pings=send_pings)) as play:
        peer = await play.open()
        with trio.move_on_after(100_000) as waiting:
            await peer.receive()
        assert waiting.cancelled_caught
        record.ws.send("still here")
        assert await peer.receive_text() == "still here"


async def test_21_any_byte_re_arms_the_timeout(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(idle_timeout=20, send_pings=False)) as play:
        peer = await play.open()
        frame = RawPeer.frame(TEXT, b"slowly")
        for index in range(len(frame)):
            await trio.sleep(19)
            await peer.send(frame[index : index + 1])
        await settled()
        assert record.messages == ["slowly"]
        assert await arrivals(peer) == [(19 * len(frame) + 20, b"")]


async def test_21_every_silence_has_its_ping(autojump_clock: MockClock) -> None:
    async with playground(WebSocketHandler(idle_timeout=20)) as play:
        peer = await play.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_sending, peer, 19, 3)
            times = [12, 19 + 12, 38 + 12, 57 + 12]
            assert await arrivals(peer) == [*((at, b"\x89\x00") for at in times), (57 + 20, b"")]


async def test_21_a_peer_that_answers_pings_stays(autojump_clock: MockClock) -> None:
    record = Recorder()
    pongs: list[float] = []
    handler = record.handler(idle_timeout=20, pong=lambda _ws, _data: pongs.append(trio.current_time()))
    async with playground(handler) as play:
        peer = await play.open()
        for _ in range(10):
            assert await peer.receive() == (PING, b"", True, 0)
            await peer.send(RawPeer.frame(PONG))
        await settled()
        assert pongs == [12 * number for number in range(1, 11)]
        assert record.closes == []


async def test_21_a_library_client_stays(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(idle_timeout=8)) as play, library_client(await play.connect()) as client:
        await trio.sleep(1002)
        record.ws.send("still here")
        assert await client.get_message() == "still here"
    assert [code for code, _ in record.closes] == [1000]


@pytest.mark.parametrize("kernel", [False, True], ids=["memory", "kernel"])
@pytest.mark.parametrize("publish", [False, True])
async def test_21_sending_does_not_re_arm_the_timeout(kernel: bool, publish: bool, autojump_clock: MockClock) -> None:
    record = Recorder()
    listener = MemoryListener(kernel_pair if kernel else trio.testing.memory_stream_pair)
    async with open_server(None, record.handler(idle_timeout=20), listeners=[listener]) as server:
        async with RawPeer(await listener.connect()) as peer:
            await peer.upgrade()
            ws = record.ws
            ws.subscribe("news")
            while ws.ready_state is ReadyState.OPEN:
                if publish:
                    server.publish("news", "to nobody")
                else:
                    ws.send("to nobody")
                    ws.ping()
                await trio.sleep(0.75)
            assert 20 <= trio.current_time() < 21
        await settled()
        assert record.closes == [IDLE]


async def test_21_progress_of_unsent_bytes_re_arms_the_timeout(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(idle_timeout=20), lockstep=True) as play:
        peer = await play.open()
        ws = record.ws
        for number in range(8):
            ws.send(bytes([number]) * 70_000)
            await settled()
        assert ws.get_buffered_amount() > 480_000
        for number in range(8):
            await trio.sleep(15)
            assert (await peer.receive()).payload == bytes([number]) * 70_000
        assert record.closes == []
        assert ws.ready_state is ReadyState.OPEN


async def test_21_progress_through_the_kernel_re_arms_the_timeout(autojump_clock: MockClock) -> None:
    record = Recorder()
    listener = MemoryListener(kernel_pair)
    async with (
        open_server(None, record.handler(idle_timeout=20, send_pings=False), listeners=[listener]),
        RawPeer(await listener.connect()) as peer,
    ):
        await peer.upgrade()
        ws = record.ws
        for _ in range(4):
            ws.send(b"x" * 1_000_000)
        while ws.get_buffered_amount():
            await trio.sleep(15)
            await peer.stream.receive_some(500_000)
            await settled()
        assert trio.current_time() > 60
        assert ws.ready_state is ReadyState.OPEN
        await trio.sleep(21)
        assert record.closes == [IDLE]


async def test_21_a_large_message_that_is_read_piece_by_piece_re_arms_the_timeout(autojump_clock: MockClock) -> None:
    record = Recorder()
    payload = b"x" * 1_000_000
    async with playground(record.handler(idle_timeout=20), lockstep=True) as play:
        peer = await play.open()
        await settled()
        record.ws.send(payload)
        while len(peer.received) < 1_000_000:
            await trio.sleep(6)
            data = await peer.stream.receive_some(65_536)
            assert data, "given up"
            peer.received += data
        assert (await peer.receive()).payload == payload
        assert record.closes == []


async def test_21_a_peer_that_does_not_read_is_given_up(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(idle_timeout=20), lockstep=True) as play:
        await play.open()
        for _ in range(5):
            record.ws.send(b"x" * 70_000)
            await settled()
        await trio.sleep(19)
        assert record.closes == []
        await trio.sleep(2)
        assert record.closes == [IDLE]


async def test_21_each_socket_has_its_own_silence(autojump_clock: MockClock) -> None:
    ends: dict[int, float] = {}

    def closed(ws: Socket, _code: int, _reason: str) -> None:
        ends[ws.data] = trio.current_time()

    opened: list[Socket] = []
    handler = WebSocketHandler[Any](open=opened.append, close=closed, idle_timeout=20, send_pings=False)
    async with playground(handler) as play:
        peers: list[RawPeer] = []
        for number in range(5):
            peers.append(await play.open())
            opened[-1].data = number
            await trio.sleep(1)
        await peers[2].send_text("I am here")
        await trio.sleep(60)
    assert ends == {0: 20, 1: 21, 2: 25, 3: 23, 4: 24}


async def test_21_silence_while_paused_is_ours(autojump_clock: MockClock) -> None:
    record = Recorder()

    def message(ws: Socket, message: str | bytes) -> None:
        record.message(ws, message)
        ws.pause()

    async with playground(record.handler(idle_timeout=20, message=message)) as play:
        peer = await play.open()
        await peer.send_text("pause")
        await trio.sleep(1000)
        assert record.closes == []
        record.ws.resume()
        assert await arrivals(peer) == [(1012, b"\x89\x00"), (1020, b"")]


async def test_21_silence_while_paused_from_outside_is_ours(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(idle_timeout=20)) as play:
        peer = await play.open()
        await trio.sleep(5)
        record.ws.pause()
        await trio.sleep(1000)
        assert record.closes == []
        record.ws.resume()
        assert await arrivals(peer) == [(1005 + 12, b"\x89\x00"), (1005 + 20, b"")]


async def test_21_resume_of_a_socket_that_is_not_paused_re_arms_nothing(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(idle_timeout=20, send_pings=False)) as play:
        await play.open()
        for _ in range(19):
            await trio.sleep(1)
            record.ws.resume()
        await trio.sleep(1.5)
        assert record.closes == [IDLE]


async def test_21_silence_with_a_full_inbox_is_ours(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def message(ws: Socket, message: str | bytes) -> None:
        record.message(ws, message)
        await trio.sleep(100)

    async with playground(record.handler(idle_timeout=20, message=message, max_inbox=2)) as play:
        peer = await play.open()
        await peer.send(RawPeer.frame(TEXT, b"x") * 5)
        # 1 is handled from 0 on, 2 and 3 wait, 4 and 5 come in as these leave: at 200 there is room in the inbox.
        ended = (await arrivals(peer))[-1][0]
        assert 220 <= ended <= 320
        await trio.sleep(1000)
        assert record.closes == [IDLE]


async def test_21_silence_while_a_handler_waits_is_the_peers(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def message(ws: Socket, message: str | bytes) -> None:
        record.message(ws, message)
        await trio.sleep(100)

    async with playground(record.handler(idle_timeout=20, message=message)) as play:
        peer = await play.open()
        await peer.send_text("x")
        assert await arrivals(peer) == [(12, b"\x89\x00"), (20, b"")]


async def test_21_a_request_that_is_slow_to_be_upgraded_is_not_its_silence(autojump_clock: MockClock) -> None:
    async def fetch(request: Request, server: Server[Any]) -> None:
        await trio.sleep(9)
        assert server.upgrade(request)

    async with playground(WebSocketHandler(idle_timeout=20, send_pings=False), fetch) as play:
        peer = await play.open()
        assert await arrivals(peer) == [(29, b"")]


# 22. Pings and pongs of the client


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(125))])
@pytest.mark.parametrize("send_pings", [False, True])
async def test_22_a_ping_is_answered_with_its_payload(
    payload: bytes, send_pings: bool, autojump_clock: MockClock
) -> None:
    async with playground(WebSocketHandler(send_pings=send_pings)) as play:
        peer = await play.open()
        await peer.send(RawPeer.frame(PING, payload))
        assert await peer.receive() == (PONG, payload, True, 0)


@pytest.mark.parametrize("is_async", [False, True])
async def test_22_the_answer_comes_before_the_ping_handler(is_async: bool, autojump_clock: MockClock) -> None:
    def ping(ws: Socket, data: bytes) -> None:
        ws.send(data)

    async def async_ping(ws: Socket, data: bytes) -> None:
        ws.send(data)
        await trio.sleep(5)

    async with playground(WebSocketHandler(ping=async_ping if is_async else ping)) as play:
        peer = await play.open()
        await peer.send(RawPeer.frame(PING, b"one"))
        assert await peer.receive() == (PONG, b"one", True, 0)
        assert await peer.receive() == (BINARY, b"one", True, 0)


async def test_22_in_one_read_answers_and_messages_keep_their_order(autojump_clock: MockClock) -> None:
    def message(ws: Socket, message: str | bytes) -> None:
        ws.send(message)

    async with playground(WebSocketHandler(message=message)) as play:
        peer = await play.open()
        await peer.send(
            RawPeer.frame(TEXT, b"a")
            + RawPeer.frame(PING, b"b")
            + RawPeer.frame(TEXT, b"c", fin=False)
            + RawPeer.frame(PING, b"d")
            + RawPeer.frame(0, b"e")
        )
        got = [await peer.receive() for _ in range(4)]
        assert [(frame.opcode, frame.payload) for frame in got] == [(1, b"a"), (10, b"b"), (10, b"d"), (1, b"ce")]


@pytest.mark.parametrize("kind", ["message", "open", "session"])
async def test_22_a_ping_is_answered_also_while_an_async_handler_is_busy(kind: str, autojump_clock: MockClock) -> None:
    async def busy(*_: object) -> None:
        await trio.sleep(50)

    async with playground(handler_of(**{kind: busy})) as play:
        peer = await play.open()
        for number in range(1, 4):
            await peer.send(RawPeer.frame(TEXT, b"x") + RawPeer.frame(PING, b"%d" % number))
            assert await peer.receive() == (PONG, b"%d" % number, True, 0)
        assert trio.current_time() == 0


async def test_22_a_library_clients_ping_is_answered_while_a_handler_is_busy(autojump_clock: MockClock) -> None:
    async def message(_ws: Socket, _message: str | bytes) -> None:
        await trio.sleep(50)

    async with playground(WebSocketHandler(message=message)) as play, library_client(await play.connect()) as client:
        await client.send_message("busy")
        with trio.fail_after(1):
            await client.ping(b"are you there?")


async def test_22_with_a_full_inbox_pings_wait_unread(autojump_clock: MockClock) -> None:
    async def message(_ws: Socket, _message: str | bytes) -> None:
        await trio.sleep(50)

    async with playground(WebSocketHandler(message=message, max_inbox=2), lockstep=True) as play:
        peer = await play.open()
        await peer.send(RawPeer.frame(TEXT, b"x") * 3)
        with trio.move_on_after(49) as sending:
            await peer.send(RawPeer.frame(PING, b"unread"))
        assert sending.cancelled_caught
        assert await peer.receive() == (PONG, b"unread", True, 0)
        assert trio.current_time() == 50


async def test_22_while_paused_pings_wait_unread(autojump_clock: MockClock) -> None:
    record = Recorder()

    def message(ws: Socket, message: str | bytes) -> None:
        record.message(ws, message)
        if message == "pause":
            ws.pause()

    async with playground(record.handler(message=message), lockstep=True) as play:
        peer = await play.open()
        await peer.send(
            RawPeer.frame(PING, b"before")
            + RawPeer.frame(TEXT, b"pause")
            + RawPeer.frame(PING, b"after")
            + RawPeer.frame(TEXT, b"more")
        )
        assert await peer.receive() == (PONG, b"before", True, 0)
        with trio.move_on_after(100) as waiting:
            await peer.receive()
        assert waiting.cancelled_caught
        assert record.messages == ["pause"]
        record.ws.resume()
        assert await peer.receive() == (PONG, b"after", True, 0)
        await settled()
        assert record.messages == ["pause", "more"]


async def test_22_pings_wait_while_too_many_are_being_handled(autojump_clock: MockClock) -> None:
    got: list[tuple[float, bytes]] = []

    async def ping(_ws: Socket, data: bytes) -> None:
        got.append((trio.current_time(), data))
        await trio.sleep(1)

    async with playground(WebSocketHandler(ping=ping, max_inbox=2)) as play:
        peer = await play.open()
        await peer.send(b"".join(RawPeer.frame(PING, b"%d" % number) for number in range(6)))
        assert [(await peer.receive()).payload for _ in range(6)] == [b"%d" % number for number in range(6)]
        await trio.sleep(10)
    assert got == [(number, b"%d" % number) for number in range(6)]


@pytest.mark.parametrize("is_async", [False, True])
async def test_22_unsolicited_pongs_reach_the_pong_handler(is_async: bool, autojump_clock: MockClock) -> None:
    got: list[bytes] = []

    async def pong(_ws: Socket, data: bytes) -> None:
        await trio.sleep(1)
        got.append(data)

    handler = WebSocketHandler(pong=pong if is_async else lambda _ws, data: got.append(data))
    async with playground(handler) as play:
        peer = await play.open()
        await peer.send(RawPeer.frame(PONG, b"one") + RawPeer.frame(PONG) + RawPeer.frame(PONG, b"three"))
        with trio.move_on_after(5) as waiting:
            await peer.receive()
        assert waiting.cancelled_caught  # nobody answers a pong
        assert got == [b"one", b"", b"three"]


async def test_22_after_our_close_pings_are_not_answered(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(), limits=Limits(close_timeout=7)) as play:
        peer = await play.open()
        record.ws.close()
        await peer.send(RawPeer.frame(PING, b"late"))
        assert await peer.receive_close() == (1000, "")
        await peer.send(RawPeer.frame(PING, b"later"))
        await peer.receive_eof()


async def test_22_pings_before_the_peers_close_are_answered_before_its_answer(autojump_clock: MockClock) -> None:
    async with playground(WebSocketHandler()) as play:
        peer = await play.open()
        await peer.send(RawPeer.frame(PING, b"x") + RawPeer.close_frame(1000) + RawPeer.frame(PING, b"y"))
        assert await peer.receive() == (PONG, b"x", True, 0)
        assert await peer.receive_close() == (1000, "")
        await peer.receive_eof()
