"""Compression bombs: 1 GiB of zeros, which is 1 MiB on the wire, against a server that takes messages of up to 1 MiB.

It comes as one message in one frame, as one in a thousand fragments, and as 10,000 small messages. The first two must
be refused with 1009; the small ones are within the limit and must all come to the handler, and then one that is a byte
too long must be refused. A message of nothing but ends of streams inflates to nothing, but takes its time.

Measured in the server, which is a process of its own: how long one step of its loop took at most, and how much memory
grew at the peak. The bombs are made beforehand. What is judged is processor time: by the clock a step takes longer when
others want the core.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import zlib
from dataclasses import dataclass
from threading import Thread
from typing import Any
from urllib.request import urlopen

from _bench import Settings, running_server
from _load import RSV1, TEXT, LoadError, client_frame
from _peers import MissingPeerError, bunws
from _report import environment

MIB = 1024 * 1024
LIMIT = MIB
"""As in peers/bunws_bombed.py."""
BOMB = 1024 * MIB
FRAGMENTS = 1024
SMALL = 10_000
MOST_HELD = 0.050
"""Seconds that one step may take in which a message is refused."""
MOST_GROWTH = 8 * MIB
PATIENCE = 60.0
CLOSE = 0x88
FIRST, NEXT, LAST = 0x41, 0x00, 0x80
"""First bytes of the frames of a compressed text in fragments."""
TAIL = b"\x00\x00\xff\xff"
REFUSAL = 1009
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
)


@dataclass(frozen=True)
class Bomb:
    title: str
    frames: bytes
    messages: int
    """How many of them must come to the handler before the refusal."""


def _zeros(size: int) -> bytes:
    """So many zeros, compressed as well as possible, to be put together with more of them."""
    compressor = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return compressor.compress(bytes(size)) + compressor.flush(zlib.Z_FULL_FLUSH)


def _bombs() -> list[Bomb]:
    block = _zeros(64 * MIB)
    payload = (block * (BOMB // (64 * MIB))).removesuffix(TAIL)
    assert len(payload) <= LIMIT, "its length alone must not be what is refused"
    step = -(-len(payload) // FRAGMENTS)
    pieces = [payload[start : start + step] for start in range(0, len(payload), step)]
    heads = [FIRST, *[NEXT] * (len(pieces) - 2), LAST]
    fragments = [client_frame(head, piece) for head, piece in zip(heads, pieces, strict=True)]
    small = _zeros(BOMB // SMALL).removesuffix(TAIL)
    too_long = _zeros(LIMIT + 1).removesuffix(TAIL)
    return [
        Bomb("one frame", client_frame(RSV1 | TEXT, payload), 0),
        Bomb(f"{len(fragments):,} fragments", b"".join(fragments), 0),
        Bomb(
            f"{SMALL:,} messages of {BOMB // SMALL:,} bytes, then one of {LIMIT + 1:,}",
            b"".join(client_frame(RSV1 | TEXT, small) for _ in range(SMALL)) + client_frame(RSV1 | TEXT, too_long),
            SMALL,
        ),
        Bomb(f"nothing: {LIMIT // 2:,} last blocks, empty", client_frame(RSV1 | TEXT, b"\x03\x00" * (LIMIT // 2)), 0),
    ]


def _received(connection: socket.socket) -> bytes:
    """Everything up to the end of the connection."""
    received = b""
    try:
        while data := connection.recv(4096):
            received += data
    except ConnectionError:
        pass  # what came before counts
    return received


def _close_code(port: int, bomb: Bomb) -> int:
    """Send the bomb, and return the code of the Close frame that comes back."""
    answers: list[bytes] = []
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(HANDSHAKE)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        if b"permessage-deflate" not in head:
            raise LoadError(f"the server answered the handshake with {head!r}")
        reader = Thread(target=lambda: answers.append(_received(connection)))
        reader.start()
        try:
            connection.sendall(bomb.frames)
        except ConnectionError:
            pass  # refused before it was all there
        else:
            connection.shutdown(socket.SHUT_WR)
        reader.join()
    (answer,) = answers
    if len(answer) < 4 or answer[0] != CLOSE:
        raise LoadError(f"the server answered {answer!r}")
    return int.from_bytes(answer[2:4])


def _get(port: int, path: str) -> bytes:
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
        return bytes(answer.read())


def _explode(bomb: Bomb, how: str, compressor: str, settings: Settings) -> tuple[list[str], list[str]]:
    """One row of the table, and what was not as it must be."""
    with running_server(bunws("bunws_bombed.py"), (how, compressor), settings) as (_, port):
        _close_code(port, Bomb("warm-up", client_frame(TEXT, b"hello") + client_frame(CLOSE, b"\x03\xe8"), 1))
        _get(port, "/watch")
        code = _close_code(port, bomb)
        seen: dict[str, Any] = json.loads(_get(port, "/seen"))
    row = [
        bomb.title,
        f"`{how}`, {compressor}",
        str(code),
        f"{seen['messages']:,}",
        f"{seen['held'] * 1000:.1f}",
        f"{seen['held_cpu'] * 1000:.1f}",
        f"{seen['growth'] / MIB:.1f}",
    ]
    wrong: list[str] = []
    if code != REFUSAL or seen["closed"][0] != REFUSAL:
        wrong.append(f"closed with {code} on the wire and {seen['closed']} in the handler")
    if seen["messages"] != bomb.messages or seen["inflated"] != bomb.messages * (BOMB // SMALL):
        wrong.append(f"{seen['messages']:,} messages of {seen['inflated']:,} bytes were handled")
    if seen["held_cpu"] >= MOST_HELD:
        wrong.append("the loop was held too long")
    if seen["growth"] >= MOST_GROWTH:
        wrong.append("too much memory was taken")
    return row, [f"{bomb.title}, {how}, {compressor}: {fault}" for fault in wrong]


def main() -> int:
    """Measure, print the table, and return the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.parse_args()
    settings = Settings(rounds=1, seconds=0, warmup=0, server_core=0, load_core=1)
    head = ["1 GiB of zeros as", "handler, compressors", "closed", "messages", "held (ms)", "CPU (ms)", "grown (MiB)"]
    print("| " + " | ".join(head) + " |")
    print("|---" * 2 + "|---:" * (len(head) - 2) + "|")
    faults: list[str] = []
    bombs = _bombs()
    try:
        for compressor in ("shared", "dedicated"):
            for bomb in bombs:
                for how in ("def", "async"):
                    row, wrong = _explode(bomb, how, compressor, settings)
                    faults += wrong
                    print("| " + " | ".join(row) + " |", flush=True)
    except (LoadError, MissingPeerError) as error:
        faults.append(str(error))
    print(f"\nMeasured on {environment()}.")
    print("\n".join(["", *(f"- FAILED: {fault}" for fault in faults)]) if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
