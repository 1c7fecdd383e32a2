"""The bytes of one connection: what a transport is, and a kernel socket that we own as one.

Nothing of HTTP or WebSocket lives here. HTTP reads with `receive` and writes with `send_all`; a WebSocket is handed by
`pump` what arrives, its outbox writes with `try_write`, its writer waits in `settle`. Streams that are no kernel socket
are `_stream_transport.py`'s.
"""

from __future__ import annotations

import logging
import socket
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, ClassVar, Final, Literal, cast

import trio
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from contextvars import Context

    from trio_bunws._poller import Poller, Reader, Watch

    Data = bytes | bytearray | memoryview

logger = logging.getLogger("trio_bunws.transport")

READ_SIZE: Final = 64 * 1024
"""Most bytes of one read in a connection's own task; a poller's are larger."""
LINGER_TIME: Final = 2.0
"""Seconds for which a closed socket waits for the peer's end of stream, so that no reset destroys our last bytes."""
LINGER_BYTES: Final = 32 * 2**20
"""Bytes read away meanwhile: who sends a message beyond the default limit whole, and reads then, still reads why."""
CLOSED: Final = "this connection is closed"
INTERNET: Final = frozenset({socket.AF_INET, socket.AF_INET6})


@frozen
class SocketAddress:
    """A peer's address, as `Server.request_ip` returns it (Bun: `SocketAddress`)."""

    address: str
    """The IP address, as text."""
    family: Literal["IPv4", "IPv6"]
    """The kind of address."""
    port: int
    """The TCP port."""


class Transport(ABC):
    """One connection's stream of bytes. One task may read while another writes."""

    __slots__ = ()

    direct: ClassVar[bool]
    """True: `try_write` writes at once. False: it hands the bytes to the next `settle()`."""
    remote: SocketAddress | None
    tls: bool

    @abstractmethod
    async def receive(self) -> bytes:
        """Return the next bytes, at most 64 KiB; `b""` at the end of the stream.

        A checkpoint. Raises `trio.BrokenResourceError` when the connection is lost and `trio.ClosedResourceError`
        after `abort` or `aclose`, also while waiting.
        """

    async def pump(self, reader: Reader) -> bool:
        """Hand `reader` what arrives, until it refuses more (True) or the stream has ended (False).

        It may return True at any time, so that the caller looks whether a task is needed at all.

        A checkpoint. Raises as `receive` does, and what the reader raises.
        """
        while True:
            data = await self.receive()
            if not data:
                return False
            if not feed(reader, data):
                return True
            del data  # up to 64 KiB, not held while waiting for the next

    def poll_with(self, poller: Poller) -> None:  # noqa: B027  # most transports are nothing that it can read
        """Read with a poller from now on, if that is possible."""

    def attend(self, reader: Reader, context: Context, rouse: Callable[[], None]) -> bool:  # noqa: ARG002
        """Hand `reader` what arrives without a task, as `Watch.attend` does; False: this needs a task that reads."""
        return False

    def rouse(self) -> None:  # noqa: B027  # as above
        """Call for the task of a reader that is attended to, if one is."""

    def outcome(self) -> None:  # noqa: B027  # as above
        """Raise what such a reader has raised; to be asked by its task, first of all."""

    @abstractmethod
    async def send_all(self, data: bytes) -> None:
        """Write everything, waiting as long as it takes. A checkpoint. Raises as `receive` does."""

    @property
    def kernel_socket(self) -> socket.socket | None:
        """What `try_write` sends to, if that is all it does."""
        return None

    @abstractmethod
    def try_write(self, data: Data) -> int:
        """Take as many of the bytes as possible without waiting, and return how many.

        Raises `trio.BrokenResourceError` when the connection is lost or closed.
        """

    @abstractmethod
    async def settle(self) -> bool:
        """Wait until `try_write` may take bytes again. A checkpoint. Raises as `receive` does.

        False: not yet, but some of what it took has gone since; call it again.
        """

    @abstractmethod
    def to_stream(self) -> trio.abc.Stream:
        """Give up the connection to a trio stream; this transport is not to be used any more."""

    @abstractmethod
    async def send_eof(self) -> None:
        """Send the end of the stream; the peer's is still awaited by `aclose`. A checkpoint; raises nothing."""

    @abstractmethod
    def abort(self) -> None:
        """End the connection at once, from any task. Idempotent; `aclose` is still to be called."""

    @abstractmethod
    async def aclose(self) -> None:
        """Send the end of the stream, wait `LINGER_TIME` at most for the peer's, and close. Idempotent."""


