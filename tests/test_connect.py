"""A client's way to an open connection, alone: over given streams, and what is closed when it fails."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
import trustme

from trio_bunws import HandshakeError, RemoteProtocolError
from trio_bunws._connect import BODY_TIME, open_websocket
from trio_bunws._url import parse_url
from trio_bunws._wire.http import RequestHead
from trio_bunws._wire.upgrade import accept_token
from trio_bunws.testing import RawPeer, cut
from trio_bunws.testing._memory import MemoryStream

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_bunws._transport import Transport
    from trio_bunws._wire.opening import Opened


async def opened(stream: trio.abc.Stream | None, url: str = "ws://h/") -> tuple[Transport, Opened]:
    return await open_websocket(parse_url(url), (), None, ssl.create_default_context(), stream)


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
    with pytest.raises(trio.BrokenResourceError):
        await opened(ours, "wss://h/")
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
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("h").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept, RawPeer(trio.SSLStream(theirs, context, server_side=True)))
        transport, _ = await open_websocket(parse_url("wss://h/"), (), None, trusting, ours)
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
