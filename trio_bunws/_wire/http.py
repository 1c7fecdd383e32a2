"""HTTP/1.1 of a server without I/O: bytes in, a checked head and body chunks out, and a response's bytes back.

The head is checked here, on its raw bytes, before h11 sees it, because h11 lets shapes pass that are good for request
smuggling. h11 keeps the state of the cycle and frames both bodies. `_http_stream.py` is the caller.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

import h11

HEAD: Final = re.compile(
    rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++ [!-~]++ HTTP/[0-9]\.[0-9]\r\n"
    rb"(?>[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t -~\x80-\xff]*+\r\n)*+\r\n"
)
"""RFC 9112, sections 3 and 5, without its leniencies: no bare LF, no obs-fold, no control character but tab."""
BAD_PARTIAL: Final = re.compile(rb"(?<!\r)\n|\r(?![\n]|\Z)|\r\n[\t ]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""What no unfinished head may hold, so that garbage is answered at once and not when the time is up."""
TARGET: Final = re.compile(rb"/.*|(?i:https?)://[^/?#]+.*")
HOST: Final = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+,;=:\[\]]*")
SINGLE: Final = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"sec-websocket-key", b"sec-websocket-version"}
)
"""Fields of which a second one is an attack or a mistake."""
MAX_LENGTH_DIGITS: Final = 19
PHRASES: Final = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


