"""TLS of the benchmarks: a certificate for the servers, and sockets of the load generator that speak it.

The C beside it, `_tls.c`, is compiled when the first such socket is wanted, with the headers of OpenSSL. Called by the
benchmarks (`certificate`) and `_load.py` (`TlsSocket`).
"""

from __future__ import annotations

import ctypes
import socket
import struct
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from _compile import compiled

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = struct.pack("ll", 10, 0)
"""Seconds that a handshake may wait for the server."""


@contextmanager
def certificate() -> Iterator[str]:
    """The path of a PEM file with a new key and its certificate, for `--tls` of the servers.

    Raises:
        FileNotFoundError: there can be no TLS here; says what to install.
    """
    _library()
    try:
        import trustme  # noqa: PLC0415  # wanted for one workload only
    except ImportError:
        raise FileNotFoundError("TLS needs trustme: pip install -r benchmarks/peers/requirements.txt") from None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "server.pem")
        path.write_bytes(trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.bytes())
        yield str(path)


@cache
def _library() -> ctypes.CDLL:
    try:
        library = compiled("_tls.c", "-lssl", "-lcrypto")
    except RuntimeError as error:
        raise FileNotFoundError(f"TLS needs the headers of OpenSSL (Debian: apt install libssl-dev): {error}") from None
    handle, size = ctypes.c_void_p, ctypes.c_size_t
    for name, result, arguments in (
        ("tls_connect", handle, [ctypes.c_int]),
        ("tls_free", None, [handle]),
        ("tls_recv_some", ctypes.c_ssize_t, [handle, ctypes.c_char_p, size]),
        ("tls_send", ctypes.c_ssize_t, [handle, ctypes.c_char_p, size]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class TlsSocket:
    """As much of a socket as `_load.Clients` needs, for a handshake that blocks and a hot loop that does not."""

    def __init__(self, plain: socket.socket) -> None:
        self._library = _library()
        self._plain = plain
        plain.setblocking(True)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, TIMEOUT)
        self._tls: int | None = self._library.tls_connect(plain.fileno())
        if self._tls is None:
            plain.close()
            raise OSError("the TLS handshake failed")

    def hand_over(self, library: ctypes.CDLL, load: int, index: int) -> None:
        """Let this client of `load` speak through TLS."""
        pointers = [
            ctypes.cast(function, ctypes.c_void_p) for function in (self._library.tls_recv, self._library.tls_send)
        ]
        library.load_tls(load, index, self._tls, *pointers)

    def sendall(self, data: bytes) -> None:
        """Send `data`, which is short."""
        if self._library.tls_send(self._tls, data, len(data)) != len(data):
            raise OSError("sending over TLS failed")

    def recv(self, size: int) -> bytes:
        """Return what one record brings; empty at the end."""
        buffer = ctypes.create_string_buffer(size)
        length = self._library.tls_recv_some(self._tls, buffer, size)
        if length < 0:
            raise OSError("receiving over TLS failed")
        return buffer.raw[:length]

    def settimeout(self, seconds: int) -> None:
        """Switch to the hot loop: `seconds` is 0."""
        self._plain.settimeout(seconds)

    def fileno(self) -> int:
        """Return the descriptor of the socket below."""
        return self._plain.fileno()

    def close(self) -> None:
        """Close the socket; TLS is not told."""
        if self._tls is not None:
            self._library.tls_free(self._tls)
            self._tls = None
        self._plain.close()
