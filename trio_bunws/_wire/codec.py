"""The WebSocket codec: a client's bytes in, its messages and control frames out (RFC 6455, section 5).

Sans-I/O, one `Codec` per connection, driven by `_connection`. Every frame's header, every limit, control frames and
unfragmented messages are handled here; wsproto is the state machine of fragmented messages. Sending is `frames.py`'s.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from typing import TYPE_CHECKING, Final

from wsproto.connection import SERVER, Connection
from wsproto.events import BytesMessage, TextMessage

from trio_bunws._close import is_valid_close_code
from trio_bunws._wire.events import Close, Event, Failure, Message, Ping, Pong
from trio_bunws._wire.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    EIGHT_BYTES,
    FIN,
    FIRST_BYTE_ERRORS,
    MASKED,
    MAX_SHORT,
    NO_CODE,
    PING,
    PONG,
    SHORT_MASKS,
    SHORTEST,
    TEXT,
    TWO_BYTES,
    unmask,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAMING_ERROR: Final = 1002
NOT_UTF8: Final = 1007
TOO_BIG: Final = 1009

BAD_TEXT: Final = "Text message that is not UTF-8"

_LENGTH_FIELDS: Final = {TWO_BYTES: (2, MAX_SHORT), EIGHT_BYTES: (8, 0xFFFF)}
"""By the length in the second byte: the size of the length that follows, and what would have fitted a shorter one."""

_FIN_TEXT: Final = FIN | TEXT
_FIN_BINARY: Final = FIN | BINARY


class _Violation(Exception):
    """The client broke the protocol or a limit; never leaves this module."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code: Final = code
        self.reason: Final = reason


class _Whole:
    """An unfragmented message of which only a part has arrived."""

    __slots__ = ("_decoder", "_key", "_payload", "left")

    def __init__(self, opcode: int, length: int, key: bytes) -> None:
        self.left = length
        """Bytes of payload that have not arrived yet."""
        self._key: Final = key
        # One growing array rather than a list of pieces: it costs the same for pieces of 64 KiB (2.5 ms for 16 MiB)
        # and does not care when the client sends a byte at a time. Text stays bytes, for as `str` it may take four
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


class _Fragmented:
    """Messages that come in fragments, one after another; wsproto joins them."""

    __slots__ = ("_connection", "_key", "_length", "_payload", "_tail", "count", "left", "total")

    def __init__(self) -> None:
        self._connection: Final = Connection(SERVER)
        self._payload: Final = bytearray()
        self._key = b""
        self._length = 0
        self._tail: bytes | None = None
        """The last two bytes of the message so far if it is text."""
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

    def begin(self, opcode: int, length: int, header: bytes) -> None:
        """Prepare for the payload of a fragment."""
        if opcode != CONTINUATION:
            self._tail = b"" if opcode == TEXT else None
        self._key = header[-4:]
        self._length = self.left = length
        self.count += 1
        self.total += length
        self._connection.receive_data(header)

    def take(self, piece: bytes) -> Message | None:
        """Add payload as it came, at most `left`, and return the message if that was the last of it.

        Raises:
            _Violation: as soon as text can no longer become UTF-8.
        """
        self._connection.receive_data(piece)
        for event in self._connection.events():
            if isinstance(event, TextMessage):
                self._payload.extend(event.data.encode())
            elif isinstance(event, BytesMessage):
                self._payload.extend(event.data)
            else:
                # Nothing else is left to complain of: wsproto sees data frames only, and their headers were checked.
                raise _Violation(NOT_UTF8, BAD_TEXT)
            if event.message_finished:
                message = self._payload.decode() if isinstance(event, TextMessage) else bytes(self._payload)
                self._payload.clear()
                self.count = self.total = self.left = 0
                return message
        if self._tail is not None:
            end = piece[-2:]
            self._tail = (self._tail + unmask(end, self._key, self._length - self.left + len(piece) - len(end)))[-2:]
            _check_surrogate(self._tail)
        self.left -= len(piece)
        return None


def _check_surrogate(end: bytes | bytearray) -> None:
    """Check the last two bytes of unfinished text: Python's decoder waits for the third byte of a surrogate."""
    if b"\xed\xa0" <= end <= b"\xed\xbf":
        raise _Violation(NOT_UTF8, BAD_TEXT)


