"""BEHAVIOUR.md, 6 and 11 to 13, for any sequence of calls: what arrives is compared with a model that counts along.

Once with peers that read everything, and once with slow ones. `test_topics_model.py` compares subscriptions and
counters.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings, strategies as st
from links import drops, kernel, lockstep, memory, served
from playground import Socket, settled
from scripts import scripts

from trio_bunws import MessageDropped, Server, WebSocketHandler
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import Callable

    from links import Pair

BINARY, CLOSE, PING = 2, 8, 9


# 13: nothing is lost and all is in order


class Modelled:
    """A socket, and what its peer should get by the sentences 6, 11 and 13."""

    def __init__(self, ws: Socket, peer: RawPeer) -> None:
        self.ws = ws
        self.peer = peer
        self.topics: set[str] = set()
        self.due: list[tuple[int, bytes]] = []
        self.due_bytes = ws.statistics().bytes_out
        self.closed = False

    def expect(self, opcode: int, data: bytes) -> None:
        self.due.append((opcode, data))
        self.due_bytes += len(RawPeer.frame(opcode, data, mask=None))

    def send(self, data: bytes) -> None:
        assert isinstance(self.ws.send(data), MessageDropped) is self.closed
        if not self.closed:
            self.expect(BINARY, data)

    def ping(self, data: bytes) -> None:
        assert isinstance(self.ws.ping(data[:9]), MessageDropped) is self.closed
        if not self.closed:
            self.expect(PING, data[:9])

    def subscribe(self, topic: str) -> None:
        assert self.ws.subscribe(topic) is not self.closed
        if not self.closed:
            self.topics.add(topic)

    def unsubscribe(self, topic: str) -> None:
        assert self.ws.unsubscribe(topic) is (topic in self.topics)
        self.topics.discard(topic)

    def close(self) -> None:
        if not self.closed:
            self.expect(CLOSE, b"\x03\xe8")
        self.ws.close()
        self.topics.clear()
        self.closed = True


class Room:
    """Three sockets and their server."""

    def __init__(self, server: Server[Any], sockets: list[tuple[Socket, RawPeer]], *, publish_to_self: bool) -> None:
        self.server = server
        self.members = [Modelled(*pair) for pair in sockets]
        self._publish_to_self = publish_to_self

    def publish(self, topic: str, data: bytes, sender: Modelled | None = None) -> None:
        receivers = [
            member
            for member in self.members
            if topic in member.topics and (member is not sender or self._publish_to_self)
        ]
        for member in receivers:
            member.expect(BINARY, data)
        publish = self.server.publish if sender is None else sender.ws.publish
        assert isinstance(publish(topic, data), MessageDropped) is not bool(receivers)

    def call(self, kind: str, index: int, topic: str, data: bytes) -> None:
        """Make one call."""
        member = self.members[index]
        match kind:
            case "send":
                member.send(data)
            case "ping":
                member.ping(data)
            case "socket":
                self.publish(topic, data, member)
            case "server":
                self.publish(topic, data)
            case "subscribe":
                member.subscribe(topic)
            case "unsubscribe":
                member.unsubscribe(topic)
            case _:
                member.close()


KINDS = ["send", "ping", "socket", "socket", "server", "server", "subscribe", "unsubscribe", "tick", "close"]
CALL = st.tuples(
    st.sampled_from(KINDS), st.integers(0, 2), st.sampled_from("ab"), st.sampled_from([0, 1, 200, 5000, 20_000])
)


@given(
    script=scripts(CALL, 40),
    link=st.sampled_from([memory, kernel]),
    publish_to_self=st.booleans(),
    corked=st.booleans(),
)
@settings(max_examples=80)
async def test_13_any_sequence_of_calls_is_delivered_in_order(
    script: list[tuple[str, int, str, int]], link: Callable[[], Pair], publish_to_self: bool, corked: bool
) -> None:
    async with served(WebSocketHandler(publish_to_self=publish_to_self), link) as place:
        room = Room(place.server, await place.pairs(3), publish_to_self=publish_to_self)
        for number, (kind, index, topic, size) in enumerate(script):
            if kind == "tick":
                await settled()
                continue
            with room.members[index].ws.corked() if corked else nullcontext():
                room.call(kind, index, topic, b"%d-" % number + b"x" * size)
        await settled()
        for member in room.members:
            statistics = member.ws.statistics()
            assert statistics.bytes_out + statistics.buffered == member.due_bytes  # nothing is held back
            assert [(await member.peer.receive())[:2] for _ in member.due] == member.due


# 12: what is dropped is counted


class Slow:
    """A socket whose peer reads when it is told to, and what was accepted for it."""

    def __init__(self, ws: Socket, peer: RawPeer) -> None:
        self.ws = ws
        self.peer = peer
        self.offered: list[bytes] = []
        self.accepted: set[bytes] = set()
        self._read = ws.statistics().bytes_out

    def send(self, data: bytes) -> None:
        over = self.ws.get_buffered_amount() > LIMIT
        status = self.ws.send(data)
        assert status in {-1, 0, len(data)}
        # What was published before is put before it, and may be what passes the limit.
        assert isinstance(status, MessageDropped) if over else True
        self.offered.append(data)
        if not isinstance(status, MessageDropped):
            self.accepted.add(data)

    async def read(self, size: int = 65_536) -> bool:
        """Read what there is; False if there is nothing."""
        await settled()
        if self.ws.statistics().bytes_out == self._read:
            return False
        data = await self.peer.stream.receive_some(size)
        self._read += len(data)
        self.peer.received += data
        return True

    async def read_all(self) -> list[bytes]:
        """Return the payload of everything that was accepted."""
        while await self.read():
            pass
        assert self.ws.get_buffered_amount() == 0
        received: list[bytes] = []
        while self.peer.received:
            received.append((await self.peer.receive()).payload)
        return received


LIMIT = 30_000
SLOW_KINDS = ["send", "socket", "socket", "server", "subscribe", "subscribe", "unsubscribe", "tick", "read", "read"]
SLOW_CALL = st.tuples(
    st.sampled_from(SLOW_KINDS), st.integers(0, 2), st.sampled_from("ab"), st.sampled_from([0, 200, 5000, 20_000])
)


@given(script=scripts(SLOW_CALL, 50), link=st.sampled_from([lockstep, kernel]))
@settings(max_examples=80)
async def test_12_whatever_is_dropped_for_slow_readers_is_counted_and_the_rest_arrives_in_order(
    script: list[tuple[str, int, str, int]], link: Callable[[], Pair]
) -> None:
    async with served(WebSocketHandler(backpressure_limit=LIMIT), link) as place:
        members = [Slow(*pair) for pair in await place.pairs(3)]
        for number, (kind, index, topic, size) in enumerate(script):
            member = members[index]
            data = b"%d-" % number + b"x" * size
            match kind:
                case "tick":
                    await settled()
                case "read":
                    await member.read(size + 1)
                case "subscribe":
                    member.ws.subscribe(topic)
                case "unsubscribe":
                    member.ws.unsubscribe(topic)
                case "send":
                    member.send(data)
                case _:
                    by = member.ws if kind == "socket" else place.server
                    receivers = [one for one in members if one.ws.is_subscribed(topic) and one.ws is not by]
                    assert by.publish(topic, data) in ({-1, 0, len(data)} if receivers else {0})
                    for one in receivers:
                        one.offered.append(data)
        await settled()
        for member in members:
            received = await member.read_all()
            assert member.accepted <= set(received)
            assert received == [data for data in member.offered if data in set(received)]
            assert drops(member.ws) == len(member.offered) - len(received)
        for topic in "ab":  # and nobody is thought to be behind any more
            expected = 1 if place.server.subscriber_count(topic) else 0
            assert place.server.publish(topic, "x") == expected