class HttpError(Exception):
    """The request cannot be served: `status` and `reason` are the answer, and the connection ends after it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.status} {self.reason}"


class RequestHead:
    """A head that was checked. Names in `fields` are lower-case; `single` has those of `SINGLE`."""

    __slots__ = ("chunked", "content_length", "fields", "http_version", "method", "raw", "single", "target")

    def __init__(self, raw: bytes) -> None:
        """Check ``raw``, a head with its final empty line; raise `HttpError`."""
        if HEAD.fullmatch(raw) is None:
            raise HttpError(400, _fault(raw))
        self.raw = raw
        line, *lines = raw[:-4].split(b"\r\n")
        self.method, self.target, protocol = line.split(b" ")
        self.http_version = protocol[5:]
        self.fields: list[tuple[bytes, bytes]] = []
        self.single: dict[bytes, bytes] = {}
        for line in lines:
            name, _, value = line.partition(b":")
            name = name.lower()
            value = value.strip(b" \t")
            self.fields.append((name, value))
            if name in SINGLE:
                if name in self.single:
                    raise HttpError(400, f"more than one {name.decode()}")
                self.single[name] = value
        if not raw.isascii():
            self._check_ascii()
        self._check_target()
        self._check_framing()

    @property
    def has_body(self) -> bool:
        """Whether a body follows; a chunked one may turn out empty."""
        return self.chunked or self.content_length > 0

    def _check_ascii(self) -> None:
        for name, value in self.fields:
            if not value.isascii() and (name == b"host" or name.startswith(b"sec-websocket-")):
                raise HttpError(400, f"a byte outside ASCII in {name.decode()}")

    def _check_target(self) -> None:
        if not self.http_version.startswith(b"1."):
            raise HttpError(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
        host = self.single.get(b"host")
        if host is None and self.http_version != b"1.0":
            raise HttpError(400, "no host")
        if host is not None and HOST.fullmatch(host) is None:
            raise HttpError(400, "an invalid host")
        if self.method == b"CONNECT":
            raise HttpError(501, "this is not a proxy")
        if TARGET.fullmatch(self.target) is None and (self.method, self.target) != (b"OPTIONS", b"*"):
            raise HttpError(400, "an invalid request target")

    def _check_framing(self) -> None:
        length = self.single.get(b"content-length")
        coding = self.single.get(b"transfer-encoding")
        self.chunked = coding is not None
        self.content_length = 0
        if coding is not None:
            if length is not None or self.http_version == b"1.0":
                raise HttpError(400, "transfer-encoding beside a content-length or in HTTP/1.0")
            if coding.lower() != b"chunked":
                raise HttpError(501, "only the transfer-encoding chunked is supported")
        if length is not None:
            if not length.isdigit() or len(length) > MAX_LENGTH_DIGITS:
                raise HttpError(400, "an invalid content-length")
            self.content_length = int(length)


def _fault(raw: bytes) -> str:
    """Say in words what keeps ``raw`` from being a head."""
    if re.search(rb"(?<!\r)\n|\r(?!\n)", raw):
        return "a line that does not end in CR LF"
    if re.search(rb"\r\n[\t ]", raw):
        return "a folded header line"
    if re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", raw):
        return "a control character"
    return "a malformed request line or header"


class HttpProtocol:
    """One connection's HTTP, cycle after cycle.

    You must call, in each cycle: `feed` and `next_head` until it gives a head; then, if wanted, `next_body` until
    ``b""``; `response_head`, `body_chunk` any number of times, `end`; and `next_cycle`. For an upgrade, `take_trailing`
    after the head instead. Every method may raise `HttpError`; after one only `error_response` is left.
    """

    __slots__ = (
        "_body_done",
        "_buffer",
        "_conn",
        "_left",
        "_max_header_size",
        "_max_headers",
        "_position",
        "_raw",
        "_scanned",
        "_tail",
    )

    def __init__(self, max_header_size: int, max_headers: int) -> None:
        self._max_header_size: Final = max_header_size
        self._max_headers: Final = max_headers
        self._buffer = b""
        self._position = 0  # the buffer before it has been used up
        self._scanned = 0  # the buffer before it holds no end of a head
        self._raw = b""  # the head
        self._conn: h11.Connection | None = None
        self._body_done = True
        self._left: int | None = 0  # bytes of the body that h11 has not got yet; None: it is chunked
        self._tail = b""  # the end of a chunked body so far: three bytes and what h11 got last

    @property
    def buffered(self) -> int:
        """Bytes fed and not yet used."""
        return len(self._buffer) - self._position

    def feed(self, data: bytes) -> None:
        """Take what was read."""
        self._buffer = self._buffer[self._position :] + data if self.buffered else data
        self._scanned = max(0, self._scanned - self._position)
        self._position = 0

    def next_head(self) -> RequestHead | None:
        """Return the next request's head, or None if more must be fed."""
        buffer = self._buffer
        while buffer.startswith(b"\r\n", self._position):  # RFC 9112, section 2.2
            self._position += 2
        start = self._position
        at = buffer.find(b"\r\n\r\n", max(start, self._scanned - 3))
        end = len(buffer) if at < 0 else at + 4
        if end - start > self._max_header_size:
            raise HttpError(431, f"a request's head of more than {self._max_header_size} bytes")
        if at < 0:
            # What is before `start` is no part of this head: a body's last CR does not make a good line end of an LF.
            if buffer.startswith(b"\n", start) or BAD_PARTIAL.search(buffer, max(start, self._scanned - 2)):
                raise HttpError(400, _fault(buffer[start:].removesuffix(b"\r")))
            self._scanned = end
            return None
        self._position = end
        raw = buffer[start:end]
        if raw.count(b"\r\n") - 2 > self._max_headers:
            raise HttpError(431, f"more than {self._max_headers} headers")
        head = RequestHead(raw)
        self._raw = raw
        self._left = None if head.chunked else head.content_length
        self._body_done = self._left == 0
        return head

    def take_trailing(self) -> bytes:
        """Give away what came after the head; the connection is no longer HTTP."""
        trailing = self._buffer[self._position :]
        self._buffer = b""
        self._position = self._scanned = 0
        return trailing

    def _cycle(self) -> h11.Connection:
        """Return this cycle's h11 state, which is made when first needed.

        A handshake that is upgraded never needs it: its 101 takes 11 to 16 us, not 35 to 65. What `RequestHead` lets
        pass, h11 reads in the same way (tests/test_http.py).
        """
        conn = self._conn
        if conn is None:
            conn = self._conn = h11.Connection(h11.SERVER, max_incomplete_event_size=self._max_header_size)
            conn.receive_data(self._raw)
            _next_event(conn)
            if self._body_done:
                _next_event(conn)
        return conn

    @property
    def body_left(self) -> int | None:
        """Bytes of the body that were not read yet; at most, for those at hand count as read. None: unknown."""
        return 0 if self._body_done else self._left

    @property
    def body_done(self) -> bool:
        """Whether `next_body` has given the end of the body."""
        return self._body_done

    @property
    def awaits_continue(self) -> bool:
        """Whether the client wants a ``100 Continue`` before it sends its body, which it may else never do."""
        return not self._body_done and self._cycle().they_are_waiting_for_100_continue

    def accept_body(self) -> bytes:
        """Return the ``100 Continue`` if the client waits for it, else nothing; to be sent before reading the body."""
        if not self.awaits_continue:
            return b""
        return self._cycle().send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))

    def next_body(self) -> bytes | None:
        """Return the next chunk of the body, ``b""`` at its end, or None if more must be fed."""
        if self._body_done:
            return b""
        conn = self._cycle()
        while True:
            event = _next_event(conn)
            if isinstance(event, h11.Data):
                return bytes(event.data)
            if isinstance(event, h11.EndOfMessage):
                self._end_body(conn)
                return b""
            if not self.buffered:
                return None
            self._feed_body(conn)

    def _feed_body(self, conn: h11.Connection) -> None:
        """Give h11 what is surely of this message, so that the next head comes to us first.

        Where a chunked body ends only h11 knows: it gets everything, and `_end_body` takes the rest back.
        """
        stop = len(self._buffer) if self._left is None else self._position + self._left
        data = self._buffer[self._position : stop]
        self._position += len(data)
        if self._left is None:
            self._tail = self._tail[-3:] + data
        else:
            self._left -= len(data)
        conn.receive_data(data)

    def _end_body(self, conn: h11.Connection) -> None:
        self._body_done = True
        if self._left is not None:
            return
        rest = conn.trailing_data[0]
        # h11 takes a bare LF for a line's end in trailers too; a proxy before us may not, and would see the next
        # request begin elsewhere.
        if not self._tail.removesuffix(rest).endswith(b"\r\n\r\n"):
            raise HttpError(400, "a line that does not end in CR LF")
        self._buffer = rest
        self._position = self._scanned = 0

    def response_head(
        self, status: int, fields: list[tuple[bytes, bytes]], length: int | None, *, close: bool = False
    ) -> bytes:
        """Return a response's head.

        Args:
            status: 200 to 599.
            fields: names and values, checked; those that frame the body are replaced by ours.
            length: of the body. None: unknown, then a Content-Length among ``fields`` is believed.
            close: whether to end the connection afterwards, whatever the client wished.

        Raises:
            ValueError: for a Content-Length that is no number.
        """
        drop = {b"transfer-encoding"}
        if length is not None or status == HTTPStatus.NO_CONTENT:
            drop.add(b"content-length")
        if close:
            drop.add(b"connection")
        kept = [field for field in fields if field[0].lower() not in drop]
        if length is not None and status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            kept.append((b"Content-Length", b"%d" % length))
        if close:
            kept.append((b"Connection", b"close"))
        try:
            response = h11.Response(status_code=status, headers=kept, reason=PHRASES.get(status, b""))
        except h11.LocalProtocolError as exc:
            raise ValueError(f"this response cannot be sent: {exc}") from exc
        return self._send(response)

    def body_chunk(self, data: bytes) -> bytes:
        """Return a piece of the body, framed. Raises `ValueError` if it is more than the Content-Length says."""
        return self._send(h11.Data(data=data))

    def end(self) -> bytes:
        """Return what ends the body. Raises `ValueError` if it was less than the Content-Length says."""
        return self._send(h11.EndOfMessage())

    def _send(self, event: h11.Response | h11.Data | h11.EndOfMessage) -> bytes:
        try:
            return self._cycle().send(event)
        except h11.LocalProtocolError as exc:
            raise ValueError(f"this response cannot be sent: {exc}") from exc

    @property
    def keeps_alive(self) -> bool:
        """Whether, with the response sent, another request may follow once this one's body has been read."""
        return self._cycle().our_state is h11.DONE

    def next_cycle(self) -> bool:
        """Return whether another request may follow, and be ready for it."""
        conn = self._cycle()
        again = conn.our_state is h11.DONE and conn.their_state is h11.DONE
        # A fresh Connection costs 1 us, and cannot have kept a byte of the next head from our check.
        self._conn = None
        self._raw = self._tail = b""
        return again


def _next_event(conn: h11.Connection) -> object:
    try:
        return conn.next_event()
    except h11.RemoteProtocolError as exc:
        # Not in h11's words: they quote what the peer sent, and that is nothing for logs.
        is_long = exc.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        reason = "a chunk's size or trailers of too many bytes" if is_long else "a malformed chunked body"
        raise HttpError(exc.error_status_hint, reason) from exc


def error_response(status: int, reason: str, fields: list[tuple[bytes, bytes]] | None = None) -> bytes:
    """Return a whole plain response after which the connection is to be closed; for any state of a protocol."""
    body = reason.encode()
    lines = [
        b"HTTP/1.1 %d %s" % (status, PHRASES.get(status, b"")),
        b"Content-Type: text/plain;charset=utf-8",
        b"Content-Length: %d" % len(body),
        b"Connection: close",
        *(b"%s: %s" % field for field in fields or ()),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
