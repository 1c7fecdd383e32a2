"""Reading many sockets with one epoll object and one task: what `trio.lowlevel.wait_readable` does, for less.

trio registers a socket anew for every wait, and every wait costs a task's turn. Here a socket is registered once,
edge-triggered, and one task of the server reads whatever is ready and hands it to the connection, whose own task stays
parked, or does not exist before it is needed. `_run.py` runs one for each server, `_transport.py` reads by it. Where
there is no epoll there is no poller, and it waits by trio.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

import trio

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from contextvars import Context

READ_SIZE: Final = 124 * 1024
"""Most bytes of one read; a socket that has more waits for its next turn.

A message of 64 KiB with its header should come in one read. What is read must stay below 128 KiB as an object, from
where on malloc asks the kernel for every one.
"""
EVENTS_PER_WAKE: Final = 256
"""Sockets reported at a time."""
TURN: Final = 0.001
"""Seconds of reading before other tasks get their turn."""


class Reader(Protocol):
    """Who reads a connection: what arrives is handed to it, whichever task has read it."""

    def absorb(self, data: bytes) -> bool:
        """Handle what was read, never empty. False: nothing more for now; the reader's own task must look first."""
        ...

    def flush(self) -> None:
        """Write what that has sent."""
        ...


class Deliverer(Protocol):
    """Who writes what readers have sent to others."""

    def hold(self) -> None:
        """Wait with it for `settle`, before which no other task runs."""
        ...

    def settle(self) -> None:
        """Write it, or see that it is written. Idempotent."""
        ...


class Poller:
    """The sockets of one server."""

    __slots__ = ("_buffer", "_deliverer", "_epoll", "_more", "_ready", "_watches", "served")

    def __init__(self, deliverer: Deliverer) -> None:
        self._deliverer: Final = deliverer
        self._epoll: Final = select.epoll()
        self._buffer: Final = memoryview(bytearray(READ_SIZE))
        self._watches: Final[dict[int, Watch]] = {}
        self._ready: Iterator[Watch] = self._all_ready()
        """Those that are still to be served."""
        self._more: list[Watch] = []
        """Those that have been, and have more to read than one read took."""
        self.served: Final[list[Reader]] = []
        """Those whose answers are still to be written."""

    def watch(self, sock: socket.socket) -> Watch:
        """Register a connected, non-blocking socket; `Watch.forget` is to be called before it is closed."""
        if self._epoll.closed:
            return Watch(None, sock)
        try:
            self._epoll.register(sock, select.EPOLLIN | select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLET)
        except OSError:  # out of memory, say, or of watches: trio will say so, to the one connection
            return Watch(None, sock)
        watch = self._watches[sock.fileno()] = Watch(self, sock)
        return watch

    def read(self, sock: socket.socket, size: int = READ_SIZE) -> bytes:
        """Read once, at most so many bytes; raises as `socket.recv` does.

        It reads into one buffer for all: `recv` would allocate `size` bytes for each read and leave a hole behind
        whatever is kept of it, by which a busy server would grow.
        """
        return self._buffer[: sock.recv_into(self._buffer, size)].tobytes()

    def forget(self, sock: socket.socket) -> None:
        """Unregister a socket."""
        del self._watches[sock.fileno()]
        self._epoll.unregister(sock)

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> NoReturn:
        """Serve the sockets until cancelled; whoever waits then waits by trio."""
        try:
            while True:
                if self._turn():
                    await trio.lowlevel.checkpoint()
                else:
                    await trio.lowlevel.wait_readable(self._epoll)
        finally:
            self._epoll.close()
            for watch in self._watches.values():
                watch.abandon()

    def _turn(self) -> bool:
        """Serve what is ready, for as long as a turn may take; True: there may be more to do."""
        until = trio.current_time() + TURN
        self._deliverer.hold()
        try:
            for watch in self._ready:
                if watch.serve(self):
                    self._more.append(watch)
                if trio.current_time() >= until:
                    return True
        finally:
            self._flush()
        self._ready = self._all_ready()
        return bool(self._more)

    def _all_ready(self) -> Iterator[Watch]:
        """Look, and look again when those are served, until nobody is ready any more, or somebody has much to read.

        The more are served at a time, the fewer writes there are.
        """
        while ready := self._poll():
            yield from ready
            if self._more:
                return

    def _poll(self) -> dict[Watch, None]:
        # The watches at once: a descriptor may get another meaning while other tasks run.
        ready, self._more = dict.fromkeys(self._more), []
        for fd, flags in self._epoll.poll(0, EVENTS_PER_WAKE):
            watch = self._watches[fd]
            watch.ready = True
            if flags != select.EPOLLIN:
                watch.urgent = watch.urgent or bool(flags & select.EPOLLPRI)
                watch.ended = watch.ended or bool(flags & ~(select.EPOLLIN | select.EPOLLPRI))
            ready[watch] = None
        return ready

    def _flush(self) -> None:
        """Write the answers to all that was read, after the last of it: their peers have slept long enough by then."""
        try:
            for reader in self.served:
                reader.flush()
        finally:
            self.served.clear()
            self._deliverer.settle()


