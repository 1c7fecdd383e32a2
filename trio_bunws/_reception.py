"""A client's received messages on their way to the application: a bounded inbox that `receive` empties.

It stands where a server's connection has a `Dispatcher`, so `_connection.py` reports to it what happened; nothing here
reads, writes or decides about the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trio_bunws._lane import Inbox
from trio_bunws._wire.events import Ping, Pong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio_bunws._close import CloseInfo
    from trio_bunws._endpoint import Endpoint
    from trio_bunws._wire.events import Event


class Reception:
    """The messages of one socket that wait."""

    __slots__ = ("_inbox", "_max_bytes", "_max_inbox", "_ws")

    def __init__(self, ws: Endpoint, max_inbox: int, max_bytes: int, made_room: Callable[[], None]) -> None:
        """At most so many messages and bytes wait, but one always may; `made_room` is called when one was taken."""
        self._ws: Final = ws
        self._max_inbox: Final = max_inbox
        self._max_bytes: Final = max_bytes
        self._inbox: Final[Inbox[str | bytes | bytearray | memoryview]] = Inbox(max_inbox, made_room)

    def opened(self) -> None:
        """The connection is open; nobody has to be told."""

    def consume(self, events: Iterator[Event]) -> Event | None:
        """Return the next event, for `deliver`, or `None` when there are no more."""
        return next(events, None)

    def deliver(self, event: str | bytes | Ping | Pong) -> bool:
        """Let a message wait; False: there is no room, deliver it again when `made_room` was called."""
        if isinstance(event, (Ping, Pong)):
            return True
        size = len(event) if isinstance(event, bytes) or event.isascii() else len(event.encode())
        if not self._inbox.has_room(size, self._max_inbox, self._max_bytes):
            return False
        self._ws._messages_in += 1
        self._inbox.post(self._ws._converted(event), size)
        return True

    @property
    def is_full(self) -> bool:
        """No message more than the empty one may wait: it is time to stop reading."""
        return not self._inbox.has_room(1, self._max_inbox, self._max_bytes)

    def has_room(self, ping: Ping) -> bool:  # noqa: ARG002  # a `Dispatcher` has handlers for them
        """Whether `deliver` would take this ping: always."""
        return True

    def drained(self) -> None:
        """Unsent bytes have been written; who waits for that is in `Endpoint.drained`."""

    def discard(self) -> None:
        """Our side closed: forget the messages that wait."""
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
        """The connection is over; nobody has to be told."""
