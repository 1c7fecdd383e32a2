"""Connections that have been accepted and have not asked for anything yet: kept without a task, and not for ever.

Nothing is read or answered here. Sessions enter and leave, `Server.stop` ends them all, and the sweeper looks at the
one that came first: they all have the same time, so the order of coming is that of their deadlines.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Protocol

import trio

if TYPE_CHECKING:
    from trio_bunws._liveness import Sweeper


class Arrival(Protocol):
    """What waits for its first bytes."""

    def stop(self) -> None:
        """Wait no longer, for the server ends; it is to leave."""
        ...

    def time_over(self) -> None:
        """Wait no longer, for nothing has come in time."""
        ...


class Arrivals:
    """Those of one server; `Watched` by its sweeper. All methods are plain functions that never checkpoint."""

    __slots__ = ("_deadlines", "_sweeper", "_timeout")

    def __init__(self, sweeper: Sweeper, timeout: float) -> None:
        """Each may wait for `timeout` seconds; 0: for ever."""
        self._sweeper: Final = sweeper
        self._timeout: Final = timeout or math.inf
        # A plain dict would look through all that have left to find the first.
        self._deadlines: Final[OrderedDict[Arrival, float]] = OrderedDict()

    def enter(self, arrival: Arrival) -> None:
        """Begin its time."""
        deadline = trio.current_time() + self._timeout
        if not self._deadlines and deadline < math.inf:
            self._sweeper.watch(self, deadline)
        self._deadlines[arrival] = deadline

    def leave(self, arrival: Arrival) -> None:
        """It waits no longer. Idempotent."""
        if self._deadlines.pop(arrival, None) is not None and not self._deadlines:
            self._sweeper.watch(self, None)  # who waits for nothing must not wake up

    def stop(self) -> None:
        """Stop all of them."""
        for arrival in tuple(self._deadlines):
            arrival.stop()

    def look(self, now: float) -> float | None:
        """End those whose time is over, and return when to look again."""
        while self._deadlines:
            arrival, deadline = next(iter(self._deadlines.items()))
            if deadline > now:
                return deadline
            del self._deadlines[arrival]
            arrival.time_over()
        return None

    def __len__(self) -> int:
        return len(self._deadlines)
