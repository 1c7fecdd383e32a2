"""A client's received messages on their way to the application: to its listeners, or to the inbox of `receive`.

It stands where a server's connection has a `Dispatcher`, so `_connection.py` reports to it what happened; nothing here
reads, writes or decides about the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trio_bunws._client_events import CloseEvent, ErrorEvent, MessageEvent, OpenEvent
from trio_bunws._lane import Inbox, size_of
from trio_bunws._wire.events import Ping, Pong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio_bunws._announcer import Announcer
    from trio_bunws._client import WebSocket
    from trio_bunws._close import CloseInfo
    from trio_bunws._endpoint import Endpoint
    from trio_bunws._errors import RemoteProtocolError
    from trio_bunws._wire.events import Event


class Reception:
    """The messages and events of one socket."""

    __slots__ = ("_announcer", "_inbox", "_max_bytes", "_max_inbox", "_target", "_ws", "failure")

    def __init__(
        self,
        ws: Endpoint,
        target: WebSocket,
        announcer: Announcer,
        *,
        max_inbox: int,
        max_bytes: int,
        made_room: Callable[[], None],
    ) -> None:
        """`target` is what events name.

        In the inbox at most so many messages and bytes wait, but one always may; `made_room` is called when one was
        taken.
        """
        self._ws: Final = ws
        self._target: Final = target
        self._announcer: Final = announcer
        self._max_inbox: Final = max_inbox
        self._max_bytes: Final = max_bytes
        self._inbox: Final[Inbox[str | bytes | bytearray | memoryview]] = Inbox(max_inbox, made_room)
        self.failure: RemoteProtocolError | None = None
        """How the peer broke the protocol."""

    def announce_opening(self) -> None:
        """Announce that the connection is open."""
        self._announcer.tell(OpenEvent(self._target), 0)

    def opened(self) -> None:
        """The connection is read from now on; that it is open was announced before."""

    def consume(self, events: Iterator[Event]) -> Event | None:
        """Return the next event, for `deliver`, or `None` when there are no more."""
        return next(events, None)

    def deliver(self, event: str | bytes | Ping | Pong) -> bool:
        """Announce a message, or let it wait; False: there is no room, deliver it again when `made_room` was called."""
        if isinstance(event, (Ping, Pong)):
            kind = "ping" if isinstance(event, Ping) else "pong"
            if not self._announcer.listens(kind):
                return True
            data = self._ws._converted(event.data)
            return self._announcer.tell(MessageEvent(self._target, data, kind), len(event.data))  # type: ignore[arg-type]  # as `receive`
        size = size_of(event)
        if self._announcer.listens("message"):
            data = self._ws._converted(event)
            if not self._announcer.tell(MessageEvent(self._target, data), size):  # type: ignore[arg-type]  # as `receive`
                return False
            self._ws._messages_in += 1
            return True
        if not self._inbox.has_room(size, self._max_inbox, self._max_bytes):
            return False
        self._ws._messages_in += 1
        self._inbox.post(self._ws._converted(event), size)
        return True

    @property
    def is_full(self) -> bool:
        """No message of even one byte may wait: it is time to stop reading."""
        return not (self._inbox.has_room(1, self._max_inbox, self._max_bytes) and self._announcer.has_room(1))

    def has_room(self, ping: Ping) -> bool:
        """Whether `deliver` would take this ping."""
        return not self._announcer.listens("ping") or self._announcer.has_room(len(ping.data))

    def drained(self) -> None:
        """Unsent bytes have been written; who waits for that is in `Endpoint.drained`."""

    def discard(self) -> None:
        """Our side closed: forget the messages that wait."""
        self._announcer.discard()
        self._inbox.discard()
        self._inbox.close()

    def resumed(self) -> None:
        """A pause is over; `receive` gives what waits during one too."""

    def input_ended(self) -> None:
        """No message will come any more; those that wait are still received."""
        self._inbox.close()

    async def receive(self) -> str | bytes | bytearray | memoryview:
        """Return the next message, or raise `ConnectionClosed`. A checkpoint."""
        try:
            return await self._inbox.receive()
        except trio.EndOfChannel:
            raise self._ws._closed_error() from None

    async def closed(self, ending: CloseInfo, at_most: float) -> None:
        """The connection is over: announce it. Async listeners have so many seconds."""
        was_clean = ending.sent is not None and ending.received is not None
        closing = CloseEvent(self._target, ending.code, ending.reason, was_clean)
        events = (closing,) if self.failure is None else (ErrorEvent(self._target, self.failure), closing)
        await self._announcer.finish(events, at_most)
