"""One TCP connection: its requests one after the other, each through `fetch`, until its end or its upgrade.

Who answers what is decided here; reading and writing are `_http_stream.py`'s. `serve` runs one session in the task of
each connection. A WebSocket's life is not here: the server runs it.
"""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar, cast

import trio

from trio_bunws._http_stream import LOST, HttpStream
from trio_bunws._request import Request, Upgrade
from trio_bunws._response import Response
from trio_bunws._transport import LINGER_TIME
from trio_bunws._wire.http import HttpError
from trio_bunws._wire.upgrade import Refusal, check_handshake

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from trio_bunws._server import Server
    from trio_bunws._transport import Transport
    from trio_bunws._wire.http import RequestHead

T = TypeVar("T")
Handover: TypeAlias = tuple[Request, Upgrade[Any], bytes]
"""What becomes a WebSocket: the request, its upgrade, and the bytes that came after the head."""

logger = logging.getLogger("trio_bunws.http")


class Session(Generic[T]):
    """The life of one connection.

    Args:
        transport: the connection; the session closes it.
        server: whose `fetch` and WebSockets these are.
    """

    __slots__ = ("_server", "_stopped", "_stream", "_transport")

    def __init__(self, transport: Transport, server: Server[T]) -> None:
        self._transport: Final = transport
        self._server: Final = server
        self._stream: HttpStream | None = None  # while this is HTTP
        self._stopped = False

    async def run(self) -> None:
        """Serve the connection to its end, as a WebSocket too, and close it.

        Raises no `Exception`: what goes wrong is logged. Cancelling it drops the connection.
        """
        try:
            handover = await self._serve_http()
            if handover is not None:
                running = self._server._run_websocket(self._transport, *handover)
                del handover  # not held for the life of the WebSocket
                await running
        except LOST as exc:
            logger.debug("%s: connection lost: %s", self._transport.remote, exc)
        except Exception:
            logger.exception("%s: the connection failed", self._transport.remote)
        except BaseException:
            # Cancelled or interrupted: no lingering, and no `Cancelled` of the closing instead of what comes by here.
            self._transport.abort()
            with trio.move_on_after(LINGER_TIME, shield=True):
                await self._transport.aclose()
            raise
        await self._transport.aclose()

    def stop(self) -> None:
        """Take no more requests: end at once if there is none, else after its response. No WebSocket is touched."""
        self._stopped = True
        if self._stream is not None:
            self._stream.stop()

    async def _serve_http(self) -> Handover | None:
        server = self._server
        stream = self._stream = HttpStream(self._transport, server._limits, server._max_request_body_size)
        try:
            again = True
            while again and not (self._stopped or server._stopping):
                head = await stream.next_head(server._idle_timeout)
                if head is None:
                    break
                outcome = await self._answer(stream, head)
                if not isinstance(outcome, bool):
                    return outcome
                again = outcome
        except HttpError as exc:
            logger.info("%s: request refused: %s", self._transport.remote, exc)
            await stream.refuse(exc.status, exc.reason)
        finally:
            # Its buffers and scopes are of no use to a WebSocket.
            self._stream = None
        return None

    async def _answer(self, stream: HttpStream, head: RequestHead) -> Handover | bool:
        """Answer one request; return whether another may follow, or what becomes a WebSocket."""
        server = self._server
        handshake = check_handshake(head) if server._slot is not None else None
        if isinstance(handshake, Refusal):
            logger.info("%s: handshake refused: %s", self._transport.remote, handshake.reason)
            await stream.refuse(*handshake)
            return False
        request = Request(head.raw, stream, self._transport.remote, tls=self._transport.tls)
        request._handshake = handshake
        server._pending_requests += 1
        try:
            with stream.answering(head, server._idle_timeout):
                response = await self._ask(stream, request)
                upgrade = request._upgrade
                if response is None and upgrade is not None:
                    return request, upgrade, stream.take_trailing()
                return await stream.respond(request, response or _plain_500(), last=self._stopped or server._stopping)
        finally:
            server._pending_requests -= 1
            request._finish()
        logger.warning(
            "%r: no progress for %s s, aborted; server.timeout(request, seconds) allows more", request, stream.timeout
        )
        self._transport.abort()
        return False

    async def _ask(self, stream: HttpStream, request: Request) -> Response | None:
        """Ask the application; return None if it has upgraded the request, or if what it returned is logged."""
        server = self._server
        fetch, is_async = server._fetch, server._fetch_async  # before it reloads itself
        if fetch is None:
            request._answered = True
            return _without_fetch(request)
        try:
            result: object = fetch(request, server)
            if is_async:
                result = await cast("Awaitable[object]", result)
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
            logger.error("fetch returned None for %r without upgrading it: return a Response", request)
        else:
            _log_type(f"fetch must return a Response or None for {request!r}", result)
        return None

    async def _on_error(self, request: Request, exc: Exception) -> Response | None:
        """Ask the application for the response to an exception of `fetch`; None: it has none, and that is logged."""
        server = self._server
        on_error, is_async = server._error, server._error_async
        if on_error is not None:
            try:
                result: object = on_error(exc)
                if is_async:
                    result = await cast("Awaitable[object]", result)
            except Exception:
                logger.exception("the error handler failed for %r", request)
            else:
                if isinstance(result, Response):
                    return result
                if result is not None:
                    _log_type(f"error must return a Response for {request!r}", result)
        logger.error("fetch failed for %r", request, exc_info=exc)
        return None


def _plain_500() -> Response:
    return Response("Internal Server Error", 500)


def _without_fetch(request: Request) -> Response | None:
    """Upgrade every handshake, for a server that has nothing but WebSockets."""
    if request._handshake is None:
        return Response("this is a WebSocket server", 426, [("Upgrade", "websocket"), ("Connection", "Upgrade")])
    request._upgrade = Upgrade(None, None, None)
    return None


def _log_type(demand: str, result: object) -> None:
    """Log a wrong result as the `TypeError` that it is."""
    if inspect.iscoroutine(result):
        result.close()  # else Python warns that it was never awaited
    error = TypeError(f"{demand}, not {result!r}")
    logger.error("%s", error, exc_info=error)
