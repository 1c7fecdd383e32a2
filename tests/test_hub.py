"""Publishing and the writing at the end of a tick: statuses, order, bounds, and turns for other tasks.

Covers `trio_bunws._hub` alone, with real outboxes on sinks that take so many bytes. The last test compares any
interleaving of calls and ticks with giving each publish to each subscriber by itself.
"""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ClassVar
from unittest import mock

import pytest
import trio
import trio.testing
from deflate_fakes import Marking
from hypothesis import given, settings, strategies as st
from scripts import scripts

from trio_bunws import _hub
from trio_bunws._hub import LOG_BYTES, LOG_ENTRIES, SOCKETS_PER_LOOK, SOCKETS_PER_TURN, TURN, Hub, Subscriber
from trio_bunws._outbox import Outbox
from trio_bunws._status import MessageBackpressured, MessageDropped, MessageSent, SendStatus
from trio_bunws._topics import CLEAR, OVER
from trio_bunws._wire.frames import binary_frame

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from trio_bunws._wire.compression import Outbound


class Kernel:
    """A sink that takes `room` bytes in all."""

    direct: ClassVar[bool] = True
    kernel_socket: None = None

    def __init__(self, room: float) -> None:
        self.room = room
        self.writes: list[bytes] = []
        self.on_write: Callable[[], None] = lambda: None

    def try_write(self, data: bytes | bytearray | memoryview) -> int:
        taken = int(min(self.room, len(data)))
        self.room -= taken
        if taken:
            self.writes.append(bytes(data[:taken]))
        self.on_write()
        return taken

    @property
    def got(self) -> bytes:
        return b"".join(self.writes)


class Socket(Subscriber):
    """The least that a socket is to a hub: it sends in order, and may leave when something was dropped."""

    def __init__(self, hub: Hub, *names: str, room: float = math.inf, limit: int = 0) -> None:
        super().__init__()
        self.hub = hub
        self.kernel = Kernel(room)
        self._outbox = Outbox(self.kernel, self, limit)
        self.leaves_on_overflow = False
        self.overflows = 0
        for name in names:
            self.subscribe(name)

    @property
    def topics(self) -> list[str]:
        return list(self._topics)

    @property
    def pressure(self) -> int:
        return self._outbox.pressure

    def subscribe(self, name: str) -> None:
        if name not in self._topics:
            self.hub.catch_up(self)
            self.hub.subscribe(self, name)

    def unsubscribe(self, name: str) -> None:
        if name in self._topics:
            self.hub.unsubscribe(self, name)

    def send(self, frame: bytes) -> bool:
        self.hub.catch_up(self)
        if self.pressure == OVER:
            self._outbox.drop()
            return False
        self._outbox.push(frame)
        self.hub.mark_dirty(self)
        return True

    def close(self) -> None:
        self.hub.catch_up(self)
        self.hub.leave(self)
        self._outbox.push_raw(b"<close>")
        self._outbox.flush()

    def stick(self) -> None:
        """Have one unsent byte."""
        self.kernel.room = 0
        self._outbox.push(b"-")
        self._outbox.flush()

    def _writer_needed(self) -> None:
        """Tests write by themselves."""

    def _write_failed(self) -> None:
        """No sink here fails."""

    def _overflowed(self) -> None:
        self.overflows += 1
        if self.leaves_on_overflow:
            self.hub.leave(self)
            self._outbox.discard()


@asynccontextmanager
async def running(hub: Hub) -> AsyncGenerator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.run)
        yield
        nursery.cancel_scope.cancel()


async def first_write(socket: Socket) -> None:
    """Wait for the turn in which a socket is served; the next turn may be over too then, but not the one after it."""
    written = trio.Event()
    socket.kernel.on_write = written.set
    await written.wait()


def publish(
    hub: Hub, name: str, frame: bytes, sender: Subscriber | None = None, *, compress: bool = False
) -> SendStatus:
    return hub.publish(name, frame, len(frame), sender, compress)


# The status


def test_without_a_receiver_a_publish_is_dropped() -> None:
    hub = Hub()
    ann = Socket(hub, "room")
    assert publish(hub, "empty", b"x") is MessageDropped()
    assert publish(hub, "room", b"x", ann) is MessageDropped()
    hub.apply()
    assert ann.kernel.got == b""


