"""The application's handlers and options for its WebSockets, checked once, when they are handed over.

Nothing here calls a handler. `_dispatch.py` does, by the resolved table (`Calls`), so that no event asks twice whether
a handler exists or is async; `Server.reload` swaps the table through `HandlerSlot`.
Source: https://bun.com/docs/runtime/http/websockets; the fluent form is brioche's.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, overload

import attrs

from trio_bunws._options import MAX_IDLE_TIMEOUT, PerMessageDeflate, at_least, boolean, check_deflate, timeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from typing_extensions import TypeVar

    from trio_bunws._websocket import ServerWebSocket

    # PEP 696: a handler that names no data yet is one for None, which is what `Server.upgrade` attaches unasked.
    T = TypeVar("T", default=None)
    U = TypeVar("U", default=None)

    Plain: TypeAlias = Callable[[ServerWebSocket[T]], object]
    WithMessage: TypeAlias = Callable[[ServerWebSocket[T], str | bytes], object]
    WithText: TypeAlias = Callable[[ServerWebSocket[T], str], object]
    WithBytes: TypeAlias = Callable[[ServerWebSocket[T], bytes], object]
    WithClose: TypeAlias = Callable[[ServerWebSocket[T], int, str], object]
    WithError: TypeAlias = Callable[[Exception, ServerWebSocket[T]], object]
    Session: TypeAlias = Callable[[ServerWebSocket[T]], Awaitable[object]]
else:
    from typing import TypeVar

    T = TypeVar("T")


def is_async_callable(function: object) -> bool:
    """Tell whether calling ``function`` makes a coroutine, looking through `partial` and ``__call__``."""
    while isinstance(function, partial):
        function = function.func
    # `__call__` is looked up on the type: a class whose instances are async makes instances, not coroutines.
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


class Calls(Generic[T]):
    """The handlers as they are called: ``message`` resolved into ``text`` and ``binary``, and what is async."""

    __slots__ = (
        "binary",
        "binary_async",
        "close",
        "close_async",
        "drain",
        "drain_async",
        "error",
        "error_async",
        "open",
        "open_async",
        "ping",
        "ping_async",
        "pong",
        "pong_async",
        "session",
        "text",
        "text_async",
    )

    def __init__(self, handler: WebSocketHandler[T]) -> None:
        self.open: Plain[T] | None = handler.open
        self.text: WithMessage[T] | WithText[T] | None = handler.message if handler.text is None else handler.text
        self.binary: WithMessage[T] | WithBytes[T] | None = (
            handler.message if handler.binary is None else handler.binary
        )
        self.drain: Plain[T] | None = handler.drain
        self.close: WithClose[T] | None = handler.close
        self.ping: WithBytes[T] | None = handler.ping
        self.pong: WithBytes[T] | None = handler.pong
        self.error: WithError[T] | None = handler.error
        self.session: Session[T] | None = handler.session
        self.open_async: bool = is_async_callable(self.open)
        self.text_async: bool = is_async_callable(self.text)
        self.binary_async: bool = is_async_callable(self.binary)
        self.drain_async: bool = is_async_callable(self.drain)
        self.close_async: bool = is_async_callable(self.close)
        self.ping_async: bool = is_async_callable(self.ping)
        self.pong_async: bool = is_async_callable(self.pong)
        self.error_async: bool = is_async_callable(self.error)


def _function(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not callable(value):
        raise TypeError(f"WebSocketHandler expects a function for {attribute.name}, not {value!r}")


def _session(instance: WebSocketHandler[Any], attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if not is_async_callable(value):
        raise TypeError(f"WebSocketHandler expects an async function for {attribute.name}, not {value!r}")
    for name in ("message", "text", "binary"):
        if getattr(instance, name) is not None:
            raise TypeError(
                f"WebSocketHandler expects session or {name}, not both: a session reads the messages itself"
            )


def _deflate(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    check_deflate("WebSocketHandler", attribute.name, value)


@attrs.frozen(kw_only=True)
class WebSocketHandler(Generic[T]):
    """What the application does with its WebSockets, and the options of each; all arguments are keyword-only.

    ``T`` is the type of ``ws.data``. Every handler is optional and may be ``def`` or ``async def``; ``open``, the
    messages in order and ``close`` run one at a time per socket. An instance is immutable: ``on_<handler>`` and
    ``with_<option>`` return a changed copy.

    Raises:
        TypeError: if a handler is not callable or an option is of the wrong type, if ``session`` is not async,
            and if it is combined with ``message``, ``text`` or ``binary``.
        ValueError: if an option is out of its range.
    """

    open: Plain[T] | None = attrs.field(default=None, validator=_function)
    """``open(ws)``: the handshake is done. What it sends leaves as one write."""
    message: WithMessage[T] | None = attrs.field(default=None, validator=_function)
    """``message(ws, message)``: a message came, a ``str`` (text) or, as ``ws.binary_type`` says, ``bytes``."""
    text: WithText[T] | None = attrs.field(default=None, validator=_function)
    """``text(ws, message)``: used instead of `message` for text."""
    binary: WithBytes[T] | None = attrs.field(default=None, validator=_function)
    """``binary(ws, message)``: used instead of `message` for binary messages."""
    drain: Plain[T] | None = attrs.field(default=None, validator=_function)
    """``drain(ws)``: the peer has taken some of what waited, and there is room below the limit again."""
    close: WithClose[T] | None = attrs.field(default=None, validator=_function)
    """``close(ws, code, reason)``: the connection is over; exactly once for a socket whose `open` was entered."""
    ping: WithBytes[T] | None = attrs.field(default=None, validator=_function)
    """``ping(ws, data)``: a ping came and was answered; ``data`` is ``bytes``, or what ``ws.binary_type`` says."""
    pong: WithBytes[T] | None = attrs.field(default=None, validator=_function)
    """``pong(ws, data)``: a pong came, with ``data`` as for `ping`."""
    error: WithError[T] | None = attrs.field(default=None, validator=_function)
    """``error(exc, ws)``: a handler raised. Without it the exception is logged and the socket closes with 1011."""
    session: Session[T] | None = attrs.field(default=None, validator=_session)
    """``async def session(ws)``: owns the connection and reads it with ``async for message in ws``; when it
    returns, the connection closes with 1000. Beyond Bun."""

    max_payload_length: int = attrs.field(default=16 * 1024 * 1024, validator=at_least(1))
    """Bytes of one received message, inflated; beyond it the connection closes with 1009. Default: 16 MiB."""
    backpressure_limit: int = attrs.field(default=16 * 1024 * 1024, validator=at_least(0))
    """Unsent bytes above which a send drops its message; 0: no limit. Default: 16 MiB."""
    close_on_backpressure_limit: bool = attrs.field(default=False, validator=boolean)
    """Whether the send that would drop its message closes the socket. Default: False."""
    idle_timeout: float = attrs.field(default=120, validator=timeout(maximum=MAX_IDLE_TIMEOUT))
    """Seconds of silence after which the socket is closed, at most 960; 0: off. Default: 120."""
    publish_to_self: bool = attrs.field(default=False, validator=boolean)
    """Whether ``ws.publish`` reaches ``ws`` itself, if it is subscribed. Default: False."""
    send_pings: bool = attrs.field(default=True, validator=boolean)
    """Whether a silent peer is pinged before `idle_timeout` is over. Default: True."""
    per_message_deflate: bool | PerMessageDeflate = attrs.field(default=False, validator=_deflate)
    """Compression, if the client offers it. Default: False."""
    max_inbox: int = attrs.field(default=16, validator=at_least(1))
    """Messages that may wait for an async handler before the socket is no longer read. Default: 16."""

    _calls: Calls[T] = attrs.field(init=False, eq=False, repr=False, default=attrs.Factory(Calls, takes_self=True))

    @overload
    def on_open(self: WebSocketHandler[None], handler: Plain[U]) -> WebSocketHandler[U]: ...
    @overload
    def on_open(self, handler: Plain[T]) -> WebSocketHandler[T]: ...
    def on_open(self, handler: Plain[Any]) -> WebSocketHandler[Any]:
        """Return a copy with this `open` handler."""
        return attrs.evolve(self, open=handler)

    @overload
    def on_message(self: WebSocketHandler[None], handler: WithMessage[U]) -> WebSocketHandler[U]: ...
    @overload
    def on_message(self, handler: WithMessage[T]) -> WebSocketHandler[T]: ...
    def on_message(self, handler: WithMessage[Any]) -> WebSocketHandler[Any]:
        """Return a copy with this `message` handler."""
        return attrs.evolve(self, message=handler)

    @overload
    def on_text(self: WebSocketHandler[None], handler: WithText[U]) -> WebSocketHandler[U]: ...
    @overload
    def on_text(self, handler: WithText[T]) -> WebSocketHandler[T]: ...
    def on_text(self, handler: WithText[Any]) -> WebSocketHandler[Any]:
        """Return a copy with this `text` handler."""
        return attrs.evolve(self, text=handler)

    @overload
    def on_binary(self: WebSocketHandler[None], handler: WithBytes[U]) -> WebSocketHandler[U]: ...
    @overload
    def on_binary(self, handler: WithBytes[T]) -> WebSocketHandler[T]: ...
    def on_binary(self, handler: WithBytes[Any]) -> WebSocketHandler[Any]:
        """Return a copy with this `binary` handler."""
        return attrs.evolve(self, binary=handler)

    on_bytes = on_binary

    @overload
    def on_drain(self: WebSocketHandler[None], handler: Plain[U]) -> WebSocketHandler[U]: ...
    @overload
    def on_drain(self, handler: Plain[T]) -> WebSocketHandler[T]: ...
    def on_drain(self, handler: Plain[Any]) -> WebSocketHandler[Any]:
        """Return a copy with this `drain` handler."""
        return attrs.evolve(self, drain=handler)

    @overload
    def on_close(self: WebSocketHandler[None], handler: WithClose[U]) -> WebSocketHandler[U]: ...
    @overload
    def on_close(self, handler: WithClose[T]) -> WebSocketHandler[T]: ...
    def on_close(self, handler: WithClose[Any]) -> WebSocketHandler[Any]:
        """Return a copy with this `close` handler."""
        return attrs.evolve(self, close=handler)

    @overload
    def on_ping(self: WebSocketHandler[None], handler: WithBytes[U]) -> WebSocketHandler[U]: ...
    @overload
    def on_ping(self, handler: WithBytes[T]) -> WebSocketHandler[T]: ...
    def on_ping(self, handler: WithBytes[Any]) -> WebSocketHandler[Any]:
        """Return a copy with this `ping` handler."""
        return attrs.evolve(self, ping=handler)

    @overload
    def on_pong(self: WebSocketHandler[None], handler: WithBytes[U]) -> WebSocketHandler[U]: ...
    @overload
    def on_pong(self, handler: WithBytes[T]) -> WebSocketHandler[T]: ...
    def on_pong(self, handler: WithBytes[Any]) -> WebSocketHandler[Any]:
        """Return a copy with this `pong` handler."""
        return attrs.evolve(self, pong=handler)

    @overload
    def on_error(self: WebSocketHandler[None], handler: WithError[U]) -> WebSocketHandler[U]: ...
    @overload
    def on_error(self, handler: WithError[T]) -> WebSocketHandler[T]: ...
    def on_error(self, handler: WithError[Any]) -> WebSocketHandler[Any]:
        """Return a copy with this `error` handler."""
        return attrs.evolve(self, error=handler)

    @overload
    def on_session(self: WebSocketHandler[None], handler: Session[U]) -> WebSocketHandler[U]: ...
    @overload
    def on_session(self, handler: Session[T]) -> WebSocketHandler[T]: ...
    def on_session(self, handler: Session[Any]) -> WebSocketHandler[Any]:
        """Return a copy with this `session`."""
        return attrs.evolve(self, session=handler)

    def with_max_payload_length(self, value: int) -> WebSocketHandler[T]:
        """Return a copy with this `max_payload_length`, in bytes."""
        return attrs.evolve(self, max_payload_length=value)

    def with_backpressure_limit(self, value: int) -> WebSocketHandler[T]:
        """Return a copy with this `backpressure_limit`, in bytes; 0: none."""
        return attrs.evolve(self, backpressure_limit=value)

    def with_close_on_backpressure_limit(self, value: bool) -> WebSocketHandler[T]:
        """Return a copy with this `close_on_backpressure_limit`."""
        return attrs.evolve(self, close_on_backpressure_limit=value)

    def with_idle_timeout(self, value: float) -> WebSocketHandler[T]:
        """Return a copy with this `idle_timeout`, in seconds; 0: off."""
        return attrs.evolve(self, idle_timeout=value)

    def with_publish_to_self(self, value: bool) -> WebSocketHandler[T]:
        """Return a copy with this `publish_to_self`."""
        return attrs.evolve(self, publish_to_self=value)

    def with_send_pings(self, value: bool) -> WebSocketHandler[T]:
        """Return a copy with this `send_pings`."""
        return attrs.evolve(self, send_pings=value)

    def with_per_message_deflate(self, value: bool | PerMessageDeflate) -> WebSocketHandler[T]:
        """Return a copy with this `per_message_deflate`."""
        return attrs.evolve(self, per_message_deflate=value)

    def with_max_inbox(self, value: int) -> WebSocketHandler[T]:
        """Return a copy with this `max_inbox`, in messages."""
        return attrs.evolve(self, max_inbox=value)


class HandlerSlot(Generic[T]):
    """Where a server keeps its handler: one per server, so that `Server.reload` reaches open sockets too."""

    __slots__ = ("calls", "handler")

    def __init__(self, handler: WebSocketHandler[T]) -> None:
        self.swap(handler)

    def swap(self, handler: WebSocketHandler[T]) -> None:
        """Use ``handler`` from the next event on."""
        self.handler: WebSocketHandler[T] = handler
        self.calls: Calls[T] = handler._calls


class Unset:
    """The type of `UNSET`."""


UNSET: Final = Unset()
"""Stands for an argument of `reload` that was not given; `None` is a value."""


def check_handlers(method: str, fetch: object, websocket: object, error: object) -> None:
    """Raise `TypeError` unless these are what `serve` and `reload` take."""
    for name, value in (("fetch", fetch), ("error", error)):
        if value is not None and value is not UNSET and not callable(value):
            raise TypeError(f"{method} expects {name} to be a function or None, not {value!r}")
    if websocket is not UNSET and not isinstance(websocket, WebSocketHandler):
        raise TypeError(f"{method} expects websocket to be a WebSocketHandler, not {websocket!r}")
