"""The load generator: opens WebSockets to a server, sends prepared frames and checks every byte that comes back.

Connecting, handshakes and building frames happen here, outside the measured time; the measured loop is `_load.c`,
compiled when a benchmark starts, because one core of Python cannot keep the faster servers busy. Called by `_bench.py`
(`run`) and by the benchmarks themselves (which say what is sent); knows nothing of servers' processes or of reports.
"""

from __future__ import annotations

import ctypes
import os
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from _compile import compiled
from _tls import TlsSocket

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXT, BINARY = 0x81, 0x82  # first byte of an unfragmented frame
RSV1 = 0x40  # its bit for "compressed" (RFC 7692, section 6)
SMALL = 125  # bytes of the largest payload whose length fits the second byte
CONNECT_TIMEOUT = 10.0
RECOGNIZE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
# The example of RFC 6455, section 1.3: a key and the answer to it.
KEY, ACCEPT = b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


class LoadError(Exception):
    """The server did something else than it was asked for; the run is not valid."""


def _length(size: int, mask_bit: int) -> bytes:
    if size <= SMALL:
        return bytes([mask_bit | size])
    if size < 1 << 16:
        return bytes([mask_bit | 126]) + size.to_bytes(2, "big")
    return bytes([mask_bit | 127]) + size.to_bytes(8, "big")


def server_frame(first: int, payload: bytes) -> bytes:
    """The one way a server may write this message: one frame, unmasked, shortest length (RFC 6455, section 5.2)."""
    return bytes([first]) + _length(len(payload), 0) + payload


def client_frame(first: int, payload: bytes) -> bytes:
    """A masked frame with a random key, as a browser would send it."""
    size = len(payload)
    mask = os.urandom(4)
    stream = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")
    return bytes([first]) + _length(size, 0x80) + mask + masked.to_bytes(size, "big")


def build_library() -> ctypes.CDLL:
    """The compiled `_load.c`. `FileNotFoundError`, saying what to install, if there is no C compiler."""
    library = compiled("_load.c")
    handle, count, size, number, text = (
        ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_uint64, ctypes.c_char_p,
    )  # fmt: skip
    ends = ctypes.POINTER(ctypes.c_uint64)
    for name, result, arguments in (
        ("load_new", handle, [count, count]),
        ("load_free", None, [handle]),
        ("load_client", None, [handle, count, count, text, size, number, number]),
        ("load_tls", None, [handle, count, handle, handle, handle]),
        ("load_expect", None, [handle, count, text, size]),
        ("load_rounds", None, [handle, number]),
        ("load_echo", None, [handle, size, size, count]),
        ("load_fanout", None, [handle, count, count, count, RECOGNIZE]),
        ("load_parts", None, [handle, count, ends]),
        ("load_run", count, [handle, ctypes.c_double, ctypes.c_double]),
        ("load_received", number, [handle]),
        ("load_bytes", number, [handle]),
        ("load_elapsed", ctypes.c_double, [handle]),
        ("load_error", text, [handle]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@dataclass(frozen=True)
class Window:
    """What was counted in one measured stretch of time (seconds)."""

    messages: int
    wire: int
    """Bytes of the frames received; 0 where only messages are counted."""

    elapsed: float
    cpu: float
    """Seconds of processor time (user and system) the load generator itself took."""


class Script(Protocol):
    """What a benchmark asks for: who connects, what they send, and what must come back."""

    paths: list[str]
    """The request target of each client, in order of connection."""

    greeting: bytes
    """The frame every client gets before anything is sent; empty: none."""

    offer: str
    """What the clients offer as `Sec-WebSocket-Extensions`; empty: nothing."""

    def accepts(self, answer: str) -> bool:
        """Whether this is what the server must answer to the offer."""
        ...

    def load(self, library: ctypes.CDLL, fds: list[int]) -> int:
        """Hand the prepared bytes to a new `struct load` and return it."""
        ...


class Uncompressed:
    """The part of a `Script` that offers nothing."""

    offer = ""

    def accepts(self, answer: str) -> bool:
        """See `Script`."""
        return not answer


def upgrade_request(port: int, path: str, offer: str = "") -> bytes:
    """What a client asks for."""
    extensions = f"Sec-WebSocket-Extensions: {offer}\r\n" if offer else ""
    return (
        b"GET %b HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n%b\r\n"
        % (path.encode("ascii"), port, KEY, extensions.encode("ascii"))
    )


def _connect(port: int, path: str, script: Script, *, tls: bool) -> tuple[socket.socket | TlsSocket, bytes]:
    """Open one WebSocket; the socket and what came after the head of the answer."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=CONNECT_TIMEOUT)
    # What every WebSocket client does, browsers too; without it Nagle's algorithm would be what is measured.
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = TlsSocket(plain) if tls else plain
    connection.sendall(upgrade_request(port, path, script.offer))
    received = b""
    while b"\r\n\r\n" not in received:
        data = connection.recv(4096)
        if not data:
            raise LoadError(f"the server closed the connection in the handshake after {received!r}")
        received += data
    head, _, rest = received.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    answers = [line.partition(b":")[2] for line in lines if line.lower().startswith(b"sec-websocket-extensions:")]
    answer = b",".join(answers).decode("latin-1").strip()
    if b" 101 " not in status or ACCEPT not in head or not script.accepts(answer):
        raise LoadError(f"the server answered the handshake with {head!r}")
    return connection, rest


class Clients:
    """All clients of one round, connected; a context manager that closes them."""

    def __init__(
        self,
        library: ctypes.CDLL,
        port: int,
        script: Script,
        *,
        tls: bool = False,
        opened: Sequence[socket.socket] | None = None,
    ) -> None:
        """Open them all, or take over those that were `opened` already."""
        self._library = library
        self._script = script
        self._tls = tls
        self._sockets: list[socket.socket | TlsSocket] = list(opened or ())
        self._load: int | None = None
        try:
            started = [self._open(port, path) for path in script.paths] if opened is None else [b""] * len(opened)
            for connection, rest in zip(self._sockets, started, strict=True):
                self._await_greeting(connection, rest)
                connection.settimeout(0)
            load = self._load = script.load(library, [connection.fileno() for connection in self._sockets])
            for index, connection in enumerate(self._sockets):
                if isinstance(connection, TlsSocket):
                    connection.hand_over(library, load, index)
        except BaseException:
            self.close()
            raise

    def _open(self, port: int, path: str) -> bytes:
        connection, rest = _connect(port, path, self._script, tls=self._tls)
        self._sockets.append(connection)
        return rest

    def _await_greeting(self, connection: socket.socket | TlsSocket, received: bytes) -> None:
        greeting = self._script.greeting
        while len(received) < len(greeting):
            data = connection.recv(len(greeting) - len(received))
            if not data:
                raise LoadError("the server closed the connection before all clients had been greeted")
            received += data
        if received != greeting:
            raise LoadError(f"the server greeted with {received!r} instead of {greeting!r}")

    def run(self, seconds: float, cap: float) -> Window:
        """Load the server for `seconds`, on to the end of a round if it ends before `cap`."""
        cpu = time.process_time()
        failed = self._library.load_run(self._load, seconds, cap)
        cpu = time.process_time() - cpu
        if failed:
            raise LoadError(self._library.load_error(self._load).decode("utf-8", "replace"))
        return Window(
            messages=self._library.load_received(self._load),
            wire=self._library.load_bytes(self._load),
            elapsed=self._library.load_elapsed(self._load),
            cpu=cpu,
        )

    def close(self) -> None:
        for connection in self._sockets:
            connection.close()
        if self._load is not None:
            self._library.load_free(self._load)
            self._load = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