def test_the_status_is_the_size_of_the_payload_for_any_number_of_receivers() -> None:
    hub = Hub()
    ann, bob = Socket(hub, "room"), Socket(hub, "room")
    assert hub.publish("room", b"header and payload", 7, ann) == MessageSent(7)
    assert hub.publish("room", b"header and payload", 5000, None) == MessageSent(5000)
    assert hub.publish("room", b"header", 0, None) == MessageSent(0)
    assert isinstance(hub.publish("room", b"header", 0, None), MessageSent)
    assert (ann.kernel.got, bob.kernel.got) == (b"", b"")


def test_the_status_is_the_worst_of_the_receivers() -> None:
    hub = Hub()
    ann, bob, cid = (Socket(hub, "room", limit=10) for _ in range(3))
    outsider = Socket(hub, "other", limit=1)
    outsider.stick()
    assert publish(hub, "room", b"x") == 1
    bob.stick()
    assert publish(hub, "room", b"x") is MessageBackpressured()
    cid.stick()
    cid._outbox.push(bytes(10))
    assert publish(hub, "room", b"x") is MessageDropped()
    assert publish(hub, "room", b"x", ann) is MessageDropped()
    cid.close()
    assert publish(hub, "room", b"x") is MessageBackpressured()
    bob.unsubscribe("room")
    assert publish(hub, "room", b"x") == 1


@pytest.mark.parametrize("unsent", [0, 20])
def test_the_sender_does_not_count(unsent: int) -> None:
    hub = Hub()
    ann, bob = Socket(hub, "room", limit=10), Socket(hub, "room")
    ann.stick()
    ann._outbox.push(bytes(unsent))
    assert publish(hub, "room", b"x", ann) == 1
    assert publish(hub, "room", b"x", bob) == (0 if unsent else -1)


def test_the_sender_need_not_be_subscribed() -> None:
    hub = Hub()
    ann, bob = Socket(hub, limit=1), Socket(hub, "room")
    ann.stick()
    assert publish(hub, "room", b"hello", ann) == 5
    hub.apply()
    assert bob.kernel.got == b"hello"


def test_a_pressure_that_changes_is_counted_in_every_topic() -> None:
    hub = Hub()
    ann = Socket(hub, "a", "b", limit=10)
    ann.stick()
    assert (publish(hub, "a", b"x"), publish(hub, "b", b"x")) == (-1, -1)
    ann.subscribe("c")
    assert publish(hub, "c", b"x") == -1
    ann.kernel.room = math.inf
    ann._outbox.write_more()
    assert (publish(hub, "a", b"x"), publish(hub, "b", b"x"), publish(hub, "c", b"x")) == (1, 1, 1)


# Delivery


async def test_a_tick_is_one_write_per_socket() -> None:
    hub = Hub()
    ann, bob = Socket(hub, "a", "b"), Socket(hub, "b")
    outsider = Socket(hub, "c")
    async with running(hub):
        publish(hub, "a", b"1")
        publish(hub, "b", b"2", bob)
        publish(hub, "b", b"3", ann)
        assert ann.kernel.writes == bob.kernel.writes == []
        await trio.testing.wait_all_tasks_blocked()
        assert (ann.kernel.writes, bob.kernel.writes) == ([b"12"], [b"3"])
        publish(hub, "b", b"4")
        await trio.testing.wait_all_tasks_blocked()
        assert (ann.kernel.writes, bob.kernel.writes) == ([b"12", b"4"], [b"3", b"4"])
    assert outsider.kernel.writes == []


async def test_what_a_socket_sends_is_written_by_the_next_tick_together_with_publishes() -> None:
    hub = Hub()
    ann, bob = Socket(hub, "room"), Socket(hub)
    async with running(hub):
        publish(hub, "room", b"1")
        ann.send(b"2")
        publish(hub, "room", b"3")
        ann.send(b"4")
        publish(hub, "room", b"5")
        bob.send(b"6")
        bob.send(b"7")
        await trio.testing.wait_all_tasks_blocked()
        assert ann.kernel.writes == [b"12345"]
        assert bob.kernel.writes == [b"67"]
        ann.send(b"8")
        await trio.testing.wait_all_tasks_blocked()
        assert ann.kernel.writes == [b"12345", b"8"]


