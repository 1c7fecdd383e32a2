"""The tasks of one connection: cancelled and joined by what they are for.

Covers `trio_bunws._tasks` alone.
"""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_bunws._tasks import Role, TaskGroup


class Work:
    """Functions for tasks, which note what becomes of them."""

    def __init__(self) -> None:
        self.running = 0
        self.finished = 0
        self.cancelled = 0
        self.release = trio.Event()

    async def __call__(self) -> None:
        self.running += 1
        try:
            await self.release.wait()
            self.finished += 1
        except trio.Cancelled:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def started(self, task_status: trio.TaskStatus[object]) -> None:
        await trio.lowlevel.checkpoint()
        task_status.started("hello")
        await self()

    async def never_started(self, task_status: trio.TaskStatus[object]) -> None:
        assert task_status is not None
        await self()


async def test_an_idle_group_is_joined_without_waiting(nursery: trio.Nursery) -> None:
    tasks = TaskGroup(nursery)
    tasks.cancel(*Role)
    with trio.testing.assert_no_checkpoints():
        await tasks.join(*Role)


async def test_tasks_are_cancelled_by_their_role(nursery: trio.Nursery) -> None:
    tasks = TaskGroup(nursery)
    handler, service = Work(), Work()
    tasks.start_soon(Role.HANDLER, handler)
    tasks.start_soon(Role.SERVICE, service)
    tasks.start_soon(Role.SERVICE, service)
    await trio.testing.wait_all_tasks_blocked()
    assert (handler.running, service.running, len(tasks)) == (1, 2, 3)
    tasks.cancel(Role.SERVICE)
    await tasks.join(Role.SERVICE)
    assert len(tasks) == 1
    assert (handler.running, handler.cancelled) == (1, 0)
    assert (service.running, service.cancelled) == (0, 2)
    tasks.cancel(Role.HANDLER, Role.SERVICE)
    await tasks.join(*Role)
    assert (handler.running, handler.cancelled) == (0, 1)


async def test_a_task_that_was_cancelled_before_it_ran_ends_at_its_first_checkpoint(nursery: trio.Nursery) -> None:
    tasks = TaskGroup(nursery)
    work = Work()
    tasks.start_soon(Role.SERVICE, work)
    tasks.cancel(Role.SERVICE)
    await tasks.join(Role.SERVICE)
    assert work.cancelled == 1


async def test_join_waits_for_the_last_task_of_a_role_and_for_no_other(nursery: trio.Nursery) -> None:
    tasks = TaskGroup(nursery)
    first, second, other = Work(), Work(), Work()
    tasks.start_soon(Role.HANDLER, first)
    tasks.start_soon(Role.HANDLER, second)
    tasks.start_soon(Role.SERVICE, other)
    joined: list[str] = []

    async def join(name: str) -> None:
        await tasks.join(Role.HANDLER)
        joined.append(name)

    nursery.start_soon(join, "a")
    nursery.start_soon(join, "b")
    for work in (first, second):
        await trio.testing.wait_all_tasks_blocked()
        assert joined == []
        work.release.set()
    await trio.testing.wait_all_tasks_blocked()
    assert sorted(joined) == ["a", "b"]
    assert other.running == 1
    other.release.set()
    await tasks.join(*Role)
    assert (first.finished, second.finished, other.finished) == (1, 1, 1)


async def test_start_returns_what_the_task_says_and_lets_it_run_on(nursery: trio.Nursery) -> None:
    tasks = TaskGroup(nursery)
    work = Work()
    assert await tasks.start(Role.SERVICE, work.started) == "hello"
    assert work.running == 1
    tasks.cancel(Role.SERVICE)
    await tasks.join(Role.SERVICE)
    assert work.cancelled == 1


async def test_a_task_that_is_starting_is_cancelled_and_joined_too(nursery: trio.Nursery) -> None:
    tasks = TaskGroup(nursery)
    work = Work()

    async def start() -> None:
        with pytest.raises(RuntimeError, match="started"):
            await tasks.start(Role.SERVICE, work.never_started)

    nursery.start_soon(start)
    await trio.testing.wait_all_tasks_blocked()
    tasks.cancel(Role.HANDLER)
    await trio.testing.wait_all_tasks_blocked()
    assert work.running == 1
    tasks.cancel(Role.SERVICE)
    await tasks.join(Role.SERVICE)
    assert (work.running, work.cancelled) == (0, 1)


async def test_who_is_cancelled_while_a_task_starts_takes_it_along(nursery: trio.Nursery) -> None:
    tasks = TaskGroup(nursery)
    work = Work()
    async with trio.open_nursery() as callers:
        callers.start_soon(tasks.start, Role.SERVICE, work.never_started)
        await trio.testing.wait_all_tasks_blocked()
        callers.cancel_scope.cancel()
    assert work.cancelled == 1
    with trio.testing.assert_no_checkpoints():
        await tasks.join(*Role)


async def test_a_failure_before_the_start_is_the_caller_s(nursery: trio.Nursery) -> None:
    tasks = TaskGroup(nursery)

    async def fail(task_status: trio.TaskStatus[object]) -> None:
        assert task_status is not None
        await trio.lowlevel.checkpoint()
        raise ValueError("failed")

    with pytest.raises(ValueError, match=r"^failed$"):
        await tasks.start(Role.SERVICE, fail)
    with trio.testing.assert_no_checkpoints():
        await tasks.join(*Role)


async def test_a_failure_leaves_through_the_nursery_and_the_task_is_not_waited_for() -> None:
    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("failed")

    failures: list[str] = []
    try:
        async with trio.open_nursery() as nursery:
            tasks = TaskGroup(nursery)
            tasks.start_soon(Role.HANDLER, fail)
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
                await tasks.join(*Role)
    except* ValueError as group:
        failures += map(str, group.exceptions)
    assert failures == ["failed"]


async def test_what_cannot_be_started_is_not_waited_for() -> None:
    async with trio.open_nursery() as nursery:
        pass
    tasks = TaskGroup(nursery)
    work = Work()
    with pytest.raises(RuntimeError, match="closed"):
        tasks.start_soon(Role.SERVICE, work)
    with pytest.raises(RuntimeError, match="closed"):
        await tasks.start(Role.SERVICE, work.started)
    with trio.testing.assert_no_checkpoints():
        await tasks.join(*Role)


async def test_the_end_of_all_gives_handlers_their_time_and_services_none(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        tasks = TaskGroup(nursery)
        with trio.testing.assert_no_checkpoints():
            await tasks.end(5)
        handler, stuck, service = Work(), Work(), Work()
        for role, work in ((Role.HANDLER, handler), (Role.HANDLER, stuck), (Role.SERVICE, service)):
            tasks.start_soon(role, work)
        await trio.testing.wait_all_tasks_blocked()
        begin = trio.current_time()

        async def release() -> None:
            await trio.sleep(1)
            handler.release.set()

        nursery.start_soon(release)
        await tasks.end(5)
        assert trio.current_time() - begin == pytest.approx(5)
        assert [(work.finished, work.cancelled) for work in (handler, stuck, service)] == [(1, 0), (0, 1), (0, 1)]
    assert autojump_clock.autojump_threshold == 0
