"""`WebSocket`: the client. What an application holds of a connection that it opened (Bun: `WebSocket`).

Options, opening and orderly leaving are here. The open connection is a `ClientEndpoint`, driven by the same
`Connection` as a server's; each `WebSocket` has a nursery, hub and sweeper of its own.
"""

from __future__ import annotations

import math
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final, final

import trio

from trio_bunws._binary_type import BinaryType, check_binary_type
from trio_bunws._client_connection import ClientConnection
from trio_bunws._client_endpoint import OFFER_TIME, ClientEndpoint, closing_frame
from trio_bunws._client_options import check_headers, check_protocols, check_stream, check_tls, make_handler
from trio_bunws._close import CloseFrame, CloseInfo
from trio_bunws._connect import open_websocket
from trio_bunws._endpoint import NO_CODE
from trio_bunws._engine import Engine
from trio_bunws._errors import ConnectionClosed
from trio_bunws._handlers import HandlerSlot
from trio_bunws._options import Limits, check_timeout
from trio_bunws._status import ReadyState, SendStatus
from trio_bunws._url import parse_url
from trio_bunws._websocket import QUIET_CODES

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Iterable
    from types import TracebackType
    from typing import Self

    from typing_extensions import Buffer

    from trio_bunws._headers import HeadersLike
    from trio_bunws._options import PerMessageDeflate
    from trio_bunws._transport import Transport
    from trio_bunws._wire.opening import Opened

MIB: Final = 1024 * 1024
LEFT: Final = CloseFrame(NO_CODE, "")
FAILED: Final = CloseFrame(1011, "Internal error")


