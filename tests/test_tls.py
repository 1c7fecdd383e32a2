"""TLS from end to end: `serve(tls=...)` on real sockets, with clients that behave and clients that do not.

Transports over TLS are `test_transport.py`'s; here whole servers run, and no test may leave an error in the log. Where
a time matters the clock is a mock one, which stands still until the test moves it.
"""

from __future__ import annotations

import logging
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest
import trio
import trio_websocket
from certificates import Certified, certified
from patience import until
from playground import Socket, settled
from websockets.sync.client import connect as connect_websockets

from trio_bunws import (
    CloseInfo,
    HandshakeError,
    Limits,
    Request,
    Response,
    Server,
    ServerWebSocket,
    WebSocket,
    WebSocketHandler,
    open_server,
    serve,
)
from trio_bunws._close import CloseFrame
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from trio.testing import MockClock

Stream: TypeAlias = "trio.SSLStream[trio.SocketStream]"

LOST = (trio.BrokenResourceError, ConnectionError)
HANDSHAKE_TIMEOUT: Final = 7.0
KERNEL: Final = 8 * 1024
"""Socket buffers that hold little, so that backpressure comes soon."""


@pytest.fixture(name="tls", scope="module")
def make_contexts() -> Certified:
    return certified("localhost", "127.0.0.1")


@pytest.fixture(autouse=True)
def _no_error_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


async def connect_tcp(server: Server[Any]) -> trio.SocketStream:
    """Connect, and say nothing."""
    assert server.port is not None
    return await trio.open_tcp_stream("127.0.0.1", server.port)


async def connect(server: Server[Any], context: ssl.SSLContext, name: str = "localhost") -> Stream:
    """Connect with TLS."""
    stream = await connect_tcp(server)
    secured = trio.SSLStream(stream, context, server_hostname=name, https_compatible=True)
    try:
        await secured.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secured


def client(server: Server[Any], tls: Certified, path: str = "/") -> WebSocket:
    """Make a client of our own."""
    return WebSocket(f"wss://127.0.0.1:{server.port}{path}", tls=tls.client)


async def chat(server: Server[Any], tls: Certified) -> None:
    """Open a WebSocket, have a message echoed and close it."""
    async with client(server, tls) as ws:
        ws.send("hello?")
        assert await ws.receive() == "hello?"
        ws.close(1000)
        assert (await ws.closed()).code == 1000


async def received(stream: trio.abc.ReceiveStream) -> bytes:
    """Return all that comes before the end, however that is."""
    data = bytearray()
    try:
        while some := await stream.receive_some():
            data += some
    except trio.BrokenResourceError:
        pass
    return bytes(data)


async def has_connections(server: Server[Any], count: int) -> None:
    """Wait until the server has so many."""
    await until(lambda: server.statistics().connections == count)


def echo(ws: Socket, message: str | bytes) -> None:
    ws.send(message)


class Log(list[Any]):
    """What happened; its methods are handlers."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = trio.Event()
        self.sockets: list[Socket] = []

    def open(self, ws: Socket) -> None:
        self.sockets.append(ws)

    def drain(self, _ws: Socket) -> None:
        self.append("drain")

    def close(self, _ws: Socket, code: int, reason: str) -> None:
        self.append((code, reason))
        self.closed.set()

    @property
    def handler(self) -> WebSocketHandler[Any]:
        """Handlers that echo and write down."""
        return WebSocketHandler(open=self.open, message=echo, drain=self.drain, close=self.close)


ECHO: Final[WebSocketHandler[Any]] = WebSocketHandler(message=echo)


def fetch(request: Request, server: Server[Any]) -> Response | None:
    """Tell the request's URL and peer, over a WebSocket if that is asked for."""
    address = server.request_ip(request)
    text = f"{request.url} of {address and address.address}"
    return None if server.upgrade(request, data=text) else Response(text)


# Exchanging messages


