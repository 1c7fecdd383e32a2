"""Streams as transports: in memory, over TLS, and streams that misbehave; and what becomes a transport of which kind.

Covers `trio_bunws._stream_transport` alone. Sockets are pairs and connections to this machine.
"""

# ruff: noqa: ARG001 - a clock is asked for so that time jumps

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
import trustme
from kernel_pairs import Sockets, reset, tcp_pair
from trio.testing import MockClock, memory_stream_pair

from trio_bunws._stream_transport import PIECE, StreamTransport, start_tls, take_over
from trio_bunws._transport import LINGER_BYTES, LINGER_TIME, SocketAddress, SocketTransport, Transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


class Streams:
    """A transport over one end of a stream in memory, and the other end."""

    def __init__(self) -> None:
        self.ours, self.peer = memory_stream_pair()
        self.transport = StreamTransport(self.ours)


async def test_a_stream_receives_what_comes_and_then_the_end() -> None:
    streams = Streams()
    transport = streams.transport
    assert (transport.direct, transport.tls, transport.remote) == (False, False, None)
    await streams.peer.send_all(bytearray(b"hello"))
    data = await transport.receive()
    assert data == b"hello"
    assert type(data) is bytes
    await streams.peer.aclose()
    assert await transport.receive() == b""
    await transport.aclose()


async def test_a_stream_is_written_to_when_settling_and_takes_one_write_at_a_time() -> None:
    streams = Streams()
    transport = streams.transport
    assert transport.try_write(memoryview(b"one")) == 3
    assert transport.try_write(b"two") == 0
    with trio.testing.assert_checkpoints():
        assert await transport.settle()
    assert await streams.peer.receive_some() == b"one"
    assert transport.try_write(b"two") == 3
    assert await transport.settle()
    with trio.testing.assert_checkpoints():
        assert await transport.settle()
    assert await streams.peer.receive_some() == b"two"


