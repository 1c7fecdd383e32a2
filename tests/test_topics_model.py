"""Topics, statuses, corks and drains in any order of calls, against a model that gives every publish out at once.

The model knows BEHAVIOUR.md (0, 2, 3, 7, 8, 10 to 14, 16 and 19) and the public names, nothing of logs, cursors and
counters. `test_behaviour_*.py` have the sentences one by one.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from unittest import mock

import trio
from hypothesis import event, given, settings, strategies as st
from links import BATCH, Pair, Place, kernel, lockstep, memory, served
from playground import Socket, settled
from scripts import scripts

from trio_bunws import MessageDropped, ReadyState, SendStatus, WebSocketHandler, _hub
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import Callable

BINARY, CLOSE, PING = 2, 8, 9
TOPICS: Final = ("a", "b", "c")


class Options(NamedTuple):
    """What holds for a whole room."""

    link: Callable[[], Pair]
    limit: int
    close_on_limit: bool
    publish_to_self: bool
    log_entries: int

    @property
    def handler(self) -> WebSocketHandler[Any]:
        return WebSocketHandler(
            backpressure_limit=self.limit,
            close_on_backpressure_limit=self.close_on_limit,
            publish_to_self=self.publish_to_self,
        )


class Step(NamedTuple):
    """One call."""

    kind: str
    who: int
    topic: str
    size: int


class Member:
    """A socket and its peer, and what the peer should get."""

    def __init__(self, ws: Socket, peer: RawPeer, options: Options) -> None:
        self.ws = ws
        self.peer = peer
        self.options = options
        self.topics: list[str] = []
        self.offered: list[tuple[int, bytes]] = []
        self.offered_bytes = self.read = ws.statistics().bytes_out
        self.end = ""
        """`close` or `abort`, once it has ended."""
        self.drains: list[tuple[ReadyState, int]] = []
        """State and unsent bytes at each call of the drain handler."""
        self._corks = ExitStack()
        self._taken_at_cork: int | None = None
        self._drains_before: int | None = None

    @property
    def over(self) -> bool:
        return 0 < self.options.limit < self.ws.get_buffered_amount()

    def offer(self, opcode: int, data: bytes) -> None:
        self.offered.append((opcode, data))
        self.offered_bytes += len(RawPeer.frame(opcode, data, mask=None))

    def ended(self, end: str) -> None:
        self.end = end
        self.topics.clear()

    def check_status(self, status: SendStatus, size: int) -> None:
        """Compare the status of what was sent to this socket alone with what is to be seen now."""
        assert status == (-1 if self.ws.get_buffered_amount() else size)

    def send(self, data: bytes) -> None:
        was_over = self.over
        status = self.ws.send(data)
        if self.end:
            assert isinstance(status, MessageDropped)
            return
        self.offer(BINARY, data)
        if isinstance(status, MessageDropped):
            assert self.over or self.aborted_by_limit()
        else:
            assert not was_over
            self.check_status(status, len(data))

    def ping(self, data: bytes) -> None:
        status = self.ws.ping(data[:9])
        if self.end or self.aborted_by_limit():
            assert isinstance(status, MessageDropped)
        else:
            self.offer(PING, data[:9])
            self.check_status(status, len(data[:9]))

    def subscribe(self, topic: str) -> None:
        subscribed = self.ws.subscribe(topic)
        assert subscribed is not (bool(self.end) or self.aborted_by_limit())
        if subscribed and topic not in self.topics:
            self.topics.append(topic)

    def unsubscribe(self, topic: str) -> None:
        unsubscribed = self.ws.unsubscribe(topic)
        if not self.aborted_by_limit():
            assert unsubscribed is (topic in self.topics)
            if unsubscribed:
                self.topics.remove(topic)

    def close(self) -> None:
        self.ws.close()
        if not self.end and not self.aborted_by_limit():
            self.offer(CLOSE, b"\x03\xe8")
            self.ended("close")

    def terminate(self) -> None:
        self.ws.terminate()
        self.ended("abort")

    def aborted_by_limit(self) -> bool:
        """Whether the socket has ended because something was dropped for it, which any call may have shown."""
        return self.options.close_on_limit and not self.end and self.ws.statistics().drops > 0

    def taken(self) -> int:
        """Bytes that are no longer in the batch."""
        return self.ws.statistics().bytes_out + self.ws.get_buffered_amount()

    def cork(self) -> None:
        if self._taken_at_cork is None and not self.ws.get_buffered_amount():
            self._taken_at_cork = self.taken()
        self._corks.enter_context(self.ws.corked())

    def uncork(self) -> None:
        self._taken_at_cork = None
        self._corks.close()

    def check(self) -> None:
        """Check what holds after every call."""
        if self.aborted_by_limit():
            self.ended("abort")
        assert self.ws.subscriptions == self.topics
        assert (self.ws.ready_state is ReadyState.OPEN) is not bool(self.end)
        corked = self._taken_at_cork
        if self.end or self.options.limit or self.options.link is not kernel or corked is None:
            return
        # What comes together in a cork stays together up to 16 KiB, also when a tick passes.
        assert self.taken() == corked or self.offered_bytes - corked >= BATCH

    def check_settled(self) -> None:
        """Check what holds when all tasks have done what they can."""
        unsent = self.ws.get_buffered_amount()
        if self.end or self.aborted_by_limit():
            return
        if unsent and self._drains_before is None:
            self._drains_before = len(self.drains)
        elif not unsent and self._drains_before is not None:
            assert len(self.drains) > self._drains_before, "an end of backpressure without a drain"
            self._drains_before = None

    def check_drains(self) -> None:
        """Check that drain was called only on an open socket with room."""
        for state, unsent in self.drains:
            assert state is ReadyState.OPEN
            assert not 0 < self.options.limit < unsent

    async def read_some(self, size: int) -> bool:
        """Read what there is; False if there is nothing."""
        await settled()
        if self.ws.statistics().bytes_out == self.read:
            return False
        data = await self.peer.stream.receive_some(size)
        self.read += len(data)
        self.peer.received += data
        return bool(data)

    async def frames(self) -> list[tuple[int, bytes]]:
        """Read everything that comes, and return the frames; an aborted one may be incomplete at its end."""
        while await self.read_some(65_536):
            self.check_settled()
        frames: list[tuple[int, bytes]] = []
        try:
            while self.peer.received:
                frames.append((await self.peer.receive())[:2])
        except (trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
            assert self.end == "abort"
        return frames

    async def check_received(self) -> None:
        """Check that all that was accepted has come, once and in order, and that the rest is counted."""
        frames = await self.frames()
        came = Counter(frames)
        assert frames == [frame for frame in self.offered if frame in came]
        if self.end != "abort":
            assert self.ws.get_buffered_amount() == 0
            assert self.ws.statistics().drops == len(self.offered) - len(frames)
            assert self.options.limit or frames == self.offered
        elif not self.options.limit or self.options.close_on_limit:
            assert frames == self.offered[: len(frames)], "the first drop ends the connection"


class Room:
    """A server and four sockets of it."""

    def __init__(self, place: Place, members: list[Member], options: Options) -> None:
        self._server = place.server
        self.members = members
        self._options = options

    def publish(self, topic: str, data: bytes, sender: Member | None = None) -> None:
        """Publish, and offer it to all receivers; the status is what a look at each of them says."""
        receivers = [
            member
            for member in self.members
            if topic in member.topics and (member is not sender or self._options.publish_to_self)
        ]
        expected = len(data)
        if any(member.ws.get_buffered_amount() for member in receivers):
            expected = -1
        if not receivers or any(member.over for member in receivers):
            expected = 0
        status = (self._server if sender is None else sender.ws).publish(topic, data)
        event(f"a publish's status is {min(status, 1)}")
        assert status == expected
        for member in receivers:
            member.offer(BINARY, data)

    async def do(self, step: Step, data: bytes) -> None:
        """Make one call."""
        member = self.members[step.who]
        match step.kind:
            case "tick":
                await settled()
                for one in self.members:
                    one.check_settled()
            case "read":
                await member.read_some(step.size + 1)
                member.check_settled()
            case "server":
                self.publish(step.topic, data)
            case "socket":
                self.publish(step.topic, data, member)
            case "send" | "ping":
                getattr(member, step.kind)(data)
            case "subscribe" | "unsubscribe":
                getattr(member, step.kind)(step.topic)
            case _:
                getattr(member, step.kind)()

    def check(self) -> None:
        """Check what holds after every call."""
        for member in self.members:
            member.check()
        for topic in TOPICS:
            subscribers = {member.ws for member in self.members if topic in member.topics}
            assert set(self._server.subscribers(topic)) == subscribers
            assert self._server.subscriber_count(topic) == len(subscribers)
        assert set(self._server.topics()) == {topic for member in self.members for topic in member.topics}


KINDS: Final = (
    *("send", "send", "ping", "socket", "socket", "socket", "server", "server", "server"),
    *("subscribe", "subscribe", "unsubscribe", "cork", "uncork", "tick", "tick", "read", "read"),
    *("close", "terminate"),
)
STEPS: Final = st.builds(
    Step,
    kind=st.sampled_from(KINDS),
    who=st.integers(0, 3),
    topic=st.sampled_from(TOPICS),
    size=st.sampled_from([0, 1, 200, 5000, 20_000]),
)
OPTIONS: Final = st.builds(
    Options,
    link=st.sampled_from([kernel, kernel, lockstep, memory]),
    limit=st.sampled_from([0, 0, 1000, 30_000]),
    close_on_limit=st.sampled_from([False, False, True]),
    publish_to_self=st.booleans(),
    log_entries=st.sampled_from([3, 4096]),
)
SUBSCRIPTIONS: Final = st.lists(st.sets(st.sampled_from(TOPICS)), min_size=4, max_size=4)


@given(options=OPTIONS, subscriptions=SUBSCRIPTIONS, steps=scripts(STEPS, 60))
@settings(max_examples=150)
async def test_any_calls_in_any_order_have_the_effect_that_the_behaviour_says(
    options: Options, subscriptions: list[set[str]], steps: list[Step]
) -> None:
    members: list[Member] = []

    def drain(ws: Socket) -> None:
        (member,) = (member for member in members if member.ws is ws)
        member.drains.append((ws.ready_state, ws.get_buffered_amount()))

    with mock.patch.object(_hub, "LOG_ENTRIES", options.log_entries):
        async with served(options.handler.on_drain(drain), options.link) as place:
            for topics in subscriptions:
                member = Member(*await place.pair(), options)
                for topic in sorted(topics):
                    member.subscribe(topic)
                members.append(member)
            room = Room(place, members, options)
            for number, step in enumerate(steps):
                await room.do(step, b"%d-" % number + b"x" * step.size)
                room.check()
            for member in members:
                member.uncork()
            await settled()
            room.check()
            for member in members:
                await member.check_received()
                member.check_drains()
            await settled()
            for topic in TOPICS:  # nobody is thought to be behind any more
                assert place.server.publish(topic, "x") == int(any(topic in member.topics for member in members))
