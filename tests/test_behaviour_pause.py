"""BEHAVIOUR.md, 16, 19, 20 and 28, for a socket that is paused while data is in its buffer.

Over lockstep streams the peer would wait too, so it is reached in the other ways.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from everywhere import Way, closed, reached
from patience import until
from playground import Socket, settled
from recorder import Recorder

from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

TEXT, PING, PONG = 1, 9, 10
WAYS = ["memory", "tcp", "tls"]
EVERYTHING = ["a", "b", "half"]
frame, close_frame = RawPeer.frame, RawPeer.close_frame


@asynccontextmanager
async def paused(record: Recorder, way: Way, *, is_async: bool) -> AsyncGenerator[tuple[Socket, RawPeer]]:
    """Yield both ends of a socket that was paused by its first message, with a fragmented one in its buffer."""

    def message(ws: Socket, message: str | bytes) -> None:
        record.message(ws, message)
        if message == "a":
            ws.pause()
            ws.pause()

    async def message_async(ws: Socket, got: str | bytes) -> None:
        message(ws, got)
        await trio.lowlevel.checkpoint()

    async with reached(record.handler(message=message_async if is_async else message), way) as place:
        peer = await place.connect()
        data = b"".join(frame(TEXT, text) for text in (b"a", b"b")) + frame(PING, b"waits")
        await peer.send(peer.request() + data + frame(TEXT, b"ha", fin=False))
        await peer.receive_101()
        await until(lambda: record.messages)
        await peer.send(frame(0, b"lf"))
        await settled()
        assert record.messages == ["a"]
        assert record.ws.is_paused
        record.ws.send("sent while paused")
        while (got := await peer.receive()).opcode == PONG:
            assert is_async  # its handler began, and paused, when all of the read had been decoded
        assert got.payload == b"sent while paused"
        yield record.ws, peer


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_async", [False, True])
async def test_28_after_resume_everything_comes_in_order(is_async: bool, way: Way) -> None:
    record = Recorder()
    async with paused(record, way, is_async=is_async) as (ws, peer):
        ws.resume()
        assert not ws.is_paused
        if not is_async:
            assert await peer.receive() == (PONG, b"waits", True, 0)
        await until(lambda: record.messages == EVERYTHING)
        await peer.send(close_frame(4000))
        assert await peer.receive_close() == (4000, "")
        await closed(record)
    assert record.closes == [(4000, "")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("end", ["close", "leave"])
async def test_20_the_end_of_the_peer_waits_behind_its_messages(end: str, is_async: bool, way: Way) -> None:
    record = Recorder()
    async with paused(record, way, is_async=is_async) as (ws, peer):
        if end == "close":
            await peer.send(close_frame(4000))
        else:
            await peer.stream.aclose()
        await settled()
        assert record.messages == ["a"]
        assert record.closes == []
        ws.resume()
        await closed(record)
    assert record.messages == EVERYTHING
    assert record.closes == [(4000, "") if end == "close" else (1006, "")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("end", ["close", "terminate"])
async def test_16_ended_by_us_it_reads_on_and_discards(end: str, is_async: bool, way: Way) -> None:
    record = Recorder()
    async with paused(record, way, is_async=is_async) as (ws, peer):
        getattr(ws, end)()
        assert not ws.is_paused
        if end == "close":
            assert await peer.receive_close() == (1000, "")
            await peer.send(frame(TEXT, b"late") + close_frame(1000))
        with pytest.raises((EOFError, trio.BrokenResourceError)):
            await peer.receive()
        await closed(record)
    assert record.messages == ["a"]
    assert record.closes == [(1000, "") if end == "close" else (1006, "")]
