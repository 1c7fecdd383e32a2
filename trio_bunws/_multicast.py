"""The same frames to many sockets at once: what `Outbox.push_batch` and `flush` do for each, in one go.

An outbox that has nothing before them, and writes to a kernel socket, gets them past its batch; every other goes the
plain way. No order is kept between sockets, and none is decided here. Called by `_hub.py` with one share of a tick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_bunws._extension import send_all as c_send_all

if TYPE_CHECKING:
    import socket

    from trio_bunws._outbox import Outbox


def push_to_all(outboxes: list[Outbox], frames: bytes, count: int) -> None:
    """Have each accept `count` joined messages whole, or drop them, and write its batch unless it is corked."""
    size = len(frames)
    sockets: list[socket.socket] = []
    idle: list[Outbox] = []
    # Every line of this loop is paid for every subscriber of every publish.
    for outbox in outboxes:
        sock = outbox._socket
        if sock is None or outbox._batch_bytes or outbox._blocked or outbox.corks:
            push(outbox, frames, count)
        else:
            outbox.messages_out += count
            outbox.bytes_out += size
            sockets.append(sock)
            idle.append(outbox)
    for index, taken in send_all(sockets, frames):
        outbox = idle[index]
        outbox.bytes_out -= size - taken
        outbox.push_rest(memoryview(frames)[taken:])


def push(outbox: Outbox, frames: bytes, count: int) -> None:
    """Do it for one, the plain way."""
    outbox.push_batch(frames, count)
    if not outbox.corks:
        outbox.flush()


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
