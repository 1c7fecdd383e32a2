"""`serve` and `open_server`: the nurseries of a server, and its orderly end.

serve > listeners | hub | sweeper | broker | sockets: the sockets' nursery outlives the listeners, so that a shutdown
can drain. Exception groups are unwrapped here, at the public edge, and nowhere else.
"""

from __future__ import annotations

import logging
import math
import os
import ssl
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Generic

import attrs
import trio

from trio_bunws._app_calls import without_failures
from trio_bunws._broker import Broker
from trio_bunws._engine import Engine
from trio_bunws._handlers import UNSET, HandlerSlot, WebSocketHandler, check_handlers
from trio_bunws._listeners import listen_tcp, listen_unix, take_listeners
from trio_bunws._log_fields import of_peer
from trio_bunws._options import Limits, check_bool, check_int, check_timeout
from trio_bunws._poller import Poller, make_poller
from trio_bunws._relay import Relay
from trio_bunws._server import MAX_TIMEOUT, Server
from trio_bunws._session import Session
from trio_bunws._stopping import inside
from trio_bunws._stream_transport import start_tls
from trio_bunws._wire.http import error_response

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from typing_extensions import TypeVar

    from trio_bunws._listeners import Address, Listening
    from trio_bunws._server import Fetch, OnError
    from trio_bunws._transport import Transport

    # PEP 696: where nothing names the sockets' data, it is None.
    T = TypeVar("T", default=None)
else:
    from typing import TypeVar

    T = TypeVar("T")

logger = logging.getLogger("trio_bunws.server")


class DefaultStr(str):
    """A default that can be told from the same value given by the caller."""

    __slots__ = ()


class DefaultInt(int):
    """A default that can be told from the same value given by the caller."""

    __slots__ = ()


HOSTNAME: Final = DefaultStr("127.0.0.1")
PORT: Final = DefaultInt(3000)
MAX_BODY: Final = 128 * 1024 * 1024
LIMITS: Final = Limits()


