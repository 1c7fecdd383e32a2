"""What one socket still has to write, on sinks that take everything, little, nothing, or fail.

Covers `trio_bunws._outbox` alone. The last test compares any sequence of calls with a model that knows only the bytes.
"""

from __future__ import annotations

import sys
import tracemalloc
from typing import TYPE_CHECKING, ClassVar

import pytest
import trio
import trio.testing
from hypothesis import given, settings, strategies as st
from scripts import scripts

from trio_bunws._outbox import BATCH, CONTROL_RESERVE, PIECE, PIECES_PER_TURN, SMALL, Outbox
from trio_bunws._topics import CLEAR, CONGESTED, OVER

if TYPE_CHECKING:
    from trio_bunws._outbox import Sink


class Kernel:
    """A sink that takes `room` bytes in all, like a socket whose peer does not read."""

    direct: ClassVar[bool] = True
    kernel_socket: None = None

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self.got: bytes | bytearray = b""
        self.writes = 0
        self.broken = False

    def try_write(self, data: bytes | bytearray | memoryview) -> int:
        if self.broken:
            raise trio.BrokenResourceError
        self.writes += 1
        taken = min(self.room, len(data))
        self.room -= taken
        self.got += data[:taken]
        return taken


class Stream(Kernel):
    """A sink that takes one write as a whole, and the next when that is done, like a transport over a stream."""

    direct: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.busy = False

    def try_write(self, data: bytes | bytearray | memoryview) -> int:
        self.room = 0 if self.busy else len(data)
        self.busy = True
        return super().try_write(data)

    def settle(self) -> None:
        self.busy = False


class Owner:
    """Remembers what the outbox said."""

    def __init__(self) -> None:
        self.pressure: int = CLEAR
        self.writer_calls = 0
        self.overflows = 0
        self.failures = 0

    def _pressure_changed(self, old: int, new: int) -> None:
        assert old == self.pressure != new
        self.pressure = new

    def _writer_needed(self) -> None:
        self.writer_calls += 1

    def _overflowed(self) -> None:
        self.overflows += 1

    def _write_failed(self) -> None:
        self.failures += 1


def make(sink: Sink, limit: int = 1000) -> tuple[Outbox, Owner]:
    owner = Owner()
    return Outbox(sink, owner, limit), owner


def stuck(limit: int = 1000) -> tuple[Outbox, Owner, Kernel]:
    """An outbox with one unsent byte."""
    kernel = Kernel()
    outbox, owner = make(kernel, limit)
    outbox.push(b"-")
    outbox.flush()
    assert outbox.buffered == 1
    return outbox, owner, kernel


def drain(outbox: Outbox, sink: Kernel) -> bytes:
    """Let everything out, and return all that the sink has got."""
    outbox.flush()
    while outbox.has_work:
        sink.room = 10**9
        if isinstance(sink, Stream):
            sink.settle()
        outbox.write_more()
    assert outbox.empty
    assert outbox.buffered == 0
    return bytes(sink.got)


# The batch


def test_a_new_outbox_is_empty_and_owns_no_queue() -> None:
    outbox, owner = make(Kernel())
    assert (outbox.empty, outbox.has_work, outbox.buffered, outbox.pressure) == (True, False, 0, CLEAR)
    outbox.flush()
    assert owner.writer_calls == 0


def test_a_batch_is_one_write() -> None:
    kernel = Kernel(100)
    outbox, owner = make(kernel)
    outbox.push(b"one")
    outbox.push(b"two")
    outbox.push_control(b"ping")
    assert outbox.push_batch(b"threefour", 2)
    outbox.push_raw(b"close")
    assert (kernel.writes, outbox.buffered, outbox.empty, outbox.has_work) == (0, 0, False, False)
    outbox.flush()
    assert (kernel.got, kernel.writes) == (b"onetwopingthreefourclose", 1)
    assert (outbox.empty, owner.writer_calls) == (True, 0)
    assert (outbox.messages_out, outbox.bytes_out, outbox.drops) == (4, 24, 0)


@pytest.mark.parametrize("push", ["push", "push_raw"])
def test_a_batch_of_16_kib_leaves_at_once_also_in_a_cork(push: str) -> None:
    kernel = Kernel(10 * BATCH)
    outbox, _ = make(kernel)
    outbox.corks = 1
    outbox.push(bytes(BATCH - 10))
    getattr(outbox, push)(bytes(9))
    assert kernel.got == b""
    getattr(outbox, push)(b"x")
    assert len(kernel.got) == BATCH
    assert outbox.empty


