"""The checks of a client's own options; those of every option of the package are in `_options.py`.

Pure functions, called when a `WebSocket` is made, before anything is sent.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import TYPE_CHECKING

import trio

from trio_bunws._endpoint import BINARY_TYPES, BinaryType
from trio_bunws._headers import TOKEN, Headers
from trio_bunws._wire.opening import OURS

if TYPE_CHECKING:
    from trio_bunws._headers import HeadersLike


def check_protocols(protocols: object) -> tuple[str, ...]:
    """Return the subprotocols to offer; raise unless they are different tokens."""
    names = (protocols,) if isinstance(protocols, str) else () if protocols is None else protocols
    if not isinstance(names, Iterable):
        raise TypeError(f"WebSocket expects protocols to be a string or several, not {protocols!r}")
    found: list[str] = []
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"WebSocket expects protocols to be strings, not {name!r}")
        if TOKEN.fullmatch(name) is None or name in found:
            raise ValueError(f"WebSocket expects protocols to be different tokens of HTTP, not {name!r}")
        found.append(name)
    return tuple(found)


def check_headers(headers: HeadersLike | None, authorization: str | None) -> Headers:
    """Return the request's further headers, with the URL's `authorization` unless they have one.

    Raises:
        TypeError, ValueError: as `Headers`, and for one that the handshake sets itself.
    """
    checked = Headers() if headers is None else Headers(headers)
    for name in checked:
        if name.lower() in OURS:
            raise ValueError(f"WebSocket expects headers without {name}, which the handshake sets itself")
    if authorization is not None and "authorization" not in checked:
        checked.append("Authorization", authorization)
    return checked


def check_tls(tls: object) -> None:
    """Raise `TypeError` unless it is a context or `None`."""
    if tls is not None and not isinstance(tls, ssl.SSLContext):
        raise TypeError(f"WebSocket expects tls to be an ssl.SSLContext, not {tls!r}")


def check_stream(stream: object) -> None:
    """Raise `TypeError` unless it is a stream or `None`."""
    if stream is not None and not isinstance(stream, trio.abc.Stream):
        raise TypeError(f"WebSocket expects stream to be a trio.abc.Stream, not {stream!r}")


def check_binary_type(value: object) -> BinaryType:
    """Return the kind of binary messages that a name stands for; raise `ValueError` for another."""
    if not isinstance(value, str) or value not in BINARY_TYPES:
        raise ValueError(f"binary_type expects one of {', '.join(map(repr, BINARY_TYPES))}, not {value!r}")
    return BINARY_TYPES[value]
