"""Deadlines of all connections of a server, kept by one task.

The sweeper knows only "who wants to be looked at when"; what a deadline means is the watched connection's affair. It
sleeps until the earliest deadline, and for ever when there is none, so that an idle server does nothing and never
drives a mock clock.
"""

from __future__ import annotations

import heapq
import math
from itertools import count
from typing import Final, Protocol

import trio

COMPACT_ABOVE: Final = 64
"""Stale entries that are left lying whatever their share, so that small heaps are not rebuilt all the time."""


class Watched(Protocol):
    """What the sweeper calls."""

    def look(self, now: float) -> float | None:
        """Do what is due at `now`, and return the time of the next look, or `None` for none."""
        ...


class Entry:
    """One place in the sweeper's heap."""

    __slots__ = ("order", "watched", "when")

    def __init__(self, when: float, order: int, watched: Watched) -> None:
        self.when: Final = when
        self.order: Final = order
        self.watched: Watched | None = watched

    def __lt__(self, other: Entry) -> bool:
        return (self.when, self.order) < (other.when, other.order)


class Sweeper:
    """Calls `look` on whoever is due. A later deadline is found out at the look, and costs nothing before."""

    __slots__ = ("_bell", "_entries", "_heap", "_order", "_scope", "_stale")

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._entries: Final[dict[Watched, Entry]] = {}
        self._order: Final = count()
        self._stale = 0
        self._scope: trio.CancelScope | None = None

    def watch(self, watched: Watched, when: float | None) -> None:
        """Look at `watched` at the trio time `when`, instead of any time named before; `None`: not at all.

        A plain function that never checkpoints; call it when a deadline became *earlier* or ceased.
        """
        entry = self._entries.pop(watched, None)
        if entry is not None:
            entry.watched = None
            self._stale += 1
            self._tidy()
        if when is not None:
            entry = self._entries[watched] = Entry(when, next(self._order), watched)
            heapq.heappush(self._heap, entry)
        scope = self._scope
        # Most deadlines are not the earliest, and to set a scope's takes 2 us even if it stays the same.
        if scope is not None and scope.deadline != (earliest := self._earliest()):
            scope.deadline = earliest

    def __len__(self) -> int:
        return len(self._entries)

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Keep the deadlines, until cancelled."""
        while True:
            self._look_at_due(trio.current_time())
            with trio.CancelScope(deadline=self._earliest()) as self._scope:
                await trio.sleep_forever()

    def _look_at_due(self, now: float) -> None:
        while self._heap and self._heap[0].when <= now:
            watched = heapq.heappop(self._heap).watched
            assert watched is not None  # the head is never stale
            del self._entries[watched]
            self._tidy()
            again = watched.look(now)
            # A look may have set its own time, by beginning a close for example.
            if again is not None and watched not in self._entries:
                self.watch(watched, again)

    def _earliest(self) -> float:
        return self._heap[0].when if self._heap else math.inf

    def _tidy(self) -> None:
        """Drop stale entries at the head, where they would wake us, and wherever they are most of the heap."""
        if self._stale > COMPACT_ABOVE and self._stale * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry.watched is not None]
            heapq.heapify(self._heap)
            self._stale = 0
        while self._heap and self._heap[0].watched is None:
            heapq.heappop(self._heap)
            self._stale -= 1
