"""`Proxy`: the HTTP proxy through which a client reaches the server, and what is said to it.

Values only; `_client_options.py` takes one, and `_connect.py` asks it for a tunnel (CONNECT).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from trio_bunws._headers import Headers
from trio_bunws._options import check_tls
from trio_bunws._url import Target, parse_proxy

if TYPE_CHECKING:
    import ssl

    from trio_bunws._headers import HeadersLike

OURS: Final = frozenset({"host", "content-length", "transfer-encoding"})
"""Fields of the CONNECT request that the application does not write."""


def _check_tls(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:  # noqa: ARG001  # as attrs calls it
    check_tls("Proxy", value)


def _to_headers(headers: HeadersLike | None) -> Headers:
    checked = Headers() if headers is None else Headers(headers)
    for name in checked:
        if name.lower() in OURS:
            raise ValueError(f"Proxy expects headers without {name}, which the request sets itself")
    return checked


def _parsed(proxy: Proxy) -> Target:
    return parse_proxy(proxy.url)


@attrs.frozen
class Proxy:
    """An HTTP proxy that needs more than its URL: `WebSocket(url, proxy=Proxy(...))`.

    Raises:
        TypeError, ValueError: if an argument is of the wrong type, or not such a URL or header.
    """

    url: str = attrs.field()
    """`http://` or `https://`; a user and password in it are sent as basic authentication."""
    headers: Headers = attrs.field(default=None, converter=_to_headers, kw_only=True)
    """Headers for the proxy alone, such as `Proxy-Authorization`. Default: none."""
    tls: ssl.SSLContext | None = attrs.field(default=None, validator=_check_tls, kw_only=True)
    """The context for an `https://` proxy. Default: that of the `WebSocket`."""
    _target: Target = attrs.field(default=attrs.Factory(_parsed, takes_self=True), init=False, repr=False, eq=False)

    def _request_headers(self) -> Headers:
        """Return what the proxy is told: `headers`, with the URL's authorization unless they have one."""
        headers = Headers(self.headers)
        if self._target.authorization is not None and "proxy-authorization" not in headers:
            headers.append("Proxy-Authorization", self._target.authorization)
        return headers


def check_proxy(proxy: object, target: Target) -> Proxy | None:
    """Return the proxy to use for a target.

    Raises:
        TypeError, ValueError: if it is no proxy, or the target is a unix socket.
    """
    if proxy is None:
        return None
    if isinstance(proxy, str):
        proxy = Proxy(proxy)
    elif not isinstance(proxy, Proxy):
        raise TypeError(f"WebSocket expects proxy to be a URL or a Proxy, not {proxy!r}")
    if target.unix is not None:
        raise ValueError("WebSocket expects no proxy with a ws+unix:// or wss+unix:// url, which leads to this machine")
    return proxy