async def test_a_tick_is_timed_from_its_first_publish_to_its_last_write() -> None:
    hub = Hub()
    member = Socket(hub, "room")
    with mock.patch.object(_hub, "perf_counter", side_effect=[100.0, 100.25, 200.0, 200.5]):
        async with running(hub):
            for ticks, seconds in (1, 0.25), (2, 0.75):
                hub.publish("room", binary_frame(b"one"), 3, None)
                hub.publish("room", binary_frame(b"two"), 3, None)
                await first_write(member)
                await trio.testing.wait_all_tasks_blocked()
                assert (hub.ticks, hub.tick_seconds) == (ticks, seconds)


async def test_a_tick_that_was_held_is_timed_from_there_whoever_writes_it() -> None:
    hub = Hub()
    socket = Socket(hub)
    many = [Socket(hub, "room") for _ in range(SOCKETS_PER_LOOK + 1)]
    # A hold after which nothing has come together, one for `settle`, one for the task.
    with mock.patch.object(_hub, "perf_counter", side_effect=[100.0, 200.0, 200.25, 300.0, 300.5]):
        async with running(hub):
            await trio.testing.wait_all_tasks_blocked()
            hub.hold()
            hub.settle()
            assert hub.ticks == 0
            hub.hold()
            socket.send(b"x")
            hub.settle()
            assert (hub.ticks, hub.tick_seconds) == (1, 0.25)
            hub.hold()
            hub.publish("room", binary_frame(b"one"), 3, None)
            hub.settle()
            assert hub.ticks == 1
            await first_write(many[-1])
            await trio.testing.wait_all_tasks_blocked()
            assert (hub.ticks, hub.tick_seconds) == (2, 0.75)


async def test_what_was_published_before_the_hub_runs_is_not_lost() -> None:
    hub = Hub()
    ann = Socket(hub, "room")
    publish(hub, "room", b"early")
    ann.send(b" bird")
    async with running(hub):
        await trio.testing.wait_all_tasks_blocked()
    assert ann.kernel.got == b"early bird"


async def test_a_cork_holds_back_what_a_tick_brings() -> None:
    hub = Hub()
    ann = Socket(hub, "room")
    ann._outbox.corks = 1
    async with running(hub):
        publish(hub, "room", b"1")
        ann.send(b"2")
        await trio.testing.wait_all_tasks_blocked()
    assert ann.kernel.writes == []
    ann._outbox.flush()
    assert ann.kernel.writes == [b"12"]


def test_who_subscribes_gets_nothing_published_before() -> None:
    hub = Hub()
    ann = Socket(hub, "a")
    Socket(hub, "b")
    publish(hub, "a", b"1")
    publish(hub, "b", b"before")
    ann.subscribe("b")
    publish(hub, "b", b"2")
    publish(hub, "a", b"3")
    hub.apply()
    assert ann.kernel.got == b"123"


def test_who_unsubscribes_or_closes_still_gets_what_was_published_before() -> None:
    hub = Hub()
    ann, bob = Socket(hub, "room", "other"), Socket(hub, "room")
    publish(hub, "room", b"1")
    ann.unsubscribe("room")
    publish(hub, "room", b"2")
    bob.close()
    assert publish(hub, "room", b"3") is MessageDropped()
    ann.subscribe("room")
    publish(hub, "room", b"4")
    hub.apply()
    assert (ann.kernel.got, bob.kernel.got) == (b"14", b"12<close>")
    assert (ann.topics, bob.topics) == (["other", "room"], [])


async def test_what_one_that_unsubscribed_had_to_get_leaves_with_the_tick_or_its_cork() -> None:
    hub = Hub()
    ann, bob = Socket(hub, "room"), Socket(hub, "room")
    bob._outbox.corks += 1
    async with running(hub):
        publish(hub, "room", b"1")
        for socket in (ann, bob):
            socket.unsubscribe("room")
        await trio.testing.wait_all_tasks_blocked()
    assert (ann.kernel.got, bob.kernel.got) == (b"1", b"")
    bob._outbox.corks -= 1
    bob._outbox.flush()
    assert bob.kernel.got == b"1"


def test_who_leaves_gets_nothing_any_more_and_empties_its_topics() -> None:
    hub = Hub()
    ann, bob = Socket(hub, "a", "b"), Socket(hub, "b", limit=1)
    ann.stick()
    publish(hub, "a", b"x")
    hub.leave(ann)
    hub.apply()
    assert ann.kernel.got == b""
    assert ann._outbox.buffered == 1
    assert hub.topics.names() == ("b",)
    assert hub.topics.members("b") == (bob,)
    assert publish(hub, "b", b"x") == 1
    hub.leave(ann)


