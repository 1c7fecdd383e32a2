"""Messages that wait for an application, and jobs that run one at a time beside a connection's reader.

An `Inbox` is bounded in items and bytes: whoever posts asks `has_room` first, and is told when there is room. A `Lane`
is an inbox with a task that works it off; both exist only while there is something to do, so that an idle connection
owns neither.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

J = TypeVar("J")


class Inbox(Generic[J]):
    """A bounded queue. No memory channel: that would hand an item to a waiting task, where `discard` cannot take it."""

    __slots__ = ("_arrived", "_capacity", "_closed", "_items", "_made_room", "waiting_bytes")

    def __init__(self, capacity: int, made_room: Callable[[], None]) -> None:
        """`made_room` is called whenever an item was taken."""
        self._items: Final[deque[tuple[J, int]]] = deque()
        self._capacity: Final = capacity
        self._made_room: Final = made_room
        self._arrived: trio.Event | None = None
        self._closed = False
        self.waiting_bytes = 0

    @property
    def waiting(self) -> int:
        """Items posted and not taken."""
        return len(self._items)

    def has_room(self, size: int, max_items: int, max_bytes: int) -> bool:
        """Whether one more item of `size` bytes may wait; one always may."""
        waiting = len(self._items)
        if not waiting:
            return True
        return waiting < min(max_items, self._capacity) and self.waiting_bytes + size <= max_bytes

    def post(self, item: J, size: int) -> None:
        """Add an item for which there is room. Never checkpoints. Raises `trio.WouldBlock` over the capacity."""
        if len(self._items) >= self._capacity:
            raise trio.WouldBlock
        self._items.append((item, size))
        self.waiting_bytes += size
        self._wake()

    async def receive(self) -> J:
        """Take the next item, waiting for one. A checkpoint. Raises `trio.EndOfChannel` after `close`."""
        if self._items or self._closed:
            await trio.lowlevel.checkpoint()
        while not self._items:
            if self._closed:
                raise trio.EndOfChannel
            if self._arrived is None:
                self._arrived = trio.Event()
            await self._arrived.wait()
        return self.receive_nowait()

    def receive_nowait(self) -> J:
        """Take the next item; raises `trio.WouldBlock` if there is none."""
        if not self._items:
            raise trio.WouldBlock
        item, size = self._items.popleft()
        self.waiting_bytes -= size
        self._made_room()
        return item

    def discard(self) -> None:
        """Forget what waits."""
        while self._items:
            self.receive_nowait()

    def close(self) -> None:
        """Let `receive` raise `trio.EndOfChannel` once everything was taken. Idempotent."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()
            self._arrived = None


def size_of(message: str | bytes) -> int:
    """Return the bytes that a message takes in an inbox: those of its payload."""
    return len(message) if isinstance(message, bytes) or message.isascii() else len(message.encode())


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
