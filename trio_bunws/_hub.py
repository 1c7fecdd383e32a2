"""The hub of a server: publishing to topics, and writing at the end of each scheduler tick what the tick has collected.

Publishes go into the tick's log, sockets with frames of their own into the list of dirty sockets; one task, `Hub.run`,
is woken once and hands all of it out, one joined write per socket. Order per socket holds because whatever a socket
does itself first applies the log, from that socket's cursor, to its own outbox (uWebSockets' TopicTree is the model).
"""

from __future__ import annotations

import sys
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Final

import trio

from trio_bunws._fanout import TickLog
from trio_bunws._multicast import multicast
from trio_bunws._status import BACKPRESSURED, DROPPED, SendStatus, sent
from trio_bunws._topics import CLEAR, OVER, Topic, TopicIndex
from trio_bunws._wire.frames import take_apart

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from trio_bunws._outbox import Outbox
    from trio_bunws._wire.compression import Outbound

LOG_ENTRIES: Final = 4096
"""Publishes in the log at which it is applied at once, and not by the next tick."""
LOG_BYTES: Final = 1024 * 1024
"""Bytes in the log beyond which it is applied before the next publish; only one that is longer makes it longer."""
GONE: Final = sys.maxsize
"""Cursor of a member that has left everything: nothing in the log is for it."""
SOCKETS_PER_TURN: Final = 512
"""Sockets served before other tasks get their turn."""
SOCKETS_PER_LOOK: Final = 32
"""Sockets served between two looks at the clock, when nothing is to be compressed."""
TURN: Final = 0.001
"""Seconds of work before other tasks get their turn."""


class Subscriber:
    """A socket as the hub sees it: the base of `ServerWebSocket`."""

    __slots__ = ("_cursor", "_deflate", "_dirty", "_outbox", "_topics")

    _outbox: Outbox

    def __init__(self) -> None:
        self._topics: dict[str, Topic[Subscriber]] = {}
        self._cursor = 0
        """Position in the log of the first publish that it has not been given."""
        self._deflate: Outbound | None = None
        """What compresses for it, where something is to be compressed; None: it gets all as it is."""
        self._dirty = False
        """Whether the next tick is to write its batch."""

    def _pressure_changed(self, old: int, new: int) -> None:
        for topic in self._topics.values():
            topic.pressure_changed(old, new)


