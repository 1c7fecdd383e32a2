"""The sweeper: it looks in time, sleeps otherwise, and forgets what nobody waits for.

Covers `trio_bunws._liveness` alone, on a clock that jumps to whatever deadline is next: so each time that the sweeper
wakes for nothing shows.
"""

# ruff: noqa: ARG001 - a clock is asked for so that time jumps

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
import trio.testing
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock

from trio_bunws._liveness import COMPACT_ABOVE, Sweeper

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable


class Watched:
    """Notes the times of the looks; the next ones are given, or decided by a function."""

    def __init__(self, *then: float | None, on_look: Callable[[], None] = lambda: None) -> None:
        self.looks: list[float] = []
        self.then = list(then)
        self.on_look = on_look

    def look(self, now: float) -> float | None:
        self.looks.append(now)
        self.on_look()
        return self.then.pop(0) if self.then else None


@asynccontextmanager
async def running(sweeper: Sweeper) -> AsyncGenerator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sweeper.run)
        await trio.testing.wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


class Wakes(trio.abc.Instrument):
    """Notes when a task runs."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.name.endswith("Sweeper.run"):
            self.times.append(trio.current_time())


async def test_it_looks_at_each_deadline_and_at_those_that_a_look_names(autojump_clock: MockClock) -> None:
    sweeper = Sweeper()
    first, second = Watched(4.0, None), Watched(3.0, 4.0)
    async with running(sweeper):
        sweeper.watch(first, 2.0)
        sweeper.watch(second, 1.0)
        assert len(sweeper) == 2
        await trio.sleep(10)
    assert (first.looks, second.looks) == ([2.0, 4.0], [1.0, 3.0, 4.0])
    assert len(sweeper) == 0


async def test_a_deadline_named_before_it_runs_is_kept(autojump_clock: MockClock) -> None:
    sweeper = Sweeper()
    early, late = Watched(), Watched()
    sweeper.watch(early, -1.0)
    sweeper.watch(late, 1.0)
    async with running(sweeper):
        assert early.looks == [0.0]
        await trio.sleep(2)
    assert late.looks == [1.0]


async def test_a_deadline_of_now_is_looked_at_now(autojump_clock: MockClock) -> None:
    sweeper = Sweeper()
    watched = Watched()
    async with running(sweeper):
        sweeper.watch(watched, trio.current_time())
        await trio.testing.wait_all_tasks_blocked()
        assert watched.looks == [0.0]


async def test_a_new_time_takes_the_place_of_the_one_before(autojump_clock: MockClock) -> None:
    sweeper = Sweeper()
    sooner, later, never, other = Watched(), Watched(), Watched(), Watched()
    async with running(sweeper):
        for watched in (sooner, later, never, other):
            sweeper.watch(watched, 5.0)
        sweeper.watch(sooner, 1.0)
        sweeper.watch(later, 9.0)
        sweeper.watch(never, None)
        sweeper.watch(never, None)
        assert len(sweeper) == 3
        await trio.sleep(10)
    assert (sooner.looks, later.looks, never.looks, other.looks) == ([1.0], [9.0], [], [5.0])


async def test_a_look_may_set_or_end_any_watch(autojump_clock: MockClock) -> None:
    sweeper = Sweeper()
    other = Watched()
    ended = Watched()

    def change() -> None:
        watched.on_look = lambda: None
        sweeper.watch(watched, 3.0)
        sweeper.watch(other, 4.0)
        sweeper.watch(ended, None)

    watched = Watched(2.0, on_look=change)
    async with running(sweeper):
        sweeper.watch(watched, 1.0)
        sweeper.watch(ended, 1.0)
        await trio.sleep(10)
    assert (watched.looks, other.looks, ended.looks) == ([1.0, 3.0], [4.0], [])


async def test_when_nothing_is_watched_it_never_drives_the_clock(autojump_clock: MockClock) -> None:
    autojump_clock.autojump_threshold = math.inf
    sweeper = Sweeper()
    async with running(sweeper):
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == math.inf
        watched = [Watched() for _ in range(3)]
        for number, one in enumerate(watched, 1):
            sweeper.watch(one, number)
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == 1
        for one in reversed(watched):
            sweeper.watch(one, None)
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == math.inf
        sweeper.watch(watched[0], 1)
        autojump_clock.jump(1)
        await trio.testing.wait_all_tasks_blocked()
        assert watched[0].looks == [1.0]
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == math.inf


async def test_who_is_not_watched_any_more_does_not_wake_it(autojump_clock: MockClock) -> None:
    sweeper = Sweeper()
    first, gone, put_off, last = Watched(), Watched(), Watched(), Watched()
    wakes = Wakes()
    async with running(sweeper):
        for when, watched in enumerate((first, gone, put_off, last), 1):
            sweeper.watch(watched, when)
        sweeper.watch(gone, None)
        sweeper.watch(put_off, 6)
        trio.lowlevel.add_instrument(wakes)
        await trio.sleep(10)
        trio.lowlevel.remove_instrument(wakes)
    assert (first.looks, gone.looks, put_off.looks, last.looks) == ([1.0], [], [6.0], [4.0])
    assert wakes.times == [1.0, 4.0, 6.0]


async def test_stale_entries_do_not_pile_up(autojump_clock: MockClock) -> None:
    sweeper = Sweeper()
    always, restless = Watched(), Watched()
    async with running(sweeper):
        sweeper.watch(always, 1)
        for number in range(10 * COMPACT_ABOVE):
            sweeper.watch(restless, 100 + number)
            assert len(sweeper._heap) <= 2 * COMPACT_ABOVE + 2
        await trio.sleep(99)
    assert (always.looks, restless.looks) == ([1.0], [])
    assert len(sweeper) == len(sweeper._heap) == 1


TIMES = st.none() | st.integers(0, 20)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 3), TIMES, st.booleans()), max_size=40))
def test_any_sequence_looks_once_at_each_time_that_stood(steps: list[tuple[int, int | None, bool]]) -> None:
    sweeper = Sweeper()
    watched = [Watched() for _ in range(4)]
    due: list[float | None] = [None] * 4
    expected: list[list[float]] = [[] for _ in range(4)]
    clock = MockClock()

    async def play() -> None:
        async with running(sweeper):
            for who, after, moves in steps:
                now = trio.current_time()
                due[who] = None if after is None else now + after
                sweeper.watch(watched[who], due[who])
                if moves:
                    await trio.testing.wait_all_tasks_blocked()
                    clock.jump(7)
                    await trio.testing.wait_all_tasks_blocked()
                    for number, when in enumerate(due):
                        if when is not None and when <= now + 7:
                            expected[number].append(now if when == now else now + 7)
                            due[number] = None
            assert len(sweeper) == sum(when is not None for when in due)

    trio.run(play, clock=clock)
    assert [one.looks for one in watched] == expected