async def test_sockets_exchange_and_publish_at_once(tls: Certified) -> None:
    names = ["Ada", "Grace", "Linus", "Guido", "Barbara"]
    rounds = 50

    def upgrade(request: Request, server: Server[str]) -> Response | None:
        assert server.upgrade(request, data=request.query["name"])
        return None

    def opened(ws: ServerWebSocket[str]) -> None:
        ws.subscribe("room")

    def message(ws: ServerWebSocket[str], message: str | bytes) -> None:
        ws.publish("room", f"{ws.data} {message!s}")
        ws.send(f"me {message!s}")

    heard: dict[str, list[str]] = {name: [] for name in names}
    opened_by_all = trio.Event()
    ready = 0

    async def take_part(name: str) -> None:
        nonlocal ready
        async with client(server, tls, f"/?name={name}") as ws:
            ready += 1
            if ready == len(names):
                opened_by_all.set()
            await opened_by_all.wait()
            for number in range(rounds):
                ws.send(str(number))
            while (text := await ws.receive()) != "over":
                heard[name].append(str(text))
                if sum(map(len, heard.values())) == rounds * len(names) ** 2:
                    assert server.subscriber_count("room") == len(names)
                    server.publish("room", "over")

    handler = WebSocketHandler(open=opened, message=message)
    async with open_server(upgrade, handler, port=0, tls=tls.server) as server, trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(take_part, name)
    for name in names:
        for speaker in names:
            prefix = "me " if speaker == name else f"{speaker} "
            said = [text.removeprefix(prefix) for text in heard[name] if text.startswith(prefix)]
            assert said == [str(number) for number in range(rounds)]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_big_messages_both_ways(version: ssl.TLSVersion) -> None:
    tls = certified("127.0.0.1")
    tls.client.minimum_version = tls.client.maximum_version = version
    binary = bytes(range(251)) * 16_000 + b"the end"  # 251: no piece of it looks like the next
    text = "zażółć 🚀 " * 100_000
    async with open_server(None, ECHO, port=0, tls=tls.server) as server, client(server, tls) as ws:
        assert ws.send(binary) == len(binary)
        assert ws.send(text) == -1  # behind what has not left yet
        assert await ws.receive() == binary
        assert await ws.receive() == text


