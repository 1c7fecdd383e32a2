"""`WebSocket`: the client. What an application holds of a connection that it opened (Bun: `WebSocket`).

Only the methods that an application calls are here: what they do to an open connection is `ClientEndpoint`'s, and the
tasks are `_client_life.py`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, final, overload

from trio_bunws._binary_type import BinaryType, check_binary_type
from trio_bunws._client_endpoint import closing_frame
from trio_bunws._client_events import Listeners
from trio_bunws._client_life import ClientLife
from trio_bunws._client_options import check_options
from trio_bunws._errors import ConnectionClosed
from trio_bunws._status import ReadyState, SendStatus
from trio_bunws._websocket import QUIET_CODES

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import Self

    import trio
    from typing_extensions import Buffer

    from trio_bunws._client_endpoint import ClientEndpoint
    from trio_bunws._client_events import CloseEvent, ErrorEvent, EventType, MessageEvent, OpenEvent
    from trio_bunws._close import CloseInfo
    from trio_bunws._headers import HeadersLike
    from trio_bunws._options import PerMessageDeflate
    from trio_bunws._proxy import Proxy

MIB: Final = 1024 * 1024


@final
class WebSocket:
    """A client's connection. `async with WebSocket("ws://...") as ws:` opens it, and closes it at the end.

    Leaving the block closes and waits up to `close_timeout` for the server's answer; leaving it by an exception closes
    with 1011. When the block is cancelled, a Close with 1001 is offered once, without waiting. The block's exceptions
    propagate as they are, not in a group. `async for message in ws` and `receive` give the messages; while `max_inbox`
    of them wait, the connection is not read.

    Entering raises `trio.TooSlowError` after `open_timeout`, `HandshakeError` if the server or the proxy refuses
    (redirects are not followed), `RemoteProtocolError` if it does not speak HTTP, `ConnectionClosed` if `close` was
    called meanwhile, and `OSError` or `trio.BrokenResourceError` if there is no connection.

    Args:
        url: `ws://` or `wss://`; a user and password in it are sent as basic authentication. Unix sockets:
            `ws+unix:///path/of.sock` or `wss+unix://`, with the path of the request after a colon:
            `ws+unix:///path/of.sock:/chat`.
        protocols: the subprotocols to offer, the preferred one first; or one.
        headers: more headers for the request.
        tls: the context for `wss://`. Default: one that trusts the system's certificates.
        proxy: an HTTP proxy to go through (CONNECT): its `http://` or `https://` URL, or a `Proxy`. Default: none; no
            environment variable is read.
        per_message_deflate: compression to offer. Default: True, the offer that browsers make; messages are
            compressed only if sent with `compress=True`.
        max_payload_length: bytes of a received message, inflated; beyond it the connection closes with 1009. Default:
            16 MiB.
        max_fragments: frames of a received message; more close the connection with 1009. Default: 16384.
        backpressure_limit: unsent bytes above which messages are dropped; 0: none. Default: 16 MiB.
        max_inbox: messages that may wait to be received, or events for an `async` listener. Default: 16.
        open_timeout: seconds for connecting and the handshakes. Default: 10.
        close_timeout: seconds for the closing handshake, and for listeners to finish. Default: 10.
        ping_interval: seconds between keep-alive pings, which measure the `latency`; 0: none. Default: 20.
        ping_timeout: seconds after such a ping within which something must arrive, or the connection ends with 1006;
            0: never. While nothing is read, because of `pause` or a full inbox, it does not count. Default: 20.
        stream: a connection to use instead of making one, such as `MemoryListener.connect` returns; it gets closed.

    Raises:
        TypeError, ValueError: if an argument is of the wrong type, or out of range; before any byte is sent.
    """

    __slots__ = ("__weakref__", "_life", "_listeners", "_living", "_url")

    def __init__(
        self,
        url: str,
        protocols: str | Iterable[str] | None = None,
        *,
        headers: HeadersLike | None = None,
        tls: ssl.SSLContext | None = None,
        proxy: str | Proxy | None = None,
        per_message_deflate: bool | PerMessageDeflate = True,
        max_payload_length: int = 16 * MIB,
        max_fragments: int = 16384,
        backpressure_limit: int = 16 * MIB,
        max_inbox: int = 16,
        open_timeout: float = 10.0,
        close_timeout: float = 10.0,
        ping_interval: float = 20.0,
        ping_timeout: float = 20.0,
        stream: trio.abc.Stream | None = None,
    ) -> None:
        options = check_options(
            url,
            protocols,
            headers=headers,
            tls=tls,
            proxy=proxy,
            per_message_deflate=per_message_deflate,
            max_payload_length=max_payload_length,
            max_fragments=max_fragments,
            backpressure_limit=backpressure_limit,
            max_inbox=max_inbox,
            open_timeout=open_timeout,
            close_timeout=close_timeout,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            stream=stream,
        )
        self._url: Final = url
        self._listeners: Final = Listeners()
        self._life: Final = ClientLife(self, options, self._listeners)
        self._living: Final[AbstractAsyncContextManager[None]] = self._life.live()

    # Opening and leaving

    async def __aenter__(self) -> Self:
        if self._life.entered:
            raise RuntimeError("a WebSocket is entered once: make another one to connect again")
        await self._living.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._living.__aexit__(kind, exc, traceback)  # noqa: ASYNC102 - `leave` and `abandon` bound their waits

    @property
    def _opened(self) -> ClientEndpoint:
        """The connection, open or closed."""
        if self._life.endpoint is None:
            raise RuntimeError("this WebSocket is not open: enter `async with ws:` first")
        return self._life.endpoint

    # Events

    @overload
    def add_event_listener(self, event_type: Literal["open"], listener: Callable[[OpenEvent], object]) -> None: ...
    @overload
    def add_event_listener(
        self, event_type: Literal["message", "ping", "pong"], listener: Callable[[MessageEvent], object]
    ) -> None: ...
    @overload
    def add_event_listener(self, event_type: Literal["close"], listener: Callable[[CloseEvent], object]) -> None: ...
    @overload
    def add_event_listener(self, event_type: Literal["error"], listener: Callable[[ErrorEvent], object]) -> None: ...

    def add_event_listener(self, event_type: str, listener: Callable[..., object]) -> None:
        """Call `listener(event)` when something happens; add it before entering the block, so that it misses nothing.

        Events are delivered one at a time, in order: `open` (before the block begins), `message`, `ping`, `pong` (when
        the ping has been answered, the latency measured), `error` (the opening failed, or the server broke the
        protocol) and, once and last, `close`. Listeners of one event are called in the order in which they were added;
        `async` ones are awaited before the next event, and while `max_inbox` events wait for them the connection is not
        read.

        Plain listeners run where the connection is read: they must not block. An exception in one cancels the block and
        propagates from it, like that of a task in a nursery, and the connection closes with 1011. When the connection
        is over, `async` listeners have `close_timeout` to finish, and no time if the block is cancelled.

        With a `message` listener messages go only to listeners, and `receive` and iteration raise `RuntimeError`.

        Args:
            event_type: `"open"`, `"message"`, `"close"`, `"error"`, `"ping"` or `"pong"`.
            listener: what is called with an `OpenEvent`, `MessageEvent`, `CloseEvent` or `ErrorEvent`; `async` or not.
                One that was added already is not added again.

        Raises:
            TypeError, ValueError: if `listener` is not callable, or there is no such event.
            RuntimeError: for the first `message` listener, if the block has been entered: messages may wait for
                `receive` then.
        """
        if event_type == "message" and self._life.entered and not self._listeners.has(event_type):
            raise RuntimeError("add_event_listener expects message listeners before the block is entered")
        self._listeners.add(event_type, listener)

    def remove_event_listener(self, event_type: EventType, listener: Callable[..., object]) -> None:
        """Stop calling `listener`; nothing happens if it was not added. `ValueError` if there is no such event.

        Without a `message` listener messages wait for `receive` again.
        """
        self._listeners.remove(event_type, listener)

    # Receiving

    async def receive(self) -> str | bytes:
        """Return the next message: text as `str`, others as `binary_type` says. A checkpoint.

        Raises:
            ConnectionClosed: when there are no more, because the connection is over.
            RuntimeError: if messages go to a listener.
        """
        if self._listeners.has("message"):
            raise RuntimeError("messages go to the message listener: receive and iteration need it removed")
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

    def pause(self) -> bool:
        """Stop reading: no further message is received, and TCP pushes back on the server.

        Before the socket is open, it takes effect from the opening on. False if the socket is closed (as in Bun).
        """
        return self._set_paused(True)

    def resume(self) -> bool:
        """Read again, starting with what had already arrived. Returns what `pause` does."""
        return self._set_paused(False)

    def _set_paused(self, paused: bool) -> bool:
        if self.ready_state is ReadyState.CLOSED:
            return False
        endpoint = self._life.endpoint
        if endpoint is None:
            self._life.paused = paused
        elif paused:
            endpoint.pause()
        else:
            endpoint.resume()
        return True

    @property
    def is_paused(self) -> bool:
        """Whether `pause` was called and `resume` has not been since."""
        endpoint = self._life.endpoint
        return self._life.paused if endpoint is None else endpoint.is_paused

    # Sending

    def send(self, data: str | Buffer, compress: bool = False) -> SendStatus:
        """Send a message: text for a `str`, binary for any buffer, which may be changed after the call.

        Returns:
            The payload's length in bytes, before compression; -1 if it was queued behind unsent bytes; 0 if it was
            dropped, because the socket is closing or has more than `backpressure_limit` unsent bytes.

        Raises:
            TypeError: if `data` is neither `str` nor a buffer, or `compress` is not a bool.
            RuntimeError: if the socket is not open yet, as with every method that sends.
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
        """Wait until all that was sent has left. A checkpoint. `ConnectionClosed` if the connection ends first."""
        await self._opened.drained()

    def ping(self, data: str | Buffer = b"") -> SendStatus:
        """Send a ping with up to 125 bytes (more: `ValueError`); text as UTF-8. Returns what `send` does."""
        return self._opened.ping(data)

    def pong(self, data: str | Buffer = b"") -> SendStatus:
        """Send an unsolicited pong; as `ping`. The server's pings are answered automatically."""
        return self._opened.pong(data)

    @property
    def buffered_amount(self) -> int:
        """Bytes, headers included, that the transport has not taken yet; 0 when not open."""
        return 0 if self._life.endpoint is None else self._life.endpoint.get_buffered_amount()

    @property
    def latency(self) -> float | None:
        """Seconds from the latest ping, by keep-alive or `ping`, to its pong; `None` before the first (beyond Bun)."""
        return self._life.keep_alive.latency

    # The end

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Close: what was sent before leaves first, then a Close frame. Does nothing when closing or closed.

        Before the socket is open, it ends the opening, which raises `ConnectionClosed`.

        Args:
            code: 1000-1003, 1007-1014 or 3000-4999. None: the frame is empty, which counts as 1005.
            reason: at most 123 bytes of UTF-8; without a code it is sent with 1000.

        Raises:
            TypeError, ValueError: if `code` or `reason` is something else; in every state.
        """
        frame = closing_frame(code, reason)
        if self._life.endpoint is None:
            self._life.give_up()
        else:
            self._life.endpoint.close_with(frame)

    def terminate(self) -> None:
        """End the connection at once, without a Close frame; unsent bytes are lost."""
        if self._life.endpoint is None:
            self._life.give_up()
        else:
            self._life.endpoint.terminate()

    async def closed(self) -> CloseInfo:
        """Wait until the connection is over, and return how it ended. A checkpoint."""
        return await self._opened.closed()

    # State

    @property
    def ready_state(self) -> ReadyState:
        """`CONNECTING` until the block is entered; `OPEN`; `CLOSING` while a close is under way; `CLOSED`."""
        if self._life.endpoint is not None:
            return self._life.endpoint.ready_state
        return ReadyState.CONNECTING

    @property
    def url(self) -> str:
        """The URL, as given."""
        return self._url

    @property
    def protocol(self) -> str | None:
        """The subprotocol agreed on, or `None`."""
        return None if self._life.endpoint is None else self._life.endpoint.protocol

    @property
    def extensions(self) -> str:
        """The extensions agreed on, as the server named them: `"permessage-deflate; ..."`, or `""` for none."""
        return self._life.extensions

    @property
    def binary_type(self) -> BinaryType:
        """What binary messages are: `"bytes"`, `"bytearray"` or `"memoryview"`; may be set at any time.

        Bun's names `"nodebuffer"`, `"uint8array"`, `"arraybuffer"` may be set too; others raise `ValueError`.
        """
        return self._life.binary_type

    @binary_type.setter
    def binary_type(self, value: str) -> None:
        self._life.binary_type = check_binary_type(value)
        if self._life.endpoint is not None:
            self._life.endpoint.binary_type = value

    def __repr__(self) -> str:
        return f"<WebSocket {self._url} {self.ready_state.name}>"
