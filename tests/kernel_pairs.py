"""Kernel sockets in pairs, for the tests of transports: a transport and its peer, and two ends of a TCP connection.

Nothing here waits, so that a test sees what one call does.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from trio_bunws._transport import SocketTransport


class Sockets:
    """A transport over a kernel socket, and its peer: a plain socket that never blocks."""

    def __init__(self) -> None:
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.setblocking(False)
        self.transport = SocketTransport(ours, None)

    def read(self) -> bytes:
        """Take all that has arrived at the peer."""
        data = b""
        with suppress(BlockingIOError):
            while part := self.peer.recv(1 << 20):
                data += part
        return data

    def at_end(self) -> bool:
        """Whether the peer has got the end of the stream, and nothing before it."""
        try:
            return self.peer.recv(1) == b""
        except BlockingIOError:
            return False

    def fill(self) -> int:
        """Write until the kernel takes no more."""
        size = 0
        while taken := self.transport.try_write(bytes(1 << 20)):
            size += taken
        return size


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Return a connection by TCP: the accepted end and the connecting one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    return ours, peer


def reset(peer: socket.socket) -> None:
    """Close a TCP socket so that the other end gets a reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