class SocketTransport(Transport):
    """A connected, non-blocking kernel socket, written to without going through a task."""

    __slots__ = ("_at_eof", "_closed", "_poller", "_socket", "_watch", "remote")

    direct: ClassVar[bool] = True
    tls = False

    def __init__(self, sock: socket.socket, remote: SocketAddress | None) -> None:
        self._socket: Final = sock
        self._poller: Poller | None = None
        self._watch: Watch | None = None
        self._closed = False
        self._at_eof = False
        self.remote = remote

    @property
    def kernel_socket(self) -> socket.socket:
        return self._socket

    def poll_with(self, poller: Poller) -> None:
        self._poller = poller

    def attend(self, reader: Reader, context: Context, rouse: Callable[[], None]) -> bool:
        if self._poller is None or self._closed:
            return False
        if self._watch is None:
            self._watch = self._poller.watch(self._socket)
        return self._watch.attend(reader, context, rouse)

    def rouse(self) -> None:
        if self._watch is not None:
            self._watch.rouse()

    def outcome(self) -> None:
        if self._watch is not None:
            self._watch.outcome()

    async def receive(self) -> bytes:
        while True:
            await self._wait_readable()
            data = self._read()
            if data is not None:
                return data

    async def pump(self, reader: Reader) -> bool:
        while True:
            if await self._wait_readable(reader):
                return True
            data = self._read()
            if data:
                # Also when there is no more to read for now: it may be that no task is needed any more.
                if not feed(reader, data) or (self._watch is not None and not self._watch.ready):
                    return True
            elif data is not None:
                return False
            del data  # up to 64 KiB, not held while waiting for the next

    def _read(self) -> bytes | None:
        """Read once; `None`: there is nothing to read yet."""
        try:
            data = self._socket.recv(READ_SIZE) if self._poller is None else self._poller.read(self._socket, READ_SIZE)
        except BlockingIOError:
            data = None
        except OSError as exc:
            self._at_eof = True
            raise trio.BrokenResourceError(str(exc)) from exc
        if (watch := self._watch) is not None:
            # Fewer bytes than asked for are all there were, unless the stream has ended or urgent data cut them short.
            watch.ready = watch.ended or (data is not None and (len(data) == READ_SIZE or watch.urgent))
        self._at_eof = data == b""
        return data

    async def send_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while True:
            rest = rest[self.try_write(rest) :]
            if not rest:
                # One wait even if all was taken: a checkpoint, and never a spin against a fast reader.
                await trio.lowlevel.checkpoint()
                return
            await self._wait(trio.lowlevel.wait_writable)

    def try_write(self, data: Data) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            # Wakes the reader, which then finds what the peer had sent and the end of the stream.
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            raise trio.BrokenResourceError(str(exc)) from exc

    async def settle(self) -> bool:
        await self._wait(trio.lowlevel.wait_writable)
        return True

    def to_stream(self) -> trio.abc.Stream:
        self._closed = True
        if self._watch is not None:
            self._watch.forget()
        return trio.SocketStream(trio.socket.from_stdlib_socket(self._socket))

    async def send_eof(self) -> None:
        if not self._closed:
            with suppress(OSError):  # the peer may be gone
                self._socket.shutdown(socket.SHUT_WR)
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        if not self._closed:
            self._closed = True
            if self._watch is not None:
                self._watch.forget()
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    async def aclose(self) -> None:
        try:
            if not self._closed and not self._at_eof:
                await self.send_eof()
                await linger(self.receive)
        finally:
            self.abort()

    async def _wait_readable(self, reader: Reader | None = None) -> bool:
        """Wait for something to read; True: the poller has handed some to `reader`, which has refused more."""
        if self._poller is None or self._closed:
            await self._wait(trio.lowlevel.wait_readable)
            return False
        if self._watch is None:
            self._watch = self._poller.watch(self._socket)
        refused = await self._watch.wait(reader)
        if self._closed:
            raise trio.ClosedResourceError(CLOSED)
        return refused

    async def _wait(self, wait: Callable[[socket.socket], Awaitable[None]]) -> None:
        if self._closed:
            await trio.lowlevel.checkpoint()
        else:
            await wait(self._socket)
        # It may have been closed since it was ready, before this task's turn came.
        if self._closed:
            raise trio.ClosedResourceError(CLOSED)


def feed(reader: Reader, data: bytes) -> bool:
    """Hand a reader what its own task has read, and let it answer; False: it refuses more."""
    try:
        return reader.absorb(data)
    finally:
        reader.flush()


async def linger(receive: Callable[[], Awaitable[bytes | bytearray]]) -> None:
    """Read away what still comes: closing on unread input would send a reset, which destroys our last bytes."""
    # Busy: another task reads, and learns from the closing that it is over.
    lost = (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError)
    with trio.move_on_after(LINGER_TIME), suppress(*lost):
        left = LINGER_BYTES
        while left > 0:
            data = await receive()
            if not data:
                break
            left -= len(data)


def own_socket(sock: socket.socket, address: object, family: int) -> SocketTransport:
    """Make a transport of a connected kernel socket and its peer's address, as `accept` returns them."""
    sock.setblocking(False)
    if family in INTERNET:
        with suppress(OSError):  # the peer may be gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return SocketTransport(sock, socket_address(family, address))


def socket_address(family: int, address: object) -> SocketAddress | None:
    """Return a peer's address as the kernel gives it; None for a unix socket's, or if there is none."""
    if family not in INTERNET or not isinstance(address, tuple):
        return None
    host, port, *_ = cast("tuple[str, int]", address)
    return SocketAddress(host, "IPv4" if family == socket.AF_INET else "IPv6", port)


@contextmanager
def harmless() -> Generator[None]:
    """Let no failure to close something of the application's out: to us it is closed."""
    try:
        yield
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    except Exception:
        logger.exception("a stream or listener failed to close")
