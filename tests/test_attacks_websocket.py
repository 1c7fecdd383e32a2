"""Attacks by those who have opened a WebSocket: lengths, fragments, pings, floods, topics, and peers that hardly read.

Each test holds the memory to a bound and has others answered meanwhile, by `attacks.under_attack`.
"""

# ruff: noqa: ARG001 - a clock is asked for so that time jumps

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from attacks import KIB, Attack, under_attack
from links import kernel
from playground import Socket, settled

from trio_bunws import Limits, WebSocketHandler
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from trio.testing import MockClock

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
TIB = 1 << 40
MASK = b"\x12\x34\x56\x78"


def declared(opcode: int, size: int, *, fin: bool = True) -> bytes:
    """Return the header of a frame of so many bytes."""
    return bytes([fin << 7 | opcode, 0x80 | 127]) + size.to_bytes(8, "big") + MASK


class Sockets(list[Socket]):
    """The server's sockets but the bystander's, and how they closed."""

    def __init__(self) -> None:
        self.closes: list[tuple[int, str]] = []

    def close(self, _ws: Socket, code: int, reason: str) -> None:
        self.closes.append((code, reason))


async def flood(peer: RawPeer, data: bytes) -> int:
    """Send the same bytes again and again until the server ends the connection; return how often it took them."""
    times = 0
    try:
        while True:
            await peer.send(data)
            times += 1
    except trio.BrokenResourceError:
        return times


# Lengths and fragments


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_a_frame_of_1_tib_is_refused_by_its_header(opcode: int) -> None:
    sockets = Sockets()
    async with under_attack("1 TiB declared", WebSocketHandler(close=sockets.close), at_most=256 * KIB) as attack:
        async with await attack.open() as peer:
            await peer.send(declared(opcode, TIB))
            code, reason = await peer.receive_close()
            assert code == 1009
            assert str(TIB) in reason
            await peer.receive_eof()
            await attack.others_are_answered()
        await settled()
        assert sockets.closes == [(code, reason)]


async def test_a_continuation_of_1_tib_is_refused_by_its_header() -> None:
    async with (
        under_attack("1 TiB declared by a continuation", at_most=256 * KIB) as attack,
        await attack.open() as peer,
    ):
        await peer.send(RawPeer.frame(TEXT, b"x", fin=False) + declared(CONTINUATION, TIB))
        assert (await peer.receive_close())[0] == 1009
        await peer.receive_eof()


async def test_what_is_declared_and_does_not_come_takes_no_memory(autojump_clock: MockClock) -> None:
    """A hundred peers promise 16 MiB each, send a byte a minute, and are given up when they do not even that."""
    sockets = Sockets()
    handler = WebSocketHandler(close=sockets.close, send_pings=False)
    async with under_attack("16 MiB declared by 100 peers", handler, at_most=100 * 32 * KIB) as attack:
        peers = [await attack.open() for _ in range(100)]
        for peer in peers:
            await peer.send(declared(BINARY, 16 * KIB * KIB))
        for _ in range(5):
            await trio.sleep(60)
            await attack.others_are_answered()
            for peer in peers:
                await peer.send(b"x")
        for _ in range(3):
            await trio.sleep(50)
            await attack.others_are_answered()
        assert sockets.closes == [(1006, "WebSocket timed out from inactivity")] * 100
        for peer in peers:
            await trio.aclose_forcefully(peer.stream)


@pytest.mark.parametrize("payload", [b"", b"x", b"x" * 125])
async def test_endless_fragments_are_refused_when_there_are_too_many(payload: bytes) -> None:
    limits = Limits(max_fragments=4096)
    piece = RawPeer.frame(CONTINUATION, payload, fin=False) * 256
    async with (
        under_attack("endless fragments", at_most=2048 * KIB, limits=limits) as attack,
        await attack.open() as peer,
    ):
        await peer.send(RawPeer.frame(BINARY, payload, fin=False))
        taken = 0

        async def send() -> None:
            nonlocal taken
            taken = await flood(peer, piece)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            assert await peer.receive_close() == (1009, "Message in more than 4096 fragments")
            await attack.others_are_answered()
            await peer.stream.aclose()
        assert taken <= 4096 / 256 + 20  # what is read away until the end of the stream, and not kept


async def test_endless_fragments_with_pings_between_them_are_answered_and_bounded() -> None:
    limits = Limits(max_fragments=1000)
    piece = RawPeer.frame(CONTINUATION, b"x", fin=False) + RawPeer.frame(PING, b"?")
    async with (
        under_attack("fragments and pings", at_most=512 * KIB, limits=limits) as attack,
        await attack.open() as peer,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.send, RawPeer.frame(TEXT, b"x", fin=False) + piece * 1000)
            while (frame := await peer.receive()) == (PONG, b"?", True, 0):
                pass
            assert frame.close[0] == 1009
        await attack.others_are_answered()