def test_one_who_has_subscribed_to_nothing_catches_up_with_nothing() -> None:
    hub = Hub()
    ann = Socket(hub)
    Socket(hub, "room")
    publish(hub, "room", b"x")
    hub.catch_up(ann)
    assert ann._outbox.empty


# The limit of a receiver


def test_a_tick_s_batch_is_taken_whole_or_dropped_whole_and_counted_one_by_one() -> None:
    hub = Hub()
    ann, bob = Socket(hub, "room", room=0, limit=100), Socket(hub, "room")
    for _ in range(2):
        for _ in range(5):
            publish(hub, "room", bytes(99))
        hub.apply()
    assert (ann._outbox.buffered, ann._outbox.drops, ann.overflows) == (495, 5, 1)
    assert (ann._outbox.messages_out, bob._outbox.messages_out) == (5, 10)
    assert len(bob.kernel.got) == 990


def test_a_receiver_that_ends_by_what_is_dropped_does_not_disturb_the_others() -> None:
    hub = Hub()
    before, ann, after = Socket(hub, "a"), Socket(hub, "a", "b", limit=1), Socket(hub, "a")
    ann.leaves_on_overflow = True
    ann.stick()
    ann._outbox.push(b"--")
    publish(hub, "a", b"1")
    hub.apply()
    assert (before.kernel.got, after.kernel.got) == (b"1", b"1")
    assert (ann.topics, hub.topics.names()) == ([], ("a",))


def test_unsubscribing_may_end_the_socket() -> None:
    hub = Hub()
    ann = Socket(hub, "a", "b", limit=1)
    ann.leaves_on_overflow = True
    ann.stick()
    ann._outbox.push(b"--")
    publish(hub, "a", b"1")
    ann.unsubscribe("a")
    assert (ann.topics, hub.topics.names()) == ([], ())


# The bounds of the log


def test_a_full_log_is_applied_at_once() -> None:
    hub = Hub()
    ann = Socket(hub, "room")
    for _ in range(LOG_ENTRIES - 1):
        publish(hub, "room", b"x")
    assert ann.kernel.got == b""
    publish(hub, "room", b"x")
    assert ann.kernel.writes == [b"x" * LOG_ENTRIES]
    publish(hub, "room", b"y")
    assert len(ann.kernel.writes) == 1


def test_a_log_of_a_mebibyte_is_applied_before_it_grows_on() -> None:
    hub = Hub()
    ann = Socket(hub, "room")
    publish(hub, "room", bytes(LOG_BYTES - 1))
    publish(hub, "room", b"x")
    assert ann.kernel.writes == []
    publish(hub, "room", b"y")
    assert list(map(len, ann.kernel.writes)) == [LOG_BYTES]
    hub.apply()
    assert ann.kernel.writes[1:] == [b"y"]


def test_a_message_larger_than_the_log_is_published_by_itself() -> None:
    hub = Hub()
    ann = Socket(hub, "room")
    publish(hub, "room", bytes(LOG_BYTES + 1))
    assert ann.kernel.writes == []
    publish(hub, "room", b"next")
    assert list(map(len, ann.kernel.writes)) == [LOG_BYTES + 1]


