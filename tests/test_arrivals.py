"""Accepted connections that have not asked for anything: how long they may wait, and that nobody wakes up for nothing.

Covers `trio_bunws._arrivals` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_bunws._arrivals import Arrivals
from trio_bunws._liveness import Sweeper

if TYPE_CHECKING:
    from trio.testing import MockClock


class Waiting:
    """An arrival that writes down when it was told what."""

    def __init__(self, arrivals: Arrivals) -> None:
        self.arrivals = arrivals
        self.told: list[tuple[str, float]] = []

    def stop(self) -> None:
        self.told.append(("stop", trio.current_time()))
        self.arrivals.leave(self)

    def time_over(self) -> None:
        self.told.append(("time over", trio.current_time()))
        self.arrivals.leave(self)


async def test_who_waits_too_long_is_told_each_in_its_time(autojump_clock: MockClock) -> None:
    sweeper = Sweeper()
    arrivals = Arrivals(sweeper, 10)
    begin = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sweeper.run)
        first, second, third, leaver = (Waiting(arrivals) for _ in range(4))
        for arrival in (first, second, leaver):
            arrivals.enter(arrival)
        await trio.sleep(4)
        arrivals.leave(leaver)
        arrivals.leave(leaver)
        arrivals.enter(third)
        assert len(arrivals) == 3
        await trio.sleep(100)
        assert first.told == second.told == [("time over", begin + 10)]
        assert third.told == [("time over", begin + 14)]
        assert leaver.told == []
        assert len(arrivals) == 0
        nursery.cancel_scope.cancel()
    assert autojump_clock.autojump_threshold == 0


async def test_the_sweeper_sleeps_for_ever_when_nobody_waits() -> None:
    sweeper = Sweeper()
    arrivals = Arrivals(sweeper, 10)
    arrival = Waiting(arrivals)
    arrivals.enter(arrival)
    arrivals.enter(Waiting(arrivals))
    assert len(sweeper) == 1
    arrivals.stop()
    assert [word for word, _ in arrival.told] == ["stop"]
    assert (len(arrivals), len(sweeper)) == (0, 0)


async def test_without_a_time_they_may_wait_for_ever() -> None:
    sweeper = Sweeper()
    arrivals = Arrivals(sweeper, 0)
    arrivals.enter(Waiting(arrivals))
    assert (len(arrivals), len(sweeper)) == (1, 0)