def make_poller(deliverer: Deliverer) -> Poller | None:
    """Make a poller, where the system has what it takes (Linux)."""
    return Poller(deliverer) if hasattr(select, "epoll") else None


class Watch:
    """One socket's readiness, and who waits for it, one at a time: a task, or a reader that has none yet."""

    __slots__ = (
        "_context",
        "_failure",
        "_poller",
        "_reader",
        "_refused",
        "_rouse",
        "_socket",
        "_task",
        "ended",
        "ready",
        "urgent",
    )

    def __init__(self, poller: Poller | None, sock: socket.socket) -> None:
        """`poller` is `None` where there is none any more: then it is trio that waits."""
        self._poller = poller
        self._socket: Final = sock
        # Who waits: a task, or a reader without one, which `_rouse` starts.
        self._task: trio.lowlevel.Task | None = None
        self._rouse: Callable[[], None] | None = None
        # Who is handed what arrives, and in which context.
        self._reader: Reader | None = None
        self._context: Context | None = None
        # What came of it, until `outcome` tells.
        self._refused = False
        self._failure: BaseException | None = None
        self.ready = False
        """There may be something to read; whoever finds that there is not, sets it to False."""
        self.ended = False
        """The peer sends no more, or the connection is lost: reading never has to wait again."""
        self.urgent = False
        """The peer has sent TCP's urgent data, at which every read stops: a short one need not be the last."""

    @trio.lowlevel.enable_ki_protection
    async def wait(self, reader: Reader | None = None) -> bool:
        """Wait until the socket may be read, or `forget` is called; meanwhile `reader` is handed what arrives.

        A checkpoint. True: the reader has refused more. Raises what the reader raised, and
        `trio.BrokenResourceError` if reading for it failed.
        """
        if self._poller is None:
            await trio.lowlevel.wait_readable(self._socket)
            return False
        if self.ready:
            await trio.lowlevel.checkpoint()
            return False
        self._task = task = trio.lowlevel.current_task()
        self._reader = reader
        self._context = task.context
        try:
            await trio.lowlevel.wait_task_rescheduled(self._cancelled)
        finally:
            # What the reader raised goes before all else, as if its own task had called it.
            self._reader = self._context = None
            refused = self.outcome()
        return refused

    def attend(self, reader: Reader, context: Context, rouse: Callable[[], None]) -> bool:
        """Hand `reader` what arrives, in `context` and without a task; `rouse` is called, once, when one is needed.

        That is when the reader has refused more or raised, when the stream ends, and when `forget` or `rouse` is
        called. The task that it starts asks for the `outcome`, and may `wait` then. A reader that is handed something
        may call this again, to give its place to another.

        False: this is for a task, for there is no poller any more, or there is something to read already.
        """
        if self._poller is None or self.ready:
            return False
        self._reader = reader
        self._context = context
        self._rouse = rouse
        return True

    def outcome(self) -> bool:
        """Return, once, whether the reader has refused more; raise what it, or reading for its task, has raised."""
        refused, self._refused = self._refused, False
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return refused

    def _cancelled(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    @property
    def _is_waiting(self) -> bool:
        return self._task is not None or self._rouse is not None

    def rouse(self) -> None:
        """Resume the task that waits, or have one started for a reader that is attended to."""
        task, self._task = self._task, None
        rouse, self._rouse = self._rouse, None
        if task is not None:
            trio.lowlevel.reschedule(task)
        elif rouse is not None:
            context, self._context = self._context, None
            assert context is not None  # set with it
            self._reader = None
            context.copy().run(rouse)  # a copy: this may be called by the reader, within it

    def serve(self, poller: Poller) -> bool:
        """Read once for the reader that waits, who is to be flushed; or wake the task that waits without one.

        True: there may be more to read.
        """
        reader = self._reader
        if not self._is_waiting or reader is None or self.ended:
            self.rouse()
            return False
        try:
            data = poller.read(self._socket)
        except BlockingIOError:
            self.ready = False
            return False
        except OSError as exc:
            if self._task is not None:  # one that is only started now finds the end of the stream
                self._failure = trio.BrokenResourceError(str(exc))
            self.rouse()
            return False
        if not data:
            self.ended = True
            self.rouse()
            return False
        self.ready = len(data) == READ_SIZE or self.urgent
        assert self._context is not None  # set with the reader
        poller.served.append(reader)
        try:
            self._refused = not self._context.run(reader.absorb, data)
        except BaseException as exc:  # noqa: BLE001, ASYNC103  # it goes to the reader's own task, whatever it is
            self._failure = exc
        if self._refused or self._failure is not None:
            self.rouse()
        return self.ready and self._is_waiting  # else who has been woken reads on

    def forget(self) -> None:
        """Unregister the socket, which is about to be closed, and let the waiting task find that out. Idempotent."""
        if self._poller is not None:
            self._poller.forget(self._socket)
        self.abandon()

    def abandon(self) -> None:
        """There is no poller any more: let the waiting task wait by trio."""
        self._poller = None
        self.rouse()
