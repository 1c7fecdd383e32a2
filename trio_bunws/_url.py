"""Where a client connects: a WebSocket's URL or a proxy's, taken apart and checked before anything is sent.

Pure functions and values; `_client_options.py` and `_proxy.py` ask, and `_connect.py` goes there. Whoever else writes a
host and its port does it by `authority`. Sources: RFC 6455, section 3; the URL standard for what is percent-encoded;
Bun 1.4.5 (and `ws`) for unix sockets.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Final, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

PORTS: Final = {"ws": 80, "wss": 443}
PROXY_PORTS: Final = {"http": 80, "https": 443}
UNIX_SCHEMES: Final = ("ws+unix", "wss+unix")
UNIX_AUTHORITY: Final = "localhost"
"""The `Host` of a request over a unix socket, and the name that a certificate there must have; as Bun's."""
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
    """The value of the header for a user and password in the URL: basic authentication."""
    unix: str | None = None
    """The path of the unix socket to connect to, instead of host and port."""


def parse_url(url: object) -> Target:
    """Take a WebSocket URL apart: `ws://`, `wss://`, `ws+unix://` or `wss+unix://`.

    The latter two are `ws+unix:///path/of.sock`, and behind a colon what is asked for: `ws+unix:///path/of.sock:/chat`.

    Raises:
        TypeError: if it is no `str`.
        ValueError: if it is no such URL, or has no host (or path of a socket), a fragment, a space or a control
            character.
    """
    parts = _split("url", url)
    scheme = parts.scheme
    text = parts.geturl()
    if scheme not in PORTS and scheme not in UNIX_SCHEMES:
        raise ValueError(
            f"WebSocket expects url to begin with ws:// or wss:// (or ws+unix:// or wss+unix://), not {text!r}"
        )
    if "#" in str(url):
        raise ValueError(f"WebSocket expects url to have no fragment: leave out # and what follows in {url!r}")
    if scheme in UNIX_SCHEMES:
        return _unix_target(parts)
    host, port = _place("url", parts, PORTS)
    return Target(
        scheme == "wss",
        host,
        port,
        authority(host, None if port == PORTS[scheme] else port),
        _resource(parts.path or "/", parts.query),
        _authorization(parts),
    )


def parse_proxy(url: object) -> Target:
    """Take a proxy's URL apart: `http://` or `https://`; `authorization` is the one for the proxy.

    Raises as `parse_url`.
    """
    parts = _split("proxy", url)
    if parts.scheme not in PROXY_PORTS:
        raise ValueError(f"WebSocket expects proxy to begin with http:// or https://, not {parts.geturl()!r}")
    host, port = _place("proxy", parts, PROXY_PORTS)
    return Target(parts.scheme == "https", host, port, authority(host, port), "", _authorization(parts))


def authority(host: str, port: int | None) -> str:
    """Return host and port as URLs and `Host` have them: an IPv6 address in brackets."""
    name = f"[{host}]" if ":" in host else host
    return name if port is None else f"{name}:{port}"


def _split(argument: str, url: object) -> SplitResult:
    if not isinstance(url, str):
        raise TypeError(f"WebSocket expects {argument} to be a string, not {type(url).__name__}")
    if FORBIDDEN.search(url):
        raise ValueError(
            f"WebSocket expects {argument} to have no space and no control character (percent-encode them): {url!r}"
        )
    try:
        return urlsplit(url)
    except ValueError as exc:
        raise ValueError(f"WebSocket expects {argument} to be valid: {url!r}: {exc}") from None


def _place(argument: str, parts: SplitResult, ports: dict[str, int]) -> tuple[str, int]:
    """Return host and port."""
    url = parts.geturl()
    try:
        port = parts.port
        host = parts.hostname or ""
        host = host.encode("ascii" if host.isascii() else "idna").decode()
    except ValueError as exc:
        raise ValueError(f"WebSocket expects {argument} to be valid: {url!r}: {exc}") from None
    if not host or port == 0:
        raise ValueError(f"WebSocket expects {argument} to have a host and a port: {url!r}")
    return host, port or ports[parts.scheme]


def _unix_target(parts: SplitResult) -> Target:
    url = parts.geturl()
    if parts.netloc:
        raise ValueError(
            f"WebSocket expects url to have no host before a socket's path: three slashes, "
            f"as in {parts.scheme}:///path/of.sock, not {url!r}"
        )
    path, _, resource = parts.path.partition(":")
    path = unquote(path)
    if not path or "\0" in path:
        raise ValueError(
            f"WebSocket expects url to have a socket's path, as in {parts.scheme}:///path/of.sock: {url!r}"
        )
    resource = _resource("/" + resource.removeprefix("/"), parts.query)
    return Target(parts.scheme == "wss+unix", UNIX_AUTHORITY, 0, UNIX_AUTHORITY, resource, None, path)


def _resource(path: str, query: str) -> str:
    """Return a request's target."""
    return quote(path, SAFE) + ("?" + quote(query, SAFE) if query else "")


def _authorization(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Basic {b64encode(credentials.encode()).decode()}"