async def serve(
    fetch: Fetch[T] | None = None,
    websocket: WebSocketHandler[T] | None = None,
    *,
    error: OnError | None = None,
    hostname: str = HOSTNAME,
    port: int = PORT,
    unix: str | os.PathLike[str] | None = None,
    reuse_port: bool = False,
    tls: ssl.SSLContext | None = None,
    listeners: Iterable[trio.abc.Listener[trio.abc.Stream]] | None = None,
    broker: Broker | None = None,
    limits: Limits = LIMITS,
    max_request_body_size: int = MAX_BODY,
    idle_timeout: float = 10.0,
    task_status: trio.TaskStatus[Server[T]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve HTTP and WebSockets until `server.stop()` has finished, or this is cancelled (Bun: `Bun.serve`).

    `server = await nursery.start(serve, fetch, handler)` returns once it listens. When cancelled, it stops listening,
    closes all sockets with 1001 and lets them drain for at most `limits.close_timeout`.

    Args:
        fetch: `fetch(request, server)`, plain or `async`, returns the `Response`, or `None` after `server.upgrade`.
            Without it every WebSocket handshake is upgraded, and other requests get 426.
        websocket: the handlers and options of WebSockets. Without it there are none.
        error: `error(exc)`, plain or `async`, may turn an exception of `fetch` into a `Response`.
        hostname: the address or name to listen on; ``0.0.0.0`` is every IPv4 address, ``::`` every IPv6 and IPv4
            address. Default: 127.0.0.1, this machine only.
        port: the TCP port; 0 picks a free one. Default: 3000.
        unix: the path of a unix socket to listen on instead.
        reuse_port: let several processes listen on this port (`SO_REUSEPORT`).
        tls: speak TLS with this context.
        listeners: serve these listeners instead; they are owned, and closed, by the server.
        broker: publish to the subscribers of all servers that share it. Default: None, those of this one.
        limits: what is granted to peers.
        max_request_body_size: bytes of a request's body; beyond it 413. Default: 128 MiB.
        idle_timeout: seconds without progress after which an HTTP connection is dropped; 0: never. Default: 10. The
            pauses in one request's body may be 300 seconds in all (or one such time), and 1 second for each KiB of it.
        task_status: set by `nursery.start`.

    Raises:
        TypeError, ValueError: if an argument is of the wrong type or out of range.
        OSError: if it cannot listen.
        BrokerError: if the broker refuses this server; one that is only away does not keep it from serving.
    """
    async with open_server(
        fetch,
        websocket,
        error=error,
        hostname=hostname,
        port=port,
        unix=unix,
        reuse_port=reuse_port,
        tls=tls,
        listeners=listeners,
        broker=broker,
        limits=limits,
        max_request_body_size=max_request_body_size,
        idle_timeout=idle_timeout,
    ) as server:
        task_status.started(server)
        await server._stopped.wait()


@asynccontextmanager
async def open_server(
    fetch: Fetch[T] | None = None,
    websocket: WebSocketHandler[T] | None = None,
    *,
    error: OnError | None = None,
    hostname: str = HOSTNAME,
    port: int = PORT,
    unix: str | os.PathLike[str] | None = None,
    reuse_port: bool = False,
    tls: ssl.SSLContext | None = None,
    listeners: Iterable[trio.abc.Listener[trio.abc.Stream]] | None = None,
    broker: Broker | None = None,
    limits: Limits = LIMITS,
    max_request_body_size: int = MAX_BODY,
    idle_timeout: float = 10.0,
) -> AsyncGenerator[Server[T]]:
    """Serve while the `async with` block runs; it yields the `Server`, which listens already (beyond Bun).

    Leaving the block is `stop(True)`, and waits for the end; leaving it by an exception or cancellation does the same
    within `limits.close_timeout`. The arguments, and what they raise, are those of `serve`. Exceptions of the block
    come out as they are, in no group.
    """
    check_handlers("serve", fetch, UNSET if websocket is None else websocket, error)
    if fetch is None and websocket is None:
        raise TypeError("serve expects fetch, websocket or both")
    check_bool("serve", "reuse_port", reuse_port)
    check_int("serve", "max_request_body_size", max_request_body_size, 0)
    check_timeout("serve", "idle_timeout", idle_timeout, maximum=MAX_TIMEOUT)
    if not isinstance(limits, Limits):
        raise TypeError(f"serve expects limits to be a Limits, not {limits!r}")
    if tls is not None and not isinstance(tls, ssl.SSLContext):
        raise TypeError(f"serve expects tls to be an ssl.SSLContext, not {tls!r}")
    if broker is not None and not isinstance(broker, Broker):
        raise TypeError(f"serve expects broker to be a Broker, not {broker!r}")
    places, address = await listen(
        hostname=hostname, port=port, unix=unix, reuse_port=reuse_port, tls=tls, listeners=listeners
    )
    run = Run(
        fetch=fetch,
        websocket=websocket,
        error=error,
        limits=limits,
        max_request_body_size=max_request_body_size,
        idle_timeout=idle_timeout,
        broker=broker,
        tls=tls,
        places=places,
        address=address,
    )
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            # Not `nursery.start`: in a cancelled scope that would leave a task behind that nobody can end.
            nursery.start_soon(run.run)
            try:
                await run.started.wait()
                yield run.server
            except BaseException:
                run.end(limits.close_timeout)
                raise
            run.end(3 * limits.close_timeout)  # the close, handlers that still run, and async close handlers
    except BaseExceptionGroup as group:
        # The nursery wraps once; what the block itself raised as a group stays one.
        if len(group.exceptions) != 1:
            raise
        failure = group.exceptions[0]
    if failure is not None:
        raise failure  # out here, so that it keeps its own cause and context


async def listen(
    *,
    hostname: str,
    port: int,
    unix: str | os.PathLike[str] | None,
    reuse_port: bool,
    tls: ssl.SSLContext | None,
    listeners: Iterable[trio.abc.Listener[trio.abc.Stream]] | None,
) -> tuple[list[Listening], Address]:
    """Check where `serve` is to listen, and begin to."""
    scheme = "http" if tls is None else "https"
    named = [
        name
        for name, value, default in (("hostname", hostname, HOSTNAME), ("port", port, PORT))
        if value is not default
    ]
    if listeners is not None:
        if unix is not None:
            named.append("unix")
        if named:
            raise TypeError(f"serve expects listeners or {' and '.join(named)}, not both")
        return take_listeners(listeners, scheme)
    if unix is not None:
        if named:
            raise TypeError(f"serve expects unix or {' and '.join(named)}, not both")
        if not isinstance(unix, (str, os.PathLike)):
            raise TypeError(f"serve expects unix to be a path, not {unix!r}")
        if not os.fspath(unix):  # the kernel would make up a name that nobody knows
            raise ValueError("serve expects unix to be a non-empty path")
        return listen_unix(unix)
    if not isinstance(hostname, str):
        raise TypeError(f"serve expects hostname to be a string, not {hostname!r}")
    check_int("serve", "port", port, 0)
    if port > 65535:
        raise ValueError(f"serve expects port to be at most 65535, not {port}")
    return await listen_tcp(str(hostname), int(port), reuse_port=reuse_port, scheme=scheme)


def unwrapped(exc: BaseException) -> BaseException:
    """Return what our nurseries have wrapped, unless it is several exceptions."""
    while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return exc


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

    async def _refuse(self, transport: Transport) -> None:
        """Say 503 if that takes no waiting, and close without lingering: refusing must cost less than serving."""
        if transport.direct and self.tls is None:
            with suppress(trio.BrokenResourceError):
                transport.try_write(error_response(503, "too many connections"))
        transport.abort()
        await transport.aclose()

    async def _serve_connection(self, transport: Transport, session: Session[T] | None) -> None:
        """Run a session, a new one if there is none, in a task; its connection is counted until it is over."""
        server = self.server
        goes_on = False
        fields = of_peer(transport.remote)
        try:
            with trio.CancelScope() as scope:
                if self.tls is not None:
                    transport = await self._start_tls(transport, self.tls, scope)
                session = session or Session(transport, server)
                if session.is_http:
                    server._http[transport] = session.stop, scope
                goes_on = await session.run()
        except trio.BrokenResourceError as exc:
            logger.info("%s: TLS handshake failed: %s", fields["peer"], exc, extra=fields)
        except Exception:
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
