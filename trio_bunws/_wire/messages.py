"""Messages of which only a part has arrived: what the codec collects them in, in one frame or in fragments.

Which frames may come, and how long they may be, the codec has checked before. wsproto is the state machine of
fragmented messages; nothing else of it is used.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from typing import TYPE_CHECKING, Final

from wsproto.connection import CLIENT, Connection
from wsproto.events import BytesMessage, TextMessage
from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, Opcode, RsvBits

from trio_bunws._wire.closing import NOT_UTF8
from trio_bunws._wire.deflate import BrokenData, TooLong
from trio_bunws._wire.frames import (
    CONTINUATION,
    FIN,
    MASKED,
    MASKED_SHORT_HEADER,
    MAX_SHORT,
    RSV1,
    SHORT_HEADER,
    TEXT,
    header,
    unmask,
)

if TYPE_CHECKING:
    from wsproto.frame_protocol import FrameDecoder, FrameProtocol

    from trio_bunws._wire.deflate import Inflater
    from trio_bunws._wire.events import Message

BAD_TEXT: Final = "Text message that is not UTF-8"


class Violation(Exception):
    """The peer broke the protocol or a limit; the codec makes a `Failure` of it."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code: Final = code
        self.reason: Final = reason


class WholeMessage:
    """An unfragmented message of which only a part has arrived."""

    __slots__ = ("_decoder", "_inflater", "_key", "_length", "_max", "_payload", "left")

    def __init__(
        self, opcode: int, length: int, key: bytes, inflater: Inflater | None = None, max_length: int = 0
    ) -> None:
        """Prepare for `length` bytes of payload.

        `key` is the frame's mask, `NO_MASK` if it has none. `inflater`: the message is compressed, and may inflate to
        `max_length` bytes.
        """
        self.left = length
        """Bytes of payload that have not arrived yet."""
        self._length: Final = length
        self._key: Final = key
        self._inflater: Final = inflater
        self._max: Final = max_length
        # One growing array rather than a list of pieces: it costs the same for pieces of 64 KiB (2.5 ms for 16 MiB)
        # and does not care when the peer sends a byte at a time. Text stays bytes, for as `str` it may take four
        # times the memory; the decoder only looks for the first byte that cannot be UTF-8.
        self._payload: Final = bytearray()
        self._decoder: Final = getincrementaldecoder("utf-8")() if opcode == TEXT else None

    @property
    def held(self) -> int:
        """Bytes of payload that have arrived, inflated."""
        return len(self._payload)

    def take(self, piece: bytes) -> Message | None:
        """Add payload as it came, at most `left`, and return the message if that was the last of it.

        Raises:
            UnicodeDecodeError: as soon as text can no longer become UTF-8.
            Violation: for half a surrogate, likewise.
            BrokenData: if it is compressed and cannot be inflated.
            TooLong: if it inflates to more than it may.
        """
        piece = unmask(piece, self._key, self._length - self.left)
        self.left -= len(piece)
        if self._inflater is not None:
            piece = self._inflater.inflate(piece, self._max - len(self._payload), final=not self.left)
        self._payload.extend(piece)
        if self._decoder is None:
            return None if self.left else bytes(self._payload)
        if self.left:
            self._decoder.decode(piece)
            _check_surrogate(self._payload[-2:])
            return None
        return self._payload.decode()


class FragmentedMessage:
    """Messages that come in fragments, one after another; wsproto joins them, and has them inflated."""

    __slots__ = (
        "_connection",
        "_extension",
        "_key",
        "_length",
        "_payload",
        "_tail",
        "count",
        "is_compressed",
        "left",
        "total",
    )

    def __init__(self, inflater: Inflater | None = None) -> None:
        """`inflater`: for those that are compressed; None: there are none."""
        self._extension: Final = None if inflater is None else InflatingExtension(inflater)
        # The frames that wsproto gets are a server's, without a mask; it would take one off more slowly.
        self._connection: Final = Connection(CLIENT, [] if self._extension is None else [self._extension])
        self._payload: Final = bytearray()
        self._key = b""
        self._length = 0
        self._tail: bytes | None = None
        """If the message is text: the last two bytes so far."""
        self.is_compressed = False
        """Whether the message is compressed."""
        self.count = 0
        """Fragments of the message so far."""
        self.total = 0
        """Bytes of payload that these have declared."""
        self.left = 0
        """Bytes of the last fragment's payload that have not arrived yet."""

    @property
    def held(self) -> int:
        """Bytes of payload that have arrived, inflated."""
        return len(self._payload)

    def begin(self, first: int, length: int, key: bytes, max_length: int, *, count: int = 1) -> None:
        """Prepare for the payload of a fragment, or of several joined to one.

        Args:
            first: the frame's first byte.
            length: bytes of payload.
            key: its mask, `NO_MASK` if it has none.
            max_length: bytes that the message may inflate to, if it is compressed.
            count: how many fragments were joined.
        """
        opcode = first & 0x0F
        if opcode != CONTINUATION:
            self._tail = b"" if opcode == TEXT else None
            self.is_compressed = bool(first & RSV1)
        if self._extension is not None:
            self._extension.limit = max_length
        self._key = key
        self._length = self.left = length
        self.count += count
        self.total += length
        self._connection.receive_data(header(first, length))

    def take(self, piece: bytes) -> Message | None:
        """Add payload as it came, at most `left`, and return the message if that was the last of it.

        Raises:
            Violation: as soon as text can no longer become UTF-8.
            BrokenData: if it is compressed and cannot be inflated.
            TooLong: if it inflates to more than it may.
        """
        piece = unmask(piece, self._key, self._length - self.left)
        self.left -= len(piece)
        self._connection.receive_data(piece)
        for event in self._connection.events():
            if isinstance(event, TextMessage):
                self._payload.extend(event.data.encode())
            elif isinstance(event, BytesMessage):
                self._payload.extend(event.data)
            elif self._extension is not None and self._extension.error is not None:
                raise self._extension.error
            else:
                # Nothing else is left to complain of: wsproto sees data frames only, and their headers were checked.
                raise Violation(NOT_UTF8, BAD_TEXT)
            if event.message_finished:
                message = self._payload.decode() if isinstance(event, TextMessage) else bytes(self._payload)
                self._payload.clear()
                self.count = self.total = 0
                return message
        if self._tail is not None:
            if self._extension is not None and self.is_compressed:
                self._tail = self._extension.end
            else:
                self._tail = (self._tail + piece[-2:])[-2:]
            _check_surrogate(self._tail)
        return None


