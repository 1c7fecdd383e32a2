"""A thousand subscribers over real sockets, one of which does not read: nobody else may notice, nothing may pile up."""

from __future__ import annotations

import socket

import trio

from trio_bunws import Request, Response, Server, ServerWebSocket, WebSocketHandler, open_server
from trio_bunws.testing import RawPeer

SUBSCRIBERS = 1000
ROUNDS = 40
BURST = 8
PAYLOAD = b"x" * 1024
FRAME = b"\x82\x7e" + len(PAYLOAD).to_bytes(2, "big") + PAYLOAD
LIMIT = 32 * 1024
KERNEL = 8 * 1024
"""Socket buffers that hold little, so that backpressure comes soon."""


def listen() -> trio.SocketListener:
    """Listen with small send buffers, which accepted sockets inherit."""
    sock = socket.create_server(("127.0.0.1", 0), backlog=SUBSCRIBERS)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


async def connect(port: int, name: str) -> RawPeer:
    """Open a WebSocket."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL)
    await sock.connect(("127.0.0.1", port))
    peer = RawPeer(trio.SocketStream(sock))
    await peer.upgrade(f"/?name={name}")
    return peer


class Readers:
    """The peers that read, and how many of them have read the round's messages."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._missing = count
        self._complete = trio.Event()

    async def read(self, peer: RawPeer) -> None:
        """Read every round, and compare each byte."""
        expected = FRAME * BURST
        for _ in range(ROUNDS):
            assert await peer.receive_exactly(len(expected)) == expected
            self._missing -= 1
            if not self._missing:
                self._complete.set()

    async def round_read(self) -> None:
        """Wait until all have read this round."""
        await self._complete.wait()
        self._missing = self._count
        self._complete = trio.Event()


def fetch(request: Request, server: Server[str]) -> Response | None:
    assert server.upgrade(request, data=request.query["name"])
    return None


async def test_999_get_everything_while_one_does_not_read_and_memory_stays_within_the_limit() -> None:
    drained: list[str] = []

    def opened(ws: ServerWebSocket[str]) -> None:
        ws.subscribe("news")

    def drain(ws: ServerWebSocket[str]) -> None:
        drained.append(ws.data)

    handler = WebSocketHandler(open=opened, drain=drain, backpressure_limit=LIMIT)
    async with open_server(fetch, handler, listeners=[listen()]) as server:
        assert server.port is not None
        peers = [await connect(server.port, str(index)) for index in range(SUBSCRIBERS)]
        slow_peer = peers.pop(500)
        (slow,) = (ws for ws in server.subscribers("news") if ws.data == "500")
        readers = Readers(len(peers))
        statuses: list[int] = []
        most = 0

        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(readers.read, peer)
            for _ in range(ROUNDS):
                statuses += [server.publish("news", PAYLOAD) for _ in range(BURST)]
                await readers.round_read()
                most = max(most, slow.get_buffered_amount())

        statistics = slow.statistics()
        assert LIMIT < most <= LIMIT + BURST * len(FRAME)  # passed by one tick's batch at most
        assert statistics.drops > 0
        assert statistics.messages_out + statistics.drops == ROUNDS * BURST
        assert server.statistics().drops == statistics.drops
        assert statuses[0] == len(PAYLOAD)  # nobody was behind
        assert statuses[-1] == 0  # one was over its limit, and the others got it
        assert "500" not in drained

        # It reads again: what was accepted arrives, drain is called, and messages are accepted again.
        for _ in range(statistics.messages_out):
            assert await slow_peer.receive_exactly(len(FRAME)) == FRAME
        await slow.drained()
        assert "500" in drained
        assert slow.send(b"") == 0
        assert await slow_peer.receive() == (2, b"", True, 0)

        for peer in (*peers, slow_peer):
            await peer.stream.aclose()
