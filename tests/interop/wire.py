"""What really goes over the wire between two programs: a relay that keeps all bytes, and how to read them.

It shares no code with trio_bunws, so that a mistake there cannot hide itself. Which frames must have been compressed,
and how, is said in the tests.
"""

from __future__ import annotations

import zlib
from contextlib import asynccontextmanager
from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

TEXT = 1
TAIL = b"\x00\x00\xff\xff"


class Message(NamedTuple):
    """A message of one frame, as it was on the wire."""

    opcode: int
    payload: bytes
    """Without its mask."""
    compressed: bool


class Direction:
    """What one side has sent."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def add(self, data: bytes | bytearray) -> None:
        """Keep what has come."""
        self._bytes += data

    def header(self, name: str) -> str:
        """Return a header of the handshake's request or answer, "" if it is not there."""
        lines = self._bytes.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        found = [value for key, _, value in (line.partition(":") for line in lines) if key.lower() == name]
        assert len(found) <= 1
        return "".join(found).strip()

    @property
    def extension(self) -> set[str]:
        """Name and parameters of the extension; empty if there is none."""
        return set(filter(None, self.header("sec-websocket-extensions").replace(" ", "").split(";")))

    def texts(self) -> list[Message]:
        """Return the text messages."""
        return [message for message in self._messages() if message.opcode == TEXT]

    def _messages(self) -> Iterator[Message]:
        data = bytes(self._bytes.partition(b"\r\n\r\n")[2])
        while data:
            first, second = data[:2]
            assert first & 0xB0 == 0x80, "a message in one frame, and no reserved bit but the first"
            start, size = 2, second & 0x7F
            assert size < 127, "these are 64 KiB or more"
            if size == 126:
                start, size = 4, int.from_bytes(data[2:4])
            payload = data[start : start + size]
            if second & 0x80:
                key, start = data[start : start + 4], start + 4
                payload = bytes(a ^ b for a, b in zip(data[start : start + size], cycle(key), strict=False))
            assert len(payload) == size
            yield Message(first & 0x0F, payload, bool(first & 0x40))
            data = data[start + size :]


def inflated(messages: list[Message], *, bits: int = 15, takeover: bool) -> list[str]:
    """Inflate compressed messages as a peer with such a window would that forgets each message, or none."""
    texts: list[str] = []
    inflater = zlib.decompressobj(-bits)
    for message in messages:
        assert message.compressed
        if not takeover:
            inflater = zlib.decompressobj(-bits)
        texts.append(inflater.decompress(message.payload + TAIL).decode())
    return texts


class Wire:
    """A connection through the relay; see `relay_to`."""

    def __init__(self, port: int) -> None:
        self.port = port
        """Where to connect to."""
        self.client = Direction()
        """What the client has sent."""
        self.server = Direction()
        """What the server has sent."""


@asynccontextmanager
async def relay_to(port: int | None) -> AsyncGenerator[Wire]:
    """Relay the one connection that is made in the block to this port of 127.0.0.1."""
    assert port is not None
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        wire = Wire(listener.socket.getsockname()[1])

        async def relay(near: trio.SocketStream) -> None:
            async with await trio.open_tcp_stream("127.0.0.1", port) as far, trio.open_nursery() as both:
                both.start_soon(_pump, near, far, wire.client)
                both.start_soon(_pump, far, near, wire.server)

        await nursery.start(trio.serve_listeners, relay, [listener])
        yield wire
        nursery.cancel_scope.cancel()


async def _pump(source: trio.SocketStream, target: trio.SocketStream, direction: Direction) -> None:
    try:
        async for data in source:
            direction.add(data)
            await target.send_all(data)
        await target.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # a side that is gone; the test sees what came before
