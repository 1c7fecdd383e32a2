"""The listening sockets that workers inherit: opened once, by the supervisor, which never accepts from them.

On Linux each worker has sockets of its own on the one port, by `SO_REUSEPORT`: the kernel deals connections out
evenly, and wakes one worker for each. But they are the supervisor's, not the worker's as elsewhere: a listening socket
that is closed resets the connections that wait in it, and those of a worker that leaves or dies now wait for the next.
Measured with eight clients in a loop over sixty leavings: 32 of 9,579 connections were reset, and of 10,684 none.
Elsewhere, and on a unix socket, all workers inherit the same socket, and whoever is idle accepts.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final

from trio_bunws._listeners import Address, ListeningSocket, bind_all, open_tcp, open_unix
from trio_bunws._serve import HOSTNAME, PORT

if TYPE_CHECKING:
    import socket

    from trio_bunws._cli.place import Place

EVERYBODY: Final = 0
"""The number under which sockets are kept that all workers share."""


class SharedPort:
    """The sockets of one port, by worker; workers are numbered from 1."""

    def __init__(self, sockets: list[socket.socket], address: Address, *, path: str | None, balanced: bool) -> None:
        """Take over sockets; `path` is the file that they have made, `balanced`: they are the first worker's alone."""
        self.address: Final = address
        self._file: Final = None if path is None else ListeningSocket(sockets[0], path)
        self._balanced: Final = balanced
        self._names: Final = [(sock.family, sock.getsockname()) for sock in sockets]
        self._sockets: Final = {1 if balanced else EVERYBODY: sockets}

    def of(self, number: int) -> list[socket.socket]:
        """Return the sockets of a worker, opened now if it has none. Raises `OSError`."""
        if not self._balanced:
            return self._sockets[EVERYBODY]
        if number not in self._sockets:
            self._sockets[number] = bind_all(self._names, self.address.port or 0, reuse_port=True)
        return self._sockets[number]

    def vacate(self, number: int) -> None:
        """Let others have the connections of a worker that will be away for long; the last sockets stay open."""
        if len(self._sockets) > 1:
            for sock in self._sockets.pop(number, ()):
                sock.close()

    def close(self) -> None:
        """Stop listening, as far as this process does. Idempotent."""
        if self._file is not None:
            self._file.close()
        for sockets in self._sockets.values():
            for sock in sockets:
                sock.close()


async def open_shared_port(place: Place) -> SharedPort:
    """Listen for workers. A checkpoint. Raises `OSError`, also where another server shares its port with everybody."""
    path = place.get("unix")
    if path is not None:
        sock, address = open_unix(path)
        return SharedPort([sock], address, path=None if path.startswith("\0") else path, balanced=False)
    hostname, port = str(place.get("hostname", HOSTNAME)), int(place.get("port", PORT))
    scheme = "http" if place["tls"] is None else "https"
    balanced = platform.system() == "Linux"  # others have the option, but their kernels do not balance by it
    if balanced and port:
        # With the option alone, a second server on this port would be let in, and take connections of the first.
        for sock in (await open_tcp(hostname, port, reuse_port=False, scheme=scheme))[0]:
            sock.close()
    sockets, address = await open_tcp(hostname, port, reuse_port=balanced, scheme=scheme)
    return SharedPort(sockets, address, path=None, balanced=balanced)
