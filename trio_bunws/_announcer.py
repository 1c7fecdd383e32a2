"""Calls a client's listeners: one event at a time, in the order in which things happened, whoever is async.

Plain listeners run in the task that reads, at once; as soon as one has to be awaited, events wait in a bounded queue
for a task of their own. `_reception.py` says what happened on an open connection, `_client_life.py` how an opening
failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias, cast

import trio

from trio_bunws._app_calls import refuse_awaitable, without_failures
from trio_bunws._client_events import ClientEvent, Listeners, OpenEvent
from trio_bunws._handlers import is_async_callable
from trio_bunws._lane import Lane

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Spawn: TypeAlias = Callable[[Callable[[], Awaitable[None]]], None]


async def announce(listeners: Listeners, event: ClientEvent) -> None:
    """Call everybody who listens to such an event, and await those who are async. What they raise comes out."""
    for listener in listeners.of(event.type):
        result = listener(event)
        if is_async_callable(listener):
            await cast("Awaitable[object]", result)
        else:
            refuse_awaitable(result)


class Announcer:
    """The events of one open connection."""

    __slots__ = ("_closing", "_discarding", "_failed", "_hurried", "_lane", "_listeners", "_max_bytes", "_max_events")

    def __init__(
        self,
        listeners: Listeners,
        max_events: int,
        max_bytes: int,
        *,
        spawn: Spawn,
        made_room: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """At most so many events and bytes wait, but one always may.

        `spawn` starts a task, `made_room` is called when an event was taken from the queue, and `failed` with what a
        listener has raised.
        """
        self._listeners: Final = listeners
        self._max_events: Final = max_events
        self._max_bytes: Final = max_bytes
        self._lane: Final[Lane[ClientEvent]] = Lane(self._do, spawn, made_room)
        self._failed: Final = failed
        self._discarding = False
        self._hurried = False
        self._closing = trio.CancelScope()

    def listens(self, event_type: str) -> bool:
        """Whether anybody does."""
        return self._listeners.has(event_type)

    def has_room(self, size: int) -> bool:
        """Whether an event with so many bytes would be taken, whoever listens."""
        return self._lane.has_room(size, self._max_events, self._max_bytes)

    def tell(self, event: ClientEvent, size: int) -> bool:
        """Announce an event, or let it wait; False: there is no room, tell it again when `made_room` was called."""
        if self._lane.busy or self._listeners.any_async(event.type):
            if not self.has_room(size):
                return False
            self._lane.post(event, size, self._max_events)
            return True
        try:
            for listener in self._listeners.of(event.type):
                refuse_awaitable(listener(event))
        except Exception as exc:  # noqa: BLE001  # it ends the block
            self._failed(exc)
        return True

    def discard(self) -> None:
        """Our side closed: forget the events that wait, but for that of the opening."""
        self._discarding = True

    def hurry(self) -> None:
        """Wait for no listener any more."""
        self._hurried = True
        self._closing.cancel()

    async def finish(self, events: tuple[ClientEvent, ...], at_most: float) -> None:
        """Announce the last events; async listeners have so many seconds for all of them. Nothing waits any more."""
        self._closing.deadline = trio.current_time() + at_most
        if self._hurried:
            self._closing.cancel()
        with self._closing:
            for event in events:
                await self._call(event)

    async def _do(self, event: ClientEvent) -> None:
        if isinstance(event, OpenEvent) or not self._discarding:
            await self._call(event)

    async def _call(self, event: ClientEvent) -> None:
        try:
            await announce(self._listeners, event)
        except Exception as exc:  # noqa: BLE001  # it ends the block
            self._failed(exc)
        except BaseExceptionGroup as group:
            raise without_failures(group) from None
