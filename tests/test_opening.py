"""The client's opening handshake, without I/O: its request, and every answer that is not the right one."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from trio_bunws import HandshakeError, Headers, PerMessageDeflate, RemoteProtocolError
from trio_bunws._wire.client_request import MAX_BODY, MAX_HEAD
from trio_bunws._wire.compression import Agreement, accept_offers
from trio_bunws._wire.http import RequestHead
from trio_bunws._wire.opening import Opening
from trio_bunws._wire.upgrade import Handshake, check_handshake, response_101

# RFC 6455, section 1.3.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
GOOD = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ACCEPT]


def new(
    protocols: tuple[str, ...] = (), headers: Headers | None = None, *, deflate: bool | PerMessageDeflate = False
) -> Opening:
    return Opening(
        authority="h:3000", resource="/chat?x=1", key=KEY, protocols=protocols, headers=headers, deflate=deflate
    )


def answer(*fields: tuple[str, str], status: str = "101 Switching Protocols") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields), "", ""]).encode()


def without(name: str) -> list[tuple[str, str]]:
    return [field for field in GOOD if field[0] != name]


def test_the_request_is_a_handshake_that_our_server_accepts() -> None:
    opening = new(("chat", "superchat"), Headers([("Cookie", "a=1"), ("X-Y", "z")]))
    assert opening.request == (
        b"GET /chat?x=1 HTTP/1.1\r\nHost: h:3000\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: chat, superchat\r\nCookie: a=1\r\nX-Y: z\r\n\r\n"
    )
    handshake = check_handshake(RequestHead(opening.request))
    assert isinstance(handshake, Handshake)
    assert opening.feed(response_101(handshake, Headers(), "superchat"))
    assert opening.result() == ("superchat", b"", "", None)


def test_compression_is_offered_and_what_our_server_answers_is_agreed_on() -> None:
    opening = new(deflate=True)
    assert b"\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" in opening.request
    handshake = check_handshake(RequestHead(opening.request))
    assert isinstance(handshake, Handshake)
    accepted = accept_offers(handshake.extensions, PerMessageDeflate(compress="dedicated", decompress="3KB"))
    assert accepted is not None
    agreement, extensions = accepted
    assert opening.feed(response_101(handshake, Headers(), None, extensions))
    assert opening.result() == (None, b"", extensions, agreement)
    assert agreement.client_max_window_bits == 11


def test_without_compression_nothing_is_offered() -> None:
    assert b"Extensions" not in new(deflate=False).request


def test_an_answer_in_two_headers_is_one_list() -> None:
    opening = new(deflate=True)
    fields = [("Sec-WebSocket-Extensions", "permessage-deflate"), ("Sec-WebSocket-Extensions", "other")]
    assert opening.feed(answer(*GOOD, *fields))
    with pytest.raises(HandshakeError, match="permessage-deflate"):
        opening.result()


def test_an_offer_that_is_not_taken_up_is_no_compression() -> None:
    opening = new(deflate=True)
    assert opening.feed(answer(*GOOD))
    assert opening.result().deflate is None


def test_an_offer_that_is_taken_up_is_an_agreement() -> None:
    opening = new(deflate=PerMessageDeflate(compress="dedicated", decompress="dedicated"))
    assert opening.feed(answer(*GOOD, ("Sec-WebSocket-Extensions", "permessage-deflate")))
    assert opening.result().deflate == Agreement()


@pytest.mark.parametrize(
    ("deflate", "extensions"),
    [
        (False, "permessage-deflate"),
        (True, "x-webkit-deflate-frame"),
        (True, "permessage-deflate, permessage-deflate"),
        (True, "permessage-deflate; client_max_window_bits"),
        (True, "permessage-deflate; unknown"),
        (PerMessageDeflate(compress="3KB"), "permessage-deflate; client_max_window_bits=15"),
    ],
)
def test_an_extension_that_was_not_offered_so_fails(deflate: bool | PerMessageDeflate, extensions: str) -> None:
    opening = new(deflate=deflate)
    assert opening.feed(answer(*GOOD, ("Sec-WebSocket-Extensions", extensions)))
    with pytest.raises(HandshakeError) as caught:
        opening.result()
    assert caught.value.status == 101


def test_the_host_may_be_another() -> None:
    assert b"\r\nhost: other\r\n" in new(headers=Headers({"host": "other"})).request
    assert b"h:3000" not in new(headers=Headers({"host": "other"})).request


@given(cut=st.integers(0, 400))
def test_the_answer_is_found_wherever_it_is_cut_and_frames_behind_it_are_kept(cut: int) -> None:
    opening = new()
    data = answer(*GOOD, ("X", "y")) + b"\x81\x02hi"
    head, rest = data[:cut], data[cut:]
    opening_done = opening.feed(head) if head else False
    if opening_done:
        assert opening.result() == (None, head.partition(b"\r\n\r\n")[2], "", None)
    else:
        assert opening.feed(rest)
        assert opening.result() == (None, b"\x81\x02hi", "", None)


def test_other_informational_responses_are_passed_over() -> None:
    opening = new()
    assert not opening.feed(answer(status="100 Continue"))
    assert not opening.refused
    assert opening.feed(answer(status="103 Early Hints") + answer(*GOOD))
    assert opening.result().protocol is None


@pytest.mark.parametrize(
    "fields",
    [
        [("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade"), ACCEPT],
        [*GOOD, ("Connection", "keep-alive")],
        [*GOOD, ("Sec-WebSocket-Extensions", "")],
        [*GOOD, ("Sec-WebSocket-Protocol", "chat")],
    ],
)
def test_what_the_rfc_leaves_open_is_accepted(fields: list[tuple[str, str]]) -> None:
    opening = new(("chat",))
    assert opening.feed(answer(*fields))
    opening.result()


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        (without("Upgrade"), "Upgrade is not websocket"),
        ([*without("Upgrade"), ("Upgrade", "h2c")], "Upgrade is not websocket"),
        ([*GOOD, ("Upgrade", "websocket")], "Upgrade is not websocket"),
        (without("Connection"), "Connection is not Upgrade"),
        ([*without("Connection"), ("Connection", "close")], "Connection is not Upgrade"),
        (without("Sec-WebSocket-Accept"), "Accept does not belong"),
        ([*without("Sec-WebSocket-Accept"), ("Sec-WebSocket-Accept", ACCEPT[1].lower())], "Accept does not belong"),
        ([*GOOD, ACCEPT], "Accept does not belong"),
        ([*GOOD, ("Sec-WebSocket-Extensions", "permessage-deflate")], "extension that was not offered"),
        ([*GOOD, ("Sec-WebSocket-Protocol", "other")], "subprotocol that was not offered"),
        ([*GOOD, ("Sec-WebSocket-Protocol", "CHAT")], "subprotocol that was not offered"),
        ([*GOOD, ("Sec-WebSocket-Protocol", "chat, chat")], "subprotocol that was not offered"),
        ([*GOOD, *[("Sec-WebSocket-Protocol", "chat")] * 2], "subprotocol that was not offered"),
    ],
)
def test_a_101_that_is_not_right_fails(fields: list[tuple[str, str]], complaint: str) -> None:
    opening = new(("chat",))
    assert opening.feed(answer(*fields))
    with pytest.raises(HandshakeError, match=complaint) as caught:
        opening.result()
    assert caught.value.status == 101
    assert caught.value.headers == Headers(fields)


def test_a_refusal_comes_with_its_headers_and_body() -> None:
    opening = new()
    assert not opening.feed(answer(("X-Why", "no"), ("Content-Length", "9"), status="403 Forbidden") + b"for")
    assert opening.refused
    assert opening.feed(b"bidden")
    with pytest.raises(HandshakeError) as caught:
        opening.result()
    assert (caught.value.status, caught.value.headers["x-why"], caught.value.body) == (403, "no", b"forbidden")


def test_a_redirect_is_reported_and_not_followed() -> None:
    opening = new()
    assert opening.feed(answer(("Location", "ws://other/"), ("Content-Length", "0"), status="302 Found"))
    with pytest.raises(HandshakeError) as caught:
        opening.result()
    assert (caught.value.status, caught.value.headers["location"]) == (302, "ws://other/")


@pytest.mark.parametrize("rest", [b"", b"no chunk\r\n"])
def test_a_refusal_whose_body_breaks_off_is_reported_as_far_as_it_came(rest: bytes) -> None:
    opening = new()
    head = answer(("Transfer-Encoding", "chunked"), status="500 Internal Server Error")
    assert not opening.feed(head + b"3\r\nabc\r\n")
    assert opening.feed(rest)
    with pytest.raises(HandshakeError) as caught:
        opening.result()
    assert caught.value.body == b"abc"


def test_a_body_up_to_the_end_of_the_stream_is_read() -> None:
    opening = new()
    assert not opening.feed(b"HTTP/1.0 502 Bad Gateway\r\n\r\nsorry")
    assert opening.feed(b"")
    with pytest.raises(HandshakeError) as caught:
        opening.result()
    assert caught.value.body == b"sorry"


def test_no_more_of_a_body_is_kept_than_is_good_for_an_error() -> None:
    opening = new()
    assert not opening.feed(answer(("Content-Length", "1000000"), status="404 Not Found"))
    assert opening.feed(b"x" * 100_000)
    with pytest.raises(HandshakeError) as caught:
        opening.result()
    assert caught.value.body == b"x" * MAX_BODY


@pytest.mark.parametrize("data", [b"SSH-2.0-x\r\n\r\n", b"\x00" * 100, b"HTTP/1.1 101\r\nno colon\r\n\r\n"])
def test_what_is_no_http_is_a_protocol_error(data: bytes) -> None:
    opening = new()
    with pytest.raises(RemoteProtocolError, match="no HTTP response") as caught:
        opening.feed(data)
    assert caught.value.close_code == 1002


def test_a_head_without_end_is_not_collected() -> None:
    opening = new()
    opening.feed(b"HTTP/1.1 101 Switching Protocols\r\n")
    with pytest.raises(RemoteProtocolError, match="no HTTP response"):
        opening.feed(b"X: " + b"y" * MAX_HEAD)


def test_an_end_without_an_answer_is_a_protocol_error() -> None:
    with pytest.raises(RemoteProtocolError, match="without an answer"):
        new().feed(b"")


def test_a_control_character_in_a_header_is_a_protocol_error() -> None:
    opening = new()
    assert opening.feed(answer(*GOOD, ("X", "a\x01b")))
    with pytest.raises(RemoteProtocolError, match="bad header"):
        opening.result()
