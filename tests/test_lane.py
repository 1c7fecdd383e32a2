"""Messages that wait, in bounds, and jobs that are done one after the other by a task that is there only then.

Covers `trio_bunws._lane` alone.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from hypothesis import given, strategies as st

from trio_bunws._lane import Inbox, Lane, size_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Room:
    """Counts the calls of `made_room`."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> None:
        self.made += 1


def inbox(capacity: int = 3) -> tuple[Inbox[str], Room]:
    room = Room()
    return Inbox(capacity, room), room


async def take(box: Inbox[str], got: list[str]) -> None:
    got.append(await box.receive())


def test_items_come_out_in_order_and_make_room() -> None:
    box, room = inbox()
    box.post("a", 10)
    box.post("b", 20)
    assert (box.waiting, box.waiting_bytes, room.made) == (2, 30, 0)
    assert box.receive_nowait() == "a"
    assert (box.waiting, box.waiting_bytes, room.made) == (1, 20, 1)
    box.post("c", 5)
    assert [box.receive_nowait(), box.receive_nowait()] == ["b", "c"]
    assert (box.waiting, box.waiting_bytes, room.made) == (0, 0, 3)
    with pytest.raises(trio.WouldBlock):
        box.receive_nowait()


@pytest.mark.parametrize("message", ["", "plain", "é😀", b"", b"\xff\x00"])
def test_a_message_takes_the_bytes_of_its_payload(message: str | bytes) -> None:
    assert size_of(message) == len(message if isinstance(message, bytes) else message.encode())


def test_one_item_of_any_size_has_room_and_more_within_both_bounds() -> None:
    box, _ = inbox(capacity=3)
    assert box.has_room(1000, 3, 100)
    box.post("large", 1000)
    assert not box.has_room(0, 3, 100)
    box.receive_nowait()
    box.post("a", 60)
    assert box.has_room(40, 3, 100)
    assert not box.has_room(41, 3, 100)
    assert not box.has_room(40, 1, 100)
    box.post("b", 0)
    assert box.has_room(40, 3, 100)
    assert not box.has_room(40, 2, 100)
    box.post("c", 0)
    assert not box.has_room(0, 100, 100), "the capacity holds whatever is asked for"
    with pytest.raises(trio.WouldBlock):
        box.post("d", 0)
    box.discard()
    assert box.has_room(0, 3, 100)


async def test_a_receiver_waits_for_an_item_or_the_end() -> None:
    box, room = inbox()
    got: list[str] = []

    async def receive_all() -> None:
        with suppress(trio.EndOfChannel):
            while True:
                got.append(await box.receive())

    with trio.testing.assert_checkpoints():
        box.post("a", 1)
        assert await box.receive() == "a"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive_all)
        await trio.testing.wait_all_tasks_blocked()
        box.post("b", 1)
        box.post("c", 1)
        await trio.testing.wait_all_tasks_blocked()
        assert got == ["b", "c"]
        box.post("d", 1)
        box.close()
        box.close()
    assert (got, room.made, box.waiting, box.waiting_bytes) == (["b", "c", "d"], 4, 0, 0)


async def test_what_was_posted_before_the_end_is_received() -> None:
    box, _ = inbox()
    box.post("a", 1)
    box.close()
    assert await box.receive() == "a"
    with pytest.raises(trio.EndOfChannel):
        await box.receive()


async def test_several_receivers_get_each_item_once() -> None:
    box, _ = inbox(capacity=10)
    got: list[str] = []
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(take, box, got)
        await trio.testing.wait_all_tasks_blocked()
        for item in "abc":
            box.post(item, 1)
    assert sorted(got) == ["a", "b", "c"]


@pytest.mark.parametrize("posted_first", [False, True])
async def test_a_receiver_that_is_cancelled_loses_nothing(posted_first: bool) -> None:
    box, _ = inbox()
    got: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, box, got)
        await trio.testing.wait_all_tasks_blocked()
        if posted_first:
            box.post("a", 1)
        nursery.cancel_scope.cancel()
        if not posted_first:
            box.post("a", 1)
    with trio.CancelScope() as scope:
        scope.cancel()
        got.append(await box.receive())
    assert scope.cancelled_caught
    assert got + [box.receive_nowait() for _ in range(box.waiting)] == ["a"]


async def test_discarding_also_forgets_what_a_waiting_receiver_was_about_to_get() -> None:
    box, room = inbox()
    got: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, box, got)
        await trio.testing.wait_all_tasks_blocked()
        box.post("a", 1)
        box.post("b", 1)
        box.discard()
        assert (box.waiting, box.waiting_bytes, room.made) == (0, 0, 2)
        await trio.testing.wait_all_tasks_blocked()
        assert got == []
        box.post("c", 1)
    assert got == ["c"]


