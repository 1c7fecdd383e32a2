"""One TCP connection: its requests one after the other, each through `fetch`, until its end or its upgrade.

Who answers what is decided here; reading and writing are `_http_stream.py`'s, a WebSocket's life is `_connection.py`'s.
`_run.py` makes one session for each connection. It runs in a task, started at once or, where a poller reads, when
something must be waited for: a handshake that a plain `fetch` upgrades needs none, nor its WebSocket until its end.
"""

from __future__ import annotations

import inspect
import logging
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar, cast

import trio

from trio_bunws._app_calls import interruptible, interruptibly
from trio_bunws._http_stream import LOST, HttpStream
from trio_bunws._log_fields import of_peer, of_request
from trio_bunws._request import Request, Upgrade
from trio_bunws._response import Response
from trio_bunws._transport import LINGER_TIME
from trio_bunws._wire.http import HttpError
from trio_bunws._wire.upgrade import Handshake, Refusal, check_handshake

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextvars import Context

    from trio_bunws._server import Server
    from trio_bunws._server_connection import ServerConnection
    from trio_bunws._transport import Transport
    from trio_bunws._wire.http import RequestHead

T = TypeVar("T")
Handover: TypeAlias = tuple[Request, Upgrade[Any], bytes]
"""What becomes a WebSocket: the request, its upgrade, and the bytes that came after the head."""

logger = logging.getLogger("trio_bunws.http")


class Asked:
    """One request of a connection, and what `fetch` has said to it, if it was called before there was a task."""

    __slots__ = ("error", "head", "request", "result")

    def __init__(self, head: RequestHead) -> None:
        self.head: Final = head
        self.request: Request | None = None
        """`None`: `fetch` has not been called."""
        self.result: object = None
        self.error: Exception | None = None

    def outcome(self) -> object:
        """Return or raise what `fetch` did."""
        if self.error is not None:
            raise self.error
        return self.result


