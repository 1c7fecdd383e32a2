"""A client's request that wants to go on without HTTP: its response's head and body, bounded, and what breaks off."""

from __future__ import annotations

import pytest

from trio_bunws import RemoteProtocolError
from trio_bunws._wire.client_request import MAX_BODY, MAX_HEAD, ClientRequest

UPGRADE = [(b"Host", b"h"), (b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]


def new() -> ClientRequest:
    return ClientRequest("server", "GET", "/x", UPGRADE)


def test_the_request_is_written_as_it_was_given() -> None:
    assert new().request == b"GET /x HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def test_a_grant_and_what_comes_behind_it() -> None:
    asked = new()
    assert not asked.feed(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 Yes\r\n")
    assert asked.feed(b"X: y\r\nX: z\r\n\r\nframes")
    assert (asked.status, asked.refused, asked.trailing) == (101, False, b"frames")
    assert asked.response_headers().getall("x") == ["y", "z"]


@pytest.mark.parametrize(
    ("rest", "body"),
    [
        ([b"Content-Length: 3\r\n\r\nabc"], b"abc"),
        ([b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"0\r\n\r\n"], b"abc"),
        ([b"Content-Length: 9\r\n\r\nabc", b""], b"abc"),
        ([b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"zz\r\n"], b"abc"),
        ([b"\r\nabc", b"def", b""], b"abcdef"),
        ([b"\r\n" + b"x" * MAX_BODY + b"yz"], b"x" * MAX_BODY),
    ],
)
def test_a_refusal_is_read_to_its_end_or_as_far_as_it_comes(rest: list[bytes], body: bytes) -> None:
    asked = new()
    assert not asked.feed(b"HTTP/1.1 500 Oops\r\n")
    assert [asked.feed(part) for part in rest] == [False] * (len(rest) - 1) + [True]
    assert (asked.status, asked.refused, asked.body) == (500, True, body)


@pytest.mark.parametrize("data", [b"SSH-2.0\r\n\r\n", b"HTTP/1.1 101 X\r\nX: " + b"y" * MAX_HEAD])
def test_what_is_no_response_or_too_long_a_head_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="the server's answer is no HTTP response") as caught:
        new().feed(data)
    assert caught.value.close_code == 1002


def test_an_end_before_a_response_is_one_too() -> None:
    asked = new()
    asked.feed(b"HTTP/1.1 101")
    with pytest.raises(RemoteProtocolError, match="without an answer") as caught:
        asked.feed(b"")
    assert caught.value.close_code == 1006


def test_so_is_a_header_with_a_control_character() -> None:
    asked = new()
    asked.feed(b"HTTP/1.1 101 X\r\nX: a\x01b\r\n\r\n")
    with pytest.raises(RemoteProtocolError, match="the server's answer has a bad header"):
        asked.response_headers()


def test_a_tunnel_is_granted_by_an_ordinary_response() -> None:
    asked = ClientRequest("proxy", "CONNECT", "h:80", [(b"Host", b"h:80")])
    assert asked.feed(b"HTTP/1.1 200 OK\r\n\r\nrest")
    assert (asked.status, asked.refused, asked.trailing) == (200, False, b"rest")