class Hub:
    """Topics and delivery of one server. All methods but `run` are plain functions that never checkpoint."""

    __slots__ = (
        "_awake",
        "_began",
        "_bell",
        "_compressing",
        "_dirty",
        "_held",
        "_log",
        "_waiting",
        "refused_subscriptions",
        "tick_seconds",
        "ticks",
        "topics",
    )

    def __init__(self) -> None:
        self.topics: Final[TopicIndex[Subscriber]] = TopicIndex()
        self._log: Final[TickLog[Subscriber]] = TickLog()
        self._dirty: list[Subscriber] = []
        self._compressing = 0
        """Members that have a compressor."""
        self.refused_subscriptions: int = 0
        """Subscriptions refused because a socket had too many topics."""
        self.ticks: int = 0
        """How often what a tick has collected was written: by `run`, or by `settle`."""
        self.tick_seconds: float = 0.0
        """Seconds from the beginning of each of these ticks until all was written, added up."""
        self._awake = False
        self._held = False
        """`_awake` is set although nobody has rung."""
        self._began = 0.0
        """When the present tick began: with its bell, or with `hold`."""
        self._bell, self._waiting = trio.open_memory_channel[None](1)

    # Publishing

    def publish(
        self, name: str, frame: bytes, size: int, sender: Subscriber | None, compress: bool = False
    ) -> SendStatus:
        """Accept a plain frame of `size` payload bytes for all subscribers but `sender`; the status is as known now.

        With `compress` those get it compressed that have a compressor.
        """
        log = self._log
        if log.size + len(frame) > LOG_BYTES and log.size:
            self.apply()  # first, for it may change the status, and who is subscribed
        topic = self.topics.get(name)
        if topic is None:
            return DROPPED
        receivers = len(topic.members)
        behind = topic.behind
        over = topic.over
        if sender is not None and name in sender._topics:
            pressure = sender._outbox.pressure
            receivers -= 1
            behind -= pressure > CLEAR
            over -= pressure == OVER
        if not receivers:
            return DROPPED
        if compress and self._compressing:
            log.append_to_compress(topic, frame, sender)
        else:
            log.append(topic, frame, sender)
        if not self._awake:
            self._wake()
        if log.end - log.start >= LOG_ENTRIES:
            self.apply()
        if over:
            return DROPPED
        return BACKPRESSURED if behind else sent(size)

    def subscribe(self, member: Subscriber, name: str) -> None:
        """Subscribe a member that is not and has caught up; it gets nothing published before."""
        member._cursor = self._log.end
        member._topics[name] = self.topics.join(name, member, member._outbox.pressure)

    def unsubscribe(self, member: Subscriber, name: str) -> None:
        """Unsubscribe a member that is subscribed; it still gets what was published before."""
        self.catch_up(member)
        # Catching up may have closed the member, which leaves all topics.
        if (topic := member._topics.pop(name, None)) is not None:
            self.topics.leave(topic, member, member._outbox.pressure)
        # Who is no subscriber any more is not served with them.
        if not member._outbox.corks:
            self.mark_dirty(member)

    def leave(self, member: Subscriber) -> None:
        """Unsubscribe a member from everything, without giving it what it has not got yet."""
        topics = member._topics
        member._topics = {}
        member._cursor = GONE
        for topic in topics.values():
            self.topics.leave(topic, member, member._outbox.pressure)
        if member._deflate is not None:
            member._deflate = None
            self._compressing -= 1

    def compress_for(self, member: Subscriber, deflate: Outbound) -> None:
        """Compress for this member, until it leaves, what is to be compressed."""
        member._deflate = deflate
        self._compressing += 1

    # Delivery

    def catch_up(self, member: Subscriber) -> None:
        """Put what was published for this member, and not yet delivered, into its batch."""
        log = self._log
        cursor = member._cursor
        if cursor == log.end or not member._topics or not log.size:
            return
        member._cursor = log.end
        if not log.compresses or (deflate := member._deflate) is None:
            frames, count = log.share(member, member._topics, cursor)
        elif deflate.takeover:
            self._catch_up_apart(member, deflate, cursor)
            return
        else:
            frames, count = log.share(member, member._topics, cursor, deflate)
        if count:
            member._outbox.push_batch(frames, count)

    def _catch_up_apart(self, member: Subscriber, deflate: Outbound, cursor: int) -> None:
        """Compress a member's share for it alone; not if it is dropped, for the next message would refer to it."""
        outbox = member._outbox
        frames = self._log.apart(member, member._topics, cursor)
        if not frames:
            return
        if outbox.pressure == OVER:
            outbox.drop(len(frames))
        else:
            made = [deflate.frame(*take_apart(frame)) if compress else frame for frame, compress in frames]
            outbox.push_batch(b"".join(made), len(made))

    def mark_dirty(self, member: Subscriber) -> None:
        """Have a member's batch written at the next tick."""
        if not member._dirty:
            member._dirty = True
            self._dirty.append(member)
            if not self._awake:
                self._wake()

    def apply(self) -> None:
        """Deliver the whole log now."""
        log = self._log
        self._deliver_to(log.members(), log.start)
        log.forget(log.end)

    def _deliver_to(self, members: Collection[Subscriber], start: int) -> None:
        """Deliver to some of the log's members; it began at `start` when they were asked for."""
        log = self._log
        # Once it was applied while others had their turn, it holds other topics, which these need not be members of.
        whole = log.whole() if log.start == start else None
        if whole is not None:
            # The same bytes for nearly everybody.
            (frames, count), senders = whole
            members = multicast(members, frames, count, start, log.end, apart=senders)
        for member in members:
            self._deliver(member)

    def _deliver(self, member: Subscriber) -> None:
        self.catch_up(member)
        outbox = member._outbox
        if not outbox.corks:
            outbox.flush()

    def hold(self) -> None:
        """Do not wake the task for what comes together from now on until `settle`, which follows in the same turn."""
        if not self._awake:
            self._awake = self._held = True
            self._began = perf_counter()

    def settle(self) -> None:
        """Deliver what has come together since `hold` if it is little, else wake the task for it; idempotent.

        A chat of 16 clients with one message in flight each spends a twentieth of its time on waking that task.
        """
        if not self._held:
            return  # the task is awake anyway
        self._held = False
        log = self._log
        if log.compresses or log.reaches(SOCKETS_PER_LOOK - len(self._dirty) + 1):
            self._bell.send_nowait(None)
            return
        self._awake = False
        if log.size or self._dirty:
            began = self._began  # what is written may wake the task, by closing a socket for example
            if log.size:
                self.apply()
            self._write_dirty(self._take_dirty())
            self._count_tick(began)

    def _take_dirty(self) -> list[Subscriber]:
        dirty, self._dirty = self._dirty, []
        return dirty

    def _write_dirty(self, members: list[Subscriber]) -> None:
        for member in members:
            member._dirty = False
            self._deliver(member)

    def _wake(self) -> None:
        self._awake = True
        self._began = perf_counter()
        self._bell.send_nowait(None)

    def _count_tick(self, began: float) -> None:
        self.ticks += 1
        self.tick_seconds += perf_counter() - began

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Deliver what each tick collects, until cancelled. Lets other tasks run after 512 sockets or 1 ms."""
        async for _ in self._waiting:
            self._awake = False
            began = self._began
            await self._tick()
            self._count_tick(began)

    async def _tick(self) -> None:
        log = self._log
        # One compression takes as long as several deliveries.
        turn = Turn(1 if log.compresses else SOCKETS_PER_LOOK)
        if log.size:
            start, stop = log.start, log.end
            for members in turn.shares(log.members()):
                self._deliver_to(members, start)
                if turn.is_over(len(members)):
                    await turn.next()
            # What was published meanwhile has rung the bell again.
            log.forget(stop)
        for members in turn.shares(self._take_dirty()):
            self._write_dirty(members)
            if turn.is_over(len(members)):
                await turn.next()


class Turn:
    """How long the hub has held the event loop."""

    __slots__ = ("_began", "_look_after", "_served")

    def __init__(self, look_after: int) -> None:
        """`look_after`: sockets served between two looks at the clock."""
        self._look_after: Final = look_after
        self._served = 0
        self._began = trio.current_time()

    def shares(self, members: Collection[Subscriber]) -> Iterator[list[Subscriber]]:
        """Return as many members at a time as are served between two looks at the clock."""
        rest = iter(members)
        while share := list(islice(rest, self._look_after)):
            yield share

    def is_over(self, served: int) -> bool:
        """Look at the clock after serving so many sockets; True when other tasks should run."""
        self._served += served
        return self._served >= SOCKETS_PER_TURN or trio.current_time() - self._began >= TURN

    async def next(self) -> None:
        """Let other tasks run, and begin anew."""
        await trio.lowlevel.checkpoint()
        self._served = 0
        self._began = trio.current_time()
