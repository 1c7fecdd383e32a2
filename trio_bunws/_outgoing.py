"""What a server has published and its broker has not taken yet: one batch per topic and tick, in a queue with a bound.

Pure data: no task, no broker; `_relay.py` fills it and hands the batches over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trio_bunws._broker import Batch
from trio_bunws._envelope import BODY_AT, MAX_FRAMES, OVERHEAD, SECTION, TOPIC, Section, encode_publishes

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH_SIZE: Final = 256 * 1024
"""Bytes that make a batch complete; only a message that is longer makes it longer."""
MESSAGE_COST: Final = 64
"""Bytes that a message costs in the queue beside its frame."""


class Piece:
    """The publishes that will be one batch."""

    __slots__ = ("_compress", "_frames", "count", "sections", "size")

    def __init__(self) -> None:
        self.count = 0
        """Publishes in it."""
        self.size = BODY_AT
        """Bytes that it will have."""
        self.sections: Final[list[Section]] = []
        self._compress: bool | None = None
        self._frames: list[bytes] = []

    def add(self, frame: bytes, *, compress: bool) -> None:
        """Add one publish."""
        if compress is not self._compress:
            self._compress = compress
            self._frames = []
            self.sections.append(Section(compress, self._frames))
            self.size += SECTION.size
        self._frames.append(frame)
        self.count += 1
        self.size += len(frame)


class Outgoing:
    """The queue of one server."""

    __slots__ = ("_max_batch", "_max_frame", "_max_size", "_node", "_pieces", "_size")

    def __init__(self, node: bytes, *, max_size: int, max_batch: int) -> None:
        """`node`: who publishes. `max_size`: bytes that may wait. `max_batch`: bytes of the longest batch."""
        self._node: Final = node
        self._max_size: Final = max_size
        self._max_frame: Final = max_batch - OVERHEAD
        # Less the head of a section, which a frame may bring with it.
        self._max_batch: Final = min(max_batch, BATCH_SIZE) - SECTION.size
        self._size = 0
        self._pieces: dict[str, list[Piece]] = {}

    @property
    def is_half_empty(self) -> bool:
        """Whether at least half of its room is left."""
        return self._size * 2 <= self._max_size

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def add(self, topic: str, frame: bytes, *, compress: bool) -> bool:
        """Add a message for a topic; False if there is no room for it. One always fits when nothing waits."""
        size = len(frame)
        cost = size + MESSAGE_COST
        if (self._size + cost > self._max_size and self._size) or size > self._max_frame:
            return False
        self._size += cost
        pieces = self._pieces.get(topic)
        if pieces is None:
            piece = Piece()
            self._pieces[topic] = [piece]
        else:
            piece = pieces[-1]
            if piece.size + size > self._max_batch or piece.count == MAX_FRAMES:
                piece = Piece()
                pieces.append(piece)
        piece.add(frame, compress=compress)
        return True

    def take(self) -> list[Batch]:
        """Return all of it as batches, in order, and begin anew."""
        batches = list(self._batches())
        self._pieces = {}
        self._size = 0
        return batches

    def _batches(self) -> Iterator[Batch]:
        for topic, pieces in self._pieces.items():
            for piece in pieces:
                yield Batch(TOPIC + topic, encode_publishes(self._node, piece.sections), piece.count)
