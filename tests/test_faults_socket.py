"""Errors of the kernel's socket, in `send` and in `recv`, whatever the connection is doing.

After each of them the close handler has run once, and neither a topic, a task, a descriptor nor a count is left.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio
from faults import LIMITS, Watch, send_quietly
from patience import until
from playground import settled

from trio_bunws import Request, Response, Server, open_server
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    import socket

    from trio_bunws._transport import SocketTransport

ERRORS = [errno.ENOBUFS, errno.EPIPE, errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENOMEM, errno.EIO]
TEXT, PING = 1, 9


class Faulty:
    """A kernel socket, one method of which raises when it is called for the so many-th time from now."""

    def __init__(self, sock: socket.socket, method: str, number: int, after: int) -> None:
        self._socket = sock
        self._method = method
        self._number = number
        self._after = after
        self.raised = 0

    def __getattr__(self, name: str) -> object:
        if name == self._method:
            self._after -= 1
            if self._after < 0:
                self.raised += 1
                raise OSError(self._number, "injected")
        return getattr(self._socket, name)


def inject(server: Server[Any], method: str, number: int, after: int = 0) -> Faulty:
    """Make the server's only connection faulty."""
    owners: list[Any] = [*server._engine.connections, *server._arrivals._deadlines]
    transport: SocketTransport
    (transport,) = [owner._transport for owner in owners] or server._http  # type: ignore[assignment]  # it is one, over TCP
    faulty = Faulty(transport._socket, method, number, after)
    for holder in (transport, transport._watch):
        object.__setattr__(holder, "_socket", faulty)
    return faulty


async def connect(server: Server[Any]) -> RawPeer:
    assert server.port is not None
    peer = RawPeer(await trio.open_tcp_stream("127.0.0.1", server.port))
    await until(lambda: server.statistics().connections == 1)
    await settled()
    return peer


def plain_fetch(request: Request, server: Server[Any]) -> Response | None:
    """Upgrade without a task."""
    return None if server.upgrade(request) else Response("hello")


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("method", ["send", "recv_into"])
async def test_an_error_of_a_websocket_s_socket_is_a_lost_connection(method: str, number: int) -> None:
    watch = Watch()
    async with open_server(watch.fetch, watch.handler(), port=0, limits=LIMITS) as server:
        for after in range(3):
            for closing in (False, True):
                await settled()
                watch.begin()
                peer = await connect(server)
                await peer.upgrade()
                await settled()
                faulty = inject(server, method, number, after)
                for _ in range(after + 1):
                    await send_quietly(peer, RawPeer.frame(TEXT, b"hello") + RawPeer.frame(PING, b"?"))
                    await settled()
                if closing:
                    watch.ws.close(4001)
                await settled()
                assert faulty.raised
                await trio.aclose_forcefully(peer.stream)
                await watch.gone(server)
                assert watch.closes[-1][1] == 1006


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
async def test_an_error_under_unsent_bytes_frees_them(number: int) -> None:
    """The writer meets it, as the kernel takes bytes again."""
    watch = Watch()
    async with watch.serving() as server:
        peer = await connect(server)
        await peer.upgrade()
        await settled()
        while watch.ws.get_buffered_amount() < 1_000_000:
            watch.ws.send(bytes(1_000_000))
        faulty = inject(server, "send", number)
        with suppress(trio.BrokenResourceError):
            while await peer.stream.receive_some():
                pass
        assert faulty.raised
        await trio.aclose_forcefully(peer.stream)
        await watch.gone(server)
        assert [code for _, code, _ in watch.closes] == [1006]


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
async def test_an_error_of_a_send_to_one_subscriber_costs_the_others_nothing(number: int) -> None:
    watch = Watch()
    async with watch.serving() as server:
        broken = await connect(server)
        await broken.upgrade()
        await settled()
        inject(server, "send", number)
        assert server.port is not None
        peers = [RawPeer(await trio.open_tcp_stream("127.0.0.1", server.port)) for _ in range(10)]
        for peer in peers:
            await peer.upgrade()
        assert server.publish("one", "news") == 4
        for peer in peers:
            assert await peer.receive_text() == "news"
        assert server.publish("one", "more") == 4
        for peer in peers:
            assert await peer.receive_text() == "more"
        for peer in (broken, *peers):
            await trio.aclose_forcefully(peer.stream)
        await watch.gone(server)


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("method", ["send", "recv_into"])
@pytest.mark.parametrize(
    "request_", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", RawPeer.request()], ids=["request", "handshake"]
)
@pytest.mark.parametrize("is_plain", [False, True], ids=["async", "plain"])
async def test_an_error_before_there_is_a_websocket_leaves_nothing(
    request_: bytes, method: str, number: int, is_plain: bool
) -> None:
    watch = Watch()
    async with open_server(plain_fetch if is_plain else watch.fetch, watch.handler(), port=0, limits=LIMITS) as server:
        await settled()
        watch.begin()
        peer = await connect(server)
        faulty = inject(server, method, number)
        await peer.send(request_)
        await settled()
        await until(lambda: faulty.raised)
        await trio.aclose_forcefully(peer.stream)
        await watch.gone(server)
        assert [code for _, code, _ in watch.closes] == [1006] * len(watch.sockets)


@pytest.mark.parametrize("method", ["setsockopt", "shutdown"])
async def test_a_socket_that_refuses_everything_else_is_closed_all_the_same(method: str) -> None:
    watch = Watch()
    async with watch.serving() as server:
        peer = await connect(server)
        await peer.upgrade()
        await settled()
        inject(server, method, errno.ENOTCONN)
        watch.ws.close(4001)
        assert await peer.receive_close() == (4001, "")
        await send_quietly(peer, RawPeer.close_frame(4001))  # on a slow machine its time may be up
        await trio.aclose_forcefully(peer.stream)
        await watch.gone(server)
        assert [code for _, code, _ in watch.closes] == [4001]
