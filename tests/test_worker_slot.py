"""One place among the workers: what follows a worker that ends, when, and how one replaces another.

Covers `trio_bunws._cli.worker_slot` alone, with workers that are no processes, in time that jumps.
"""

# ruff: noqa: ARG001 - a clock is asked for so that time jumps

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from worker_fakes import FakePort, FakeWorker, Makes

from trio_bunws._cli import worker_slot
from trio_bunws._cli.worker_slot import FIRST_PAUSE, LAST_PAUSE, START, STEADY, Slot, pause_before

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio.testing import MockClock

    from trio_bunws._cli.worker_process import WorkerProcess


class Place:
    """A slot with all that it needs, and what it does."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.port = FakePort()
        self.makes = Makes(self.port)
        self.failures: list[WorkerProcess] = []
        self.slot = Slot(1, self.makes, self.port, nursery, self.failures.append)
        self._nursery = nursery

    async def kept(self) -> FakeWorker:
        """Start, and keep a worker there from now on; return the first."""
        await self.slot.start()
        self._nursery.start_soon(self.slot.keep)
        return self.last

    @property
    def last(self) -> FakeWorker:
        return self.makes.made[-1]

    async def next_start(self) -> float:
        """Wait for another worker; return the seconds that it took."""
        begun = trio.current_time()
        await self.makes.another.wait()
        await trio.testing.wait_all_tasks_blocked()
        return trio.current_time() - begun


@pytest.fixture(name="place")
def _place(nursery: trio.Nursery) -> Iterator[Place]:
    place = Place(nursery)
    yield place
    place.port.close()


@pytest.fixture(autouse=True)
def _no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_slot, "random", lambda: 1.0)


async def test_a_worker_that_crashed_after_long_service_is_followed_at_once(
    place: Place, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    worker = await place.kept()
    assert place.slot.serves
    await trio.sleep(STEADY)
    worker.crash(3)
    assert await place.next_start() < FIRST_PAUSE
    assert place.slot.serves
    assert place.port.vacated == []
    assert [record.message for record in caplog.records] == ["worker 1 ended with exit code 3; the next starts at once"]


async def test_workers_that_crash_soon_are_followed_ever_more_slowly_and_others_have_their_connections(
    place: Place, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    await place.kept()
    pauses: list[float] = []
    for _ in range(9):
        place.last.crash()
        pauses.append(round(await place.next_start(), 1))
    assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert place.port.vacated == [1] * 8
    assert caplog.records[1].message == "worker 1 died of SIGSEGV; the next starts in 0.5 s"
    await trio.sleep(STEADY)
    place.last.crash()
    assert await place.next_start() < FIRST_PAUSE  # it has lived


async def test_a_next_one_that_does_not_serve_is_tried_again_and_told(
    place: Place, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    worker = await place.kept()
    place.makes.failing(1, code=2)
    worker.crash()
    await place.next_start()
    assert place.failures == [place.last]
    assert not place.slot.serves
    await place.next_start()
    assert place.slot.serves
    assert caplog.records[-1].message == "worker 1 ended with exit code 2 before it served; the next starts in 0.5 s"


async def test_a_worker_that_hangs_at_its_start_is_ended(
    place: Place, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    hanging = FakeWorker(1, place.port)
    hanging.may_serve = trio.Event()
    place.makes.next.append(hanging)
    begun = trio.current_time()
    await place.slot.start()
    assert trio.current_time() - begun == pytest.approx(START)
    assert hanging.told
    assert place.failures == [hanging]
    assert [record.message for record in caplog.records] == ["worker 1 does not serve after 60 s: ended"]


async def test_a_replacement_serves_before_the_old_one_is_told_to_end(place: Place, autojump_clock: MockClock) -> None:
    old = await place.kept()
    old.stubborn = True
    ended: list[float] = []

    async def replace() -> None:
        assert await place.slot.replace()
        ended.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(replace)
        await trio.testing.wait_all_tasks_blocked()
        assert old.told
        assert place.makes.serving == [old, place.last]
        assert not ended
        old.crash(0)
    assert len(place.makes.made) == 2
    place.last.crash()  # the new one is kept as the old one was
    assert await place.next_start() < FIRST_PAUSE
    assert len(place.makes.made) == 3


async def test_a_replacement_that_does_not_serve_leaves_the_old_one_alone(
    place: Place, autojump_clock: MockClock
) -> None:
    old = await place.kept()
    place.makes.failing(1)
    assert not await place.slot.replace()
    assert place.makes.serving == [old]
    assert not old.told
    assert place.slot.serves


async def test_one_that_crashes_while_it_is_replaced_is_followed_only_once(
    place: Place, autojump_clock: MockClock
) -> None:
    old = await place.kept()
    new = FakeWorker(1, place.port)
    new.may_serve = trio.Event()
    place.makes.next.append(new)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.slot.replace)
        await trio.testing.wait_all_tasks_blocked()
        old.crash()
        await trio.sleep(START / 2)
        new.may_serve.set()
    await trio.sleep(LAST_PAUSE)
    assert place.makes.made == [old, new]
    assert place.makes.serving == [new]


def test_the_pauses_are_bounded_and_left_to_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_slot, "random", lambda: 0.0)
    assert [pause_before(restarts) for restarts in (0, 1, 2, 10_000)] == [0.0, 0.25, 0.5, LAST_PAUSE / 2]
