"""Listening: kernel sockets of our own (TCP, unix), or listeners of the application's, behind one small interface.

`_serve.py` opens them. `_run.py` runs each one's `accept` in a task, and closes them first when the server stops.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
from collections.abc import Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import attrs
import trio

from trio_bunws._seldom import SeldomLog
from trio_bunws._stream_transport import take_over
from trio_bunws._transport import SocketTransport, harmless, own_socket
from trio_bunws._url import authority

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from typing import NoReturn

    from trio_bunws._transport import Transport

logger = logging.getLogger("trio_bunws.transport")
BACKLOG: Final = 4096
"""Connections that may wait to be accepted; the kernel may allow fewer."""
ACCEPTS_PER_WAKE: Final = 64
ACCEPT_PAUSE: Final = 0.1
"""Seconds without accepting when the process or the kernel is out of descriptors or memory."""
GIVEN_UP: Final = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED",
        "EPERM",
        "EPROTO",
        "ENETDOWN",
        "ENOPROTOOPT",
        "EHOSTDOWN",
        "ENONET",
        "EHOSTUNREACH",
        "EOPNOTSUPP",
        "ENETUNREACH",
        "ETIMEDOUT",
        "ECONNRESET",
    )
    if hasattr(errno, name)
)
"""Errors of `accept` that are one connection's, and take it out of the queue: accept(2), "Error handling"."""
NOT_LISTENING: Final = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK})
"""Errors of `accept` that no waiting mends."""
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
UNAVAILABLE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""A machine without IPv6 may still name ::1 for localhost."""
PORTS_TRIED: Final = 8
"""Free ports to try for several addresses: with thousands of connections, one port in ten is taken at the second."""


class Address(NamedTuple):
    """Where a server listens, as `Server` tells it."""

    url: str
    hostname: str | None
    port: int | None


class Listening(Protocol):
    """One place at which connections arrive."""

    async def accept(self, accepted: Callable[[Transport], None]) -> NoReturn:
        """Call `accepted` with each connection, until cancelled."""
        ...

    async def aclose(self) -> None:
        """Stop listening. Idempotent."""
        ...


class ListeningSocket:
    """A kernel socket of our own; `path` is that of the file which a unix socket has made."""

    __slots__ = ("_file", "_path", "_socket")

    def __init__(self, sock: socket.socket, path: str | None = None) -> None:
        self._socket: Final = sock
        self._path: Final = path
        self._file: Final = None if path is None else os.stat(path)  # noqa: PTH116 - as below

    @trio.lowlevel.enable_ki_protection
    async def accept(self, accepted: Callable[[Transport], None]) -> NoReturn:
        await accept_sockets(self._socket, accepted)

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, where nothing can wait. Idempotent."""
        if self._socket.fileno() != -1:
            # Before the socket is closed: a file that nobody listens on is taken for a dead process's.
            self._remove_file()
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    def _remove_file(self) -> None:
        """Remove a unix socket's file, unless another server's has taken its place."""
        if self._path is not None and self._file is not None:
            with suppress(OSError):
                if os.path.samestat(os.stat(self._path), self._file):  # noqa: PTH116
                    os.unlink(self._path)  # noqa: PTH108 - quick system calls, not worth a thread


@attrs.frozen(eq=False)
class Inherited:
    """What another process (`_cli/`) has opened to be served here, and the address that it was asked for.

    Given to `serve` as its `listeners`: it accepts from them as from sockets of its own, and tells that address.
    """

    listeners: tuple[trio.SocketListener, ...]
    address: Address

    def __iter__(self) -> Iterator[trio.SocketListener]:
        return iter(self.listeners)

    def take_over(self) -> tuple[list[Listening], Address]:
        """Return the kernel's sockets, without their listeners."""
        sockets = [socket.socket(fileno=listener.socket.detach()) for listener in self]
        for sock in sockets:
            sock.setblocking(False)
        return [ListeningSocket(sock) for sock in sockets], self.address


