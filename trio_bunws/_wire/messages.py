"""Messages of which only a part has arrived: what the codec collects them in, in one frame or in fragments.

Which frames may come, and how long they may be, the codec has checked before. wsproto is the state machine of
fragmented messages; nothing else of it is used.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from typing import TYPE_CHECKING, Final

from wsproto.connection import CLIENT, SERVER, Connection
from wsproto.events import BytesMessage, TextMessage

from trio_bunws._wire.frames import CONTINUATION, TEXT, unmask

if TYPE_CHECKING:
    from trio_bunws._wire.events import Message

NOT_UTF8: Final = 1007
BAD_TEXT: Final = "Text message that is not UTF-8"


class Violation(Exception):
    """The peer broke the protocol or a limit; the codec makes a `Failure` of it."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code: Final = code
        self.reason: Final = reason


class WholeMessage:
    """An unfragmented message of which only a part has arrived."""

    __slots__ = ("_decoder", "_key", "_payload", "left")

    def __init__(self, opcode: int, length: int, key: bytes) -> None:
        """`key` is the frame's mask, `NO_MASK` if it has none."""
        self.left = length
        """Bytes of payload that have not arrived yet."""
        self._key: Final = key
        # One growing array rather than a list of pieces: it costs the same for pieces of 64 KiB (2.5 ms for 16 MiB)
        # and does not care when the peer sends a byte at a time. Text stays bytes, for as `str` it may take four
        # times the memory; the decoder only looks for the first byte that cannot be UTF-8.
        self._payload: Final = bytearray()
        self._decoder: Final = getincrementaldecoder("utf-8")() if opcode == TEXT else None

    @property
    def held(self) -> int:
        """Bytes of payload that have arrived."""
        return len(self._payload)

    def take(self, piece: bytes) -> Message | None:
        """Add payload as it came, at most `left`, and return the message if that was the last of it.

        Raises:
            UnicodeDecodeError: as soon as text can no longer become UTF-8.
        """
        self.left -= len(piece)
        piece = unmask(piece, self._key, len(self._payload))
        self._payload.extend(piece)
        if self._decoder is None:
            return None if self.left else bytes(self._payload)
        if self.left:
            self._decoder.decode(piece)
            _check_surrogate(self._payload[-2:])
            return None
        return self._payload.decode()


class FragmentedMessage:
    """Messages that come in fragments, one after another; wsproto joins them."""

    __slots__ = ("_connection", "_key", "_length", "_payload", "_tail", "count", "left", "total")

    def __init__(self, *, client: bool) -> None:
        self._connection: Final = Connection(CLIENT if client else SERVER)
        self._payload: Final = bytearray()
        self._key = b""
        self._length = 0
        self._tail: bytes | None = None
        """If the message is text: the last two bytes of it when a piece last ended within a character."""
        self.count = 0
        """Fragments of the message so far."""
        self.total = 0
        """Bytes of payload that these have declared."""
        self.left = 0
        """Bytes of the last fragment's payload that have not arrived yet."""

    @property
    def held(self) -> int:
        """Bytes of payload that have arrived."""
        return len(self._payload)

    def begin(self, opcode: int, length: int, header: bytes, key: bytes) -> None:
        """Prepare for the payload of a fragment; `key` is its mask, which `header` ends with, or `NO_MASK`."""
        if opcode != CONTINUATION:
            self._tail = b"" if opcode == TEXT else None
        self._key = key
        self._length = self.left = length
        self.count += 1
        self.total += length
        self._connection.receive_data(header)

    def take(self, piece: bytes) -> Message | None:
        """Add payload as it came, at most `left`, and return the message if that was the last of it.

        Raises:
            Violation: as soon as text can no longer become UTF-8.
        """
        self.left -= len(piece)
        self._connection.receive_data(piece)
        for event in self._connection.events():
            if isinstance(event, TextMessage):
                self._payload.extend(event.data.encode())
            elif isinstance(event, BytesMessage):
                self._payload.extend(event.data)
            else:
                # Nothing else is left to complain of: wsproto sees data frames only, and their headers were checked.
                raise Violation(NOT_UTF8, BAD_TEXT)
            if event.message_finished:
                message = self._payload.decode() if isinstance(event, TextMessage) else bytes(self._payload)
                self._payload.clear()
                self.count = self.total = 0
                return message
        if self._tail is not None and self.total - self.left > len(self._payload):  # wsproto waits within a character
            end = piece[-2:]
            self._tail = (self._tail + unmask(end, self._key, self._length - self.left - len(end)))[-2:]
            _check_surrogate(self._tail)
        return None


def _check_surrogate(end: bytes | bytearray) -> None:
    """Check the last two bytes of unfinished text: Python's decoder waits for the third byte of a surrogate."""
    if b"\xed\xa0" <= end <= b"\xed\xbf":
        raise Violation(NOT_UTF8, BAD_TEXT)