# Refusals


@pytest.mark.parametrize("room", [0, 1, 5])
def test_what_the_sink_refuses_is_unsent_and_leaves_later(room: int) -> None:
    kernel = Kernel(room)
    outbox, owner = make(kernel)
    outbox.push(b"abc")
    outbox.push(b"def")
    assert outbox.pressure == CLEAR
    outbox.flush()
    assert (kernel.got, outbox.buffered) == (b"abcdef"[:room], 6 - room)
    assert (owner.writer_calls, outbox.has_work, outbox.empty) == (1, True, False)
    assert outbox.pressure == owner.pressure == CONGESTED
    outbox.push(b"ghi")
    outbox.flush()
    assert (outbox.buffered, owner.writer_calls) == (9 - room, 1)
    kernel.room = 100
    assert outbox.write_more() == 9 - room
    assert (kernel.got, outbox.buffered, outbox.has_work) == (b"abcdefghi", 0, False)
    assert outbox.pressure == owner.pressure == CLEAR


def test_nothing_overtakes_unsent_bytes() -> None:
    outbox, _, kernel = stuck(limit=0)
    for number in range(300):
        frame = b"%d," % number * (1 if number % 7 else SMALL)
        [outbox.push, outbox.push_raw, outbox.push_control, outbox.push][number % 4](frame)
    expected = b"-" + b"".join(b"%d," % n * (1 if n % 7 else SMALL) for n in range(300))
    assert outbox.buffered == len(expected)
    assert drain(outbox, kernel) == expected


def test_a_turn_of_the_writer_is_bounded_and_goes_on() -> None:
    outbox, _, kernel = stuck(limit=0)
    outbox.push(bytes(PIECE * PIECES_PER_TURN))
    kernel.room = 10**9
    kernel.writes = 0
    assert outbox.write_more() == PIECE * (PIECES_PER_TURN - 1) + 1
    assert (kernel.writes, outbox.has_work, outbox.buffered) == (PIECES_PER_TURN, True, PIECE)
    assert outbox.write_more() == PIECE
    assert not outbox.has_work


def test_a_writer_that_is_woken_for_nothing_changes_nothing() -> None:
    outbox, owner, kernel = stuck()
    outbox.push(b"abc")
    assert outbox.write_more() == 0
    assert (outbox.buffered, outbox.has_work, owner.pressure) == (4, True, CONGESTED)
    assert drain(outbox, kernel) == b"-abc"


def test_a_million_small_frames_do_not_cost_a_million_objects() -> None:
    outbox, _, kernel = stuck(limit=0)
    frames = [b"\x82\x02%c%c" % (n & 255, n >> 8) for n in range(1 << 16)]
    size = sum(map(len, frames))
    tracemalloc.start()
    try:
        for frame in frames:
            outbox.push(frame)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert outbox.buffered == size + 1
    assert peak < 2 * size
    assert drain(outbox, kernel) == b"-" + b"".join(frames)


