"""`trio_bunws.testing.stalled` and `cut`, as an application's test uses them: a server in memory and a raw peer."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from trio_bunws import CloseInfo, ServerWebSocket, WebSocketHandler, open_server
from trio_bunws.testing import MemoryListener, RawPeer, cut, open_pair, stalled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@asynccontextmanager
async def opened() -> AsyncGenerator[tuple[ServerWebSocket, RawPeer]]:
    """Serve one socket, and yield both ends of it when no write is in flight."""
    sockets: list[ServerWebSocket] = []
    listener = MemoryListener()
    handler: WebSocketHandler[None] = WebSocketHandler(open=sockets.append)
    async with open_server(None, handler, listeners=[listener]), RawPeer(await listener.connect()) as peer:
        await peer.upgrade()
        await trio.testing.wait_all_tasks_blocked()
        yield sockets[0], peer


async def test_a_stalled_peer_makes_backpressure_and_gets_everything_afterwards() -> None:
    async with opened() as (ws, peer):
        with stalled(peer):
            assert ws.send("waits with the writer") == 21
            await trio.testing.wait_all_tasks_blocked()
            assert ws.send("is unsent") == -1
            assert ws.get_buffered_amount() == 11
        assert await peer.receive_text() == "waits with the writer"
        assert await peer.receive_text() == "is unsent"
        await ws.drained()
        assert ws.send("as ever") == 7


async def test_a_stalled_peer_can_still_send() -> None:
    async with opened() as (ws, peer):
        with stalled(peer):
            await peer.send_close(4000, "bye")
            await trio.testing.wait_all_tasks_blocked()
            assert ws.ready_state == 2
        assert await peer.receive_close() == (4000, "bye")


async def test_stalls_are_nested() -> None:
    async with opened() as (ws, peer):
        with stalled(peer):
            with stalled(peer.stream):
                ws.send("one")
                await trio.testing.wait_all_tasks_blocked()
            assert ws.send("two") == -1
        assert [await peer.receive_text(), await peer.receive_text()] == ["one", "two"]


async def test_a_cut_is_a_lost_connection_to_both() -> None:
    async with opened() as (ws, peer):
        cut(peer)
        assert await ws.closed() == CloseInfo(1006, "", None, None)
        with pytest.raises(trio.BrokenResourceError):
            await peer.receive()
        with pytest.raises(trio.BrokenResourceError):
            await peer.send_text("x")


async def test_a_cut_ends_a_stall() -> None:
    async with opened() as (ws, peer):
        with stalled(peer):
            ws.send("lost")
            await trio.testing.wait_all_tasks_blocked()
            cut(peer)
            assert (await ws.closed()).code == 1006


async def test_both_work_on_a_client_too() -> None:
    sockets: list[ServerWebSocket] = []
    async with open_pair(WebSocketHandler(open=sockets.append)) as (_, client):
        [ws] = sockets
        with stalled(client):
            ws.send("one")
            await trio.testing.wait_all_tasks_blocked()
            assert ws.send("two") == -1
        assert [await client.receive(), await client.receive()] == ["one", "two"]
        cut(client)
        assert (await ws.closed()).code == (await client.closed()).code == 1006


async def test_another_kind_of_connection_is_refused() -> None:
    one, _ = trio.testing.memory_stream_pair()
    with pytest.raises(TypeError, match="cut expects a connection that MemoryListener made"):
        cut(one)
    with pytest.raises(TypeError, match="stalled expects"), stalled(RawPeer(one)):
        pass
