"""Streams as transports: TLS, memory, a user's own; and how what was accepted or connected becomes one, or a socket's.

Such a stream can only be written to by a task, so bytes are handed over and written by the writer. `_listeners` and
`_connect` make transports by `take_over`, `_run` adds TLS by `start_tls`.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from trio_bunws._transport import (
    CLOSED,
    INTERNET,
    LINGER_TIME,
    READ_SIZE,
    Transport,
    harmless,
    linger,
    own_socket,
    socket_address,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from trio_bunws._transport import Data, SocketAddress

OFFER_PASSES: Final = 8
"""Turns of the scheduler that a stream has for the last bytes before an abort: all that TLS and memory need."""
PIECE: Final = 64 * 1024
"""Bytes given to a stream at a time: only a finished write shows that the peer reads."""
A = TypeVar("A")
R = TypeVar("R")


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
        # Most streams have no end but that they are closed. After an abort, closing also offers the last batch, which a
        # kernel socket that was shut down would not take.
        if self._kernel is None or self._aborted:
            await self.aclose()
        else:
            shut_down(self._kernel)
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
                        shut_down(self._kernel)
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


def shut_down(kernel: trio.SocketStream) -> None:
    """Send the end of the stream."""
    with suppress(OSError):  # the peer may be gone, or all be closed
        kernel.socket.shutdown(socket.SHUT_WR)


def take_over(stream: trio.abc.Stream) -> Transport:
    """Make a transport of a user's stream; a `trio.SocketStream` gives up its socket to us."""
    if not isinstance(stream, trio.SocketStream):
        return StreamTransport(stream, _remote_of(stream))
    sock = socket.socket(fileno=stream.socket.detach())
    if sock.family in INTERNET:
        # 0: as the system has it. trio's 16 KiB make the kernel refuse when it holds 0.15 MB, not 4 MB.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 0)
    return own_socket(sock, _peer_name(sock), sock.family)


def _remote_of(stream: trio.abc.Stream) -> SocketAddress | None:
    """Return the address of the peer of TLS over a kernel socket; other streams have none that we know."""
    kernel = stream.transport_stream if isinstance(stream, trio.SSLStream) else None
    if not isinstance(kernel, trio.SocketStream):
        return None
    return socket_address(kernel.socket.family, _peer_name(kernel.socket))


def _peer_name(sock: socket.socket | trio.socket.SocketType) -> object:
    try:
        return sock.getpeername()
    except OSError:  # it is gone already
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