def test_what_has_left_does_not_occupy_memory() -> None:
    outbox, _, kernel = stuck(limit=0)
    frame = bytes(SMALL)
    tracemalloc.start()
    try:
        for _ in range(PIECES_PER_TURN * PIECE // SMALL):
            outbox.push(frame)
        kernel.got = bytearray()
        kernel.room = (PIECES_PER_TURN - 2) * PIECE
        outbox.write_more()
        kernel.got.clear()
        current, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert outbox.buffered == 2 * PIECE + 1
    assert current < 4 * PIECE


def test_large_frames_are_not_copied_into_the_queue() -> None:
    outboxes = [stuck(limit=0)[0] for _ in range(50)]
    frame = bytes(SMALL + 1)
    tracemalloc.start()
    try:
        for outbox in outboxes:
            assert outbox.push_batch(frame, 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(frame)


def test_the_frames_behind_a_buffer_that_is_being_written_do_not_get_into_it() -> None:
    outbox, _, kernel = stuck(limit=0)
    outbox.push(b"a" * PIECE)
    outbox.push(b"b" * 10)
    kernel.room = PIECE + 5
    outbox.write_more()
    outbox.push(b"c" * 10)
    outbox.push(b"d" * 10)
    assert drain(outbox, kernel) == b"-" + b"a" * PIECE + b"b" * 10 + b"c" * 10 + b"d" * 10


# The limit


def test_the_buffer_passes_the_limit_by_one_frame_at_most() -> None:
    outbox, owner, kernel = stuck(limit=10)
    outbox.push(b"x" * 9)
    assert (outbox.buffered, outbox.pressure) == (10, CONGESTED)
    outbox.push(b"x")
    assert (outbox.buffered, outbox.pressure) == (11, OVER)
    outbox.drop()
    assert not outbox.push_batch(b"three", 3)
    assert (outbox.drops, owner.overflows, outbox.buffered, outbox.messages_out) == (4, 2, 11, 3)
    kernel.room = 1
    outbox.write_more()
    assert (outbox.buffered, outbox.pressure) == (10, CONGESTED)
    assert outbox.push_batch(b"three", 3)
    assert (outbox.buffered, outbox.pressure, outbox.messages_out) == (15, OVER, 6)


def test_a_limit_of_0_never_drops() -> None:
    outbox, owner, _ = stuck(limit=0)
    outbox.push(bytes(10**6))
    assert outbox.push_batch(b"x", 1)
    assert (outbox.pressure, owner.overflows) == (CONGESTED, 0)


def test_a_new_limit_counts_at_once() -> None:
    outbox, owner, _ = stuck(limit=10)
    outbox.push(bytes(10))
    assert owner.pressure == OVER
    outbox.set_limit(11)
    assert owner.pressure == outbox.pressure == CONGESTED
    outbox.set_limit(5)
    assert owner.pressure == OVER
    outbox.set_limit(0)
    assert owner.pressure == CONGESTED
    assert outbox.buffered == 11


def test_there_is_room_up_to_the_limit_as_if_the_batch_were_refused() -> None:
    outbox, _ = make(Kernel(), limit=10)
    assert outbox.has_room(1000)  # the first one always
    outbox.push(b"1234")
    assert outbox.has_room(6)
    assert not outbox.has_room(7)
    outbox.flush()
    outbox.push(b"56")
    assert outbox.has_room(4)
    assert not outbox.has_room(5)
    outbox.set_limit(0)
    assert outbox.has_room(1000)


async def test_who_waits_for_room_is_woken_by_a_new_limit(nursery: trio.Nursery) -> None:
    outbox, _, _ = stuck(limit=10)
    nursery.start_soon(outbox.wait_change)
    await trio.testing.wait_all_tasks_blocked()
    outbox.set_limit(11)
    await trio.testing.wait_all_tasks_blocked()
    assert not nursery.child_tasks


def test_the_close_frame_goes_out_over_the_limit_and_last() -> None:
    outbox, owner, kernel = stuck(limit=1)
    outbox.push(b"message")
    outbox.push_raw(b"close")
    assert (owner.overflows, outbox.drops) == (0, 0)
    assert drain(outbox, kernel) == b"-messageclose"


def test_control_frames_over_the_limit_are_taken_up_to_the_reserve() -> None:
    outbox, owner, kernel = stuck(limit=1)
    assert outbox.push_control(bytes(99))  # under the limit: this does not count
    frame = bytes(127)
    accepted = 0
    while outbox.push_control(frame):
        accepted += 1
    assert accepted == CONTROL_RESERVE // len(frame)
    assert (outbox.drops, owner.overflows) == (1, 0)
    assert not outbox.push_control(frame)
    assert outbox.push_control(bytes(CONTROL_RESERVE % len(frame)))
    drain(outbox, kernel)
    kernel.room = 0
    outbox.push(b"xx")
    outbox.flush()
    assert outbox.pressure == OVER
    assert outbox.push_control(frame), "the reserve is there again"


def test_what_waits_counts_when_asked_for_room_and_the_first_bytes_always_fit() -> None:
    kernel = Kernel(room=3)
    outbox, _ = make(kernel, limit=10)
    assert outbox.has_room(1000)
    outbox.push(b"batch")
    assert outbox.has_room(5)
    assert not outbox.has_room(6)
    outbox.flush()
    assert outbox.buffered == 2
    assert outbox.has_room(8)
    assert not outbox.has_room(9)
    outbox.set_limit(0)
    assert outbox.has_room(1000)


# Automatic pongs


def test_pongs_all_leave_while_nothing_is_unsent() -> None:
    kernel = Kernel(100)
    outbox, _ = make(kernel)
    outbox.push_pong(b"pong1")
    outbox.push(b"message")
    outbox.push_pong(b"pong2")
    outbox.flush()
    assert kernel.got == b"pong1messagepong2"
    assert outbox.messages_out == 1


def test_one_unsent_pong_waits_and_a_newer_one_replaces_it_in_place() -> None:
    outbox, owner, kernel = stuck(limit=14)
    outbox.push(b"before")
    outbox.push_pong(b"pong1")
    outbox.push(b"af")
    assert (outbox.buffered, owner.pressure) == (14, CONGESTED)
    outbox.push_pong(b"longer pong2")
    assert (outbox.buffered, owner.pressure) == (21, OVER)
    outbox.push_pong(b"pg3")
    assert (outbox.buffered, owner.pressure) == (12, CONGESTED)
    assert drain(outbox, kernel) == b"-beforepg3af"


def test_a_pong_of_which_nothing_has_left_is_still_replaced() -> None:
    outbox, _, kernel = stuck()
    outbox.push_pong(b"pong1")
    kernel.room = 1
    assert outbox.write_more() == 1
    assert outbox.write_more() == 0
    outbox.push_pong(b"pong2")
    assert outbox.buffered == 5
    assert drain(outbox, kernel) == b"-pong2"


def test_a_pong_of_which_a_part_has_left_is_not_changed() -> None:
    outbox, _, kernel = stuck()
    outbox.push_pong(b"pong1")
    kernel.room = 3
    outbox.write_more()
    outbox.push_pong(b"pong2")
    outbox.push_pong(b"pong3")
    assert drain(outbox, kernel) == b"-pong1pong3"


@pytest.mark.parametrize("in_front", [b"", b"x" * 200, b"x" * (PIECE + 1)])
def test_a_peer_that_pings_and_reads_byte_by_byte_has_one_pong_waiting(in_front: bytes) -> None:
    outbox, _, kernel = stuck(limit=0)
    outbox.push(in_front)
    for number in range(100):
        outbox.push_pong(b"pong%02d" % number)
        kernel.room = number % 2
        outbox.write_more()
    outbox.push_pong(b"last")
    sent = drain(outbox, kernel)
    # It reads 50 bytes: those are at most of so many pongs.
    assert sent.count(b"pong") <= (10 if len(in_front) < 50 else 0)
    assert sent.startswith(b"-" + in_front)
    assert sent.endswith(b"last")


def test_what_a_send_to_many_left_over_is_offered_at_once_and_waits_if_it_is_refused() -> None:
    kernel = Kernel(room=3)
    outbox, owner = make(kernel)
    frames = b"hello world"
    outbox.push_rest(memoryview(frames)[2:])
    assert (kernel.got, outbox.bytes_out, outbox.buffered, owner.writer_calls) == (b"llo", 3, 6, 1)
    assert drain(outbox, kernel) == b"llo world"


# Streams without direct writes


def test_a_stream_takes_one_write_at_a_time() -> None:
    stream = Stream()
    outbox, owner = make(stream)
    outbox.push(b"one")
    outbox.flush()
    # Handed to the idle writer: not unsent, but not done either.
    assert (stream.got, outbox.buffered, outbox.pressure) == (b"one", 0, CLEAR)
    assert (outbox.has_work, outbox.empty, owner.writer_calls) == (True, False, 1)
    outbox.push(b"two")
    outbox.push_pong(b"pong1")
    outbox.push_pong(b"pong2")
    assert (outbox.buffered, outbox.pressure) == (8, CONGESTED)
    stream.settle()
    assert outbox.write_more() == 3
    assert (stream.got, outbox.buffered, outbox.has_work) == (b"onetwo", 5, True)
    stream.settle()
    assert outbox.write_more() == 5
    assert (stream.got, outbox.buffered, outbox.has_work) == (b"onetwopong2", 0, True)
    stream.settle()
    assert outbox.write_more() == 0
    assert (outbox.has_work, outbox.empty) == (False, True)


def test_a_stream_that_still_writes_what_was_discarded_gets_the_rest_later() -> None:
    stream = Stream()
    outbox, owner = make(stream)
    outbox.push(b"one")
    outbox.flush()
    outbox.discard()
    outbox.push(b"two")
    outbox.flush()
    assert (outbox.buffered, outbox.has_work, owner.writer_calls) == (3, True, 2)
    assert drain(outbox, stream) == b"onetwo"


# The end


def test_discarding_forgets_what_is_batched_and_unsent() -> None:
    outbox, owner, kernel = stuck(limit=1)
    outbox.push(b"unsent")
    outbox.push_pong(b"pong")
    outbox.discard()
    assert (outbox.buffered, outbox.empty, outbox.has_work, owner.pressure) == (0, True, False, CLEAR)
    kernel.room = 100
    outbox.push(b"batched")
    outbox.discard()
    outbox.flush()
    assert kernel.got == b""
    outbox.push_pong(b"new pong")
    outbox.flush()
    assert kernel.got == b"new pong"


def test_a_broken_sink_leaves_nothing_to_write() -> None:
    kernel = Kernel(100)
    kernel.broken = True
    outbox, owner = make(kernel)
    outbox.push(b"lost")
    outbox.flush()
    assert (outbox.broken, outbox.empty, outbox.buffered, owner.writer_calls) == (True, True, 0, 0)
    assert owner.failures == 1
    outbox.push(bytes(BATCH))
    assert (outbox.empty, outbox.buffered, owner.pressure) == (True, 0, CLEAR)
    outbox.fail()
    assert owner.failures == 1, "once is enough"


def test_a_sink_that_breaks_under_unsent_bytes_frees_them() -> None:
    outbox, owner, kernel = stuck(limit=1)
    outbox.push(b"unsent")
    assert owner.pressure == OVER
    kernel.broken = True
    assert outbox.write_more() == 0
    assert (outbox.broken, outbox.has_work, outbox.buffered, owner.pressure) == (True, False, 0, CLEAR)
    assert owner.failures == 1


async def test_who_waits_for_a_change_wakes_when_something_was_written_or_discarded() -> None:
    outbox, _, kernel = stuck()
    changes: list[int] = []

    async def wait() -> None:
        await outbox.wait_change()
        changes.append(outbox.buffered)

    async with trio.open_nursery() as nursery:
        for change in (outbox.write_more, lambda: outbox.set_limit(0), outbox.discard, outbox.fail):
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            outbox.push(b"unsent")
            await trio.testing.wait_all_tasks_blocked()
            assert changes == []
            kernel.room = 1
            change()
            await trio.testing.wait_all_tasks_blocked()
            assert changes == [outbox.buffered] * 2
            changes.clear()


async def test_who_waits_for_a_change_wakes_when_a_batch_was_written() -> None:
    outbox, _ = make(Kernel(100))
    outbox.push(b"batched")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.wait_change)
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        outbox.flush()
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 0


# Any sequence


def test_a_retired_outbox_keeps_its_counts_and_lets_go_of_its_owner() -> None:
    owner = Owner()
    sink = Kernel(room=3)
    outbox = Outbox(sink, owner, 10)
    outbox.push(b"x" * 20)
    outbox.flush()
    outbox.drop(2)
    assert owner.pressure == OVER
    held = sys.getrefcount(owner)
    outbox.retire()
    assert sys.getrefcount(owner) == held - 1
    assert owner.pressure == CLEAR
    assert (outbox.messages_out, outbox.bytes_out, outbox.drops, outbox.buffered) == (1, 3, 2, 0)
    # Whatever is still called has nobody to tell.
    outbox.drop()
    outbox.push(b"y" * 20)
    outbox.flush()
    outbox.fail()
    assert (owner.overflows, owner.writer_calls, owner.failures) == (1, 1, 0)


class Compared:
    """An outbox, and a model of it: the accepted bytes, how many of them were not offered, and the waiting pong."""

    def __init__(self, *, direct: bool, limit: int) -> None:
        self.sink = Kernel() if direct else Stream()
        self.outbox, self.owner = make(self.sink, limit)
        self.sent = 0
        """Bytes that the sink had before this call."""
        self.in_flight = False
        """Whether the sink was busy before this call."""
        self.items: list[bytes] = []
        self.batched = 0
        self.pong: int | None = None
        """Which item was a pong when it was accepted behind unsent bytes."""
        self.control_over = 0
        self.drops = 0

    @property
    def stream(self) -> bytes:
        return b"".join(self.items)

    @property
    def unsent(self) -> int:
        return len(self.stream) - self.batched - self.sent

    @property
    def blocked(self) -> bool:
        return self.unsent > 0 or self.in_flight

    @property
    def pressure(self) -> int:
        return CLEAR if not self.unsent else OVER if 0 < self.outbox.limit < self.unsent else CONGESTED

    def accept(self, data: bytes) -> None:
        blocked = self.blocked
        self.items.append(data)
        self.batched += 0 if blocked else len(data)
        if self.batched >= BATCH:
            self.batched = 0

    def push(self, data: bytes) -> None:
        if self.pressure != OVER:  # as its callers look first
            self.outbox.push(data)
            self.accept(data)

    def push_batch(self, data: bytes) -> None:
        over = self.pressure == OVER
        assert self.outbox.push_batch(data, 3) == (not over)
        if over:
            self.drops += 3
        else:
            self.accept(data)

    def push_raw(self, data: bytes) -> None:
        self.outbox.push_raw(data)
        self.accept(data)

    def push_control(self, data: bytes) -> None:
        reserved = self.control_over + len(data) if self.pressure == OVER else 0
        fits = reserved <= CONTROL_RESERVE
        assert self.outbox.push_control(data) == fits
        if fits:
            self.control_over = reserved
            self.accept(data)
        else:
            self.drops += 1

    def push_pong(self, data: bytes) -> None:
        self.outbox.push_pong(data)
        if self.blocked:
            if self.pong is not None and sum(map(len, self.items[: self.pong])) >= self.sent:
                self.items[self.pong] = data
                return
            self.pong = len(self.items)
        self.accept(data)

    def flush(self, room: bytes) -> None:
        self.sink.room = len(room)
        self.outbox.flush()
        self.batched = 0

    def set_limit(self, limit: bytes) -> None:
        self.outbox.set_limit(len(limit))

    def write(self, room: bytes) -> None:
        if not self.outbox.has_work:
            return
        sink = self.sink
        sink.room = len(room)
        writes = sink.writes
        if isinstance(sink, Stream):
            sink.settle()
        taken = self.outbox.write_more()
        assert taken == len(sink.got) - self.sent
        if sink.direct and taken < min(len(room), self.unsent):
            assert sink.writes - writes == PIECES_PER_TURN

    def check(self) -> None:
        outbox = self.outbox
        self.sent = len(self.sink.got)
        self.in_flight = isinstance(self.sink, Stream) and self.sink.busy
        if self.pressure != OVER:
            self.control_over = 0
        assert self.stream.startswith(self.sink.got)
        assert outbox.buffered == self.unsent
        assert outbox.pressure == self.owner.pressure == self.pressure
        assert outbox.has_work == self.blocked
        assert outbox.empty == (not self.batched and not self.blocked)
        waiting = len(self.stream) - self.sent
        for size in (1, 1000):
            assert outbox.has_room(size) == (not waiting or not outbox.limit or waiting + size <= outbox.limit)
        assert (outbox.bytes_out, outbox.drops) == (self.sent, self.drops)


CALLS = (
    *("push", "push", "push_batch", "push_raw", "push_control", "push_pong", "push_pong"),
    *("flush", "write", "write", "write", "set_limit"),
)
SIZES = (
    st.integers(1, 5)
    | st.integers(1, 200)
    | st.sampled_from([SMALL, SMALL + 1, BATCH - 1, BATCH, PIECE, PIECE + 1, 3 * PIECE])
)


@settings(max_examples=250)
@given(
    st.booleans(),
    st.sampled_from([0, 1, 300, BATCH, 2 * PIECE]),
    scripts(st.tuples(st.sampled_from(CALLS), SIZES), 60),
)
def test_any_sequence_of_calls_keeps_every_accepted_byte_in_order(
    direct: bool, limit: int, calls: list[tuple[str, int]]
) -> None:
    compared = Compared(direct=direct, limit=limit)
    for number, (call, size) in enumerate(calls):
        getattr(compared, call)(bytes([number]) * size)
        compared.check()
    assert drain(compared.outbox, compared.sink) == compared.stream
