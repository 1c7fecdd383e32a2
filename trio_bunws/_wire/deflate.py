"""Deflate for single messages (RFC 7692, section 7.2), both ways, without frames and without negotiation.

What is agreed on, and which messages are compressed, `compression.py` says; limits come with each call. The library
that does the work is chosen here, and nowhere else.
"""

from __future__ import annotations

import sys
import zlib
from typing import TYPE_CHECKING, Final, Protocol

try:
    from isal import isal_zlib
except ImportError:
    isal_zlib = None  # type: ignore[assignment]

if TYPE_CHECKING:

    class Compressor(Protocol):
        """A `zlib` compressor, or one that is used like it."""

        def compress(self, data: bytes, /) -> bytes: ...
        def flush(self, mode: int, /) -> bytes: ...

    class Decompressor(Protocol):
        """A `zlib` decompressor, or one that is used like it."""

        @property
        def eof(self) -> bool: ...
        @property
        def unused_data(self) -> bytes: ...
        def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


BACKEND: Final = "zlib" if isal_zlib is None else "isal"
"""The library for what it is better at; the rest is zlib's in any case."""

TAIL: Final = b"\x00\x00\xff\xff"
"""What the end of a message leaves out (RFC 7692, section 7.2.1)."""
LAST_BLOCK: Final = b"\x03\x00"
"""A block that says that it is the last one, and has no data."""
MIN_BITS: Final = 9
"""The smallest window that zlib compresses with; what it makes refers back 250 bytes at most, which fits 8 bits too."""
MAX_BITS: Final = 15
LEVEL: Final = 4
"""Of zlib, for messages of JSON, us / bytes, by level: 1 KiB 1: 6.5/346, 4: 7.9/335, 6: 8.9/333; 64 KiB 1: 400/13,500,
4: 490/11,800, 6: 3,200/10,200. A socket's message must not hold the loop for milliseconds."""
ISAL_LEVEL: Final = 1
"""1 KiB 5.7/343, 64 KiB 90/13,400; the higher levels take more time and save nothing. With a window of 9 bits 4 KiB
take it 9 us (1,060 bytes) and zlib 66 (1,180)."""
ISAL_PIECE: Final = 2 * 1024
"""Bytes of a message's first piece from which isal inflates faster: 1 KiB of JSON (340 bytes) takes it 4.1 us and zlib
2.8, 4 KiB (920 bytes) 5.4 and 5.2, 16 KiB (2,900 bytes) 11 and 25, 64 KiB (10,200 bytes) 35 and 87."""
END: Final = 16 * 1024
"""What the end of a stream costs, in bytes copied: a new decompressor takes 1 to 2 us. What follows is copied too."""
MOST_ENDS: Final = 4096 * END
"""What the ends of streams may cost in one message, 20 ms at most: without a limit 1 MiB of them would take a minute,
and inflate to nothing."""
TURN: Final = 1 << 20
"""The work, in bytes inflated, that one peer may cause before others have their turn: 3 ms. A read of 64 KiB can hold
messages of 64 MiB, each of them within its limit."""


class BrokenData(Exception):
    """The data is not deflate, or ends within a block."""


class TooLong(Exception):
    """The message inflates to more than it may, or to little in very many streams."""


ERRORS: Final[tuple[type[Exception], ...]] = (
    (zlib.error,) if isal_zlib is None else (zlib.error, isal_zlib.error)  # type: ignore[assignment] # a wrong stub
)


