"""A client's options, and the checks of `WebSocket`'s arguments; checks that a server needs too are in `_options.py`.

Pure functions and values: `_client.py` asks for them when a `WebSocket` is made, before anything is sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TypedDict

import trio
from attrs import frozen

from trio_bunws._handlers import WebSocketHandler
from trio_bunws._headers import TOKEN, Headers
from trio_bunws._options import check_deflate, check_int, check_timeout, check_tls
from trio_bunws._proxy import Proxy, check_proxy
from trio_bunws._url import Target, parse_url
from trio_bunws._wire.opening import OURS

if TYPE_CHECKING:
    import ssl

    from trio_bunws._headers import HeadersLike
    from trio_bunws._options import PerMessageDeflate

MAX_PING_TIME: Final = 86400.0
"""Seconds; the greatest `ping_interval` and `ping_timeout`."""


class WebSocketOptions(TypedDict, total=False):
    """The options of `WebSocket` that `reconnecting` passes on; they are described there."""

    headers: HeadersLike | None
    tls: ssl.SSLContext | None
    proxy: str | Proxy | None
    per_message_deflate: bool | PerMessageDeflate
    max_payload_length: int
    max_fragments: int
    backpressure_limit: int
    max_inbox: int
    open_timeout: float
    close_timeout: float
    ping_interval: float
    ping_timeout: float


@frozen(kw_only=True)
class ClientOptions:
    """What a `WebSocket` was made with, checked."""

    target: Target
    protocols: tuple[str, ...]
    headers: Headers
    tls: ssl.SSLContext | None
    proxy: Proxy | None
    stream: trio.abc.Stream | None
    open_timeout: float
    close_timeout: float
    ping_interval: float
    ping_timeout: float
    max_fragments: int
    handler: WebSocketHandler[None]


def check_options(  # the arguments are `WebSocket`'s
    url: object,
    protocols: object,
    *,
    headers: HeadersLike | None,
    tls: ssl.SSLContext | None,
    proxy: str | Proxy | None,
    stream: trio.abc.Stream | None,
    open_timeout: float,
    close_timeout: float,
    ping_interval: float,
    ping_timeout: float,
    max_fragments: int,
    per_message_deflate: bool | PerMessageDeflate,
    max_payload_length: int,
    backpressure_limit: int,
    max_inbox: int,
) -> ClientOptions:
    """Return the arguments of a `WebSocket`, or raise `TypeError` or `ValueError` for the first that is wrong."""
    target = parse_url(url)
    check_tls("WebSocket", tls)
    check_stream(stream)
    check_timeout("WebSocket", "open_timeout", open_timeout)
    check_timeout("WebSocket", "close_timeout", close_timeout)
    check_timeout("WebSocket", "ping_interval", ping_interval, maximum=MAX_PING_TIME)
    check_timeout("WebSocket", "ping_timeout", ping_timeout, maximum=MAX_PING_TIME)
    check_int("WebSocket", "max_fragments", max_fragments, 1)
    return ClientOptions(
        target=target,
        protocols=check_protocols(protocols),
        headers=check_headers(headers, target.authorization),
        tls=tls,
        proxy=check_proxy(proxy, target),
        stream=stream,
        open_timeout=open_timeout,
        close_timeout=close_timeout,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        max_fragments=max_fragments,
        handler=make_handler(
            per_message_deflate=per_message_deflate,
            max_payload_length=max_payload_length,
            backpressure_limit=backpressure_limit,
            max_inbox=max_inbox,
        ),
    )


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


def check_stream(stream: object) -> None:
    """Raise `TypeError` unless it is a stream or `None`."""
    if stream is not None and not isinstance(stream, trio.abc.Stream):
        raise TypeError(f"WebSocket expects stream to be a trio.abc.Stream, not {stream!r}")


def make_handler(
    *, per_message_deflate: bool | PerMessageDeflate, max_payload_length: int, backpressure_limit: int, max_inbox: int
) -> WebSocketHandler[None]:
    """Return a client's options as the handler that an engine wants; raise for those out of range."""
    check_deflate("WebSocket", "per_message_deflate", per_message_deflate)
    check_int("WebSocket", "max_payload_length", max_payload_length, 1)
    check_int("WebSocket", "backpressure_limit", backpressure_limit, 0)
    check_int("WebSocket", "max_inbox", max_inbox, 1)
    return WebSocketHandler(
        max_payload_length=max_payload_length,
        backpressure_limit=backpressure_limit,
        max_inbox=max_inbox,
        per_message_deflate=per_message_deflate,
        idle_timeout=0,
        send_pings=False,
    )
