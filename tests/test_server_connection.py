"""What only a server's connection has: handlers, and the tasks that an application starts on its socket.

The rest of its life is `test_connection.py`'s.
"""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from connection_fakes import Surroundings, Wire

from trio_bunws import CloseFrame, CloseInfo, ConnectionClosed, ReadyState, ServerWebSocket, WebSocketHandler

if TYPE_CHECKING:
    from collections.abc import Callable


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


async def waits(ws: ServerWebSocket, _message: object) -> None:
    await trio.lowlevel.checkpoint()
    ws.send("done")


@pytest.mark.parametrize("message", [ServerWebSocket.send, waits])
@pytest.mark.parametrize("end", ["close", "lost"])
async def test_an_ended_connection_is_freed_without_the_garbage_collector(
    message: Callable[[ServerWebSocket, str | bytes], Any], end: str
) -> None:
    gc.collect()
    gc.disable()
    try:
        async with trio.open_nursery() as nursery:
            wire = Wire()
            link = await Surroundings(nursery, WebSocketHandler(message=message)).open(wire)
            await link.peer.send_text("hello")
            await link.peer.receive()
            socket = weakref.ref(link.ws)
            if end == "close":
                await link.peer.send_close(1000)
            else:
                wire.lose()
            await link.over.wait()
            assert socket() is not None
            del link.connection
            assert socket() is None
            nursery.cancel_scope.cancel()
    finally:
        gc.enable()


async def test_the_socket_of_an_ended_connection_still_says_what_it_knows() -> None:
    async with trio.open_nursery() as nursery:
        link = await Surroundings(nursery, WebSocketHandler(message=ServerWebSocket.send)).open(Wire())
        ws = link.ws
        await link.peer.send_text("hello")
        await link.peer.receive()
        ws.pause()
        ws.close(4000, "enough")
        await link.peer.send_close(4000)
        await link.over.wait()
        assert await ws.closed() == CloseInfo(4000, "enough", CloseFrame(4000, "enough"), CloseFrame(4000, ""))
        assert ws.statistics().messages_in == ws.statistics().messages_out == 1
        assert ws.send("late") == ws.ping() == ws.get_buffered_amount() == 0
        ws.resume()
        ws.close()
        ws.terminate()
        with ws.corked():
            ws.send_text("late")
        with pytest.raises(ConnectionClosed, match="enough"):
            await ws.drained()
        with pytest.raises(ConnectionClosed, match="enough"):
            await ws.send_wait("late")
        with pytest.raises(ConnectionClosed, match="enough"):
            await ws.start(serving)
        with pytest.raises(ConnectionClosed, match="enough"):
            ws.start_soon(trio.sleep, 1)
        with pytest.raises(TypeError, match="start expects async_fn to be a function, not 7"):
            await ws.start(7)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="start_soon expects async_fn to be a function, not 7"):
            ws.start_soon(7)  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="session"):
            await anext(ws)
        nursery.cancel_scope.cancel()


async def test_a_session_of_an_ended_connection_says_how_it_ended() -> None:
    async def session(ws: ServerWebSocket) -> None:
        async for _ in ws:
            pass

    async with trio.open_nursery() as nursery:
        link = await Surroundings(nursery, WebSocketHandler(session=session)).open(Wire())
        ws = link.ws
        await link.peer.send_close(4000, "enough")
        await link.over.wait()
        with pytest.raises(ConnectionClosed, match="enough"):
            await anext(ws)
        with pytest.raises(ConnectionClosed, match="enough"):
            await ws.start(serving)
        nursery.cancel_scope.cancel()
