"""The exceptions: what they carry, the words they make of it, and that they survive a pickle.

Covers `trio_bunws._errors` alone; who raises what is tested where it is raised.
"""

from __future__ import annotations

import pickle

import pytest

from trio_bunws._close import CloseFrame
from trio_bunws._errors import (
    BrokerError,
    BunwsError,
    ConnectionClosed,
    HandshakeError,
    LocalProtocolError,
    RemoteProtocolError,
)
from trio_bunws._headers import Headers

BYE = CloseFrame(1000, "bye")
AWAY = CloseFrame(1001, "")
EVERY_ERROR = [
    BunwsError("words"),
    LocalProtocolError("words"),
    RemoteProtocolError("reserved bits are set", 1002),
    ConnectionClosed(BYE, AWAY),
    ConnectionClosed(None, AWAY, code=1006, reason="WebSocket timed out from inactivity"),
    HandshakeError(403, Headers({"X-Why": "no"}), b"forbidden"),
    BrokerError("words"),
]


@pytest.mark.parametrize("error", EVERY_ERROR)
def test_every_error_is_a_bunws_error(error: BunwsError) -> None:
    assert isinstance(error, BunwsError)


@pytest.mark.parametrize("error", EVERY_ERROR)
def test_every_error_survives_a_pickle_with_its_data(error: BunwsError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_remote_protocol_error_carries_the_close_code() -> None:
    error = RemoteProtocolError("reserved bits are set", 1002)
    assert (error.message, error.close_code) == ("reserved bits are set", 1002)
    assert str(error) == "reserved bits are set (close code 1002)"


@pytest.mark.parametrize(
    ("received", "sent", "code", "reason"),
    [
        (BYE, AWAY, 1000, "bye"),
        (AWAY, BYE, 1001, ""),
        (BYE, None, 1000, "bye"),
        (None, BYE, 1000, "bye"),
        (None, None, 1006, ""),
    ],
)
def test_connection_closed_takes_its_code_from_received_then_sent_then_1006(
    received: CloseFrame | None, sent: CloseFrame | None, code: int, reason: str
) -> None:
    error = ConnectionClosed(received, sent)
    assert (error.received, error.sent, error.code, error.reason) == (received, sent, code, reason)


def test_connection_closed_can_be_told_its_code_and_reason() -> None:
    error = ConnectionClosed(BYE, AWAY, code=1006, reason="timed out")
    assert (error.code, error.reason) == (1006, "timed out")


def test_connection_closed_with_an_own_code_does_not_take_the_reason_of_a_frame() -> None:
    assert ConnectionClosed(BYE, None, code=1006).reason == ""


@pytest.mark.parametrize(
    ("received", "sent", "words"),
    [
        (BYE, AWAY, "connection closed with 1000 (bye): received 1000 (bye), sent 1001"),
        (None, AWAY, "connection closed with 1001: sent 1001"),
        (BYE, None, "connection closed with 1000 (bye): received 1000 (bye)"),
        (None, None, "connection closed with 1006: no Close frame was received or sent"),
    ],
)
def test_connection_closed_says_which_frames_there_were(
    received: CloseFrame | None, sent: CloseFrame | None, words: str
) -> None:
    assert str(ConnectionClosed(received, sent)) == words


def test_handshake_error_carries_the_response() -> None:
    headers = Headers({"X-Why": "no"})
    error = HandshakeError(403, headers, b"forbidden")
    assert (error.status, error.headers, error.body) == (403, headers, b"forbidden")
    assert str(error) == "the server answered the WebSocket handshake with HTTP status 403"


def test_handshake_error_says_what_is_wrong_with_a_101() -> None:
    error = HandshakeError(101, Headers(), b"", reason="its Upgrade is not websocket")
    assert error.reason == "its Upgrade is not websocket"
    assert str(error).endswith("with HTTP status 101, but its Upgrade is not websocket")


def test_handshake_error_says_who_refused_and_where_a_redirect_leads() -> None:
    refused = HandshakeError(407, Headers(), b"", from_proxy=True)
    assert refused.from_proxy
    assert str(refused) == "the proxy answered CONNECT with HTTP status 407"
    moved = HandshakeError(302, Headers({"Location": "/there"}), b"")
    assert not moved.from_proxy
    assert str(moved).endswith("with HTTP status 302, a redirect to /there, which is not followed")
    assert str(HandshakeError(302, Headers(), b"")).endswith("with HTTP status 302")
    assert str(HandshakeError(200, Headers({"Location": "/there"}), b"")).endswith("with HTTP status 200")
