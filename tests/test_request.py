"""`Request`: what is parsed from a head, and how a body may be read.

Covers `trio_bunws._request` alone; the session is a small fake.
"""

from __future__ import annotations

import json
import sys
from typing import cast

import pytest

from trio_bunws._headers import Headers
from trio_bunws._request import Request, Upgrade, check_request


class FakeExchange:
    """A session that gives these chunks."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = list(chunks)
        self.timeouts: list[float] = []

    async def read_body(self) -> bytes:
        return self.chunks.pop(0) if self.chunks else b""

    def set_timeout(self, seconds: float) -> None:
        self.timeouts.append(seconds)


def get(target: str, *lines: str, tls: bool = False) -> Request:
    head = "\r\n".join([f"GET {target} HTTP/1.1", "Host: example.org:8080", *lines, "", ""])
    return Request(head.encode("latin-1"), tls=tls)


def post(*chunks: bytes) -> tuple[Request, FakeExchange]:
    exchange = FakeExchange(*chunks)
    return Request(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", exchange), exchange


def test_the_request_line() -> None:
    request = get("/a?b")
    assert request.method == "GET"
    assert request.http_version == "1.1"
    assert repr(request) == "<Request GET http://example.org:8080/a>"


def test_the_repr_shows_no_query_and_no_password() -> None:
    assert repr(get("http://ada:hunter2@example.org/a?token=hunter2")) == "<Request GET http://example.org/a>"
    assert repr(get("/a?token=hunter2&at=a@b")) == "<Request GET http://example.org:8080/a>"


def test_the_url_has_the_scheme_of_the_connection_and_the_clients_host() -> None:
    assert get("/a%20b?c=d").url == "http://example.org:8080/a%20b?c=d"
    assert get("/", tls=True).url == "https://example.org:8080/"


def test_a_host_may_be_missing_in_http_1_0() -> None:
    request = Request(b"GET /a HTTP/1.0\r\n\r\n")
    assert request.url == "http://localhost/a"
    assert request.http_version == "1.0"


@pytest.mark.parametrize(
    ("target", "url", "path", "query"),
    [
        ("/", "http://example.org:8080/", "/", []),
        ("/a/b?x=1", "http://example.org:8080/a/b?x=1", "/a/b", [("x", "1")]),
        ("/a#b?c", "http://example.org:8080/a#b?c", "/a", []),
        ("*", "http://example.org:8080", "*", []),
        ("http://other/p?x=1", "http://other/p?x=1", "/p", [("x", "1")]),
        ("http://other?x=/", "http://other?x=/", "/", [("x", "/")]),
        ("http://other", "http://other", "/", []),
        ("/a%20b%C3%A9%FF?", "http://example.org:8080/a%20b%C3%A9%FF?", "/a b\xe9\ufffd", []),
    ],
)
def test_the_target_in_all_its_forms(target: str, url: str, path: str, query: list[tuple[str, str]]) -> None:
    request = get(target)
    assert request.url == url
    assert request.path == path
    assert request.query.items() == query


def test_the_query_is_decoded_and_keeps_repeats_and_blanks() -> None:
    query = get("/?name=J+%C3%A9&tag=a&tag=b&blank=&none").query
    assert query.get("name") == "J \xe9"
    assert query.getall("tag") == ["a", "b"]
    assert query.get("blank") == query.get("none") == ""
    assert query.get("other", "guest") == "guest"


def test_headers_are_read_as_latin_1() -> None:
    request = get("/", "X-Name: \xe9", "Accept: a", "Accept: b")
    assert request.headers["x-name"] == "\xe9"
    assert request.headers["accept"] == "a, b"
    assert request.headers is request.headers


def test_cookies_are_percent_decoded_and_the_first_of_a_name_counts() -> None:
    request = get("/", 'Cookie: a=1; b="x y";c=%20z%zz; a=2; d; =e;;', "Cookie: f=g=h")
    assert request.cookies == {"a": "1", "b": '"x y"', "c": " z%zz", "f": "g=h"}
    assert request.cookies is request.cookies
    assert get("/").cookies == {}


async def test_a_body_may_be_read_again() -> None:
    request, exchange = post(b"ab", b"c")
    assert await request.body() == b"abc"
    assert await request.body() == b"abc"
    assert [chunk async for chunk in request.stream()] == [b"abc"]
    assert [chunk async for chunk in request.stream()] == [b"abc"]
    assert exchange.chunks == []


async def test_an_empty_body_is_a_stream_of_nothing() -> None:
    request, _ = post()
    assert await request.body() == b""
    assert [chunk async for chunk in request.stream()] == []


async def test_a_stream_gives_the_chunks_as_they_come_and_only_once() -> None:
    request, _ = post(b"ab", b"c")
    assert [chunk async for chunk in request.stream()] == [b"ab", b"c"]
    with pytest.raises(RuntimeError, match="already been read"):
        await request.body()
    with pytest.raises(RuntimeError, match="already been read"):
        await anext(aiter(request.stream()))


async def test_text_is_utf_8_without_mark_and_never_fails() -> None:
    request, _ = post(b"\xef\xbb\xbfcaf\xc3", b"\xa9 \xff")
    assert await request.text() == "caf\xe9 \ufffd"


async def test_json() -> None:
    request, _ = post(b'{"a": ', b"[1, null]}")
    assert await request.json() == {"a": [1, None]}
    request, _ = post(b"{")
    with pytest.raises(json.JSONDecodeError):
        await request.json()


async def test_an_answered_request_has_no_session_any_more() -> None:
    request, exchange = post(b"abc")
    request._set_timeout(5)
    request._finish()
    request._set_timeout(6)
    assert exchange.timeouts == [5]
    assert request._answered
    with pytest.raises(RuntimeError, match="has been answered"):
        await request.body()


async def test_a_body_that_was_read_stays_after_the_answer() -> None:
    request, _ = post(b"abc")
    await request.body()
    request._finish()
    assert await request.text() == "abc"


def test_an_answered_request_is_small_and_can_still_be_read() -> None:
    request = get("/a?b=c", "Cookie: d=e")
    for _ in range(2):  # parsed, then kept
        assert request.query.get("b") == "c"
    assert (request.path, request.query["b"], request.cookies, request.headers["host"]) == (
        "/a",
        "c",
        {"d": "e"},
        "example.org:8080",
    )
    request._finish()
    held = [getattr(request, name) for name in Request.__slots__ if name not in ("__weakref__", "_head")]
    assert [value for value in held if value not in (None, False, True)] == []
    assert sys.getsizeof(request) < 200
    assert (request.path, request.query["b"], request.cookies) == ("/a", "c", {"d": "e"})


def test_an_upgrade_takes_what_the_application_gave() -> None:
    upgrade = Upgrade([("Set-Cookie", "a"), ("Set-Cookie", "b")], {"x": 1}, "chat")
    assert upgrade.headers.getall("set-cookie") == ["a", "b"]
    assert upgrade.data == {"x": 1}
    assert upgrade.protocol == "chat"
    assert Upgrade(None, None, None).headers == Headers()


def test_an_upgrade_with_bad_arguments() -> None:
    with pytest.raises(TypeError, match="expects protocol to be a str or None, not 7"):
        Upgrade(None, None, cast("str", 7))
    with pytest.raises(TypeError, match="headers must"):
        Upgrade(cast("dict[str, str]", 7), None, None)
    with pytest.raises(ValueError, match="control characters"):
        Upgrade({"X": "a\r\nb"}, None, None)


def test_only_a_request_is_one() -> None:
    check_request("upgrade", get("/"))
    with pytest.raises(TypeError, match="upgrade expects a Request, not str"):
        check_request("upgrade", "GET / HTTP/1.1")
