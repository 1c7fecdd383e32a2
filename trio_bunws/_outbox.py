"""What one socket still has to write: its current batch of frames, then the bytes that the transport refused.

The outbox applies the backpressure limit, keeps order, and knows when a writer task is needed; it never sees a socket
or a task, only `Sink.try_write` and its owner's callbacks. Endpoints and the hub fill it, the connection's writer
empties it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

import trio

from trio_bunws._topics import CLEAR, CONGESTED, OVER

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

BATCH: Final = 16 * 1024
"""Bytes at which a batch is written without waiting for the end of the tick or cork."""
PIECE: Final = 64 * 1024
"""Most bytes joined, or cut from a larger item, for one write of unsent bytes."""
PIECES_PER_TURN: Final = 16
"""Most pieces that one call of `write_more` offers, so that one fast reader does not hold the loop."""
SMALL: Final = 4 * 1024
"""Unsent frames up to this size share one buffer: a million two-byte frames must not cost a million objects."""
CONTROL_RESERVE: Final = 64 * 1024
"""Bytes of the app's own pings and pongs that are accepted beyond the limit."""


class Sink(Protocol):
    """The writing half of a transport."""

    direct: ClassVar[bool]
    """True: `try_write` tells at once what the kernel took. False: it hands the bytes to a writer that is idle."""

    @property
    def kernel_socket(self) -> socket.socket | None:
        """What `try_write` sends to, if that is all it does: for sending to many at once."""
        ...

    def try_write(self, data: bytes | bytearray | memoryview) -> int:
        """Take as many of the bytes as possible without waiting, and return how many."""
        ...


class Owner(Protocol):
    """Whose outbox this is."""

    def _pressure_changed(self, old: int, new: int) -> None:
        """The outbox went from one pressure (`_topics.CLEAR`, ...) to another."""
        ...

    def _writer_needed(self) -> None:
        """Bytes wait for `write_more`; see that a writer runs."""
        ...

    def _overflowed(self) -> None:
        """Something was dropped because the outbox is over its limit."""
        ...

    def _write_failed(self) -> None:
        """The transport is broken: nothing can be written any more."""
        ...


class Nobody:
    """Owns the outbox of a connection that is over, which has nothing to say any more."""

    __slots__ = ()

    def _pressure_changed(self, old: int, new: int) -> None: ...

    def _writer_needed(self) -> None: ...

    def _overflowed(self) -> None: ...

    def _write_failed(self) -> None: ...


NOBODY: Final = Nobody()


