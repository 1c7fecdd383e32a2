"""From arguments to an open `WebSocket`, and from what goes wrong to one line."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
import trustme

from trio_bunws import Request, Response, Server, WebSocket, WebSocketHandler, open_server
from trio_bunws._cli.arguments import CommandError, Parser, UsageError
from trio_bunws._cli.client_arguments import add_client_arguments, client_maker, connected
from trio_bunws.testing import MemoryListener, RawPeer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from trio.testing import MockClock

URL = "ws://server.test/chat"


def making(*arguments: str) -> Callable[[trio.abc.Stream | None], WebSocket]:
    parser = Parser()
    add_client_arguments(parser)
    return client_maker(parser.parse_args(arguments))


async def test_headers_subprotocols_and_origin_are_sent() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    ws = making(URL, "-H", "X-One: 1", "-H", "X-One: 2", "-s", "a", "-s", "b", "-o", "https://page.test")(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ws.__aenter__)
        request = await RawPeer(theirs).receive_until(b"\r\n\r\n")
        nursery.cancel_scope.cancel()
    assert request.startswith(b"GET /chat HTTP/1.1\r\n")
    lines = request.split(b"\r\n")
    assert {b"X-One: 1", b"X-One: 2", b"Sec-WebSocket-Protocol: a, b", b"Origin: https://page.test"} <= {*lines}
    assert b"permessage-deflate" in request


async def test_compression_need_not_be_offered() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(making(URL, "--no-compression")(ours).__aenter__)
        assert b"permessage-deflate" not in await RawPeer(theirs).receive_until(b"\r\n\r\n")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["http://server.test/"], "begin with ws:// or wss://"),
        (["nonsense"], "begin with ws:// or wss://"),
        ([URL, "--proxy", "socks://x"], "proxy to begin with http:// or https://"),
        (["ws://"], "have a host"),
        (["ws://server.test:99999/"], "valid"),
        ([URL, "-H", "Bad Name: x"], "not a header's name"),
        ([URL, "-H", "X: a\r\nY: b"], "control characters"),
        ([URL, "-H", "Upgrade: x"], "the handshake sets itself"),
        ([URL, "-s", "a b"], "tokens of HTTP"),
        ([URL, "-o", "a\nb"], "control characters"),
        ([URL, "--key", "key.pem"], "--key needs --cert"),
        ([URL, "--ca", "/nothing/here.pem"], "cannot use /nothing/here.pem: No such file or directory"),
        ([URL, "--cert", "/nothing/here.pem"], "cannot use /nothing/here.pem"),
    ],
)
def test_what_cannot_work_is_told_before_connecting(arguments: list[str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        making(*arguments)
    assert words in str(caught.value)


@pytest.fixture(name="authority", scope="module")
def _authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(name="context")
def _context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl_context()
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def ssl_context() -> ssl.SSLContext:
    import ssl  # noqa: PLC0415 - at the top it is there for types only

    return ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)


async def test_a_certificate_is_believed_by_its_authority_or_by_force(
    authority: trustme.CA, context: ssl.SSLContext, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    own = authority.issue_cert("client@test")
    own.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "own.pem"))
    async with open_server(None, WebSocketHandler(), port=0, tls=context) as server:
        url = f"wss://127.0.0.1:{server.port}/"
        for arguments in (["--ca", str(ca)], ["--insecure"], ["--ca", str(ca), "--cert", str(tmp_path / "own.pem")]):
            async with connected(making(url, *arguments)(None)) as ws:
                assert ws.url == url
        with pytest.raises(CommandError, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
            async with connected(making(url)(None)):
                pass  # pragma: no cover


async def test_nobody_there_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{taken.getsockname()[1]}/"
        with pytest.raises(CommandError, match=rf"^cannot connect to {url}: .*Connection refused$"):
            async with connected(making(url)(None)):
                pass  # pragma: no cover


async def test_a_cause_without_a_text_of_the_system_is_told_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_arguments: object, **_options: object) -> trio.SocketStream:
        await trio.lowlevel.checkpoint()
        raise OSError("all failed") from ExceptionGroup("", [OSError("no route")])

    monkeypatch.setattr(trio, "open_tcp_stream", fail)
    with pytest.raises(CommandError, match=r"^cannot connect to ws://server.test/chat: no route$"):
        async with connected(making(URL)(None)):
            pass  # pragma: no cover


async def test_a_refusal_is_told_with_its_status_and_where_it_points() -> None:
    def fetch(request: Request, server: Server) -> Response:  # noqa: ARG001
        if request.path == "/chat":
            return Response.redirect("https://elsewhere.test/")
        return Response("no", status=403)

    listener = MemoryListener()
    async with open_server(fetch, listeners=[listener]):
        with pytest.raises(CommandError, match=r"HTTP status 302, a redirect to https://elsewhere.test/, "):
            async with connected(making(URL)(await listener.connect())):
                pass  # pragma: no cover
        with pytest.raises(CommandError, match=r"HTTP status 403: no$"):
            async with connected(making("ws://server.test/")(await listener.connect())):
                pass  # pragma: no cover


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"", ""),
        (b" <p>\n  no\r\n</p>\n", ": <p> no </p>"),
        ("zu spät\x1b[31m\x00".encode(), r": zu spät\x1b[31m\x00"),
        (b"\xff\x1f\x8b", r": \xff \x8b"),
        (b"x" * 300, ": " + "x" * 300),
        (b"x" * 301, ": " + "x" * 300 + "..."),
    ],
)
async def test_what_a_refusal_says_is_shown_in_one_line_that_is_short_and_harmless(body: bytes, shown: str) -> None:
    listener = MemoryListener()
    async with open_server(lambda _request, _server: Response(body, status=403), listeners=[listener]):
        with pytest.raises(CommandError) as caught:
            async with connected(making(URL)(await listener.connect())):
                pass  # pragma: no cover
    assert str(caught.value).endswith(f"HTTP status 403{shown}")


async def test_who_does_not_speak_http_is_told_in_the_clients_words() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(b"220 mail.test ESMTP\r\n\r\n")
    with pytest.raises(CommandError, match=r"the server's answer is no HTTP response: "):
        async with connected(making(URL)(ours)):
            pass  # pragma: no cover


async def test_who_never_answers_took_too_long(autojump_clock: MockClock) -> None:  # noqa: ARG001
    ours, _theirs = trio.testing.memory_stream_pair()
    with pytest.raises(CommandError, match="it took too long"):
        async with connected(making(URL, "--open-timeout", "3")(ours)):
            pass  # pragma: no cover


async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    listener = MemoryListener()
    async with open_server(None, WebSocketHandler(), listeners=[listener]):
        with pytest.raises(BrokenPipeError):
            async with connected(making(URL)(await listener.connect())):
                raise BrokenPipeError
