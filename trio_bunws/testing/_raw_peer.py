"""`RawPeer`: a client that sends exactly the bytes it is told to, right or wrong, and shows the frames that come back.

It has no protocol of its own: no pong, Close or check happens unasked, so that a test can see what a server does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    import trio

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
"""The key of RFC 6455, section 1.3, whose accept token is `s3pPLMBiTxaQ9kYGzzhZRbK+xOo=`."""
MASK: Final = b"\x12\x34\x56\x78"


class Frame(NamedTuple):
    """One frame as it came: header bits, opcode and unmasked payload."""

    opcode: int
    """0 continuation, 1 text, 2 binary, 8 Close, 9 ping, 10 pong."""
    payload: bytes
    """What the frame carries."""
    fin: bool = True
    """Whether it ends its message."""
    rsv: int = 0
    """The three reserved bits; 4 is RSV1, "compressed"."""

    @property
    def close(self) -> tuple[int, str]:
        """Code and reason of a Close frame; `(1005, "")` if it is empty."""
        if not self.payload:
            return 1005, ""
        return int.from_bytes(self.payload[:2], "big"), self.payload[2:].decode()


class RawPeer:
    """The client's end of a connection, byte by byte. It owns the stream.

    Methods that send or receive are checkpoints, and raise what the stream raises.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream: Final = stream
        """The connection."""
        self.received: bytearray = bytearray()
        """Bytes that came and were not taken yet."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stream.aclose()

    # Sending

    @staticmethod
    def request(path: str = "/", headers: Iterable[tuple[str, str]] = (), *, key: str = KEY) -> bytes:
        """Return the bytes of a handshake's request."""
        fields = [
            ("Host", "localhost"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", key),
            ("Sec-WebSocket-Version", "13"),
            *headers,
        ]
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
        return "\r\n".join([*lines, "", ""]).encode()

    @staticmethod
    def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = MASK) -> bytes:
        """Return the bytes of a frame with its length in the shortest form; `mask=None` leaves it unmasked."""
        size = len(payload)
        bit = 0 if mask is None else 0x80
        if size < 126:
            length = bytes([bit | size])
        elif size < 1 << 16:
            length = bytes([bit | 126]) + size.to_bytes(2, "big")
        else:
            length = bytes([bit | 127]) + size.to_bytes(8, "big")
        head = bytes([fin << 7 | rsv << 4 | opcode]) + length
        if mask is None:
            return head + payload
        masking = (mask * size)[:size]
        return head + mask + (int.from_bytes(payload) ^ int.from_bytes(masking)).to_bytes(size)

    @classmethod
    def close_frame(cls, code: int | None = None, reason: str = "") -> bytes:
        """Return the bytes of a Close frame; without a code it is empty."""
        return cls.frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason.encode())

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.send_all(data)

    async def send_text(self, text: str) -> None:
        """Send a text message in one frame."""
        await self.send(self.frame(TEXT, text.encode()))

    async def send_binary(self, data: bytes) -> None:
        """Send a binary message in one frame."""
        await self.send(self.frame(BINARY, data))

    async def send_close(self, code: int | None = None, reason: str = "") -> None:
        """Send a Close frame."""
        await self.send(self.close_frame(code, reason))

    # Receiving

    async def receive_until(self, end: bytes) -> bytes:
        """Return all bytes up to and including `end`; raises `EOFError` if the stream ends first."""
        while (at := self.received.find(end)) < 0:
            await self._more()
        return self._take(at + len(end))

    async def receive_exactly(self, size: int) -> bytes:
        """Return exactly `size` bytes; raises `EOFError` if the stream ends first."""
        while len(self.received) < size:
            await self._more()
        return self._take(size)

    async def upgrade(self, path: str = "/", headers: Iterable[tuple[str, str]] = ()) -> dict[str, str]:
        """Open a WebSocket; return the headers of the 101 with lower-case names, repeats joined by ", ".

        Raises:
            AssertionError: if the answer is not a 101; the message is its head.
        """
        await self.send(self.request(path, headers))
        return await self.receive_101()

    async def receive_101(self) -> dict[str, str]:
        """Receive the answer to a handshake sent before; as `upgrade`."""
        head = (await self.receive_until(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        if not status.startswith("HTTP/1.1 101 "):
            raise AssertionError(head)
        found: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name = name.lower()
            found[name] = f"{found[name]}, {value.strip()}" if name in found else value.strip()
        return found

    async def receive(self) -> Frame:
        """Return the next frame; raises `EOFError` if the stream ends first."""
        first, second = await self.receive_exactly(2)
        size = second & 0x7F
        if size == 126:
            size = int.from_bytes(await self.receive_exactly(2), "big")
        elif size == 127:
            size = int.from_bytes(await self.receive_exactly(8), "big")
        if second & 0x80:
            raise AssertionError("a server must not mask its frames")
        return Frame(first & 0x0F, await self.receive_exactly(size), bool(first & 0x80), first >> 4 & 7)

    async def receive_text(self) -> str:
        """Return the next frame's text; raises `AssertionError` if it is not a whole text message."""
        frame = await self.receive()
        if frame != (TEXT, frame.payload, True, 0):
            raise AssertionError(frame)
        return frame.payload.decode()

    async def receive_close(self) -> tuple[int, str]:
        """Return code and reason of the next frame, which must be a Close; `(1005, "")` if it is empty."""
        frame = await self.receive()
        if frame.opcode != CLOSE:
            raise AssertionError(frame)
        return frame.close

    async def receive_eof(self) -> None:
        """Wait for the end of the stream; raises `AssertionError` if bytes come before it."""
        if not self.received:
            self.received += await self.stream.receive_some()
        if self.received:
            raise AssertionError(bytes(self.received))

    async def _more(self) -> None:
        data = await self.stream.receive_some()
        if not data:
            raise EOFError(f"the stream ended, with these bytes before: {bytes(self.received)!r}")
        self.received += data

    def _take(self, size: int) -> bytes:
        taken = bytes(self.received[:size])
        del self.received[:size]
        return taken
