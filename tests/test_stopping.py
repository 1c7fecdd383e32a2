"""Facts about `_stopping.py`: who may wait for the end of a server, and who would wait for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from trio_bunws._engine import Engine
from trio_bunws._handlers import HandlerSlot, WebSocketHandler
from trio_bunws._options import Limits
from trio_bunws._server import Server
from trio_bunws._stopping import Stopping, inside, is_in

if TYPE_CHECKING:
    from collections.abc import Awaitable


def make(nursery: trio.Nursery) -> Server[Any]:
    engine: Engine[Any] = Engine(HandlerSlot(WebSocketHandler()), Limits(), nursery)
    return Server(fetch=None, websocket=None, error=None, engine=engine, max_request_body_size=10, idle_timeout=5)


async def end(stopping: Awaitable[None], *, of: Server[Any] | None) -> None:
    inside.set(of)
    await stopping


async def test_it_can_be_awaited_outside_until_the_server_has_stopped() -> None:
    async with trio.open_nursery() as sockets, trio.open_nursery() as outside:
        server = make(sockets)
        outside.start_soon(lambda: end(Stopping(server), of=server))
        server._stopped.set()


async def test_a_task_of_the_server_that_would_wait_for_itself_is_told_so() -> None:
    words = pytest.RaisesExc(RuntimeError, match=r"server\.start_soon")
    with pytest.RaisesGroup(words, flatten_subgroups=True):
        async with trio.open_nursery() as sockets:
            server = make(sockets)
            sockets.start_soon(lambda: end(Stopping(server), of=server))


async def test_a_task_of_start_soon_is_none_of_the_server_s_own() -> None:
    async with trio.open_nursery() as sockets:
        server = make(sockets)
        sockets.start_soon(lambda: end(Stopping(server), of=None))
        server._stopped.set()


async def test_a_task_is_in_the_nursery_that_waits_for_it_however_deep() -> None:
    found: list[bool] = []

    async def look(*nurseries: trio.Nursery) -> None:
        await trio.lowlevel.checkpoint()
        found.extend(map(is_in, nurseries))

    async def go_deeper(*nurseries: trio.Nursery) -> None:
        async with trio.open_nursery() as deeper:
            deeper.start_soon(look, *nurseries)

    async with trio.open_nursery() as one, trio.open_nursery() as other:
        one.start_soon(go_deeper, one, other)
    assert found == [True, False]
