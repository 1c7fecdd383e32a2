"""The bytes of one connection: a kernel socket that we own, or any `trio.abc.Stream`.

Nothing of HTTP or WebSocket lives here. The session and the connection read with `receive`; HTTP writes with
`send_all`, a WebSocket's outbox with `try_write`, its writer waits in `settle`. What is accepted or connected becomes a
transport by `own_socket`, `take_over` and `start_tls`.
"""

from __future__ import annotations

import logging
import socket
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeVar

import trio
from attrs import frozen

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Generator

    Data = bytes | bytearray | memoryview

logger = logging.getLogger("trio_bunws.transport")

READ_SIZE: Final = 64 * 1024
LINGER_TIME: Final = 2.0
"""Seconds for which a closed socket waits for the peer's end of stream, so that no reset destroys our last bytes."""
LINGER_READS: Final = 64
OFFER_PASSES: Final = 8
"""Turns of the scheduler that a stream has for the last bytes before an abort: all that TLS and memory need."""
PIECE: Final = 64 * 1024
"""Bytes given to a stream at a time: only a finished write shows that the peer reads."""
CLOSED: Final = "this connection is closed"
A = TypeVar("A")
R = TypeVar("R")
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

    @abstractmethod
    async def send_all(self, data: bytes) -> None:
        """Write everything, waiting as long as it takes. A checkpoint. Raises as `receive` does."""

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

    async def settle(self) -> bool:
        await self._wait(trio.lowlevel.wait_writable)
        return True

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
                await self.send_eof()
                await linger(self.receive)
        finally:
            self.abort()

    async def _wait(self, wait: Callable[[socket.socket], Awaitable[None]]) -> None:
        if self._closed:
            await trio.lowlevel.checkpoint()
        else:
            await wait(self._socket)
        # It may have been closed since it was ready, before this task's turn came.
        if self._closed:
            raise trio.ClosedResourceError(CLOSED)


class StreamTransport(Transport):
    """Any `trio.abc.Stream` (TLS, memory, a user's own); bytes are written by the writer task."""

    __slots__ = ("_aborted", "_begun", "_closed", "_handed", "_kernel", "_scopes", "_stream", "remote", "tls")

    direct = False

    def __init__(
        self, stream: trio.abc.Stream, remote: SocketAddress | None = None, kernel: trio.SocketStream | None = None
    ) -> None:
        """`kernel` is the socket below `stream`, if the end of the stream may be sent there."""
        self._stream: Final = stream
        self._kernel: Final = kernel
        self._handed: Data = b""
        self._begun = False  # some of what was handed may be written
        self._aborted = False
        self._closed = False
        self._scopes: Final[set[trio.CancelScope]] = set()
        self.remote = remote
        self.tls = isinstance(stream, trio.SSLStream)

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
        self._begun = False
        return len(data)

    async def settle(self) -> bool:
        handed = self._handed if len(self._handed) <= PIECE else memoryview(self._handed)
        self._begun = not self._aborted
        await self._abortable(self._stream.send_all, handed[:PIECE])
        self._handed = handed[PIECE:]
        return not self._handed

    def to_stream(self) -> trio.abc.Stream:
        return self._stream

    async def send_eof(self) -> None:
        # Few streams have an end of their own: closing says it. After an abort it also offers the last batch, for which
        # the kernel must still take bytes.
        if self._kernel is None or self._aborted:
            await self.aclose()
        else:
            with suppress(OSError):  # the peer may be gone, or all be closed
                self._kernel.socket.shutdown(socket.SHUT_WR)
            await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        self._aborted = True
        for scope in self._scopes:
            scope.cancel()

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if not self._aborted:
                self._aborted = True
                with trio.move_on_after(LINGER_TIME), harmless():
                    if self._kernel is not None:
                        await self.send_eof()
                        await linger(self._kernel.receive_some)
                    await self._stream.aclose()
            elif self._handed and not self._begun:
                await self._offer()
            with harmless():
                await trio.aclose_forcefully(self._stream)
        finally:
            self.abort()  # a stream of trio's own wakes who waits for it, a user's may not

    async def _offer(self) -> None:
        """Offer what was handed over just before an abort once, without waiting for the peer."""
        with trio.CancelScope(deadline=trio.current_time() + LINGER_TIME, shield=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_handed)
                for _ in range(OFFER_PASSES):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()

    async def _send_handed(self) -> None:
        with harmless():
            await self._stream.send_all(self._handed)

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


async def linger(receive: Callable[[], Awaitable[bytes | bytearray]]) -> None:
    """Read away what still comes: closing on unread input would send a reset, which destroys our last bytes."""
    # Busy: another task reads, and learns from the closing that it is over.
    lost = (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError)
    with trio.move_on_after(LINGER_TIME), suppress(*lost):
        for _ in range(LINGER_READS):
            if not await receive():
                break


def take_over(stream: trio.abc.Stream) -> Transport:
    """Make a transport of a user's stream; a `trio.SocketStream` gives up its socket to us."""
    if not isinstance(stream, trio.SocketStream):
        return StreamTransport(stream, _remote_of(stream))
    sock = socket.socket(fileno=stream.socket.detach())
    if sock.family in INTERNET:
        # 0: as the system has it. trio's 16 KiB make the kernel refuse when it holds 0.15 MB, not 4 MB.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 0)
    return own_socket(sock, _peer_name(sock))


def _remote_of(stream: trio.abc.Stream) -> SocketAddress | None:
    """Return the address of the peer of TLS over a kernel socket; other streams have none that we know."""
    kernel = stream.transport_stream if isinstance(stream, trio.SSLStream) else None
    if not isinstance(kernel, trio.SocketStream):
        return None
    return _address(kernel.socket.family, _peer_name(kernel.socket))


def _peer_name(sock: socket.socket | trio.socket.SocketType) -> object:
    try:
        return sock.getpeername()
    except OSError:  # it is gone already
        return None


def own_socket(sock: socket.socket, address: object) -> SocketTransport:
    """Make a transport of a connected kernel socket and its peer's address, as `accept` returns them."""
    sock.setblocking(False)
    if sock.family in INTERNET:
        with suppress(OSError):  # the peer may be gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return SocketTransport(sock, _address(sock.family, address))


def _address(family: int, address: object) -> SocketAddress | None:
    match address:
        case (str(host), int(port), *_) if family in INTERNET:
            return SocketAddress(host, "IPv4" if family == socket.AF_INET else "IPv6", port)
        case _:
            return None


async def start_tls(transport: Transport, context: ssl.SSLContext, within: float) -> Transport:
    """Return the connection with TLS over it, its handshake done.

    Raises `trio.BrokenResourceError` if the handshake fails, or takes more than `within` seconds; `transport` is
    closed then.
    """
    stream = transport.to_stream()
    done = False
    try:
        with trio.fail_after(within):
            secured = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
            await secured.do_handshake()
        done = True
        kernel = stream if isinstance(stream, trio.SocketStream) else None
        return StreamTransport(secured, transport.remote, kernel)
    except trio.TooSlowError:
        raise trio.BrokenResourceError(f"the TLS handshake took more than {within} s") from None
    except Exception as exc:  # OpenSSL's words, or whatever a user's stream raises
        raise trio.BrokenResourceError(str(exc.__cause__ or exc)) from exc
    finally:
        if not done:
            with harmless():
                await trio.aclose_forcefully(stream)


@contextmanager
def harmless() -> Generator[None]:
    """Let no failure to close something of the application's out: to us it is closed."""
    try:
        yield
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    except Exception:
        logger.exception("a stream or listener failed to close")
