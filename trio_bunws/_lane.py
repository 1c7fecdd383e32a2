"""Messages that wait for an application, and jobs that run one at a time beside a connection's reader.

An `Inbox` is bounded in items and bytes: whoever posts asks `has_room` first, and is told when there is room. A `Lane`
is an inbox with a task that works it off; task and memory channel exist only while there is something to do, so that
an idle connection owns neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

J = TypeVar("J")


class Inbox(Generic[J]):
    """A memory channel that also counts bytes."""

    __slots__ = ("_capacity", "_made_room", "_receive", "_send", "waiting", "waiting_bytes")

    def __init__(self, capacity: int, made_room: Callable[[], None]) -> None:
        """`made_room` is called whenever an item was taken."""
        self._send, self._receive = trio.open_memory_channel[tuple[J, int]](capacity)
        self._capacity: Final = capacity
        self._made_room: Final = made_room
        self.waiting = 0
        """Items posted and not taken."""
        self.waiting_bytes = 0

    def has_room(self, size: int, max_items: int, max_bytes: int) -> bool:
        """Whether one more item of `size` bytes may wait; one always may."""
        waiting = self.waiting
        if not waiting:
            return True
        return waiting < min(max_items, self._capacity) and self.waiting_bytes + size <= max_bytes

    def post(self, item: J, size: int) -> None:
        """Add an item for which there is room. Never checkpoints."""
        self._send.send_nowait((item, size))
        self.waiting += 1
        self.waiting_bytes += size

    async def receive(self) -> J:
        """Take the next item, waiting for one. A checkpoint. Raises `trio.EndOfChannel` after `close`."""
        return self._taken(*await self._receive.receive())

    def receive_nowait(self) -> J:
        """Take the next item; raises `trio.WouldBlock` if there is none."""
        return self._taken(*self._receive.receive_nowait())

    def _taken(self, item: J, size: int) -> J:
        self.waiting -= 1
        self.waiting_bytes -= size
        self._made_room()
        return item

    def discard(self) -> None:
        """Forget what waits."""
        while self.waiting:
            self.receive_nowait()

    def close(self) -> None:
        """Let `receive` raise `trio.EndOfChannel` once everything was taken."""
        self._send.close()


class Lane(Generic[J]):
    """A bounded queue of jobs and the task that does them in order."""

    __slots__ = ("_handle", "_inbox", "_made_room", "_spawn", "busy")

    def __init__(
        self,
        handle: Callable[[J], Awaitable[None]],
        spawn: Callable[[Callable[[], Awaitable[None]]], None],
        made_room: Callable[[], None],
    ) -> None:
        """`handle` does one job, `spawn` starts a task, `made_room` is called when a job begins, and after the last."""
        self._handle: Final = handle
        self._spawn: Final = spawn
        self._made_room: Final = made_room
        self._inbox: Inbox[J] | None = None
        self.busy = False
        """A job is being done or waits."""

    def has_room(self, size: int, max_jobs: int, max_bytes: int) -> bool:
        """Whether one more job of `size` bytes may wait; one always may."""
        return self._inbox is None or self._inbox.has_room(size, max_jobs, max_bytes)

    def post(self, job: J, size: int, max_jobs: int) -> None:
        """Queue a job for which there is room, and start the task if none runs. Never checkpoints."""
        if self._inbox is None:
            self._inbox = Inbox(max_jobs, self._made_room)
        self._inbox.post(job, size)
        if not self.busy:
            self.busy = True
            self._spawn(self._run)

    def discard(self) -> None:
        """Forget the jobs that were not begun."""
        if self._inbox is not None:
            self._inbox.discard()

    async def _run(self) -> None:
        inbox = self._inbox
        assert inbox is not None  # post() made it
        try:
            while inbox.waiting:
                await self._handle(inbox.receive_nowait())
        finally:
            self._inbox = None
            self.busy = False
            self._made_room()
