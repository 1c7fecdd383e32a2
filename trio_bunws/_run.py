"""One run of a server, from listening to the end of its last connection: its tasks, and their orderly end.

run > listeners | hub | poller | sweeper | broker | sockets: the sockets' nursery outlives the listeners, so that a
shutdown can drain. `_serve.py` makes a run and ends it; what a connection says is `_session.py`'s.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Generic

import attrs
import trio

from trio_bunws._app_calls import without_failures
from trio_bunws._engine import Engine
from trio_bunws._handlers import HandlerSlot, WebSocketHandler
from trio_bunws._log_fields import of_peer
from trio_bunws._poller import Poller, make_poller
from trio_bunws._relay import Relay
from trio_bunws._server import Server
from trio_bunws._session import Session
from trio_bunws._stopping import inside
from trio_bunws._stream_transport import start_tls
from trio_bunws._wire.http import error_response

if TYPE_CHECKING:
    import ssl

    from typing_extensions import TypeVar

    from trio_bunws._broker import Broker
    from trio_bunws._listeners import Address, Listening
    from trio_bunws._options import Limits
    from trio_bunws._server import Fetch, OnError
    from trio_bunws._transport import Transport

    # PEP 696: where nothing names the sockets' data, it is None.
    T = TypeVar("T", default=None)
else:
    from typing import TypeVar

    T = TypeVar("T")

logger = logging.getLogger("trio_bunws.server")


@attrs.define(eq=False, kw_only=True)
class Run(Generic[T]):
    """One run of a server: everything that happens between listening and the end of the last connection."""

    fetch: Fetch[T] | None
    websocket: WebSocketHandler[T] | None
    error: OnError | None
    limits: Limits
    max_request_body_size: int
    idle_timeout: float
    broker: Broker | None
    tls: ssl.SSLContext | None
    places: list[Listening]
    address: Address
    server: Server[T] = attrs.field(init=False)
    poller: Poller | None = attrs.field(init=False, default=None)
    started: trio.Event = attrs.field(init=False, factory=trio.Event)
    # Shielded, so that sockets are closed in order when the surroundings are cancelled: `end` sets its deadline then.
    scope: trio.CancelScope = attrs.field(init=False, factory=partial(trio.CancelScope, shield=True, deadline=math.inf))

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Serve until `Server.stop` and the end of the last connection."""
        failure: BaseException | None = None
        try:
            with self.scope:
                async with trio.open_nursery() as sockets:
                    self.server = server = self._make_server(sockets)
                    inside.set(server)
                    sockets.start_soon(server._engine.hub.run)
                    self.poller = make_poller(server._engine.hub)
                    if self.poller is not None:
                        sockets.start_soon(self.poller.run)
                    sockets.start_soon(server._engine.sweeper.run)
                    if (relay := server._engine.relay) is not None:
                        await sockets.start(relay.run)
                    self.started.set()
                    await self._accept()
                    await server._admission.wait_empty()
                    if relay is not None:
                        with trio.move_on_after(self.limits.close_timeout):
                            await relay.flush()  # what close handlers have published, too
                    server._stopped.set()
                    sockets.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            failure = unwrapped(group)
        finally:
            self.server._stopped.set()  # also if it was cut short: somebody may wait for it
            with trio.CancelScope(deadline=trio.current_time() + self.limits.close_timeout, shield=True):
                await self._close_places()
        if failure is not None:
            raise failure

    def end(self, within: float) -> None:
        """Stop and close everything; what is not done after so many seconds is cancelled."""
        self.scope.deadline = trio.current_time() + within
        if self.started.is_set():
            self.server.stop(True)
        else:
            self.scope.cancel()

    def _make_server(self, sockets: trio.Nursery) -> Server[T]:
        handler: WebSocketHandler[T] = WebSocketHandler() if self.websocket is None else self.websocket
        relay = None if self.broker is None else Relay(self.broker)
        server = Server(
            fetch=self.fetch,
            websocket=self.websocket,
            error=self.error,
            engine=Engine(HandlerSlot(handler), self.limits, sockets, relay),
            max_request_body_size=self.max_request_body_size,
            idle_timeout=self.idle_timeout,
        )
        server._url, server._hostname, server._port = self.address
        return server

    async def _accept(self) -> None:
        with self.server._accepting:
            async with trio.open_nursery() as listening:
                for place in self.places:
                    listening.start_soon(place.accept, self._accepted)
        await self._close_places()

    async def _close_places(self) -> None:
        for place in self.places:
            await place.aclose()

    def _accepted(self, transport: Transport) -> None:
        server = self.server
        if self.poller is not None:
            transport.poll_with(self.poller)
        if not server._admission.admit(transport.remote):
            server._engine.nursery.start_soon(self._refuse, transport)
            return
        # TLS needs a task. So does who comes while the server stops: `stop` has been to those that wait without one.
        session = None if self.tls is not None or server._stopping else Session(transport, server)
        if session is None or not session.attend(self._start):
            self._start(transport, session)

    def _start(self, transport: Transport, session: Session[T] | None) -> None:
        self.server._engine.nursery.start_soon(self._serve_connection, transport, session)

    @trio.lowlevel.enable_ki_protection
    async def _refuse(self, transport: Transport) -> None:
        """Say 503 if that takes no waiting, and close without lingering: to refuse must cost less than to serve."""
        if transport.direct and self.tls is None:
            with suppress(trio.BrokenResourceError):
                transport.try_write(error_response(503, "too many connections"))
        transport.abort()
        await transport.aclose()

    @trio.lowlevel.enable_ki_protection
    async def _serve_connection(self, transport: Transport, session: Session[T] | None) -> None:
        """Run a session, a new one if there is none, in a task; its connection is counted until it is over."""
        server = self.server
        goes_on = False  # without a task, as a WebSocket; `_start` is called again then
        try:
            with trio.CancelScope() as scope:
                if self.tls is not None:
                    transport = await self._start_tls(transport, self.tls, scope)
                session = session or Session(transport, server)
                if session.is_http:
                    server._http[transport] = session.stop, scope
                goes_on = await session.run()
        except trio.BrokenResourceError as exc:
            fields = of_peer(transport.remote)
            logger.info("%s: TLS handshake failed: %s", fields["peer"], exc, extra=fields)
        except Exception:
            fields = of_peer(transport.remote)
            logger.exception("%s: the connection failed", fields["peer"], extra=fields)
        except BaseExceptionGroup as group:
            raise without_failures(group) from None
        finally:
            if not goes_on:
                server._http.pop(transport, None)
                server._admission.leave(transport.remote)

    async def _start_tls(self, transport: Transport, context: ssl.SSLContext, scope: trio.CancelScope) -> Transport:
        """Begin TLS; a server that stops does not wait for the handshake, for nothing has been asked yet."""
        http = self.server._http
        http[transport] = scope.cancel, scope
        try:
            return await start_tls(transport, context, self.limits.handshake_timeout)
        finally:
            del http[transport]


def unwrapped(exc: BaseException) -> BaseException:
    """Return what our nurseries have wrapped, unless it is several exceptions."""
    while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return exc
