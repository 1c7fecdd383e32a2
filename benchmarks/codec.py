"""What one frame costs to decode and to encode, without any I/O, beside wsproto alone in the same run.

Run it with `python benchmarks/codec.py` on a quiet machine. Each line is the best of many rounds, ours and wsproto's in
turn, in microseconds per message: decoding takes a client's masked frames (random masks) in reads of 64 KiB and drops
the events, encoding makes a server's frame of a payload that is bytes already.
"""

from __future__ import annotations

import os
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from wsproto.connection import SERVER, Connection
from wsproto.events import BytesMessage, TextMessage

from trio_bunws._wire.codec import Codec
from trio_bunws._wire.frames import BINARY, CONTINUATION, FIN, PING, TEXT, binary_frame, unmask

if TYPE_CHECKING:
    from collections.abc import Callable

READ = 64 * 1024
SECONDS = 1.0
"""How long each line takes, for ours and for wsproto's together."""


class Line(NamedTuple):
    """One line of the table: the same work done twice, and how many messages that is."""

    what: str
    messages: int
    ours: Callable[[], object]
    wsproto: Callable[[], object]


def client_frame(first: int, payload: bytes) -> bytes:
    """Build a client's frame with a random mask, which is never all zeros."""
    length = len(payload)
    if length < 126:
        size = bytes([0x80 | length])
    elif length < 1 << 16:
        size = b"\xfe" + length.to_bytes(2)
    else:
        size = b"\xff" + length.to_bytes(8)
    key = b"\x5c" + os.urandom(3)
    return bytes([first]) + size + key + unmask(payload, key)


def decode_ours(reads: list[bytes]) -> None:
    """Decode with the codec."""
    codec = Codec(1 << 24, 1 << 14)
    for read in reads:
        codec.feed(read)
        for _ in codec.events():
            pass


def decode_wsproto(reads: list[bytes]) -> None:
    """Decode with wsproto alone, and join the parts of a message, as it leaves to its user."""
    connection = Connection(SERVER)
    text: list[str] = []
    binary: list[bytes | bytearray] = []
    for read in reads:
        connection.receive_data(read)
        for event in connection.events():
            if isinstance(event, TextMessage):
                text.append(event.data)
                if event.message_finished:
                    "".join(text)
                    text.clear()
            elif isinstance(event, BytesMessage):
                binary.append(event.data)
                if event.message_finished:
                    b"".join(binary)
                    binary.clear()


def decoding(what: str, *frames: tuple[int, bytes]) -> Line:
    """Decode a message again and again; it may have several frames."""
    size = sum(len(payload) + 14 for _, payload in frames)
    messages = max(1, 4 * READ // size)
    data = b"".join(client_frame(*frame) for _ in range(messages) for frame in frames)
    reads = [data[start : start + READ] for start in range(0, len(data), READ)]
    return Line(f"decode {what}", messages, partial(decode_ours, reads), partial(decode_wsproto, reads))


def encoding(what: str, payload: bytes) -> Line:
    """Encode a payload again and again."""
    times = range(max(1, READ // (len(payload) + 100)))
    connection = Connection(SERVER)

    def ours() -> None:
        for _ in times:
            binary_frame(payload)

    def wsproto() -> None:
        for _ in times:
            connection.send(BytesMessage(payload))

    return Line(f"encode {what}", len(times), ours, wsproto)


def seconds(work: Callable[[], object]) -> float:
    """Time one run."""
    start = perf_counter()
    work()
    return perf_counter() - start


def main() -> None:
    """Print the table."""
    lines = [
        decoding("text, 12 B", (FIN | TEXT, bytes(12))),
        decoding("text, 32 B", (FIN | TEXT, bytes(32))),
        decoding("text, 32 B, not ASCII", (FIN | TEXT, "ä€😀".encode() * 3 + b"12345")),
        decoding("text, 125 B", (FIN | TEXT, bytes(125))),
        decoding("text, 1 KiB", (FIN | TEXT, bytes(1 << 10))),
        decoding("text, 64 KiB", (FIN | TEXT, bytes(1 << 16))),
        decoding("text, 1 MiB", (FIN | TEXT, bytes(1 << 20))),
        decoding("binary, 1 MiB", (FIN | BINARY, bytes(1 << 20))),
        decoding("binary, 16 MiB", (FIN | BINARY, bytes(1 << 24))),
        decoding("ping, 0 B", (FIN | PING, b"")),
        decoding("text, 2 x 32 B", (TEXT, bytes(32)), (FIN | CONTINUATION, bytes(32))),
        encoding("32 B", bytes(32)),
        encoding("1 KiB", bytes(1 << 10)),
        encoding("64 KiB", bytes(1 << 16)),
        encoding("1 MiB", bytes(1 << 20)),
    ]
    print(f"{'us per message':<30}{'trio_bunws':>12}{'wsproto':>12}{'ratio':>8}")
    for line in lines:
        ours = wsproto = spent = 0.0
        while spent < SECONDS:
            one, other = seconds(line.ours), seconds(line.wsproto)
            ours, wsproto = min(ours or one, one), min(wsproto or other, other)
            spent += one + other
        unit = 1e6 / line.messages
        print(f"{line.what:<30}{ours * unit:>12.2f}{wsproto * unit:>12.2f}{wsproto / ours:>8.1f}")


if __name__ == "__main__":
    main()
