"""The same frames to many members at once, compared with giving them to the outbox of each by itself.

Covers `trio_bunws._multicast` alone, in C and in Python, with outboxes on kernel sockets whose buffers are small, and
on sinks that are no socket.
"""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from engine_fakes import FakeSink
from hypothesis import event, given, settings, strategies as st
from kernel_pairs import Sockets

from trio_bunws._multicast import multicast, send_all
from trio_bunws._outbox import Outbox
from trio_bunws._topics import OVER

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.usefixtures("implementation")


class Place:
    """A member with an outbox in some state, and what has left it."""

    def __init__(self, state: str) -> None:
        self._cursor = 10
        self.sockets = Sockets()
        self.sink = FakeSink()
        self.told: list[str] = []
        transport = self.sockets.transport
        self.kernel = transport.kernel_socket
        self.kernel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least there is
        self._outbox = Outbox(self.sink if state == "no socket" else transport, self, 50_000)
        self.got = b""
        match state:
            case "batch":
                self._outbox.push(b"before ")
            case "cork":
                self._outbox.corks += 1
            case "unsent":
                self._outbox.push(bytes(20_000))
            case "over":
                self._outbox.push(bytes(100_000))
                assert self._outbox.pressure == OVER
            case "ahead":
                self._cursor += 1
            case "peer gone":
                self.sockets.peer.close()
            case "closed":
                self.kernel.close()
            case "broken":
                self._outbox.fail()
        self.told.clear()

    def _pressure_changed(self, old: int, new: int) -> None:
        self.told.append(f"pressure {old} {new}")

    def _writer_needed(self) -> None:
        self.told.append("writer needed")

    def _overflowed(self) -> None:
        self.told.append("overflowed")

    def _write_failed(self) -> None:
        self.told.append("write failed")

    def push(self, frames: bytes, count: int) -> None:
        """Accept and write the frames in the plain way."""
        self._cursor += 1
        self._outbox.push_batch(frames, count)
        if not self._outbox.corks:
            self._outbox.flush()

    def look(self) -> tuple[object, ...]:
        """Everything that is to be seen of the outbox."""
        outbox = self._outbox
        return (
            self._cursor,
            *(outbox.messages_out, outbox.bytes_out, outbox.drops, outbox.buffered, outbox.pressure),
            *(outbox.empty, outbox.has_work, outbox.broken, outbox.has_room(50_000), self.told),
        )

    def drained(self) -> bytes:
        """Let everything out, and return all of it."""
        got = b""
        self._outbox.flush()
        while True:
            got += b"" if self.sockets.peer.fileno() < 0 else self.sockets.read()
            if not self._outbox.has_work:
                return got + self.sink.written
            self._outbox.write_more()

    def close(self) -> None:
        self.kernel.close()
        self.sockets.peer.close()


@contextmanager
def in_states(*states: str) -> Generator[list[Place]]:
    places = [Place(state) for state in states]
    try:
        yield places
    finally:
        for place in places:
            place.close()


STATES = (
    "idle",
    "idle",
    "idle",
    "ahead",
    "batch",
    "cork",
    "unsent",
    "over",
    "no socket",
    "peer gone",
    "closed",
    "broken",
)


@given(
    states=st.lists(st.sampled_from(STATES), max_size=6),
    sizes=st.lists(st.sampled_from([2, 34, 3000, 16_384, 100_000]), min_size=1, max_size=4),
    apart=st.sets(st.integers(0, 5)),
)
@settings(max_examples=100)
def test_many_at_once_get_what_each_by_itself_would_get(states: list[str], sizes: list[int], apart: set[int]) -> None:
    with in_states(*states) as together, in_states(*states) as each:
        for number, size in enumerate(sizes):
            frames = bytes([number]) * size
            excluded = [place for index, place in enumerate(together) if index in apart]
            left = multicast(together, frames, number, 10 + number, 11 + number, apart=excluded)
            for state, one, other in zip(states, together, each, strict=True):
                event(f"{state}: {'left' if one in left else 'served'}")
                other.push(frames, number)
                if one in left:
                    one.push(frames, number)
                assert one.look() == other.look()
            assert [place for place in together if place in left] == left
            assert all(place in left for place in excluded)
        for one, other in zip(together, each, strict=True):
            assert one.drained() == other.drained()
            assert one.look() == other.look()


@pytest.mark.parametrize(
    ("state", "left"),
    [("idle", False), ("peer gone", False), ("closed", False)]
    + [(state, True) for state in ("ahead", "batch", "cork", "unsent", "over", "no socket", "broken")],
)
def test_only_those_are_served_for_whom_it_is_simple(state: str, *, left: bool) -> None:
    with in_states(state) as places:
        before = places[0].look()
        assert multicast(places, b"hello", 1, 10, 11, apart=()) == (places if left else [])
        assert (places[0].look() == before) is left


def test_what_a_socket_refuses_waits_and_shares_the_bytes() -> None:
    with in_states("idle", "idle") as (full, other):
        frames = bytes(100_000)
        assert multicast([full, other], frames, 3, 10, 13, apart=()) == []
        rest = full._outbox._unsent
        assert rest is not None
        assert [view.obj for view in rest if isinstance(view, memoryview)] == [frames]
        assert full._outbox.bytes_out + full._outbox.buffered == len(frames)
        assert full.told[-1] == "writer needed"


def test_the_idle_ones_are_sent_to_and_counted() -> None:
    with in_states(*["idle"] * 50) as places:
        assert multicast(places, b"hello", 2, 10, 12, apart=()) == []
        assert all(place.sockets.read() == b"hello" for place in places)
        assert {(place._outbox.messages_out, place._outbox.bytes_out) for place in places} == {(2, 5)}


def test_those_that_did_not_take_everything_are_told_with_what_they_took() -> None:
    with in_states("idle", "idle", "peer gone", "closed", "idle") as places:
        free, full, *_, large = places
        full.sockets.fill()
        sockets = [place.kernel for place in places]
        assert send_all(sockets, b"x") == [(1, 0), (2, 0), (3, 0)]
        assert free.sockets.read() == large.sockets.read() == b"x"
        ((index, taken),) = send_all([large.kernel], bytes(1 << 20))
        assert (index, large.sockets.read()) == (0, bytes(taken))
        assert taken > 0
        assert send_all([], b"x") == []
