"""A client's way to an open connection, alone: over given streams, and what is closed when it fails."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from certificates import certified

from trio_bunws import HandshakeError, Proxy, RemoteProtocolError, WebSocket
from trio_bunws._connect import BODY_TIME, open_websocket
from trio_bunws._wire.http import RequestHead
from trio_bunws._wire.upgrade import accept_token
from trio_bunws.testing import RawPeer, cut
from trio_bunws.testing._memory import MemoryStream

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

    from trio_bunws._client_options import ClientOptions
    from trio_bunws._transport import Transport
    from trio_bunws._wire.opening import Opened


def options(url: str = "ws://h/", **more: Any) -> ClientOptions:
    """Return the options that a `WebSocket` would be made with."""
    return WebSocket(url, **more)._life.options


async def opened(stream: trio.abc.Stream | None, url: str = "ws://h/", **more: Any) -> tuple[Transport, Opened]:
    return await open_websocket(options(url, stream=stream, **more))


async def accept(peer: RawPeer) -> None:
    request = await peer.receive_until(b"\r\n\r\n")
    key = RequestHead(request).single[b"sec-websocket-key"]
    await peer.send(b"HTTP/1.1 101 Hi\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ")
    await peer.send(accept_token(key) + b"\r\n\r\nrest")


async def test_a_given_stream_is_used_and_what_comes_behind_the_answer_is_kept() -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept, RawPeer(theirs))
        transport, agreement = await opened(ours)
        rest = agreement.trailing or await transport.receive()
    assert (rest, agreement.protocol) == (b"rest", None)


async def test_without_a_stream_it_connects_by_tcp() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery, listener:

        async def serve() -> None:
            async with RawPeer(await listener.accept()) as peer:
                await accept(peer)

        nursery.start_soon(serve)
        transport, _ = await opened(None, f"ws://127.0.0.1:{port}/")
        assert transport.direct
        await transport.aclose()


async def test_a_failed_tls_handshake_closes_the_stream() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(b"no TLS at all, but plain bytes")
    with pytest.raises(
        trio.BrokenResourceError, match=r"the TLS handshake with h failed: .*(?i:version|record)"
    ) as caught:
        await opened(ours, "wss://h/")
    assert isinstance(caught.value.__cause__, ssl.SSLError)
    with pytest.raises(trio.ClosedResourceError):
        await ours.send_all(b"x")


async def test_a_refusal_closes_the_stream() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    with pytest.raises(HandshakeError) as caught:
        await opened(ours)
    assert caught.value.body == b"no"
    with pytest.raises(trio.ClosedResourceError):
        await ours.send_all(b"x")


async def test_a_refusal_s_body_that_does_not_come_is_not_waited_for(autojump_clock: MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    began = autojump_clock.current_time()
    async with trio.open_nursery() as nursery:

        async def drip() -> None:
            await theirs.send_all(b"HTTP/1.1 500 Oops\r\nContent-Length: 99\r\n\r\n")
            for _ in range(9):
                await trio.sleep(BODY_TIME * 0.3)
                await theirs.send_all(b"x")

        nursery.start_soon(drip)
        with pytest.raises(HandshakeError) as caught:
            await opened(ours)
        assert caught.value.body == b"xxx"
        assert autojump_clock.current_time() - began == pytest.approx(BODY_TIME)
        nursery.cancel_scope.cancel()


async def test_an_answer_that_was_sent_before_the_end_is_read() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(b"HTTP/1.1 429 Slow down\r\nContent-Length: 0\r\n\r\n")
    await theirs.aclose()
    with pytest.raises(HandshakeError, match="429"):
        await opened(ours)


async def test_with_tls() -> None:
    context, trusting = certified("h")
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept, RawPeer(trio.SSLStream(theirs, context, server_side=True)))
        transport, _ = await opened(ours, "wss://h/", tls=trusting)
        assert transport.tls
        nursery.cancel_scope.cancel()


async def test_a_lost_connection_is_no_answer() -> None:
    ours, theirs = MemoryStream.pair()

    async def lose() -> None:
        await RawPeer(theirs).receive_until(b"\r\n\r\n")
        cut(theirs)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lose)
        with pytest.raises(RemoteProtocolError, match="without an answer"):
            await opened(ours)


async def test_a_unix_socket_is_reached_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "a socket"
    with trio.socket.socket(trio.socket.AF_UNIX) as listening:
        await listening.bind(str(path))
        listening.listen()

        async def serve() -> None:
            sock, _ = await listening.accept()
            async with RawPeer(trio.SocketStream(sock)) as peer:
                await accept(peer)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            transport, _ = await opened(None, f"ws+unix://{tmp_path}/a%20socket")
            assert transport.direct
            await transport.aclose()


async def test_a_unix_socket_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="'/no/where'"):
        await opened(None, "ws+unix:///no/where")


async def tunnelled(stream: trio.abc.Stream, tls: ssl.SSLContext | None) -> bytes:
    """Be a proxy and the server behind it; return what the proxy was told."""
    asked = await RawPeer(stream).receive_until(b"\r\n\r\n")
    await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
    await accept(RawPeer(stream if tls is None else trio.SSLStream(stream, tls, server_side=True)))
    return asked


@pytest.mark.parametrize("url", ["ws://h:81/", "wss://h/"])
async def test_a_proxy_is_asked_for_the_way_and_the_rest_goes_through_it(url: str) -> None:
    context, trusting = certified("h")
    ours, theirs = trio.testing.memory_stream_pair()
    asked: list[bytes] = []

    async def serve() -> None:
        asked.append(await tunnelled(theirs, context if url.startswith("wss") else None))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        transport, agreement = await opened(ours, url, proxy="http://me:pw@gate", tls=trusting)
        assert (agreement.trailing or await transport.receive()) == b"rest"
    place = b"h:81" if url.startswith("ws:") else b"h:443"
    assert asked == [b"CONNECT %b HTTP/1.1\r\nHost: %b\r\nProxy-Authorization: Basic bWU6cHc=\r\n\r\n" % (place, place)]


async def test_a_proxy_behind_tls_has_a_context_of_its_own_or_the_client_s() -> None:
    gate, trusting_gate = certified("gate")
    server, trusting_server = certified("h")
    for url, proxy, tls in (
        ("wss://h/", Proxy("https://gate", tls=trusting_gate), trusting_server),
        ("ws://h/", Proxy("https://gate"), trusting_gate),
    ):
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            secured = trio.SSLStream(theirs, gate, server_side=True)
            nursery.start_soon(tunnelled, secured, server if url.startswith("wss") else None)
            transport, _ = await opened(ours, url, proxy=proxy, tls=tls)
            assert transport.tls
            nursery.cancel_scope.cancel()


async def test_a_proxy_is_connected_to_by_tcp() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery, listener:

        async def serve() -> None:
            async with await listener.accept() as stream:
                await tunnelled(stream, None)

        nursery.start_soon(serve)
        transport, _ = await opened(None, "ws://nowhere.invalid/", proxy=f"http://127.0.0.1:{port}")
        await transport.aclose()


async def test_a_proxy_that_refuses_is_told_and_the_stream_closed() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(b"HTTP/1.1 407 Who are you\r\nContent-Length: 2\r\n\r\nno")
    with pytest.raises(HandshakeError, match="the proxy") as caught:
        await opened(ours, proxy="http://gate")
    assert (caught.value.status, caught.value.body, caught.value.from_proxy) == (407, b"no", True)
    with pytest.raises(trio.ClosedResourceError):
        await ours.send_all(b"x")


async def test_a_stream_that_ends_in_the_tls_handshake_is_a_broken_connection() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.aclose()
    with pytest.raises(trio.BrokenResourceError, match="the TLS handshake with h failed"):
        await opened(ours, "wss://h/")
