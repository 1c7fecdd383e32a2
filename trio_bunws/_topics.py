"""The index of topics: who is subscribed to what, and how well the subscribers of a topic keep up.

No delivery happens here and nothing is known of sockets: a member is any hashable object. `_hub.py` owns the one index
of a server; the counters of a topic let a publish know its status without a scan of the members.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

CLEAR: Final = 0
"""Pressure of a member that has no unsent bytes."""
CONGESTED: Final = 1
"""Pressure of a member that has unsent bytes, within its limit."""
OVER: Final = 2
"""Pressure of a member that has more unsent bytes than its limit."""

M = TypeVar("M")


class Topic(Generic[M]):
    """One topic: its members in order of subscription, and how many of them are behind."""

    __slots__ = ("behind", "members", "name", "over")

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self.members: Final[dict[M, None]] = {}
        self.behind: int = 0
        """Members that have unsent bytes, those over their limit included."""
        self.over: int = 0
        """Members over their limit."""

    def pressure_changed(self, old: int, new: int) -> None:
        """Count a member's move from one pressure to another."""
        self.behind += (new > CLEAR) - (old > CLEAR)
        self.over += (new == OVER) - (old == OVER)


class TopicIndex(Generic[M]):
    """All topics that have a member, by name."""

    __slots__ = ("_topics",)

    def __init__(self) -> None:
        self._topics: Final[dict[str, Topic[M]]] = {}

    def get(self, name: str) -> Topic[M] | None:
        """Return the topic, or `None` where nobody is subscribed."""
        return self._topics.get(name)

    def join(self, name: str, member: M, pressure: int) -> Topic[M]:
        """Add a member that is not in the topic yet."""
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(name)
        topic.members[member] = None
        topic.pressure_changed(CLEAR, pressure)
        return topic

    def leave(self, topic: Topic[M], member: M, pressure: int) -> None:
        """Remove a member that is in the topic; a topic without members is forgotten."""
        del topic.members[member]
        topic.pressure_changed(pressure, CLEAR)
        if not topic.members:
            del self._topics[topic.name]

    def members(self, name: str) -> tuple[M, ...]:
        """Return a snapshot of the members, in order of subscription."""
        topic = self._topics.get(name)
        return () if topic is None else tuple(topic.members)

    def names(self) -> tuple[str, ...]:
        """Return the names of all topics that have a member."""
        return tuple(self._topics)

    def __len__(self) -> int:
        return len(self._topics)
