"""BEHAVIOUR.md, "Upgrade and HTTP", sentence by sentence: 23 to 27, seen by a client that chooses every byte."""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
import trio_websocket
from playground import Socket, playground, settled
from recorder import Recorder, library_client

from trio_bunws import Limits, Request, Response, Server, WebSocketHandler, open_server
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from trio.testing import MockClock


TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""RFC 6455, section 1.3: the answer to `RawPeer.request`'s key."""
LINES = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def handshake(*more: str, start: str = "GET / HTTP/1.1", **changed: str | None) -> bytes:
    """Return a handshake with these lines more, and others changed, or left out by None (`_` stands for `-`)."""
    names = {name.replace("-", "_"): name for name in LINES}
    lines = LINES | {names[key]: value for key, value in changed.items()}
    fields = [f"{name}: {value}" for name, value in lines.items() if value is not None]
    return "\r\n".join([start, *fields, *more, "", ""]).encode("latin-1")


class Answer:
    """A response as it came."""

    def __init__(self, head: bytes) -> None:
        status, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        self.status = int(status.split(" ")[1])
        self.fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        self.body = b""

    def __getitem__(self, name: str) -> str:
        return dict(self.fields)[name]

    def __contains__(self, name: str) -> bool:
        return name in dict(self.fields)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]


async def answer(peer: RawPeer, *, head_only: bool = False) -> Answer:
    """Receive one response: its head, and a body that has a length."""
    found = Answer(await peer.receive_until(b"\r\n\r\n"))
    if found.status >= 200 and not head_only and "content-length" in found:
        found.body = await peer.receive_exactly(int(found["content-length"]))
    return found


async def ask(peer: RawPeer, request: bytes) -> Answer:
    """Send a request, and receive the response."""
    await peer.send(request)
    return await answer(peer)


def upgrading(request: Request, server: Server[Any]) -> Response | None:
    """Be a `fetch` that upgrades what can be, and says so of the rest."""
    return None if server.upgrade(request) else Response("no handshake")


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
    closed: list[bool] = []

    async def body() -> AsyncGenerator[bytes]:
        try:
            yield b"not sent"
        finally:
            closed.append(True)

    def fetch(request: Request, server: Server[Any]) -> Response:
        server.upgrade(request)
        return Response(body() if request.path == "/stream" else "ignored", 404)

    async with playground(WebSocketHandler(open=lambda ws: ws.send("open")), fetch) as play:
        for path in ("/", "/stream"):
            peer = await play.open(path)
            assert await peer.receive_text() == "open"


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


# 24. What a handshake is

HANDSHAKES = {
    "plain": handshake(),
    "names in any case": handshake()
    .replace(b"Upgrade: ", b"uPGRADE: ")
    .replace(b"Sec-WebSocket-K", b"SEC-websocket-k"),
    "values in any case": handshake(Upgrade="WebSocket", Connection="uPgRaDe"),
    "lists": handshake(Upgrade="h2c, websocket", Connection="keep-alive ,\tUpgrade"),
    "lists in several lines": handshake("Connection: Upgrade", "Upgrade: websocket", Connection="x", Upgrade="y"),
    "no space after the colon": handshake().replace(b": ", b":"),
    "space around the values": handshake().replace(b": ", b": \t ").replace(b"13\r\n", b"13 \t\r\n"),
    "absolute form": handshake(start="GET http://localhost/ HTTP/1.1"),
    "a length of 0": handshake("Content-Length: 0"),
    "empty lines before": b"\r\n\r\n" + handshake(),
    "other values with any byte": handshake("X-Name: \x80\xff"),
    "senseless extensions": handshake('Sec-WebSocket-Extensions: ;;=,,,,permessage-deflate;=;"', "Origin: null"),
}


