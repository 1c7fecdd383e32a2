"""`reconnecting`: one open `WebSocket` after the other, with growing pauses between attempts.

Each socket lives in a system task of trio, so that a loop may be left at any place. When to connect and when to give up
is decided here; what happens on a connection is `_client.py`'s.
"""

from __future__ import annotations

import logging
import ssl
import weakref
from contextvars import copy_context
from random import random
from typing import TYPE_CHECKING, Final, final

import trio

from trio_bunws._client import WebSocket
from trio_bunws._errors import HandshakeError, RemoteProtocolError
from trio_bunws._options import check_timeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from types import TracebackType
    from typing import Self, Unpack

    from trio_bunws._client_options import WebSocketOptions

logger = logging.getLogger("trio_bunws.reconnect")

SWITCHING: Final = 101
MOVED: Final = frozenset({301, 308})
"""Redirects for good."""
PASSING: Final = frozenset({408, 425, 429})
"""Client errors (4xx) that may be over the next time: it took too long, came too early, or too often."""
TRANSIENT: Final = (OSError, trio.BrokenResourceError, trio.TooSlowError, RemoteProtocolError, HandshakeError)
"""What an opening may raise; the next one may succeed, unless `is_final`."""


def reconnecting(
    url: str,
    protocols: str | Iterable[str] | None = None,
    *,
    initial_delay: float = 1.0,
    max_delay: float = 60.0,
    stable_after: float = 30.0,
    connect: Callable[[], Awaitable[trio.abc.Stream]] | None = None,
    **options: Unpack[WebSocketOptions],
) -> Reconnecting:
    """Iterate over connected sockets: after each one, the next step of the loop connects again (beyond Bun).

    Example::

        async for ws in reconnecting("wss://example.com/feed"):
            try:
                async for message in ws:
                    print(message)
            except ConnectionClosed:
                pass  # lost: the loop goes on with the next one

    The sockets are open: use them without `async with`. The next step closes the one before, as leaving its block
    would, if it is not closed already. Leaving the loop otherwise abandons the socket, as a cancellation would; for an
    orderly close, and on Pythons other than CPython, use `async with reconnecting(...) as sockets:` around the loop.

    The first attempt begins at once. Before each further one there is a pause between half and all of `initial_delay`,
    doubled with each attempt up to `max_delay`; after a connection that lasted `stable_after` it starts over. Attempts
    that fail are logged (`trio_bunws.reconnect`, at INFO).

    An error that every further attempt would meet too is raised from the loop: a `HandshakeError` for 401, 403, 404 and
    every other 4xx except 408, 425 and 429, for a permanent redirect, and for a 101 that does not belong to our
    request; a `trio.BrokenResourceError` whose `__cause__` says why the certificate is not trusted, such as a wrong
    name.

    Args:
        url: as for `WebSocket`, like `protocols` and `options`.
        protocols: the subprotocols to offer.
        initial_delay: seconds, the longest first pause. Default: 1.
        max_delay: seconds, the longest pause. Default: 60.
        stable_after: seconds that a connection has to last to count as a success. Default: 30.
        connect: makes the stream of each attempt instead of TCP, as `MemoryListener.connect` does.
        options: those of `WebSocket`.

    Raises:
        TypeError, ValueError: at once, if an argument is of the wrong type, or out of range.
    """
    for name, value in (("initial_delay", initial_delay), ("max_delay", max_delay), ("stable_after", stable_after)):
        check_timeout("reconnecting", name, value)
    if connect is not None and not callable(connect):
        raise TypeError(f"reconnecting expects connect to be an async function, not {connect!r}")
    if protocols is not None and not isinstance(protocols, str):
        protocols = tuple(protocols)  # it is needed for each attempt
    WebSocket(url, protocols, **options)  # raises now, not at the first step

    async def make() -> WebSocket:
        stream = None if connect is None else await connect()
        return WebSocket(url, protocols, stream=stream, **options)

    return Reconnecting(make, initial_delay, max_delay, stable_after)