class InflatingExtension(Extension):
    """Inflates a peer's messages for wsproto. What was agreed on is settled before, and not wsproto's business."""

    name = "permessage-deflate"

    def __init__(self, inflater: Inflater) -> None:
        self._inflater: Final = inflater
        self._compressed = False
        """Whether the message being received is; its first frame says so."""
        self._is_control = False
        self._inflated = 0
        self.limit = 0
        """Bytes that the message may inflate to; to be set before each of its frames."""
        self.end = b""
        """The last two bytes of what it has inflated to so far."""
        self.error: BrokenData | TooLong | None = None
        """What was wrong with it, which wsproto does not tell."""

    def enabled(self) -> bool:
        """Tell wsproto to ask this extension."""
        return True

    def offer(self) -> bool:
        """Offer nothing: the handshake is not wsproto's."""
        return False

    def frame_inbound_header(
        self,
        proto: FrameDecoder | FrameProtocol,
        opcode: Opcode,
        rsv: RsvBits,
        payload_length: int,
    ) -> CloseReason | RsvBits:
        """Allow the first reserved bit where a message begins."""
        del proto, payload_length
        self._is_control = opcode.iscontrol()
        if self._is_control or opcode is Opcode.CONTINUATION:
            return RsvBits(rsv1=False, rsv2=False, rsv3=False)
        self._compressed = rsv.rsv1
        self._inflated = 0
        self.end = b""
        return RsvBits(rsv1=True, rsv2=False, rsv3=False)

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        """Inflate a piece of a frame."""
        del proto
        return self._inflate(data, final=False) if self._compressed and not self._is_control else data

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        """Inflate the rest of a message with its last frame."""
        del proto
        return self._inflate(b"", final=True) if fin and self._compressed and not self._is_control else None

    def _inflate(self, data: bytes, *, final: bool) -> bytes | CloseReason:
        try:
            inflated = self._inflater.inflate(data, self.limit - self._inflated, final=final)
        except BrokenData as exc:
            self.error = exc
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        except TooLong as exc:
            self.error = exc
            return CloseReason.MESSAGE_TOO_BIG
        self._inflated += len(inflated)
        self.end = (self.end + inflated[-2:])[-2:]
        return inflated


def join_fragments(data: bytes, pos: int, room: int, most: int, *, client: bool) -> tuple[list[bytes], int, bool]:
    """Take the short fragments at `pos` of which all is there, up to the one that ends their message.

    It stops before the first frame that is anything else, that would make them more than `most`, or that would bring
    their payloads to more than `room` bytes: the codec judges that frame. `client`: our side is the client, so that the
    frames have no mask.

    Return their payloads, where the next frame begins, and whether the message is complete.
    """
    pieces: list[bytes] = []
    header, masked = (SHORT_HEADER, 0) if client else (MASKED_SHORT_HEADER, MASKED)
    end = len(data)
    last = end - header
    while pos <= last and len(pieces) < most:
        first = data[pos]
        # More than `MAX_SHORT` also if there is a mask and must be none, or the other way round.
        length = data[pos + 1] ^ masked
        start = pos + header
        stop = start + length
        if first & ~FIN or length > MAX_SHORT or stop > end or length > room:
            break
        payload = data[start:stop]
        pieces.append(payload if client else unmask(payload, data[start - 4 : start]))
        room -= length
        pos = stop
        if first:
            return pieces, pos, True
    return pieces, pos, False


def _check_surrogate(end: bytes | bytearray) -> None:
    """Check the last two bytes of unfinished text: Python's decoder waits for the third byte of a surrogate."""
    if b"\xed\xa0" <= end <= b"\xed\xbf":
        raise Violation(NOT_UTF8, BAD_TEXT)