async def listen_small() -> trio.SocketListener:
    """Listen with small send buffers, which accepted sockets inherit."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL)
    await sock.bind(("127.0.0.1", 0))
    sock.listen()
    return trio.SocketListener(sock)


async def test_a_client_that_stops_reading_meets_the_limit_and_gets_all_that_was_accepted(
    tls: Certified, nursery: trio.Nursery
) -> None:
    def numbered(number: int) -> bytes:
        return number.to_bytes(4, "big") + bytes(4 * KERNEL - 4)

    limit = 5 * len(numbered(0))
    log = Log()
    handler = log.handler.with_backpressure_limit(limit)
    async with open_server(None, handler, listeners=[await listen_small()], tls=tls.server) as server:
        assert server.port is not None
        sock = trio.socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL)
        await sock.connect(("127.0.0.1", server.port))
        stream = trio.SSLStream(trio.SocketStream(sock), tls.client, server_hostname="localhost", https_compatible=True)
        async with RawPeer(stream) as peer:
            await peer.upgrade()
            await settled()  # the writer is idle
            (ws,) = log.sockets

            # Nothing is unsent by the first call, and the limit is passed by one message at most.
            statuses = [int(ws.send(numbered(number))) for number in range(8)]
            assert statuses == [len(numbered(0)), -1, -1, -1, -1, -1, 0, 0]
            accepted = list(range(6))
            # Until the kernel takes no more either.
            number = 100
            while True:
                await settled()
                if ws.send(numbered(number)) == 0:
                    break
                accepted.append(number)
                number += 1
            assert ws.get_buffered_amount() > limit
            assert ws.statistics().drops == 3

            drained = trio.Event()

            async def wait_drained() -> None:
                await ws.drained()
                drained.set()

            nursery.start_soon(wait_drained)
            await settled()
            assert not drained.is_set()

            await chat(server, tls)  # nobody else is kept waiting
            log.clear()
            for number in accepted:
                assert await peer.receive() == (2, numbered(number), True, 0)
            await drained.wait()
            assert ws.get_buffered_amount() == 0
            assert set(log) == {"drain"}
            assert ws.send("again") == 5
            assert await peer.receive_text() == "again"


async def test_a_close_leaves_behind_what_a_slow_reader_has_not_read(tls: Certified) -> None:
    log = Log()
    async with open_server(None, log.handler, listeners=[await listen_small()], tls=tls.server) as server:
        async with RawPeer(await connect(server, tls.client)) as peer:
            await peer.upgrade()
            (ws,) = log.sockets
            payload = bytes(range(250)) * 16_000
            ws.send(payload)
            ws.send("last words")
            ws.close(4000, "enough")
            await settled()
            assert await peer.receive() == (2, payload, True, 0)
            assert await peer.receive_text() == "last words"
            assert await peer.receive_close() == (4000, "enough")
            assert log.closed.is_set() is False  # the peer has not answered
            await peer.send_close(4000, "enough")
            await peer.receive_eof()
        await log.closed.wait()
    assert log[-1] == (4000, "enough")


# URLs and other people's clients


async def test_urls_are_https_and_the_peer_is_known(tls: Certified) -> None:
    def opened(ws: ServerWebSocket[str]) -> None:
        ws.send(f"{ws.data} {ws.request.url} {ws.remote_address}")

    handler: WebSocketHandler[Any] = WebSocketHandler(open=opened)
    async with open_server(fetch, handler, port=0, tls=tls.server) as server:
        assert server.url == f"https://127.0.0.1:{server.port}/"
        stream = await connect(server, tls.client)
        await stream.send_all(b"GET /a?b=c HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n")
        assert (await received(stream)).endswith(b"\r\n\r\nhttps://example.org/a?b=c of 127.0.0.1")
        await stream.aclose()
        async with client(server, tls, "/chat") as ws:
            url = f"https://127.0.0.1:{server.port}/chat"
            assert await ws.receive() == f"{url} of 127.0.0.1 {url} 127.0.0.1"


@pytest.mark.parametrize("https_compatible", [True, False])
async def test_listeners_with_tls_are_served_as_well(tls: Certified, https_compatible: bool) -> None:
    listeners = await trio.open_ssl_over_tcp_listeners(
        0, tls.server, host="127.0.0.1", https_compatible=https_compatible
    )
    handler: WebSocketHandler[Any] = WebSocketHandler(
        open=lambda ws: ws.send(f"{ws.remote_address}"), message=lambda ws, message: ws.send(message)
    )
    async with open_server(None, handler, listeners=listeners) as server:
        assert server.url == f"https://127.0.0.1:{server.port}/"
        async with client(server, tls) as ws:
            assert await ws.receive() == "127.0.0.1"
            ws.send("hello?")
            assert await ws.receive() == "hello?"


async def test_trio_websocket_is_served(tls: Certified) -> None:
    log = Log()
    async with open_server(None, log.handler, port=0, tls=tls.server) as server:
        async with trio_websocket.open_websocket_url(f"wss://127.0.0.1:{server.port}/", tls.client) as ws:
            await ws.send_message("hello?")
            assert await ws.get_message() == "hello?"
            await ws.send_message(b"\x00" * 1_000_000)
            assert await ws.get_message() == b"\x00" * 1_000_000
        await log.closed.wait()
    assert log[-1] == (1000, "")


async def test_websockets_is_served(tls: Certified) -> None:
    log = Log()

    def talk(url: str) -> None:
        with connect_websockets(url, ssl=tls.client, proxy=None) as ws:
            ws.send("hello?")
            assert ws.recv() == "hello?"
            ws.send(b"\x00" * 1_000_000)
            assert ws.recv() == b"\x00" * 1_000_000

    async with open_server(None, log.handler, port=0, tls=tls.server) as server:
        await trio.to_thread.run_sync(talk, f"wss://127.0.0.1:{server.port}/")
        await log.closed.wait()
    assert log[-1] == (1000, "")


# Certificates


async def test_the_context_s_own_sni_callback_chooses_the_certificate() -> None:
    one, other = certified("one.example"), certified("other.example")
    asked: list[str | None] = []

    def choose(ssl_object: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
        asked.append(name)
        if name == "other.example":
            ssl_object.context = other.server
        elif name != "one.example":
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        return None

    one.server.sni_callback = choose
    async with open_server(None, ECHO, port=0, tls=one.server) as server:
        for name, trusting in ("one.example", one), ("other.example", other):
            url = f"wss://{name}:{server.port}/"
            async with WebSocket(url, tls=trusting.client, stream=await connect_tcp(server)) as ws:
                ws.send(name)
                assert await ws.receive() == name
        with pytest.raises(LOST):
            await connect(server, one.client, "third.example")
        with pytest.raises(trio.BrokenResourceError) as wrong:
            await connect(server, other.client, "one.example")  # signed by somebody else
        assert isinstance(wrong.value.__cause__, ssl.SSLCertVerificationError)
        await (await connect(server, one.client, "one.example")).aclose()
    assert asked == ["one.example", "other.example", "third.example", "one.example", "one.example"]


# Peers that leave


async def end_of_stream(stream: Stream) -> None:
    await stream.transport_stream.aclose()


async def reset(stream: Stream) -> None:
    stream.transport_stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.transport_stream.aclose()


async def close_notify(stream: Stream) -> None:
    await stream.aclose()


async def damage(stream: Stream) -> None:
    await stream.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))  # a record that nobody has encrypted
    await received(stream.transport_stream)
    await stream.transport_stream.aclose()


async def half_a_record(stream: Stream) -> None:
    await stream.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + bytes(16))
    await stream.transport_stream.aclose()


@pytest.mark.parametrize("leave", [end_of_stream, reset, close_notify, damage, half_a_record])
@pytest.mark.parametrize("unsent", [False, True])
async def test_a_peer_that_leaves_without_a_close_is_1006(
    leave: Callable[[Stream], Awaitable[None]], unsent: bool, tls: Certified
) -> None:
    log = Log()
    async with open_server(None, log.handler, listeners=[await listen_small()], tls=tls.server) as server:
        stream = await connect(server, tls.client)
        await RawPeer(stream).upgrade()
        if unsent:
            (ws,) = log.sockets
            ws.send(bytes(8_000_000))
            assert ws.send(bytes(1_000)) == -1
            await settled()
        await leave(stream)
        await log.closed.wait()
        assert [entry for entry in log if entry != "drain"] == [(1006, "")]
        await has_connections(server, 0)
        await chat(server, tls)


# Handshakes that do not complete


def hello() -> bytes:
    """Return the first bytes of a client."""
    out = ssl.MemoryBIO()
    starting = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        starting.do_handshake()
    return out.read()


@pytest.mark.parametrize("said", ["nothing", "half", "all, and no answer"])
async def test_an_unfinished_handshake_is_dropped_in_time_and_keeps_nobody_waiting(
    said: str, tls: Certified, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first = hello()
    log = Log()
    limits = Limits(handshake_timeout=HANDSHAKE_TIMEOUT)
    async with open_server(None, log.handler, port=0, tls=tls.server, limits=limits) as server:
        async with client(server, tls) as other:
            stream = await connect_tcp(server)
            await stream.send_all({"nothing": b"", "half": first[:-100]}.get(said, first))
            await has_connections(server, 2)
            await chat(server, tls)
            mock_clock.jump(HANDSHAKE_TIMEOUT / 2)
            if said == "half":
                await stream.send_all(first[-100:-99])  # which earns no more time
            other.send("still here?")
            assert await other.receive() == "still here?"
            assert server.statistics().connections == 2
            mock_clock.jump(HANDSHAKE_TIMEOUT / 2)
            assert b"HTTP" not in await received(stream)
            await stream.aclose()
            await has_connections(server, 1)
            [record] = caplog.records
            assert f"took more than {HANDSHAKE_TIMEOUT} s" in record.getMessage()
            other.send("and now?")
            assert await other.receive() == "and now?"
        await chat(server, tls)
    assert log == [(1000, ""), (1005, ""), (1000, "")]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        RawPeer.request(),
        bytes(range(256)),
        b"\x16\x03\x01\xff\xff" + bytes(64),
        b"\x00",
        b"",
    ],
    ids=["HTTP", "WebSocket", "garbage", "a record too long", "one byte", "nothing"],
)
async def test_what_is_no_client_hello_gets_no_plain_answer_and_harms_nobody(data: bytes, tls: Certified) -> None:
    def never(request: Request, server: Server[Any]) -> Response | None:
        assert request.url.startswith("https://127.0.0.1:")
        assert server.upgrade(request)
        return None

    async with open_server(never, ECHO, port=0, tls=tls.server) as server, client(server, tls) as other:
        stream = await connect_tcp(server)
        await stream.send_all(data)
        await stream.send_eof()
        answer = await received(stream)
        assert answer == b"" or answer.startswith(b"\x15\x03")  # an alert at most
        await stream.aclose()
        await has_connections(server, 1)
        other.send("still here?")
        assert await other.receive() == "still here?"
        await chat(server, tls)


# Limits and the end


async def test_one_connection_too_many_is_refused_without_a_word(
    tls: Certified, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_server(None, ECHO, port=0, tls=tls.server, limits=Limits(max_connections=1)) as server:
        async with client(server, tls) as first:
            with pytest.raises(LOST):
                await connect(server, tls.client)
            plain = await connect_tcp(server)
            assert await received(plain) == b""  # nor anything that is no TLS
            await plain.aclose()
            with pytest.raises(LOST):
                async with client(server, tls):
                    raise AssertionError
            first.send("still here?")
            assert await first.receive() == "still here?"
        assert {record.levelname for record in caplog.records} == {"WARNING"}
        await has_connections(server, 0)
        await chat(server, tls)


async def test_an_unfinished_handshake_counts_until_it_is_dropped(tls: Certified, mock_clock: MockClock) -> None:
    limits = Limits(max_connections=1, handshake_timeout=HANDSHAKE_TIMEOUT)
    async with open_server(None, ECHO, port=0, tls=tls.server, limits=limits) as server:
        silent = await connect_tcp(server)
        await has_connections(server, 1)
        with pytest.raises(LOST):
            await connect(server, tls.client)
        mock_clock.jump(HANDSHAKE_TIMEOUT)
        assert await received(silent) == b""
        await silent.aclose()
        await has_connections(server, 0)
        await chat(server, tls)


async def test_stopping_closes_sockets_with_1001_and_ends_all_others(tls: Certified, nursery: trio.Nursery) -> None:
    log = Log()
    server: Server[Any] = await nursery.start(
        lambda task_status: serve(fetch, log.handler, port=0, tls=tls.server, task_status=task_status)
    )
    silent = await connect_tcp(server)
    kept = await connect(server, tls.client)
    await kept.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b" 200 " in await kept.receive_some()
    raw = RawPeer(await connect(server, tls.client))
    await raw.upgrade()
    async with client(server, tls) as ws:
        await has_connections(server, 4)
        stopping = server.stop(True)
        told = (1001, "Server closed")
        assert await ws.closed() == CloseInfo(*told, sent=CloseFrame(*told), received=CloseFrame(*told))
    assert await raw.receive_close() == (1001, "Server closed")
    await raw.send_close(1001)
    await raw.receive_eof()
    for stream in silent, kept, raw.stream:
        assert await received(stream) == b""
        await stream.aclose()
    await stopping
    assert log == [(1001, "Server closed")] * 2
    with pytest.raises(OSError, match="connect"):
        await connect_tcp(server)


async def test_a_refused_upgrade_tells_so_over_tls(tls: Certified) -> None:
    def forbid(_request: Request, _server: Server[Any]) -> Response:
        return Response("members only", 403)

    async with open_server(forbid, ECHO, port=0, tls=tls.server) as server:
        with pytest.raises(HandshakeError) as refusal:
            async with client(server, tls):
                raise AssertionError
    assert (refusal.value.status, refusal.value.body) == (403, b"members only")