@final
class Reconnecting:
    """An endless asynchronous iterator of open sockets; made by `reconnecting`, and also a context manager."""

    def __init__(
        self,
        make: Callable[[], Awaitable[WebSocket]],
        initial_delay: float,
        max_delay: float,
        stable_after: float,
    ) -> None:
        self._make: Final = make
        self._initial_delay: Final = initial_delay
        self._max_delay: Final = max_delay
        self._stable_after: Final = stable_after
        self._attempts = 0
        self._opened_at = 0.0
        self._task: SocketTask | None = None
        self._finalizer: weakref.finalize[[trio.lowlevel.TrioToken, trio.CancelScope], Reconnecting] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WebSocket:
        """Close the socket before, and return the next one, open. A checkpoint."""
        if self._task is not None:
            stable = trio.current_time() - self._opened_at >= self._stable_after
            await self.aclose()
            self._attempts = 1 if stable else self._attempts + 1
        while True:
            await trio.sleep(self._delay())
            try:
                ws = await self._make()
                await self._open(ws)
            except TRANSIENT as exc:
                if is_final(exc):
                    raise
                self._attempts += 1
                self._log_failure(exc)
            else:
                self._opened_at = trio.current_time()
                return ws

    def _log_failure(self, exc: Exception) -> None:
        # Not a refusal's `repr`, which has the server's headers, nor its words, which may have a URL.
        status = exc.status if isinstance(exc, HandshakeError) else None
        words = exc if status is None else f"HTTP status {status}"
        fields = {"attempt": self._attempts, "status": status}
        logger.info("attempt %d to connect failed: %s: %s", self._attempts, type(exc).__name__, words, extra=fields)

    def _delay(self) -> float:
        """Return the pause before the next attempt, the first of which begins at once."""
        if not self._attempts:
            return 0
        # 63 doublings are more than any delay, and never too many for a float.
        longest = min(self._max_delay, self._initial_delay * 2.0 ** min(self._attempts - 1, 63))
        return longest * (1 + random()) / 2  # noqa: S311  # spreads clients, and keeps no secret

    async def _open(self, ws: WebSocket) -> None:
        """Open a socket, in a task that this iterator's end will end."""
        task = SocketTask(ws)
        trio.lowlevel.spawn_system_task(task.run, name=f"reconnecting to {ws.url}", context=copy_context())
        try:
            await task.settled.wait()
        except BaseException:
            task.scope.cancel()
            raise
        if task.failure is not None:
            raise task.failure
        self._task = task
        self._finalizer = weakref.finalize(self, _abandon, trio.lowlevel.current_trio_token(), task.scope)
        self._finalizer.atexit = False

    async def aclose(self) -> None:
        """Close the socket that was returned last, and wait for its end, as leaving its block would. A checkpoint.

        Raises:
            Exception: what one of its listeners has raised.
        """
        await trio.lowlevel.checkpoint()
        task, self._task = self._task, None
        if task is None:
            return
        assert self._finalizer is not None  # made with the task
        self._finalizer.detach()
        task.leave.set()
        try:
            await task.over.wait()
        except BaseException:
            task.scope.cancel()
            raise
        if task.failure is not None:
            raise task.failure

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()  # noqa: ASYNC102  # a cancellation cancels the socket


class SocketTask:
    """The task in which one socket lives, from its opening to its end."""

    def __init__(self, ws: WebSocket) -> None:
        self.ws: Final = ws
        self.scope: Final = trio.CancelScope()
        """Cancels it: a Close with 1001 is offered."""
        self.settled: Final = trio.Event()
        """Set when the socket is open, or will not be."""
        self.over: Final = trio.Event()
        """Set when its block has been left."""
        self.leave: Final = trio.Event()
        """Set it to have the socket closed."""
        self.failure: Exception | None = None
        """What the socket's block has raised."""

    async def run(self) -> None:
        """Open the socket, and keep it until it is to be left. A system task: nothing may be raised out of it."""
        try:
            with self.scope:
                async with self.ws:
                    self.settled.set()
                    await self.leave.wait()
        except Exception as exc:  # noqa: BLE001  # raised by who waits for it
            self.failure = exc
        finally:
            self.settled.set()
            self.over.set()


def is_final(exc: BaseException) -> bool:
    """Tell whether another attempt would end in the same way.

    So it is where the server (or the proxy) answers that we must not connect, or not like this: every 4xx but 408, 425
    and 429, the redirects 301 and 308, and a 101 that is no answer to our request; and where its TLS certificate is not
    to be trusted, as when it is for another name.
    """
    if isinstance(exc, HandshakeError):
        status = exc.status
        return status == SWITCHING or status in MOVED or (400 <= status < 500 and status not in PASSING)
    return isinstance(exc.__cause__, ssl.SSLCertVerificationError)


def _abandon(token: trio.lowlevel.TrioToken, scope: trio.CancelScope) -> None:
    """End a socket whose iterator is gone, from whatever thread the collector runs in."""
    try:
        token.run_sync_soon(scope.cancel)
    except trio.RunFinishedError:
        pass  # the socket has ended with the run