class Outbox:
    """The frames and bytes that one socket has accepted and not yet written.

    All methods but `wait_change` are plain functions that never checkpoint.
    """

    __slots__ = (
        "_batch",
        "_batch_bytes",
        "_blocked",
        "_changed",
        "_control_bytes",
        "_direct",
        "_owner",
        "_pong",
        "_socket",
        "_tail",
        "_try_write",
        "_unsent",
        "_unsent_bytes",
        "broken",
        "bytes_out",
        "corks",
        "drops",
        "limit",
        "messages_out",
        "pressure",
    )

    def __init__(self, sink: Sink, owner: Owner, limit: int) -> None:
        self._try_write: Final[Callable[[bytes | bytearray | memoryview], int]] = sink.try_write
        self._direct: Final = sink.direct
        self._socket = sink.kernel_socket  # for `_multicast.py`, which sends to many at once; `None` once broken
        self._owner: Owner = owner
        self.limit = limit
        """Unsent bytes above which messages are dropped; 0: never."""
        self._batch: list[bytes | memoryview] = []
        self._batch_bytes = 0
        self._unsent: deque[bytes | bytearray | memoryview] | None = None  # made at the first refusal
        self._unsent_bytes = 0
        self._tail: bytearray | None = None  # the last of these, as long as small frames may join it
        self._pong: bytearray | None = None  # an automatic pong among these
        self._control_bytes = 0  # of the app's pings and pongs, since the limit was passed
        # Something is unsent, or (without direct writes) a write is in flight: the batch is empty, frames queue up.
        self._blocked = False
        self._changed: trio.Event | None = None
        self.corks = 0
        """How many corks are open; the outermost flushes."""
        self.pressure: int = CLEAR
        """How full it is: `CLEAR`, `CONGESTED` or `OVER` the limit."""
        self.broken = False
        """The transport failed: nothing can be written any more."""
        self.messages_out = 0
        self.bytes_out = 0
        self.drops = 0

    # State

    @property
    def buffered(self) -> int:
        """Bytes that the transport has refused, headers included."""
        return self._unsent_bytes

    def has_room(self, size: int) -> bool:
        """Whether `size` bytes more fit within the limit, even if the whole batch is refused; the first ones always."""
        waiting = self._batch_bytes + self._unsent_bytes
        return not waiting or not self.limit or waiting + size <= self.limit

    @property
    def empty(self) -> bool:
        """Nothing is batched, unsent or in flight."""
        return not self._batch and not self._blocked

    @property
    def has_work(self) -> bool:
        """A writer has something to do: bytes are unsent, or in flight."""
        return self._blocked

    async def wait_change(self) -> None:
        """Wait until bytes were written, or the outbox was cleared. A checkpoint."""
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    def notify(self) -> None:
        """Let whoever waits for a change look."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def set_limit(self, limit: int) -> None:
        """Change the limit; what is queued stays."""
        self.limit = limit
        self._update_pressure()
        self.notify()

    # Filling it

    def push(self, frame: bytes) -> None:
        """Accept one message's frame. The caller has looked at `pressure`, and flushes by cork, tick or `flush`."""
        # What follows is `_append`, without the call that every message would pay for.
        self.messages_out += 1
        if self._blocked:
            self._queue(frame)
            return
        self._batch.append(frame)
        self._batch_bytes += len(frame)
        if self._batch_bytes >= BATCH:
            self.flush()

    def push_batch(self, frames: bytes, count: int) -> bool:
        """Accept `count` joined messages whole, or drop them whole when over the limit; False: dropped."""
        if self.pressure == OVER:
            self.drop(count)
            return False
        self.messages_out += count
        self._append(frames)
        return True

    def push_raw(self, data: bytes) -> None:
        """Accept bytes that are no message, whatever the limit: the handshake's answer, the Close frame."""
        self._append(data)

    def push_rest(self, rest: memoryview) -> None:
        """Write what a send to many has left over of its messages; what is refused is unsent from now on."""
        self._batch.append(rest)
        self.flush()

    def push_control(self, frame: bytes) -> bool:
        """Accept a ping or pong of the app; over the limit up to `CONTROL_RESERVE` bytes in all. False: dropped."""
        if self.pressure == OVER:
            if self._control_bytes + len(frame) > CONTROL_RESERVE:
                self.drops += 1
                return False
            self._control_bytes += len(frame)
        self._append(frame)
        return True

    def push_pong(self, frame: bytes) -> None:
        """Accept an automatic pong; while bytes are unsent one waits, and a newer one replaces it in place.

        RFC 6455 section 5.5.3 allows to answer only the most recent ping; so endless pings cost one frame.
        """
        waiting = self._pong
        if not self._blocked:
            self._append(frame)
        elif waiting is None:
            self._pong = pong = bytearray(frame)
            self._tail = None
            self._enqueue(pong)
        else:
            self._unsent_bytes += len(frame) - len(waiting)
            waiting[:] = frame
            self._update_pressure()

    def drop(self, count: int = 1) -> None:
        """Count messages that are not accepted because the outbox is over its limit, and tell the owner."""
        self.drops += count
        self._owner._overflowed()

    def _append(self, data: bytes) -> None:
        if self._blocked:
            self._queue(data)
            return
        self._batch.append(data)
        self._batch_bytes += len(data)
        if self._batch_bytes >= BATCH:
            self.flush()

    def _queue(self, data: bytes) -> None:
        """Put bytes behind the unsent ones; small ones share a buffer."""
        if len(data) > SMALL:
            self._tail = None
            self._enqueue(data)
            return
        tail = self._tail
        if tail is None or len(tail) >= PIECE:
            self._tail = bytearray(data)
            self._enqueue(self._tail)
            return
        tail += data
        self._unsent_bytes += len(data)
        self._update_pressure()

    def _enqueue(self, item: bytes | bytearray | memoryview) -> None:
        if self._unsent is None:
            self._unsent = deque()
        self._unsent.append(item)
        self._unsent_bytes += len(item)
        self._update_pressure()

    # Emptying it

    def flush(self) -> None:
        """Write the batch, in one piece; what the transport refuses is unsent from now on."""
        batch = self._batch
        if not batch:
            return
        data = batch[0] if len(batch) == 1 else b"".join(batch)
        batch.clear()
        self._batch_bytes = 0
        # The batch is empty whenever something is unsent, so that these bytes are the next ones.
        written = self._offer(data)
        if self.broken:
            return
        if written < len(data):
            self._enqueue(memoryview(data)[written:] if written else data)
            self._blocked = True
        if self._blocked:
            self._owner._writer_needed()
        else:
            self.notify()

    def write_more(self) -> int:
        """Offer unsent bytes now that the transport takes some again; return how many it took.

        The writer calls this after each `Transport.settle()`, and goes on while `has_work`.
        """
        self._blocked = False
        written = 0
        for _ in range(PIECES_PER_TURN):
            if not self._unsent or self._blocked:
                break
            piece = self._take_piece()
            taken = self._offer(piece)
            if self.broken:
                return written
            written += taken
            if taken and piece is self._pong:
                self._pong = None
            if taken < len(piece):
                self._unsent.appendleft(memoryview(piece)[taken:] if taken else piece)
                break
        self._unsent_bytes -= written
        if self._unsent_bytes:
            self._blocked = True
        self._update_pressure()
        self.notify()
        return written

    def discard(self) -> None:
        """Forget everything that is not written."""
        self._batch.clear()
        self._batch_bytes = 0
        self._unsent = self._tail = self._pong = None
        self._unsent_bytes = 0
        self._blocked = False
        self._update_pressure()
        self.notify()

    def retire(self) -> None:
        """The connection is over: let go of the owner, which holds this; the counts stay."""
        self.discard()
        self._owner = NOBODY

    def fail(self) -> None:
        """The transport is broken: nothing can be written any more, and the owner is told once."""
        first = not self.broken
        self.broken = True
        self._socket = None
        self.discard()
        if first:
            self._owner._write_failed()

    def _offer(self, data: bytes | bytearray | memoryview) -> int:
        if self.broken:
            return 0
        try:
            taken = self._try_write(data)
        except trio.BrokenResourceError:
            # The reader will find the end of the stream and close; until then there is nothing to write for.
            self.fail()
            return 0
        self.bytes_out += taken
        self._blocked = not self._direct
        return taken

    def _take_piece(self) -> bytes | bytearray | memoryview:
        """Remove and return the next unsent bytes, up to about `PIECE`; a waiting pong by itself, for it may change."""
        items: deque[bytes | bytearray | memoryview] = self._unsent  # type: ignore[assignment]  # callers looked
        pong = self._pong
        first = items.popleft()
        if first is pong:
            return first
        # A buffer that is about to be written must not grow.
        if first is self._tail:
            self._tail = None
        if len(first) > PIECE:
            whole = memoryview(first)
            items.appendleft(whole[PIECE:])
            return whole[:PIECE]
        pieces = [first]
        size = len(first)
        while items and size + len(items[0]) <= PIECE and items[0] is not pong:
            item = items.popleft()
            if item is self._tail:
                self._tail = None
            pieces.append(item)
            size += len(item)
        return b"".join(pieces)

    def _update_pressure(self) -> None:
        unsent = self._unsent_bytes
        new = CLEAR if not unsent else OVER if 0 < self.limit < unsent else CONGESTED
        old = self.pressure
        if new != old:
            self.pressure = new
            if new != OVER:
                self._control_bytes = 0
            self._owner._pressure_changed(old, new)
