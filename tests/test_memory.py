"""`trio_bunws.testing.MemoryListener` alone, and the connections that it makes by itself."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_bunws.testing import MemoryListener
from trio_bunws.testing._memory import MemoryStream


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


async def stream_pair() -> tuple[MemoryStream, MemoryStream]:
    return MemoryStream.pair()


async def test_its_own_connections_are_streams_as_trio_wants_them() -> None:
    await trio.testing.check_half_closeable_stream(stream_pair, None)


async def test_what_is_sent_while_stalled_arrives_afterwards(
    autojump_clock: trio.testing.MockClock,  # noqa: ARG001 - the waits are jumped over
) -> None:
    one, other = MemoryStream.pair()
    async with trio.open_nursery() as nursery:
        one.stall(1)
        one.stall(1)
        nursery.start_soon(one.send_all, b"late")
        await other.send_all(b"the other way is free")
        assert await one.receive_some() == b"the other way is free"
        for _ in range(2):
            with trio.move_on_after(1) as scope:
                await other.receive_some()
            assert scope.cancelled_caught
            one.stall(-1)
        assert await other.receive_some() == b"late"


async def stalled_send(one: MemoryStream, error: type[Exception]) -> None:
    with pytest.raises(error):
        await one.send_all(b"x")


@pytest.mark.parametrize("close_ours", [True, False])
async def test_closing_either_end_ends_a_stalled_send(close_ours: bool) -> None:
    one, other = MemoryStream.pair()
    one.stall(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stalled_send, one, trio.ClosedResourceError if close_ours else trio.BrokenResourceError)
        await trio.testing.wait_all_tasks_blocked()
        await (one if close_ours else other).aclose()


async def test_an_end_of_stream_is_stalled_too() -> None:
    one, other = MemoryStream.pair()
    one.stall(1)
    await one.aclose()
    with trio.move_on_after(0) as scope:
        await other.receive_some()
    assert scope.cancelled_caught
    one.stall(-1)
    assert await other.receive_some() == b""


async def test_the_end_of_a_stall_finds_nobody_at_the_other_end() -> None:
    one, other = MemoryStream.pair()
    one.stall(1)
    with trio.move_on_after(0):
        await one.send_all(b"x")
    await one.aclose()
    await other.aclose()
    one.stall(-1)
    with pytest.raises(trio.ClosedResourceError):
        await one.send_all(b"y")


async def test_a_lost_end_sends_and_receives_nothing_but_what_had_come() -> None:
    one, other = MemoryStream.pair()
    await other.send_all(b"had come")
    one.lose()
    assert await one.receive_some() == b"had come"
    for _ in range(2):
        with pytest.raises(trio.BrokenResourceError):
            await one.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await one.send_all(b"x")
    await one.aclose()


async def test_a_loss_ends_what_waits() -> None:
    one, _ = MemoryStream.pair()
    one.stall(1)

    async def receive() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await one.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        nursery.start_soon(stalled_send, one, trio.BrokenResourceError)
        await trio.testing.wait_all_tasks_blocked()
        one.lose()


@pytest.mark.parametrize("how", ["the listener is closed", "cancelled"])
async def test_both_ends_are_closed_if_nobody_accepts_them(how: str) -> None:
    made: list[MemoryStream] = []

    def pair() -> tuple[MemoryStream, MemoryStream]:
        made.extend(MemoryStream.pair())
        return made[0], made[1]

    listener = MemoryListener(pair)
    if how == "cancelled":
        with trio.move_on_after(0):
            await listener.connect()
    else:
        await listener.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await listener.connect()
    for end in made:
        with pytest.raises(trio.ClosedResourceError):
            await end.receive_some()


async def test_closing_ends_a_waiting_accept() -> None:
    listener = MemoryListener()

    async def accept() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        await trio.testing.wait_all_tasks_blocked()
        await listener.aclose()