def test_a_publish_that_applies_the_log_first_tells_what_that_has_shown() -> None:
    hub = Hub()
    ann = Socket(hub, "room", room=100, limit=LOG_BYTES // 2)
    bob = Socket(hub, "room", limit=1)
    bob.leaves_on_overflow = True
    assert publish(hub, "room", bytes(LOG_BYTES)) == LOG_BYTES
    assert publish(hub, "room", b"x") is MessageDropped()
    assert ann.overflows == 0
    ann.close()
    bob.stick()
    bob._outbox.push(b"--")
    assert publish(hub, "room", bytes(LOG_BYTES)) is MessageDropped()
    assert publish(hub, "room", b"x") is MessageDropped(), "the last receiver has just left"
    assert hub._log.size == 0


# Compression


def compressing(hub: Hub, deflate: Outbound, *names: str, limit: int = 0) -> Socket:
    socket = Socket(hub, *names, limit=limit)
    hub.compress_for(socket, deflate)
    return socket


def test_a_publish_is_compressed_for_those_who_compress() -> None:
    hub = Hub()
    shared, own = Marking(b"s"), Marking(b"t", takeover=True)
    plain = Socket(hub, "room")
    together = [compressing(hub, shared, "room") for _ in range(3)]
    apart = [compressing(hub, own, "room") for _ in range(2)]
    one, two = binary_frame(b"one"), binary_frame(b"two")
    assert publish(hub, "room", one, compress=True) == len(one)
    assert publish(hub, "room", two, apart[1]) == len(two)
    hub.apply()
    assert plain.kernel.got == one + two
    assert [socket.kernel.got for socket in together] == [b"sone" + two] * 3
    assert [socket.kernel.got for socket in apart] == [b"tone" + two, b"tone"]
    assert (shared.compressed, own.compressed) == ([b"one"], [b"one"] * 2)


def test_a_batch_that_is_dropped_is_not_compressed() -> None:
    hub = Hub()
    own = Marking(b"t", takeover=True)
    ann = compressing(hub, own, "room", limit=3)
    ann.stick()
    ann._outbox.push(b"---")
    for payload in (b"one", b"two"):
        publish(hub, "room", binary_frame(payload), compress=True)
    hub.apply()
    assert own.compressed == []
    assert (ann._outbox.drops, ann.overflows) == (2, 1)
    ann.kernel.room = math.inf
    ann._outbox.write_more()
    publish(hub, "room", binary_frame(b"three"), compress=True)
    hub.apply()
    assert ann.kernel.got == b"----tthree"


def test_who_gets_nothing_of_the_log_has_nothing_compressed() -> None:
    hub = Hub()
    own = Marking(b"t", takeover=True)
    ann = compressing(hub, own, "room", "empty")
    Socket(hub, "room")
    publish(hub, "room", binary_frame(b"one"), ann, compress=True)
    hub.apply()
    assert (ann.kernel.got, own.compressed, ann._outbox.messages_out) == (b"", [], 0)


def test_while_nobody_compresses_a_publish_is_none_to_compress() -> None:
    hub = Hub()
    ann = Socket(hub, "room")
    publish(hub, "room", binary_frame(b"x"), compress=True)
    assert not hub._log.compresses
    bob = compressing(hub, Marking(b"s"), "other")
    publish(hub, "room", binary_frame(b"x"), compress=True)
    assert hub._log.compresses
    hub.apply()
    bob.close()
    bob.close()
    publish(hub, "room", binary_frame(b"x"), compress=True)
    assert not hub._log.compresses
    hub.apply()
    assert ann.kernel.got == 3 * binary_frame(b"x")


async def test_with_something_to_compress_the_clock_is_looked_at_after_each_socket(
    mock_clock: trio.testing.MockClock,
) -> None:
    hub = Hub()
    notes: list[str] = []

    def write() -> None:
        notes.append("s")
        mock_clock.jump(TURN)

    for _ in range(4):
        compressing(hub, Marking(b"t", takeover=True), "room").kernel.on_write = write
    async with running(hub):
        publish(hub, "room", binary_frame(b"x"), compress=True)
        trio.lowlevel.add_instrument(Steps(notes))
        await trio.testing.wait_all_tasks_blocked()
    assert "".join(notes).split() == ["s"] * 4


# Held


async def test_a_little_that_was_held_is_delivered_by_settle_and_wakes_nobody() -> None:
    hub = Hub()
    ann, bob, cid = Socket(hub, "room"), Socket(hub, "room"), Socket(hub)
    steps: list[str] = []
    async with running(hub):
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.add_instrument(Steps(steps))
        hub.hold()
        publish(hub, "room", b"1", ann)
        cid.send(b"2")
        bob.send(b"3")
        assert ann.kernel.writes == bob.kernel.writes == cid.kernel.writes == []
        hub.settle()
        assert (ann.kernel.got, bob.kernel.got, cid.kernel.got) == (b"", b"13", b"2")
        assert (hub._log.size, steps) == (0, [])
        hub.settle()
        hub.hold()
        hub.settle()  # nothing has come together
        publish(hub, "room", b"4")
        assert ann.kernel.got == b""
        await trio.testing.wait_all_tasks_blocked()
        assert (ann.kernel.got, bob.kernel.got) == (b"4", b"134")


@pytest.mark.parametrize("members", [SOCKETS_PER_LOOK, SOCKETS_PER_LOOK + 1])
@pytest.mark.parametrize("senders", [0, 1])
async def test_more_than_a_little_is_left_to_the_task(members: int, senders: int) -> None:
    hub = Hub()
    sockets = [Socket(hub, "room") for _ in range(members - senders)]
    dirty = [Socket(hub) for _ in range(senders)]
    async with running(hub):
        await trio.testing.wait_all_tasks_blocked()
        hub.hold()
        publish(hub, "room", b"1")
        for socket in dirty:
            socket.send(b"1")
        hub.settle()
        settled = members <= SOCKETS_PER_LOOK
        assert {socket.kernel.got for socket in sockets + dirty} == {b"1" if settled else b""}
        await trio.testing.wait_all_tasks_blocked()
    assert {socket.kernel.got for socket in sockets + dirty} == {b"1"}


async def test_what_is_to_be_compressed_is_left_to_the_task() -> None:
    hub = Hub()
    ann = compressing(hub, Marking(b"s"), "room")
    async with running(hub):
        await trio.testing.wait_all_tasks_blocked()
        hub.hold()
        publish(hub, "room", binary_frame(b"one"), compress=True)
        hub.settle()
        assert ann.kernel.got == b""
        await trio.testing.wait_all_tasks_blocked()
    assert ann.kernel.got == b"sone"


async def test_a_task_that_is_awake_is_left_what_was_held() -> None:
    hub = Hub()
    ann = Socket(hub, "room")
    async with running(hub):
        await trio.testing.wait_all_tasks_blocked()
        publish(hub, "room", b"1")
        hub.hold()
        publish(hub, "room", b"2")
        hub.settle()
        assert ann.kernel.got == b""
        await trio.testing.wait_all_tasks_blocked()
    assert ann.kernel.writes == [b"12"]


# Turns


class Steps(trio.abc.Instrument):
    """Notes each step of a task."""

    def __init__(self, notes: list[str]) -> None:
        self._notes = notes

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - whichever it is
        self._notes.append(" ")


@pytest.mark.parametrize("clock_jumps", [False, True])
async def test_other_tasks_get_their_turn_after_512_sockets_or_a_millisecond(
    mock_clock: trio.testing.MockClock, clock_jumps: bool
) -> None:
    hub = Hub()
    notes: list[str] = []
    sockets = [Socket(hub, "room") for _ in range(2 * SOCKETS_PER_TURN)]
    dirty = [Socket(hub) for _ in range(2 * SOCKETS_PER_TURN)]

    def write() -> None:
        notes.append("s")
        if clock_jumps:
            mock_clock.jump(TURN / (SOCKETS_PER_LOOK / 2))

    for socket in (*sockets, *dirty):
        socket.kernel.on_write = write
    async with running(hub):
        publish(hub, "room", b"x")
        for socket in dirty:
            socket.send(b"y")
        trio.lowlevel.add_instrument(Steps(notes))
        await trio.testing.wait_all_tasks_blocked()
    turns = [len(turn) for turn in "".join(notes).split()]
    assert turns == ([SOCKETS_PER_LOOK] * 64 if clock_jumps else [SOCKETS_PER_TURN] * 4)


async def test_what_happens_while_others_have_their_turn_keeps_its_order() -> None:
    hub = Hub()
    sockets = [Socket(hub, "room") for _ in range(2 * SOCKETS_PER_TURN + 4)]
    served, waiting, sending, leaving, closing = sockets[0], *sockets[-4:]
    async with running(hub):
        await trio.testing.wait_all_tasks_blocked()
        publish(hub, "room", b"1")
        await first_write(served)
        assert waiting.kernel.writes == []
        joining = Socket(hub, "room")
        publish(hub, "room", b"2", served)
        served.send(b"3")
        sending.send(b"4")
        leaving.unsubscribe("room")
        closing.close()
        publish(hub, "room", b"5")
        await trio.testing.wait_all_tasks_blocked()
    assert served.kernel.got == b"135"
    assert waiting.kernel.got == b"125"
    assert sending.kernel.got == b"1245"
    assert leaving.kernel.got == b"12"
    assert closing.kernel.got == b"12<close>"
    assert joining.kernel.got == b"25"
    assert hub._log.size == 0


async def test_a_log_that_fills_up_while_others_have_their_turn_is_applied_once() -> None:
    hub = Hub()
    sockets = [Socket(hub, "room") for _ in range(2 * SOCKETS_PER_TURN + 1)]
    async with running(hub):
        await trio.testing.wait_all_tasks_blocked()
        publish(hub, "room", b"1")
        await first_write(sockets[0])
        assert sockets[-1].kernel.writes == []
        publish(hub, "room", bytes(LOG_BYTES))
        publish(hub, "room", b"3")
        await trio.testing.wait_all_tasks_blocked()
    for socket in sockets:
        assert socket.kernel.got == b"1" + bytes(LOG_BYTES) + b"3"


# Any interleaving

NAMES = st.sampled_from("abc")
CALLS = ("publish", "publish", "publish", "send", "subscribe", "unsubscribe", "close", "write", "yield", "tick", "hold")


class Compared:
    """A hub, and for each of its sockets the frames that it should get."""

    def __init__(self, subscriptions: list[set[str]], limits: list[int]) -> None:
        self.hub = Hub()
        self.sockets = [
            Socket(self.hub, *sorted(names), room=math.inf if not limit else 0, limit=limit)
            for names, limit in zip(subscriptions, limits, strict=True)
        ]
        self.due: list[list[bytes]] = [[] for _ in self.sockets]

    def publish(self, name: str, frame: bytes, sender: Socket | None) -> None:
        log = self.hub._log
        if log.size and log.size + len(frame) > _hub.LOG_BYTES:
            self.hub.apply()  # as it will itself: the status is of what that shows
        status: SendStatus | int = len(frame)
        receivers = [s for s in self.sockets if name in s.topics and s is not sender]
        if any(s.pressure != CLEAR for s in receivers):
            status = -1
        if not receivers or any(s.pressure == OVER for s in receivers):
            status = 0
        assert publish(self.hub, name, frame, sender) == status
        for receiver in receivers:
            self.due[self.sockets.index(receiver)].append(frame)

    async def call(self, call: str, name: str, who: int, frame: bytes) -> None:
        socket = self.sockets[who]
        match call:
            case "publish":
                self.publish(name, frame, socket if frame[0] % 2 else None)
            case "send":
                socket.send(frame)
                self.due[who].append(frame)
            case "subscribe":
                socket.subscribe(name)
            case "unsubscribe":
                socket.unsubscribe(name)
            case "close":
                socket.close()
                self.due[who].append(b"<close>")
            case "write":
                socket.kernel.room += 10 * len(frame)
                if socket._outbox.has_work:
                    socket._outbox.write_more()
            case "hold":
                self.hub.settle()
                self.hub.hold()
            case "yield":
                self.hub.settle()
                await trio.lowlevel.checkpoint()
            case _:
                self.hub.settle()
                await trio.testing.wait_all_tasks_blocked()

    def check_all_delivered(self) -> None:
        for socket, due in zip(self.sockets, self.due, strict=True):
            socket.kernel.room = math.inf
            while socket._outbox.has_work:
                socket._outbox.write_more()
            got = socket.kernel.got
            dropped = 0
            for frame in due:
                if got.startswith(frame):
                    got = got[len(frame) :]
                else:
                    dropped += 1
            assert got == b""
            assert socket._outbox.drops == dropped


@settings(max_examples=150)
@given(
    st.lists(st.sets(NAMES, max_size=3), min_size=5, max_size=5),
    st.lists(st.sampled_from([0, 0, 1, 30]), min_size=5, max_size=5),
    scripts(st.tuples(st.sampled_from(CALLS), NAMES, st.integers(0, 4), st.integers(1, 20)), 50),
    st.sampled_from([1, 4]),
)
async def test_any_interleaving_gives_every_socket_what_it_should_get_in_order(
    subscriptions: list[set[str]], limits: list[int], calls: list[tuple[str, str, int, int]], per_look: int
) -> None:
    with mock.patch.multiple(_hub, LOG_ENTRIES=8, LOG_BYTES=100, SOCKETS_PER_LOOK=per_look, SOCKETS_PER_TURN=2):
        compared = Compared(subscriptions, limits)
        async with running(compared.hub):
            for number, (call, name, who, size) in enumerate(calls, 1):
                # No frame is the beginning of another.
                await compared.call(call, name, who, bytes([number]) * size)
            compared.hub.settle()
            await trio.testing.wait_all_tasks_blocked()
        assert compared.hub._log.size == 0
    compared.check_all_delivered()
