"""A client's connection: `Connection` with a client's endpoint, keep-alive pings, and listeners instead of handlers.

`_client_life.py` makes one when the opening handshake is done, runs it, and has it leave.
"""

from __future__ import annotations

import math
from functools import partial
from os import urandom
from typing import TYPE_CHECKING, Final

import trio

from trio_bunws._announcer import Announcer
from trio_bunws._client_endpoint import ClientEndpoint
from trio_bunws._close import ABNORMAL, INACTIVE, CloseFrame
from trio_bunws._connection import Connection
from trio_bunws._errors import RemoteProtocolError
from trio_bunws._reception import Reception
from trio_bunws._status import OPEN
from trio_bunws._tasks import Role
from trio_bunws._wire.events import Failure, Pong
from trio_bunws._wire.frames import ping_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_bunws._client import WebSocket
    from trio_bunws._client_events import Listeners
    from trio_bunws._engine import Engine
    from trio_bunws._keep_alive import KeepAlive
    from trio_bunws._transport import Transport
    from trio_bunws._wire.events import Event
    from trio_bunws._wire.opening import Opened

FAILED: Final = CloseFrame(1011, "Internal error")
GOING_AWAY: Final = CloseFrame(1001, "Going away")
OFFER_PASSES: Final = 8
"""Passes of the scheduler granted to a Close that nobody waits for: a stream's writer needs some to try it once."""
OFFER_TIME: Final = 1.0
"""Seconds that these may take at most."""
PING_SIZE: Final = 4
"""Bytes of a keep-alive ping, by which its pong is known."""


class ClientConnection(Connection[None, ClientEndpoint, Reception]):
    """One WebSocket connection of ours to a server: `ClientEndpoint`'s `Driver`."""

    __slots__ = ("_announcer", "_keep_alive", "_report", "over")

    def __init__(
        self,
        transport: Transport,
        engine: Engine[None],
        opened: Opened,
        *,
        target: WebSocket,
        listeners: Listeners,
        keep_alive: KeepAlive,
        report: Callable[[Exception], None],
    ) -> None:
        """`report` is called with what a listener raises; the connection is closing with 1011 then."""
        super().__init__(transport, engine, opened.deflate, client=True)
        handler = engine.slot.handler
        self.over: Final = trio.Event()
        """Set when everything has ended, listeners too."""
        self._report: Final = report
        self._keep_alive: Final = keep_alive
        self.ws = ClientEndpoint(
            sink=transport,
            driver=self,
            hub=engine.hub,
            backpressure_limit=handler.backpressure_limit,
            protocol=opened.protocol,
            keep_alive=keep_alive,
            deflate=engine.outbound(opened.deflate, client=True),
        )
        self._announcer: Final = Announcer(
            listeners,
            handler.max_inbox,
            handler.max_payload_length,
            spawn=partial(self._tasks.start_soon, Role.HANDLER),
            made_room=self.release,
            failed=self._listener_failed,
        )
        self._dispatcher = Reception(
            self.ws,
            target,
            self._announcer,
            max_inbox=handler.max_inbox,
            max_bytes=handler.max_payload_length,
            made_room=self.release,
        )

    def announce_opening(self) -> None:
        """Tell listeners that the connection is open; call it before `run`, and before the block begins."""
        self._dispatcher.announce_opening()

    def _ended(self) -> None:
        super()._ended()
        self.over.set()

    def _take(self, event: Event) -> bool:
        if isinstance(event, Pong):
            self._keep_alive.pong_came(event.data, trio.current_time())
        elif isinstance(event, Failure) and self.ws._state is OPEN:
            self._dispatcher.failure = RemoteProtocolError(event.reason, event.code)
        return super()._take(event)

    def _listener_failed(self, exc: Exception) -> None:
        self.ws.close_with(FAILED)
        self._report(exc)

    # Keep-alive

    def _listen(self) -> None:
        self._keep_alive.begin(trio.current_time())
        super()._listen()

    def _look_at_peer(self, now: float) -> float | None:
        ws = self.ws
        keep_alive = self._keep_alive
        if now >= keep_alive.gives_up_at(self._signs_of_life):
            ws._begin_abort(INACTIVE)
            return None
        if now >= keep_alive.next_ping:
            payload = urandom(PING_SIZE)
            ws._outbox.push_control(ping_frame(payload))
            self._engine.hub.mark_dirty(ws)
            keep_alive.keep_alive_sent(payload, now, self._signs_of_life)
        again = min(keep_alive.next_ping, keep_alive.gives_up_at(self._signs_of_life))
        return None if again == math.inf else again

    @property
    def _signs_of_life(self) -> tuple[int, float]:
        """What changes when bytes come, and when the server makes room for unsent ones."""
        return self.ws._bytes_in, self._heard

    # Leaving

    async def leave(self, frame: CloseFrame, at_most: float) -> None:
        """Close, and wait so many seconds for the answer, and for listeners; who cancels that aborts. A checkpoint."""
        self.ws.close_with(frame)
        try:
            with trio.move_on_after(at_most):
                await self.over.wait()
        finally:
            self._give_up()

    async def abandon(self) -> None:
        """Offer a Close, and abort, without waiting for anybody; cancelled or not. A checkpoint."""
        self.ws.close_with(GOING_AWAY)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + OFFER_TIME):
            for _ in range(OFFER_PASSES):
                await trio.lowlevel.checkpoint()
        self._give_up()

    def _give_up(self) -> None:
        self.ws._begin_abort(ABNORMAL)
        self._announcer.hurry()
        self._tasks.cancel(Role.HANDLER)