@final
class WebSocket:
    """A client's connection. `async with WebSocket("ws://...") as ws:` opens it, and closes it in the end.

    Leaving the block closes and waits up to `close_timeout` for the server's answer; leaving it by an exception closes
    with 1011. When the block is cancelled, a Close with 1001 is offered once, without waiting. The block's exceptions
    come out as they are, in no group. `async for message in ws` and `receive` give the messages; while `max_inbox` of
    them wait, the connection is not read.

    Entering raises `trio.TooSlowError` after `open_timeout`, `HandshakeError` if the server refuses (redirects are not
    followed), `RemoteProtocolError` if it does not speak HTTP, `ConnectionClosed` if `close` was called meanwhile, and
    `OSError` or `trio.BrokenResourceError` if there is no connection.

    Args:
        url: `ws://` or `wss://`; a user and password in it are sent as basic authentication.
        protocols: the subprotocols to offer, the preferred one first; or one.
        headers: more headers for the request.
        tls: the context for `wss://`. Default: the system's certificates are believed.
        per_message_deflate: compression to offer. Default: True, the offer that browsers make; messages are
            compressed only if sent with `compress=True`.
        max_payload_length: bytes of a received message, inflated; beyond it the connection closes with 1009. Default:
            16 MiB.
        backpressure_limit: unsent bytes above which messages are dropped; 0: none. Default: 16 MiB.
        max_inbox: messages that may wait to be received. Default: 16.
        open_timeout: seconds for connecting and the handshakes. Default: 10.
        close_timeout: seconds for the closing handshake. Default: 10.
        stream: a connection to use instead of making one, as from `MemoryListener.connect`; it is owned.

    Raises:
        TypeError, ValueError: if an argument is of the wrong type, or out of range; before any byte is sent.
    """

    __slots__ = (
        "__weakref__",
        "_binary_type",
        "_close_timeout",
        "_endpoint",
        "_entered",
        "_extensions",
        "_handler",
        "_headers",
        "_life",
        "_open_timeout",
        "_opening",
        "_over",
        "_protocols",
        "_stream",
        "_target",
        "_tls",
        "_url",
    )

    def __init__(
        self,
        url: str,
        protocols: str | Iterable[str] | None = None,
        *,
        headers: HeadersLike | None = None,
        tls: ssl.SSLContext | None = None,
        per_message_deflate: bool | PerMessageDeflate = True,
        max_payload_length: int = 16 * MIB,
        backpressure_limit: int = 16 * MIB,
        max_inbox: int = 16,
        open_timeout: float = 10.0,
        close_timeout: float = 10.0,
        stream: trio.abc.Stream | None = None,
    ) -> None:
        self._url: Final = url
        self._target: Final = parse_url(url)
        self._protocols: Final = check_protocols(protocols)
        self._headers: Final = check_headers(headers, self._target.authorization)
        check_tls(tls)
        check_stream(stream)
        check_timeout("WebSocket", "open_timeout", open_timeout)
        check_timeout("WebSocket", "close_timeout", close_timeout)
        self._tls: Final = tls
        self._stream: Final = stream
        self._open_timeout: Final = open_timeout
        self._close_timeout: Final = close_timeout
        self._handler: Final = make_handler(
            per_message_deflate=per_message_deflate,
            max_payload_length=max_payload_length,
            backpressure_limit=backpressure_limit,
            max_inbox=max_inbox,
        )
        self._binary_type: BinaryType = "bytes"
        self._extensions = ""
        self._entered = False
        self._over = False  # it will never be open
        self._opening: Final = trio.CancelScope()
        self._endpoint: ClientEndpoint | None = None
        self._life: Final[AbstractAsyncContextManager[None]] = self._live()

    # Opening and leaving

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("a WebSocket is entered once: make another one to connect again")
        self._entered = True
        try:
            await self._life.__aenter__()
        except BaseException:
            self._over = True
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._life.__aexit__(kind, exc, traceback)  # noqa: ASYNC102 - `leave` and `abandon` bound their waits

    @asynccontextmanager
    async def _live(self) -> AsyncGenerator[None]:
        """Be open: from the opening handshake to the end of the last task."""
        transport, opened = await self._open()
        failure: BaseException | None = None
        # Shielded, so that the connection outlives the block's cancellation by as much as `leave` wants.
        scope = trio.CancelScope(shield=True, deadline=math.inf)
        try:
            async with trio.open_nursery() as nursery:
                begun = trio.Event()  # not `nursery.start`: cancelled, it waits for what nobody can end
                nursery.start_soon(self._serve, scope, transport, opened, begun)
                with trio.CancelScope(shield=True, deadline=trio.current_time() + OFFER_TIME):
                    await begun.wait()
                endpoint = self._opened
                try:
                    yield
                except Exception:
                    await endpoint.leave(FAILED, self._close_timeout)  # noqa: ASYNC120 - a cancellation wins, as anywhere
                    raise
                except BaseException:
                    await endpoint.abandon()  # noqa: ASYNC102 - shielded, with a deadline, in there
                    raise
                else:
                    await endpoint.leave(LEFT, self._close_timeout)
                finally:
                    scope.deadline = trio.current_time() + self._close_timeout  # only the transport is left to close
        except BaseExceptionGroup as group:
            # The nursery wraps once; what the block itself raised as a group stays one.
            if len(group.exceptions) != 1:
                raise
            failure = group.exceptions[0]
        if failure is not None:
            raise failure  # out here, so that it keeps its own cause and context

    async def _open(self) -> tuple[Transport, Opened]:
        with self._opening, trio.fail_after(self._open_timeout):
            return await open_websocket(
                self._target,
                self._protocols,
                self._headers,
                self._tls,
                self._stream,
                deflate=self._handler.per_message_deflate,
            )
        raise ConnectionClosed(None, None)  # `_give_up` was called

    async def _serve(self, scope: trio.CancelScope, transport: Transport, opened: Opened, begun: trio.Event) -> None:
        """Run the connection to its end."""
        try:
            with scope:
                async with trio.open_nursery() as nursery:
                    limits = Limits(close_timeout=self._close_timeout)
                    engine = Engine(HandlerSlot(self._handler), limits, nursery)
                    connection = ClientConnection(transport, engine, opened.protocol, opened.deflate)
                    self._extensions = opened.extensions
                    connection.ws.binary_type = self._binary_type
                    nursery.start_soon(engine.hub.run)
                    nursery.start_soon(engine.sweeper.run)
                    self._endpoint = connection.ws
                    begun.set()
                    await connection.run(b"", opened.trailing)
                    await transport.aclose()
                    nursery.cancel_scope.cancel()
        finally:
            transport.abort()
            await transport.aclose()

    @property
    def _opened(self) -> ClientEndpoint:
        """The open connection, or the closed one that was open."""
        if self._endpoint is None:
            raise RuntimeError("this WebSocket is not open: enter `async with ws:` first")
        return self._endpoint

    # Receiving

    async def receive(self) -> str | bytes:
        """Return the next message: text as `str`, others as `binary_type` says. A checkpoint.

        Raises:
            ConnectionClosed: when there is none any more, because the connection is over.
        """
        return await self._opened._driver.receive()  # type: ignore[return-value]  # typed by the default binary_type

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        """Return the next message. A checkpoint.

        Iteration ends when the connection closes with 1000, 1001 or 1005, and raises `ConnectionClosed` otherwise.
        """
        try:
            return await self.receive()
        except ConnectionClosed as exc:
            if exc.code in QUIET_CODES:
                raise StopAsyncIteration from None
            raise

    def pause(self) -> None:
        """Stop reading: no further message is received, and TCP pushes back on the server."""
        self._opened.pause()

    def resume(self) -> None:
        """Read again, beginning with what had come before the pause."""
        self._opened.resume()

    @property
    def is_paused(self) -> bool:
        """Whether `pause` was called, and `resume` not since."""
        return self._endpoint is not None and self._endpoint.is_paused

    # Sending

    def send(self, data: str | Buffer, compress: bool = False) -> SendStatus:
        """Send a message: text for a `str`, binary for any buffer, which may be changed after the call.

        Returns:
            The payload's length in bytes, before compression; -1 if it was queued behind unsent bytes; 0 if it was
            dropped, because the socket is closing or has more than `backpressure_limit` unsent bytes.

        Raises:
            TypeError: if `data` is neither `str` nor a buffer, or `compress` is no bool.
            RuntimeError: if the socket is not open yet, as every method but `close` and `terminate`.
        """
        return self._opened.send(data, compress)

    def send_text(self, data: str, compress: bool = False) -> SendStatus:
        """Send a text message; as `send`, but `data` must be a `str`."""
        return self._opened.send_text(data, compress)

    def send_binary(self, data: Buffer, compress: bool = False) -> SendStatus:
        """Send a binary message; as `send`, but `data` must be a buffer."""
        return self._opened.send_binary(data, compress)

    async def send_wait(self, data: str | Buffer, compress: bool = False) -> SendStatus:
        """Send a message as soon as it fits within `backpressure_limit`. A checkpoint; as `ServerWebSocket.send_wait`.

        Raises:
            ConnectionClosed: if the socket is closing, or begins to while this waits.
        """
        return await self._opened.send_wait(data, compress)

    async def drained(self) -> None:
        """Wait until all that was sent has left. A checkpoint. Raises `ConnectionClosed` if the end comes first."""
        await self._opened.drained()

    def ping(self, data: str | Buffer = b"") -> SendStatus:
        """Send a ping with up to 125 bytes, more is a `ValueError`; text as UTF-8. Returns as `send`."""
        return self._opened.ping(data)

    def pong(self, data: str | Buffer = b"") -> SendStatus:
        """Send an unsolicited pong; as `ping`. Pings of the server are answered without it."""
        return self._opened.pong(data)

    @property
    def buffered_amount(self) -> int:
        """Bytes, headers included, that the transport has not taken yet; 0 when not open."""
        return 0 if self._endpoint is None else self._endpoint.get_buffered_amount()

    # The end

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Close: what was sent before leaves first, then a Close frame. Does nothing when closing or closed.

        Before the socket is open it ends the opening, which raises `ConnectionClosed`.

        Args:
            code: 1000-1003, 1007-1014 or 3000-4999. None: the frame is empty, which counts as 1005.
            reason: at most 123 bytes of UTF-8; without a code it is sent with 1000.

        Raises:
            TypeError, ValueError: if `code` or `reason` is something else; in every state.
        """
        frame = closing_frame(code, reason)
        if self._endpoint is None:
            self._give_up()
        else:
            self._endpoint.close_with(frame)

    def terminate(self) -> None:
        """End the connection at once, without a Close frame; unsent bytes are lost."""
        if self._endpoint is None:
            self._give_up()
        else:
            self._endpoint.terminate()

    def _give_up(self) -> None:
        self._over = True
        self._opening.cancel()

    async def closed(self) -> CloseInfo:
        """Wait until the connection is over, and return how it ended. A checkpoint."""
        return await self._opened.closed()

    # State

    @property
    def ready_state(self) -> ReadyState:
        """`CONNECTING` until the block is entered; `OPEN`; `CLOSING` while a close is under way; `CLOSED`."""
        if self._endpoint is not None:
            return self._endpoint.ready_state
        return ReadyState.CLOSED if self._over else ReadyState.CONNECTING

    @property
    def url(self) -> str:
        """The URL, as given."""
        return self._url

    @property
    def protocol(self) -> str | None:
        """The subprotocol agreed on, or `None`."""
        return None if self._endpoint is None else self._endpoint.protocol

    @property
    def extensions(self) -> str:
        """The extensions agreed on, as the server named them: `"permessage-deflate; ..."`, or `""` for none."""
        return self._extensions

    @property
    def binary_type(self) -> BinaryType:
        """What binary messages are: `"bytes"`, `"bytearray"` or `"memoryview"`; may be set at any time.

        Bun's names `"nodebuffer"`, `"uint8array"`, `"arraybuffer"` may be set too; others are a `ValueError`.
        """
        return self._binary_type

    @binary_type.setter
    def binary_type(self, value: str) -> None:
        self._binary_type = check_binary_type(value)
        if self._endpoint is not None:
            self._endpoint.binary_type = value

    def __repr__(self) -> str:
        return f"<WebSocket {self._url} {self.ready_state.name}>"
