"""`ServerWebSocket`: what an application holds of one client's connection. Bun's methods are plain and never wait.

Sending and closing are `Endpoint`'s; here is what only a server's socket has: topics, corks, data, the request, tasks
and sessions. No task is started here, and no byte written.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVarTuple, cast, final

from trio_bunws._close import ABNORMAL
from trio_bunws._endpoint import Driver, Endpoint
from trio_bunws._errors import ConnectionClosed
from trio_bunws._payload import check_compress, check_topic, encode_binary, encode_message, encode_text
from trio_bunws._status import DROPPED, OPEN, SendStatus
from trio_bunws._wire.frames import binary_frame, text_frame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from typing import Self

    from typing_extensions import Buffer, TypeVar

    from trio_bunws._handlers import HandlerSlot
    from trio_bunws._hub import Hub
    from trio_bunws._options import Limits
    from trio_bunws._outbox import Sink
    from trio_bunws._request import Request
    from trio_bunws._wire.compression import Outbound

    # PEP 696, and Bun's `ServerWebSocket<T = undefined>`: where nothing names the data, it is None.
    T = TypeVar("T", default=None)
else:
    from typing import TypeVar

    T = TypeVar("T")

R = TypeVar("R")
Ts = TypeVarTuple("Ts")
QUIET_CODES: Final = frozenset({1000, 1001, 1005})
"""Close codes at which iteration ends without an exception."""


class ServerDriver(Driver, Protocol):
    """The tasks behind a server's socket."""

    def start_soon(self, async_fn: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run a task of the application until the connection ends."""
        ...

    async def start(self, async_fn: Callable[..., Awaitable[object]], *args: object) -> object:
        """Run a task of the application, and wait until it calls `task_status.started()`."""
        ...


@final
class ServerWebSocket(Endpoint, Generic[T]):
    """One client's connection, as handlers receive it (Bun: `ServerWebSocket`).

    The server creates it, never the application. All methods except `drained`, `send_wait`, `closed` and `start` are
    plain functions that never wait and never checkpoint; call them from any task of the same trio run, or from another
    thread with `trio.from_thread.run_sync(ws.send, ...)`.

    Source: https://bun.com/docs/runtime/http/websockets and `docs/behaviour.md`.
    """

    __slots__ = ("_limits", "_remote_address", "_request", "_slot", "data")

    def __init__(
        self,
        *,
        sink: Sink,
        driver: ServerDriver,
        hub: Hub,
        slot: HandlerSlot[T],
        limits: Limits,
        request: Request,
        data: T,
        protocol: str | None,
        remote_address: str | None,
        deflate: Outbound | None = None,
    ) -> None:
        super().__init__(
            sink=sink,
            driver=driver,
            hub=hub,
            backpressure_limit=slot.handler.backpressure_limit,
            protocol=protocol,
            deflate=deflate,
        )
        self._slot: Final = slot
        self._limits: Final = limits
        self._request: Final = request
        self.data: T = data
        """What `server.upgrade(request, data=...)` was given; yours to replace."""
        self._remote_address: Final = remote_address

    # Publishing

    def publish(self, topic: str, data: str | Buffer, compress: bool = False) -> SendStatus:
        """Send a message to all subscribers of a topic except this socket (with `publish_to_self=True`, to it too).

        The socket need not be subscribed, and may be closed. With `compress` it is compressed for those receivers who
        agreed to compression: once for all that share parameters without context takeover, else for each.

        Returns:
            The payload's length in bytes, before compression; -1 if a receiver has unsent bytes; 0 if there is no
            receiver, or one is over its limit. What happens to one receiver does not affect the others.

        Raises:
            TypeError: as `send`; or if `topic` is not a `str`.
            ValueError: if `topic` is empty or too long.
        """
        if compress is not False:
            check_compress("publish", compress)
        if type(data) is str:
            payload = data.encode()
            frame = text_frame(payload)
        else:
            payload, is_text = encode_message("publish", data)
            frame = text_frame(payload) if is_text else binary_frame(payload)
        return self._publish("publish", topic, frame, len(payload), compress)

    def publish_text(self, topic: str, data: str, compress: bool = False) -> SendStatus:
        """Publish a text message; as `publish`, but `data` must be a `str`."""
        if compress is not False:
            check_compress("publish_text", compress)
        payload = data.encode() if type(data) is str else encode_text("publish_text", data)
        return self._publish("publish_text", topic, text_frame(payload), len(payload), compress)

    def publish_binary(self, topic: str, data: Buffer, compress: bool = False) -> SendStatus:
        """Publish a binary message; as `publish`, but `data` must be a buffer."""
        check_compress("publish_binary", compress)
        payload = encode_binary("publish_binary", data)
        return self._publish("publish_binary", topic, binary_frame(payload), len(payload), compress)

    def _publish(self, method: str, topic: str, frame: bytes, size: int, compress: bool) -> SendStatus:
        if type(topic) is not str:
            check_topic(method, topic, self._limits.max_topic_length)
        sender = None if self._slot.handler.publish_to_self else self
        status = self._hub.publish(topic, frame, size, sender, compress)
        if status is DROPPED:
            # Early enough: nobody is subscribed to a topic that is empty or too long, so nothing was sent to one.
            check_topic(method, topic, self._limits.max_topic_length)
        return status

    # Topics

    def subscribe(self, topic: str) -> bool:
        """Subscribe to a topic: an exact, non-empty name.

        Returns:
            True, also if it was subscribed already; False when closing or closed, or over `max_topics_per_socket`.

        Raises:
            TypeError: if `topic` is not a `str`.
            ValueError: if `topic` is empty or longer than `limits.max_topic_length` bytes.
        """
        check_topic("subscribe", topic, self._limits.max_topic_length)
        if topic in self._topics:
            return True
        self._hub.catch_up(self)
        if self._state is not OPEN:
            return False
        if len(self._topics) >= self._limits.max_topics_per_socket:
            self._hub.refused_subscriptions += 1
            return False
        self._hub.subscribe(self, topic)
        return True

    def unsubscribe(self, topic: str) -> bool:
        """Leave a topic; what was published to it before is still delivered. True only if it was subscribed.

        Raises as `subscribe`.
        """
        check_topic("unsubscribe", topic, self._limits.max_topic_length)
        if topic not in self._topics:
            return False
        self._hub.unsubscribe(self, topic)
        return True

    def is_subscribed(self, topic: str) -> bool:
        """Whether this socket is subscribed to a topic. Raises as `subscribe`."""
        check_topic("is_subscribed", topic, self._limits.max_topic_length)
        return topic in self._topics

    @property
    def subscriptions(self) -> list[str]:
        """The topics, in order of subscription; empty once the socket is closing."""
        return list(self._topics)

    # Corks

    def cork(self, callback: Callable[[ServerWebSocket[T]], R]) -> R:
        """Call `callback(ws)` and write all that it sends in one piece; handlers run corked anyway.

        Returns what `callback` returns; its exceptions propagate, after what it sent has been written.

        Raises:
            TypeError: if `callback` is not callable.
        """
        if not callable(callback):
            raise TypeError(f"cork expects callback to be callable, not {type(callback).__name__}")
        with self.corked():
            return callback(self)

    @contextmanager
    def corked(self) -> Generator[None]:
        """Write all that is sent within the `with` block in one piece (beyond Bun). Blocks may be nested.

        A block that awaits holds its frames back until it ends, 16 KiB have accumulated, or an answer to the client
        takes them along.
        """
        outbox = self._outbox
        outbox.corks += 1
        try:
            yield
        finally:
            outbox.corks -= 1
            if not outbox.corks:
                outbox.flush()

    def _overflowed(self) -> None:
        if self._slot.handler.close_on_backpressure_limit:
            self._begin_abort(ABNORMAL)

    # What belongs to it

    @property
    def remote_address(self) -> str | None:
        """The client's IP address, or `None` where there is none (unix sockets, streams in memory)."""
        return self._remote_address

    @property
    def request(self) -> Request:
        """The request that was upgraded (beyond Bun)."""
        return self._request

    # Tasks and sessions

    def start_soon(self, async_fn: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> None:
        """Run `async_fn(*args)` in a task that is cancelled when the connection ends (beyond Bun).

        An exception in it goes to the `error` handler; without one it is logged and the socket closes with 1011.
        """
        cast("ServerDriver", self._driver).start_soon(async_fn, *args)

    async def start(self, async_fn: Callable[..., Awaitable[object]], *args: object) -> object:
        """As `start_soon`, but wait until it calls `task_status.started(value)`, and return the value. A checkpoint."""
        return await cast("ServerDriver", self._driver).start(async_fn, *args)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        """Return the next message, in a `session` handler only. A checkpoint.

        Iteration ends when the connection closes with 1000, 1001 or 1005, and raises `ConnectionClosed` otherwise.
        """
        try:
            return await self._driver.receive()  # type: ignore[return-value]  # typed by the default binary_type
        except ConnectionClosed as exc:
            if exc.code in QUIET_CODES:
                raise StopAsyncIteration from None
            raise

    def __repr__(self) -> str:
        return f"<ServerWebSocket {self._remote_address} {self._state.name}>"