class ListeningStreams:
    """A ready-made listener of the application's."""

    __slots__ = ("_listener",)

    def __init__(self, listener: trio.abc.Listener[trio.abc.Stream]) -> None:
        self._listener: Final = listener

    @trio.lowlevel.enable_ki_protection
    async def accept(self, accepted: Callable[[Transport], None]) -> NoReturn:
        await accept_streams(self._listener, accepted)

    async def aclose(self) -> None:
        with harmless():
            await trio.aclose_forcefully(self._listener)


async def accept_sockets(listening: socket.socket, accepted: Callable[[SocketTransport], None]) -> NoReturn:
    """Call `accepted` with each connection to a non-blocking listening socket, until cancelled.

    Takes what waits, at most `ACCEPTS_PER_WAKE` at a time. When descriptors or memory run out, or the kernel says what
    nobody expected, it pauses and goes on. Raises `OSError` if the socket does not listen any more.
    """
    family = listening.family  # once: it is made a member of an enumeration, which takes as long as a system call
    failures = SeldomLog(logger)
    while True:
        await trio.lowlevel.wait_readable(listening)
        for _ in range(ACCEPTS_PER_WAKE):
            try:
                sock, address = listening.accept()
            except BlockingIOError:
                break
            except OSError as exc:
                if exc.errno in GIVEN_UP:
                    continue
                if exc.errno in NOT_LISTENING:
                    raise
                # Not at once: the queue is as it was, so that the socket is readable, and this would spin.
                await _pause(exc, failures)
                break
            accepted(own_socket(sock, address, family))


async def accept_streams(
    listener: trio.abc.Listener[trio.abc.Stream], accepted: Callable[[Transport], None]
) -> NoReturn:
    """Call `accepted` with each connection of a user's listener, until cancelled."""
    failures = SeldomLog(logger)
    while True:
        try:
            stream = await listener.accept()
        except OSError as exc:
            if exc.errno not in EXHAUSTED:
                raise
            await _pause(exc, failures)
            continue
        accepted(take_over(stream))


async def _pause(exc: OSError, failures: SeldomLog) -> None:
    """Wait for what accepting needs and the system does not have just now."""
    failures.warning("cannot accept connections, trying again in %s s: %s", ACCEPT_PAUSE, exc)
    await trio.sleep(ACCEPT_PAUSE)


async def listen_tcp(hostname: str, port: int, *, reuse_port: bool, scheme: str) -> tuple[list[Listening], Address]:
    """Listen on a host's addresses; `port` 0 picks one free port for all of them. A checkpoint. Raises `OSError`.

    `::` is every address, those of IPv4 too, as in Bun; but with a socket for each kind, so that a peer has one name.
    """
    sockets, address = await open_tcp(hostname, port, reuse_port=reuse_port, scheme=scheme)
    return [ListeningSocket(sock) for sock in sockets], address


