"""What a client's listeners are told: Bun's event objects, frozen, and the table of who listens to what.

Nothing here calls a listener: `_announcer.py` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from attrs import field, frozen

from trio_bunws._handlers import is_async_callable

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_bunws._client import WebSocket

EventType: TypeAlias = Literal["open", "message", "close", "error", "ping", "pong"]
EVENT_TYPES: Final[tuple[str, ...]] = get_args(EventType)


@frozen
class OpenEvent:
    """The connection is open (Bun: `Event`)."""

    target: WebSocket
    """The socket."""
    type: Literal["open"] = field(default="open", init=False)
    """Which event it is."""


@frozen
class MessageEvent:
    """A message, a ping or a pong arrived (Bun: `MessageEvent`)."""

    target: WebSocket
    """The socket."""
    data: str | bytes
    """The message: text as `str`; binary messages, and the data of pings and pongs, as `binary_type` says."""
    type: Literal["message", "ping", "pong"] = "message"
    """Which event it is."""


@frozen
class CloseEvent:
    """The connection is over, or could not be opened (Bun: `CloseEvent`). It is the last event."""

    target: WebSocket
    """The socket."""
    code: int
    """As in `CloseInfo`: the code of the side that closed first; 1005 for a Close without one, 1006 for no Close."""
    reason: str
    """The reason given with the code, or ""."""
    was_clean: bool
    """Whether both sides have sent a Close frame."""
    type: Literal["close"] = field(default="close", init=False)
    """Which event it is."""


@frozen
class ErrorEvent:
    """The opening failed, or the server broke the protocol (Bun: `ErrorEvent`); the close event follows."""

    target: WebSocket
    """The socket."""
    error: Exception
    """What entering the block raises, or a `RemoteProtocolError` with the code that the connection is closed with."""
    type: Literal["error"] = field(default="error", init=False)
    """Which event it is."""

    @property
    def message(self) -> str:
        """What happened, in words."""
        return str(self.error) or type(self.error).__name__


ClientEvent: TypeAlias = OpenEvent | MessageEvent | CloseEvent | ErrorEvent

if TYPE_CHECKING:
    Listener: TypeAlias = Callable[..., object]


class Listeners:
    """Who listens to what, in the order in which they were added."""

    __slots__ = ("_by_type",)

    def __init__(self) -> None:
        self._by_type: Final[dict[str, list[Listener]]] = {name: [] for name in EVENT_TYPES}

    def add(self, event_type: str, listener: object) -> None:
        """Add a listener; one that is there already is not added again (as in Bun).

        Raises:
            TypeError: if it is not callable.
            ValueError: if there is no such event.
        """
        found = self._named("add_event_listener", event_type)
        if not callable(listener):
            raise TypeError(f"add_event_listener expects listener to be callable, not {listener!r}")
        if listener not in found:
            found.append(listener)

    def remove(self, event_type: str, listener: Listener) -> None:
        """Remove a listener, if it is there. Raises `ValueError` if there is no such event."""
        found = self._named("remove_event_listener", event_type)
        if listener in found:
            found.remove(listener)

    def of(self, event_type: str) -> tuple[Listener, ...]:
        """Return the listeners of now; changes do not matter to an event under way."""
        return tuple(self._by_type[event_type])

    def has(self, event_type: str) -> bool:
        """Whether anybody listens."""
        return bool(self._by_type[event_type])

    def any_async(self, event_type: str) -> bool:
        """Whether a listener has to be awaited."""
        return any(map(is_async_callable, self._by_type[event_type]))

    def _named(self, method: str, event_type: str) -> list[Listener]:
        found = self._by_type.get(event_type) if isinstance(event_type, str) else None
        if found is None:
            names = ", ".join(map(repr, EVENT_TYPES))
            raise ValueError(f"{method} expects the event's type to be one of {names}, not {event_type!r}")
        return found