# Pings


async def test_endless_pings_of_a_peer_that_reads_are_answered_and_nothing_piles_up() -> None:
    data = RawPeer.frame(PING, b"x" * 125) * 400
    pong = bytes([0x80 | PONG, 125]) + b"x" * 125
    async with under_attack("endless pings, read", at_most=1024 * KIB) as attack, await attack.open() as peer:

        async def read() -> None:
            while True:
                assert await peer.receive_exactly(len(pong)) == pong

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            for _ in range(20):
                await peer.send(data)
                await attack.others_are_answered()
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(peer.stream)


async def test_endless_pings_of_a_peer_that_does_not_read_leave_one_answer_waiting() -> None:
    """The answers that the kernel takes are its own; beyond them there is one, however many pings come."""
    sockets = Sockets()
    data = RawPeer.frame(PING, b"x" * 125) * 400
    handler = WebSocketHandler(open=sockets.append, close=sockets.close)
    async with (
        under_attack("endless pings, unread", handler, at_most=512 * KIB, link=kernel) as attack,
        await attack.open() as peer,
    ):
        ws = sockets[-1]
        for _ in range(40):
            await peer.send(data)
            await attack.others_are_answered()
            # The batch of the read in which the kernel refused, and one pong.
            assert ws.get_buffered_amount() < 40 * KIB
        assert ws.ready_state == 1
        await trio.aclose_forcefully(peer.stream)


