"""The envelope: what one server says to the others in one batch, as bytes, and the channels on which it says that.

Sans-I/O, and without state: encoding for `_relay.py` and its queue, and decoding of whatever somebody has put on a
channel. Decoding never raises, and never makes more than it was given. The frames are those that go to the sockets, so
that nobody encodes a message twice.

    3  "bw" and the version, 1
    1  kind: 0 publishes, 1 question, 2 answer
    8  the node that has made it
    publishes: sections, each 1 flags (1: to be compressed), 4 length, then so many bytes of whole frames without a mask
    question:  8 its number
    answer:    8 the question's number, 4 subscribers

Publishes and questions go to the topic's channel, answers to that of the node that has asked.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from trio_bunws._wire.frames import BINARY, EIGHT_BYTES, FIN, MAX_SHORT, TEXT, TWO_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TOPIC: Final = "t:"
"""What the channel of a topic begins with."""
NODES: Final = "n:"
"""What the channel of a node begins with; its name follows, in hexadecimal digits."""
MAGIC: Final = b"bw\x01"
NODE: Final = 8
"""Bytes of a node's name, drawn at random."""
NUMBER: Final = 8
"""Bytes of a question's number, drawn at random."""
MAX_FRAMES: Final = 4096
"""Frames in one envelope: so long, some milliseconds, a batch holds the event loop of who receives it."""
PUBLISHES: Final = 0
QUESTION: Final = 1
ANSWER: Final = 2
KIND_AT: Final = len(MAGIC)
NODE_AT: Final = KIND_AT + 1
BODY_AT: Final = NODE_AT + NODE
SECTION: Final = struct.Struct(">BI")
COUNT: Final = struct.Struct(">I")
OVERHEAD: Final = BODY_AT + SECTION.size
"""Bytes around the frames of an envelope with one section."""
MOST_SUBSCRIBERS: Final = 0xFFFF_FFFF
MAX_TWO_BYTES: Final = 0xFFFF
"""The longest payload whose length fits two bytes."""
EXTENDED: Final = {TWO_BYTES: 2, EIGHT_BYTES: 8}
"""By a frame's second byte: how many bytes of length follow."""
FIRST_TEXT: Final = FIN | TEXT
FIRST_BINARY: Final = FIN | BINARY


class Section(NamedTuple):
    """Publishes that follow one another, all to be compressed or none."""

    compress: bool
    frames: Sequence[bytes]
    """Whole messages, one frame each, as a server sends them uncompressed."""


class Publishes(NamedTuple):
    """What a node has published to a topic, in order."""

    node: bytes
    sections: Sequence[Section]


class Question(NamedTuple):
    """A node asks how many subscribers a topic has elsewhere."""

    node: bytes
    number: bytes


class Answer(NamedTuple):
    """A node answers."""

    node: bytes
    number: bytes
    subscribers: int


Envelope: TypeAlias = "Publishes | Question | Answer"


def encode_publishes(node: bytes, sections: Iterable[Section]) -> bytes:
    """Return publishes as bytes; at most `MAX_FRAMES` frames in all."""
    parts = [MAGIC, bytes((PUBLISHES,)), node]
    for compress, frames in sections:
        joined = b"".join(frames)
        parts += SECTION.pack(compress, len(joined)), joined
    return b"".join(parts)


def encode_question(node: bytes, number: bytes) -> bytes:
    """Return a question as bytes."""
    return b"".join((MAGIC, bytes((QUESTION,)), node, number))


def encode_answer(node: bytes, number: bytes, subscribers: int) -> bytes:
    """Return an answer as bytes."""
    return b"".join((MAGIC, bytes((ANSWER,)), node, number, COUNT.pack(min(subscribers, MOST_SUBSCRIBERS))))


def is_echo(data: bytes, node: bytes) -> bool:
    """Whether these are publishes that `node` has made itself; without a look at the frames."""
    return data[NODE_AT:BODY_AT] == node and data[KIND_AT] == PUBLISHES and data.startswith(MAGIC)


class ForeignError(ValueError):
    """No server of this version makes this."""


def decode(data: bytes) -> Envelope | None:
    """Return what is in a batch; `None` if no server of this version has made it."""
    if len(data) < BODY_AT or not data.startswith(MAGIC):
        return None
    node = data[NODE_AT:BODY_AT]
    kind, size = data[KIND_AT], len(data) - BODY_AT
    if kind == PUBLISHES:
        try:
            return Publishes(node, _sections(data))
        except ForeignError:
            return None
    if kind == QUESTION and size == NUMBER:
        return Question(node, data[BODY_AT:])
    if kind == ANSWER and size == NUMBER + COUNT.size:
        return Answer(node, data[BODY_AT : BODY_AT + NUMBER], *COUNT.unpack_from(data, BODY_AT + NUMBER))
    return None


def _sections(data: bytes) -> list[Section]:
    at, end = BODY_AT, len(data)
    room = MAX_FRAMES
    sections: list[Section] = []
    while at < end:
        if end - at < SECTION.size:
            raise ForeignError
        flags, size = SECTION.unpack_from(data, at)
        at += SECTION.size
        if flags > 1 or not 0 < size <= end - at:
            raise ForeignError
        frames = _frames(data, at, at + size, room)
        room -= len(frames)
        at += size
        sections.append(Section(flags == 1, frames))
    if not sections:
        raise ForeignError
    return sections


def _frames(data: bytes, at: int, end: int, room: int) -> list[bytes]:
    """Cut frames apart, at most `room`, each of which is what a server sends to its clients."""
    frames: list[bytes] = []
    while at < end:
        start = at + 2
        if start > end or len(frames) == room:
            raise ForeignError
        first, length = data[at], data[at + 1]
        if length > MAX_SHORT:
            head = start
            start += EXTENDED.get(length, 0)
            short = length == TWO_BYTES
            length = int.from_bytes(data[head:start])
            if length <= (MAX_SHORT if short else MAX_TWO_BYTES):  # a mask, too, has brought it to 0
                raise ForeignError
        stop = start + length
        if stop > end:
            raise ForeignError
        # What is no UTF-8 would cost every receiver its connection.
        if first != FIRST_BINARY and (first != FIRST_TEXT or not is_utf8(data[start:stop])):
            raise ForeignError
        frames.append(data[at:stop])
        at = stop
    return frames


def is_utf8(payload: bytes) -> bool:
    """Whether bytes are a text."""
    if payload.isascii():
        return True
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
