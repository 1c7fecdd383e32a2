"""A server's connection: `Connection` with a `ServerWebSocket` and its handlers, their tasks, and the idle timeout.

`Server` makes one when it answers a handshake; the session runs it.
"""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar, cast

from trio_bunws._app_tasks import run_started_task, run_task
from trio_bunws._close import INACTIVE, closed_error
from trio_bunws._connection import Connection
from trio_bunws._dispatch import NO_SESSION, Dispatcher
from trio_bunws._log_fields import of_request
from trio_bunws._options import check_callable
from trio_bunws._status import ReadyState
from trio_bunws._tasks import Role
from trio_bunws._websocket import ServerWebSocket
from trio_bunws._wire.frames import ping_frame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextvars import Context

    from trio_bunws._close import CloseInfo
    from trio_bunws._engine import Engine
    from trio_bunws._request import Request
    from trio_bunws._transport import Transport
    from trio_bunws._wire.compression import Agreement

T = TypeVar("T")
logger = logging.getLogger("trio_bunws.websocket")
PING: Final = ping_frame(b"")


class ServerConnection(Connection[T, ServerWebSocket[T], Dispatcher[T]]):
    """One WebSocket connection of a client to us: `ServerWebSocket`'s `Driver`."""

    __slots__ = ("_pinged",)

    def __init__(
        self,
        transport: Transport,
        engine: Engine[T],
        request: Request,
        data: T,
        protocol: str | None,
        *,
        agreement: Agreement | None = None,
        rouse: Callable[[], None] | None = None,
    ) -> None:
        """Prepare for `attend` or `run`.

        `agreement`: how messages may be compressed; `None`: not at all. `rouse` starts a task that calls `go_on`, so
        that there need not be one while the poller can read; `None`: nothing can.
        """
        super().__init__(transport, engine, agreement, rouse=rouse)
        remote = transport.remote
        self.ws = ServerWebSocket(
            sink=transport,
            driver=self,
            hub=engine.hub,
            slot=engine.slot,
            limits=engine.limits,
            request=request,
            data=data,
            protocol=protocol,
            remote_address=None if remote is None else remote.address,
            deflate=engine.outbound(agreement, client=False),
        )
        self._dispatcher = Dispatcher(self.ws, engine.slot, self._tasks, self.release)
        self._pinged = -math.inf  # the beginning of the silence (`_heard`) in which the last ping was sent
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%r: upgraded", request, extra=of_request(request))

    def attend(self, response: bytes, trailing: bytes, context: Context) -> bool:
        """`begin` in the current context, which is `context`, and let the poller read; False: `go_on` is due now."""
        assert self._rouse is not None  # else nothing could start a task
        self._context = context
        self.begin(response, trailing)
        return self._wait is None and not self._input_over and self._transport.attend(self, context, self._rouse)

    def options_changed(self) -> None:
        """Apply the options of a reloaded handler."""
        handler = self._engine.slot.handler
        self._codec.max_payload_length = handler.max_payload_length
        self.ws._outbox.set_limit(handler.backpressure_limit)
        self._listen()

    def _look_at_peer(self, now: float) -> float | None:
        handler = self._engine.slot.handler
        timeout = handler.idle_timeout
        if not timeout:
            return None
        deadline = self._heard + timeout
        if now >= deadline:
            self.ws._begin_abort(INACTIVE)
            return None
        if not handler.send_pings or self._pinged == self._heard:
            return deadline
        ping_at = deadline - ping_margin(timeout)
        if now < ping_at:
            return ping_at
        self._pinged = self._heard
        self.ws._outbox.push_control(PING)
        self._engine.hub.mark_dirty(self.ws)
        return deadline

    def _ended(self) -> None:
        super()._ended()
        ws = self.ws
        ending = cast("CloseInfo", ws._ending)
        if logger.isEnabledFor(logging.DEBUG):
            fields = of_request(ws.request, close_code=ending.code)
            logger.debug("%r: closed with %d", ws.request, ending.code, extra=fields)
        if self._dispatcher._session is None:  # else its messages may still be read
            self._break_cycles(ending)

    def _break_cycles(self, ending: CloseInfo) -> None:
        """Let this be freed at once: socket, connection and dispatcher refer to each other.

        Left to the garbage collector, a server whose clients come and go would hold thousands of dead connections.
        """
        self.ws._driver = Over(ending)
        self.ws._outbox.retire()
        self._codec.close()
        self._dispatcher._lane = self._dispatcher._beside = None
        del self._dispatcher

    def start_soon(self, async_fn: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run a task of the application until the connection ends."""
        check_callable("start_soon", "async_fn", async_fn)
        self._check_alive()
        self._tasks.start_soon(Role.SERVICE, partial(run_task, self._dispatcher, async_fn, args))

    async def start(self, async_fn: Callable[..., Awaitable[object]], *args: object) -> object:
        """Run a task of the application, and return what it calls `task_status.started()` with."""
        check_callable("start", "async_fn", async_fn)
        self._check_alive()
        try:
            return await self._tasks.start(Role.SERVICE, partial(run_started_task, self._dispatcher, async_fn, args))
        except RuntimeError:
            # trio's word for a task that ends before it calls `started()`: was it cancelled with the connection?
            self._check_alive()
            raise

    def _check_alive(self) -> None:
        if self.ws._state is ReadyState.CLOSED:
            raise self.ws._closed_error()


def ping_margin(timeout: float) -> float:
    """Seconds before the idle timeout at which a silent peer is pinged; as uWebSockets, and half of it below 8 s."""
    if timeout < 8:
        return timeout / 2
    if timeout < 16:
        return 4
    return 8 if timeout < 32 else 16


class Over:
    """The `ServerDriver` of a socket whose connection is over: it says so, and holds nothing."""

    __slots__ = ("_ending",)

    def __init__(self, ending: CloseInfo) -> None:
        self._ending: Final = ending

    def resumed(self) -> None:
        """Nothing is read any more."""

    writer_needed = close_begun = abort = write_failed = resumed

    async def receive(self) -> NoReturn:
        """Refuse, as while the connection was open: there was no session."""
        raise RuntimeError(NO_SESSION)

    def start_soon(self, async_fn: Callable[..., Awaitable[object]], *args: object) -> NoReturn:  # noqa: ARG002
        """Start nothing."""
        check_callable("start_soon", "async_fn", async_fn)
        raise closed_error(self._ending)

    async def start(self, async_fn: Callable[..., Awaitable[object]], *args: object) -> NoReturn:  # noqa: ARG002
        """Start nothing."""
        check_callable("start", "async_fn", async_fn)
        raise closed_error(self._ending)
