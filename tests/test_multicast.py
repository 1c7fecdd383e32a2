"""The same frames to many outboxes at once, compared with giving them to each by itself.

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

from trio_bunws._multicast import push, push_to_all, send_all
from trio_bunws._outbox import Outbox
from trio_bunws._topics import OVER

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.usefixtures("implementation")


class Place:
    """An outbox in some state, who owns it, and what has left it."""

    def __init__(self, state: str) -> None:
        self.sockets = Sockets()
        self.sink = FakeSink()
        self.told: list[str] = []
        transport = self.sockets.transport
        self.kernel = transport.kernel_socket
        self.kernel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least there is
        self.outbox = Outbox(self.sink if state == "no socket" else transport, self, 50_000)
        self.got = b""
        match state:
            case "batch":
                self.outbox.push(b"before ")
            case "cork":
                self.outbox.corks += 1
            case "unsent":
                self.outbox.push(bytes(20_000))
            case "over":
                self.outbox.push(bytes(100_000))
                assert self.outbox.pressure == OVER
            case "peer gone":
                self.sockets.peer.close()
            case "closed":
                self.kernel.close()
            case "broken":
                self.outbox.fail()
        self.told.clear()

    def _pressure_changed(self, old: int, new: int) -> None:
        self.told.append(f"pressure {old} {new}")

    def _writer_needed(self) -> None:
        self.told.append("writer needed")

    def _overflowed(self) -> None:
        self.told.append("overflowed")

    def _write_failed(self) -> None:
        self.told.append("write failed")

    def look(self) -> tuple[object, ...]:
        """Everything that is to be seen of the outbox."""
        outbox = self.outbox
        return (
            *(outbox.messages_out, outbox.bytes_out, outbox.drops, outbox.buffered, outbox.pressure),
            *(outbox.empty, outbox.has_work, outbox.broken, outbox.has_room(50_000), self.told),
        )

    def drained(self) -> bytes:
        """Let everything out, and return all of it."""
        got = b""
        self.outbox.flush()
        while True:
            got += b"" if self.sockets.peer.fileno() < 0 else self.sockets.read()
            if not self.outbox.has_work:
                return got + self.sink.written
            self.outbox.write_more()

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


STATES = ("idle", "idle", "idle", "batch", "cork", "unsent", "over", "no socket", "peer gone", "closed", "broken")


@given(
    states=st.lists(st.sampled_from(STATES), max_size=6),
    sizes=st.lists(st.sampled_from([2, 34, 3000, 16_384, 100_000]), min_size=1, max_size=4),
)
@settings(max_examples=100)
def test_many_at_once_get_what_each_by_itself_would_get(states: list[str], sizes: list[int]) -> None:
    with in_states(*states) as together, in_states(*states) as apart:
        for number, size in enumerate(sizes, 1):
            frames = bytes([number]) * size
            push_to_all([place.outbox for place in together], frames, number)
            for place in apart:
                push(place.outbox, frames, number)
            for state, one, other in zip(states, together, apart, strict=True):
                event(f"{state}: {sorted(set(one.told))}")
                assert one.look() == other.look()
        for one, other in zip(together, apart, strict=True):
            assert one.drained() == other.drained()
            assert one.look() == other.look()


def test_what_a_socket_refuses_waits_and_shares_the_bytes() -> None:
    with in_states("idle", "idle") as (full, other):
        frames = bytes(100_000)
        push_to_all([full.outbox, other.outbox], frames, 3)
        rest = full.outbox._unsent
        assert rest is not None
        assert [view.obj for view in rest if isinstance(view, memoryview)] == [frames]
        assert full.outbox.bytes_out + full.outbox.buffered == len(frames)
        assert full.told[-1] == "writer needed"


def test_the_idle_ones_are_sent_to_and_counted() -> None:
    with in_states(*["idle"] * 50) as places:
        push_to_all([place.outbox for place in places], b"hello", 2)
        assert all(place.sockets.read() == b"hello" for place in places)
        assert {(place.outbox.messages_out, place.outbox.bytes_out) for place in places} == {(2, 5)}


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
