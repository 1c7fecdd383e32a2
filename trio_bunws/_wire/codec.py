"""The WebSocket codec: a peer's bytes in, its messages and control frames out (RFC 6455, section 5).

Sans-I/O, one `Codec` per connection, driven by `_connection`. Every frame's header, every limit and control frames are
handled here; `ready.py` is the short path for messages that are there, `messages.py` collects the others. Sending is
`frames.py`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trio_bunws._extension import ready_messages as c_ready_messages
from trio_bunws._wire.closing import FRAMING_ERROR, NOT_UTF8, read_close
from trio_bunws._wire.deflate import TURN, BrokenData, TooLong
from trio_bunws._wire.events import Close, Event, Failure, Message, Ping, Pong
from trio_bunws._wire.frames import (
    CLOSE,
    CONTINUATION,
    EIGHT_BYTES,
    FIN,
    FIRST_BYTE_ERRORS,
    FIRST_BYTE_ERRORS_DEFLATE,
    MASKED,
    MASKED_SHORT_HEADER,
    MAX_SHORT,
    NO_MASK,
    PING,
    PONG,
    RSV1,
    SHORT_HEADER,
    TEXT,
    TWO_BYTES,
    unmask,
)
from trio_bunws._wire.messages import BAD_TEXT, FragmentedMessage, Violation, WholeMessage, join_fragments
from trio_bunws._wire.ready import ReadyMessages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio_bunws._wire.deflate import Inflater
    from trio_bunws._wire.ready import Ready

BAD_DATA: Final = 1007
TOO_BIG: Final = 1009

_LENGTH_FIELDS: Final = {TWO_BYTES: (2, MAX_SHORT), EIGHT_BYTES: (8, 0xFFFF)}
"""By the length in the second byte: the size of the length that follows, and what would have fitted a shorter one."""

_ready_messages: Callable[[bytes, int, int, bool], Ready] = (
    ReadyMessages if c_ready_messages is None else c_ready_messages
)


class Codec:
    """Decodes what one peer sends: a client, whose frames are masked, or a server, whose frames are not.

    You must call `feed` with each read, and then iterate `events` to the end, or as far as you can use events; what
    was not decoded waits; then call `begin_turn`, which says whether to go on with it after a checkpoint. After a
    `Close` or a `Failure` nothing more comes out, and `feed` discards.

    Memory: the bytes that have arrived of the message being received, which are at most `max_payload_length` (and an
    eighth more, as an array grows), and what was fed and not decoded. Of a compressed message, what it inflates to
    counts.
    """

    __slots__ = (
        "_client",
        "_data",
        "_ended",
        "_first_byte_errors",
        "_fragmented",
        "_inflater",
        "_limit",
        "_message",
        "_pos",
        "_ready",
        "_short_header",
        "max_fragments",
    )

    def __init__(
        self, max_payload_length: int, max_fragments: int, *, client: bool = False, inflater: Inflater | None = None
    ) -> None:
        """Begin with a connection's first frame.

        `client`: the connection is a client's, so that a server's frames come in. `inflater`: what was agreed on for
        compressed messages; None: there must be none.
        """
        self._client: Final = client
        self._inflater: Final = inflater
        self._first_byte_errors: Final = FIRST_BYTE_ERRORS if inflater is None else FIRST_BYTE_ERRORS_DEFLATE
        self._short_header: Final = SHORT_HEADER if client else MASKED_SHORT_HEADER
        self._limit = max_payload_length
        self.max_fragments = max_fragments
        """Most fragments of a message; may be set at any time, and holds from the next frame on."""
        self._data = b""
        self._pos = 0
        """Where in `_data` decoding goes on; not known while the short path is `_ready` to go on."""
        self._ready: Ready | None = None
        self._message: WholeMessage | FragmentedMessage | None = None
        """The data message that has arrived in part; `None` between messages."""
        self._fragmented: FragmentedMessage | None = None
        """Built at the peer's first fragment and then kept: most peers send none, and it takes 2 KB."""
        self._ended = False

    @property
    def max_payload_length(self) -> int:
        """Most bytes of a message, inflated; may be set at any time, and holds from the next frame on."""
        return self._limit

    @max_payload_length.setter
    def max_payload_length(self, limit: int) -> None:
        self._settle()
        self._limit = limit

    @property
    def buffered(self) -> int:
        """Bytes held: fed and not decoded yet, and the part that has arrived of an unfinished message."""
        self._settle()
        return len(self._data) - self._pos + (0 if self._message is None else self._message.held)

    def feed(self, data: bytes) -> None:
        """Take what the transport has read; an iterator of `events` that is in use goes on with it."""
        if self._ready is not None:
            self._settle()
        if not self._ended:
            rest = self._data[self._pos :] if self._data else b""
            self._data = rest + data if rest else data
            self._pos = 0

    def begin_turn(self) -> bool:
        """Let `events` go on where it stopped because it had inflated enough; False if that was not why."""
        return self._inflater is not None and self._inflater.begin_turn()

    def events(self) -> Iterator[Event]:
        """Decode what was fed, each frame when it is asked for.

        The iterator may be dropped at any time: the next one goes on where it stopped. An older one must not be used
        any more.
        """
        if self._ready is not None:
            self._settle()
        return self._events()

    def _events(self) -> Iterator[Event]:
        while True:
            if self._message is None:
                # The short path. All that it does not understand it leaves to the plain path; test_codec_equality.py
                # shows that both agree with wsproto.
                self._ready = ready = _ready_messages(self._data, self._pos, self._limit, not self._client)
                yield from ready
                self._settle()
                if self._pos == len(self._data):
                    self._data = b""
                    self._pos = 0
                    return
            event = self._next()
            if event is None:
                return
            yield event

    def _settle(self) -> None:
        """Let the short path go no further, and know again how far it came."""
        ready = self._ready
        if ready is not None:
            self._ready = None
            self._pos = ready.stop()

    def _next(self) -> Event | None:
        """Decode up to the next event by the plain path; `None`: more input is needed, or `begin_turn`."""
        inflater = self._inflater
        try:
            while inflater is None or inflater.work < TURN:
                before = self._pos
                message = self._message
                event = self._take_frame() if message is None or not message.left else self._take_payload(message)
                if event is not None:
                    return event
                if self._pos == before:
                    break
        except Violation as violation:
            return self._end(Failure(violation.code, violation.reason))
        except UnicodeDecodeError:
            return self._end(Failure(NOT_UTF8, BAD_TEXT))
        except BrokenData:
            return self._end(Failure(BAD_DATA, "Compressed message that cannot be inflated"))
        except TooLong:
            limit = self._limit
            return self._end(Failure(TOO_BIG, f"Message of more than {limit} bytes, inflated; no more are accepted"))
        # An idle connection holds the bytes that it needs, not the read that they came in.
        self._data = self._data[self._pos :]
        self._pos = 0
        return None

    def close(self) -> None:
        """Let go of everything: nothing more comes, and nothing more comes out. Idempotent."""
        self._settle()
        self._ended = True
        self._data = b""
        self._pos = 0
        self._message = self._fragmented = None

    def _end(self, event: Close | Failure) -> Close | Failure:
        """Let go of everything: this event is the last."""
        self.close()
        return event

    def _take_payload(self, message: WholeMessage | FragmentedMessage) -> Message | None:
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
            Violation: if no frame may begin so, as soon as the bytes that say it are there.
            UnicodeDecodeError: if it brings text that can no longer become UTF-8.
        """
        data = self._data
        pos = self._pos
        if len(data) - pos < 2:
            return None
        first, second = data[pos], data[pos + 1]
        error = self._first_byte_errors[first]
        if error:
            raise Violation(FRAMING_ERROR, error)
        if (second >= MASKED) == self._client:
            reason = "Masked frame from a server" if self._client else "Frame without a mask from a client"
            raise Violation(FRAMING_ERROR, reason)
        opcode = first & 0x0F
        if opcode >= CLOSE:
            return self._take_control(opcode, second & 0x7F)
        self._check_order(opcode)
        fragmented = self._fragmented
        continued = opcode == CONTINUATION
        inflater = self._inflater if first & RSV1 or (continued and fragmented and fragmented.is_compressed) else None
        length, header = self._read_length(second & 0x7F, is_compressed=inflater is not None)
        start = pos + header
        if start > len(data):
            return None
        is_here = start + length <= len(data)
        if continued or first < FIN:
            if fragmented is None:
                fragmented = self._fragmented = FragmentedMessage(self._inflater)
            self._message = fragmented
            if is_here:
                return self._take_fragments(fragmented, first, start, length, is_compressed=inflater is not None)
            fragmented.begin(first, length, self._read_key(start), self._limit)
        elif is_here:
            payload = self._read_payload(start, length)
            if inflater is not None:
                payload = inflater.inflate(payload, self._limit, final=True)
            return payload.decode() if opcode == TEXT else payload
        else:
            self._message = WholeMessage(opcode, length, self._read_key(start), inflater, self._limit)
        self._pos = start
        return self._take_payload(self._message)

    def _take_fragments(
        self, fragmented: FragmentedMessage, first: int, start: int, length: int, *, is_compressed: bool
    ) -> Message | None:
        """Take a fragment that is there in full, and with it those right behind it, as if they were one.

        One read of 64 KiB may hold nine thousand, at 9 us each in wsproto and 0.4 here (in plain Python 0.9).
        """
        payload = self._read_payload(start, length)
        count = 1
        if first < FIN:
            room = self._longest(is_compressed=is_compressed) - fragmented.total - length
            most = self.max_fragments - fragmented.count - 1
            pieces, self._pos, is_complete = join_fragments(self._data, self._pos, room, most, client=self._client)
            if pieces:
                payload = b"".join((payload, *pieces))
                count += len(pieces)
                if is_complete:
                    first |= FIN
        fragmented.begin(first, len(payload), NO_MASK, self._limit, count=count)
        complete = fragmented.take(payload)
        if complete is not None:
            self._message = None
        return complete

    def _take_control(self, opcode: int, length: int) -> Ping | Pong | Close | Failure | None:
        """Take a control frame if all of it has arrived.

        Not wsproto's work: one read of 64 KiB may hold ten thousand pings, at 5.4 us each there and 1.7 here.
        """
        if length > MAX_SHORT:
            raise Violation(FRAMING_ERROR, "Control frame of more than 125 bytes")
        start = self._pos + self._short_header
        if start + length > len(self._data):
            return None
        payload = self._read_payload(start, length)
        if opcode == PING:
            return Ping(payload)
        if opcode == PONG:
            return Pong(payload)
        return self._end(read_close(payload))

    def _read_payload(self, start: int, length: int) -> bytes:
        """Return the payload that begins at `start` and is there in full, without its mask, and go on behind it."""
        data = self._data
        self._pos = stop = start + length
        return data[start:stop] if self._client else unmask(data[start:stop], data[start - 4 : start])

    def _read_key(self, start: int) -> bytes:
        """Return the mask of the frame whose payload begins at `start`."""
        return NO_MASK if self._client else self._data[start - 4 : start]

    def _check_order(self, opcode: int) -> None:
        """Check that a data frame is due, and one more fragment allowed."""
        fragmented = self._fragmented
        if fragmented is None or not fragmented.count:
            if opcode == CONTINUATION:
                raise Violation(FRAMING_ERROR, "Continuation frame with no message to continue")
        elif opcode != CONTINUATION:
            raise Violation(FRAMING_ERROR, "New message before the end of a fragmented one")
        elif fragmented.count >= self.max_fragments:
            raise Violation(TOO_BIG, f"Message in more than {self.max_fragments} fragments")

    def _longest(self, *, is_compressed: bool) -> int:
        """Return how many bytes a message's frames may declare in all."""
        limit = self._limit
        # Compression may make a message longer, zlib by an eighth at worst. What it inflates to is limited besides.
        return limit + limit // 4 + 64 if is_compressed else limit

    def _read_length(self, length: int, *, is_compressed: bool) -> tuple[int, int]:
        """Read and check the length of the data frame at `_pos`, given the seven bits of its second byte.

        Return the length and the size of the header; nothing is said yet of a frame whose length is incomplete.
        """
        header = self._short_header
        if length > MAX_SHORT:
            size, shorter = _LENGTH_FIELDS[length]
            header += size
            field = self._data[self._pos + 2 : self._pos + 2 + size]
            if len(field) < size:
                return 0, header
            length = int.from_bytes(field)
            if length >> 63:
                raise Violation(FRAMING_ERROR, "Frame length with its highest bit set")
            if length <= shorter:
                raise Violation(FRAMING_ERROR, "Frame length that is not in its shortest form")
        total = length if self._fragmented is None else length + self._fragmented.total
        if total > self._longest(is_compressed=is_compressed):
            raise Violation(TOO_BIG, f"Message of {total} bytes; at most {self._limit} are accepted")
        return length, header
