"""Compressed and plain, sent and published, to sockets of every kind: each gets what it should, in order, decodable.

The hub, the sockets and the compressors are real; the sinks take as much as hypothesis says, and what they took is
read by zlib alone. The model is one list per socket.
"""

from __future__ import annotations

import math
from typing import NamedTuple
from unittest import mock

import trio
import trio.testing
from deflate_fakes import Deflating, frames_of
from engine_fakes import FakeSocket
from hypothesis import given, settings, strategies as st

from trio_bunws import WebSocketHandler
from trio_bunws._hub import Hub
from trio_bunws._wire.compression import Outbound

MIN_SIZE = 8
WORDS = 3 * b"somebody has said what somebody has said "


class Kind(NamedTuple):
    """How a socket compresses."""

    bits: int
    takeover: bool


KINDS: dict[str, Kind | None] = {
    "plain": None,
    "shared": Kind(15, False),
    "small": Kind(9, False),
    "dedicated": Kind(15, True),
    "3KB": Kind(9, True),
}


class Due(NamedTuple):
    """One message that a socket should get, unless it was dropped."""

    opcode: int
    payload: bytes
    compress: bool


class Member:
    """A socket, and what it should get."""

    def __init__(self, hub: Hub, kind: Kind | None, shared: dict[Kind, Outbound], limit: int) -> None:
        deflate = None
        if kind is not None:
            deflate = Outbound(kind.bits, takeover=kind.takeover, min_size=MIN_SIZE)
            if not kind.takeover:
                deflate = shared.setdefault(kind, deflate)
        self.kind = kind
        self.fake = FakeSocket(WebSocketHandler(backpressure_limit=limit), hub=hub, deflate=deflate)
        self.ws = self.fake.ws
        self.due: list[Due] = []

    def write(self, room: float) -> None:
        self.fake.sink.room += room
        if self.ws._outbox.has_work:
            self.ws._outbox.write_more()

    def check(self) -> None:
        while self.ws._outbox.has_work:
            self.write(math.inf)
        kind = self.kind
        peer = None if kind is None else Deflating(takeover_in=kind.takeover, bits_in=kind.bits)
        got: list[Due] = []
        for frame in frames_of(self.fake.sink.written):
            payload = frame.payload
            if frame.compressed:
                assert peer is not None
                payload = peer.inflate(payload)
            if frame.opcode in {1, 2}:
                got.append(Due(frame.opcode, payload, frame.compressed))
        expected = [
            due._replace(compress=due.compress and kind is not None and len(due.payload) >= MIN_SIZE)
            for due in self.due
        ]
        rest = iter(expected)
        assert all(message in rest for message in got)  # in their order
        assert len(expected) - len(got) == self.ws.statistics().drops


NAMES = st.sampled_from("aab")
CALLS = (
    *("publish", "publish", "publish from outside", "send", "send", "ping"),
    *("subscribe", "unsubscribe", "write", "write", "yield", "tick", "tick"),
)


class Room:
    """The sockets of one hub."""

    def __init__(self, subscriptions: list[set[str]], kinds: list[str], limits: list[int]) -> None:
        self.hub = Hub()
        shared: dict[Kind, Outbound] = {}
        self.members = [Member(self.hub, KINDS[kind], shared, limit) for kind, limit in zip(kinds, limits, strict=True)]
        for member, names in zip(self.members, subscriptions, strict=True):
            member.fake.sink.room = math.inf if not member.ws._outbox.limit else 0
            for name in sorted(names):
                member.ws.subscribe(name)

    def publish(self, name: str, sender: Member | None, message: Due) -> None:
        for member in self.members:
            if member is not sender and member.ws.is_subscribed(name):
                member.due.append(message)
        if sender is not None:
            data = message.payload.decode() if message.opcode == 1 else message.payload
            sender.ws.publish(name, data, message.compress)
        else:
            frame = bytes([0x80 | message.opcode, len(message.payload)]) + message.payload
            self.hub.publish(name, frame, len(message.payload), None, message.compress)

    def send(self, member: Member, message: Due) -> None:
        data = message.payload.decode() if message.opcode == 1 else message.payload
        member.ws.send(data, compress=message.compress)
        member.due.append(message)

    async def call(self, call: str, name: str, who: int, message: Due) -> None:
        member = self.members[who]
        match call:
            case "publish":
                self.publish(name, member, message)
            case "publish from outside":
                self.publish(name, None, message)
            case "send":
                self.send(member, message)
            case "ping":
                member.ws.ping(b"ping")
            case "subscribe":
                member.ws.subscribe(name)
            case "unsubscribe":
                member.ws.unsubscribe(name)
            case "write":
                member.write(40)
            case "yield":
                await trio.lowlevel.checkpoint()
            case _:
                await trio.testing.wait_all_tasks_blocked()


@settings(max_examples=200)
@given(
    st.lists(st.sets(NAMES, max_size=2), min_size=5, max_size=5),
    st.lists(st.sampled_from(sorted(KINDS)), min_size=5, max_size=5),
    st.lists(st.sampled_from([0, 1, 20]), min_size=5, max_size=5),
    st.lists(
        st.tuples(
            st.sampled_from(CALLS),
            NAMES,
            st.integers(0, 4),
            st.tuples(st.sampled_from([1, 2]), st.integers(0, 80), st.booleans()),
        ),
        min_size=30,
        max_size=60,
    ),
)
async def test_any_interleaving_reaches_every_socket_in_order_and_can_be_decompressed(
    subscriptions: list[set[str]],
    kinds: list[str],
    limits: list[int],
    calls: list[tuple[str, str, int, tuple[int, int, bool]]],
) -> None:
    with mock.patch.multiple("trio_bunws._hub", LOG_ENTRIES=8, LOG_BYTES=400, SOCKETS_PER_TURN=2):
        room = Room(subscriptions, kinds, limits)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(room.hub.run)
            for number, (call, name, who, (opcode, size, compress)) in enumerate(calls):
                # None is like another at the same distance, or a lost one might not be missed.
                payload = b"%02d " % number + WORDS[number : number + size]
                await room.call(call, name, who, Due(opcode, payload, compress))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    for member in room.members:
        member.check()
