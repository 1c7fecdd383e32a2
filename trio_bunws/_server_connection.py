"""A server's connection: `Connection` with a `ServerWebSocket` and its handlers, and the tasks that these start.

`Server` makes one when it answers a handshake, and runs it.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from trio_bunws._app_tasks import run_started_task, run_task
from trio_bunws._close import closed_error
from trio_bunws._connection import Connection
from trio_bunws._dispatch import NO_SESSION, Dispatcher
from trio_bunws._log_fields import of_request
from trio_bunws._options import check_callable
from trio_bunws._status import ReadyState
from trio_bunws._tasks import Role
from trio_bunws._websocket import ServerWebSocket

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


class ServerConnection(Connection[T, ServerWebSocket[T]]):
    """One WebSocket connection of a client to us: `ServerWebSocket`'s `Driver`."""

    __slots__ = ("_handlers",)

    _handlers: Dispatcher[T]

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

        `agreement`: how messages may be compressed; `None`: not at all. `rouse` starts a task that calls `run`, so that
        there need not be one while the poller can read; `None`: nothing can.
        """
        super().__init__(transport, engine, agreement)
        self._rouse = rouse
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
        self._handlers = Dispatcher(self.ws, engine.slot, self._tasks, self.release)
        self._dispatcher = self._handlers
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%r: upgraded", request, extra=of_request(request))

    def attend(self, response: bytes, trailing: bytes, context: Context) -> bool:
        """`begin` in the current context, which is `context`, and let the poller read; False: `run` is needed now."""
        assert self._rouse is not None  # else nothing could start `run`
        self._context = context
        self.begin(response, trailing)
        return self._wait is None and not self._input_over and self._transport.attend(self, context, self._rouse)

    async def run(self, response: bytes, trailing: bytes, *, begun: bool = False) -> bool:
        """Serve the connection as `Connection.run` does, and let go of it when it is over."""
        if await super().run(response, trailing, begun=begun):
            return True
        self._rouse = None
        if logger.isEnabledFor(logging.DEBUG):
            ending = self.ws._ending
            assert ending is not None  # it is over
            fields = of_request(self.ws.request, close_code=ending.code)
            logger.debug("%r: closed with %d", self.ws.request, ending.code, extra=fields)
        # Socket, connection and handlers know each other. Left to the garbage collector, a server whose clients come
        # and go would hold thousands of dead connections; so the rings are opened here. A session's messages may still
        # be read.
        handlers = self._handlers
        if handlers._session is None:
            assert self.ws._ending is not None  # it is over
            self.ws._driver = Over(self.ws._ending)
            self.ws._outbox.retire()
            self._codec.close()
            handlers._lane = handlers._beside = None
            del self._handlers, self._dispatcher
        return False

    def start_soon(self, async_fn: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run a task of the application until the connection ends."""
        check_callable("start_soon", "async_fn", async_fn)
        self._check_alive()
        self._tasks.start_soon(Role.SERVICE, partial(run_task, self._handlers, async_fn, args))

    async def start(self, async_fn: Callable[..., Awaitable[object]], *args: object) -> object:
        """Run a task of the application, and return what it calls `task_status.started()` with."""
        check_callable("start", "async_fn", async_fn)
        self._check_alive()
        try:
            return await self._tasks.start(Role.SERVICE, partial(run_started_task, self._handlers, async_fn, args))
        except RuntimeError:
            self._check_alive()  # or it was cancelled with the connection, before it had started
            raise

    def _check_alive(self) -> None:
        if self.ws._state is ReadyState.CLOSED:
            raise self.ws._closed_error()


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
