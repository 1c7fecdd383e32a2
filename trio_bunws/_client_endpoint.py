"""A client's side of an open WebSocket: `Endpoint` with masked frames, and with the close of Bun's client.

`WebSocket` in `_client.py` is what the application holds; it makes one of these when the connection is open.
"""

from __future__ import annotations

from os import urandom
from typing import TYPE_CHECKING, Final

import trio

from trio_bunws._close import MAX_REASON_BYTES, CloseFrame, CloseInfo, check_close_code, cut_reason
from trio_bunws._endpoint import ABNORMAL, NO_CODE, Driver, Endpoint
from trio_bunws._outbox import Outbox, Sink
from trio_bunws._wire.frames import mask_frame

if TYPE_CHECKING:
    from trio_bunws._hub import Hub
    from trio_bunws._wire.compression import Outbound

KEY_SIZE: Final = 4
GOING_AWAY: Final = CloseFrame(1001, "Going away")
OFFER_PASSES: Final = 8
"""Passes of the scheduler granted to a Close that nobody waits for: a stream's writer needs some to try it once."""
OFFER_TIME: Final = 1.0
"""Seconds that these may take at most."""
REASON_ALONE: Final = 1000
"""The code of a close with a reason and without a code, for no frame has only a reason."""


class MaskingOutbox(Outbox):
    """An outbox that masks each frame with a fresh key from the system (RFC 6455, section 10.3); 1.5 us a frame."""

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

    __slots__ = ()

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
        super().__init__(
            sink=sink,
            driver=driver,
            hub=hub,
            backpressure_limit=backpressure_limit,
            protocol=protocol,
            deflate=deflate,
        )
        self._outbox = MaskingOutbox(sink, self, backpressure_limit)  # nothing has been sent yet

    def close_with(self, frame: CloseFrame) -> None:
        """Close with a frame that `closing_frame` has made. Does nothing when closing or closed."""
        self._begin_close(CloseInfo(*frame, sent=frame, received=None))

    async def leave(self, frame: CloseFrame, close_timeout: float) -> None:
        """Close, and wait so many seconds for the answer; who cancels that aborts. A checkpoint."""
        self.close_with(frame)
        try:
            with trio.move_on_after(close_timeout):
                await self.closed()
        finally:
            self._begin_abort(ABNORMAL)

    async def abandon(self) -> None:
        """Offer a Close, and abort, without waiting for anybody; cancelled or not. A checkpoint."""
        self.close_with(GOING_AWAY)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + OFFER_TIME):
            for _ in range(OFFER_PASSES):
                await trio.lowlevel.checkpoint()
        self._begin_abort(ABNORMAL)


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