async def test_a_large_write_to_a_stream_settles_in_pieces() -> None:
    streams = Streams()
    transport = streams.transport
    data = bytes(range(256)) * (PIECE // 128) + b"end"
    assert transport.try_write(data) == len(data)
    assert not await transport.settle()
    assert transport.try_write(b"too early") == 0
    assert not await transport.settle()
    assert await transport.settle()
    assert await streams.peer.receive_some() == data


async def test_send_all_goes_straight_to_the_stream() -> None:
    streams = Streams()
    await streams.transport.send_all(b"response")
    assert await streams.peer.receive_some() == b"response"
    assert streams.transport.to_stream() is streams.ours


class Odd(trio.abc.Stream):
    """A user's stream: each method waits for ever, or raises what it is told to."""

    def __init__(self, **raising: BaseException) -> None:
        self.raising = raising
        self.calls: list[str] = []

    async def _do(self, name: str) -> None:
        self.calls.append(name)
        if name in self.raising:
            raise self.raising[name]
        await trio.sleep_forever()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:  # noqa: ARG002 - as a stream has it
        await self._do("receive_some")
        return b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:  # noqa: ARG002 - as a stream has it
        await self._do("send_all")

    async def wait_send_all_might_not_block(self) -> None:
        await self._do("wait_send_all_might_not_block")

    async def aclose(self) -> None:
        await self._do("aclose")


METHODS: dict[str, Callable[[StreamTransport], Awaitable[object]]] = {
    "receive": StreamTransport.receive,
    "send_all": lambda transport: transport.send_all(b"x"),
    "settle": StreamTransport.settle,
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("end", ["abort", "aclose"])
async def test_the_end_of_a_stream_wakes_who_waits(method: str, end: str, autojump_clock: MockClock) -> None:
    transport = StreamTransport(Odd())

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await METHODS[method](transport)

    with trio.fail_after(10 * LINGER_TIME):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            if end == "abort":
                transport.abort()
            else:
                await transport.aclose()
    with trio.testing.assert_checkpoints(), pytest.raises(trio.ClosedResourceError):
        await METHODS[method](transport)
    with pytest.raises(trio.BrokenResourceError):
        transport.try_write(b"x")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (trio.BrokenResourceError("lost"), trio.BrokenResourceError),
        (trio.ClosedResourceError("lost"), trio.ClosedResourceError),
        (ValueError("lost"), trio.BrokenResourceError),
        (OSError("lost"), trio.BrokenResourceError),
        (ExceptionGroup("lost", [ValueError()]), trio.BrokenResourceError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
async def test_whatever_a_stream_raises_is_a_lost_connection(
    method: str, raised: Exception, expected: type[Exception]
) -> None:
    transport = StreamTransport(Odd(receive_some=raised, send_all=raised))
    with pytest.raises(expected, match="lost"):
        await METHODS[method](transport)


async def test_an_abort_does_not_harm_a_call_that_is_over() -> None:
    streams = Streams()
    await streams.peer.send_all(b"x")
    await streams.transport.receive()
    assert not streams.transport._scopes


async def test_what_is_no_failure_passes_through() -> None:
    transport = StreamTransport(Odd(receive_some=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        await transport.receive()
    with trio.CancelScope() as scope:
        scope.cancel()
        await transport.send_all(b"x")
    assert scope.cancelled_caught


@pytest.mark.parametrize("aborted", [False, True])
@pytest.mark.parametrize(
    "raised", [trio.BrokenResourceError(), trio.ClosedResourceError(), ValueError("odd"), OSError("odd")], ids=repr
)
async def test_a_stream_that_fails_to_close_harms_nobody(
    raised: Exception, aborted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    stream = Odd(aclose=raised)
    transport = StreamTransport(stream)
    if aborted:
        transport.abort()
    await transport.aclose()
    await transport.aclose()
    assert stream.calls == ["aclose"] * (1 if aborted else 2)
    assert ("odd" in caplog.text) == ("odd" in str(raised))


async def test_a_stream_that_does_not_close_is_closed_forcefully(autojump_clock: MockClock) -> None:
    stream = Odd()
    transport = StreamTransport(stream)
    began = trio.current_time()
    await transport.aclose()
    assert trio.current_time() - began == LINGER_TIME
    assert stream.calls == ["aclose", "aclose"]


async def test_the_end_of_a_stream_is_closing_it() -> None:
    streams = Streams()
    await streams.transport.send_eof()
    assert await streams.peer.receive_some() == b""
    await streams.transport.aclose()


async def test_a_cancelled_closing_of_a_stream_closes_it() -> None:
    streams = Streams()
    with trio.CancelScope() as scope:
        scope.cancel()
        await streams.transport.aclose()
    assert await streams.peer.receive_some() == b""
    with pytest.raises(trio.ClosedResourceError):
        await streams.transport.receive()


# Taking over


async def test_a_socket_stream_gives_up_its_socket() -> None:
    ours, peer = tcp_pair()
    with peer:
        address, port = peer.getsockname()
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        transport = take_over(stream)
        assert isinstance(transport, SocketTransport)
        assert transport.remote == SocketAddress(address, "IPv4", port)
        assert stream.socket.fileno() == -1
        sock = transport._socket
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        fresh = socket.socket()
        with fresh:
            option = (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
            assert sock.getsockopt(*option) == fresh.getsockopt(*option), "trio's makes the kernel refuse early"
        transport.abort()


async def test_a_socket_stream_whose_peer_is_gone_is_taken_over_without_an_address() -> None:
    ours, peer = tcp_pair()
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    reset(peer)
    transport = take_over(stream)
    assert transport.remote is None
    transport.abort()


async def test_a_unix_socket_is_taken_over_without_an_address() -> None:
    ours, peer = socket.socketpair()
    with peer:
        transport = take_over(trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
        assert isinstance(transport, SocketTransport)
        assert transport.remote is None
        transport.abort()


async def test_other_streams_are_used_as_they_are(server_context: ssl.SSLContext) -> None:
    ours, _ = memory_stream_pair()
    transport = take_over(ours)
    assert isinstance(transport, StreamTransport)
    assert not transport.tls
    secured = take_over(trio.SSLStream(ours, server_context, server_side=True))
    assert isinstance(secured, StreamTransport)
    assert secured.tls
    assert secured.remote is None


async def test_tls_over_a_socket_has_the_sockets_address(server_context: ssl.SSLContext) -> None:
    ours, peer = tcp_pair()
    host, port = peer.getsockname()
    stream = trio.SSLStream(trio.SocketStream(trio.socket.from_stdlib_socket(ours)), server_context, server_side=True)
    assert take_over(stream).remote == SocketAddress(host, "IPv4", port)
    reset(peer)
    transport = take_over(stream)
    assert transport.remote is None
    transport.abort()
    await transport.aclose()


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def secure(stream: trio.abc.Stream, context: ssl.SSLContext) -> trio.SSLStream[trio.abc.Stream]:
    return trio.SSLStream(stream, context, server_hostname="localhost", https_compatible=True)


@pytest.mark.parametrize("over", ["socket", "stream"])
async def test_tls_is_spoken_over_any_transport(
    over: str, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    transport: Transport
    other: trio.abc.Stream
    if over == "socket":
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        transport = SocketTransport(ours, SocketAddress("192.0.2.1", "IPv4", 5))
        other = trio.SocketStream(trio.socket.from_stdlib_socket(peer))
    else:
        stream, other = memory_stream_pair()
        transport = StreamTransport(stream, SocketAddress("192.0.2.1", "IPv4", 5))
    client = secure(other, client_context)
    secured: list[Transport] = []

    async def serve() -> None:
        secured.append(await start_tls(transport, server_context, 10))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await client.do_handshake()
    (server,) = secured
    assert (server.tls, server.direct, server.remote) == (True, False, transport.remote)
    await client.send_all(b"question")
    assert await server.receive() == b"question"
    await server.send_all(b"answer")
    assert await client.receive_some() == b"answer"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.aclose)
        assert await client.receive_some() == b""
        await client.aclose()
    await transport.aclose()


class Secured:
    """TLS over a kernel socket: the server's transport, and the client's stream and socket below it."""

    def __init__(self, server: Transport, client: trio.SSLStream[trio.abc.Stream], sockets: Sockets) -> None:
        self.server = server
        self.client = client
        self.sockets = sockets


@pytest.fixture
async def secured(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext, nursery: trio.Nursery
) -> AsyncIterator[Secured]:
    sockets = Sockets()
    below = trio.SocketStream(trio.socket.from_stdlib_socket(sockets.peer.dup()))
    client = secure(below, client_context)
    nursery.start_soon(client.do_handshake)
    server = await start_tls(sockets.transport, server_context, 10)
    with sockets.peer:
        yield Secured(server, client, sockets)
    await trio.aclose_forcefully(below)
    server.abort()
    await server.aclose()


async def test_closing_tls_over_a_socket_sends_the_end_at_once_and_waits_for_the_peer_s(
    secured: Secured, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    server, client = secured.server, secured.client
    began = trio.current_time()
    await server.send_all(b"bye")
    closed = trio.Event()

    async def close() -> None:
        await server.aclose()
        closed.set()

    nursery.start_soon(close)
    await trio.testing.wait_all_tasks_blocked()
    await client.send_all(b"late input, which must not cause a reset")
    await trio.testing.wait_all_tasks_blocked()
    assert not closed.is_set()
    assert await client.receive_some() == b"bye"
    assert await client.receive_some() == b""
    secured.sockets.peer.shutdown(socket.SHUT_WR)
    await closed.wait()
    assert trio.current_time() == began


async def test_closing_tls_waits_for_a_silent_peer_so_long_and_no_longer(
    secured: Secured, autojump_clock: MockClock
) -> None:
    began = trio.current_time()
    await secured.server.aclose()
    assert trio.current_time() - began == LINGER_TIME
    await secured.server.send_eof()  # says nothing to a socket that is closed


async def test_closing_tls_reads_no_more_than_so_much(monkeypatch: pytest.MonkeyPatch, secured: Secured) -> None:
    reads = 0

    async def receive_some(_self: trio.SocketStream, _max_bytes: int | None = None) -> bytes:
        nonlocal reads
        reads += 1
        await trio.lowlevel.checkpoint()
        return bytes(2**20)

    monkeypatch.setattr(trio.SocketStream, "receive_some", receive_some)
    await secured.server.aclose()
    assert reads == LINGER_BYTES / 2**20


async def test_the_end_of_tls_after_an_abort_comes_behind_what_was_handed_just_before(secured: Secured) -> None:
    assert secured.server.try_write(b"last words") == 10
    secured.server.abort()
    await secured.server.send_eof()
    await secured.server.aclose()
    assert await secured.client.receive_some() == b"last words"


async def test_the_end_of_tls_over_a_socket_can_be_sent_before_the_peer_s_has_come(secured: Secured) -> None:
    await secured.server.send_eof()
    await secured.client.send_all(b"the answer")
    assert await secured.client.receive_some() == b""
    assert await secured.server.receive() == b"the answer"


async def test_closing_tls_while_another_task_reads_ends_that(secured: Secured) -> None:
    async def read() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await secured.server.receive()

    async with trio.open_nursery() as readers:
        readers.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await secured.server.aclose()


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"", b"\x16\x03\x01\x00\x05garbage" * 100])
async def test_a_handshake_that_fails_is_a_lost_connection_and_closes_it(
    data: bytes, server_context: ssl.SSLContext
) -> None:
    ours, peer = memory_stream_pair()
    await peer.send_all(data)
    if not data:
        await peer.send_eof()
    with pytest.raises(trio.BrokenResourceError, match=r"."):
        await start_tls(StreamTransport(ours), server_context, 10)
    with pytest.raises(trio.ClosedResourceError):
        await ours.send_all(b"x")


async def test_a_handshake_that_takes_too_long_is_given_up(
    server_context: ssl.SSLContext, autojump_clock: MockClock
) -> None:
    sockets = Sockets()
    began = trio.current_time()
    with sockets.peer, pytest.raises(trio.BrokenResourceError, match="took more than 7 s"):
        await start_tls(sockets.transport, server_context, 7)
    assert trio.current_time() - began == 7


async def test_a_cancelled_handshake_closes_the_connection(server_context: ssl.SSLContext) -> None:
    sockets = Sockets()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(start_tls, sockets.transport, server_context, 10)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    with sockets.peer:
        assert sockets.at_end()


@pytest.mark.parametrize("closing", [None, OSError("odd close")])
@pytest.mark.parametrize("raised", [ValueError("odd"), OSError("odd"), trio.ClosedResourceError("odd")], ids=repr)
async def test_a_handshake_over_a_stream_that_raises_anything_is_a_lost_connection(
    raised: Exception, closing: Exception | None, server_context: ssl.SSLContext
) -> None:
    stream = Odd(receive_some=raised, **({} if closing is None else {"aclose": closing}))
    with pytest.raises(trio.BrokenResourceError, match=r"^odd$"):
        await start_tls(StreamTransport(stream), server_context, 10)
    assert stream.calls[-1] == "aclose"


async def test_a_context_that_is_no_server_s_is_a_lost_connection_and_closes_it(client_context: ssl.SSLContext) -> None:
    ours, peer = memory_stream_pair()
    with pytest.raises(trio.BrokenResourceError, match="PROTOCOL_TLS_CLIENT"):
        await start_tls(StreamTransport(ours), client_context, 10)
    assert await peer.receive_some() == b""


# The last bytes before an abort


async def test_what_was_handed_just_before_an_abort_is_offered_once() -> None:
    ours, theirs = memory_stream_pair()
    transport = StreamTransport(ours)
    transport.try_write(b"last words")
    transport.abort()
    with pytest.raises(trio.ClosedResourceError):
        await transport.settle()
    await transport.aclose()
    assert await theirs.receive_some() == b"last words"
    assert await theirs.receive_some() == b""


async def test_the_offer_does_not_wait_for_a_peer_that_does_not_read() -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    transport = StreamTransport(ours)
    transport.try_write(b"last words")
    transport.abort()
    await transport.aclose()
    assert await theirs.receive_some() in (b"", b"last words")


async def test_what_may_be_written_in_part_is_not_offered_again() -> None:
    ours, theirs = memory_stream_pair()
    transport = StreamTransport(ours)
    transport.try_write(bytes(PIECE) + b"rest")
    assert not await transport.settle()
    transport.abort()
    await transport.aclose()
    assert await theirs.receive_some() == bytes(PIECE)
    assert await theirs.receive_some() == b""


async def test_a_stream_that_fails_at_the_offer_is_closed_all_the_same() -> None:
    ours, theirs = memory_stream_pair()
    await theirs.aclose()
    transport = StreamTransport(ours)
    transport.try_write(b"last words")
    transport.abort()
    await transport.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await ours.send_all(b"")


async def test_a_cancelled_closing_still_offers_and_closes() -> None:
    ours, theirs = memory_stream_pair()
    transport = StreamTransport(ours)
    transport.try_write(b"last words")
    transport.abort()
    with trio.CancelScope() as scope:
        scope.cancel()
        await transport.aclose()
    assert await theirs.receive_some() == b"last words"
    assert await theirs.receive_some() == b""