class Session(Generic[T]):
    """The life of one connection.

    You must call `run`, in a task; or `attend`, and if that returns True wait for its `start`, and `run` then, as
    often as it is called.

    Args:
        transport: the connection; the session closes it.
        server: whose `fetch` and WebSockets these are.
    """

    __slots__ = (
        "_connection",
        "_context",
        "_early",
        "_server",
        "_since",
        "_start",
        "_stopped",
        "_stream",
        "_transport",
    )

    def __init__(self, transport: Transport, server: Server[T]) -> None:
        self._transport: Final = transport
        self._server: Final = server
        self._stream: HttpStream | None = None  # while this is HTTP
        self._stopped = False
        # Without a task yet:
        self._start: Callable[[Transport, Session[T]], None] | None = None
        self._context: Context | None = None
        self._since: float | None = None
        self._early: Asked | HttpError | None = None  # what came of the first read
        self._connection: ServerConnection[T] | None = None  # what became of it

    @property
    def is_http(self) -> bool:
        """Whether it has not become a WebSocket."""
        return self._connection is None

    def attend(self, start: Callable[[Transport, Session[T]], None]) -> bool:
        """Have the first request read by the poller; True: `start` is called when `run` is needed.

        False: that is now, for this transport cannot be read without a task.
        """
        self._start = start
        self._context = context = copy_context()
        self._since = trio.current_time()
        self._server._arrivals.enter(self)
        if self._transport.attend(self, context, self._rouse):
            return True
        self._server._arrivals.leave(self)
        return False

    def _rouse(self) -> None:
        assert self._start is not None  # attend() has set it
        self._server._arrivals.leave(self)
        self._start(self._transport, self)

    def time_over(self) -> None:
        """Be an `Arrival`: nothing has come in time. `run` finds that out."""
        self._transport.rouse()

    def absorb(self, data: bytes) -> bool:
        """Be a `Reader` of the first request: upgrade what can be upgraded at once. False: it is for `run`."""
        self._server._arrivals.leave(self)
        stream = self._stream = self._make_stream()
        try:
            head = stream.first_head(data)
        except HttpError as exc:
            self._early = exc
            return False
        if head is None:
            return False
        asked = self._early = Asked(head)
        upgraded = self._fetch_early(stream, asked)
        if upgraded is None:
            return False
        request, upgrade = upgraded
        request._finish()
        self._stream = self._early = None
        connection, response = self._server._open(self._transport, request, upgrade, self._rouse)
        self._connection = connection
        assert self._context is not None  # attend() has set it
        return connection.attend(response, stream.take_trailing(), self._context)

    def _fetch_early(self, stream: HttpStream, asked: Asked) -> tuple[Request, Upgrade[Any]] | None:
        """Ask a plain `fetch` about a handshake; return what it has upgraded, and leave everything else to `run`."""
        server = self._server
        handshake = None if server._slot is None or server._fetch_async else check_handshake(asked.head)
        if not isinstance(handshake, Handshake):
            return None
        request = asked.request = self._make_request(stream, asked.head, handshake)
        stream.set_timeout(server._idle_timeout)
        server._pending_requests += 1
        try:
            asked.result = self._fetch(request)
        except Exception as exc:  # noqa: BLE001  # `run` deals with it
            asked.error = exc
            return None
        finally:
            server._pending_requests -= 1
        if request._upgrade is None or isinstance(asked.result, Response):
            return None
        return request, request._upgrade

    def flush(self) -> None:
        """Be a `Reader`: write what the handlers of the new WebSocket have sent."""
        if self._connection is not None:
            self._connection.flush()

    async def run(self) -> bool:
        """Serve the connection to its end, as a WebSocket too, and close it.

        True: it has not ended, but needs no task; `start` will be called again. Raises no `Exception`: what goes wrong
        is logged. Cancelling it drops the connection.
        """
        try:
            if await self._serve():
                return True
        except LOST as exc:
            fields = of_peer(self._transport.remote)
            logger.debug("%s: connection lost: %s", fields["peer"], exc, extra=fields)
        except Exception:
            fields = of_peer(self._transport.remote)
            logger.exception("%s: the connection failed", fields["peer"], extra=fields)
        except BaseException:
            # Cancelled or interrupted: do not linger. Shielded, so that closing raises no `Cancelled` in place of this.
            self._transport.abort()
            with trio.move_on_after(LINGER_TIME, shield=True):
                await self._transport.aclose()
            raise
        await self._transport.aclose()
        return False

    async def _serve(self) -> bool:
        """Serve to the end (False), or until no task is needed any more (True)."""
        if self._connection is not None:
            return await self._connection.go_on()
        if self._context is not None:
            self._transport.outcome()
        handover = await self._serve_http()
        if handover is None:
            return False
        request, upgrade, trailing = handover
        rouse = None if self._start is None else self._rouse
        self._connection, response = self._server._open(self._transport, request, upgrade, rouse)
        running = self._connection.run(response, trailing)
        del handover, request, upgrade, response, trailing  # not held for the life of the WebSocket
        return await running

    def stop(self) -> None:
        """Take no more requests: end at once if there is none, else after its response. No WebSocket is touched."""
        self._stopped = True
        if self._stream is not None:
            self._stream.stop()
        elif self._start is not None and self.is_http:
            self._transport.rouse()

    def _make_stream(self) -> HttpStream:
        server = self._server
        return HttpStream(self._transport, server._limits, server._max_request_body_size, since=self._since)

    def _make_request(self, stream: HttpStream, head: RequestHead, handshake: Handshake | None) -> Request:
        request = Request(head.raw, stream, self._transport.remote, tls=self._transport.tls)
        request._handshake = handshake
        return request

    async def _serve_http(self) -> Handover | None:
        """Answer requests until there is none any more, or (returned) one of them becomes a WebSocket."""
        stream = self._stream = self._stream or self._make_stream()
        early, self._early = self._early, None
        try:
            if isinstance(early, HttpError):
                raise early
            asked = early or await self._next(stream)
            while asked is not None:
                outcome = await self._answer(stream, asked)
                if not isinstance(outcome, bool):
                    return outcome
                asked = await self._next(stream) if outcome else None
        except HttpError as exc:
            fields = of_peer(self._transport.remote, status=exc.status)
            logger.info("%s: request refused: %s", fields["peer"], exc, extra=fields)
            await stream.refuse(exc.status, exc.reason)
        finally:
            # Its buffers and scopes are of no use to a WebSocket.
            self._stream = None
        return None

    async def _next(self, stream: HttpStream) -> Asked | None:
        """Wait for the next request; `None`: none comes, or none is taken any more."""
        if self._stopped or self._server._stopping:
            return None
        head = await stream.next_head(self._server._idle_timeout)
        return None if head is None else Asked(head)

    async def _answer(self, stream: HttpStream, asked: Asked) -> Handover | bool:
        """Answer one request; return whether another may follow, or what becomes a WebSocket."""
        server = self._server
        head, request = asked.head, asked.request
        timeout = stream.timeout  # as `fetch` has set it
        if request is None:
            handshake = check_handshake(head) if server._slot is not None else None
            if isinstance(handshake, Refusal):
                fields = of_peer(self._transport.remote, status=handshake.status)
                logger.info("%s: handshake refused: %s", fields["peer"], handshake.reason, extra=fields)
                await stream.refuse(*handshake)
                return False
            request = self._make_request(stream, head, handshake)
            timeout = server._idle_timeout
        server._pending_requests += 1
        try:
            with stream.answering(head, timeout):
                response = await self._ask(stream, request, asked)
                upgrade = request._upgrade
                if response is None and upgrade is not None:
                    return request, upgrade, stream.take_trailing()
                return await stream.respond(request, response or _plain_500(), last=self._stopped or server._stopping)
        finally:
            server._pending_requests -= 1
            request._finish()
        logger.log(
            logging.INFO if stream.is_peer_late else logging.WARNING,  # no peer may fill the log
            "%r: no progress for %s s, aborted; server.timeout(request, seconds) allows more",
            request,
            stream.timeout,
            extra=of_request(request),
        )
        self._transport.abort()
        return False

    def _fetch(self, request: Request) -> object:
        server = self._server
        return _without_fetch(request) if server._fetch is None else interruptible(server._fetch, request, server)

    async def _ask(self, stream: HttpStream, request: Request, asked: Asked) -> Response | None:
        """Ask the application; return None if it has upgraded the request, or if what it returned is logged."""
        try:
            if asked.request is not None:
                result = asked.outcome()
            elif self._server._fetch_async:
                fetch = cast("Callable[..., Awaitable[object]]", self._server._fetch)
                result = await interruptibly(fetch, request, self._server)
            else:
                result = self._fetch(request)
        except Exception as exc:
            request._answered = True
            request._upgrade = None
            if stream.failure is not None:
                raise stream.failure from exc
            return await self._on_error(request, exc)
        request._answered = True
        if request._upgrade is not None:
            if isinstance(result, Response):
                await stream.discard(result)
            return None
        if isinstance(result, Response):
            return result
        if result is None:
            logger.error(
                "fetch returned None for %r without upgrading it: return a Response", request, extra=of_request(request)
            )
        else:
            _log_type("fetch must return a Response or None", request, result)
        return None

    async def _on_error(self, request: Request, exc: Exception) -> Response | None:
        """Ask the application for the response to an exception of `fetch`; None: it has none, and that is logged."""
        server = self._server
        on_error, is_async = server._error, server._error_async
        if on_error is not None:
            try:
                if is_async:
                    result: object = await interruptibly(cast("Callable[..., Awaitable[object]]", on_error), exc)
                else:
                    result = interruptible(on_error, exc)
            except Exception:
                logger.exception("the error handler failed for %r", request, extra=of_request(request))
            else:
                if isinstance(result, Response):
                    return result
                if result is not None:
                    _log_type("error must return a Response", request, result)
        logger.error("fetch failed for %r", request, exc_info=exc, extra=of_request(request))
        return None


def _plain_500() -> Response:
    return Response("Internal Server Error", 500)


def _without_fetch(request: Request) -> Response | None:
    """Upgrade every handshake, for a server that has nothing but WebSockets."""
    if request._handshake is None:
        return Response("this is a WebSocket server", 426, [("Upgrade", "websocket"), ("Connection", "Upgrade")])
    request._upgrade = Upgrade(None, None, None)
    return None


def _log_type(demand: str, request: Request, result: object) -> None:
    """Log a wrong result as the `TypeError` that it is."""
    if inspect.iscoroutine(result):
        result.close()  # else Python warns that it was never awaited
    error = TypeError(f"{demand} for {request!r}, not {type(result).__name__}")
    logger.error("%s", error, exc_info=error, extra=of_request(request))
