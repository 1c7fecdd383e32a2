"""Tasks of the application on a socket: where their exceptions go, and what passes through."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio

from trio_bunws._app_tasks import run_started_task, run_task

if TYPE_CHECKING:
    from trio_bunws._dispatch import Dispatcher


class FakeDispatcher:
    """Takes the exceptions."""

    def __init__(self) -> None:
        self.reported: list[Exception] = []

    async def report(self, exc: Exception) -> None:
        await trio.lowlevel.checkpoint()
        self.reported.append(exc)


class Rig:
    """Both ways to run a task."""

    def __init__(self) -> None:
        self.fake = FakeDispatcher()
        self.dispatcher = cast("Dispatcher[Any]", self.fake)


async def fail(*exceptions: BaseException, task_status: trio.TaskStatus[str] | None = None) -> None:
    """Say that it has started if somebody waits for that, and raise."""
    await trio.lowlevel.checkpoint()
    if task_status is not None:
        task_status.started("value")
    raise exceptions[0] if len(exceptions) == 1 else BaseExceptionGroup("from a nursery", exceptions)


async def test_a_task_gets_its_arguments_and_its_exception_is_reported() -> None:
    rig = Rig()
    got: list[object] = []

    async def task(*args: object) -> None:
        await trio.lowlevel.checkpoint()
        got.extend(args)

    await run_task(rig.dispatcher, task, (1, "a"))
    assert got == [1, "a"]
    await run_task(rig.dispatcher, fail, (KeyError("x"),))
    assert [type(exc) for exc in rig.fake.reported] == [KeyError]


async def test_the_caller_of_start_gets_the_value_and_the_handler_a_later_exception(nursery: trio.Nursery) -> None:
    rig = Rig()
    value = await nursery.start(partial(run_started_task, rig.dispatcher, fail, (KeyError("x"),)))
    assert value == "value"
    await trio.testing.wait_all_tasks_blocked()
    assert [type(exc) for exc in rig.fake.reported] == [KeyError]


async def test_an_exception_before_the_start_is_the_callers(nursery: trio.Nursery) -> None:
    rig = Rig()

    async def task(*, task_status: trio.TaskStatus[None]) -> None:
        assert task_status is not None
        await trio.lowlevel.checkpoint()
        raise KeyError

    with pytest.raises(KeyError):
        await nursery.start(partial(run_started_task, rig.dispatcher, task, ()))
    assert rig.fake.reported == []


@pytest.mark.parametrize("started", [False, True])
async def test_an_interrupt_in_a_group_goes_on_and_the_failure_beside_it_is_logged(
    caplog: pytest.LogCaptureFixture, started: bool
) -> None:
    rig = Rig()
    exceptions = (KeyError("x"), KeyboardInterrupt())
    if started:
        running = run_started_task(rig.dispatcher, fail, exceptions, trio.TASK_STATUS_IGNORED)
    else:
        running = run_task(rig.dispatcher, fail, exceptions)
    with pytest.raises(BaseExceptionGroup) as caught:
        await running
    assert [type(exc) for exc in caught.value.exceptions] == [KeyboardInterrupt]
    assert rig.fake.reported == []
    assert len(caplog.records) == 1
