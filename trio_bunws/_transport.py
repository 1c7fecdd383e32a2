"""The bytes of one connection: a kernel socket that we own, or any `trio.abc.Stream`.

Nothing of HTTP or WebSocket lives here. The session and the connection read with `receive`; HTTP writes with
`send_all`, a WebSocket's outbox with `try_write`, its writer waits in `settle`. Accepting lives here too, because it
makes the sockets.
"""

from __future__ import annotations

import errno
import logging
import socket
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeVar

import trio
from attrs import frozen

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable
    from typing import NoReturn

    Data = bytes | bytearray | memoryview

logger = logging.getLogger("trio_bunws.transport")

READ_SIZE: Final = 64 * 1024
LINGER_TIME: Final = 2.0
"""Seconds for which a closed socket waits for the peer's end of stream, so that no reset destroys our last bytes."""
LINGER_READS: Final = 64
ACCEPTS_PER_WAKE: Final = 64
ACCEPT_PAUSE: Final = 0.1
"""Seconds without accepting when the process or the kernel is out of descriptors or memory."""
CLOSED: Final = "this connection is closed"
A = TypeVar("A")
R = TypeVar("R")
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


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

    @abstractmethod
    async def send_all(self, data: bytes) -> None:
        """Write everything, waiting as long as it takes. A checkpoint. Raises as `receive` does."""

    @abstractmethod
    def try_write(self, data: Data) -> int:
        """Take as many of the bytes as possible without waiting, and return how many.

        Raises `trio.BrokenResourceError` when the connection is lost or closed.
        """

    @abstractmethod
    async def settle(self) -> None:
        """Wait until `try_write` may take bytes again. A checkpoint. Raises as `receive` does."""

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

    __slots__ = ("_at_eof", "_closed", "_socket", "remote")

    direct = True
    tls = False

    def __init__(self, sock: socket.socket, remote: SocketAddress | None) -> None:
        self._socket: Final = sock
        self._closed = False
        self._at_eof = False
        self.remote = remote

    async def receive(self) -> bytes:
        while True:
            await self._wait(trio.lowlevel.wait_readable)
            try:
                data = self._socket.recv(READ_SIZE)
            except BlockingIOError:
                continue
            except OSError as exc:
                self._at_eof = True
                raise trio.BrokenResourceError(str(exc)) from exc
            self._at_eof = not data
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

    async def settle(self) -> None:
        await self._wait(trio.lowlevel.wait_writable)

    def to_stream(self) -> trio.abc.Stream:
        self._closed = True
        return trio.SocketStream(trio.socket.from_stdlib_socket(self._socket))

    async def send_eof(self) -> None:
        if not self._closed:
            with suppress(OSError):  # the peer may be gone
                self._socket.shutdown(socket.SHUT_WR)
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    async def aclose(self) -> None:
        try:
            if not self._closed and not self._at_eof:
                await self._linger()
        finally:
            self.abort()

    async def _linger(self) -> None:
        """Close our half and read away what still comes: closing on unread input would send a reset."""
        await self.send_eof()
        with trio.move_on_after(LINGER_TIME), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            for _ in range(LINGER_READS):
                if not await self.receive():
                    break

    async def _wait(self, wait: Callable[[socket.socket], Awaitable[None]]) -> None:
        if self._closed:
            await trio.lowlevel.checkpoint()
            raise trio.ClosedResourceError(CLOSED)
        await wait(self._socket)


