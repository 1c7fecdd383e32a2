"""How every function and method of the API is called: names, order, kinds and defaults of what it takes.

An application may give an argument by position where its name is on the left of the asterisk here, and by name
everywhere. What a call does is tested elsewhere.
"""

# ruff: noqa: A006, ARG005, B008, E731 - these functions are only looked at

from __future__ import annotations

import inspect
from inspect import Parameter, Signature
from typing import TYPE_CHECKING

import pytest
import trio

from trio_bunws import (
    CloseInfo,
    Headers,
    Limits,
    MessageSent,
    PerMessageDeflate,
    Request,
    Response,
    Server,
    ServerWebSocket,
    SocketAddress,
    WebSocket,
    WebSocketHandler,
    open_server,
    serve,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Function = Callable[..., object]

MIB = 1024 * 1024
SERVE: Function = (
    lambda fetch=None, websocket=None, *, error=None, hostname="127.0.0.1", port=3000, unix=None, reuse_port=False,
    tls=None, listeners=None, broker=None, limits=Limits(), max_request_body_size=128 * MIB, idle_timeout=10.0: None
)  # fmt: skip

PLAIN: list[tuple[Function, Function]] = [
    (open_server, SERVE),
    (Server.upgrade, lambda self, request, *, headers=None, data=None, protocol=None: None),
    (Server.publish, lambda self, topic, data, compress=True: None),
    (Server.subscriber_count, lambda self, topic: None),
    (Server.request_ip, lambda self, request: None),
    (Server.timeout, lambda self, request, seconds: None),
    (
        Server.stop,
        lambda self, close_active_connections=False, *, code=1001, reason="Server closed", grace=None: None,
    ),
    (Server.subscribers, lambda self, topic: None),
    (Server.topics, lambda self: None),
    (Server.start_soon, lambda self, async_fn, *args: None),
    (Server.statistics, lambda self: None),
    (Response, lambda body=None, status=200, headers=None: None),
    (Response.json, lambda value, status=200, headers=None: None),
    (Response.redirect, lambda url, status=302: None),
    (Response.file, lambda path, *, root=None: None),
    (Headers, lambda items=(): None),
    (
        WebSocketHandler,
        lambda *, open=None, message=None, text=None, binary=None, drain=None, close=None, ping=None, pong=None,
        error=None, session=None, max_payload_length=16 * MIB, backpressure_limit=16 * MIB,
        close_on_backpressure_limit=False, idle_timeout=120, publish_to_self=False, send_pings=True,
        per_message_deflate=False, max_inbox=16: None,
    ),
    (
        Limits,
        lambda *, max_connections=None, max_connections_per_ip=None, max_header_size=16384, max_headers=100,
        header_timeout=10, handshake_timeout=10, close_timeout=10, max_fragments=16384, max_topics_per_socket=1024,
        max_topic_length=1024: None,
    ),
    (PerMessageDeflate, lambda *, compress="shared", decompress="shared", min_size=0: None),
    (ServerWebSocket.send, lambda self, data, compress=False: None),
    (ServerWebSocket.send_text, lambda self, data, compress=False: None),
    (ServerWebSocket.send_binary, lambda self, data, compress=False: None),
    (ServerWebSocket.publish, lambda self, topic, data, compress=False: None),
    (ServerWebSocket.publish_text, lambda self, topic, data, compress=False: None),
    (ServerWebSocket.publish_binary, lambda self, topic, data, compress=False: None),
    (ServerWebSocket.subscribe, lambda self, topic: None),
    (ServerWebSocket.unsubscribe, lambda self, topic: None),
    (ServerWebSocket.is_subscribed, lambda self, topic: None),
    (ServerWebSocket.ping, lambda self, data=b"": None),
    (ServerWebSocket.pong, lambda self, data=b"": None),
    (ServerWebSocket.close, lambda self, code=1000, reason="": None),
    (ServerWebSocket.terminate, lambda self: None),
    (ServerWebSocket.cork, lambda self, callback: None),
    (ServerWebSocket.corked, lambda self: None),
    (ServerWebSocket.get_buffered_amount, lambda self: None),
    (ServerWebSocket.pause, lambda self: None),
    (ServerWebSocket.resume, lambda self: None),
    (ServerWebSocket.start_soon, lambda self, async_fn, *args: None),
    (ServerWebSocket.statistics, lambda self: None),
    (MessageSent, lambda bytes_sent: None),
    (CloseInfo, lambda code, reason, sent, received: None),
    (SocketAddress, lambda address, family, port: None),
    (
        WebSocket,
        lambda url, protocols=None, *, headers=None, tls=None, max_payload_length=16 * MIB, open_timeout=10: None,
    ),
    (WebSocket.send, lambda self, data, compress=False: None),
    (WebSocket.ping, lambda self, data=b"": None),
    (WebSocket.pong, lambda self, data=b"": None),
    (WebSocket.close, lambda self, code=None, reason="": None),
    (WebSocket.terminate, lambda self: None),
    (WebSocket.pause, lambda self: None),
    (WebSocket.resume, lambda self: None),
]  # fmt: skip
AWAITED: list[tuple[Function, Function]] = [
    (serve, SERVE),
    (Server.subscriber_count_everywhere, lambda self, topic, timeout=1.0: None),
    (Request.body, lambda self: None),
    (Request.text, lambda self: None),
    (Request.json, lambda self: None),
    (ServerWebSocket.drained, lambda self: None),
    (ServerWebSocket.send_wait, lambda self, data, compress=False: None),
    (ServerWebSocket.closed, lambda self: None),
    (ServerWebSocket.start, lambda self, async_fn, *args: None),
    (WebSocket.receive, lambda self: None),
    (WebSocket.drained, lambda self: None),
    (WebSocket.send_wait, lambda self, data, compress=False: None),
    (WebSocket.closed, lambda self: None),
]
PROPERTIES = {
    Server: ["url", "hostname", "port", "pending_requests", "pending_websockets"],
    Request: ["method", "url", "path", "query", "headers", "cookies", "http_version"],
    ServerWebSocket: [
        "subscriptions", "ready_state", "remote_address", "binary_type", "is_paused", "request", "protocol",
    ],
    WebSocket: ["ready_state", "buffered_amount", "protocol", "binary_type", "url"],
}  # fmt: skip


def positional(signature: Signature) -> list[tuple[str, object]]:
    return [(p.name, p.default) for p in signature.parameters.values() if p.kind is not Parameter.KEYWORD_ONLY]


def by_name(signature: Signature) -> set[tuple[str, object]]:
    return {(p.name, p.default) for p in signature.parameters.values() if p.kind is Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize(("function", "promised"), PLAIN + AWAITED, ids=lambda f: getattr(f, "__qualname__", ""))
def test_a_function_takes_what_is_promised(function: Function, promised: Function) -> None:
    found, wanted = inspect.signature(function), inspect.signature(promised)
    assert positional(found) == positional(wanted)
    assert by_name(found) >= by_name(wanted)


def test_what_reload_is_not_given_stays_so_its_arguments_have_no_default_to_give() -> None:
    parameters = dict(inspect.signature(Server.reload).parameters)
    del parameters["self"]
    assert list(parameters) == ["fetch", "websocket", "error"]
    assert {p.kind for p in parameters.values()} == {Parameter.KEYWORD_ONLY}
    assert None not in {p.default for p in parameters.values()}


def test_serve_reports_its_start_to_a_nursery() -> None:
    assert inspect.signature(serve).parameters["task_status"].default is trio.TASK_STATUS_IGNORED


def test_only_what_may_wait_is_awaited() -> None:
    assert [f.__qualname__ for f, _ in PLAIN if inspect.iscoroutinefunction(f)] == []
    assert [f.__qualname__ for f, _ in AWAITED if not inspect.iscoroutinefunction(f)] == []


@pytest.mark.parametrize("cls", PROPERTIES, ids=lambda cls: cls.__name__)
def test_what_is_looked_at_is_a_property(cls: type) -> None:
    assert [name for name in PROPERTIES[cls] if not isinstance(inspect.getattr_static(cls, name), property)] == []
