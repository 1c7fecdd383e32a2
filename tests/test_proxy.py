"""A proxy as an option: what may be said of it, and what is a mistake that is named."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from trio_bunws import Headers, Proxy
from trio_bunws._proxy import check_proxy
from trio_bunws._url import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable

SERVER = parse_url("ws://h/")


def test_a_url_is_enough() -> None:
    proxy = check_proxy("http://me:p%40ss@gate:8080", SERVER)
    assert proxy is not None
    assert proxy == Proxy("http://me:p%40ss@gate:8080")
    assert (proxy._target.host, proxy._target.port, proxy._target.secure) == ("gate", 8080, False)
    assert proxy._request_headers() == Headers({"Proxy-Authorization": "Basic bWU6cEBzcw=="})
    assert check_proxy(None, SERVER) is None


def test_its_own_headers_are_kept_and_go_before_the_url_s_authorization() -> None:
    given = Headers({"X-Y": "z", "proxy-authorization": "Bearer t"})
    context = ssl.create_default_context()
    proxy = Proxy("https://me@gate", headers=given, tls=context)
    assert (proxy.url, proxy.tls) == ("https://me@gate", context)
    assert check_proxy(proxy, SERVER) is proxy
    assert proxy._request_headers() == given
    assert proxy._request_headers() is not proxy.headers
    assert (proxy._target.port, proxy._target.secure) == (443, True)
    assert Proxy("http://gate")._request_headers() == Headers()


@pytest.mark.parametrize(
    ("make", "error", "complaint"),
    [
        (lambda: check_proxy(7, SERVER), TypeError, "proxy to be a URL or a Proxy, not 7"),
        (lambda: check_proxy("gate:8080", SERVER), ValueError, "proxy to begin with http:// or https://"),
        (lambda: check_proxy("http://gate", parse_url("ws+unix:///s")), ValueError, "no proxy with a ws\\+unix"),
        (lambda: Proxy("http://gate", headers={"Host": "x"}), ValueError, "headers without Host"),
        (lambda: Proxy("http://gate", headers={"X": "a\nb"}), ValueError, "header"),
        (lambda: Proxy("http://gate", tls=True), TypeError, "tls to be an ssl.SSLContext"),  # type: ignore[arg-type]
    ],
)
def test_a_mistake_is_named(make: Callable[[], object], error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        make()
