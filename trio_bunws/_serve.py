"""`serve` and `open_server`: their arguments checked, listening begun, and a run of the server around a block.

The run's tasks are `_run.py`'s. Exceptions come out here as they were raised, without the groups of our nurseries.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from trio_bunws._broker import Broker
from trio_bunws._handlers import UNSET, WebSocketHandler, check_handlers
from trio_bunws._listeners import listen_tcp, listen_unix, take_listeners
from trio_bunws._options import Limits, check_bool, check_int, check_timeout, check_tls
from trio_bunws._run import Run
from trio_bunws._server import MAX_TIMEOUT, Server

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Iterable

    from typing_extensions import TypeVar

    from trio_bunws._listeners import Address, Listening
    from trio_bunws._server import Fetch, OnError

    # PEP 696: where nothing names the sockets' data, it is None.
    T = TypeVar("T", default=None)
else:
    from typing import TypeVar

    T = TypeVar("T")


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
        broker: publish to the subscribers of all servers that share it. Default: None, only this server's.
        limits: the limits that peers must keep to.
        max_request_body_size: bytes of a request's body; a longer one gets 413. Default: 128 MiB.
        idle_timeout: seconds without progress after which an HTTP connection is dropped; 0: never. Default: 10. The
            pauses in one request's body may add up to 300 seconds (or to `idle_timeout`, if that is longer), plus 1
            second for each KiB received.
        task_status: set by `nursery.start`.

    Raises:
        TypeError, ValueError: if an argument is of the wrong type or out of range.
        OSError: if it cannot listen.
        BrokerError: if the broker refuses this server; one that is merely unreachable does not keep it from serving.
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
    """Serve while the `async with` block runs; it yields the `Server`, which is already listening (beyond Bun).

    Leaving the block calls `stop(True)` and waits until all has ended; leaving it by an exception or cancellation does
    the same within `limits.close_timeout`. The arguments, and what they raise, are those of `serve`. Exceptions of the
    block propagate as they are, not in a group.
    """
    check_handlers("serve", fetch, UNSET if websocket is None else websocket, error)
    if fetch is None and websocket is None:
        raise TypeError("serve expects fetch, websocket or both")
    check_bool("serve", "reuse_port", reuse_port)
    check_int("serve", "max_request_body_size", max_request_body_size, 0)
    check_timeout("serve", "idle_timeout", idle_timeout, maximum=MAX_TIMEOUT)
    if not isinstance(limits, Limits):
        raise TypeError(f"serve expects limits to be a Limits, not {limits!r}")
    check_tls("serve", tls)
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
    # Told from the defaults by identity: what was named beside `listeners` or `unix` is a mistake, whatever its value.
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
