"""WebSocket URLs, taken apart: what is asked of which host, and what is no such URL."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from trio_bunws._url import Target, authority, parse_proxy, parse_url


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("ws://example.com", Target(False, "example.com", 80, "example.com", "/", None)),
        ("WSS://Example.com/", Target(True, "example.com", 443, "example.com", "/", None)),
        ("ws://example.com:80/a?b=1", Target(False, "example.com", 80, "example.com", "/a?b=1", None)),
        ("wss://example.com:80", Target(True, "example.com", 80, "example.com:80", "/", None)),
        ("ws://[::1]:3000/x", Target(False, "::1", 3000, "[::1]:3000", "/x", None)),
        ("ws://h/grün/%20?q=ü&r=%41", Target(False, "h", 80, "h", "/gr%C3%BCn/%20?q=%C3%BC&r=%41", None)),
        ("ws://bücher.example/", Target(False, "xn--bcher-kva.example", 80, "xn--bcher-kva.example", "/", None)),
        ("ws://me:p%40ss@h/", Target(False, "h", 80, "h", "/", "Basic bWU6cEBzcw==")),
        ("ws://me@h/", Target(False, "h", 80, "h", "/", "Basic bWU6")),
        ("ws+unix:///a/b.sock", Target(False, "localhost", 0, "localhost", "/", None, "/a/b.sock")),
        ("WSS+unix:///a/b.sock:/c/d?e=:f", Target(True, "localhost", 0, "localhost", "/c/d?e=:f", None, "/a/b.sock")),
        ("ws+unix:a.sock:c", Target(False, "localhost", 0, "localhost", "/c", None, "a.sock")),
        ("ws+unix:///a%20b%3Ac?x=1", Target(False, "localhost", 0, "localhost", "/?x=1", None, "/a b:c")),
    ],
)
def test_a_url_is_taken_apart(url: str, target: Target) -> None:
    assert parse_url(url) == target


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://h/", "ws:// or wss:// .or ws.unix://"),
        ("h", "ws:// or wss://"),
        ("ws:///path", "a host"),
        ("ws://:80/", "a host"),
        ("ws://h:0/", "a port"),
        ("ws://h:99999/", "to be valid"),
        ("ws://[::1/", "to be valid"),
        ("ws://ü..example/", "to be valid"),
        ("ws://h/#part", "no fragment"),
        ("ws://h/#", "no fragment"),
        ("ws+unix:///a.sock#x", "no fragment"),
        ("ws+unix://", "a socket's path"),
        ("ws+unix:///a%00b", "a socket's path"),
        ("ws+unix://h/a.sock", "three slashes"),
        ("ws://h/a b", "no space"),
        ("ws://h/\r\nX: y", "no control character"),
        ("ws://h/\n", "no control character"),
    ],
)
def test_what_is_no_websocket_url_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_url(url)


def test_a_url_is_a_string() -> None:
    with pytest.raises(TypeError, match="url to be a string, not bytes"):
        parse_url(b"ws://h/")


@given(rest=st.text())
def test_whatever_a_url_says_its_target_is_a_request_s(rest: str) -> None:
    try:
        target = parse_url(f"ws://h/{rest}")
    except ValueError:
        return
    assert target.resource.isascii()
    assert not set(target.resource) & set(" \r\n\t#")


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://gate", Target(False, "gate", 80, "gate:80", "", None)),
        ("https://[::1]:3128/", Target(True, "::1", 3128, "[::1]:3128", "", None)),
        ("http://me:p%3Aw@gate:1", Target(False, "gate", 1, "gate:1", "", "Basic bWU6cDp3")),
    ],
)
def test_a_proxy_s_url_is_taken_apart(url: str, target: Target) -> None:
    assert parse_proxy(url) == target


@pytest.mark.parametrize("url", ["socks5://h", "gate:80", "http://", "", "http://h:x/", "http://h\r\n"])
def test_what_is_no_proxy_s_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="WebSocket expects proxy to"):
        parse_proxy(url)


def test_a_host_is_named_with_its_port_if_there_is_one() -> None:
    assert authority("h", None) == "h"
    assert authority("::1", 80) == "[::1]:80"
