"""Spans of OpenTelemetry around `fetch` and around each call of a handler, by wrapping them before a server gets them.

So a server that is not traced has no check for it anywhere. A span never holds what a message, a query, a header or a
close reason says. `opentelemetry` is imported when something is wrapped.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from weakref import WeakKeyDictionary

import attrs

from trio_bunws._handlers import WebSocketHandler, is_async_callable
from trio_bunws._response import Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from opentelemetry.trace import Span, SpanContext, Tracer, TracerProvider
    from opentelemetry.util.types import AttributeValue

    from trio_bunws._request import Request
    from trio_bunws._server import Fetch, Server
    from trio_bunws._websocket import ServerWebSocket

T = TypeVar("T")

HANDLERS: Final = ("open", "message", "text", "binary", "drain", "close", "ping", "pong", "error", "session")
UPGRADES: Final[WeakKeyDictionary[Request, SpanContext]] = WeakKeyDictionary()
"""The span in which a request was upgraded, as long as its socket lives: the spans of its handlers link to it."""


def traced_fetch(fetch: Fetch[T], *, tracer_provider: TracerProvider | None = None) -> Fetch[T]:
    """Return a `fetch` that does what the given one does, each call in a span named by the method, of kind server.

    The span is a child of the client's, if the request has its `traceparent` (or what the configured propagator reads).
    It ends when `fetch` returns, before the body is sent; an upgrade has the status 101. Needs the extra `otel`.

    Args:
        fetch: the application's function, `def` or `async def`.
        tracer_provider: where the spans go. Default: the global one.

    Raises:
        ModuleNotFoundError: if `opentelemetry` is not installed.
        TypeError: if `fetch` is not callable.
    """
    if not callable(fetch):
        raise TypeError(f"traced_fetch expects fetch to be a function, not {fetch!r}")
    from opentelemetry.propagate import extract
    from opentelemetry.trace import SpanKind

    tracer = _tracer(tracer_provider)

    def span_of(request: Request) -> AbstractContextManager[Span]:
        parent = extract({name.lower(): value for name, value in request.headers.items()})
        attributes: dict[str, AttributeValue] = {
            "http.request.method": request.method,
            "url.path": request._path_as_sent(),
            "network.protocol.version": request.http_version,
            **_of_peer(request),
        }
        return tracer.start_as_current_span(request.method, parent, SpanKind.SERVER, attributes)

    if is_async_callable(fetch):

        @wraps(fetch)
        async def traced_async(request: Request, server: Server[T]) -> Response | None:
            with span_of(request) as span:
                return _answered(span, request, await cast("Awaitable[Response | None]", fetch(request, server)))

        return traced_async

    @wraps(fetch)
    def traced_plain(request: Request, server: Server[T]) -> Response | None:
        with span_of(request) as span:
            return _answered(span, request, cast("Response | None", fetch(request, server)))

    return traced_plain


def traced(handler: WebSocketHandler[T], *, tracer_provider: TracerProvider | None = None) -> WebSocketHandler[T]:
    """Return a handler that does what the given one does, each call in a span named `websocket message` and so on.

    Every span begins a trace of its own, linked to that of the upgrade if `fetch` is traced too: a socket may live for
    days. An exception is recorded in the span, and propagates. Needs the extra `otel`.

    Args:
        handler: the application's handler; its options stay.
        tracer_provider: where the spans go. Default: the global one.

    Raises:
        ModuleNotFoundError: if `opentelemetry` is not installed.
        TypeError: if `handler` is not a `WebSocketHandler`.
    """
    if not isinstance(handler, WebSocketHandler):
        raise TypeError(f"traced expects a WebSocketHandler, not {handler!r}")
    tracer = _tracer(tracer_provider)
    given = {name: getattr(handler, name) for name in HANDLERS}
    wrapped: dict[str, Any] = {
        name: _wrapped(tracer, name, function) for name, function in given.items() if function is not None
    }
    return attrs.evolve(handler, **wrapped)


def _tracer(provider: TracerProvider | None) -> Tracer:
    from opentelemetry import trace

    return trace.get_tracer("trio_bunws", tracer_provider=provider)


def _wrapped(tracer: Tracer, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind

    kind = SpanKind.INTERNAL if name in {"drain", "error", "session"} else SpanKind.CONSUMER

    def span_of(args: tuple[Any, ...]) -> AbstractContextManager[Span]:
        ws: ServerWebSocket[Any] = args[1] if name == "error" else args[0]
        upgrade = UPGRADES.get(ws.request)
        attributes = {"url.path": ws.request._path_as_sent(), **_of_peer(ws.request), **_of_call(name, args)}
        links = () if upgrade is None else (Link(upgrade),)
        return tracer.start_as_current_span(f"websocket {name}", Context(), kind, attributes, links)

    if is_async_callable(function):

        @wraps(function)
        async def traced_async(*args: Any) -> object:  # a handler's
            with span_of(args):
                return await function(*args)

        return traced_async

    @wraps(function)
    def traced_plain(*args: Any) -> object:  # a handler's
        with span_of(args):
            return function(*args)

    return traced_plain


def _of_peer(request: Request) -> dict[str, AttributeValue]:
    remote = request._remote
    return {} if remote is None else {"network.peer.address": remote.address, "network.peer.port": remote.port}


def _of_call(name: str, args: tuple[Any, ...]) -> dict[str, AttributeValue]:
    """Return what a span may tell of a handler's arguments: sizes and codes, no contents."""
    match name:
        case "message" | "text" | "binary":
            kind = "text" if isinstance(args[1], str) else "binary"
            return {"websocket.message.type": kind, "websocket.message.length": len(args[1])}
        case "close":
            return {"websocket.close.code": args[1]}
        case "error":
            return {"error.type": type(args[0]).__qualname__}
        case _:
            return {}


def _answered(span: Span, request: Request, response: Response | None) -> Response | None:
    """Note in the span of a request how it was answered, and remember the span of one that was upgraded."""
    if request._upgrade is not None:
        UPGRADES[request] = span.get_span_context()
        span.set_attribute("http.response.status_code", 101)
    elif isinstance(response, Response):
        span.set_attribute("http.response.status_code", response.status)
    return response
