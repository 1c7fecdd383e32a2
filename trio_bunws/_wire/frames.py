"""Single WebSocket frames: building them, and putting on and taking off a client's mask (RFC 6455, section 5.2).

Pure functions and tables, without state or limits; those are `codec.py`'s. The hub and the sockets encode with them,
once per message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trio_bunws._close import NO_CODE, cut_reason
from trio_bunws._extension import (
    binary_frame as c_binary_frame,
    mask_frame as c_mask_frame,
    text_frame as c_text_frame,
    unmask as c_unmask,
)

if TYPE_CHECKING:
    from collections.abc import Callable

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

FIN: Final = 0x80
"""In the first byte: the last frame of its message."""
RESERVED: Final = 0x70
"""In the first byte: bits that only an extension may set."""
RSV1: Final = 0x40
"""In the first byte: the first of these; the message is compressed (RFC 7692, section 6)."""
MASKED: Final = 0x80
"""In the second byte: four bytes of mask follow the length."""
MAX_SHORT: Final = 125
"""The longest payload whose length fits the second byte, and the longest of a control frame."""
TWO_BYTES: Final = 126
"""In the second byte: the length is in the next two bytes."""
EIGHT_BYTES: Final = 127
"""In the second byte: the length is in the next eight bytes."""

SHORT_HEADER: Final = 2
"""Bytes before the payload of a server's frame whose length fits the second byte."""
MASKED_SHORT_HEADER: Final = 6
"""The same of a client's, with the mask."""

NO_MASK: Final = bytes(4)
BLOCK: Final = 8 * 1024
"""Bytes unmasked by one operation, without the extension.

CPython 3.11, ns per byte with one block / translation with strides / blocks of 4 KiB / 8 KiB / 16 KiB:
1 KiB 2.2 / 2.6 / - / - / -; 16 KiB 1.74 / 1.59 / 1.46 / 1.58 / 1.78; 64 KiB 2.28 / 1.56 / 1.33 / 1.32 / 1.37;
16 MiB 3.36 / 1.66 / 1.55 / 1.53 / 1.47. Integers that outgrow the cache cost twice as much.
"""


def _short_headers(opcode: int) -> tuple[bytes, ...]:
    """Make the header of each frame whose length fits the second byte."""
    return tuple(bytes((FIN | opcode, length)) for length in range(MAX_SHORT + 1))


_TEXT_HEADERS: Final = _short_headers(TEXT)
_BINARY_HEADERS: Final = _short_headers(BINARY)
_CLOSE_HEADERS: Final = _short_headers(CLOSE)
_PING_HEADERS: Final = _short_headers(PING)
_PONG_HEADERS: Final = _short_headers(PONG)
_COMPRESSED_HEADERS: Final = {opcode: _short_headers(RSV1 | opcode) for opcode in (TEXT, BINARY)}


def plain_text_frame(payload: bytes) -> bytes:
    """Return a whole text message as one frame; ``payload`` is UTF-8."""
    length = len(payload)
    if length <= MAX_SHORT:
        return _TEXT_HEADERS[length] + payload
    return header(FIN | TEXT, length) + payload


def plain_binary_frame(payload: bytes) -> bytes:
    """Return a whole binary message as one frame."""
    length = len(payload)
    if length <= MAX_SHORT:
        return _BINARY_HEADERS[length] + payload
    return header(FIN | BINARY, length) + payload


# 32 bytes: 0.11 us in Python, 0.06 in C.
text_frame: Final[Callable[[bytes], bytes]] = plain_text_frame if c_text_frame is None else c_text_frame
binary_frame: Final[Callable[[bytes], bytes]] = plain_binary_frame if c_binary_frame is None else c_binary_frame


def compressed_frame(payload: bytes, opcode: int) -> bytes:
    """Return a whole message, text or binary, whose ``payload`` is compressed, as one frame (RFC 7692, section 6.1)."""
    length = len(payload)
    if length <= MAX_SHORT:
        return _COMPRESSED_HEADERS[opcode][length] + payload
    return header(FIN | RSV1 | opcode, length) + payload


def header(first: int, length: int) -> bytes:
    """Return the header of a frame without a mask, given its first byte and the length of its payload."""
    if length <= MAX_SHORT:
        return bytes((first, length))
    if length < 1 << 16:
        return bytes((first, TWO_BYTES)) + length.to_bytes(2)
    return bytes((first, EIGHT_BYTES)) + length.to_bytes(8)


def ping_frame(payload: bytes) -> bytes:
    """Return a ping; the caller has seen to it that ``payload`` has at most 125 bytes."""
    return _PING_HEADERS[len(payload)] + payload


def pong_frame(payload: bytes) -> bytes:
    """Return a pong; the caller has seen to it that ``payload`` has at most 125 bytes."""
    return _PONG_HEADERS[len(payload)] + payload


