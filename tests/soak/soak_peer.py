"""One client of the soak test: its socket, what it has sent and must still hear, and every check of what it hears.

It sends "<number> <what> ..." with numbers that count up, and the server refuses to miss one. Echoes carry that number.
What is published to a room carries the room's own number and its sender's; a subscription begins and ends with the
room's number at that moment, so that a member knows exactly which messages are its own to get. `soak.py` calls.
"""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random

READ: Final = 64 * 1024
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
FILLING: Final = "0123456789abcdef" * 2048
FLOOD: Final = "flood"
KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
SLOW_BUFFER: Final = 4096
RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing is a reset."""


class Wrong(Exception):
    """The server lost, doubled or invented something."""


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """Return a masked frame."""
    size = len(payload)
    key = os.urandom(4)
    stream = (key * (size // 4 + 1))[:size]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
    return bytes([fin << 7 | opcode]) + length + key + masked


class Peer:
    """One connection."""

    def __init__(self, port: int, name: str, random: Random, *, slow: bool) -> None:
        self.name = name
        self.slow = slow
        self.is_open = False
        self.closing = False
        self.ended = False
        self.close_code = 0
        self.messages_in = 0
        self.missed = 0
        """Messages of the flood that a slow reader has not got."""
        self.counted = 0
        """What the server says to that."""
        self._random = random
        self._number = 0
        self._echoes: deque[tuple[int, str]] = deque()
        self._rooms: dict[str, int] = {}
        """The rooms that it is subscribed to, with the number of the last message."""
        self._asked: dict[int, str] = {}  # not yet answered: the room that it is about, or "count"
        self._input = bytearray()
        self.socket = socket.socket()
        if slow:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER)
        self.socket.settimeout(10)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(0)
        head = (
            f"GET /?name={name} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        self.socket.sendall(head.encode())

    # Sending

    def _ask(self, what: str) -> int:
        self._number += 1
        payload = f"{self._number} {what}".encode()
        # The first one too: what the server builds for a socket at its first fragment is there from the beginning,
        # and so does not count as growth.
        if self._number == 1 or not self._random.randrange(50):
            cut = self._random.randrange(1, len(payload))
            data = frame(TEXT, payload[:cut], fin=False) + frame(0, payload[cut:])
        else:
            data = frame(TEXT, payload)
        # These are few and small: that the kernel does not take them would mean that the server does not read.
        self.socket.sendall(data)
        return self._number

    def echo(self) -> None:
        """Send something that comes back."""
        size = self._random.randrange(20_000) if not self._random.randrange(100) else self._random.randrange(200)
        filling = FILLING[:size]
        self._echoes.append((self._ask(f"echo {filling}"), filling))

    def subscribe(self, room: str) -> None:
        """Enter a room, unless it is in it; counts when the answer is here."""
        if room not in self._rooms and room not in self._asked.values():
            self._asked[self._ask(f"sub {room}")] = room

    def unsubscribe(self) -> None:
        """Leave a room, if it is in one."""
        rooms = [room for room in self._rooms if room not in self._asked.values()]
        if rooms:
            room = self._random.choice(rooms)
            self._asked[self._ask(f"unsub {room}")] = room

    def publish(self) -> None:
        """Send something to a room in which it is."""
        rooms = [room for room in self._rooms if room not in self._asked.values()]
        if rooms:
            what = self._random.choice(["publish", "say"])
            self._ask(f"{what} {self._random.choice(rooms)} {FILLING[: self._random.randrange(200)]}")

    def count(self) -> None:
        """Ask how much the server has dropped."""
        self._asked[self._ask("count ")] = "count"

    def close(self) -> None:
        """Begin the close handshake."""
        self.closing = True
        self.socket.sendall(frame(CLOSE, struct.pack(">H", 1000)))

    def vanish(self) -> None:
        """Go without a word: a reset, or the end of the stream."""
        if self._random.randrange(2):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.end()

    def end(self) -> None:
        """Close the socket."""
        self.ended = True
        self.socket.close()

    @property
    def rooms(self) -> int:
        """How many rooms it is in."""
        return len(self._rooms)

    @property
    def quiet(self) -> bool:
        """Whether it has been told everything that it has asked for."""
        return self.is_open and not self._echoes and not self._asked

    # Receiving

    def read(self) -> None:
        """Read once, and check what came."""
        try:
            data = self.socket.recv(READ)
        except BlockingIOError:
            return
        if not data:
            if not self.close_code:
                raise Wrong(f"{self.name}: the stream ended without a Close")
            self.end()
            return
        self._input += data
        if not self.is_open:
            head, found, rest = bytes(self._input).partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                raise Wrong(f"{self.name}: {head!r}")
            self.is_open = True
            self._input[:] = rest
        self._take_frames()

    def _take_frames(self) -> None:
        data = self._input
        at = 0
        while len(data) >= at + 2:
            size = data[at + 1]
            start = at + 2
            if size == 126:
                if len(data) < at + 4:
                    break
                size = data[at + 2] << 8 | data[at + 3]
                start = at + 4
            elif size > 126:
                raise Wrong(f"{self.name}: a message so long that nobody has sent it")
            if len(data) < start + size:
                break
            self._take(data[at], bytes(data[start : start + size]))
            at = start + size
        del data[:at]

    def _take(self, first: int, payload: bytes) -> None:
        if self.close_code:
            raise Wrong(f"{self.name}: a frame after the Close")
        match first:
            case 0x81:
                self.messages_in += 1
                self._hear(payload.decode())
            case 0x88:
                self._hear_close(payload)
            case 0x89:
                self.socket.sendall(frame(PONG, payload))
            case _:
                raise Wrong(f"{self.name}: a frame that begins with {first:#x}")

    def _hear_close(self, payload: bytes) -> None:
        self.close_code = int.from_bytes(payload[:2], "big")
        if self._echoes:
            raise Wrong(f"{self.name}: closed with {self.close_code}, and {len(self._echoes)} echoes are missing")
        if not self.closing:
            self.closing = True
            self.socket.sendall(frame(CLOSE, payload[:2]))

    def _hear(self, text: str) -> None:
        kind, rest = text.split(" ", 1)
        match kind:
            case "echo":
                number, filling = rest.split(" ", 1)
                expected = self._echoes.popleft() if self._echoes else None
                if expected != (int(number), filling):
                    raise Wrong(f"{self.name}: echo {number} instead of {expected and expected[0]}")
            case "room":
                room, number, sender, its_number, _ = rest.split(" ", 4)
                self._hear_room(room, int(number))
                if sender == self.name and int(its_number) > self._number:
                    raise Wrong(f"{self.name}: did not send {its_number}")
            case "own":
                room, number = rest.split(" ")
                self._hear_room(room, int(number))
            case "sub":
                room, number = rest.split(" ")
                self._answered(room)
                self._rooms[room] = int(number)
            case "unsub":
                room, number = rest.split(" ")
                self._answered(room)
                if self._rooms.pop(room) != int(number):
                    raise Wrong(f"{self.name}: missed the last messages to {room}")
            case "count":
                number, drops, flood = rest.split(" ")
                self._hear_room(FLOOD, int(flood) + 1)
                self._rooms[FLOOD] -= 1
                self._hear_count(int(number), int(drops))
            case _:
                raise Wrong(f"{self.name}: {text[:100]!r}")

    def _answered(self, room: str) -> None:
        for number, asked in self._asked.items():
            if asked == room:
                del self._asked[number]
                return
        raise Wrong(f"{self.name}: an answer about {room} that it did not ask for")

    def _hear_room(self, room: str, number: int) -> None:
        last = self._rooms.get(room)
        if last is None:
            raise Wrong(f"{self.name}: a message to {room}, where it is not")
        missing = number - last - 1
        if missing < 0 or (missing and not self.slow):
            raise Wrong(f"{self.name}: message {number} to {room} after {last}")
        self.missed += missing
        self._rooms[room] = number

    def _hear_count(self, number: int, drops: int) -> None:
        """Compare; an answer to an earlier question that never came was dropped as well."""
        lost = [asked for asked in self._asked if asked < number]
        for asked in (*lost, number):
            del self._asked[asked]
        self.missed += len(lost)
        self.counted = drops
        if self.missed != drops:
            raise Wrong(f"{self.name}: {self.missed} messages are missing, and the server says that it dropped {drops}")
