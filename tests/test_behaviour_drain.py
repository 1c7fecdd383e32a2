"""BEHAVIOUR.md, 7, sentence by sentence: when `drain` is called, and what it may send.

A test's name begins with the number of its sentence. Nothing here looks behind the public names.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from links import BIG, BIG_FRAME, KERNEL, drops, kernel, lockstep, receive_big, sent_out, served
from playground import Socket, settled

from trio_bunws import WebSocketHandler

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_07_drain_is_called_at_least_once_after_each_episode_and_not_without_one(
    autojump_clock: MockClock,
) -> None:
    calls: list[Socket] = []
    async with served(WebSocketHandler(drain=calls.append), kernel) as place:
        ws, peer = await place.pair()
        _, other_peer = await place.pair()
        for _ in range(3):
            ws.send("small")
            await settled()
            assert await peer.receive_text() == "small"
            await settled()
            assert calls == []
            ws.send(BIG)
            await settled()
            assert calls == []
            await receive_big(peer)
            await settled()
            assert set(calls) == {ws}
            calls.clear()
        assert not other_peer.received


async def test_07_drain_is_called_when_some_bytes_were_written(autojump_clock: MockClock) -> None:
    amounts: list[int] = []
    handler = WebSocketHandler(drain=lambda ws: amounts.append(ws.get_buffered_amount()))
    async with served(handler, kernel) as place:
        ws, peer = await place.pair()
        ws.send(BIG)
        before = ws.get_buffered_amount()
        await peer.receive_exactly(KERNEL)
        await settled()
        assert 0 < amounts[0] < before


async def test_07_drain_is_not_called_over_the_limit(autojump_clock: MockClock) -> None:
    amounts: list[int] = []
    handler = WebSocketHandler(drain=lambda ws: amounts.append(ws.get_buffered_amount()), backpressure_limit=BIG_FRAME)
    async with served(handler, kernel) as place:
        ws, peer = await place.pair()
        while ws.send(BIG) == -1:
            pass
        over = ws.get_buffered_amount()
        assert over > BIG_FRAME
        received = 0
        while ws.get_buffered_amount() > BIG_FRAME:
            received += len(await peer.receive_exactly(1000))
            await settled()
            assert bool(amounts) == (ws.get_buffered_amount() <= BIG_FRAME)
        assert BIG_FRAME - KERNEL < amounts[0] <= BIG_FRAME
        await peer.receive_exactly(2 * BIG_FRAME - received)
        await settled()
        assert amounts[-1] == 0
        assert max(amounts) <= BIG_FRAME


async def test_07_on_a_stream_drain_is_called_too(autojump_clock: MockClock) -> None:
    calls: list[Socket] = []
    async with served(WebSocketHandler(drain=calls.append), lockstep) as place:
        ws, peer = await place.pair()
        ws.send("a")
        await settled()
        assert await peer.receive_text() == "a"
        await settled()
        assert calls == []  # it was in flight, never unsent
        ws.send("b")
        await settled()
        ws.send("c")
        assert await peer.receive_text() == "b"
        await settled()
        assert calls == [ws]


@pytest.mark.parametrize("end", ["close", "terminate", "peer closes"])
@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_07_drain_is_never_called_while_closing_or_closed(autojump_clock: MockClock, end: str, kind: str) -> None:
    calls: list[Socket] = []

    async def drain(ws: Socket) -> None:
        calls.append(ws)
        await trio.lowlevel.checkpoint()

    handler = WebSocketHandler(drain=drain if kind == "async def" else calls.append)
    async with served(handler, kernel) as place:
        ws, peer = await place.pair()
        ws.send(BIG)
        match end:
            case "close":
                ws.close()
            case "terminate":
                ws.terminate()
            case _:
                await peer.send_close(1000)
        await settled()
        if end == "terminate":
            with pytest.raises(EOFError):
                await peer.receive()
        else:
            await receive_big(peer)
            assert await peer.receive_close() == (1000, "")
            await peer.send_close(1000)
            await peer.receive_eof()
        await ws.closed()
        await settled()
        assert calls == []


async def test_07_what_drain_sends_is_corked(autojump_clock: MockClock) -> None:
    taken: list[int] = []

    def drain(ws: Socket) -> None:
        if ws.get_buffered_amount() == 0 and not taken:
            taken.append(sent_out(ws))
            assert [ws.send("a"), ws.send("b"), ws.send("c")] == [1, 1, 1]
            taken.append(sent_out(ws))

    async with served(WebSocketHandler(drain=drain), kernel) as place:
        ws, peer = await place.pair()
        ws.send(BIG)
        await receive_big(peer)
        assert await peer.stream.receive_some() == b"\x81\x01a\x81\x01b\x81\x01c"
        before, after = taken
        assert before == after


async def test_07_a_send_in_drain_that_meets_backpressure_leads_to_another_drain(autojump_clock: MockClock) -> None:
    statuses: list[int] = []

    def drain(ws: Socket) -> None:
        if ws.get_buffered_amount() == 0 and len(statuses) < 5:
            statuses.append(ws.send(BIG))

    async with served(WebSocketHandler(drain=drain), kernel) as place:
        ws, peer = await place.pair()
        ws.send(BIG)
        await receive_big(peer, 6)
        assert statuses == [-1] * 5


async def test_07_an_async_drain_never_overlaps_itself_and_runs_once_more_for_later_edges(
    autojump_clock: MockClock,
) -> None:
    running = 0
    finished = 0
    go_on = trio.Event()

    async def drain(ws: Socket) -> None:
        nonlocal running, finished
        running += 1
        assert running == 1
        await go_on.wait()
        ws.send(f"drained {finished}")
        running -= 1
        finished += 1

    async with served(WebSocketHandler(drain=drain), kernel) as place:
        ws, peer = await place.pair()
        ws.send(BIG)
        await receive_big(peer)  # many writes, so many edges
        await settled()
        assert (running, finished) == (1, 0)
        ws.send("not held back by a drain that waits")
        assert await peer.receive_text() == "not held back by a drain that waits"
        go_on.set()
        await settled()
        assert (running, finished) == (0, 2)
        assert [await peer.receive_text() for _ in range(2)] == ["drained 0", "drained 1"]


async def test_07_an_async_drain_does_not_run_once_more_when_the_socket_closes(autojump_clock: MockClock) -> None:
    begun = 0
    go_on = trio.Event()

    async def drain(_: Socket) -> None:
        nonlocal begun
        begun += 1
        await go_on.wait()

    async with served(WebSocketHandler(drain=drain), kernel) as place:
        ws, peer = await place.pair()
        ws.send(BIG)
        await receive_big(peer)
        ws.close()
        go_on.set()
        assert await peer.receive_close() == (1000, "")
        await settled()
        assert begun == 1


async def test_07_a_library_client_gets_all_of_a_stream_paced_by_drain(autojump_clock: MockClock) -> None:
    chunks = [bytes([number]) * 50_000 for number in range(20)]
    waiting = list(chunks)

    def feed(ws: Socket, *_: object) -> None:
        while waiting and ws.send(waiting.pop(0)) > 0:
            pass

    handler = WebSocketHandler(message=feed, drain=feed, backpressure_limit=1000)
    async with served(handler, kernel) as place, place.library_client() as (ws, client):
        await client.send_message("go")
        assert [await client.get_message() for _ in chunks] == chunks
        assert drops(ws) == 0
