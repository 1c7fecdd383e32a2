"""The optional extension in C, as type checkers see it; its sources are in `_c/`, and `_extension.py` imports it."""

import socket
from collections.abc import Iterator
from typing import final

@final
class ReadyMessages(Iterator[str | bytes]):
    """The messages that are there in full; `ready_messages` makes it. As `_wire.ready.ReadyMessages`, of any length."""

    @property
    def pos(self) -> int:
        """Where the next frame begins."""

    def __next__(self) -> str | bytes: ...
    def stop(self) -> int:
        """End the iteration, and return `pos`."""

def binary_frame(payload: bytes, /) -> bytes:
    """Return a whole binary message as one frame; as `_wire.frames.plain_binary_frame`."""

def mask_frame(frame: bytes, key: bytes, /) -> bytes:
    """Return a frame as a client's, masked with ``key``; as `_wire.frames.plain_mask_frame`."""

def ready_messages(data: bytes, pos: int, limit: int, masked: bool, /) -> ReadyMessages:
    """Return an iterator over the messages from ``pos`` on that are there in full, of at most ``limit`` bytes each."""

def send_all(sockets: list[socket.socket], data: bytes, /) -> list[tuple[int, int]]:
    """Send ``data`` to each; as `_multicast.send_all`."""

def text_frame(payload: bytes, /) -> bytes:
    """Return a whole text message as one frame; as `_wire.frames.plain_text_frame`."""

def unmask(data: bytes, key: bytes, offset: int, /) -> bytes:
    """Return ``data`` with the mask taken off, or put on; as `_wire.frames.unmask`."""
