"""BEHAVIOUR.md, 23, 25 and 26, sentence by sentence: `upgrade`, the 101, and frames that come with the handshake.

A test's name begins with the number of its sentence. The client chooses every byte.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio_websocket
from playground import Socket, playground, settled
from raw_http import ACCEPT, GET, answer, ask, handshake, upgrading
from recorder import Recorder, library_client

from trio_bunws import Request, Response, Server, WebSocketHandler, open_server
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

TEXT, BINARY = 1, 2


# 23. server.upgrade


async def test_23_upgrade_returns_true_once_per_request(autojump_clock: MockClock) -> None:
    results: list[bool] = []
    record = Recorder()

    def fetch(request: Request, server: Server[Any]) -> None:
        results.extend(server.upgrade(request, data=data) for data in ("first", "second"))

    async with playground(record.handler(), fetch) as play:
        await play.open()
        assert results == [True, False]
        assert record.ws.data == "first"


@pytest.mark.parametrize("request_", [GET, handshake(Upgrade=None), handshake(start="POST / HTTP/1.1")])
async def test_23_upgrade_returns_false_for_what_is_no_handshake(request_: bytes, autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(), upgrading) as play:
        found = await ask(await play.connect(), request_)
        assert (found.status, found.body) == (200, b"no handshake")
    assert record.calls == []


async def test_23_upgrade_returns_false_for_a_request_answered_already(autojump_clock: MockClock) -> None:
    requests: list[Request] = []
    record = Recorder()

    def fetch(request: Request, server: Server[Any]) -> Response | None:
        requests.append(request)
        if request.path == "/no":
            return Response("no")
        if request.path == "/raise":
            raise ValueError
        return upgrading(request, server)

    async with playground(record.handler(), fetch) as play:
        for path in ("/no", "/raise", "/"):
            peer = await play.connect()
            await peer.send(RawPeer.request(path))
            await peer.receive_until(b"\r\n\r\n")
        assert [play.server.upgrade(request) for request in requests] == [False] * 3
        assert len(record.sockets) == 1


async def test_23_upgrade_of_something_else_is_a_type_error(autojump_clock: MockClock) -> None:
    async with playground(WebSocketHandler()) as play:
        with pytest.raises(TypeError, match="upgrade expects a Request"):
            play.server.upgrade("request")  # type: ignore[call-overload]


async def test_23_upgrade_without_a_handler_is_a_runtime_error_that_names_the_fix(autojump_clock: MockClock) -> None:
    caught: list[RuntimeError] = []

    def fetch(request: Request, server: Server[Any]) -> Response:
        try:
            server.upgrade(request)
        except RuntimeError as exc:
            caught.append(exc)
        return Response("an ordinary request")

    async with playground(None, fetch) as play:
        found = await ask(await play.connect(), handshake())
        assert (found.status, found.body) == (200, b"an ordinary request")
    assert "websocket=" in str(caught[0])


async def test_23_upgrade_works_after_awaits(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def fetch(request: Request, server: Server[Any]) -> None:
        await trio.sleep(3)
        assert await request.body() == b""
        assert server.upgrade(request, data=trio.current_time())
        await trio.sleep(3)

    async with playground(record.handler(), fetch) as play:
        peer = await play.connect()
        await peer.send(handshake())
        with trio.move_on_after(5.5) as waiting:
            await peer.receive_101()
        assert waiting.cancelled_caught  # it comes when fetch has returned
        assert record.calls == []
        await peer.receive_101()
        assert record.ws.data == 3
        assert trio.current_time() == 6


async def test_23_open_runs_after_fetch_has_returned(autojump_clock: MockClock) -> None:
    record = Recorder()

    def fetch(request: Request, server: Server[Any]) -> None:
        server.upgrade(request)
        record.calls.append(("fetch done",))

    async with playground(record.handler(), fetch) as play:
        peer = await play.connect()
        await peer.send(RawPeer.request() + RawPeer.frame(TEXT, b"x"))
        await peer.receive_101()
        await settled()
        assert record.calls == [("fetch done",), ("open",), ("message", "x")]


async def test_23_a_response_after_a_true_is_ignored(autojump_clock: MockClock) -> None:
    begun: list[bool] = []

    async def body() -> AsyncGenerator[bytes]:
        begun.append(True)
        yield b"not sent"

    def fetch(request: Request, server: Server[Any]) -> Response:
        server.upgrade(request)
        return Response(body() if request.path == "/stream" else "ignored", 404)

    async with playground(WebSocketHandler(open=lambda ws: ws.send("open")), fetch) as play:
        for path in ("/", "/stream"):
            peer = await play.open(path)
            assert await peer.receive_text() == "open"
            await settled()
            assert peer.received == b""
    assert begun == []


@pytest.mark.parametrize("with_error", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
async def test_23_if_fetch_raises_after_a_true_nothing_is_upgraded(
    is_async: bool, with_error: bool, autojump_clock: MockClock
) -> None:
    record = Recorder()

    def fetch(request: Request, server: Server[Any]) -> None:
        assert server.upgrade(request)
        raise ValueError("after the upgrade")

    async def async_fetch(request: Request, server: Server[Any]) -> None:
        await trio.sleep(1)
        fetch(request, server)

    def error(exc: Exception) -> Response:
        return Response(str(exc), 503)

    asked = async_fetch if is_async else fetch
    async with playground(record.handler(), asked, error=error if with_error else None) as play:
        found = await ask(await play.connect(), handshake() + RawPeer.frame(TEXT, b"x"))
        assert found.status == (503 if with_error else 500)
        assert (found.body == b"after the upgrade") is with_error
    assert record.calls == []


async def test_23_a_client_that_left_while_fetch_waited_harms_nobody(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    record = Recorder()

    async def fetch(request: Request, server: Server[Any]) -> None:
        await trio.sleep(1)
        assert server.upgrade(request)

    async with playground(record.handler(), fetch) as play:
        peer = await play.connect()
        await peer.send(RawPeer.request())
        await peer.stream.aclose()
        await trio.sleep(2)
        assert record.calls in ([], [("open",), ("close", 1006, "")])
        await play.open()
    assert caplog.records == []


@pytest.mark.parametrize("path", ["/", "/any/path?at=all"])
async def test_23_without_fetch_every_handshake_is_upgraded(path: str, autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        headers = await (await play.connect()).upgrade(path)
        assert headers == {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-accept": ACCEPT}
        assert record.ws.data is None
        assert record.ws.request.url == f"http://localhost{path}"


@pytest.mark.parametrize("request_", [GET, handshake(Connection="close"), handshake(start="POST / HTTP/1.1")])
async def test_23_without_fetch_other_requests_get_426(request_: bytes, autojump_clock: MockClock) -> None:
    async with playground(WebSocketHandler()) as play:
        found = await ask(await play.connect(), request_)
        assert found.status == 426
        assert found["upgrade"] == "websocket"


async def test_23_a_library_client_is_upgraded(autojump_clock: MockClock) -> None:
    record = Recorder()

    def fetch(request: Request, server: Server[Any]) -> Response | None:
        if request.path != "/chat":
            return Response("not here", 403)
        assert server.upgrade(request, data=request.query["name"], headers={"X-Room": "1"}, protocol="chat.v2")
        return None

    async with playground(record.handler(), fetch) as play:
        options = {"subprotocols": ["chat.v1", "chat.v2"]}
        async with library_client(await play.connect(), "/chat?name=ada", **options) as client:
            assert client.subprotocol == "chat.v2"
            assert (b"x-room", b"1") in client.handshake_headers
            assert record.ws.data == "ada"
            assert record.ws.protocol == "chat.v2"
        with pytest.raises(ExceptionGroup) as caught:
            async with library_client(await play.connect(), "/elsewhere"):
                raise AssertionError
        assert caught.group_contains(trio_websocket.ConnectionRejected)


# 25. The 101


async def test_25_the_applications_headers_are_added(autojump_clock: MockClock) -> None:
    def fetch(request: Request, server: Server[Any]) -> None:
        headers = [
            ("Set-Cookie", "a=1; Path=/"),
            ("X-Name", "v\xe4lue"),
            ("Set-Cookie", "b=2"),
            ("Upgrade", "h2c"),
            ("Connection", "close"),
            ("Sec-WebSocket-Accept", "wrong"),
            ("content-length", "5"),
        ]
        assert server.upgrade(request, headers=headers)

    async with playground(WebSocketHandler(open=lambda ws: ws.send("open")), fetch) as play:
        peer = await play.connect()
        await peer.send(handshake())
        found = await answer(peer)
        assert found.status == 101
        assert found.all("set-cookie") == ["a=1; Path=/", "b=2"]
        assert found["x-name"] == "v\xe4lue"
        assert found.all("upgrade") == ["websocket"]
        assert found.all("connection") == ["Upgrade"]
        assert found.all("sec-websocket-accept") == [ACCEPT]
        assert "content-length" not in found
        assert await peer.receive_text() == "open"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Name", "a\r\nSet-Cookie: x=1"),
        ("X-Name", "a\nb"),
        ("X-Name", "a\rb"),
        ("X-Name", "a\0b"),
        ("X-Name\r\n", "a"),
        ("X\0", "a"),
        ("Sec-WebSocket-Protocol", "a\r\nb"),
        ("Upgrade", "a\nb"),
    ],
)
async def test_25_a_line_end_or_nul_in_a_header_is_a_value_error(
    name: str, value: str, autojump_clock: MockClock
) -> None:
    caught: list[ValueError] = []

    def fetch(request: Request, server: Server[Any]) -> Response | None:
        for use in (
            lambda: server.upgrade(request, headers=[(name, value)]),
            lambda: server.upgrade(request, headers={name: value}),
            lambda: Response("x", headers={name: value}),
            lambda: Response().headers.append(name, value),
        ):
            try:
                use()
            except ValueError as exc:
                caught.append(exc)
        return upgrading(request, server)

    async with playground(WebSocketHandler(), fetch) as play:
        await play.open()  # the failed ones have upgraded nothing
    assert len(caught) == 4


OFFER = "Sec-WebSocket-Protocol: chat, superchat"


@pytest.mark.parametrize(
    ("offer", "protocol", "headers", "chosen"),
    [
        (OFFER, None, None, None),
        (OFFER, "superchat", None, "superchat"),
        (OFFER, None, {"sec-websocket-protocol": "chat"}, "chat"),
        (OFFER, "superchat", {"Sec-WebSocket-Protocol": "chat"}, "superchat"),
        (OFFER, "other", None, None),
        (OFFER, "Chat", None, None),
        (OFFER, None, {"Sec-WebSocket-Protocol": "other"}, None),
        ("X: x", "chat", None, None),
    ],
)
async def test_25_a_subprotocol_is_answered_if_named_and_offered(
    offer: str,
    protocol: str | None,
    headers: dict[str, str] | None,
    chosen: str | None,
    autojump_clock: MockClock,
) -> None:
    record = Recorder()

    def fetch(request: Request, server: Server[Any]) -> None:
        assert server.upgrade(request, headers=headers, protocol=protocol)

    async with playground(record.handler(), fetch) as play:
        peer = await play.connect()
        await peer.send(handshake(offer))
        found = await answer(peer)
        assert found.all("sec-websocket-protocol") == ([] if chosen is None else [chosen])
        assert record.ws.protocol == chosen


# 26. Frames that come with the handshake

EARLY = [RawPeer.frame(TEXT, b"one"), RawPeer.frame(BINARY, b"two" * 50), RawPeer.frame(TEXT, b"three")]


@pytest.mark.parametrize("before", [b"", GET], ids=["first", "behind another request"])
async def test_26_frames_are_delivered_in_order_wherever_the_reads_are_cut(
    before: bytes, autojump_clock: MockClock
) -> None:
    stream = before + RawPeer.request() + b"".join(EARLY) + RawPeer.close_frame(4000, "bye")
    for cut in range(len(stream) + 1):
        record = Recorder()
        async with playground(record.handler(), upgrading) as play:
            peer = await play.connect()
            if before:
                await peer.send(stream[:cut])
                await settled()
                await peer.send(stream[cut:])
                assert (await answer(peer)).body == b"no handshake"
            else:
                await peer.send(stream[:cut])
                await settled()
                await peer.send(stream[cut:])
            await peer.receive_101()
            assert await peer.receive_close() == (4000, "bye")
            await settled()
            assert record.messages == ["one", b"two" * 50, "three"]
            assert record.closes == [(4000, "bye")]


async def test_26_frames_are_delivered_that_come_byte_by_byte(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(), upgrading, lockstep=True) as play:
        peer = await play.connect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.receive_101)
            for byte in RawPeer.request() + b"".join(EARLY):
                await peer.send(bytes([byte]))
        await settled()
        assert record.messages == ["one", b"two" * 50, "three"]


@pytest.mark.parametrize("kind", ["open", "message", "session"])
async def test_26_frames_that_come_with_the_handshake_are_delivered_to_async_handlers(
    kind: str, autojump_clock: MockClock
) -> None:
    record = Recorder()

    async def opened(ws: Socket) -> None:
        await trio.sleep(1)
        record.open(ws)

    async def message(ws: Socket, message: str | bytes) -> None:
        await trio.sleep(1)
        record.message(ws, message)

    async def session(ws: Socket) -> None:
        async for item in ws:
            await message(ws, item)

    given = {"open": opened, "message": message, "session": session}[kind]
    async with playground(record.handler(**{kind: given})) as play:
        peer = await play.connect()
        await peer.send(RawPeer.request() + b"".join(EARLY))
        await trio.sleep(10)
        assert record.calls == [("open",), ("message", "one"), ("message", b"two" * 50), ("message", "three")]


async def test_26_frames_that_come_with_the_handshake_are_delivered_through_the_kernel() -> None:
    record = Recorder()
    async with open_server(None, record.handler(), port=0) as server:
        assert server.port is not None
        async with RawPeer(await trio.open_tcp_stream("127.0.0.1", server.port)) as peer:
            await peer.send(RawPeer.request() + b"".join(EARLY) + RawPeer.close_frame())
            await peer.receive_101()
            assert await peer.receive_close() == (1005, "")
            await peer.receive_eof()
        assert (await record.ws.closed()).code == 1005
    assert record.messages == ["one", b"two" * 50, "three"]