class Deflater:
    """Compresses messages, one after another, each whole.

    Memory: a compressor, from the first message on: 12 KiB for a window of 9 bits, 18 for 11, 46 for 13, 129 for 15.
    """

    __slots__ = ("_bits", "_compressor", "_takeover")

    def __init__(self, window_bits: int, *, takeover: bool) -> None:
        """`window_bits`: 8 to 15. `takeover`: a message may refer to those before it."""
        self._bits: Final = window_bits
        self._takeover: Final = takeover
        self._compressor: Compressor | None = None

    def compress(self, payload: bytes) -> bytes:
        """Return a whole message, compressed."""
        compressor = self._compressor
        if compressor is None:
            compressor = self._compressor = self._new()
        # A full flush forgets what was before it: so one compressor makes messages that know nothing of each other,
        # in a third of the time that a new one for each takes (1 KiB: 25 us).
        mode = zlib.Z_SYNC_FLUSH if self._takeover else zlib.Z_FULL_FLUSH
        return (compressor.compress(payload) + compressor.flush(mode))[:-4]

    def _new(self) -> Compressor:
        if isal_zlib is not None and not self._takeover and self._bits >= MIN_BITS:
            # With takeover isal makes more of the data (1 KiB: 252 bytes, not 223), and takes 64 KiB for each window.
            return isal_zlib.compressobj(ISAL_LEVEL, zlib.DEFLATED, -self._bits)
        # The memory that the window asks for: with less the messages get longer, with more hardly shorter. 1 KiB,
        # bytes with 1 / 3 / 8: window of 9 bits 360 / 317 / 317, of 15 bits 207 / 204 / 203.
        bits = max(self._bits, MIN_BITS)
        return zlib.compressobj(LEVEL, zlib.DEFLATED, -bits, bits // 3)


class Inflater:
    """Decompresses messages, one after another, each in pieces as they come.

    After an error it must not be used any more.

    Memory: nothing before the first message, nor between messages without context takeover; else 8 KiB for a window
    of 9 bits to 40 for 15.
    """

    __slots__ = ("_bits", "_decompressor", "_end", "_ends", "_is_open", "_takeover", "work")

    def __init__(self, window_bits: int, *, takeover: bool) -> None:
        """`window_bits`: 8 to 15. `takeover`: a message may refer to those before it."""
        self._bits: Final = max(window_bits, MIN_BITS)
        self._takeover: Final = takeover
        # Where the stream ends with the message, a last block shows that the message did not end within a block.
        self._end: Final = TAIL if takeover else TAIL + LAST_BLOCK
        self._decompressor: Decompressor | None = None
        self._is_open = False
        """Whether a stream of the message being received has begun and not ended."""
        self._ends = 0
        """What the ends of streams have cost in the message being received."""
        self.work = 0
        """What was done in this turn, as bytes inflated."""

    def begin_turn(self) -> bool:
        """Begin a new turn if this one is over, and return whether it was."""
        if self.work < TURN:
            return False
        self.work = 0
        return True

    def inflate(self, data: bytes, room: int, *, final: bool) -> bytes:
        """Decompress a piece of a message, to at most `room` bytes; `final`: it is the last one.

        Raises:
            BrokenData: if it is not deflate.
            TooLong: as soon as it inflates to more than `room` bytes, or ends streams without end.
        """
        if room < 0:
            raise TooLong
        room = min(room, sys.maxsize - 1)  # more than that one cannot ask for
        ends_before = self._ends
        inflated = b""
        rest = data
        if final and (data or self._is_open):
            rest += self._end
        if rest:
            self._is_open = not final
        while rest:
            decompressor = self._decompressor
            if decompressor is None:
                decompressor = self._decompressor = self._new(len(rest))
            try:
                inflated += decompressor.decompress(rest, room + 1 - len(inflated))
            except ERRORS as exc:
                raise BrokenData from exc
            if len(inflated) > room:
                raise TooLong
            if not decompressor.eof:
                if final and not self._takeover:
                    raise BrokenData
                break
            # A last block: from a sender that ends its messages so (section 7.2.3.4), or ours. What follows is a
            # stream of its own.
            self._decompressor = None
            rest = decompressor.unused_data
            if not rest or (final and rest == self._end):
                self._is_open = False
                break
            self._ends += END + len(rest)
            if self._ends > MOST_ENDS:
                raise TooLong
        self.work += len(inflated) + self._ends - ends_before
        if final:
            self._ends = 0
        return inflated

    def _new(self, length: int) -> Decompressor:
        if isal_zlib is not None and not self._takeover and length >= ISAL_PIECE:
            return isal_zlib.decompressobj(-MAX_BITS)
        return zlib.decompressobj(-self._bits)
