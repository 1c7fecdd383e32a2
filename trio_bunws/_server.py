"""`Server`: what an application holds of a running server. It upgrades, publishes, counts and stops.

The tasks are `_run.py`'s, which also feeds it connections; the loop that asks `fetch` is `_session.py`'s. Nothing
here waits but the awaitable that `stop` returns, and the count of subscribers everywhere.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVarTuple, cast, final, overload

import trio

from trio_bunws._admission import Admission
from trio_bunws._app_calls import without_failures
from trio_bunws._arrivals import Arrivals
from trio_bunws._close import ABNORMAL, CloseFrame, check_close_code, cut_reason
from trio_bunws._handlers import UNSET, Unset, check_handlers, is_async_callable
from trio_bunws._options import check_bool, check_callable, check_timeout
from trio_bunws._payload import check_compress, check_topic, encode_message
from trio_bunws._request import Upgrade, check_request
from trio_bunws._server_connection import ServerConnection
from trio_bunws._stopping import Stopping, inside
from trio_bunws._wire.compression import accept_offers
from trio_bunws._wire.frames import binary_frame, text_frame
from trio_bunws._wire.upgrade import response_101, select_subprotocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from typing_extensions import Buffer, TypeVar

    from trio_bunws._engine import Engine
    from trio_bunws._handlers import HandlerSlot, WebSocketHandler
    from trio_bunws._headers import HeadersLike
    from trio_bunws._options import Limits
    from trio_bunws._request import Request
    from trio_bunws._response import Response
    from trio_bunws._statistics import ServerStatistics
    from trio_bunws._status import SendStatus
    from trio_bunws._transport import SocketAddress, Transport
    from trio_bunws._websocket import ServerWebSocket

    # PEP 696: where nothing names the sockets' data, it is None.
    T = TypeVar("T", default=None)
else:
    from typing import TypeVar

    T = TypeVar("T")

Ts = TypeVarTuple("Ts")
logger = logging.getLogger("trio_bunws.server")
Fetch: TypeAlias = "Callable[[Request, Server[T]], Response | Awaitable[Response | None] | None]"
OnError: TypeAlias = "Callable[[Exception], Response | Awaitable[Response | None] | None]"
MAX_TIMEOUT: Final = 86_400.0
"""Seconds; the greatest `idle_timeout` of requests, and `grace`: a day."""


@final
class Server(Generic[T]):
    """A running server, as `serve` and `open_server` provide it, and `fetch` receives it (Bun: `Server`).

    Only `serve` and `open_server` create it. All methods except `subscriber_count_everywhere` are plain functions that
    never checkpoint.
    """

    __slots__ = (
        "_accepting",
        "_admission",
        "_arrivals",
        "_engine",
        "_error",
        "_error_async",
        "_fetch",
        "_fetch_async",
        "_hostname",
        "_http",
        "_idle_timeout",
        "_limits",
        "_max_request_body_size",
        "_pending_requests",
        "_port",
        "_slot",
        "_stopped",
        "_stopping",
        "_url",
    )

    def __init__(
        self,
        *,
        fetch: Fetch[T] | None,
        websocket: WebSocketHandler[T] | None,
        error: OnError | None,
        engine: Engine[T],
        max_request_body_size: int,
        idle_timeout: float,
    ) -> None:
        self._engine: Final = engine
        self._limits: Final[Limits] = engine.limits
        self._max_request_body_size: Final = max_request_body_size
        self._idle_timeout: Final = idle_timeout
        self._set_fetch(fetch)
        self._set_error(error)
        self._slot: HandlerSlot[T] | None = None if websocket is None else engine.slot
        self._url = ""
        self._hostname: str | None = None
        self._port: int | None = None
        self._pending_requests = 0
        # Connections in the hands of HTTP, each with what makes it take no more requests, and the scope that drops it.
        self._http: Final[dict[Transport, tuple[Callable[[], None], trio.CancelScope]]] = {}
        self._admission: Final = Admission(engine.limits)
        self._arrivals: Final = Arrivals(engine.sweeper, engine.limits.header_timeout)
        self._accepting: Final = trio.CancelScope()
        self._stopping = False
        self._stopped: Final = trio.Event()

    # WebSockets

    # As in Bun, data may be left out only where the sockets have none.
    @overload
    def upgrade(
        self: Server[None],
        request: Request,
        *,
        headers: HeadersLike | None = None,
        data: None = None,
        protocol: str | None = None,
    ) -> bool: ...
    @overload
    def upgrade(
        self, request: Request, *, headers: HeadersLike | None = None, data: T, protocol: str | None = None
    ) -> bool: ...
    def upgrade(
        self,
        request: Request,
        *,
        headers: HeadersLike | None = None,
        data: object = None,
        protocol: str | None = None,
    ) -> bool:
        """Make a WebSocket of a request; `fetch` then returns `None`. The 101 is sent after `fetch` has returned.

        Args:
            request: the request that `fetch` received; `fetch` may have awaited since.
            headers: added to the response, a mapping or pairs; those that the handshake itself sets are ignored.
            data: becomes `ws.data`.
            protocol: the subprotocol, answered only if the client offered it (or a `Sec-WebSocket-Protocol` header).

        Returns:
            True once per request; False if it was upgraded or answered already, if it is not a WebSocket handshake, and
            once `stop` closes WebSockets.

        Raises:
            TypeError: if `request` is not a `Request`, or `headers` or `protocol` are of the wrong type.
            ValueError: if a header cannot be sent.
            RuntimeError: if the server has no `websocket` handler.
        """
        check_request("upgrade", request)
        if self._slot is None:
            raise RuntimeError(
                "upgrade needs a WebSocket handler, and this server has none: pass websocket=WebSocketHandler(...) to "
                "serve or open_server, or name it websocket in the module that `trio-bunws serve` is given"
            )
        if request._answered or request._upgrade is not None or request._handshake is None:
            return False
        if self._engine.closing is not None:  # it would be closed at once
            return False
        request._upgrade = Upgrade(headers, data, protocol)
        return True

    def _open(
        self, transport: Transport, request: Request, upgrade: Upgrade[T], rouse: Callable[[], None] | None
    ) -> tuple[ServerConnection[T], bytes]:
        """Return a connection that has not begun, and the answer to its handshake; the session runs and closes it."""
        self._http.pop(transport, None)
        handshake, request._handshake = request._handshake, None
        assert handshake is not None  # upgrade() looked
        protocol = select_subprotocol(handshake, upgrade.protocol, upgrade.headers)
        accepted = accept_offers(handshake.extensions, self._engine.slot.handler.per_message_deflate)
        agreement, extensions = accepted or (None, "")
        response = response_101(handshake, upgrade.headers, protocol, extensions)
        connection = ServerConnection(
            transport, self._engine, request, upgrade.data, protocol, agreement=agreement, rouse=rouse
        )
        return connection, response

    def publish(self, topic: str, data: str | Buffer, compress: bool = True) -> SendStatus:
        """Send a message to all subscribers of a topic; compressed for those who agreed to compression, as in Bun.

        With a broker, subscribers on other servers get it too, at most once; nothing here waits for them.
        It is compressed once for all receivers that share parameters without context takeover (`per_message_deflate` of
        True, or "shared"), else for each receiver. `compress=False` sends it as it is.

        Returns:
            The payload's length in bytes, before compression; -1 if a receiver has unsent bytes; 0 if there is no
            receiver, or one is over its limit. What happens to one receiver does not affect the others. Receivers on
            other servers are not counted.

        Raises:
            TypeError: if `data` is neither `str` nor a buffer, `compress` is not a bool, or `topic` is not a `str`.
            ValueError: if `topic` is empty or too long.
        """
        check_compress("publish", compress)
        check_topic("publish", topic, self._limits.max_topic_length)
        payload, is_text = encode_message("publish", data)
        frame = text_frame(payload) if is_text else binary_frame(payload)
        return self._engine.hub.publish(topic, frame, len(payload), None, compress)

    def subscriber_count(self, topic: str) -> int:
        """Return how many sockets are subscribed to a topic; 0 for an unknown one."""
        check_topic("subscriber_count", topic, self._limits.max_topic_length)
        found = self._engine.hub.topics.get(topic)
        return 0 if found is None else len(found.members)

    async def subscriber_count_everywhere(self, topic: str, timeout: float = 1.0) -> int:
        """Return how many sockets are subscribed to a topic on all servers that share the broker (beyond Bun).

        This server is counted, and those that answer within `timeout` seconds; without a broker, or while it is
        disconnected, only this one. If the broker knows how many servers there are, it returns as soon as all have
        answered. A checkpoint.

        Raises:
            TypeError: if `topic` is not a `str`, or `timeout` is not a number.
            ValueError: if `topic` is empty or too long, or `timeout` is not above 0 and finite.
        """
        check_timeout("subscriber_count_everywhere", "timeout", timeout)
        own = self.subscriber_count(topic)
        relay = self._engine.relay
        if relay is None:
            await trio.lowlevel.checkpoint()
            return own
        return own + await relay.count_elsewhere(topic, timeout)

    def subscribers(self, topic: str) -> tuple[ServerWebSocket[T], ...]:
        """Return a snapshot of a topic's subscribers, in order of subscription (beyond Bun)."""
        check_topic("subscribers", topic, self._limits.max_topic_length)
        return self._engine.hub.topics.members(topic)  # type: ignore[return-value]  # the hub's are ours

    def topics(self) -> tuple[str, ...]:
        """Return the topics that have a subscriber (beyond Bun)."""
        return self._engine.hub.topics.names()

    # Requests

    def request_ip(self, request: Request) -> SocketAddress | None:
        """Return the client's address, or `None` where there is none (unix sockets, streams in memory)."""
        check_request("request_ip", request)
        return request._remote

    def timeout(self, request: Request, seconds: float) -> None:
        """Allow this request so many seconds without progress, instead of `idle_timeout`.

        0: no limit, and its body may be as slow as it likes.
        """
        check_request("timeout", request)
        check_timeout("timeout", "seconds", seconds, maximum=MAX_TIMEOUT)
        request._set_timeout(seconds)

    # The server itself

    @property
    def url(self) -> str:
        """Where it listens: `"http://127.0.0.1:3000/"`."""
        return self._url

    @property
    def hostname(self) -> str | None:
        """The address it listens on; `None` for a unix socket or ready-made listeners."""
        return self._hostname

    @property
    def port(self) -> int | None:
        """The TCP port it listens on; `None` for a unix socket or ready-made listeners."""
        return self._port

    @property
    def pending_requests(self) -> int:
        """HTTP requests being answered now."""
        return self._pending_requests

    @property
    def pending_websockets(self) -> int:
        """WebSockets open or closing now."""
        return len(self._engine.connections)

    def statistics(self) -> ServerStatistics:
        """Return counts since the server started, and current ones (beyond Bun). Looks at every socket."""
        return self._engine.statistics(self._admission.count)

    def start_soon(self, async_fn: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> None:
        """Run a task until the server has stopped (beyond Bun); an exception in it is logged.

        Such a task may await `stop`, which a handler cannot.
        """
        check_callable("start_soon", "async_fn", async_fn)
        self._engine.nursery.start_soon(self._run_task, async_fn, args)

    async def _run_task(self, async_fn: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> None:
        inside.set(None)
        try:
            await async_fn(*args)
        except Exception:
            logger.exception("a task started with server.start_soon failed")
        except BaseExceptionGroup as group:
            raise without_failures(group) from None

    def reload(
        self,
        *,
        fetch: Fetch[T] | Unset | None = UNSET,
        websocket: WebSocketHandler[T] | Unset = UNSET,
        error: OnError | Unset | None = UNSET,
    ) -> None:
        """Swap handlers and options, for open sockets too, from the next event on. What is not given stays.

        What was negotiated at a handshake (compression) and a running `session` stay as they are.

        Raises:
            TypeError: if an argument is of the wrong type, or neither `fetch` nor `websocket` would be left.
        """
        check_handlers("reload", fetch, websocket, error)
        if fetch is None and self._slot is None and isinstance(websocket, Unset):
            raise TypeError("reload expects fetch to be a function: this server has no websocket handler")
        if not isinstance(fetch, Unset):
            self._set_fetch(fetch)
        if not isinstance(error, Unset):
            self._set_error(error)
        if not isinstance(websocket, Unset):
            self._slot = self._engine.slot
            self._slot.swap(websocket)
            for connection in self._engine.connections:
                cast("ServerConnection[T]", connection).options_changed()  # it is a server's engine

    def _set_fetch(self, fetch: Fetch[T] | None) -> None:
        self._fetch = fetch
        self._fetch_async = is_async_callable(fetch)

    def _set_error(self, error: OnError | None) -> None:
        self._error = error
        self._error_async = is_async_callable(error)

    # The end

    def stop(
        self,
        close_active_connections: bool = False,
        *,
        code: int = 1001,
        reason: str = "Server closed",
        grace: float | None = None,
    ) -> Awaitable[None]:
        """Stop listening at once; awaiting the result, which is optional, waits for the last connection to end.

        Args:
            close_active_connections: also close all WebSockets with `code` and `reason`; without it they stay open.
            code: the close code.
            reason: the reason in the Close frame.
            grace: seconds until what is still open is aborted; implies closing. Default: `limits.close_timeout`.

        Raises:
            TypeError, ValueError: if an argument is of the wrong type or out of range.
            RuntimeError: when awaited inside a handler or `fetch`: it would wait for its own caller.
        """
        check_bool("stop", "close_active_connections", close_active_connections)
        frame = CloseFrame(check_close_code(code, "stop"), cut_reason(reason, "stop"))
        if grace is not None:
            check_timeout("stop", "grace", grace, maximum=MAX_TIMEOUT, zero="at once")
        self._stopping = True
        self._accepting.cancel()
        self._arrivals.stop()
        for finish, _ in tuple(self._http.values()):
            finish()
        if close_active_connections or grace is not None:
            self._close_all(frame, self._limits.close_timeout if grace is None else grace)
        return Stopping(self)

    def _close_all(self, frame: CloseFrame, grace: float) -> None:
        if self._stopped.is_set():
            return
        engine = self._engine
        deadline = trio.current_time() + grace
        engine.close_by = deadline
        engine.closing = frame
        for connection in tuple(engine.connections):
            connection.ws._begin_close(frame)
        # With none left there is nothing to abort, and after Ctrl-C in a handler the nursery may be closed already.
        if engine.connections or self._http:
            engine.nursery.start_soon(self._abort_all_at, deadline)

    async def _abort_all_at(self, deadline: float) -> None:
        await trio.sleep_until(deadline)
        for connection in tuple(self._engine.connections):
            connection.ws._begin_abort(ABNORMAL)
        for _, scope in tuple(self._http.values()):
            scope.cancel()

    def __repr__(self) -> str:
        return f"<Server {self._url}>"