class Codec:
    """Decodes what one client sends.

    You must call `feed` with each read, and then iterate `events` to the end, or as far as you can use events; what
    was not decoded waits. After a `Close` or a `Failure` nothing more comes out, and `feed` discards.

    Memory: the bytes that have arrived of the message being received, which are at most `max_payload_length` (and an
    eighth more, as an array grows), and what was fed and not decoded.
    """

    __slots__ = ("_data", "_ended", "_fragmented", "_message", "_pos", "max_fragments", "max_payload_length")

    def __init__(self, max_payload_length: int, max_fragments: int) -> None:
        self.max_payload_length = max_payload_length
        """Most bytes of a message; may be set at any time, and holds from the next frame on."""
        self.max_fragments = max_fragments
        """Most fragments of a message; may be set at any time, and holds from the next frame on."""
        self._data = b""
        self._pos = 0
        """Where in `_data` decoding goes on."""
        self._message: _Whole | _Fragmented | None = None
        """The data message that has arrived in part; `None` between messages."""
        self._fragmented: _Fragmented | None = None
        """Built at the client's first fragment and then kept: most clients send none, and it takes 2 KB."""
        self._ended = False

    @property
    def buffered(self) -> int:
        """Bytes held: fed and not decoded yet, and the part that has arrived of an unfinished message."""
        return len(self._data) - self._pos + (0 if self._message is None else self._message.held)

    def feed(self, data: bytes) -> None:
        """Take what the transport has read; an iterator of `events` that is in use goes on with it."""
        if not self._ended:
            rest = self._data[self._pos :]
            self._data = rest + data if rest else data
            self._pos = 0

    def events(self) -> Iterator[Event]:
        """Decode what was fed, each frame when it is asked for.

        The iterator may be dropped at any time: the next one goes on where it stopped. An older one must not be used
        any more.
        """
        masks = SHORT_MASKS
        from_bytes = int.from_bytes
        while True:
            # The short path, for whole messages of at most 125 bytes: MEASURED. All that it does not understand, bad
            # UTF-8 too, it leaves to the plain path; test_codec_equality.py shows that the two agree.
            data = self._data
            pos = self._pos
            end = len(data)
            last = end - SHORTEST if self._message is None else -1
            try:
                while pos <= last:
                    mask = masks[data[pos + 1]]
                    if mask is None:
                        break
                    size, key_shift, repeat, excess = mask
                    stop = pos + size
                    length = size - SHORTEST
                    if stop > end or length > self.max_payload_length:
                        break
                    # Mask and payload are one integer, so that the mask comes out by a shift and takes itself off;
                    # what remains has leading zeros, which `to_bytes` drops.
                    masked = from_bytes(data[pos + 2 : stop])
                    payload = (masked ^ ((masked >> key_shift) * repeat >> excess)).to_bytes(length)
                    first = data[pos]
                    if first == _FIN_TEXT:
                        message: Message = payload.decode()
                    elif first == _FIN_BINARY:
                        message = payload
                    else:
                        break
                    self._pos = pos = stop
                    yield message
                    if self._data is not data:
                        break
            except UnicodeDecodeError:
                pass
            event = self._next()
            if event is None:
                return
            yield event

    def _next(self) -> Event | None:
        """Decode up to the next event by the plain path; `None`: more input is needed."""
        try:
            while True:
                before = self._pos
                message = self._message
                event = self._take_frame() if message is None or not message.left else self._take_payload(message)
                if event is not None:
                    return event
                if self._pos == before:
                    break
        except _Violation as violation:
            return self._end(Failure(violation.code, violation.reason))
        except UnicodeDecodeError:
            return self._end(Failure(NOT_UTF8, BAD_TEXT))
        # An idle connection holds the bytes that it needs, not the read that they came in.
        self._data = self._data[self._pos :]
        self._pos = 0
        return None

    def _end(self, event: Close | Failure) -> Close | Failure:
        """Let go of everything: this event is the last."""
        self._ended = True
        self._data = b""
        self._pos = 0
        self._message = self._fragmented = None
        return event

    def _take_payload(self, message: _Whole | _Fragmented) -> Message | None:
        """Give the message what has arrived of its current frame, and return it if it is complete."""
        piece = self._data[self._pos : self._pos + message.left]
        self._pos += len(piece)
        complete = message.take(piece)
        if complete is not None:
            self._message = None
        return complete

    def _take_frame(self) -> Event | None:
        """Begin the frame at `_pos`, and return its event if it has one already; `None`: not yet.

        Raises:
            _Violation: if no frame may begin so, as soon as the bytes that say it are there.
            UnicodeDecodeError: if it brings text that can no longer become UTF-8.
        """
        data = self._data
        pos = self._pos
        if len(data) - pos < 2:
            return None
        first, second = data[pos], data[pos + 1]
        error = FIRST_BYTE_ERRORS[first]
        if error:
            raise _Violation(FRAMING_ERROR, error)
        if second < MASKED:
            raise _Violation(FRAMING_ERROR, "Frame without a mask from a client")
        opcode = first & 0x0F
        if opcode >= CLOSE:
            return self._take_control(opcode, second & 0x7F)
        self._check_order(opcode)
        length, header = self._read_length(second & 0x7F)
        start = pos + header
        if start > len(data):
            return None
        if opcode == CONTINUATION or first < FIN:
            if self._fragmented is None:
                self._fragmented = _Fragmented()
            self._fragmented.begin(opcode, length, data[pos:start])
            self._message = self._fragmented
        elif start + length <= len(data):
            payload = self._unmask(start, length)
            return payload.decode() if opcode == TEXT else payload
        else:
            self._message = _Whole(opcode, length, data[start - 4 : start])
        self._pos = start
        return self._take_payload(self._message)

    def _take_control(self, opcode: int, length: int) -> Ping | Pong | Close | Failure | None:
        """Take a control frame if all of it has arrived.

        Not wsproto's: it needs 14 us for a ping, and one read of 64 KiB may hold ten thousand. MEASURED here.
        """
        if length > MAX_SHORT:
            raise _Violation(FRAMING_ERROR, "Control frame of more than 125 bytes")
        start = self._pos + SHORTEST
        if start + length > len(self._data):
            return None
        payload = self._unmask(start, length)
        if opcode == PING:
            return Ping(payload)
        if opcode == PONG:
            return Pong(payload)
        return self._end(_read_close(payload))

    def _unmask(self, start: int, length: int) -> bytes:
        """Take a payload all of which has arrived."""
        data = self._data
        self._pos = stop = start + length
        return unmask(data[start:stop], data[start - 4 : start])

    def _check_order(self, opcode: int) -> None:
        """Check that a data frame is due, and one more fragment allowed."""
        fragmented = self._fragmented
        if fragmented is None or not fragmented.count:
            if opcode == CONTINUATION:
                raise _Violation(FRAMING_ERROR, "Continuation frame with no message to continue")
        elif opcode != CONTINUATION:
            raise _Violation(FRAMING_ERROR, "New message before the end of a fragmented one")
        elif fragmented.count >= self.max_fragments:
            raise _Violation(TOO_BIG, f"Message in more than {self.max_fragments} fragments")

    def _read_length(self, length: int) -> tuple[int, int]:
        """Read and check the length of the data frame at `_pos`, given the seven bits of its second byte.

        Return the length and the size of the header; nothing is said yet of a frame whose length is incomplete.
        """
        header = SHORTEST
        if length > MAX_SHORT:
            size, shorter = _LENGTH_FIELDS[length]
            header += size
            field = self._data[self._pos + 2 : self._pos + 2 + size]
            if len(field) < size:
                return 0, header
            length = int.from_bytes(field)
            if length >> 63:
                raise _Violation(FRAMING_ERROR, "Frame length with its highest bit set")
            if length <= shorter:
                raise _Violation(FRAMING_ERROR, "Frame length that is not in its shortest form")
        total = length if self._fragmented is None else length + self._fragmented.total
        if total > self.max_payload_length:
            raise _Violation(TOO_BIG, f"Message of {total} bytes; at most {self.max_payload_length} are accepted")
        return length, header


def _read_close(payload: bytes) -> Close | Failure:
    """Read the body of a Close frame (RFC 6455, section 5.5.1)."""
    if not payload:
        return Close(NO_CODE, "")
    if len(payload) == 1:
        return Failure(FRAMING_ERROR, "Close frame with a body of one byte")
    code = int.from_bytes(payload[:2])
    if not is_valid_close_code(code):
        return Failure(FRAMING_ERROR, f"Close frame with invalid code {code}")
    try:
        return Close(code, payload[2:].decode())
    except UnicodeDecodeError:
        return Failure(NOT_UTF8, "Close frame with a reason that is not UTF-8")
