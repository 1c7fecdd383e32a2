"""BEHAVIOUR.md, 0, sentence by sentence: what is unsent, when a batch is written, and what `drained()` waits for.

A test's name begins with the number of its sentence. Nothing here looks behind the public names.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from links import BATCH, BIG, BIG_FRAME, KERNEL, kernel, lockstep, memory, receive_big, sent_out, served
from playground import Socket, settled

from trio_bunws import ConnectionClosed, WebSocketHandler

if TYPE_CHECKING:
    from collections.abc import Callable

    from links import Pair
    from trio.testing import MockClock


async def test_00_unsent_is_what_the_transport_refused(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        ws, peer = await place.pair()
        before = sent_out(ws)
        assert ws.send(BIG) == -1
        taken = sent_out(ws) - before
        assert 0 < taken < KERNEL
        assert ws.get_buffered_amount() == BIG_FRAME - taken
        assert len(await peer.stream.receive_some()) == taken


async def test_00_frames_of_this_tick_return_their_length_and_are_not_unsent(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        ws, _ = await place.pair()
        assert ws.send(BIG[:8000]) == 8000  # more than the kernel is going to take
        assert ws.send("abc") == 3
        assert ws.get_buffered_amount() == 0
        await settled()
        assert ws.get_buffered_amount() > 0


async def test_00_frames_in_a_cork_return_their_length_and_are_not_unsent(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        ws, _ = await place.pair()
        with ws.corked():
            assert ws.send(BIG[:8000]) == 8000
            await settled()
            assert ws.send("abc") == 3
            assert ws.get_buffered_amount() == 0
        assert ws.get_buffered_amount() > 0


async def test_00_frames_in_the_hubs_log_return_their_length_and_are_not_unsent(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        ws, _ = await place.pair()
        ws.subscribe("news")
        assert [place.server.publish("news", BIG) for _ in range(4)] == [len(BIG)] * 4
        assert ws.get_buffered_amount() == 0
        await settled()
        assert ws.get_buffered_amount() > 4 * BIG_FRAME - KERNEL


@pytest.mark.parametrize("where", ["open", "handler", "cork", "outside"])
async def test_00_a_batch_is_written_as_soon_as_it_holds_16_kib(autojump_clock: MockClock, where: str) -> None:
    answer = 0
    taken: list[int] = []

    def send(ws: Socket, *_: object) -> None:
        begun = sent_out(ws)
        waiting = answer if where == "open" else 0  # the handshake's answer leaves with the first frames
        ws.send(BIG[: BATCH - waiting - 4 - 2 - 1])
        ws.send(b"")
        taken.append(sent_out(ws) - begun)  # one byte is missing
        ws.send(b"")
        taken.append(sent_out(ws) - begun)

    async with served() as place:
        answer = sent_out((await place.pair())[0])
    handler = WebSocketHandler(open=send if where == "open" else None, message=send)
    async with served(handler, kernel) as place:
        ws, peer = await place.pair()
        match where:
            case "handler":
                await peer.send_text("go")
                await settled()
            case "cork":
                ws.cork(send)
            case "outside":
                send(ws)
        almost, full = taken
        assert almost == 0 < full


async def test_00_a_batch_of_exactly_16_kib_is_full(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        ws, _ = await place.pair()
        before = sent_out(ws)
        ws.send(BIG[: BATCH - 4 - 1])
        assert sent_out(ws) == before
        await settled()
    async with served(link=kernel) as place:
        ws, _ = await place.pair()
        before = sent_out(ws)
        ws.send(BIG[: BATCH - 4])
        assert sent_out(ws) > before


async def test_00_on_a_stream_the_batch_handed_to_an_idle_writer_is_not_unsent(autojump_clock: MockClock) -> None:
    async with served(link=lockstep) as place:
        ws, peer = await place.pair()
        assert ws.send("a") == 1
        await settled()  # handed over, and nobody reads
        assert ws.get_buffered_amount() == 0
        assert await peer.receive_text() == "a"


async def test_00_on_a_stream_bytes_accepted_while_a_write_is_in_flight_are_unsent(autojump_clock: MockClock) -> None:
    async with served(link=lockstep) as place:
        ws, peer = await place.pair()
        assert ws.send("a") == 1
        await settled()
        assert ws.send("bc") == -1
        assert ws.get_buffered_amount() == 4
        assert await peer.receive_text() == "a"
        await settled()  # now the rest is handed over
        assert ws.get_buffered_amount() == 0
        assert await peer.receive_text() == "bc"


@pytest.mark.parametrize("link", [lockstep, memory])
async def test_00_on_a_stream_what_follows_a_full_batch_is_unsent(
    autojump_clock: MockClock, link: Callable[[], Pair]
) -> None:
    statuses: list[int] = []

    def message(ws: Socket, _: str | bytes) -> None:
        statuses.extend([ws.send("a"), ws.send(BIG), ws.send("bc"), ws.get_buffered_amount()])

    async with served(WebSocketHandler(message=message), link) as place:
        _, peer = await place.pair()
        await peer.send_text("go")
        assert await peer.receive_text() == "a"
        await receive_big(peer)
        assert await peer.receive_text() == "bc"
        assert statuses == [1, len(BIG), -1, 4]


class Drained:
    """A task that waits in `drained()`."""

    def __init__(self) -> None:
        self.done = False
        self.scope = trio.CancelScope()

    async def __call__(self, ws: Socket) -> None:
        with self.scope:
            await ws.drained()
            self.done = True


async def test_00_drained_waits_for_the_batch(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place:
        ws, _ = await place.pair()
        ws.subscribe("news")
        before = sent_out(ws)
        with ws.corked():
            ws.send("a")
            place.server.publish("news", "bc")
            await ws.drained()
            assert sent_out(ws) == before + 3 + 4


async def test_00_drained_waits_for_the_unsent_bytes(autojump_clock: MockClock) -> None:
    async with served(link=kernel) as place, trio.open_nursery() as nursery:
        ws, peer = await place.pair()
        ws.send(BIG)
        drained = Drained()
        nursery.start_soon(drained, ws)
        await settled()
        await peer.receive_exactly(BIG_FRAME // 2)
        await settled()
        assert not drained.done
        await peer.receive_exactly(BIG_FRAME - BIG_FRAME // 2)
        await settled()
        assert drained.done


async def test_00_drained_waits_for_the_writer(autojump_clock: MockClock) -> None:
    async with served(link=lockstep) as place, trio.open_nursery() as nursery:
        ws, peer = await place.pair()
        ws.send("a")
        drained = Drained()
        nursery.start_soon(drained, ws)
        await settled()
        assert ws.get_buffered_amount() == 0
        assert not drained.done
        await peer.receive()
        await settled()
        assert drained.done


async def test_00_drained_waits_for_what_is_sent_meanwhile(autojump_clock: MockClock) -> None:
    async with served(link=lockstep) as place, trio.open_nursery() as nursery:
        ws, peer = await place.pair()
        ws.send("a")
        drained = Drained()
        nursery.start_soon(drained, ws)
        await settled()
        ws.send("b")
        assert await peer.receive_text() == "a"
        await settled()
        assert not drained.done
        assert await peer.receive_text() == "b"
        await settled()
        assert drained.done


@pytest.mark.parametrize("link", [lockstep, kernel])
async def test_00_cancelling_drained_changes_nothing(autojump_clock: MockClock, link: Callable[[], Pair]) -> None:
    async with served(link=link) as place, trio.open_nursery() as nursery:
        ws, peer = await place.pair()
        ws.send("a")
        drained = Drained()
        drained.scope.cancel()  # at its first checkpoint
        await drained(ws)
        assert drained.scope.cancelled_caught
        ws.send(BIG)
        await settled()
        cancelled, kept = Drained(), Drained()
        nursery.start_soon(cancelled, ws)
        nursery.start_soon(kept, ws)
        await settled()
        cancelled.scope.cancel()
        await settled()
        assert cancelled.scope.cancelled_caught
        assert await peer.receive_text() == "a"
        await receive_big(peer)
        await settled()
        assert kept.done
        ws.send("end")
        assert await peer.receive_text() == "end"


@pytest.mark.parametrize("link", [lockstep, kernel])
async def test_00_drained_raises_if_the_socket_ends_first(autojump_clock: MockClock, link: Callable[[], Pair]) -> None:
    async with served(link=link) as place:
        ws, _ = await place.pair()
        ws.send("a")
        ws.send(BIG)

        async def wait() -> None:
            with pytest.raises(ConnectionClosed) as caught:
                await ws.drained()
            assert caught.value.code == 1006

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await settled()
            ws.terminate()
        await wait()
