"""The checks of a client's own options: what is let through, and what is a mistake that is named."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import trio.testing

from trio_bunws import Headers, PerMessageDeflate, WebSocket
from trio_bunws._client_options import (
    WebSocketOptions,
    check_headers,
    check_protocols,
    check_stream,
    make_handler,
)


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
    check_stream(None)
    check_stream(trio.testing.memory_stream_pair()[0])
    with pytest.raises(TypeError, match="WebSocket expects tls to be an ssl"):
        WebSocket("ws://localhost", tls=True)  # type: ignore[arg-type]  # that is the point
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
    options: dict[str, Any] = {**OPTIONS, "per_message_deflate": deflate}
    assert make_handler(**options).per_message_deflate is deflate


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
    options: dict[str, Any] = {**OPTIONS, name: value}
    with pytest.raises(error, match=f"WebSocket expects {name} to be"):
        make_handler(**options)


def test_the_options_that_are_passed_on_are_those_of_a_websocket() -> None:
    parameters = list(inspect.signature(WebSocket).parameters)
    assert [*parameters[:2], *WebSocketOptions.__annotations__, "stream"] == ["url", "protocols", *parameters[2:]]


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("open_timeout", 0, ValueError),
        ("close_timeout", "1", TypeError),
        ("ping_interval", -1, ValueError),
        ("ping_timeout", 100_000, ValueError),
        ("max_fragments", 0, ValueError),
        ("max_fragments", True, TypeError),
    ],
)
def test_a_time_or_count_out_of_range_is_named(name: str, value: object, error: type[Exception]) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(error, match=f"WebSocket expects {name} to be"):
        WebSocket("ws://h/", **options)


def test_what_is_checked_is_what_is_kept() -> None:
    options = WebSocket(
        "wss://me@h/", "chat", proxy="http://gate", ping_interval=0, ping_timeout=7, max_fragments=3
    )._life.options
    assert (options.target.host, options.protocols, options.headers.get("authorization")) == (
        *("h", ("chat",)),
        "Basic bWU6",
    )
    assert options.proxy is not None
    assert options.proxy.url == "http://gate"
    assert (options.ping_interval, options.ping_timeout, options.max_fragments) == (0, 7, 3)
    assert (options.open_timeout, options.close_timeout, options.tls, options.stream) == (10, 10, None, None)
