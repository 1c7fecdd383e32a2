"""`Origins`: which web pages may open a WebSocket here; the allow-list against cross-site WebSocket hijacking.

Origins are taken apart and compared here, and nothing else: the application asks in its `fetch`, and decides what to
answer. Who the user is, an origin does not say. Sources: RFC 6454, sections 4 and 6; RFC 6455, section 10.2.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final, NoReturn, final

from trio_bunws._request import check_request

if TYPE_CHECKING:
    from trio_bunws._request import Request

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
NO_PAGE: Final = frozenset({"ws", "wss", "ftp", "file"})
"""Schemes that no page with an origin has: sockets are opened *to* ws:, and a file's origin is `null`."""
ORIGIN: Final = re.compile(
    r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?)(?::([0-9]{1,5}))?"
)


@final
class Origins:
    """The origins whose pages may open a WebSocket: `if not origins.check(request): return Response(status=403)`.

    With every WebSocket handshake a browser says which page's script it comes from, and sends the user's cookies,
    whatever page that is. So a server that knows its users by cookies must check the origin.

    An origin is scheme, host and port, as in `"https://example.org"` or `"http://127.0.0.1:3000"`. All three must be
    the same: another port, `http` for `https` or a subdomain are other origins, and there are no wildcards.

    Args:
        allowed: the origins, each a string. Case does not matter, a default port may be named or left out, and a host
            may be written in Unicode; what browsers send is compared.

    Raises:
        TypeError: if there is none, or one is not a string.
        ValueError: if one is not an origin that a page could have, such as a URL with a path; the message says why.
    """

    __slots__ = ("_allowed",)

    def __init__(self, *allowed: str) -> None:
        if not allowed:
            raise TypeError("Origins expects at least one origin")
        self._allowed: Final = frozenset(map(_checked, allowed))

    def check(self, request: Request) -> bool:
        """Return whether the page that made this request may open a WebSocket. Never checkpoints.

        True if the request's one `Origin` is allowed, and also if it has none: then no browser sent it, and programs
        can claim any origin. False for every other, `null` (sandboxed frames, local files) included, and for several.

        Raises:
            TypeError: if `request` is not a `Request`.
        """
        check_request("check", request)
        values = request.headers.getall("origin")
        return not values or (len(values) == 1 and _normal(values[0]) in self._allowed)

    def __repr__(self) -> str:
        return f"Origins({', '.join(map(repr, sorted(self._allowed)))})"


def _normal(origin: str) -> str | None:
    """Write an origin as browsers do; None if it is none."""
    # Only ASCII may be lowered: the Kelvin sign would become a "k".
    found = ORIGIN.fullmatch(origin.lower()) if origin.isascii() else None
    if found is None:
        return None
    scheme, host, port = found.groups()
    try:
        if host.startswith("["):
            host = f"[{IPv6Address(host[1:-1]).compressed}]"
        elif host.rpartition(".")[2].isdigit():
            host = str(IPv4Address(host))
    except AddressValueError:
        return None
    if port is None or int(port) == DEFAULT_PORTS.get(scheme):
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{int(port)}" if 0 < int(port) < 65536 else None


def _checked(value: object) -> str:
    """Return an allowed origin as browsers write it."""
    if not isinstance(value, str):
        raise TypeError(f"Origins expects strings, not {value!r}")

    def refuse(why: str) -> NoReturn:
        raise ValueError(f"Origins expects origins such as 'https://example.org', not {value!r}: {why}")

    if value.lower() == "null":
        refuse("every sandboxed frame and local file has this origin, so it would allow anybody's page")
    if "*" in value:
        refuse("there are no wildcards; name each origin")
    scheme, separator, rest = value.partition("://")
    if not separator:
        refuse("it has no scheme")
    if scheme.lower() in NO_PAGE:
        refuse("the scheme is that of the page, http or https, not that of the socket")
    host = re.split(r"[/?#\\]", rest)[0]
    if host != rest:
        refuse(f"an origin ends with the host or port; leave out {rest[len(host) :]!r}")
    if "@" in host:
        refuse("an origin has no user and no password")
    if not host.isascii():
        host = _punycode(host) or refuse("write its host as browsers send it, in punycode (xn--...)")
    return _normal(f"{scheme}://{host}") or refuse("its scheme, host or port is not valid")


def _punycode(host: str) -> str | None:
    """Write a Unicode host in ASCII; None if browsers might write it otherwise (theirs is a later standard)."""
    name, colon, port = host.lower().partition(":")
    try:
        encoded = name.encode("idna")
        # What does not come back unchanged is where the standards differ: "ß" is "ss" to the older one.
        same = encoded.decode("idna") == name
    except UnicodeError:
        return None
    return f"{encoded.decode()}{colon}{port}" if same else None
