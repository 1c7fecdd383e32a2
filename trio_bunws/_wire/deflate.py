"""Deflate for single messages (RFC 7692, section 7.2), both ways, without frames and without negotiation.

What is agreed on, and which messages are compressed, `compression.py` says; limits come with each call. The library
that does the work is chosen here, and nowhere else.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

BACKEND: Final = "zlib"
"""The library that compresses and decompresses."""

TAIL: Final = b"\x00\x00\xff\xff"
"""What the end of a message leaves out (RFC 7692, section 7.2.1)."""
MIN_BITS: Final = 9
"""The smallest window that zlib compresses with. Its matches reach 250 bytes back, which fits a window of 8 bits too."""
FINAL_BLOCK: Final = b"\x03\x00"
"""An empty last block."""


class BrokenData(Exception):
    """The data is not deflate, or ends within a block."""


class TooLong(Exception):
    """The message inflates to more than it may."""


class Deflater:
    """Compresses messages, one after another, each whole.

    Memory: what zlib takes for the window, from the first message on.
    """

    __slots__ = ("_bits", "_compressor", "_flush")

    def __init__(self, window_bits: int, *, takeover: bool) -> None:
        """`window_bits`: 8 to 15. `takeover`: a message may refer to those before it."""
        self._bits: Final = max(window_bits, MIN_BITS)
        # A full flush forgets what came before: so one compressor makes messages that do not know of each other,
        # without the cost of a new one for each.
        self._flush: Final = zlib.Z_SYNC_FLUSH if takeover else zlib.Z_FULL_FLUSH
        self._compressor: zlib._Compress | None = None

    def compress(self, payload: bytes) -> bytes:
        """Return a whole message, compressed."""
        compressor = self._compressor
        if compressor is None:
            compressor = self._compressor = zlib.compressobj(wbits=-self._bits)
        return (compressor.compress(payload) + compressor.flush(self._flush))[:-4]


class Inflater:
    """Decompresses messages, one after another, each in pieces as they come.

    You must call `finish` after the last piece of each message. After an error it must not be used any more.

    Memory: none before the first message, and none between messages without context takeover.
    """

    __slots__ = ("_bits", "_decompressor", "_takeover")

    def __init__(self, window_bits: int, *, takeover: bool) -> None:
        """`window_bits`: 8 to 15. `takeover`: a message may refer to those before it."""
        self._bits: Final = max(window_bits, MIN_BITS)
        self._takeover: Final = takeover
        self._decompressor: zlib._Decompress | None = None

    def inflate(self, data: bytes, room: int) -> bytes:
        """Decompress a piece of a message, to at most `room` bytes.

        Raises:
            BrokenData: if it is not deflate.
            TooLong: as soon as it inflates to more than `room` bytes.
        """
        inflated = b""
        while data:
            decompressor = self._decompressor
            if decompressor is None:
                decompressor = self._decompressor = zlib.decompressobj(-self._bits)
            try:
                inflated += decompressor.decompress(data, room - len(inflated) + 1)
            except zlib.error as exc:
                raise BrokenData(str(exc)) from exc
            if len(inflated) > room:
                raise TooLong
            data = b""
            if decompressor.eof:
                # A sender may end a message with a last block; what follows is a new stream (section 7.2.3.4).
                data = decompressor.unused_data
                self._decompressor = None
        return inflated

    def finish(self, room: int) -> bytes:
        """End the message, and return what was still missing of it; raises as `inflate`."""
        if self._decompressor is None:
            return b""
        rest = self.inflate(TAIL, room)
        if not self._takeover:
            self._decompressor = None
        return rest
