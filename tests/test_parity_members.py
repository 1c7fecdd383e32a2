"""Members of docs/parity.md that no other test shows by name, each in its plainest use.

What they do in each case is tested elsewhere; this file is for who comes from Bun or brioche and looks a name up.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, assert_never, get_args

import pytest
import trio
import trio.testing
from attrs.exceptions import FrozenInstanceError
from playground import playground

from trio_bunws import (
    BrokerError,
    BunwsError,
    CloseFrame,
    CloseInfo,
    Compressor,
    ConnectionClosed,
    HandshakeError,
    Headers,
    LocalProtocolError,
    MessageBackpressured,
    MessageDropped,
    MessageSent,
    PerMessageDeflate,
    ReadyState,
    RemoteProtocolError,
    Request,
    Response,
    SendStatus,
    Server,
    ServerStatistics,
    ServerWebSocket,
    SocketAddress,
    SocketStatistics,
    WebSocketHandler,
    open_server,
    serve,
)
from trio_bunws.testing import RawPeer, open_pair, stalled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
Socket = ServerWebSocket[Any]


def hello(_request: Request, _server: Server[Any]) -> Response:
    return Response("Hello HTTP")


async def get(server: Server[Any], path: str = "/") -> str:
    """Ask a server on a TCP port for a page."""
    assert server.port is not None
    async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
        await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join([part async for part in stream])
    return answer.decode().partition("\r\n\r\n")[2]


# Serving


async def test_serve_is_a_task_that_can_be_waited_for_by_its_task_status() -> None:
    async def app(task_status: trio.TaskStatus[Server[Any]] = trio.TASK_STATUS_IGNORED) -> None:
        await serve(hello, port=0, task_status=task_status)

    async with trio.open_nursery() as nursery:
        server: Server[Any] = await nursery.start(app)
        assert await get(server) == "Hello HTTP"
        await server.stop()


async def test_a_server_listens_on_this_machine_only_unless_told_otherwise() -> None:
    async with open_server(hello, port=0) as server:
        assert server.hostname == "127.0.0.1"
        assert server.url == f"http://127.0.0.1:{server.port}/"
    async with open_server(hello, hostname="0.0.0.0", port=0) as server:
        assert server.hostname == "0.0.0.0"
        assert await get(server) == "Hello HTTP"


async def test_request_ip_is_the_clients_socket_address() -> None:
    asked: list[Request] = []

    def fetch(request: Request, server: Server[Any]) -> Response:
        asked.append(request)
        found = server.request_ip(request)
        assert isinstance(found, SocketAddress)
        return Response(f"{found.address} {found.family} {found.port > 0}")

    async with open_server(fetch, port=0) as server:
        assert await get(server) == "127.0.0.1 IPv4 True"
        after = server.request_ip(asked[0])
        assert after is not None
        assert after.address == "127.0.0.1"
        with pytest.raises(FrozenInstanceError):
            after.port = 1  # type: ignore[misc]  # what is tested


async def test_pending_requests_and_websockets_are_those_under_way() -> None:
    async def fetch(request: Request, server: Server[Any]) -> Response | None:
        if server.upgrade(request):
            return None
        assert (server.pending_requests, server.pending_websockets) == (1, 1)
        return Response("counted")

    async with playground(WebSocketHandler(), fetch) as place:
        assert (place.server.pending_requests, place.server.pending_websockets) == (0, 0)
        async with await place.open() as peer, await place.connect() as other:
            await other.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await other.receive_until(b"counted")
            assert (place.server.pending_requests, place.server.pending_websockets) == (0, 1)
            await peer.send_close(1000)
            assert await peer.receive_close() == (1000, "")


async def test_the_data_of_an_upgrade_is_that_of_its_socket() -> None:
    def fetch(request: Request, server: Server[list[str]]) -> Response | None:
        cookies = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        upgraded = server.upgrade(request, data=[request.path], headers=cookies)
        assert not server.upgrade(request, data=[])
        return None if upgraded else Response("no WebSocket", 400)

    def message(ws: ServerWebSocket[list[str]], message: str | bytes) -> None:
        ws.data.append(str(message))
        ws.send(" ".join(ws.data))
        ws.data = ["replaced"]

    async with playground(WebSocketHandler(message=message), fetch) as place, await place.connect() as peer:
        head = await peer.upgrade("/path")
        assert head["set-cookie"] == "a=1, b=2"
        await peer.send_text("first")
        await peer.send_text("second")
        assert await peer.receive_text() == "/path first"
        assert await peer.receive_text() == "replaced second"


# Handlers


def test_the_fluent_form_builds_what_keywords_build() -> None:
    def handler(*_: object) -> None: ...

    async def session(_ws: Socket) -> None: ...

    fluent: WebSocketHandler[Any] = WebSocketHandler()
    deflate = PerMessageDeflate(compress="dedicated")
    assert (
        fluent.on_open(handler)
        .on_message(handler)
        .on_text(handler)
        .on_binary(handler)
        .on_drain(handler)
        .on_close(handler)
        .on_ping(handler)
        .on_pong(handler)
        .on_error(handler)
        .with_max_payload_length(1)
        .with_backpressure_limit(2)
        .with_close_on_backpressure_limit(True)
        .with_idle_timeout(3)
        .with_publish_to_self(True)
        .with_send_pings(False)
        .with_per_message_deflate(deflate)
        .with_max_inbox(4)
    ) == WebSocketHandler(
        open=handler,
        message=handler,
        text=handler,
        binary=handler,
        drain=handler,
        close=handler,
        ping=handler,
        pong=handler,
        error=handler,
        max_payload_length=1,
        backpressure_limit=2,
        close_on_backpressure_limit=True,
        idle_timeout=3,
        publish_to_self=True,
        send_pings=False,
        per_message_deflate=deflate,
        max_inbox=4,
    )
    assert fluent.on_bytes(handler) == WebSocketHandler(binary=handler)
    assert fluent.on_session(session) == WebSocketHandler(session=session)
    assert fluent == WebSocketHandler()


async def test_on_text_and_on_bytes_split_messages_by_their_kind() -> None:
    def text(ws: Socket, message: str) -> None:
        ws.send_text(f"text {message}")

    def binary(ws: Socket, message: bytes) -> None:
        ws.send_binary(b"binary " + message)

    handler: WebSocketHandler[Any] = WebSocketHandler().on_text(text).on_bytes(binary)
    assert (handler.text, handler.binary, handler.message) == (text, binary, None)
    async with playground(handler) as place, await place.open() as peer:
        await peer.send_text("a")
        await peer.send_binary(b"b")
        assert await peer.receive_text() == "text a"
        assert (await peer.receive())[:2] == (BINARY, b"binary b")


@pytest.mark.parametrize("compressor", get_args(Compressor))
async def test_every_compressor_of_bun_may_be_chosen_for_each_direction(compressor: Compressor) -> None:
    options = PerMessageDeflate(compress=compressor, decompress=compressor)
    handler: WebSocketHandler[Any] = WebSocketHandler(message=Socket.send, per_message_deflate=options)
    async with playground(handler) as place, await place.open() as peer:
        await peer.send_text("from a client without compression")
        assert await peer.receive_text() == "from a client without compression"


def test_a_compressor_that_bun_does_not_have_is_an_error() -> None:
    for wrong in ("2KB", "Shared", ""):
        with pytest.raises(ValueError, match="compress"):
            PerMessageDeflate(compress=wrong)  # type: ignore[arg-type]


# Sockets


async def test_text_and_binary_are_sent_and_published_as_their_kind() -> None:
    def opened(ws: Socket) -> None:
        assert ws.subscribe("news")
        statuses = [
            ws.send_text("zażółć"),
            ws.send_binary(b"\x00\xff"),
            ws.publish_text("news", "gęślą"),
            ws.publish_binary("news", bytearray(b"\x01")),
        ]
        assert statuses == [10, 2, 8, 1]

    async with playground(WebSocketHandler(open=opened, publish_to_self=True)) as place, await place.open() as peer:
        got = [(await peer.receive())[:2] for _ in range(4)]
    assert got == [
        (TEXT, "zażółć".encode()),
        (BINARY, b"\x00\xff"),
        (TEXT, "gęślą".encode()),
        (BINARY, b"\x01"),
    ]


async def test_a_socket_knows_its_address_request_protocol_and_data() -> None:
    def fetch(request: Request, server: Server[str]) -> None:
        server.upgrade(request, data="Ada", protocol="chat")

    def opened(ws: ServerWebSocket[str]) -> None:
        ws.send(f"{ws.remote_address} {ws.request.query.get('room')} {ws.protocol} {ws.data}")

    handler = WebSocketHandler(open=opened)
    offer = (("Sec-WebSocket-Protocol", "chat"),)
    async with open_server(fetch, handler, port=0) as server:
        assert server.port is not None
        async with RawPeer(await trio.open_tcp_stream("127.0.0.1", server.port)) as peer:
            await peer.upgrade("/?room=1", offer)
            assert await peer.receive_text() == "127.0.0.1 1 chat Ada"
    async with playground(handler, fetch) as place, await place.open() as peer:
        assert await peer.receive_text() == "None None None Ada"


async def test_the_client_of_a_unix_socket_has_no_address(tmp_path: Path) -> None:
    def fetch(request: Request, server: Server[str]) -> None:
        server.upgrade(request, data=str(server.request_ip(request)))

    def opened(ws: ServerWebSocket[str]) -> None:
        ws.send(f"{ws.data} {ws.remote_address}")

    path = tmp_path / "socket"
    async with (
        open_server(fetch, WebSocketHandler(open=opened), unix=path),
        RawPeer(await trio.open_unix_socket(str(path))) as peer,
    ):
        await peer.upgrade()
        assert await peer.receive_text() == "None None"


async def test_a_send_status_is_a_number_and_one_of_three_classes() -> None:
    def in_words(status: SendStatus) -> str:
        match status:
            case MessageSent(size):
                return f"{size} bytes sent"
            case MessageBackpressured():
                return "queued"
            case MessageDropped():
                return "dropped"
            case _:
                assert_never(status)

    got: list[tuple[int, str]] = []

    def opened(ws: Socket) -> None:
        sends = (partial(ws.send, "four"), partial(ws.send, b""), partial(ws.publish, "nobody", "x"), ws.ping)
        got.extend((send(), in_words(send())) for send in sends)
        ws.close()
        got.append((ws.send("late"), in_words(ws.send("late"))))

    async with playground(WebSocketHandler(open=opened)) as place, await place.open():
        pass
    assert got == [
        (4, "4 bytes sent"),
        (0, "0 bytes sent"),
        (0, "dropped"),
        (0, "0 bytes sent"),
        (0, "dropped"),
    ]
    assert (MessageBackpressured(), in_words(MessageBackpressured())) == (-1, "queued")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_pings_and_pongs_have_the_binary_type_of_messages(kind: type) -> None:
    got: list[object] = []

    def opened(ws: Socket) -> None:
        ws.binary_type = kind.__name__

    def pinged(_ws: Socket, data: object) -> None:
        got.append(data)

    async def ponged(_ws: Socket, data: object) -> None:
        await trio.lowlevel.checkpoint()
        got.append(data)

    handler: WebSocketHandler[Any] = WebSocketHandler(open=opened, ping=pinged, pong=ponged, message=Socket.send)
    async with playground(handler) as place, await place.open() as peer:
        await peer.send(RawPeer.frame(PING, b"a") + RawPeer.frame(PONG, b"b") + RawPeer.frame(TEXT, b"end"))
        assert await peer.receive() == (PONG, b"a", True, 0)
        assert await peer.receive_text() == "end"
        await trio.testing.wait_all_tasks_blocked()
    assert [type(data) for data in got] == [kind, kind]
    assert got == [b"a", b"b"]


@pytest.mark.parametrize("end", [Socket.close, Socket.terminate])
async def test_a_socket_that_closes_is_not_paused(end: Callable[[Socket], None]) -> None:
    paused: list[bool] = []

    def message(ws: Socket, _message: str | bytes) -> None:
        ws.pause()
        paused.append(ws.is_paused)
        end(ws)
        paused.append(ws.is_paused)

    def closed(ws: Socket, _code: int, _reason: str) -> None:
        paused.append(ws.is_paused)

    handler: WebSocketHandler[Any] = WebSocketHandler(message=message, close=closed)
    async with playground(handler) as place, await place.open() as peer:
        await peer.send_text("end")
        await trio.testing.wait_all_tasks_blocked()
        await peer.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
    assert paused == [True, False, False]


async def close_with(close: Callable[[Socket], None]) -> tuple[tuple[int, str], tuple[int, str]]:
    """Let a socket close itself; return what the peer and the close handler get."""
    got: list[tuple[int, str]] = []

    def closed(ws: Socket, code: int, reason: str) -> None:
        assert ws.ready_state is ReadyState.CLOSED
        got.append((code, reason))

    handler: WebSocketHandler[Any] = WebSocketHandler(open=close, close=closed)
    async with playground(handler) as place, await place.open() as peer:
        sent = await peer.receive_close()
        await peer.send_close(sent[0], sent[1])
        await peer.receive_eof()
    return sent, got[0]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (RawPeer.close_frame(), 1005),
        (RawPeer.close_frame(4000), 4000),
        (b"", 1006),
        (RawPeer.frame(TEXT, b"a", mask=None), 1002),
        (RawPeer.frame(TEXT, b"\xff"), 1007),
        (RawPeer.frame(TEXT, b"much"), 1009),
    ],
)
async def test_the_close_handler_is_told_of_every_kind_of_end(data: bytes, code: int) -> None:
    got: list[int] = []
    handler: WebSocketHandler[Any] = WebSocketHandler(
        close=lambda _ws, code, _reason: got.append(code), max_payload_length=3
    )
    async with playground(handler) as place, await place.open() as peer:
        await peer.send(data)
        await peer.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert got == [code]


async def test_close_sends_1000_unless_told_otherwise() -> None:
    assert await close_with(Socket.close) == ((1000, ""), (1000, ""))


@pytest.mark.parametrize("code", [1012, 1013, 3000, 3999, 4000, 4999])
async def test_close_sends_the_codes_that_are_the_applications(code: int) -> None:
    def close(ws: Socket) -> None:
        ws.close(code, "words")

    assert await close_with(close) == ((code, "words"), (code, "words"))


@pytest.mark.parametrize("code", [0, 1005, 1006])
async def test_close_does_not_take_the_codes_that_stand_for_none(code: int) -> None:
    def close(ws: Socket) -> None:
        with pytest.raises(ValueError, match=f"not {code}"):
            ws.close(code)
        ws.close()

    assert (await close_with(close))[0] == (1000, "")


async def test_statistics_count_what_came_and_went() -> None:
    found: list[SocketStatistics] = []

    async def session(ws: Socket) -> None:
        ws.subscribe("room")
        async for message in ws:
            ws.send(message)
        found.append(ws.statistics())

    async with playground(WebSocketHandler(session=session)) as place, await place.open() as peer:
        await trio.testing.wait_all_tasks_blocked()
        before = place.server.statistics()
        await peer.send_text("four")
        assert await peer.receive_text() == "four"
        await trio.testing.wait_all_tasks_blocked()
        now = place.server.statistics()
        assert isinstance(now, ServerStatistics)
        assert (now.connections, now.websockets, now.topics, now.refused_subscriptions) == (1, 1, 1, 0)
        assert (now.messages_in, now.messages_out) == (1, 1)
        assert (now.bytes_in, now.bytes_out) == (before.bytes_in + 10, before.bytes_out + 6)
        assert (now.drops, now.backpressured_sockets) == (0, 0)
        await peer.send_close(1000)
        assert await peer.receive_close() == (1000, "")
        await peer.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        after = place.server.statistics()
        assert (after.websockets, after.topics, after.messages_in, after.messages_out) == (0, 0, 1, 1)
    (last,) = found
    assert isinstance(last, SocketStatistics)
    assert (last.messages_in, last.messages_out, last.drops, last.buffered) == (1, 1, 0, 0)
    with pytest.raises(FrozenInstanceError):
        last.drops = 1  # type: ignore[misc]  # what is tested
    assert (last.bytes_in, last.bytes_out) == (now.bytes_in + 8, now.bytes_out + 4)


async def test_statistics_tell_who_does_not_keep_up() -> None:
    sockets: list[Socket] = []
    handler: WebSocketHandler[Any] = WebSocketHandler(open=sockets.append, backpressure_limit=10)
    async with open_pair(handler) as (server, client):
        (ws,) = sockets
        with stalled(client):
            ws.send("waits with the writer")
            await trio.testing.wait_all_tasks_blocked()
            assert ws.send("unsent, and over the limit") == -1
            assert ws.send("dropped") == 0
            assert (ws.statistics().drops, ws.statistics().buffered) == (1, ws.get_buffered_amount())
            assert ws.statistics().buffered > 10
            assert (server.statistics().drops, server.statistics().backpressured_sockets) == (1, 1)
        assert await client.receive() == "waits with the writer"
        assert await client.receive() == "unsent, and over the limit"
        await trio.testing.wait_all_tasks_blocked()
        assert (ws.statistics().drops, ws.statistics().buffered) == (1, 0)
        assert (server.statistics().drops, server.statistics().backpressured_sockets) == (1, 0)


async def test_statistics_tell_who_is_not_read() -> None:
    sockets: list[Socket] = []
    go_on = trio.Event()

    async def message(ws: Socket, _message: object) -> None:
        sockets.append(ws)
        await go_on.wait()

    def counts() -> tuple[int, int]:
        statistics = server.statistics()
        return statistics.paused_sockets, statistics.full_inboxes

    async with open_pair(WebSocketHandler(message=message, max_inbox=1)) as (server, client):
        for _ in range(3):
            client.send("x")
        await trio.testing.wait_all_tasks_blocked()
        assert counts() == (0, 1)
        sockets[0].pause()
        assert counts() == (1, 0)
        go_on.set()
        sockets[0].resume()
        await trio.testing.wait_all_tasks_blocked()
        assert counts() == (0, 0)


async def test_closed_tells_the_close_frames_of_both_sides() -> None:
    infos: list[CloseInfo] = []

    async def watch(ws: Socket) -> None:
        with trio.CancelScope(shield=True):
            infos.append(await ws.closed())

    def opened(ws: Socket) -> None:
        ws.start_soon(watch, ws)

    async with playground(WebSocketHandler(open=opened)) as place, await place.open() as peer:
        await peer.send_close(4001, "enough")
        await peer.receive_close()
        await peer.receive_eof()
    (info,) = infos
    assert (info.code, info.reason) == (4001, "enough")
    assert info.sent == CloseFrame(4001, "enough")
    assert info.received == CloseFrame(4001, "enough")
    assert info.received is not None
    assert (info.received.code, info.received.reason) == (4001, "enough")


# Errors


def test_the_errors_are_one_family_and_carry_data() -> None:
    frame = CloseFrame(1011, "broken")
    closed = ConnectionClosed(frame, None)
    assert (closed.code, closed.reason, closed.received, closed.sent) == (1011, "broken", frame, None)
    remote = RemoteProtocolError("a reserved bit is set", 1002)
    assert (remote.message, remote.close_code) == ("a reserved bit is set", 1002)
    refused = HandshakeError(403, Headers({"X-Reason": "no"}), b"Forbidden")
    assert (refused.status, refused.headers["x-reason"], refused.body) == (403, "no", b"Forbidden")
    for error in (closed, remote, refused, LocalProtocolError("closed already"), BrokerError("away")):
        assert isinstance(error, BunwsError)
