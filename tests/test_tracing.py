"""Spans around `fetch` and handlers: what they are called, what they hold and never hold, and how they are linked.

Covers `trio_bunws.observability._tracing` alone, with OpenTelemetry's SDK and an exporter in memory.
"""

from __future__ import annotations

import gc
import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from playground import playground

from trio_bunws import Request, Response, Server, ServerWebSocket, SocketAddress, WebSocketHandler, open_server
from trio_bunws.observability import _tracing, traced, traced_fetch
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from trio.testing import MockClock

SECRET = "hunter2"


class Spans:
    """A provider of tracers, and what it got."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def all(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.all]

    def one(self, name: str) -> ReadableSpan:
        (found,) = (span for span in self.all if span.name == name)
        return found


@pytest.fixture(name="spans")
def provider() -> Iterator[Spans]:
    spans = Spans()
    yield spans
    spans.provider.shutdown()


def upgrade(request: Request, server: Server) -> Response | None:
    if server.upgrade(request):
        return None
    return Response("here you are", 203)


async def upgrade_later(request: Request, server: Server) -> Response | None:
    await trio.lowlevel.checkpoint()
    return upgrade(request, server)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.mark.parametrize("fetch", [upgrade, upgrade_later])
async def test_a_request_is_a_span_of_the_clients_trace(spans: Spans, fetch: Any) -> None:  # noqa: ANN401
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with playground(WebSocketHandler(), traced_fetch(fetch, tracer_provider=spans.provider)) as ground:
        peer = await ground.connect()
        head = f"GET /a%20b?token={SECRET} HTTP/1.1\r\nHost: x\r\nCookie: {SECRET}\r\nTraceparent: {parent}\r\n\r\n"
        await peer.send(head.encode())
        await peer.receive_until(b"here you are")
    span = spans.one("GET")
    assert (span.kind, span.status.status_code) == (SpanKind.SERVER, StatusCode.UNSET)
    assert span.parent is not None
    assert trace.format_trace_id(span.get_span_context().trace_id) in parent  # type: ignore[union-attr]
    assert trace.format_span_id(span.parent.span_id) in parent
    assert attributes(span) == {
        "http.request.method": "GET",
        "url.path": "/a%20b",
        "network.protocol.version": "1.1",
        "http.response.status_code": 203,
    }


async def test_handlers_are_spans_linked_to_the_upgrade_and_hold_no_contents(spans: Spans) -> None:
    calls: list[object] = []

    async def message(ws: ServerWebSocket, message: str | bytes) -> None:
        await trio.lowlevel.checkpoint()
        calls.append(trace.get_current_span().get_span_context().span_id)
        ws.send(message)

    handler = WebSocketHandler(
        open=calls.append,
        message=message,
        ping=lambda _ws, _data: None,
        close=lambda _ws, code, _reason: calls.append(code),
        max_payload_length=1234,
    )
    wrapped = traced(handler, tracer_provider=spans.provider)
    assert (wrapped.max_payload_length, wrapped.drain) == (1234, None)
    fetch = traced_fetch(upgrade, tracer_provider=spans.provider)
    async with playground(wrapped, fetch) as ground:
        peer = await ground.open(f"/ch%61t?token={SECRET}", (("Authorization", SECRET),))
        await peer.send_text(SECRET)
        assert await peer.receive_text() == SECRET
        await peer.send_binary(b"\x00" * 3)
        assert (await peer.receive()).payload == b"\x00" * 3
        await peer.send(RawPeer.frame(0x9, SECRET.encode()))
        await peer.receive()
        await peer.send_close(1000, SECRET)
        await peer.receive_close()
        await peer.receive_eof()
    assert spans.names == ["GET", "websocket open", *["websocket message"] * 2, "websocket ping", "websocket close"]
    upgraded, *rest = spans.all
    assert attributes(upgraded)["http.response.status_code"] == 101
    for span in rest:
        assert span.parent is None
        assert [link.context for link in span.links] == [upgraded.get_span_context()]
        assert attributes(span)["url.path"] == "/ch%61t"
    text, binary = rest[1:3]
    assert (text.kind, rest[0].kind) == (SpanKind.CONSUMER, SpanKind.CONSUMER)
    assert attributes(text) == {"url.path": "/ch%61t", "websocket.message.type": "text", "websocket.message.length": 7}
    assert attributes(binary)["websocket.message.type"] == "binary"
    assert attributes(rest[-1])["websocket.close.code"] == 1000
    assert calls[1] == text.get_span_context().span_id, "the handler runs inside its span"  # type: ignore[union-attr]
    assert SECRET not in "".join(span.to_json() for span in spans.all)


async def test_an_exception_is_in_the_span_and_goes_on(
    spans: Spans,
    caplog: pytest.LogCaptureFixture,
    autojump_clock: MockClock,  # noqa: ARG001 - no wait takes time
) -> None:
    def message(_ws: ServerWebSocket, _message: object) -> None:
        raise ZeroDivisionError

    def broken(_request: Request, _server: Server) -> Response:
        raise KeyError("x")

    errors: list[Exception] = []
    handler = WebSocketHandler(message=message, error=lambda exc, _ws: errors.append(exc))
    async with playground(traced(handler, tracer_provider=spans.provider)) as ground:
        peer = await ground.open()
        await peer.send_text("x")
        await trio.testing.wait_all_tasks_blocked()
    assert [type(exc) for exc in errors] == [ZeroDivisionError]
    assert spans.one("websocket message").status.status_code is StatusCode.ERROR
    assert not spans.one("websocket message").links, "fetch is not traced"
    assert attributes(spans.one("websocket error"))["error.type"] == "ZeroDivisionError"
    with caplog.at_level(logging.CRITICAL):
        async with playground(WebSocketHandler(), traced_fetch(broken, tracer_provider=spans.provider)) as ground:
            peer = await ground.connect()
            await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await peer.receive_until(b"500")
    assert spans.one("GET").status.status_code is StatusCode.ERROR


async def test_a_fetch_that_answers_nothing_has_no_status(spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    def forgetful(_request: Request, _server: Server) -> Response | None:
        return None

    async with playground(WebSocketHandler(), traced_fetch(forgetful, tracer_provider=spans.provider)) as ground:
        peer = await ground.connect()
        await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await peer.receive_until(b"500")
    assert "http.response.status_code" not in attributes(spans.one("GET"))
    assert "fetch returned None" in caplog.text


async def test_a_session_is_one_span_that_ends_when_it_is_cancelled(
    spans: Spans,
    autojump_clock: MockClock,  # noqa: ARG001 - no wait takes time
) -> None:
    async def session(_ws: ServerWebSocket) -> None:
        await trio.sleep_forever()

    async with playground(traced(WebSocketHandler(session=session), tracer_provider=spans.provider)) as ground:
        peer = await ground.open()
        await trio.testing.wait_all_tasks_blocked()
        assert spans.names == []
        await peer.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        ground.server.stop(grace=0)
    assert spans.names == ["websocket session"]
    assert spans.one("websocket session").status.status_code is StatusCode.UNSET


async def test_the_peers_address_is_told_where_there_is_one(spans: Spans) -> None:
    async with open_server(traced_fetch(upgrade, tracer_provider=spans.provider), port=0) as server:
        assert server.port is not None
        async with RawPeer(await trio.open_tcp_stream("127.0.0.1", server.port)) as peer:
            await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await peer.receive_until(b"500")
    assert attributes(spans.one("GET"))["network.peer.address"] == "127.0.0.1"
    remote = SocketAddress("192.0.2.7", "IPv4", 5)
    assert _tracing._of_peer(Request(b"GET / HTTP/1.1\r\n\r\n", remote=remote))["network.peer.port"] == 5


async def test_nothing_is_remembered_of_a_socket_that_is_over(spans: Spans) -> None:
    gc.collect()
    before = len(_tracing.UPGRADES)
    async with playground(WebSocketHandler(), traced_fetch(upgrade, tracer_provider=spans.provider)) as ground:
        peer = await ground.open()
        assert len(_tracing.UPGRADES) == before + 1
        await peer.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
    gc.collect()
    assert len(_tracing.UPGRADES) == before


def test_without_a_provider_the_global_one_is_used_and_does_nothing_by_default() -> None:
    handler = WebSocketHandler(message=lambda ws, message: ws.send(message))
    assert traced(handler).message is not handler.message


def test_what_cannot_be_wrapped_is_refused() -> None:
    with pytest.raises(TypeError, match="traced expects a WebSocketHandler, not 7"):
        traced(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="traced_fetch expects fetch to be a function, not None"):
        traced_fetch(None)  # type: ignore[arg-type]