async def open_tcp(hostname: str, port: int, *, reuse_port: bool, scheme: str) -> tuple[list[socket.socket], Address]:
    """Open the sockets of `listen_tcp`, for whoever accepts elsewhere. A checkpoint. Raises `OSError`."""
    found = await trio.socket.getaddrinfo(hostname, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    if any(address[0] == "::" for *_, address in found):
        found += await trio.socket.getaddrinfo("0.0.0.0", port, type=socket.SOCK_STREAM)  # noqa: S104 - it was asked for
    addresses = dict.fromkeys((family, address) for family, _, _, _, address in found)
    tries = 1 if port else PORTS_TRIED
    sockets: list[socket.socket] = []
    while not sockets:
        tries -= 1
        try:
            sockets = bind_all(addresses, port, reuse_port=reuse_port)
        except OSError as exc:
            # A port that is free at the first address may be in use at another.
            if exc.errno != errno.EADDRINUSE or not tries:
                raise
    port = sockets[0].getsockname()[1]
    return sockets, Address(f"{scheme}://{authority(hostname, port)}/", hostname, port)


def bind_all(addresses: Iterable[tuple[int, tuple[Any, ...]]], port: int, *, reuse_port: bool) -> list[socket.socket]:
    """Listen on those addresses that this machine has, with one port; if one of them is in use, on none."""
    sockets: list[socket.socket] = []
    unavailable: OSError | None = None
    try:
        for family, address in addresses:
            try:
                with _named(f"{address[0]}, port {port}"):
                    sock = _bind(family, (address[0], port, *address[2:]), reuse_port=reuse_port)
            except OSError as exc:
                if exc.errno not in UNAVAILABLE:
                    raise
                unavailable = exc
                continue
            sockets.append(sock)
            port = sock.getsockname()[1]
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    if unavailable is not None and not sockets:
        raise unavailable
    return sockets


@contextmanager
def _named(place: str) -> Generator[None]:
    """Say in an `OSError` where it was that nobody can listen: the kernel's words do not."""
    try:
        yield
    except OSError as exc:
        words = f"cannot listen on {place}: {exc.strerror or exc}"
        raise (OSError(words) if exc.errno is None else OSError(exc.errno, words)) from exc


def _bind(family: int, address: tuple[str | int, ...], *, reuse_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def listen_unix(path: str | os.PathLike[str]) -> tuple[list[Listening], Address]:
    """Listen on a unix socket; one that a dead process left at this path is replaced. Raises `OSError`."""
    sock, address = open_unix(path)
    name = os.fspath(path)
    return [ListeningSocket(sock, None if name.startswith("\0") else name)], address


def open_unix(path: str | os.PathLike[str]) -> tuple[socket.socket, Address]:
    """Open the socket of `listen_unix`, for whoever accepts, and removes the file, elsewhere. Raises `OSError`."""
    name = os.fspath(path)
    if not name.startswith("\0"):
        with _named(repr(name)):
            _remove_stale(name)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        with _named(repr(name)):
            sock.bind(name)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock, Address(f"unix://{name}", None, None)


def _remove_stale(name: str) -> None:
    """Remove a socket's file if nobody listens there; anything else is left for `bind` to complain of."""
    try:
        if not stat.S_ISSOCK(Path(name).stat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(name)
        except ConnectionRefusedError:
            Path(name).unlink()
        except BlockingIOError:
            pass  # its queue is full, so it is alive


def take_listeners(
    listeners: Iterable[trio.abc.Listener[trio.abc.Stream]], scheme: str
) -> tuple[list[Listening], Address]:
    """Check what `serve` was given as its listeners, and serve it.

    Raises:
        TypeError: if they are anything else.
        ValueError: if there is none.
    """
    if isinstance(listeners, Inherited):
        return listeners.take_over()
    ready = tuple(listeners) if isinstance(listeners, Iterable) else (listeners,)
    for listener in ready:
        if not isinstance(listener, trio.abc.Listener):
            raise TypeError(f"serve expects listeners to be trio.abc.Listener objects, not {listener!r}")
    if not ready:
        raise ValueError("serve expects listeners to hold at least one listener")
    return wrap_listeners(ready, scheme)


def wrap_listeners(
    listeners: Sequence[trio.abc.Listener[trio.abc.Stream]], scheme: str
) -> tuple[list[Listening], Address]:
    """Serve ready-made listeners; the address is that of the first if it is a TCP socket's, with TLS over it or not."""
    first: object = listeners[0]
    if isinstance(first, trio.SSLListener):
        scheme, first = "https", first.transport_listener
    address = Address(f"{scheme}://localhost/", None, None)
    if isinstance(first, trio.SocketListener):
        match first.socket.getsockname():
            case (str(host), int(port), *_):
                address = Address(f"{scheme}://{authority(host, port)}/", host, port)
            case str(name):
                address = Address(f"unix://{name}", None, None)
    return [ListeningStreams(listener) for listener in listeners], address