class Jobs:
    """A lane whose jobs wait until they are let go, and the tasks that it wanted."""

    def __init__(self) -> None:
        self.room = Room()
        self.tasks: list[Callable[[], Awaitable[None]]] = []
        self.begun: list[str] = []
        self.done: list[str] = []
        self.gate = trio.Event()
        self.lane: Lane[str] = Lane(self.handle, self.tasks.append, self.room)

    async def handle(self, job: str) -> None:
        self.begun.append(job)
        await self.gate.wait()
        self.done.append(job)
        self.gate = trio.Event()

    async def let_one_go(self) -> None:
        self.gate.set()
        await trio.testing.wait_all_tasks_blocked()


async def test_jobs_are_done_one_after_the_other_by_one_task() -> None:
    jobs = Jobs()
    lane = jobs.lane
    assert (lane.busy, lane.has_room(10, 1, 1)) == (False, True)
    lane.post("a", 1, 3)
    lane.post("b", 1, 3)
    assert (len(jobs.tasks), lane.busy, jobs.room.made) == (1, True, 0)
    assert lane.has_room(1, 3, 3)
    assert not lane.has_room(2, 3, 3)
    assert not lane.has_room(1, 2, 3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(jobs.tasks[0])
        await trio.testing.wait_all_tasks_blocked()
        assert (jobs.begun, jobs.done, jobs.room.made) == (["a"], [], 1)
        lane.post("c", 1, 3)
        await jobs.let_one_go()
        assert (jobs.begun, jobs.done) == (["a", "b"], ["a"])
        await jobs.let_one_go()
        assert lane.busy
        await jobs.let_one_go()
        assert (jobs.done, len(nursery.child_tasks)) == (["a", "b", "c"], 0)
    assert (lane.busy, len(jobs.tasks), jobs.room.made) == (False, 1, 4)


async def test_the_task_ends_with_the_last_job_and_a_new_job_starts_a_new_one() -> None:
    jobs = Jobs()
    for number, job in enumerate("ab", 1):
        jobs.lane.post(job, 1, 1)
        assert len(jobs.tasks) == number
        async with trio.open_nursery() as nursery:
            nursery.start_soon(jobs.tasks[-1])
            await trio.testing.wait_all_tasks_blocked()
            await jobs.let_one_go()
    assert jobs.done == ["a", "b"]


async def test_discarded_jobs_are_not_begun() -> None:
    jobs = Jobs()
    jobs.lane.discard()
    jobs.lane.post("a", 1, 3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(jobs.tasks[0])
        await trio.testing.wait_all_tasks_blocked()
        jobs.lane.post("b", 1, 3)
        jobs.lane.post("c", 1, 3)
        jobs.lane.discard()
        await jobs.let_one_go()
    assert (jobs.begun, jobs.done, jobs.lane.busy) == (["a"], ["a"], False)


async def test_a_job_that_is_discarded_before_its_task_runs_is_not_begun() -> None:
    jobs = Jobs()
    jobs.lane.post("a", 1, 3)
    jobs.lane.discard()
    await jobs.tasks[0]()
    assert (jobs.begun, jobs.lane.busy) == ([], False)


async def test_a_cancelled_lane_is_idle_again() -> None:
    jobs = Jobs()
    jobs.lane.post("a", 1, 3)
    jobs.lane.post("b", 1, 3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(jobs.tasks[0])
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert (jobs.begun, jobs.done, jobs.lane.busy) == (["a"], [], False)
    assert jobs.room.made == 2
    assert jobs.lane.has_room(1000, 1, 1)


@given(st.lists(st.integers(0, 30) | st.none(), max_size=30), st.integers(1, 5), st.integers(1, 50))
def test_an_inbox_keeps_its_bounds(steps: list[int | None], max_items: int, max_bytes: int) -> None:
    box, _ = inbox(capacity=max_items)
    model: list[tuple[str, int]] = []
    for number, size in enumerate(steps):
        if size is None:
            if model:
                assert box.receive_nowait() == model.pop(0)[0]
        else:
            fits = not model or (len(model) < max_items and sum(s for _, s in model) + size <= max_bytes)
            assert box.has_room(size, max_items, max_bytes) == fits
            if fits:
                box.post(str(number), size)
                model.append((str(number), size))
        assert (box.waiting, box.waiting_bytes) == (len(model), sum(s for _, s in model))
