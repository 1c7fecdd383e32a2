"""The channels that a server is to be subscribed to at its broker, and those of which the broker has been told.

No broker is known here: `_relay.py` notes what topics come and go, asks what has changed, and tells the broker.
"""

from __future__ import annotations

from typing import Final

import trio


class Subscriptions:
    """The channels of one server. What is not `async` never checkpoints."""

    __slots__ = ("_changed", "_telling", "_told", "_told_some", "_wanted")

    def __init__(self, channel: str) -> None:
        """Begin with one channel."""
        self._wanted: Final[set[str]] = {channel}
        self._told: Final[set[str]] = set()
        """What the broker has been told, or is being told, to subscribe to."""
        self._changed: Final[set[str]] = set()
        """Channels that may be in one of these two and not in the other."""
        self._telling: frozenset[str] = frozenset()
        """Channels of which the broker is being told."""
        self._told_some = trio.Event()
        """Set, and made anew, when the broker has been told of some."""

    @property
    def have_changed(self) -> bool:
        """Whether the broker is to be told of something."""
        return bool(self._changed)

    def add(self, channel: str) -> None:
        """Note that a channel is wanted."""
        self._wanted.add(channel)
        self._changed.add(channel)

    def discard(self, channel: str) -> None:
        """Note that a channel is not wanted any more."""
        self._wanted.discard(channel)
        self._changed.add(channel)

    def begin_anew(self) -> tuple[str, ...]:
        """Return all channels, for a broker that knows of none; `end_telling` follows when it has been told."""
        self._changed.clear()
        self._told.clear()
        self._told.update(self._wanted)
        return tuple(self._wanted)

    def begin_telling(self) -> tuple[list[str], list[str]]:
        """Return to which channels to subscribe, and from which to unsubscribe; `end_telling` follows."""
        begin = [channel for channel in self._changed if channel in self._wanted and channel not in self._told]
        end = [channel for channel in self._changed if channel not in self._wanted and channel in self._told]
        self._telling = frozenset(self._changed)
        self._changed.clear()
        self._told.update(begin)
        self._told.difference_update(end)
        return begin, end

    def end_telling(self) -> None:
        """Note that the broker has been told."""
        self._telling = frozenset()
        self._told_some.set()
        self._told_some = trio.Event()

    async def wait_told(self, channel: str) -> None:
        """Wait until the broker knows whether a channel is wanted; no checkpoint if it does."""
        while channel in self._changed or channel in self._telling:
            await self._told_some.wait()
