"""The same frames to many members at once: what delivering them to each by its outbox does, in one go.

Only those get them here for whom that is simple: everything is new to them, nothing is before it, and their outbox
writes to a kernel socket. The others are left to the caller, `_hub.py`. No order is kept between sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from trio_bunws._extension import send_all as c_send_all

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection

    from trio_bunws._outbox import Outbox


class Member(Protocol):
    """Who is subscribed."""

    _cursor: int
    """Position in the log of the first publish that it has not been given; after the log's end if it has left."""
    _outbox: Outbox


M = TypeVar("M", bound=Member)


def multicast(
    members: Collection[M], frames: bytes, count: int, start: int, stop: int, *, apart: Collection[M]
) -> list[M]:
    """Write `count` joined messages, published from `start` to `stop`, to the members' sockets.

    Returns who is to get them in another way, or only a part of them, such as those of `apart`; nothing was done there.
    """
    size = len(frames)
    left: list[M] = []
    outboxes: list[Outbox] = []
    sockets: list[socket.socket] = []
    # Every line of this loop is paid for every subscriber of every publish: 0.2 us, or 0.4 with a cold cache.
    for member in members:
        outbox = member._outbox
        sock = outbox._socket
        if (
            sock is None
            or member._cursor > start
            or outbox._batch_bytes
            or outbox._blocked
            or outbox.corks
            or (apart and member in apart)
        ):
            left.append(member)
        else:
            member._cursor = stop
            outbox.messages_out += count
            outbox.bytes_out += size
            outboxes.append(outbox)
            sockets.append(sock)
    for index, taken in send_all(sockets, frames):
        outbox = outboxes[index]
        outbox.bytes_out -= size - taken
        outbox.push_rest(memoryview(frames)[taken:])
    return left


def send_all(sockets: list[socket.socket], data: bytes) -> list[tuple[int, int]]:
    """Send the data to each of the sockets, which do not block.

    Returns the index, and how many bytes it took, of each that did not take everything; a broken one takes nothing.
    """
    if c_send_all is not None:
        return c_send_all(sockets, data)
    size = len(data)
    refused: list[tuple[int, int]] = []
    for index, sock in enumerate(sockets):
        try:
            taken = sock.send(data)
        except OSError:
            taken = 0
        if taken < size:
            refused.append((index, taken))
    return refused
