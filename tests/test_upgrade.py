"""The opening handshake: which request is one, which is refused, and the 101.

Covers `trio_bunws._wire.upgrade` alone.
"""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from trio_bunws._headers import Headers
from trio_bunws._wire.http import HttpError, HttpProtocol, RequestHead
from trio_bunws._wire.upgrade import (
    Handshake,
    Refusal,
    accept_token,
    check_handshake,
    response_101,
    select_subprotocol,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def handshake_head(line: str = "GET /chat HTTP/1.1", *more: str, without: str = "", **changed: str) -> RequestHead:
    fields = {
        "Host": "a",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    }
    fields |= {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if name != without]
    return RequestHead("\r\n".join([line, *lines, *more, "", ""]).encode("latin-1"))


def test_the_plain_handshake() -> None:
    assert check_handshake(handshake_head()) == Handshake(KEY.encode(), (), "")


@pytest.mark.parametrize(
    "changed",
    [
        {"Upgrade": "WebSocket"},
        {"Upgrade": "h2c, WEBSOCKET"},
        {"Connection": "keep-alive, Upgrade"},
        {"Connection": "keep-alive ,\tupgrade,"},
        {"Content_Length": "0"},
        {"Sec_WebSocket_Key": "////////////////////++=="},
        {"Sec_WebSocket_Key": "  " + KEY + " "},
    ],
)
def test_a_handshake_in_another_form(changed: dict[str, str]) -> None:
    assert isinstance(check_handshake(handshake_head(**changed)), Handshake)


def test_repeated_list_headers_are_joined() -> None:
    head = handshake_head(
        "GET / HTTP/1.1",
        "Upgrade: websocket",
        "Connection: upgrade",
        "Sec-WebSocket-Protocol: a, b",
        "Sec-WebSocket-Extensions: x",
        "Sec-WebSocket-Protocol: c, a, ,(bad), b b",
        "Sec-WebSocket-Extensions: ;;nonsense=",
        Upgrade="h2c",
        Connection="keep-alive",
    )
    assert check_handshake(head) == Handshake(KEY.encode(), ("a", "b", "c"), "x, ;;nonsense=")


@pytest.mark.parametrize(
    "head",
    [
        handshake_head(without="Upgrade"),
        handshake_head(without="Connection"),
        handshake_head(without="Sec-WebSocket-Key"),
        handshake_head(Upgrade="web socket"),
        handshake_head(Upgrade="websockets"),
        handshake_head(Connection="keep-alive"),
        handshake_head("POST / HTTP/1.1"),
        handshake_head("get / HTTP/1.1"),
        handshake_head("GET / HTTP/1.0"),
        handshake_head(Sec_WebSocket_Key=""),
        handshake_head(Sec_WebSocket_Key="x"),
        handshake_head(Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAA"),
        handshake_head(Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAAAAA="),
        handshake_head(Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        handshake_head(Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAA_-=="),
        # Not a handshake, so that its version is not our business.
        handshake_head(Sec_WebSocket_Key="x", Sec_WebSocket_Version="8"),
        handshake_head(Upgrade="h2c", Content_Length="5"),
    ],
)
def test_another_request_is_no_handshake(head: RequestHead) -> None:
    assert check_handshake(head) is None


@pytest.mark.parametrize("version", ["", "8", "12", "14", "013", "13, 8", "x"])
def test_another_version_is_told_ours(version: str) -> None:
    result = check_handshake(handshake_head(Sec_WebSocket_Version=version))
    assert isinstance(result, Refusal)
    assert result.status == 426
    assert result.fields[0] == (b"Sec-WebSocket-Version", b"13")
    assert (b"Upgrade", b"websocket") in result.fields
    assert isinstance(check_handshake(handshake_head(without="Sec-WebSocket-Version")), Refusal)


@pytest.mark.parametrize("changed", [{"Content_Length": "1"}, {"Transfer_Encoding": "chunked"}])
def test_a_handshake_with_a_body_is_refused(changed: dict[str, str]) -> None:
    result = check_handshake(handshake_head(**changed))
    assert isinstance(result, Refusal)
    assert (result.status, result.fields) == (400, [])


def test_the_accept_token_of_the_rfc() -> None:
    assert accept_token(KEY.encode()) == ACCEPT.encode()


OFFER = Handshake(KEY.encode(), ("chat", "superchat"), "")


@pytest.mark.parametrize(
    ("protocol", "header", "chosen"),
    [
        (None, None, None),
        ("chat", None, "chat"),
        (None, "superchat", "superchat"),
        ("superchat", "chat", "superchat"),
        ("other", None, None),
        (None, "other", None),
        ("other", "chat", None),
        (None, "chat, superchat", None),
        ("", None, None),
    ],
)
def test_only_an_offered_subprotocol_is_answered(protocol: str | None, header: str | None, chosen: str | None) -> None:
    headers = Headers({} if header is None else {"sec-WebSocket-protocol": header})
    assert select_subprotocol(OFFER, protocol, headers) == chosen


def test_the_shortest_101() -> None:
    assert response_101(OFFER, Headers(), None).decode() == (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    )


def test_the_101_has_the_applications_headers_but_not_in_the_place_of_ours() -> None:
    headers = Headers(
        [
            ("Set-Cookie", "a=1"),
            ("upgrade", "x"),
            ("CONNECTION", "x"),
            ("Sec-WebSocket-Accept", "x"),
            ("Content-Length", "5"),
            ("Transfer-Encoding", "chunked"),
            ("Sec-WebSocket-Protocol", "x"),
            ("Sec-WebSocket-Extensions", "x"),
            ("X-Name", "\xe9"),
            ("set-cookie", "b=2"),
        ]
    )
    assert response_101(OFFER, headers, "chat", "permessage-deflate").decode("latin-1") == (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {ACCEPT}\r\n"
        "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
        "Set-Cookie: a=1\r\nX-Name: \xe9\r\nset-cookie: b=2\r\n\r\n"
    )


PIECES = st.sampled_from(
    [
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Version: 8",
        "Content-Length: 5",
        'Sec-WebSocket-Protocol: a,\tb;, "c"',
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=abc",
        "Sec-WebSocket-Protocol: \xe9",
    ]
)
LINES = PIECES | st.text(st.characters(max_codepoint=255), max_size=12).map("Sec-WebSocket-Protocol: {}".format)


@given(st.lists(LINES, max_size=8), st.booleans())
def test_whatever_comes_is_judged_and_answered_without_failing(lines: list[str], complete: bool) -> None:
    base = ["Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {KEY}"] if complete else []
    http = HttpProtocol(16384, 100)
    http.feed("\r\n".join(["GET / HTTP/1.1", "Host: a", *base, *lines, "", ""]).encode("latin-1"))
    try:
        head = http.next_head()
    except HttpError:
        return
    assert head is not None
    result = check_handshake(head)
    if isinstance(result, Handshake):
        answer = response_101(result, Headers(), next(iter(result.protocols), None))
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert answer.count(b"\r\n\r\n") == 1
