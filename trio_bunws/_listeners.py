"""Listening: TCP and unix sockets of our own, or listeners that the application made, behind one small interface.

`_serve.py` opens them, runs each one's `accept` in a task, and closes them before anything else when the server stops.
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import trio

from trio_bunws._transport import accept_sockets, accept_streams

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from trio_bunws._transport import Transport

BACKLOG: Final = 4096
"""Connections that may wait to be accepted; the kernel may allow fewer."""


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
    """A kernel socket of our own."""

    __slots__ = ("_path", "_socket")

    def __init__(self, sock: socket.socket, path: str | None = None) -> None:
        self._socket: Final = sock
        self._path: Final = path

    async def accept(self, accepted: Callable[[Transport], None]) -> NoReturn:
        await accept_sockets(self._socket, accepted)

    async def aclose(self) -> None:
        if self._socket.fileno() != -1:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
            if self._path is not None:
                with suppress(OSError):
                    os.unlink(self._path)  # noqa: PTH108 - one quick system call, not worth a thread


class ListeningStreams:
    """A ready-made listener of the application's."""

    __slots__ = ("_listener",)

    def __init__(self, listener: trio.abc.Listener[trio.abc.Stream]) -> None:
        self._listener: Final = listener

    async def accept(self, accepted: Callable[[Transport], None]) -> NoReturn:
        await accept_streams(self._listener, accepted)

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._listener)


async def listen_tcp(hostname: str, port: int, *, reuse_port: bool, scheme: str) -> tuple[list[Listening], Address]:
    """Listen on a host's addresses; `port` 0 picks one free port for all of them. A checkpoint. Raises `OSError`."""
    found = await trio.socket.getaddrinfo(hostname, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, kind, proto, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, proto)
            sockets.append(sock)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address[0], port, *address[2:]))
            port = sock.getsockname()[1]
            sock.listen(BACKLOG)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    shown = f"[{hostname}]" if ":" in hostname else hostname
    return [ListeningSocket(sock) for sock in sockets], Address(f"{scheme}://{shown}:{port}/", hostname, port)


def listen_unix(path: str | os.PathLike[str]) -> tuple[list[Listening], Address]:
    """Listen on a unix socket; one that a dead process left at this path is replaced. Raises `OSError`."""
    name = os.fspath(path)
    abstract = name.startswith("\0")
    if not abstract:
        _remove_stale(name)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.bind(name)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return [ListeningSocket(sock, None if abstract else name)], Address(f"unix://{name}", None, None)


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


def wrap_listeners(
    listeners: Sequence[trio.abc.Listener[trio.abc.Stream]], scheme: str
) -> tuple[list[Listening], Address]:
    """Serve ready-made listeners; the address is that of the first if it is a TCP socket's."""
    address = Address(f"{scheme}://localhost/", None, None)
    first = listeners[0]
    if isinstance(first, trio.SocketListener):
        match first.socket.getsockname():
            case (str(host), int(port), *_):
                shown = f"[{host}]" if ":" in host else host
                address = Address(f"{scheme}://{shown}:{port}/", host, port)
            case str(name):
                address = Address(f"unix://{name}", None, None)
    return [ListeningStreams(listener) for listener in listeners], address