class StreamTransport(Transport):
    """Any `trio.abc.Stream` (TLS, memory, a user's own); bytes are written by the writer task."""

    __slots__ = ("_aborted", "_closed", "_handed", "_scopes", "_stream", "remote", "tls")

    direct = False

    def __init__(self, stream: trio.abc.Stream, remote: SocketAddress | None = None, *, tls: bool = False) -> None:
        self._stream: Final = stream
        self._handed: Data = b""
        self._aborted = False
        self._closed = False
        self._scopes: Final[set[trio.CancelScope]] = set()
        self.remote = remote
        self.tls = tls

    async def receive(self) -> bytes:
        return bytes(await self._abortable(self._stream.receive_some, READ_SIZE))

    async def send_all(self, data: bytes) -> None:
        await self._abortable(self._stream.send_all, data)

    def try_write(self, data: Data) -> int:
        if self._aborted:
            raise trio.BrokenResourceError(CLOSED)
        if self._handed:
            return 0
        self._handed = data
        return len(data)

    async def settle(self) -> None:
        await self._abortable(self._stream.send_all, self._handed)
        self._handed = b""

    def to_stream(self) -> trio.abc.Stream:
        return self._stream

    async def send_eof(self) -> None:
        # Few streams have an end of their own (TLS has none to go on reading after): closing says it.
        await self.aclose()

    def abort(self) -> None:
        self._aborted = True
        for scope in self._scopes:
            scope.cancel()

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        if not self._aborted:
            self._aborted = True
            with trio.move_on_after(LINGER_TIME), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.aclose()
        await trio.aclose_forcefully(self._stream)

    async def _abortable(self, call: Callable[[A], Awaitable[R]], argument: A) -> R:
        """Await a method of the stream so that `abort` ends it, and give its failures trio's names."""
        if self._aborted:
            await trio.lowlevel.checkpoint()
            raise trio.ClosedResourceError(CLOSED)
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                return await call(argument)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise
            except Exception as exc:  # a user's stream may raise anything; to us that is a lost connection
                raise trio.BrokenResourceError(str(exc)) from exc
            finally:
                self._scopes.discard(scope)
        raise trio.ClosedResourceError(CLOSED)


async def accept_sockets(listening: socket.socket, accepted: Callable[[SocketTransport], None]) -> NoReturn:
    """Call `accepted` with each connection to a non-blocking listening socket, until cancelled.

    Takes what waits, at most `ACCEPTS_PER_WAKE` at a time. When descriptors or memory run out it pauses and goes on.
    """
    while True:
        await trio.lowlevel.wait_readable(listening)
        for _ in range(ACCEPTS_PER_WAKE):
            try:
                sock, address = listening.accept()
            except BlockingIOError:
                break
            except OSError as exc:
                if exc.errno in EXHAUSTED:
                    logger.warning("cannot accept connections, trying again in %s s: %s", ACCEPT_PAUSE, exc)
                    await trio.sleep(ACCEPT_PAUSE)
                    break
                # The peer gave up while it waited in the queue (ECONNABORTED and what accept(2) lists beside it).
                continue
            accepted(_own(sock, address))


async def accept_streams(
    listener: trio.abc.Listener[trio.abc.Stream], accepted: Callable[[Transport], None]
) -> NoReturn:
    """Call `accepted` with each connection of a user's listener, until cancelled."""
    while True:
        try:
            stream = await listener.accept()
        except OSError as exc:
            if exc.errno not in EXHAUSTED:
                raise
            logger.warning("cannot accept connections, trying again in %s s: %s", ACCEPT_PAUSE, exc)
            await trio.sleep(ACCEPT_PAUSE)
            continue
        accepted(take_over(stream))


def take_over(stream: trio.abc.Stream) -> Transport:
    """Make a transport of a user's stream; a `trio.SocketStream` gives up its socket to us."""
    if not isinstance(stream, trio.SocketStream):
        return StreamTransport(stream, tls=isinstance(stream, trio.SSLStream))
    sock = socket.socket(fileno=stream.socket.detach())
    try:
        address = sock.getpeername()
    except OSError:
        address = None
    return _own(sock, address)


def _own(sock: socket.socket, address: object) -> SocketTransport:
    sock.setblocking(False)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):  # the peer may be gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return SocketTransport(sock, _address(sock.family, address))


def _address(family: int, address: object) -> SocketAddress | None:
    match address:
        case (str(host), int(port), *_) if family in (socket.AF_INET, socket.AF_INET6):
            return SocketAddress(host, "IPv4" if family == socket.AF_INET else "IPv6", port)
        case _:
            return None


def own_listener(listener: trio.SocketListener) -> socket.socket:
    """Take the listening socket out of a trio listener of our own making."""
    sock = socket.socket(fileno=listener.socket.detach())
    sock.setblocking(False)
    return sock


async def start_tls(transport: Transport, context: ssl.SSLContext, within: float) -> Transport:
    """Return the connection with TLS over it, its handshake done.

    Raises `trio.BrokenResourceError` if the handshake fails, or takes more than `within` seconds; `transport` is
    closed then.
    """
    stream = trio.SSLStream(transport.to_stream(), context, server_side=True, https_compatible=True)
    with trio.move_on_after(within):
        try:
            await stream.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return StreamTransport(stream, transport.remote, tls=True)
    raise trio.BrokenResourceError(f"the TLS handshake took more than {within} s")
