"""The I/O of HTTP on one connection: heads and bodies in, responses out, and the time that each may take.

What the bytes mean is `_wire/http.py`'s business, and what is answered the session's, which is the only caller. It ends
where a WebSocket begins.
"""

from __future__ import annotations

import logging
import math
import time
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import trio

from trio_bunws._file_body import FileBody
from trio_bunws._headers import Headers
from trio_bunws._log_fields import of_peer, of_request
from trio_bunws._response import Response
from trio_bunws._wire.http import HttpError, HttpProtocol, error_response

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from trio_bunws._options import Limits
    from trio_bunws._request import Request
    from trio_bunws._transport import Transport
    from trio_bunws._wire.http import RequestHead

logger = logging.getLogger("trio_bunws.http")

PIECE: Final = 64 * 1024
"""Bytes; what is written at a time, and so the least progress that keeps a slow reader."""
FILE_PIECE: Final = 256 * 1024
"""Bytes of a file that are in memory at a time: a visit to a worker thread costs as much as copying these."""
DRAIN_LIMIT: Final = 256 * 1024
"""Bytes of a body that `fetch` did not read which are read away, to keep the connection for the next request."""
BODY_PATIENCE: Final = 300.0
"""Seconds that the body of a request may keep us waiting, all its pauses together; or one timeout, if that is more.

Who sends a byte now and then makes progress, and could go on for years. It is what Node grants to a whole request.
"""
BODY_PACE: Final = 1024
"""Bytes of a body that allow a second more: large ones may take longer, on a slow line too."""
LOST: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


