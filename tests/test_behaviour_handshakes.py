"""BEHAVIOUR.md, 24, sentence by sentence: what a handshake is, and what is refused with 400, 426 or 431.

A test's name begins with the number of its sentence. The client chooses every byte.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from playground import playground, settled
from raw_http import ACCEPT, answer, ask, handshake, upgrading
from recorder import Recorder

from trio_bunws import Limits, Request, Response, Server, WebSocketHandler

if TYPE_CHECKING:
    from trio.testing import MockClock


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
