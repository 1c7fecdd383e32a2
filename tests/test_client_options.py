"""The checks of a client's own options: what is let through, and what is a mistake that is named."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import trio.testing

from trio_bunws import Headers, PerMessageDeflate
from trio_bunws._client_options import check_headers, check_protocols, check_stream, check_tls, make_handler


@pytest.mark.parametrize(
    ("protocols", "offered"),
    [(None, ()), ("chat", ("chat",)), (["a", "b"], ("a", "b")), ((), ()), (iter(["a"]), ("a",))],
)
def test_protocols_are_offered_in_their_order(protocols: object, offered: tuple[str, ...]) -> None:
    assert check_protocols(protocols) == offered


@pytest.mark.parametrize(
    ("protocols", "error"),
    [(1, TypeError), ([b"a"], TypeError), ([""], ValueError), ("a b", ValueError), (["a", "a"], ValueError)],
)
def test_protocols_are_different_tokens(protocols: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="WebSocket expects protocols"):
        check_protocols(protocols)


def test_headers_are_taken_as_everywhere() -> None:
    assert check_headers(None, None) == Headers()
    assert check_headers({"X": "y"}, None) == Headers([("X", "y")])


def test_the_url_s_authorization_yields_to_a_header() -> None:
    assert check_headers(None, "Basic eA==")["authorization"] == "Basic eA=="
    assert check_headers({"authorization": "Bearer y"}, "Basic eA==").getall("authorization") == ["Bearer y"]


def test_headers_of_the_caller_are_not_changed() -> None:
    headers = Headers({"X": "y"})
    check_headers(headers, "Basic eA==")
    assert headers == Headers({"X": "y"})


@pytest.mark.parametrize("name", ["Upgrade", "connection", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol"])
def test_headers_of_the_handshake_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"without {name}"):
        check_headers({name: "x"}, None)


def test_tls_and_stream_are_of_their_types() -> None:
    check_tls(None)
    check_tls(ssl.create_default_context())
    check_stream(None)
    check_stream(trio.testing.memory_stream_pair()[0])
    with pytest.raises(TypeError, match="tls to be an ssl"):
        check_tls(True)
    with pytest.raises(TypeError, match="stream to be a trio"):
        check_stream("x")


OPTIONS: dict[str, Any] = {
    "per_message_deflate": False,
    "max_payload_length": 1000,
    "backpressure_limit": 0,
    "max_inbox": 7,
}


def test_options_become_a_handler_s_which_neither_pings_nor_gives_up() -> None:
    handler = make_handler(**OPTIONS)
    assert (handler.max_payload_length, handler.backpressure_limit, handler.max_inbox) == (1000, 0, 7)
    assert (handler.idle_timeout, handler.send_pings) == (0, False)
    deflate = PerMessageDeflate(compress="3KB")
    assert make_handler(**OPTIONS | {"per_message_deflate": deflate}).per_message_deflate is deflate


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("per_message_deflate", 7, TypeError),
        ("per_message_deflate", "shared", TypeError),
        ("max_payload_length", 0, ValueError),
        ("backpressure_limit", -1, ValueError),
        ("max_inbox", "many", TypeError),
    ],
)
def test_an_option_out_of_range_is_named(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"WebSocket expects {name} to be"):
        make_handler(**OPTIONS | {name: value})
