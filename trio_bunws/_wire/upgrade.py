"""The opening handshake of a WebSocket, the server's side, without I/O: is this request one, and what answers it.

It decides nothing that is the application's (origin, path). The session asks `check_handshake`; the server makes the
`response_101`, which the connection sends.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha1
from typing import TYPE_CHECKING, Final, NamedTuple

from trio_bunws._headers import TOKEN

if TYPE_CHECKING:
    from trio_bunws._headers import Headers
    from trio_bunws._wire.http import RequestHead

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")
"""Base64 of 16 bytes."""
OUR_VERSION: Final = [(b"Sec-WebSocket-Version", b"13"), (b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]
"""RFC 6455, section 4.4, and RFC 9110, section 15.5.22."""
OURS: Final = frozenset(
    {
        "upgrade",
        "connection",
        "content-length",
        "transfer-encoding",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
    }
)
"""Fields of a 101 that the application does not write; a `Sec-WebSocket-Protocol` of its own is only a proposal."""


class Handshake(NamedTuple):
    """A valid handshake: what the answer needs of it."""

    key: bytes
    protocols: tuple[str, ...]
    """Subprotocols that the client offers, in its order."""
    extensions: str
    """The client's offers, joined to one header; may be nonsense, but is ASCII."""


class Refusal(NamedTuple):
    """A handshake that the server itself refuses: the answer, after which the connection is to be closed."""

    status: int
    reason: str
    fields: list[tuple[bytes, bytes]]


def check_handshake(head: RequestHead) -> Handshake | Refusal | None:
    """Return the handshake that the request is, its refusal, or None if it is an ordinary request (RFC 6455, 4.2.1)."""
    key = head.single.get(b"sec-websocket-key")
    if key is None or head.method != b"GET" or head.http_version == b"1.0" or KEY.fullmatch(key) is None:
        return None
    lists: dict[bytes, list[bytes]] = {
        b"upgrade": [],
        b"connection": [],
        b"sec-websocket-protocol": [],
        b"sec-websocket-extensions": [],
    }
    for name, value in head.fields:
        if name in lists:
            lists[name].append(value)
    upgrade, connection, protocols, extensions = (b", ".join(values) for values in lists.values())
    if b"websocket" not in _tokens(upgrade.lower()) or b"upgrade" not in _tokens(connection.lower()):
        return None
    if head.has_body:
        return Refusal(400, "a WebSocket handshake has no body", [])
    if head.single.get(b"sec-websocket-version") != b"13":
        return Refusal(426, "the WebSocket version spoken here is 13", OUR_VERSION)
    offered = dict.fromkeys(_tokens(protocols)) if protocols else ()
    return Handshake(
        key,
        tuple(name for name in map(bytes.decode, offered) if TOKEN.fullmatch(name)),
        extensions.decode("ascii"),
    )


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip(b" \t") for token in value.split(b",")]


def accept_token(key: bytes) -> bytes:
    """Return the ``Sec-WebSocket-Accept`` that answers ``key``."""
    return b64encode(sha1(key + GUID, usedforsecurity=False).digest())


def select_subprotocol(handshake: Handshake, protocol: str | None, headers: Headers) -> str | None:
    """Return the subprotocol to answer: the application's, by ``protocol`` or by header, if the client offered it."""
    chosen = headers.get("sec-websocket-protocol") if protocol is None else protocol
    return chosen if chosen in handshake.protocols else None


def response_101(handshake: Handshake, headers: Headers, subprotocol: str | None, extensions: str = "") -> bytes:
    """Return the response that accepts the handshake.

    Args:
        handshake: what the client sent.
        headers: the application's; those that are `OURS` are left out.
        subprotocol: what `select_subprotocol` gave.
        extensions: the value of ``Sec-WebSocket-Extensions``; empty: none.
    """
    parts = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        accept_token(handshake.key),
    ]
    if subprotocol is not None:
        parts += [b"\r\nSec-WebSocket-Protocol: ", subprotocol.encode("ascii")]
    if extensions:
        parts += [b"\r\nSec-WebSocket-Extensions: ", extensions.encode("ascii")]
    parts += [b"\r\n%s: %s" % field for field in headers.raw() if field[0].decode().lower() not in OURS]
    parts.append(b"\r\n\r\n")
    return b"".join(parts)