@pytest.mark.parametrize("name", HANDSHAKES)
async def test_24_these_are_handshakes(name: str, autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(), upgrading) as play:
        peer = await play.connect()
        await peer.send(HANDSHAKES[name])
        headers = await peer.receive_101()
        assert headers["sec-websocket-accept"] == ACCEPT
        assert "sec-websocket-extensions" not in headers
        await peer.send_text("works")
        await settled()
        assert record.messages == ["works"]


NO_HANDSHAKES = {
    "POST": handshake(start="POST / HTTP/1.1"),
    "HEAD": handshake(start="HEAD / HTTP/1.1"),
    "HTTP/1.0": handshake(start="GET / HTTP/1.0"),
    "no Upgrade": handshake(Upgrade=None),
    "another Upgrade": handshake(Upgrade="h2c"),
    "nearly the Upgrade": handshake(Upgrade="websockets"),
    "no Connection": handshake(Connection=None),
    "another Connection": handshake(Connection="keep-alive"),
    "nearly the Connection": handshake(Connection="not-upgrade, upgraded"),
    "no key": handshake(Sec_WebSocket_Key=None),
    "an empty key": handshake(Sec_WebSocket_Key=""),
    "a key of 15 bytes": handshake(Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAA"),
    "a key of 17 bytes": handshake(Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAAAAA="),
    "a key of 18 bytes": handshake(Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAAAAAA"),
    "a key that is not base64": handshake(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25j!!=="),
}


@pytest.mark.parametrize("name", NO_HANDSHAKES)
async def test_24_these_are_ordinary_requests(name: str, autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(), upgrading) as play:
        peer = await play.connect()
        await peer.send(NO_HANDSHAKES[name])
        assert (await answer(peer, head_only=True)).status == 200
    assert record.calls == []


@pytest.mark.parametrize("version", [None, "", "0", "8", "14", "013", "13, 8", "thirteen"])
@pytest.mark.parametrize("with_fetch", [False, True])
async def test_24_another_version_is_answered_by_the_server(
    version: str | None, with_fetch: bool, autojump_clock: MockClock
) -> None:
    asked: list[Request] = []

    def fetch(request: Request, _server: Server[Any]) -> Response:
        asked.append(request)
        return Response()

    async with playground(WebSocketHandler(), fetch if with_fetch else None) as play:
        peer = await play.connect()
        found = await ask(peer, handshake(Sec_WebSocket_Version=version))
        assert found.status == 426
        assert found["sec-websocket-version"] == "13"
        assert found["upgrade"] == "websocket"
        await peer.receive_eof()
    assert asked == []


REFUSED = {
    "no Host": handshake(Host=None),
    "two Hosts": handshake("Host: localhost"),
    "two keys": handshake("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
    "two versions": handshake("Sec-WebSocket-Version: 13"),
    "non-ASCII in Host": handshake(Host="b\xfccher.example"),
    "non-ASCII in the key": handshake(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZ\xe4=="),
    "non-ASCII in the version": handshake(Sec_WebSocket_Version="13\xa0"),
    "non-ASCII in the protocols": handshake("Sec-WebSocket-Protocol: ch\xe4t"),
    "non-ASCII in the extensions": handshake("Sec-WebSocket-Extensions: \xff"),
    "non-ASCII in another Sec-WebSocket field": handshake("Sec-WebSocket-Whatever: \xff"),
    "NUL": handshake("X-Name: a\0b"),
    "escape": handshake("X-Name: \x1b[2J"),
    "DEL": handshake("X-Name: \x7f"),
    "a lone CR": handshake("X-Name: a\rb"),
    "CR in the Host": handshake(Host="a\rb"),
    "a length and chunked": handshake("Content-Length: 0", "Transfer-Encoding: chunked"),
    "two lengths": handshake("Content-Length: 0", "Content-Length: 1"),
    "two equal lengths": handshake("Content-Length: 0", "Content-Length: 0"),
    "two codings": handshake("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "obs-fold": handshake("X-Name: a", " b"),
    "obs-fold by a tab": handshake("X-Name: a", "\tb"),
    "a bare LF": handshake("X-Name: a").replace(b"a\r\n", b"a\n"),
    "bare LFs": handshake().replace(b"\r\n", b"\n"),
    "space before the colon": handshake("X-Name : a"),
    "no colon": handshake("X-Name"),
    "an empty name": handshake(": a"),
    "a body": handshake("Content-Length: 5") + b"hello",
    "a chunked body": handshake("Transfer-Encoding: chunked") + b"0\r\n\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("with_fetch", [False, True])
async def test_24_these_are_refused_and_nobody_else_is_harmed(
    name: str, with_fetch: bool, autojump_clock: MockClock
) -> None:
    record = Recorder()
    asked: list[Request] = []

    def fetch(request: Request, server: Server[Any]) -> Response | None:
        asked.append(request)
        return upgrading(request, server)

    async with playground(record.handler(), fetch if with_fetch else None) as play:
        other = await play.open()
        peer = await play.connect()
        found = await ask(peer, REFUSED[name])
        assert found.status == 400
        assert found["connection"] == "close"
        await peer.receive_eof()
        await other.send_text("unharmed")
        await settled()
        assert record.messages == ["unharmed"]
        assert len(asked) == with_fetch
        assert trio.current_time() == 0


@pytest.mark.parametrize(
    ("limits", "request_"),
    [
        (Limits(), handshake("X-Name: " + "x" * 16384)),
        (Limits(max_header_size=300), handshake("X-Name: " + "x" * 200)),
        (Limits(max_header_size=300), b"GET /" + b"x" * 300),
        (Limits(max_headers=5), handshake("X-Name: x")),
        (Limits(), handshake(*("X-Name: x" for _ in range(96)))),
    ],
)
async def test_24_a_head_that_is_too_long_is_431(limits: Limits, request_: bytes, autojump_clock: MockClock) -> None:
    async with playground(WebSocketHandler(), upgrading, limits=limits) as play:
        peer = await play.connect()
        assert (await ask(peer, request_)).status == 431
        await peer.receive_eof()
        await play.open()  # exactly as long as allowed, or shorter


async def test_24_repeated_list_headers_are_joined(autojump_clock: MockClock) -> None:
    seen: list[str] = []

    def fetch(request: Request, server: Server[Any]) -> None:
        seen.append(request.headers["Sec-WebSocket-Protocol"])
        assert server.upgrade(request, protocol="c")

    async with playground(WebSocketHandler(), fetch) as play:
        peer = await play.connect()
        await peer.send(handshake("Sec-WebSocket-Protocol: a, b", "sec-websocket-protocol: c"))
        assert (await peer.receive_101())["sec-websocket-protocol"] == "c"
    assert seen == ["a, b, c"]


async def test_24_other_values_may_hold_any_byte(autojump_clock: MockClock) -> None:
    seen: list[str] = []

    def fetch(request: Request, server: Server[Any]) -> Response | None:
        seen.append(request.headers["x-name"])
        return upgrading(request, server)

    async with playground(WebSocketHandler(), fetch) as play:
        peer = await play.connect()
        await peer.send(handshake("X-Name: " + "".join(map(chr, range(0x80, 0x100))).strip()))
        await peer.receive_101()
    assert seen[0].encode("latin-1") == bytes(range(0x80, 0x100))


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


async def test_26_also_byte_by_byte(autojump_clock: MockClock) -> None:
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
async def test_26_also_to_async_handlers(kind: str, autojump_clock: MockClock) -> None:
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


async def test_26_through_the_kernel() -> None:
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


# 27. HTTP


@pytest.mark.parametrize("is_async", [False, True])
async def test_27_none_without_an_upgrade_is_500_and_a_logged_error_says_so(
    is_async: bool, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async def fetch(_request: Request, _server: Server[Any]) -> None:
        await trio.sleep(1)

    async with playground(WebSocketHandler(), fetch if is_async else lambda _request, _server: None) as play:
        peer = await play.connect()
        assert (await ask(peer, GET)).status == 500
        assert (await ask(peer, GET)).status == 500  # the connection is kept
    assert all(record.levelno == logging.ERROR for record in caplog.records)
    assert "fetch returned None" in caplog.text
    assert "upgrad" in caplog.text


@pytest.mark.parametrize("is_async", [False, True])
async def test_27_an_exception_in_fetch_is_a_plain_500(
    is_async: bool, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    def fetch(_request: Request, _server: Server[Any]) -> Response:
        raise ValueError("a secret")

    async def async_fetch(request: Request, server: Server[Any]) -> Response:
        await trio.sleep(1)
        return fetch(request, server)

    async with playground(WebSocketHandler(), async_fetch if is_async else fetch) as play:
        peer = await play.connect()
        found = await ask(peer, GET)
        assert found.status == 500
        assert b"secret" not in found.body
        assert b"Traceback" not in found.body
        assert (await ask(peer, GET)).status == 500
    assert "ValueError: a secret" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("is_async", [False, True])
async def test_27_error_makes_the_response_of_an_exception(
    is_async: bool, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    def fetch(_request: Request, _server: Server[Any]) -> Response:
        raise ValueError("told to error")

    def error(exc: Exception) -> Response:
        return Response(f"sorry: {exc}", 503)

    async def async_error(exc: Exception) -> Response:
        await trio.sleep(1)
        return error(exc)

    async with playground(None, fetch, error=async_error if is_async else error) as play:
        found = await ask(await play.connect(), GET)
        assert (found.status, found.body) == (503, b"sorry: told to error")
    assert caplog.records == []


def raising(_exc: Exception) -> Response:
    raise KeyError("in error")


@pytest.mark.parametrize("error", [raising, lambda _exc: None, lambda _exc: "no response"])
async def test_27_if_error_has_no_response_it_is_500(
    error: Callable[[Exception], Any], caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    def fetch(_request: Request, _server: Server[Any]) -> Response:
        raise ValueError("from fetch")

    async with playground(None, fetch, error=error) as play:
        assert (await ask(await play.connect(), GET)).status == 500
    assert "from fetch" in caplog.text


async def test_27_head_has_the_head_only(autojump_clock: MockClock) -> None:
    async with playground(None, lambda request, _server: Response(f"{request.method}!")) as play:
        peer = await play.connect()
        await peer.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
        found = await answer(peer, head_only=True)
        assert (found.status, found["content-length"]) == (200, "5")
        assert (await answer(peer)).body == b"GET!"


async def test_27_a_connection_is_kept_until_it_is_idle_or_told_to_close(autojump_clock: MockClock) -> None:
    async with playground(None, lambda request, _server: Response(request.path), idle_timeout=10) as play:
        peer = await play.connect()
        for _ in range(3):
            await trio.sleep(9)
            assert (await ask(peer, GET)).body == b"/a"
        await peer.receive_eof()
        assert trio.current_time() == 37
        peer = await play.connect()
        found = await ask(peer, b"GET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET)
        assert found.body == b"/b"
        await peer.receive_eof()
        peer = await play.connect()
        assert (await ask(peer, b"GET /c HTTP/1.0\r\n\r\n")).body == b"/c"
        await peer.receive_eof()


async def test_27_pipelined_requests_are_answered_in_order(autojump_clock: MockClock) -> None:
    async def fetch(request: Request, _server: Server[Any]) -> Response:
        await trio.sleep(3 - len(request.path))
        return Response(request.path + (await request.text()))

    post = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    async with playground(None, fetch) as play:
        peer = await play.connect()
        await peer.send(GET + post + GET + post)
        assert [(await answer(peer)).body for _ in range(4)] == [b"/a", b"/bhello"] * 2


async def test_27_100_continue_is_sent_when_the_body_is_wanted(autojump_clock: MockClock) -> None:
    async def fetch(request: Request, _server: Server[Any]) -> Response:
        return Response(await request.body() if request.path == "/wanted" else "not wanted")

    fields = b" HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    async with playground(None, fetch) as play:
        peer = await play.connect()
        await peer.send(b"POST /wanted" + fields)
        assert (await answer(peer)).status == 100
        await peer.send(b"hello")
        assert (await answer(peer)).body == b"hello"
        found = await ask(peer, b"POST /unwanted" + fields)
        assert (found.status, found.body) == (200, b"not wanted")


async def test_27_chunked_bodies_go_in_and_out(autojump_clock: MockClock) -> None:
    async def echo(request: Request) -> AsyncGenerator[bytes]:
        async for chunk in request.stream():
            yield chunk.upper()

    async with playground(None, lambda request, _server: Response(echo(request))) as play:
        peer = await play.connect()
        await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        found = await answer(peer)
        assert found["transfer-encoding"] == "chunked"
        assert await peer.receive_until(b"HELLO\r\n") == b"5\r\nHELLO\r\n"
        await peer.send(b"6;x=y\r\n world\r\n0\r\n\r\n" + GET)
        assert await peer.receive_until(b"0\r\n\r\n") == b"6\r\n WORLD\r\n0\r\n\r\n"
        assert (await answer(peer)).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 1001\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + (b"1f4\r\n" + b"x" * 500 + b"\r\n") * 3,
    ],
    ids=["declared", "chunk", "chunks"],
)
async def test_27_a_body_over_the_limit_is_413(body: bytes, autojump_clock: MockClock) -> None:
    async def fetch(request: Request, _server: Server[Any]) -> Response:
        return Response(await request.body())

    async with playground(None, fetch, max_request_body_size=1000) as play:
        peer = await play.connect()
        exactly = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000
        assert (await ask(peer, exactly)).body == b"x" * 1000
        assert (await ask(peer, b"POST / HTTP/1.1\r\nHost: a\r\n" + body)).status == 413
        await peer.receive_eof()


async def test_27_a_response_without_progress_is_aborted(autojump_clock: MockClock) -> None:
    async with playground(None, lambda _r, _s: Response(b"x" * 1_000_000), idle_timeout=7, lockstep=True) as play:
        peer = await play.connect()
        await peer.send(GET)
        for _ in range(5):
            await trio.sleep(6)
            assert await peer.stream.receive_some()
        await trio.sleep(6.5)
        assert play.server.pending_requests == 1
        await trio.sleep(1)
        assert play.server.pending_requests == 0


@pytest.mark.parametrize("stuck_in", ["fetch", "body"])
async def test_27_also_one_that_the_application_does_not_make(stuck_in: str, autojump_clock: MockClock) -> None:
    async def body() -> AsyncGenerator[bytes]:
        yield b"begun"
        await trio.sleep_forever()

    async def fetch(_request: Request, _server: Server[Any]) -> Response:
        if stuck_in == "fetch":
            await trio.sleep_forever()
        return Response(body())

    async with playground(None, fetch, idle_timeout=7) as play:
        peer = await play.connect()
        await peer.send(GET)
        async with trio.open_nursery():
            while await peer.stream.receive_some():
                pass
        assert trio.current_time() == 7


@pytest.mark.parametrize("seconds", [100, 0], ids=["100", "any number"])
async def test_27_server_timeout_allows_more(seconds: int, autojump_clock: MockClock) -> None:
    async def fetch(request: Request, server: Server[Any]) -> Response:
        server.timeout(request, seconds)
        await trio.sleep(99)
        return Response("at last")

    async with playground(None, fetch, idle_timeout=7) as play:
        assert (await ask(await play.connect(), GET)).body == b"at last"


async def test_27_a_request_that_does_not_arrive_is_given_up(autojump_clock: MockClock) -> None:
    async with playground(None, lambda _r, _s: Response(), limits=Limits(header_timeout=5)) as play:
        peer = await play.connect()
        await peer.receive_eof()
        assert trio.current_time() == 5
        peer = await play.connect()
        found = await ask(peer, GET[:-2])
        assert found.status == 408
        await peer.receive_eof()
        assert trio.current_time() == 10
