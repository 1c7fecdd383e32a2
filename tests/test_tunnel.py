"""The way through a proxy, without I/O: what is asked, and what each answer means."""

from __future__ import annotations

import pytest

from trio_bunws import HandshakeError, Headers, RemoteProtocolError
from trio_bunws._wire.tunnel import Tunnel


def tunnel() -> Tunnel:
    return Tunnel("example.com:443", Headers({"Proxy-Authorization": "Basic eA=="}))


def test_the_request() -> None:
    assert tunnel().request == (
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nProxy-Authorization: Basic eA==\r\n\r\n"
    )


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\n"])
def test_granted(head: bytes) -> None:
    asked = tunnel()
    assert [asked.feed(head[at : at + 1]) for at in range(len(head))] == [False] * (len(head) - 1) + [True]
    assert not asked.refused
    asked.result()


def test_a_length_in_a_granting_answer_means_nothing() -> None:
    asked = tunnel()
    assert asked.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    asked.result()


def test_refused() -> None:
    asked = tunnel()
    assert not asked.feed(b"HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\n")
    assert asked.refused
    assert asked.feed(b"no")
    with pytest.raises(HandshakeError, match="the proxy answered CONNECT with HTTP status 407") as caught:
        asked.result()
    assert (caught.value.status, caught.value.body, caught.value.from_proxy) == (407, b"no", True)
    assert caught.value.headers["proxy-authenticate"] == "Basic"


def test_more_than_an_answer_is_not_taken_for_the_server_s() -> None:
    asked = tunnel()
    assert asked.feed(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101")
    with pytest.raises(RemoteProtocolError, match="more than its answer"):
        asked.result()


@pytest.mark.parametrize("answer", [b"\x05\x00 no HTTP\r\n\r\n", b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n"])
def test_what_is_no_answer_to_connect_is_a_protocol_error(answer: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="the proxy's answer is no HTTP response"):
        tunnel().feed(answer)


def test_no_answer_is_a_protocol_error() -> None:
    with pytest.raises(RemoteProtocolError, match="the proxy ended the connection without an answer"):
        tunnel().feed(b"")
