"""Compression without our own code: a compressor that only marks, and the peer's half of permessage-deflate by zlib.

`test_fanout.py` and `test_hub.py` use the first; the tests that decode what was really sent use the second.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple

from trio_bunws._wire.compression import Outbound

if TYPE_CHECKING:
    from collections.abc import Iterator

TAIL = b"\x00\x00\xff\xff"


class Marking(Outbound):
    """Compresses by writing its mark before the payload, and remembers what."""

    def __init__(self, mark: bytes, *, takeover: bool = False) -> None:
        super().__init__(15, takeover=takeover, min_size=0)
        self.mark = mark
        self.compressed: list[bytes] = []

    def frame(self, payload: bytes, opcode: int) -> bytes:
        del opcode
        self.compressed.append(payload)
        return self.mark + payload


class Sent(NamedTuple):
    """One frame of a server: its first byte's halves, and its payload as it was on the wire."""

    flags: int
    opcode: int
    payload: bytes

    @property
    def compressed(self) -> bool:
        return bool(self.flags & 4)


def frames_of(data: bytes) -> Iterator[Sent]:
    """Take unmasked frames apart."""
    while data:
        length, start = data[1], 2
        if length > 125:
            start = 4 if length == 126 else 10
            length = int.from_bytes(data[2:start], "big")
        yield Sent(data[0] >> 4, data[0] & 0xF, data[start : start + length])
        data = data[start + length :]


class Deflating:
    """One end's compressors by zlib alone: RFC 7692, section 7.2, as short as it can be."""

    def __init__(
        self, *, takeover_in: bool = True, takeover_out: bool = True, bits_in: int = 15, bits_out: int = 15
    ) -> None:
        self._takeover_in = takeover_in
        self._takeover_out = takeover_out
        self._bits_in = bits_in
        self._bits_out = bits_out
        self._in = zlib.decompressobj(-bits_in)
        self._out = zlib.compressobj(wbits=-bits_out)

    def inflate(self, data: bytes) -> bytes:
        """Return the message that was compressed."""
        if not self._takeover_in:
            self._in = zlib.decompressobj(-self._bits_in)
        message = self._in.decompress(data + TAIL)
        assert not self._in.unconsumed_tail
        assert not self._in.unused_data
        return message

    def deflate(self, message: bytes) -> bytes:
        """Compress a message."""
        if not self._takeover_out:
            self._out = zlib.compressobj(wbits=-self._bits_out)
        data = self._out.compress(message) + self._out.flush(zlib.Z_SYNC_FLUSH)
        return data.removesuffix(TAIL)
