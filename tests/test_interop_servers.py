"""Our client at other people's servers, websockets, `ws`, Bun and uWebSockets, and through a proxy that is a real one.

The servers are programs of tests/interop/, each in a process of its own; the proxy is a TCP server in this one, which
does what CONNECT tells it to. Compression is the business of `test_interop_deflate.py`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from certificates import certified
from interop.programs import (
    EchoServer,
    bun_program,
    node_program,
    python_program,
    running_echo,
    running_echo_server,
    uwebsockets_program,
)
from patience import PATIENCE
from ports import kept_port

from trio_bunws import CloseEvent, HandshakeError, WebSocket, WebSocketHandler, open_server, reconnecting
from trio_bunws._close import CloseFrame

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

LONGEST = 16 * 1024 * 1024  # bytes: the longest message that our client and the servers take
SERVERS: dict[str, tuple[Callable[[], list[str]], str]] = {
    "websockets": (partial(python_program, "websockets_echo", "server"), "{}"),
    "ws": (partial(node_program, "ws", "server"), '{"perMessageDeflate": false}'),
    "bun": (partial(bun_program, "server"), '{"perMessageDeflate": false}'),
    "uwebsockets": (uwebsockets_program, '{"compression": []}'),
}
"""How each is started, and what says that it shall not compress; that `websockets` cannot is up to our client."""


@pytest.fixture(name="server", params=list(SERVERS))
def their_server(request: pytest.FixtureRequest) -> Iterator[EchoServer]:
    command, plainly = SERVERS[request.param]
    with running_echo_server(command(), plainly) as server:
        yield server


async def test_messages_come_back_as_they_were_sent(server: EchoServer) -> None:
    with trio.fail_after(PATIENCE):
        async with WebSocket(server.url, per_message_deflate=False) as ws:
            for message in (
                "",
                "Zażółć gęślą jaźń 👩🏽‍🚀",
                b"",
                bytes(range(256)),
                "x" * 70_000,
                b"\x00\xff" * (LONGEST // 2),
            ):
                ws.send(message)
                assert await ws.receive() == message
            assert ws.extensions == ""


async def test_a_server_chooses_one_of_our_subprotocols(server: EchoServer) -> None:
    with trio.fail_after(PATIENCE):
        for offered, chosen in ((["v1", "v2"], "v2"), (None, None)):
            async with WebSocket(server.url, offered) as ws:
                assert ws.protocol == chosen


async def test_pings_are_answered_on_both_sides(server: EchoServer) -> None:
    pings, pongs = trio.open_memory_channel[str | bytes](1), trio.open_memory_channel[str | bytes](1)
    with trio.fail_after(PATIENCE):
        ws = WebSocket(server.url)
        ws.add_event_listener("ping", lambda event: pings[0].send_nowait(event.data))
        ws.add_event_listener("pong", lambda event: pongs[0].send_nowait(event.data))
        async with ws:
            ws.ping("are you there")
            assert await pongs[1].receive() == b"are you there"
            assert ws.latency is not None
            ws.send("/ping and-you")
            assert await pings[1].receive() == b"and-you"
            assert await ws.receive() == "/pong and-you"


@pytest.mark.parametrize("closes", ["we", "they"])
async def test_code_and_reason_of_a_close_are_seen_on_both_sides(server: EchoServer, closes: str) -> None:
    told: list[CloseEvent] = []
    frame = CloseFrame(4000, "so long")
    with trio.fail_after(PATIENCE):
        ws = WebSocket(server.url)
        ws.add_event_listener("close", told.append)
        async with ws:
            if closes == "we":
                ws.close(*frame)
            else:
                ws.send(f"/close {frame.code} {frame.reason}")
            info = await ws.closed()
        assert await server.told() == frame
    assert info.sent is not None
    assert info.received is not None
    assert (info.sent if closes == "we" else info.received) == frame
    assert info.sent.code == info.received.code
    assert [(event.code, event.reason, event.was_clean) for event in told] == [(*frame, True)]


async def test_a_lost_server_is_connected_to_again_when_it_is_back() -> None:
    command = SERVERS["ws"][0]()
    with kept_port() as port, trio.fail_after(PATIENCE):
        there = f'{{"perMessageDeflate": false, "port": {port}}}'
        sockets = reconnecting(f"ws://127.0.0.1:{port}/", initial_delay=0.05, max_delay=0.05)
        async with sockets:
            for text in ("one", "two"):
                with running_echo(command, there):
                    ws = await sockets.__anext__()
                    ws.send(text)
                    assert await ws.receive() == text
                assert (await ws.closed()).code == 1006


# Through a proxy


class ConnectProxy:
    """An HTTP proxy for CONNECT alone, as a TCP server."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        """The requests."""
        self.carried = b""
        """What clients have sent through it."""
        self.port = 0

    async def serve(self, task_status: trio.TaskStatus[list[trio.SocketListener]]) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        await trio.serve_listeners(self.handle, listeners, task_status=task_status)

    async def handle(self, client: trio.SocketStream) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await client.receive_some(1)
        self.heads.append(head)
        if b"Proxy-Authorization: Basic bWU6cHc=\r\n" not in head:
            await client.send_all(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
            return
        place = head.split(b" ")[1].decode()
        server = await trio.open_tcp_stream(place.rpartition(":")[0], int(place.rpartition(":")[2]))
        await client.send_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self.carry, client, server, True)
            nursery.start_soon(self.carry, server, client, False)

    async def carry(self, source: trio.SocketStream, to: trio.SocketStream, keep: bool) -> None:
        async for data in source:
            if keep:
                self.carried += data
            await to.send_all(data)
        await to.send_eof()


@asynccontextmanager
async def running_proxy() -> AsyncGenerator[ConnectProxy]:
    proxy = ConnectProxy()
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.serve)
        yield proxy
        nursery.cancel_scope.cancel()


async def test_a_proxy_leads_to_a_server(server: EchoServer) -> None:
    with trio.fail_after(PATIENCE):
        async with running_proxy() as proxy:
            async with WebSocket(server.url, proxy=f"http://me:pw@127.0.0.1:{proxy.port}") as ws:
                ws.send("through the gate")
                assert await ws.receive() == "through the gate"
            with pytest.raises(HandshakeError, match="the proxy") as caught:
                await WebSocket(server.url, proxy=f"http://me:no@127.0.0.1:{proxy.port}").__aenter__()
    assert (caught.value.status, caught.value.from_proxy) == (407, True)
    assert proxy.heads[0].startswith(b"CONNECT " + server.url[5:-1].encode() + b" HTTP/1.1\r\n")
    assert proxy.carried.startswith(b"GET / HTTP/1.1\r\n")


async def test_tls_goes_through_a_proxy_which_sees_nothing_of_it() -> None:
    contexts = certified("localhost")
    handler: WebSocketHandler[None] = WebSocketHandler(message=lambda ws, message: ws.send(message))
    with trio.fail_after(PATIENCE):
        async with (
            open_server(None, handler, hostname="localhost", port=0, tls=contexts.server) as ours,
            running_proxy() as proxy,
        ):
            url = f"wss://localhost:{ours.port}/secret"
            async with WebSocket(url, proxy=f"http://me:pw@127.0.0.1:{proxy.port}", tls=contexts.client) as ws:
                ws.send("through the gate")
                assert await ws.receive() == "through the gate"
    assert proxy.heads[0].startswith(b"CONNECT localhost:")
    assert b"secret" not in proxy.carried