class HttpStream:
    """One connection's HTTP. Not used by two tasks at a time; it does not close the transport.

    You must call, in each cycle: `next_head`; `answering`, and inside of its scope what reads the body
    (`read_body`, at will) and `respond`. Or `refuse`, or `take_trailing`, after which nothing is left to call.
    Where the poller has read the first request, `first_head` takes what it read before all that.
    """

    __slots__ = (
        "_begun",
        "_body_size",
        "_http",
        "_idle",
        "_limits",
        "_max_body_size",
        "_scope",
        "_since",
        "_stopped",
        "_timeout",
        "_transport",
        "_waited",
        "failure",
        "is_peer_late",
    )

    def __init__(self, transport: Transport, limits: Limits, max_body_size: int, *, since: float | None = None) -> None:
        """`since`: when the wait for the first request began, if not when that is asked for."""
        self._transport: Final = transport
        self._limits: Final = limits
        self._max_body_size: Final = max_body_size
        self._http: Final = HttpProtocol(limits.max_header_size, limits.max_headers)
        self._idle: trio.CancelScope | None = None  # while no request is here
        self._since = since
        self._scope: trio.CancelScope | None = None  # of the request being answered
        self._timeout = 0.0  # seconds that it may go without progress; 0: any number
        self._body_size = 0  # bytes of its body so far
        self._waited = 0.0  # seconds that these have taken to come
        self._begun = False  # whether some of its response has been sent
        self._stopped = False
        self.failure: Exception | None = None
        """Why the client cannot be read from or written to, if that was tried: its fault, not the application's."""
        self.is_peer_late = False
        """Whether it was the client that was waited for when the time to answer was over."""

    def stop(self) -> None:
        """End a `next_head` that waits."""
        self._stopped = True
        if self._idle is not None:
            self._idle.cancel()

    def first_head(self, data: bytes) -> RequestHead | None:
        """Take what was read, and return the first request's head if it is all there. Raises as `next_head`.

        Without a head `next_head` goes on.
        """
        self._http.feed(data)
        return self._http.next_head()

    async def next_head(self, idle_timeout: float) -> RequestHead | None:
        """Wait for the next request, for ``idle_timeout`` seconds (0: for ever); None: there will be none.

        Raises:
            HttpError: to be refused, after which the connection is over.
        """
        http = self._http
        head = http.next_head()
        if head is not None:
            return head
        # A new connection is there to ask something at once; one that is kept may be idle until a head begins.
        begun = http.buffered > 0 or not self._begun
        deadline = _deadline(self._limits.header_timeout if begun else idle_timeout, self._since)
        self._since = None
        with trio.CancelScope(deadline=deadline) as scope:
            self._idle = scope
            try:
                while head is None:
                    data = await self._transport.receive()
                    if not data:
                        return None
                    if not begun:
                        begun = True
                        scope.deadline = _deadline(self._limits.header_timeout)
                    http.feed(data)
                    head = http.next_head()
            finally:
                self._idle = None
        if scope.cancelled_caught and http.buffered and not self._stopped:
            raise HttpError(408, "the request took too long to arrive")
        return head

    def take_trailing(self) -> bytes:
        """Give away what came after the head."""
        return self._http.take_trailing()

    async def refuse(self, status: int, reason: str, fields: list[tuple[bytes, bytes]] | None = None) -> None:
        """Send a plain response, the connection's last."""
        with trio.move_on_after(self._limits.header_timeout):
            await self._transport.send_all(error_response(status, reason, [*(fields or ()), _date_field()]))

    async def discard(self, response: Response) -> None:
        """Close the body of a response that is not sent."""
        body = response._body
        if not isinstance(body, (bytes, FileBody)):
            async with Closing(body, self._limits.close_timeout):
                pass

    def answering(self, head: RequestHead, timeout: float) -> trio.CancelScope:
        """Return the scope to answer a request in: cancelled after ``timeout`` seconds without progress (0: never).

        Raises:
            HttpError: if its body is too large, which is to be refused.
        """
        if head.content_length > self._max_body_size:
            raise self._too_large()
        self._begun = False
        self._body_size = 0
        self._waited = 0.0
        self.failure = None
        self.is_peer_late = False
        self._timeout = timeout
        self._scope = trio.CancelScope(deadline=_deadline(timeout))
        return self._scope

    def set_timeout(self, seconds: float) -> None:
        """Allow so many seconds without progress from now on; 0: any number. One half of `Exchange`."""
        self._timeout = seconds
        self._progress()

    def _progress(self) -> None:
        if self._scope is not None:
            self._scope.deadline = _deadline(self._timeout)

    @property
    def timeout(self) -> float:
        """Seconds that this request may go without progress."""
        return self._timeout

    async def read_body(self) -> bytes:
        """Return the next bytes of the body, ``b""`` at its end. The other half of `Exchange`.

        Raises:
            HttpError: if the body is too large, too slow or malformed, which is to be refused.
            trio.BrokenResourceError: if the client is gone.
        """
        try:
            await self._accept_body()
            chunk = await self._read_chunk()
            if self._body_size > self._max_body_size:
                raise self._too_large()
        except (HttpError, *LOST) as exc:
            self.failure = exc
            raise
        return chunk

    async def _accept_body(self) -> None:
        interim = self._http.accept_body()
        if interim:
            await self._transport.send_all(interim)

    async def _read_chunk(self) -> bytes:
        chunk = self._http.next_body()
        if chunk is not None:
            # One read may hold ten thousand chunks; the others have their turn between them.
            await trio.lowlevel.checkpoint()
        while chunk is None:
            data = await self._receive_body()
            if not data:
                raise trio.BrokenResourceError("the client ended the connection inside a body")
            self._http.feed(data)
            self._progress()
            chunk = self._http.next_body()
        self._body_size += len(chunk)
        return chunk

    async def _receive_body(self) -> bytes:
        """Wait for the client, unless it has kept us waiting for too long; the time between reads is ours."""
        patience = max(BODY_PATIENCE, self._timeout) if self._timeout else math.inf
        began = trio.current_time()
        with trio.CancelScope(deadline=began + patience + self._body_size / BODY_PACE - self._waited):
            try:
                data = await self._transport.receive()
            except trio.Cancelled:
                self._note_late()
                raise
            self._waited += trio.current_time() - began
            return data
        raise HttpError(408, "the body of the request comes too slowly")

    def _too_large(self) -> HttpError:
        return HttpError(413, f"a body of more than {self._max_body_size} bytes")

    async def respond(self, request: Request, response: Response, *, last: bool = False) -> bool:
        """Send a response, and close its body whatever happens; return whether another request may follow.

        ``last``: none may. The client is told, as it is when its body is too large to be read away.

        Raises:
            HttpError: 500, to be refused, if nothing has been sent yet when it fails. Later it is aborted.
        """
        body = response._body
        if not isinstance(body, (bytes, FileBody)):
            # It may be made of the request's body, and once the head is sent it is too late to ask for that.
            await self._accept_body()
        left = self._http.body_left
        # What cannot be read away hides the next request; and a client that still waits for "100 Continue" may send
        # its body or not.
        close = last or (left is not None and left > DRAIN_LIMIT) or self._http.awaits_continue
        try:
            if isinstance(body, bytes):
                await self._send_bytes(request, response, body, close=close)
            elif isinstance(body, FileBody):
                await self._send_file(request, response, body, close=close)
            else:
                await self._send_stream(request, response, body, close=close)
        except Exception as exc:
            if exc is not self.failure:
                logger.exception("the response to %r failed", request, extra=of_request(request))
            elif isinstance(exc, LOST):
                raise
            if not self._begun:
                raise HttpError(500, "Internal Server Error") from exc
            self._transport.abort()
            return False
        return not close and await self._end_cycle()

    async def _end_cycle(self) -> bool:
        """Read away what is left of the body; return whether another request may follow."""
        room = DRAIN_LIMIT
        if self._http.keeps_alive:
            try:
                while room >= 0 and not self._http.body_done:
                    room -= len(await self._read_chunk())
            except HttpError as exc:
                fields = of_peer(self._transport.remote, status=exc.status)
                logger.info("%s: unread body: %s", fields["peer"], exc, extra=fields)
        return self._http.next_cycle()

    async def _send_bytes(self, request: Request, response: Response, body: bytes, *, close: bool) -> None:
        head_only = request.method == "HEAD"
        # Only for HEAD may the application know the length of a body that it does not give.
        length = None if head_only and not body and "content-length" in response.headers else len(body)
        head = self._http.response_head(response.status, _fields(response.headers), length, close=close)
        data = self._http.body_chunk(b"" if head_only else body) + self._http.end()
        if len(data) <= PIECE:
            await self._send(head + data)
        else:
            await self._send(head)
            await self._send(data)

    @trio.lowlevel.disable_ki_protection
    async def _send_stream(
        self, request: Request, response: Response, body: AsyncIterable[bytes], *, close: bool
    ) -> None:
        async with Closing(body, self._limits.close_timeout) as iterator:
            await self._send(self._http.response_head(response.status, _fields(response.headers), None, close=close))
            if request.method != "HEAD":
                async for chunk in iterator:
                    await self._send(self._http.body_chunk(_as_bytes(chunk)))
            await self._send(self._http.end())

    async def _send_file(self, request: Request, response: Response, body: FileBody, *, close: bool) -> None:
        file = await trio.to_thread.run_sync(body.open, request.method, request.headers, response.status)
        try:
            if not file.found:
                await self._send_bytes(request, Response("Not Found", 404), b"Not Found", close=close)
                return
            headers = Headers(response.headers)
            for name, value in file.fields:
                if name not in headers:
                    headers.append(name, value)
            await self._send(self._http.response_head(file.status, _fields(headers), file.left, close=close))
            while file.left and request.method != "HEAD":
                data = await trio.to_thread.run_sync(file.read, FILE_PIECE)
                await self._send(self._http.body_chunk(data))
            await self._send(self._http.end())
        finally:
            file.close()

    async def _send(self, data: bytes) -> None:
        """Write in pieces, because only a finished write shows that the client reads."""
        for start in range(0, len(data), PIECE):
            self._begun = True
            try:
                await self._transport.send_all(data[start : start + PIECE])
            except LOST as exc:
                self.failure = exc
                raise
            except trio.Cancelled:
                self._note_late()
                raise
            self._progress()

    def _note_late(self) -> None:
        """Waiting for the client was cancelled: see whether that was for the time, and not by the application."""
        self.is_peer_late = self._scope is not None and self._scope.cancel_called


