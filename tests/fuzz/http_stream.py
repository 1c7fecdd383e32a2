"""Fuzz target: a client's stream of HTTP requests, through the head, the body, the handshake and `Request`.

Whatever comes, and however it is cut, gives the same requests or `HttpError`, and h11 alone sees every accepted
request begin and end at the same bytes. What only we refuse is not judged here; tests/test_http.py lists it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import h11

from trio_bunws._headers import Headers
from trio_bunws._request import Request
from trio_bunws._wire.http import HttpError, HttpProtocol, RequestHead
from trio_bunws._wire.upgrade import Handshake, Refusal, check_handshake, response_101, select_subprotocol

MAX_HEADER_SIZE: Final = 1024
MAX_HEADERS: Final = 20


class Exchange(NamedTuple):
    """One request as the server sees it, and where its parts end in the stream."""

    head: bytes
    head_end: int
    body: bytes
    end: int


class Outcome(NamedTuple):
    """All requests of a stream, and how it went on after them."""

    exchanges: list[Exchange]
    end: str


def check(data: bytes) -> None:
    """Read ``data`` in one piece, in two, in small ones, and byte by byte; compare these, and with h11 alone."""
    whole = serve([data])
    for size in (1, 2 + len(data) % 31):
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        assert serve(pieces) == whole, f"in pieces of {size} bytes"
    for cut in (len(data) // 4, len(data) // 2):
        assert serve([data[:cut], data[cut:]]) == whole, f"cut at {cut}"
    for exchange in whole.exchanges:
        compare_with_h11(data, exchange)


def serve(pieces: list[bytes]) -> Outcome:
    """Read a connection's bytes as a session does, and answer each request."""
    exchanges: list[Exchange] = []
    try:
        return Outcome(exchanges, Connection(pieces).serve(exchanges))
    except HttpError as caught:
        error = caught
    # Which fault is seen first may depend on the cuts, that there is one may not.
    assert 400 <= error.status < 600
    assert error.reason.isascii()
    return Outcome(exchanges, "refused")


class Connection:
    """A server's side of one connection."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = filter(None, pieces)  # an empty read would be the end
        self._http = HttpProtocol(MAX_HEADER_SIZE, MAX_HEADERS)
        self._fed = 0

    def serve(self, exchanges: list[Exchange]) -> str:
        """Add each request to ``exchanges``, and return how the connection ended."""
        http = self._http
        while True:
            while (head := http.next_head()) is None:
                assert http.buffered <= MAX_HEADER_SIZE
                if not self._feed():
                    return "ended in a head"
            check_request(head)
            head_end = self._fed - http.buffered
            match check_handshake(head):
                case Handshake() as handshake:
                    check_101(handshake)
                    exchanges.append(Exchange(head.raw, head_end, b"", head_end))
                    return f"upgraded, then {http.take_trailing() + b''.join(self._pieces)!r}"
                case Refusal(status=status):
                    return f"refused with {status}"
                case None:
                    pass
            assert http.accept_body() in {b"", b"HTTP/1.1 100 Continue\r\n\r\n"}
            body = b""
            while chunk := self._next_chunk():
                body += chunk
            if not http.body_done:
                return f"ended in a body, after {body!r}"
            exchanges.append(Exchange(head.raw, head_end, body, self._fed - http.buffered))
            answer = http.response_head(200, [], 2)
            if head.method != b"HEAD":  # RFC 9110, section 9.3.2
                answer += http.body_chunk(b"ok")
            answer += http.end()
            assert answer.count(b"\r\n\r\n") == 1
            if not http.next_cycle():
                return "closed"

    def _feed(self) -> bool:
        """Read; False at the end of the stream."""
        piece = next(self._pieces, b"")
        self._http.feed(piece)
        self._fed += len(piece)
        return bool(piece)

    def _next_chunk(self) -> bytes | None:
        """Read the next chunk of the body: ``b""`` at its end, None if the stream ends before."""
        while (chunk := self._http.next_body()) is None:
            if not self._feed():
                return None
        return chunk


def check_request(head: RequestHead) -> None:
    """Look at everything that an application can see of a request; nothing there may raise."""
    request = Request(head.raw)
    assert request.method.encode() == head.method
    assert request.http_version.encode() == head.http_version
    assert request.path
    assert request.url
    assert isinstance(request.query.items(), list)
    assert all(isinstance(value, str) for value in request.cookies.values())
    sent = [(name.lower().encode(), value.encode("latin-1")) for name, value in request.headers.items()]
    assert sent == head.fields


def check_101(handshake: Handshake) -> None:
    """Answer a handshake; nothing of what the client sent may end the answer's head."""
    protocol = select_subprotocol(handshake, next(iter(handshake.protocols), None), Headers())
    answer = response_101(handshake, Headers(), protocol)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert answer.count(b"\r\n") == (6 if protocol else 5)
    assert answer.endswith(b"\r\n\r\n")


def compare_with_h11(data: bytes, exchange: Exchange) -> None:
    """Let h11 alone read the stream from this request on: it must see the same request, and the same end of it."""
    conn = h11.Connection(h11.SERVER, max_incomplete_event_size=len(data))
    conn.receive_data(data[exchange.head_end - len(exchange.head) :])
    request = conn.next_event()
    assert isinstance(request, h11.Request)
    head = RequestHead(exchange.head)
    assert (request.method, request.target, request.http_version) == (head.method, head.target, head.http_version)
    # h11 writes the one transfer-encoding that there is in small letters.
    assert list(request.headers) == [
        (name, value.lower() if name == b"transfer-encoding" else value) for name, value in head.fields
    ]
    body = b""
    while isinstance(event := conn.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert body == exchange.body
    assert len(data) - len(conn.trailing_data[0]) == exchange.end
