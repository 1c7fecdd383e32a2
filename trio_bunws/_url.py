"""Where a client connects: a `ws:` or `wss:` URL, taken apart and checked before anything is sent.

Pure functions and values; `_client.py` asks, and `_connect.py` goes there. Sources: RFC 6455, section 3; the URL
standard for what is percent-encoded.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Final, NamedTuple
from urllib.parse import quote, unquote, urlsplit

PORTS: Final = {"ws": 80, "wss": 443}
FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f]")
SAFE: Final = "!$%&'()*+,-./:;=?@[]_~|"
"""What stays as it is in a request's target; a percent sign, because what is encoded already is not encoded again."""


class Target(NamedTuple):
    """What a URL says."""

    secure: bool
    """TLS."""
    host: str
    """The name or address to connect to."""
    port: int
    """The TCP port."""
    authority: str
    """The `Host` header: the host, and the port if it is not the scheme's."""
    resource: str
    """Path and query, the request's target."""
    authorization: str | None
    """The `Authorization` header for a user and password in the URL."""


def parse_url(url: object) -> Target:
    """Take a WebSocket URL apart.

    Raises:
        TypeError: if it is no `str`.
        ValueError: if it is no `ws:` or `wss:` URL, or has no host, a fragment, a space or a control character.
    """
    if not isinstance(url, str):
        raise TypeError(f"WebSocket expects url to be a string, not {type(url).__name__}")
    if FORBIDDEN.search(url):
        raise ValueError(f"WebSocket expects url to have no space and no control character: {url!r}")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna" if not url.isascii() else "ascii").decode()
    except ValueError as exc:
        raise ValueError(f"WebSocket expects url to be valid: {url!r}: {exc}") from None
    scheme = parts.scheme
    if scheme not in PORTS:
        raise ValueError(f"WebSocket expects url to begin with ws:// or wss://: {url!r}")
    if not host or port == 0:
        raise ValueError(f"WebSocket expects url to have a host and a port: {url!r}")
    if "#" in url:
        raise ValueError(f"WebSocket expects url to have no fragment: {url!r}")
    authority = f"[{host}]" if ":" in host else host
    if port not in (None, PORTS[scheme]):
        authority = f"{authority}:{port}"
    resource = quote(parts.path or "/", SAFE) + ("?" + quote(parts.query, SAFE) if parts.query else "")
    authorization = None
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {b64encode(credentials.encode()).decode()}"
    return Target(scheme == "wss", host, port or PORTS[scheme], authority, resource, authorization)
