"""The life of one `WebSocket`, from the opening handshake to the end of its last task, as the block sees it.

`_client.py` has the methods that an application calls; here are the tasks: who is awaited, cancelled and told, and
what comes out of the block. Each client has a nursery, hub and sweeper of its own.
"""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from trio_bunws._announcer import announce
from trio_bunws._client_connection import FAILED, ClientConnection
from trio_bunws._client_endpoint import never_opened
from trio_bunws._client_events import CloseEvent, ErrorEvent
from trio_bunws._close import ABNORMAL, NO_CODE, CloseFrame
from trio_bunws._connect import open_websocket
from trio_bunws._engine import Engine
from trio_bunws._errors import ConnectionClosed
from trio_bunws._handlers import HandlerSlot
from trio_bunws._keep_alive import KeepAlive
from trio_bunws._options import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio_bunws._binary_type import BinaryType
    from trio_bunws._client import WebSocket
    from trio_bunws._client_endpoint import ClientEndpoint
    from trio_bunws._client_events import Listeners
    from trio_bunws._client_options import ClientOptions
    from trio_bunws._transport import Transport
    from trio_bunws._wire.opening import Opened

LEFT: Final = CloseFrame(NO_CODE, "")


class ClientLife:
    """What is behind one `WebSocket`, before, while and after it is open."""

    __slots__ = (
        "_connection",
        "_listeners",
        "_opening",
        "_ws",
        "binary_type",
        "endpoint",
        "entered",
        "extensions",
        "keep_alive",
        "options",
        "paused",
    )

    def __init__(self, ws: WebSocket, options: ClientOptions, listeners: Listeners) -> None:
        self._ws: Final = ws
        self._listeners: Final = listeners
        self._opening: Final = trio.CancelScope()
        self._connection: ClientConnection | None = None
        self.options: Final = options
        self.keep_alive: Final = KeepAlive(options.ping_interval, options.ping_timeout)
        self.endpoint: ClientEndpoint | None = None
        """The connection, open or closed; closed also if it never was open, and never will be."""
        self.binary_type: BinaryType = "bytes"
        self.extensions = ""
        self.entered = False
        self.paused = False
        """It is to be paused when it opens."""

    def give_up(self) -> None:
        """End the opening, under way or to come."""
        self.endpoint = never_opened()
        self._opening.cancel()

    @asynccontextmanager
    async def live(self) -> AsyncGenerator[None]:
        """Open; be open; leave."""
        self.entered = True
        transport, opened = await self._open()
        at_most = self.options.close_timeout
        failure: BaseException | None = None
        # Shielded, so that the connection outlives the block's cancellation by as much as leaving wants.
        scope = trio.CancelScope(shield=True, deadline=math.inf)
        try:
            async with trio.open_nursery() as nursery:
                # Not `nursery.start`: if it is cancelled it waits for the task, which is shielded from that.
                begun = trio.Event()
                nursery.start_soon(self._serve, scope, nursery, transport, opened, begun)
                # The task begins, or fails, at its first step, which is one of the next: no cancellation comes between.
                while not begun.is_set():
                    await trio.lowlevel.cancel_shielded_checkpoint()
                connection = self._connection
                assert connection is not None  # it has begun
                try:
                    yield
                except Exception:
                    await connection.leave(FAILED, at_most)  # noqa: ASYNC120 - a cancellation wins, as anywhere
                    raise
                except BaseException:
                    await connection.abandon()  # noqa: ASYNC102 - shielded, with a deadline, in there
                    raise
                else:
                    await connection.leave(LEFT, at_most)
                finally:
                    scope.deadline = trio.current_time() + at_most  # only the transport is left to close
        except BaseExceptionGroup as group:
            # The nursery wraps once; what the block itself raised as a group stays one.
            if len(group.exceptions) != 1:
                raise
            failure = group.exceptions[0]
        if failure is not None:
            raise failure  # out here, so that it keeps its own cause and context

    async def _open(self) -> tuple[Transport, Opened]:
        try:
            try:
                return await self._open_in_time()
            except BaseException:
                self.endpoint = never_opened()
                raise
        except Exception as exc:
            await self._announce_failure(exc)  # noqa: ASYNC120 - a cancellation wins, as anywhere
            raise

    async def _open_in_time(self) -> tuple[Transport, Opened]:
        within = self.options.open_timeout
        made: tuple[Transport, Opened] | None = None
        with self._opening, trio.move_on_after(within):
            made = await open_websocket(self.options)
        if self._opening.cancel_called:
            if made is not None:  # `give_up` came when all was done
                made[0].abort()
                await made[0].aclose()
            raise ConnectionClosed(None, None)
        if made is None:
            raise trio.TooSlowError(f"{self.options.target.authority} did not open a WebSocket within {within} s")
        return made

    async def _announce_failure(self, exc: Exception) -> None:
        """Tell the listeners, who have `close_timeout` for it."""
        with trio.move_on_after(self.options.close_timeout):
            await announce(self._listeners, ErrorEvent(self._ws, exc))
            await announce(self._listeners, CloseEvent(self._ws, ABNORMAL.code, ABNORMAL.reason, was_clean=False))

    async def _serve(
        self,
        scope: trio.CancelScope,
        block: trio.Nursery,
        transport: Transport,
        opened: Opened,
        begun: trio.Event,
    ) -> None:
        """Run the connection to its end, in `scope`; `begun` is set when it is open and told, or has failed."""
        try:
            with scope:
                async with trio.open_nursery() as nursery:
                    connection = self._make_connection(transport, opened, nursery, block)
                    connection.announce_opening()
                    begun.set()
                    await connection.run(b"", opened.trailing)
                    await transport.aclose()
                    nursery.cancel_scope.cancel()
        finally:
            begun.set()
            transport.abort()
            await transport.aclose()

    def _make_connection(
        self, transport: Transport, opened: Opened, nursery: trio.Nursery, block: trio.Nursery
    ) -> ClientConnection:
        """Make the open connection, with its hub and sweeper in `nursery`; listeners' exceptions go to `block`."""
        options = self.options
        limits = Limits(close_timeout=options.close_timeout, max_fragments=options.max_fragments)
        engine = Engine(HandlerSlot(options.handler), limits, nursery)
        nursery.start_soon(engine.hub.run)
        nursery.start_soon(engine.sweeper.run)
        connection = self._connection = ClientConnection(
            transport,
            engine,
            opened,
            target=self._ws,
            listeners=self._listeners,
            keep_alive=self.keep_alive,
            report=lambda exc: block.start_soon(fail, exc),
        )
        self.extensions = opened.extensions
        self.endpoint = connection.ws
        connection.ws.binary_type = self.binary_type
        if self.paused:
            connection.ws.pause()
        return connection


async def fail(exc: Exception) -> None:
    """Be a task of the block that raises what a listener has raised."""
    raise exc
