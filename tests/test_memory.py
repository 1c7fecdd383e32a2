"""`trio_bunws.testing.MemoryListener` alone."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_bunws.testing import MemoryListener


async def connected(listener: MemoryListener) -> tuple[trio.abc.Stream, trio.abc.Stream]:
    ends: list[trio.abc.Stream] = []

    async def accept() -> None:
        ends.append(await listener.accept())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        ends.insert(0, await listener.connect())
    return ends[0], ends[1]


async def test_connect_and_accept_give_the_two_ends() -> None:
    client, server = await connected(MemoryListener())
    await client.send_all(b"question")
    assert await server.receive_some() == b"question"
    await server.send_all(b"answer")
    assert await client.receive_some() == b"answer"


async def test_another_maker_of_pairs_is_used() -> None:
    client, server = await connected(MemoryListener(trio.testing.lockstep_stream_pair))
    with trio.move_on_after(0) as scope:
        await server.send_all(b"nobody reads")
    assert scope.cancelled_caught
    await client.aclose()


async def test_a_closed_listener_refuses_connections() -> None:
    listener = MemoryListener()
    await listener.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await listener.connect()


async def test_closing_ends_a_waiting_accept() -> None:
    listener = MemoryListener()

    async def accept() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        await trio.testing.wait_all_tasks_blocked()
        await listener.aclose()
