"""A client's side of a WebSocket: `Endpoint` with masked frames, and with the close of Bun's client.

`WebSocket` in `_client.py` is what the application holds, and passes calls on to one of these. `ClientConnection` makes
it when the connection is open; if the opening fails, `never_opened` makes one that is closed from the beginning.
"""

from __future__ import annotations

from os import urandom
from typing import TYPE_CHECKING, ClassVar, Final

import trio

from trio_bunws._close import MAX_REASON_BYTES, NO_CODE, CloseFrame, check_close_code, cut_reason
from trio_bunws._endpoint import Driver, Endpoint
from trio_bunws._errors import ConnectionClosed
from trio_bunws._hub import Hub
from trio_bunws._keep_alive import KeepAlive
from trio_bunws._outbox import Outbox, Sink
from trio_bunws._payload import encode_control
from trio_bunws._status import DROPPED, SendStatus
from trio_bunws._wire.frames import mask_frame

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from trio_bunws._wire.compression import Outbound

KEY_SIZE: Final = 4
REASON_ALONE: Final = 1000
"""The code of a close with a reason and without a code, for no frame has only a reason."""


class MaskingOutbox(Outbox):
    """An outbox that masks each frame with a fresh key from the system (RFC 6455, section 10.3).

    That takes 0.8 us a frame, 1.6 in plain Python.
    """

    __slots__ = ()

    def push(self, frame: bytes) -> None:
        super().push(mask_frame(frame, urandom(KEY_SIZE)))

    def push_raw(self, data: bytes) -> None:
        """Accept the Close frame, the only one that comes this way from a client."""
        super().push_raw(mask_frame(data, urandom(KEY_SIZE)))

    def push_control(self, frame: bytes) -> bool:
        return super().push_control(mask_frame(frame, urandom(KEY_SIZE)))

    def push_pong(self, frame: bytes) -> None:
        super().push_pong(mask_frame(frame, urandom(KEY_SIZE)))


class ClientEndpoint(Endpoint):
    """The client's end of one connection."""

    __slots__ = ("_keep_alive",)

    _outbox_class = MaskingOutbox

    def __init__(
        self,
        *,
        sink: Sink,
        driver: Driver,
        hub: Hub,
        backpressure_limit: int,
        protocol: str | None,
        keep_alive: KeepAlive,
        deflate: Outbound | None = None,
    ) -> None:
        super().__init__(
            sink=sink,
            driver=driver,
            hub=hub,
            backpressure_limit=backpressure_limit,
            protocol=protocol,
            deflate=deflate,
        )
        self._keep_alive: Final = keep_alive

    def ping(self, data: str | Buffer = b"") -> SendStatus:
        """Send a ping; its pong, too, tells the latency."""
        payload = encode_control("ping", data)
        status = super().ping(payload)
        if status is not DROPPED:
            self._keep_alive.ping_sent(payload, trio.current_time())
        return status

    def close_with(self, frame: CloseFrame) -> None:
        """Close with a frame that `closing_frame` has made. Does nothing when closing or closed."""
        self._begin_close(frame)


def closing_frame(code: int | None, reason: str) -> CloseFrame:
    """Return the Close frame for the arguments of a client's `close`: an empty one if both are missing.

    Raises:
        TypeError, ValueError: if the code may not be sent, or the reason is no `str`, or longer than 123 bytes.
    """
    if cut_reason(reason) != reason:
        raise ValueError(f"close expects reason to be at most {MAX_REASON_BYTES} bytes, not {len(reason.encode())}")
    if code is None:
        return CloseFrame(REASON_ALONE if reason else NO_CODE, reason)
    return CloseFrame(check_close_code(code), reason)


class Nowhere:
    """The `Sink` and the `Driver` of a socket that never was open: they do nothing."""

    direct: ClassVar[bool] = True
    kernel_socket: None = None

    def try_write(self, data: bytes | bytearray | memoryview) -> int:  # noqa: ARG002  # a closed socket writes nothing
        """Take nothing."""
        return 0

    def _ignore(self) -> None:
        """Nothing has to be done."""

    writer_needed = close_begun = abort = resumed = write_failed = _ignore

    async def receive(self) -> str | bytes | bytearray | memoryview:
        """Raise `ConnectionClosed`. A checkpoint."""
        await trio.lowlevel.checkpoint()
        raise ConnectionClosed(None, None)


def never_opened() -> ClientEndpoint:
    """Return a closed endpoint, for a socket whose opening has failed: sends are dropped, and it ended with 1006."""
    nowhere = Nowhere()
    ws = ClientEndpoint(
        sink=nowhere, driver=nowhere, hub=Hub(), backpressure_limit=0, protocol=None, keep_alive=KeepAlive(0, 0)
    )
    ws._end()
    return ws
