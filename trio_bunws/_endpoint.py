"""What a WebSocket endpoint can do whichever side it is: send, ping, close, terminate, pause, and wait for either.

It fills the outbox; the tasks that read and write belong to `_connection.py`, which is known here only as a `Driver`.
So every method can be tested with no nursery and no socket. `ServerWebSocket` adds topics and what is the server's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Protocol, cast

import trio

from trio_bunws._binary_type import BinaryType, check_binary_type, convert
from trio_bunws._close import ABNORMAL, CloseFrame, CloseInfo, check_close_code, closed_error, cut_reason
from trio_bunws._hub import Hub, Subscriber
from trio_bunws._outbox import Outbox, Sink
from trio_bunws._payload import check_compress, encode_binary, encode_control, encode_message, encode_text
from trio_bunws._statistics import SocketStatistics
from trio_bunws._status import BACKPRESSURED, DROPPED, OPEN, ReadyState, SendStatus, sent
from trio_bunws._topics import OVER
from trio_bunws._wire.frames import binary_frame, close_frame, ping_frame, pong_frame, take_apart, text_frame

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from trio_bunws._errors import ConnectionClosed
    from trio_bunws._wire.compression import Outbound


class Driver(Protocol):
    """The tasks behind a socket, as the socket sees them."""

    def writer_needed(self) -> None:
        """Bytes wait that the transport refused."""
        ...

    def close_begun(self) -> None:
        """The socket is closing: no handler gets further messages, and a deadline begins."""
        ...

    def abort(self) -> None:
        """End the transport at once."""
        ...

    def resumed(self) -> None:
        """A pause is over: read on."""
        ...

    def write_failed(self) -> None:
        """The transport is broken: nothing can be written any more."""
        ...

    async def receive(self) -> str | bytes | bytearray | memoryview:
        """Return the next message, or raise `ConnectionClosed`."""
        ...


class Endpoint(Subscriber):
    """One side of a WebSocket connection, without tasks."""

    __slots__ = (
        "__weakref__",
        "_binary_type",
        "_bytes_in",
        "_driver",
        "_ending",
        "_hub",
        "_lost",
        "_messages_in",
        "_over",
        "_paused",
        "_protocol",
        "_state",
    )

    _outbox_class: ClassVar[type[Outbox]] = Outbox

    def __init__(
        self,
        *,
        sink: Sink,
        driver: Driver,
        hub: Hub,
        backpressure_limit: int,
        protocol: str | None,
        deflate: Outbound | None = None,
    ) -> None:
        super().__init__()
        if deflate is not None:
            hub.compress_for(self, deflate)
        self._outbox = self._outbox_class(sink, self, backpressure_limit)
        self._driver = driver
        self._hub: Final = hub
        self._protocol: Final = protocol
        self._state = OPEN
        self._paused = False
        self._binary_type: BinaryType = "bytes"
        self._ending: CloseInfo | None = None
        self._lost = False
        self._over: trio.Event | None = None
        self._messages_in = 0
        self._bytes_in = 0

    # Sending

    def send(self, data: str | Buffer, compress: bool = False) -> SendStatus:
        """Send a message: text for a `str`, binary for any buffer, which may be changed after the call.

        Args:
            data: the message.
            compress: compress it, if the peer agreed to compression and the message has `min_size` bytes.

        Returns:
            The payload's length in bytes, before compression; -1 if it was queued behind unsent bytes; 0 if it was
            dropped, because the socket is closing or has more than `backpressure_limit` unsent bytes.

        Raises:
            TypeError: if `data` is neither `str` nor a buffer, or `compress` is not a bool.
        """
        if compress is not False:
            check_compress("send", compress)
        if type(data) is str:
            payload = data.encode()
            return self._send(text_frame(payload), len(payload), compress)
        if type(data) is bytes:
            return self._send(binary_frame(data), len(data), compress)
        payload, is_text = encode_message("send", data)
        return self._send(text_frame(payload) if is_text else binary_frame(payload), len(payload), compress)

    def send_text(self, data: str, compress: bool = False) -> SendStatus:
        """Send a text message; as `send`, but `data` must be a `str`."""
        if compress is not False:
            check_compress("send_text", compress)
        payload = data.encode() if type(data) is str else encode_text("send_text", data)
        return self._send(text_frame(payload), len(payload), compress)

    def send_binary(self, data: Buffer, compress: bool = False) -> SendStatus:
        """Send a binary message; as `send`, but `data` must be a buffer."""
        check_compress("send_binary", compress)
        payload = encode_binary("send_binary", data)
        return self._send(binary_frame(payload), len(payload), compress)

    def _send(self, frame: bytes, size: int, compress: bool) -> SendStatus:
        if self._topics:
            self._hub.catch_up(self)  # may end the socket, by dropping something; a closed one has no topics
        if self._state is not OPEN:
            return DROPPED
        outbox = self._outbox
        if outbox.pressure == OVER:
            outbox.drop()
            return DROPPED
        if compress and self._deflate is not None:
            frame = self._deflate.frame(*take_apart(frame))  # not earlier: what was compressed must be sent
        outbox.push(frame)
        if not outbox.corks:
            self._hub.mark_dirty(self)
        return BACKPRESSURED if outbox.pressure else sent(size)

    async def send_wait(self, data: str | Buffer, compress: bool = False) -> SendStatus:
        """Send a message as soon as it fits within `backpressure_limit`, instead of queueing past it.

        There must be room for its length before compression. A checkpoint. If it is cancelled, nothing was sent; if it
        returns, the message was accepted once.

        Raises:
            ConnectionClosed: if the socket is closing, or begins to while this waits.
            TypeError: as `send`.
        """
        check_compress("send_wait", compress)
        payload, is_text = encode_message("send_wait", data)
        frame = text_frame(payload) if is_text else binary_frame(payload)
        # It is compressed when it is sent, not before; until then count an eighth more at most (zlib's deflateBound).
        most = len(frame) + (len(frame) // 7 + 16 if compress and self._deflate is not None else 0)
        await trio.lowlevel.checkpoint()
        outbox = self._outbox
        while True:
            self._hub.catch_up(self)
            if self._state is not OPEN:
                raise self._closed_error()
            if not outbox.has_room(most):
                outbox.flush()  # the transport may take the batch at once
            if outbox.has_room(most):
                return self._send(frame, len(payload), compress)
            await outbox.wait_change()

    async def drained(self) -> None:
        """Wait until everything accepted so far, and what is sent meanwhile, has been taken by the transport.

        A checkpoint. Raises `ConnectionClosed` if the connection ends first.
        """
        await trio.lowlevel.checkpoint()
        outbox = self._outbox
        while True:
            self._hub.catch_up(self)
            outbox.flush()
            if self._lost or self._state is ReadyState.CLOSED:
                raise self._closed_error()
            if outbox.empty and not outbox.broken:
                return
            await outbox.wait_change()

    def get_buffered_amount(self) -> int:
        """Return the bytes, headers included, that the transport has not taken yet; 0 when closed."""
        return self._outbox.buffered

    # Control frames

    def ping(self, data: str | Buffer = b"") -> SendStatus:
        """Send a ping with up to 125 bytes; text as UTF-8.

        Returns what `send` does, but up to 64 KiB of pings and pongs are accepted even beyond `backpressure_limit`.

        Raises:
            TypeError: if `data` is neither `str` nor a buffer.
            ValueError: if it is longer than 125 bytes; nothing is sent.
        """
        payload = encode_control("ping", data)
        return self._send_control(ping_frame(payload), len(payload))

    def pong(self, data: str | Buffer = b"") -> SendStatus:
        """Send an unsolicited pong; as `ping`. The client's pings are answered automatically."""
        payload = encode_control("pong", data)
        return self._send_control(pong_frame(payload), len(payload))

    def _send_control(self, frame: bytes, size: int) -> SendStatus:
        self._hub.catch_up(self)
        if self._state is not OPEN:
            return DROPPED
        outbox = self._outbox
        if not outbox.push_control(frame):
            return DROPPED
        if not outbox.corks:
            self._hub.mark_dirty(self)
        return BACKPRESSURED if outbox.pressure else sent(size)

    # The end

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close: what was accepted is delivered first, then a Close frame. Does nothing when closing or closed.

        The close handler is called when the connection is over, never inside this call.

        Args:
            code: 1000-1003, 1007-1014 or 3000-4999.
            reason: cut to 123 bytes of UTF-8 at a character boundary.

        Raises:
            TypeError, ValueError: if `code` or `reason` is something else.
        """
        self._begin_close(CloseFrame(check_close_code(code), cut_reason(reason)))

    def terminate(self) -> None:
        """End the connection at once, without a Close frame; unsent bytes are lost.

        The close handler gets `(1006, "")`, or the code and reason of a close that had already begun.
        """
        self._begin_abort(ABNORMAL, offer_batch=True)

    async def closed(self) -> CloseInfo:
        """Wait until the connection is over, and return how it ended. A checkpoint."""
        await trio.lowlevel.checkpoint()
        if self._state is not ReadyState.CLOSED:
            if self._over is None:
                self._over = trio.Event()
            await self._over.wait()
        return cast("CloseInfo", self._ending)

    def _begin_close(self, frame: CloseFrame, *, received: CloseFrame | None = None) -> None:
        """Queue a Close frame as the last thing sent, and take part in nothing any more; it may answer a peer's."""
        if self._state is not OPEN:
            return
        self._hub.catch_up(self)
        if self._leave(CloseInfo(*frame, sent=frame, received=received)):  # or what was dropped has ended it
            self._outbox.push_raw(close_frame(*frame))
            self._outbox.flush()  # in a cork too: nothing can follow, and an async one may take its time
            self._driver.close_begun()

    def _begin_abort(self, ending: CloseInfo, *, offer_batch: bool = False) -> None:
        """End the transport now; an ending that had begun before stands."""
        if self._lost or self._state is ReadyState.CLOSED:
            return
        if offer_batch and self._state is OPEN:
            self._hub.catch_up(self)
        self._leave(ending)
        if not self._lost:
            self._lost = True
            if offer_batch:
                self._outbox.flush()
            self._outbox.discard()
            self._driver.abort()

    def _leave(self, ending: CloseInfo) -> bool:
        """Go from OPEN to CLOSING; False if a close had begun already."""
        if self._state is not OPEN:
            return False
        self._state = ReadyState.CLOSING
        self._ending = ending
        self._hub.leave(self)
        self._outbox.notify()  # `send_wait` waits in vain from now on
        return True

    def _end(self) -> CloseInfo:
        """The connection is over: go to CLOSED and tell whoever waits to send."""
        self._leave(ABNORMAL)
        self._state = ReadyState.CLOSED
        self._outbox.discard()
        return cast("CloseInfo", self._ending)

    def _tell_closed(self) -> None:
        if self._over is not None:
            self._over.set()

    def _closed_error(self) -> ConnectionClosed:
        return closed_error(self._ending or ABNORMAL)

    def _writer_needed(self) -> None:
        self._driver.writer_needed()

    def _write_failed(self) -> None:
        self._driver.write_failed()

    def _overflowed(self) -> None:
        """Something was dropped; an endpoint does nothing about it."""

    # State

    @property
    def ready_state(self) -> ReadyState:
        """`OPEN`; `CLOSING` from the beginning of a close, by either side, until the connection is over; `CLOSED`."""
        return self._state

    @property
    def protocol(self) -> str | None:
        """The subprotocol agreed on, or `None` (beyond Bun)."""
        return self._protocol

    @property
    def binary_type(self) -> BinaryType:
        """What binary messages, and the data of pings and pongs, are: `"bytes"`, `"bytearray"` or `"memoryview"`.

        May be set, also to Bun's names: `"nodebuffer"`, `"uint8array"`, `"arraybuffer"`; others raise `ValueError`.
        """
        return self._binary_type

    @binary_type.setter
    def binary_type(self, value: str) -> None:
        self._binary_type = check_binary_type(value)

    def _converted(self, message: str | bytes) -> str | bytes | bytearray | memoryview:
        """Return a binary message as `binary_type` says; text as it is."""
        return convert(message, self._binary_type)

    def pause(self) -> None:
        """Stop reading: no further message is handled, and TCP pushes back on the client.

        While paused, it may be noticed only by sending, or after `resume`, that the client has gone.
        """
        self._paused = True

    def resume(self) -> None:
        """Read again, starting with what had already arrived."""
        if self._paused:
            self._paused = False
            self._driver.resumed()

    @property
    def is_paused(self) -> bool:
        """Whether `pause` was called and `resume` has not been since; False during a close: input is read then."""
        return self._paused and self._state is OPEN

    def statistics(self) -> SocketStatistics:
        """Return what this socket has done so far (beyond Bun)."""
        outbox = self._outbox
        return SocketStatistics(
            messages_in=self._messages_in,
            messages_out=outbox.messages_out,
            bytes_in=self._bytes_in,
            bytes_out=outbox.bytes_out,
            drops=outbox.drops,
            buffered=outbox.buffered,
        )
