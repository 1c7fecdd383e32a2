"""A server's connection: `Connection` with a `ServerWebSocket` and its handlers, and the tasks that these start.

`Server` makes one when it answers a handshake, and runs it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from trio_bunws._app_tasks import run_started_task, run_task
from trio_bunws._connection import Connection
from trio_bunws._dispatch import Dispatcher
from trio_bunws._options import check_callable
from trio_bunws._status import ReadyState
from trio_bunws._tasks import Role
from trio_bunws._websocket import ServerWebSocket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_bunws._engine import Engine
    from trio_bunws._request import Request
    from trio_bunws._transport import Transport
    from trio_bunws._wire.compression import Agreement

T = TypeVar("T")


class ServerConnection(Connection[T, ServerWebSocket[T]]):
    """One WebSocket connection of a client to us: `ServerWebSocket`'s `Driver`."""

    __slots__ = ("_handlers",)

    def __init__(
        self,
        transport: Transport,
        engine: Engine[T],
        request: Request,
        data: T,
        protocol: str | None,
        *,
        agreement: Agreement | None = None,
    ) -> None:
        """`agreement`: how messages may be compressed; `None`: not at all."""
        super().__init__(transport, engine, agreement)
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
        self._handlers: Final = Dispatcher(self.ws, engine.slot, self._tasks, self.release)
        self._dispatcher = self._handlers

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