def close_frame(code: int | None, reason: str) -> bytes:
    """Return a Close frame; the caller has checked ``code``.

    Without a code (`None`, or 1005 as in a `Close` event) the frame is empty, whatever the reason. A reason of more
    than 123 bytes is cut at a character's boundary.
    """
    if code is None or code == NO_CODE:
        return _CLOSE_HEADERS[0]
    payload = code.to_bytes(2) + cut_reason(reason).encode()
    return _CLOSE_HEADERS[len(payload)] + payload


def unmask(data: bytes, key: bytes, offset: int = 0) -> bytes:
    """Return ``data`` with the mask taken off, or put on (RFC 6455, section 5.3).

    ``key`` is the frame's four bytes of mask, and ``offset`` the place of ``data`` in the frame's payload.
    """
    if key == NO_MASK:
        return data
    if c_unmask is not None:
        return c_unmask(data, key, offset)  # 32 bytes: 0.1 us, not 0.4; 64 KiB: 2, not 90
    turn = offset & 3
    if turn:
        key = key[turn:] + key[:turn]
    size = len(data)
    if size <= BLOCK:
        return _xor(data, int.from_bytes((key * ((size + 3) >> 2))[:size], "little"), size)
    whole = size - size % BLOCK
    mask = int.from_bytes(key * (BLOCK >> 2), "little")
    blocks = [_xor(data[start : start + BLOCK], mask, BLOCK) for start in range(0, whole, BLOCK)]
    blocks.append(unmask(data[whole:], key))
    return b"".join(blocks)


def _xor(data: bytes, mask: int, size: int) -> bytes:
    """XOR ``size`` bytes; as integers, because CPython has no other XOR of many bytes."""
    return (int.from_bytes(data, "little") ^ mask).to_bytes(size, "little")


def _short_masks() -> tuple[tuple[int, int, int, int] | None, ...]:
    """Make `SHORT_MASKS`."""
    table: list[tuple[int, int, int, int] | None] = [None] * 256
    for length in range(MAX_SHORT + 1):
        keys = (4 + length + 3) // 4
        repeat = sum(1 << 32 * index for index in range(keys))
        table[MASKED | length] = (MASKED_SHORT_HEADER + length, 8 * length, repeat, 8 * (4 * keys - 4 - length))
    return tuple(table)


SHORT_MASKS: Final = _short_masks()
"""By the second byte of a client's frame, if that means masked and at most 125 bytes: how to unmask it in one go.

The frame's size; the shift that brings the mask out of mask and payload as one big-endian integer; the factor that
repeats the mask over both, rounded up to whole masks; the shift that drops the excess.
"""


def plain_mask_frame(frame: bytes, key: bytes) -> bytes:
    """Return one of the frames above as a client's, masked with ``key``.

    The key is four bytes that nobody can predict, fresh for each frame (RFC 6455, section 10.3).
    """
    first, length = frame[0], frame[1]
    mask = SHORT_MASKS[MASKED | length]
    if mask is not None:
        # As the codec does: key and masked payload are one integer, and the key stands out where the payload has
        # nothing yet. 0.7 us for 32 bytes; the general way takes 1.2.
        size, _, repeat, excess = mask
        masked = int.from_bytes(frame[2:]) ^ (int.from_bytes(key) * repeat >> excess)
        return bytes((first, MASKED | length)) + masked.to_bytes(size - 2)
    start = 4 if length == TWO_BYTES else 10
    return b"".join((bytes((first, MASKED | length)), frame[2:start], key, unmask(frame[start:], key)))


mask_frame: Final[Callable[[bytes, bytes], bytes]] = plain_mask_frame if c_mask_frame is None else c_mask_frame


def take_apart(frame: bytes) -> tuple[bytes, int]:
    """Return payload and opcode of one of the frames above that is neither masked nor compressed."""
    length = frame[1]
    start = 2 if length <= MAX_SHORT else 4 if length == TWO_BYTES else 10
    return frame[start:], frame[0] & 0x0F


def _first_byte_error(first: int, allowed: int = 0) -> str:
    """Tell what is wrong with a frame's first byte wherever the frame stands; "" if nothing.

    `allowed`: the reserved bit that text and binary frames may have set.
    """
    opcode = first & 0x0F
    if first & RESERVED and (first & RESERVED != allowed or opcode not in {TEXT, BINARY}):
        return "Frame with a reserved bit set"
    if opcode not in {CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG}:
        return f"Frame with unknown opcode {opcode}"
    if opcode >= CLOSE and first < FIN:
        return "Control frame in fragments"
    return ""


FIRST_BYTE_ERRORS: Final = tuple(_first_byte_error(first) for first in range(256))
"""By the first byte of a client's frame: what is wrong with it wherever it stands, or ""."""
FIRST_BYTE_ERRORS_DEFLATE: Final = tuple(_first_byte_error(first, RSV1) for first in range(256))
"""The same where messages may be compressed (RFC 7692, section 6)."""
