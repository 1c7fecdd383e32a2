"""A peer that resets the connection, in every state that it can bring it to; over real TCP.

After each reset the close handler has run once, and neither a topic, a task, a descriptor nor a count is left.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest
import trio
from faults import LIMITS, Watch, send_quietly
from patience import until
from playground import Socket, settled

from trio_bunws import Server, WebSocketHandler, open_server
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    Bring: TypeAlias = "Callable[[RawPeer, Watch], Awaitable[None]]"

RESET = struct.pack("ii", 1, 0)
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"


async def connect(server: Server[Any]) -> RawPeer:
    """Connect by TCP, with a receive buffer that is soon full."""
    assert server.port is not None
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await sock.connect(("127.0.0.1", server.port))
    return RawPeer(trio.SocketStream(sock))


async def reset(peer: RawPeer) -> None:
    """Close so that the other end gets a reset, whatever it does at this moment."""
    assert isinstance(peer.stream, trio.SocketStream)
    peer.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    await trio.aclose_forcefully(peer.stream)


# Step by step through a conversation

MESSAGE = RawPeer.frame(TEXT, b"hello " * 20)
CONVERSATION: list[bytes | int] = [
    # Bytes are sent; a number is how many are read.
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    64,
    POST + b"Content-Length: 10\r\n",
    b"\r\n",
    b"12345",
    b"67890",
    64,
    POST + b"Transfer-Encoding: chunked\r\n\r\n",
    b"5\r\nhel",
    b"lo\r\n",
    b"0\r\n",
    b"\r\n",
    64,
    RawPeer.request()[:40],
    RawPeer.request()[40:-1],
    b"\n",
    64,
    MESSAGE[:1],
    MESSAGE[1:5],
    MESSAGE[5:20],
    MESSAGE[20:],
    2,
    120,
    RawPeer.frame(TEXT, b"a", fin=False),
    RawPeer.frame(PING, b"?"),
    3,
    RawPeer.frame(CONTINUATION, b"b", fin=False)[:3],
    RawPeer.frame(CONTINUATION, b"b", fin=False)[3:],
    RawPeer.frame(CONTINUATION, b"c"),
    RawPeer.frame(PONG),
    5,
    MESSAGE * 10,
    RawPeer.close_frame(4000, "bye")[:3],
    RawPeer.close_frame(4000, "bye")[3:],
    4,
]


@pytest.mark.parametrize("settle", [True, False], ids=["when all is quiet", "at once"])
async def test_a_reset_at_any_step_of_a_conversation_leaves_nothing(settle: bool) -> None:
    watch = Watch()
    async with open_server(watch.fetch, watch.handler(), port=0, limits=LIMITS) as server:
        for stop in range(len(CONVERSATION) + 1):
            await settled()
            watch.begin()
            peer = await connect(server)
            for step in CONVERSATION[:stop]:
                if isinstance(step, bytes):
                    await peer.send(step)
                else:
                    peer.received += await peer.stream.receive_some(step)
            if settle:
                await settled()
            await reset(peer)
            await watch.gone(server)
    assert len(watch.sockets) > len(CONVERSATION) - CONVERSATION.index(b"\n") - 4
    # Lost, but for those who had sent their Close.
    assert {code for _, code, _ in watch.closes} == {1006, 4000}


# In states that the application brings it to


async def stuck(_ws: Socket, *_: object) -> None:
    await trio.sleep_forever()


async def session(ws: Socket) -> None:
    async for message in ws:
        ws.send(message)


async def idle(_peer: RawPeer, _watch: Watch) -> None:
    pass


async def unsent(_peer: RawPeer, watch: Watch) -> None:
    while watch.ws.get_buffered_amount() < 100_000:
        watch.ws.send(bytes(100_000))


async def unsent_and_closing(peer: RawPeer, watch: Watch) -> None:
    await unsent(peer, watch)
    watch.ws.close(4001, "ours")


async def closing(_peer: RawPeer, watch: Watch) -> None:
    watch.ws.close(4001, "ours")


async def closing_and_answered(peer: RawPeer, watch: Watch) -> None:
    watch.ws.close(4001, "ours")
    await peer.receive_close()
    await send_quietly(peer, RawPeer.close_frame(4001, "ours"))  # on a slow machine its time may be up


async def terminated(_peer: RawPeer, watch: Watch) -> None:
    watch.ws.terminate()


async def waiting_senders(peer: RawPeer, watch: Watch) -> None:
    await unsent(peer, watch)
    watch.ws.start_soon(watch.ws.send_wait, bytes(1 << 24))
    watch.ws.start_soon(watch.ws.drained)


async def busy(peer: RawPeer, _watch: Watch) -> None:
    await peer.send(MESSAGE * 3)


async def full(peer: RawPeer, _watch: Watch) -> None:
    await peer.send(MESSAGE * 40)


async def paused(peer: RawPeer, watch: Watch) -> None:
    watch.ws.pause()
    await peer.send(MESSAGE)
    # Whoever pauses a socket hears nothing of its peer until it reads on.
    watch.sockets[-1].start_soon(resume, watch)


async def resume(watch: Watch) -> None:
    await watch.gate.wait()
    watch.ws.resume()


async def violation(peer: RawPeer, _watch: Watch) -> None:
    await peer.send(b"\xff\xff")


STATES: list[tuple[Bring, dict[str, Any], int]] = [
    (idle, {}, 1006),
    (unsent, {}, 1006),
    (unsent_and_closing, {}, 4001),
    (closing, {}, 4001),
    (closing_and_answered, {}, 4001),
    (terminated, {}, 1006),
    (waiting_senders, {}, 1006),
    (busy, {"message": stuck}, 1006),
    (full, {"message": stuck, "max_inbox": 4}, 1006),
    (paused, {}, 1006),
    (violation, {}, 1002),
    (idle, {"session": stuck}, 1006),
    (busy, {"session": session}, 1006),
    (full, {"session": stuck, "max_inbox": 4}, 1006),
    (unsent, {"session": session}, 1006),
    (unsent, {"drain": stuck}, 1006),
]


@pytest.mark.parametrize(
    ("bring", "given", "code"), STATES, ids=[f"{bring.__name__} {' '.join(given)}" for bring, given, _ in STATES]
)
@pytest.mark.parametrize("settle", [True, False], ids=["when all is quiet", "at once"])
async def test_a_reset_in_any_state_leaves_nothing(
    bring: Bring, given: dict[str, Any], code: int, settle: bool
) -> None:
    watch = Watch()
    async with watch.serving(**given) as server:
        peer = await connect(server)
        await peer.upgrade()
        await settled()
        await bring(peer, watch)
        if settle:
            await settled()
        await reset(peer)
        if bring is full:
            # Nobody reads: it is found out by the next write, or when the handler is done.
            await until(lambda: not server.publish("one", bytes(10_000)))
        await watch.gone(server)
        assert [got for _, got, _ in watch.closes] == [code]


@pytest.mark.parametrize("path", ["/stream", "/wait"])
async def test_a_reset_while_a_response_is_made_or_sent_leaves_nothing(path: str) -> None:
    watch = Watch()
    handler: WebSocketHandler[Any] = watch.handler()
    async with open_server(watch.fetch, handler, port=0, limits=LIMITS, idle_timeout=0.3) as server:
        await settled()
        watch.begin()
        peer = await connect(server)
        await peer.send(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
        await settled()
        assert server.pending_requests == 1
        await reset(peer)
        await watch.gone(server)


async def test_a_reset_costs_the_other_subscribers_nothing() -> None:
    """Of a hundred in one topic fifty reset while it is published to; the rest gets every message."""
    watch = Watch()
    async with watch.serving() as server:
        peers = []
        for _ in range(100):
            peers.append(await connect(server))
            await peers[-1].upgrade()
        for index, peer in enumerate(peers[:50]):
            server.publish("one", str(index))
            await reset(peer)
        for peer in peers[50:]:
            assert [await peer.receive_text() for _ in range(50)] == [str(index) for index in range(50)]
        for peer in peers[50:]:
            await reset(peer)
        await watch.gone(server)
        assert len(watch.closes) == 100
