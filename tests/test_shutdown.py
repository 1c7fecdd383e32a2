"""The end of a server with real sockets that are all behind, and some of which never read: what was accepted arrives.

Everything that is accepted before the end must reach whoever reads, and a Close 1001 behind it. The clock stands still,
so that no test depends on how long 2,000 sockets take; it jumps only to the deadline of those that do not read.
"""

from __future__ import annotations

import resource
import socket
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from patience import until

from trio_bunws import Limits, Request, Response, Server, ServerWebSocket, WebSocketHandler, open_server, serve
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import Generator

    from trio.testing import MockClock

STUCK = 10
"""Sockets that do not read."""
GRACE = 30.0
PAYLOAD = b"x" * 1024
FRAME = b"\x82\x7e" + len(PAYLOAD).to_bytes(2, "big") + PAYLOAD
BACKLOG = 32
"""Messages of a kilobyte that wait for each socket when the end begins: more than both kernel buffers hold."""
KERNEL = 4 * 1024
ROOM_FOR_FILES = 5000


@pytest.fixture(autouse=True)
def files() -> Generator[None]:
    """Allow enough sockets: both ends are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(ROOM_FOR_FILES, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Crowd:
    """Clients that are all behind: none has read anything yet, and the first ten never will."""

    def __init__(self) -> None:
        self.server: Server[str]
        self.peers: list[RawPeer] = []
        self._closed: list[tuple[str, int, str]] = []
        self.handler = WebSocketHandler[str](open=self._opened, close=self._on_close)

    def _opened(self, ws: ServerWebSocket[str]) -> None:
        ws.subscribe("news")

    def _on_close(self, ws: ServerWebSocket[str], code: int, reason: str) -> None:
        assert ws.subscriptions == []
        self._closed.append((ws.data, code, reason))

    async def connect(self, count: int) -> None:
        for number in range(count):
            sock = trio.socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL)
            await sock.connect(("127.0.0.1", self.server.port))
            peer = RawPeer(trio.SocketStream(sock))
            await peer.upgrade(f"/{number}")
            self.peers.append(peer)

    async def fall_behind(self) -> None:
        """Send to all of them, until every one has unsent bytes; and at last more, that has not left yet."""
        for _ in range(BACKLOG):
            assert self.server.publish("news", PAYLOAD)
        await until(lambda: self.server.statistics().backpressured_sockets == len(self.peers))
        for ws in self.server.subscribers("news"):
            assert ws.send(ws.data) == -1
        assert self.server.publish("news", b"last") == -1

    async def read_to_the_end(self) -> None:
        """Read what came to those that read, byte for byte, and answer the Close."""
        async with trio.open_nursery() as nursery:
            for number, peer in enumerate(self.peers[STUCK:], STUCK):
                nursery.start_soon(self._read, peer, str(number).encode())

    async def _read(self, peer: RawPeer, name: bytes) -> None:
        expected = FRAME * BACKLOG + bytes([0x81, len(name)]) + name + b"\x82\x04last"
        assert await peer.receive_exactly(len(expected)) == expected
        assert await peer.receive_close() == (1001, "Server closed")
        await peer.send_close(1001)
        await peer.receive_eof()
        await peer.stream.aclose()

    def told(self) -> list[int]:
        """Return whose close handler was called, and with the right words; twice if it was called twice."""
        assert {(code, reason) for _, code, reason in self._closed} <= {(1001, "Server closed")}
        return sorted(int(name) for name, _, _ in self._closed)

    async def refused(self) -> bool:
        """Whether one more client is refused."""
        with trio.socket.socket() as sock:
            try:
                await sock.connect(("127.0.0.1", self.server.port))
            except ConnectionRefusedError:
                return True
        return False

    async def sees_the_end(self, clock: MockClock) -> None:
        """Read what comes, all of those who do; then let the time of the others run out."""
        try:
            await trio.testing.wait_all_tasks_blocked()
            assert await self.refused()
            assert self.server.pending_websockets == len(self.peers)
            assert self.told() == []
            await self.read_to_the_end()
            await until(lambda: self.server.statistics().connections == STUCK)
            assert self.told() == list(range(STUCK, len(self.peers)))
            clock.jump(GRACE)
            await until(lambda: self.server.statistics().connections == 0)
            assert self.told() == list(range(len(self.peers)))
            statistics = self.server.statistics()
            assert (statistics.websockets, statistics.topics, statistics.drops) == (0, 0, 0)
            for peer in self.peers[:STUCK]:
                await trio.aclose_forcefully(peer.stream)
        finally:
            clock.rate = 1000.0  # a failure is not to hang in the server's end


def fetch(request: Request, server: Server[str]) -> Response | None:
    assert server.upgrade(request, data=request.path[1:])
    return None


def listener() -> trio.SocketListener:
    """Listen with small send buffers, which accepted sockets inherit."""
    sock = socket.create_server(("127.0.0.1", 0), backlog=2000)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


async def test_2000_sockets_get_what_was_accepted_before_stop_though_ten_do_not_read(mock_clock: MockClock) -> None:
    crowd = Crowd()
    async with (
        open_server(fetch, crowd.handler, listeners=[listener()]) as crowd.server,
        trio.open_nursery() as nursery,
    ):
        await crowd.connect(2000)
        await crowd.fall_behind()
        stopping = crowd.server.stop(grace=GRACE)
        nursery.start_soon(crowd.sees_the_end, mock_clock)
        await stopping
        assert len(crowd.told()) == 2000


async def test_leaving_the_block_delivers_what_was_accepted(mock_clock: MockClock) -> None:
    crowd = Crowd()
    async with trio.open_nursery() as nursery:
        limits = Limits(close_timeout=GRACE)
        async with open_server(fetch, crowd.handler, listeners=[listener()], limits=limits) as crowd.server:
            await crowd.connect(100)
            await crowd.fall_behind()
            nursery.start_soon(crowd.sees_the_end, mock_clock)
        assert len(crowd.told()) == 100


async def test_an_exception_in_the_block_costs_nobody_what_was_accepted(mock_clock: MockClock) -> None:
    crowd = Crowd()
    async with trio.open_nursery() as nursery:
        limits = Limits(close_timeout=GRACE)
        with pytest.raises(KeyError, match="mine"):  # noqa: PT012 - the block is what is tested
            async with open_server(fetch, crowd.handler, listeners=[listener()], limits=limits) as crowd.server:
                await crowd.connect(100)
                await crowd.fall_behind()
                nursery.start_soon(crowd.sees_the_end, mock_clock)
                raise KeyError("mine")
        assert len(crowd.told()) == 100


async def test_cancelling_serve_delivers_what_was_accepted(mock_clock: MockClock) -> None:
    crowd = Crowd()
    async with trio.open_nursery() as outside, trio.open_nursery() as nursery:
        serving = partial(serve, listeners=[listener()], limits=Limits(close_timeout=GRACE))
        crowd.server = await nursery.start(serving, fetch, crowd.handler)
        await crowd.connect(100)
        await crowd.fall_behind()
        nursery.cancel_scope.cancel()
        outside.start_soon(crowd.sees_the_end, mock_clock)
    assert len(crowd.told()) == 100
