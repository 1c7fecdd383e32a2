"""docs/topics: each example does what its page says of it, against clients that do not read, close or go silent."""

from __future__ import annotations

import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from pages import DOCS, ran
from patience import PATIENCE
from playground import settled

from trio_bunws import (
    Limits,
    MessageBackpressured,
    MessageDropped,
    MessageSent,
    PerMessageDeflate,
    WebSocket,
    open_server,
)
from trio_bunws.testing import MemoryListener, RawPeer, open_pair, stalled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from trio.testing import MockClock

    from trio_bunws import Request, Server

BACKPRESSURE, ORDERING, COMPRESSION, CANCELLATION = (
    "topics/backpressure.md",
    "topics/ordering.md",
    "topics/compression.md",
    "topics/cancellation.md",
)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (MessageSent(5), "5 bytes, on their way"),
        (MessageSent(0), "0 bytes, on their way"),
        (MessageBackpressured(), "waits behind others"),
        (MessageDropped(), "dropped: closed, or too far behind"),
    ],
)
def test_a_status_is_matched_by_its_class(status: object, words: str) -> None:
    with ran(BACKPRESSURE) as page:
        assert page.names["in_words"](status) == words


async def test_a_slow_reader_of_the_ticker_gets_the_latest_value(autojump_clock: MockClock) -> None:  # noqa: ARG001
    with ran(BACKPRESSURE) as page:
        handler = attrs.evolve(page.names["ticker"], open=lambda ws: ws.subscribe("all"))
        async with open_pair(handler, upgrade("")) as (server, client):
            (ws,) = server.subscribers("all")
            with stalled(client):
                for value in ("1", "2" * 20_000, "3", "4"):
                    page.names["show"](ws, value)
                    await settled()
                assert server.statistics().backpressured_sockets == 1
            assert [await client.receive() for _ in range(3)] == ["1", "2" * 20_000, "4"]
            page.names["show"](ws, "5")
            assert await client.receive() == "5"


@pytest.mark.parametrize("name", ["export", "patient"])
async def test_rows_are_made_as_fast_as_they_are_taken(autojump_clock: MockClock, name: str) -> None:  # noqa: ARG001
    made: list[int] = []

    def rows() -> Iterator[str]:
        for number in range(300):
            made.append(number)
            yield f"{number} {'x' * 1000}"

    with ran(BACKPRESSURE) as page:
        listener = MemoryListener()
        async with open_server(upgrade(rows()), page.names[name], listeners=[listener]):
            stream = await listener.connect()
            peer = RawPeer(stream)
            with stalled(peer):
                await peer.send(peer.request())
                await settled()
                assert 0 < len(made) < 150
            await peer.receive_101()
            heard = [int((await peer.receive()).payload.split()[0]) for _ in range(300)]
            assert heard == list(range(300))
            assert (await peer.receive_close())[0] == 1000


def upgrade(data: object) -> Any:  # noqa: ANN401 - a `fetch` for any handler
    """Return a `fetch` that upgrades everything with this data."""

    def fetch(request: Request, server: Server[Any]) -> None:
        assert server.upgrade(request, data=data)

    return fetch


async def test_to_one_socket_all_arrives_in_the_order_of_the_calls(autojump_clock: MockClock) -> None:  # noqa: ARG001
    with ran(ORDERING) as page:
        listener = MemoryListener()
        other = page.names["handler"].on_open(lambda ws: ws.subscribe("news"))
        async with (
            open_server(None, other, listeners=[listener]) as server,
            WebSocket("ws://server.test/", stream=await listener.connect()) as first,
        ):
            server.reload(websocket=page.names["handler"])
            async with WebSocket("ws://server.test/", stream=await listener.connect()) as second:
                assert [message async for message in second] == ["2: to me"]
                assert (await second.closed()).reason == "that was all"
            heard = [await first.receive() for _ in range(2)]
    assert heard == ["1: to the others", "3: still to the others"]


async def test_long_messages_are_compressed_and_short_ones_are_not(autojump_clock: MockClock) -> None:  # noqa: ARG001
    with ran(COMPRESSION) as page:
        listener = MemoryListener()
        async with open_server(None, page.names["handler"], listeners=[listener]):
            peer = RawPeer(await listener.connect())
            headers = await peer.upgrade(headers=[("Sec-WebSocket-Extensions", "permessage-deflate")])
            assert "server_no_context_takeover" in headers["sec-websocket-extensions"]
            await peer.send_text("x" * 511)
            await peer.send_text("x" * 512)
            short, long = await peer.receive(), await peer.receive()
            assert (short.rsv, len(short.payload)) == (0, 511)
            assert long.rsv == 4
            assert len(long.payload) < 20


def test_the_memory_that_the_page_tells_is_that_of_the_docstring() -> None:
    page = (DOCS / COMPRESSION).read_text("utf-8")
    told = " ".join((PerMessageDeflate.__doc__ or "").split())
    assert '12 KiB (``"3KB"``) to 129 KiB' in told
    assert "8 to 40 for what it receives" in told
    assert "12 to 129 KiB to compress, 8 to 40 KiB to decompress" in page


async def test_a_timeout_around_a_read_loses_no_message(autojump_clock: MockClock) -> None:
    with ran(CANCELLATION) as page:
        async with open_pair(page.names["handler"]) as (_, client):
            assert await client.receive() == "Are you still there?"
            assert autojump_clock.current_time() == 30
            for number in range(20):
                client.send(str(number))
            assert [await client.receive() for _ in range(20)] == [str(number) for number in range(20)]
            client.close(1000)
            assert (await client.closed()).code == 1000


async def test_sigterm_ends_the_server_of_the_page_within_its_grace() -> None:
    ports: list[int] = []
    ready = trio.Event()
    with ran(CANCELLATION) as page, trio.fail_after(PATIENCE):

        @asynccontextmanager
        async def watched(**options: Any) -> AsyncGenerator[Server]:
            async with open_server(**options) as server:
                assert server.port is not None
                ports.append(server.port)
                ready.set()
                yield server

        page.names["open_server"] = watched
        async with trio.open_nursery() as nursery:
            nursery.start_soon(page.names["main"], 0)
            await ready.wait()
            await settled()
            async with WebSocket(f"ws://127.0.0.1:{ports[0]}/") as client:
                os.kill(os.getpid(), signal.SIGTERM)
                ending = await client.closed()
                assert (ending.code, ending.reason) == (1001, "Server closed")


def test_the_times_that_the_pages_tell_are_the_defaults() -> None:
    assert Limits().close_timeout == 10
    with ran(BACKPRESSURE) as page:
        handler = page.names["WebSocketHandler"]()
        assert (handler.backpressure_limit, handler.max_inbox) == (16 * 1024 * 1024, 16)