def _deadline(timeout: float, since: float | None = None) -> float:
    if not timeout:
        return math.inf
    return (trio.current_time() if since is None else since) + timeout


def _fields(headers: Headers) -> list[tuple[bytes, bytes]]:
    fields = headers.raw()
    if "date" not in headers:
        fields.append(_date_field())
    return fields


def _date_field() -> tuple[bytes, bytes]:
    return b"Date", _date(int(time.time()))


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode("ascii")


def _as_bytes(chunk: object) -> bytes:
    if not isinstance(chunk, (bytes, bytearray, memoryview)):
        raise TypeError(f"a response's body must give bytes, not {chunk!r}")
    return bytes(chunk)


class Closing:
    """Iterate over a response's body, and close it at the end, if it can be closed; a failure of that is logged.

    Closing it has `timeout` seconds, also when the connection is being cancelled.
    """

    __slots__ = ("_iterator", "_timeout")

    def __init__(self, body: AsyncIterable[bytes], timeout: float) -> None:
        self._iterator: Final = aiter(body)
        self._timeout: Final = timeout

    async def __aenter__(self) -> AsyncIterator[bytes]:
        return self._iterator

    async def __aexit__(self, *_exc: object) -> None:
        aclose = getattr(self._iterator, "aclose", None)
        if aclose is not None:
            with trio.CancelScope(deadline=_deadline(self._timeout), shield=True):
                try:
                    await aclose()
                except Exception:
                    logger.exception("closing the body of a response failed")
