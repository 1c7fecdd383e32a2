"""What only a server's connection has: handlers, and the tasks that an application starts on its socket.

The rest of its life is `test_connection.py`'s.
"""

from __future__ import annotations

import pytest
import trio
import trio.testing
from connection_fakes import Surroundings, Wire

from trio_bunws import ConnectionClosed, ReadyState, WebSocketHandler


async def serving(task_status: trio.TaskStatus[str]) -> None:
    task_status.started("begun")
    await trio.sleep_forever()


async def test_tasks_of_the_application_end_with_the_connection() -> None:
    ended: list[str] = []

    async def task(name: str) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(name)

    async with trio.open_nursery() as nursery:
        link = await Surroundings(nursery, WebSocketHandler()).open(Wire())
        link.ws.start_soon(task, "one")
        assert await link.ws.start(serving) == "begun"
        link.ws.terminate()
        await link.ws.closed()
        await link.over.wait()
        assert ended == ["one"]
        with pytest.raises(ConnectionClosed):
            link.ws.start_soon(task, "two")
        nursery.cancel_scope.cancel()


async def test_what_is_no_function_is_refused_where_it_is_given() -> None:
    async with trio.open_nursery() as nursery:
        link = await Surroundings(nursery, WebSocketHandler()).open(Wire())
        with pytest.raises(TypeError, match="start_soon expects async_fn to be a function, not 7"):
            link.ws.start_soon(7)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="start expects async_fn to be a function, not 7"):
            await link.ws.start(7)  # type: ignore[arg-type]
        assert link.ws.ready_state is ReadyState.OPEN
        nursery.cancel_scope.cancel()


async def test_a_task_that_ends_with_the_connection_before_it_has_started_is_a_closed_connection() -> None:
    async def never_started(task_status: trio.TaskStatus[None]) -> None:  # noqa: ARG001
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        link = await Surroundings(nursery, WebSocketHandler()).open(Wire())

        async def start() -> None:
            with pytest.raises(ConnectionClosed):
                await link.ws.start(never_started)

        async with trio.open_nursery() as starting:
            starting.start_soon(start)
            await trio.testing.wait_all_tasks_blocked()
            link.ws.terminate()
        nursery.cancel_scope.cancel()


async def test_a_task_that_forgets_to_start_is_told_so() -> None:
    async def forgetful(task_status: trio.TaskStatus[None]) -> None:  # noqa: ARG001
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        link = await Surroundings(nursery, WebSocketHandler()).open(Wire())
        with pytest.raises(RuntimeError, match="started"):
            await link.ws.start(forgetful)
        nursery.cancel_scope.cancel()