async def test_endless_pings_to_a_slow_ping_handler_are_not_read(autojump_clock: MockClock) -> None:
    taken = 0

    async def ping(_ws: Socket, _data: bytes) -> None:
        await trio.sleep_forever()

    async def send() -> None:
        nonlocal taken
        while True:
            await peer.send(data)
            taken += 1

    data = RawPeer.frame(PING, b"x" * 125) * 400
    async with (
        under_attack("endless pings, slow handler", WebSocketHandler(ping=ping), at_most=512 * KIB) as attack,
        await attack.open() as peer,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            for _ in range(20):
                await attack.others_are_answered()
            assert taken <= 1  # what came before the first handler
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(peer.stream)


# Floods


@pytest.mark.parametrize("data", [RawPeer.frame(TEXT), RawPeer.frame(PING), RawPeer.frame(PONG)])
async def test_a_flood_of_empty_frames_does_not_keep_others_waiting(data: bytes) -> None:
    """Others are answered as long as it lasts, and no turn of the flooded connection is longer than its bound."""
    handled = 0
    longest = 0

    def count(*_: object) -> None:
        nonlocal handled
        handled += 1

    class Turns(trio.abc.Instrument):
        before = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - any task's
            self.before = handled

        def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
            nonlocal longest
            longest = max(longest, handled - self.before)

    handler = WebSocketHandler(message=count, ping=count, pong=count)
    async with (
        under_attack(
            "flood of empty frames", handler, at_most=1024 * KIB, link=trio.testing.memory_stream_pair
        ) as attack,
        await attack.open() as peer,
    ):
        data *= 64 * KIB // len(data)
        turns = Turns()
        trio.lowlevel.add_instrument(turns)
        for _ in range(2):
            attack.restart()
            await peer.send(data)
            await attack.others_are_answered()
            await settled()
            peer.received.clear()
        trio.lowlevel.remove_instrument(turns)
        assert handled > 20_000
        assert longest <= 2048 + 256
        await trio.aclose_forcefully(peer.stream)


async def test_a_flood_to_a_slow_handler_is_not_read(autojump_clock: MockClock) -> None:
    data = RawPeer.frame(BINARY, b"x" * 1000) * 64
    gate = trio.Event()

    async def binary(_ws: Socket, _message: bytes) -> None:
        await gate.wait()

    async with (
        under_attack("flood to a slow handler", WebSocketHandler(binary=binary), at_most=512 * KIB) as attack,
        await attack.open() as peer,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood, peer, data)
            for _ in range(20):
                await attack.others_are_answered()
            assert attack.server.statistics().messages_in <= 17 + 2 * attack.answers
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(peer.stream)


# Peers that hardly read


async def held(attack: Attack, sockets: Sockets, *, read: bool) -> None:
    """Publish to a peer until it is given up; it reads nothing, or one byte per second."""
    peer = await attack.open()
    ws = sockets[-1]
    assert ws.subscribe("news")

    async def reader() -> None:
        while ws.ready_state != 3:
            await trio.sleep(1)
            if read:
                await peer.stream.receive_some(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        for _ in range(300):
            attack.server.publish("news", b"x" * 1024)
            await trio.sleep(0.1)
            assert ws.get_buffered_amount() <= 64 * KIB + 2 * KIB
        assert ws.statistics().drops > 100
        while ws.ready_state == 1:
            await trio.sleep(10)
            await attack.others_are_answered()
    await trio.aclose_forcefully(peer.stream)


@pytest.mark.parametrize("read", [False, True], ids=["nothing", "one byte per second"])
async def test_a_peer_that_hardly_reads_holds_its_limit_and_is_given_up(read: bool, autojump_clock: MockClock) -> None:
    """One byte per second is no progress: nothing larger has gone since."""
    sockets = Sockets()
    handler = WebSocketHandler(open=sockets.append, close=sockets.close, backpressure_limit=64 * KIB)
    async with under_attack(
        f"a reader of {'a byte per second' if read else 'nothing'}", handler, at_most=512 * KIB
    ) as attack:
        await held(attack, sockets, read=read)
        assert sockets.closes == [(1006, "WebSocket timed out from inactivity")]


async def test_a_peer_that_reads_a_byte_per_second_cannot_prolong_a_close_for_ever(autojump_clock: MockClock) -> None:
    """Each byte is progress on a kernel's socket; so there is an end in all, the idle timeout."""
    sockets = Sockets()
    handler = WebSocketHandler(open=sockets.append, close=sockets.close, idle_timeout=60)
    async with under_attack("a close read by the byte", handler, at_most=1024 * KIB, link=kernel) as attack:
        peer = await attack.open()
        ws = sockets[-1]
        while ws.get_buffered_amount() < 128 * KIB:
            ws.send(b"x" * 16 * KIB)
        began = trio.current_time()
        ws.close(4000, "enough")
        while ws.ready_state != 3:
            await trio.sleep(1)
            await peer.stream.receive_some(1)
            await attack.others_are_answered()
        assert trio.current_time() - began < 62
        assert sockets.closes == [(4000, "enough")]
        await trio.aclose_forcefully(peer.stream)


# Topics


async def test_a_million_topics_are_refused_beyond_the_limit_and_cost_no_memory() -> None:
    sockets = Sockets()
    handler = WebSocketHandler(open=sockets.append)
    async with under_attack("a million topics", handler, at_most=1024 * KIB) as attack:
        peer = await attack.open()
        ws = sockets[-1]
        assert sum(ws.subscribe(str(number)) for number in range(1_000_000)) == Limits().max_topics_per_socket
        assert len(ws.subscriptions) == len(attack.server.topics()) == Limits().max_topics_per_socket
        await attack.others_are_answered()
        await trio.aclose_forcefully(peer.stream)
        await settled()
        assert attack.server.topics() == ()


async def test_topics_that_come_and_go_are_forgotten() -> None:
    """Of a message handler that subscribes to whatever the peer says: ten thousand names, one at a time."""

    def message(ws: Socket, message: str | bytes) -> None:
        assert isinstance(message, str)
        assert ws.subscribe(message)
        ws.publish(message, "x")
        assert ws.unsubscribe(message)

    frames = [
        b"".join(RawPeer.frame(TEXT, b"topic %d" % number) for number in range(start, start + 500))
        for start in range(0, 10_000, 500)
    ]
    async with (
        under_attack("topics that come and go", WebSocketHandler(message=message), at_most=512 * KIB) as attack,
        await attack.open() as peer,
    ):
        for some in frames:
            await peer.send(some)
            await attack.others_are_answered()
        assert attack.server.topics() == ()
        assert attack.server.statistics().messages_in == 10_000 + attack.answers
        await trio.aclose_forcefully(peer.stream)


@pytest.mark.parametrize("topic", ["", "x" * 1025])
async def test_a_topic_that_cannot_be_is_the_application_s_error_and_not_remembered(topic: str) -> None:
    errors: list[str] = []

    def message(ws: Socket, message: str | bytes) -> None:
        ws.subscribe(str(message))

    def error(exc: Exception, _ws: Socket) -> None:
        errors.append(type(exc).__name__)

    async with (
        under_attack("impossible topics", WebSocketHandler(message=message, error=error), at_most=1024 * KIB) as attack,
        await attack.open() as peer,
    ):
        await peer.send(RawPeer.frame(TEXT, topic.encode()) * 100)
        await attack.others_are_answered()
        assert errors == ["ValueError"] * 100
        assert attack.server.topics() == ()
        await trio.aclose_forcefully(peer.stream)
