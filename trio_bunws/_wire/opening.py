"""The opening handshake of a WebSocket, the client's side, without I/O: the request, and what the answer must be.

It checks all that RFC 6455, section 4.1, wants of a 101, and keeps the beginning of any other answer for the error.
`_connect.py` drives it; h11 reads the response's head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import h11

from trio_bunws._errors import HandshakeError, RemoteProtocolError
from trio_bunws._headers import Headers
from trio_bunws._wire import compression
from trio_bunws._wire.upgrade import accept_token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_bunws._options import PerMessageDeflate

MAX_HEAD: Final = 16 * 1024
"""Most bytes of a response's head."""
MAX_BODY: Final = 16 * 1024
"""Most bytes kept of the body of a response that refuses."""
SWITCHING: Final = 101
PROTOCOL_ERROR: Final = 1002
NO_ANSWER: Final = 1006
OURS: Final = frozenset(
    {
        "upgrade",
        "connection",
        "content-length",
        "transfer-encoding",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
    }
)
"""Fields of the request that the application does not write."""


class Opened(NamedTuple):
    """What both sides agreed on."""

    protocol: str | None
    """The subprotocol."""
    trailing: bytes
    """Bytes that came behind the 101: the first frames."""
    extensions: str = ""
    """The server's answer to the extensions offered."""
    deflate: compression.Agreement | None = None
    """How messages may be compressed; None: not at all."""


class Opening:
    """One handshake.

    You must send `request`, and then `feed` each read, `b""` for the end of the stream, until that returns True; then
    `result` tells how it ended. It may be asked before, if there is no time to wait for the rest of a refusal.
    """

    __slots__ = ("_body", "_conn", "_deflate", "_key", "_protocols", "_response", "request")

    def __init__(
        self,
        *,
        authority: str,
        resource: str,
        key: bytes,
        protocols: Sequence[str] = (),
        headers: Headers | None = None,
        deflate: bool | PerMessageDeflate = False,
    ) -> None:
        """Prepare the request.

        Args:
            authority: the `Host`, unless `headers` has one.
            resource: the request's target.
            key: base64 of 16 bytes that nobody can predict.
            protocols: the subprotocols to offer, tokens, the preferred one first.
            headers: the application's, with none of `OURS`.
            deflate: the compression to offer.
        """
        self._key: Final = key
        self._protocols: Final = protocols
        self._deflate: Final = deflate
        self._conn: Final = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._response: h11.Response | h11.InformationalResponse | None = None
        self._body = b""
        headers = headers or Headers()
        fields = [] if "host" in headers else [(b"Host", authority.encode())]
        fields += [
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Key", key),
            (b"Sec-WebSocket-Version", b"13"),
        ]
        if protocols:
            fields.append((b"Sec-WebSocket-Protocol", ", ".join(protocols).encode()))
        offer = compression.make_offer(deflate)
        if offer:
            fields.append((b"Sec-WebSocket-Extensions", offer.encode()))
        fields += headers.raw()
        request = self._conn.send(h11.Request(method="GET", target=resource, headers=fields))
        self.request: Final = request + self._conn.send(h11.EndOfMessage())
        """The bytes to send."""

    @property
    def refused(self) -> bool:
        """Whether the head of a response that refuses has come; only its body can still be missing."""
        return isinstance(self._response, h11.Response)

    def feed(self, data: bytes) -> bool:
        """Take what was read; True: that was all.

        Raises:
            RemoteProtocolError: if it is no HTTP response, or the stream ended before there was one.
        """
        if not data and not self.refused:
            raise RemoteProtocolError("the server ended the connection without an answer", NO_ANSWER)
        try:
            self._conn.receive_data(data)
            return self._read()
        except h11.RemoteProtocolError as exc:
            if self.refused:
                return True  # its body is broken off, or broken
            raise RemoteProtocolError(f"the server's answer is no HTTP response: {exc}", PROTOCOL_ERROR) from exc

    def _read(self) -> bool:
        while True:
            match self._conn.next_event():
                case h11.InformationalResponse(status_code=status) as response:
                    if status == SWITCHING:
                        self._response = response
                        return True
                case h11.Response() as response:
                    self._response = response
                case h11.Data(data=data):
                    self._body += data[: MAX_BODY - len(self._body)]
                    if len(self._body) == MAX_BODY:
                        return True
                case h11.EndOfMessage():
                    return True
                case _:
                    return False

    def result(self) -> Opened:
        """Return what was agreed on.

        Raises:
            HandshakeError: if the server refused, or its 101 is not an answer to this request.
            RemoteProtocolError: if a header of its answer holds a control character.
        """
        response = self._response
        assert response is not None  # feed() returned True, or `refused` was looked at
        try:
            headers = Headers([(name.decode(), value.decode("latin-1")) for name, value in response.headers])
        except ValueError as exc:
            raise RemoteProtocolError(f"the server's answer has a bad header: {exc}", PROTOCOL_ERROR) from exc
        if self.refused:
            raise HandshakeError(response.status_code, headers, self._body)
        fault = self._fault(headers)
        agreed = None
        extensions = ", ".join(headers.getall("sec-websocket-extensions"))
        if not fault:
            try:
                agreed = compression.accept_answer(extensions, self._deflate)
            except ValueError as exc:
                fault = str(exc)
        if fault:
            raise HandshakeError(SWITCHING, headers, b"", reason=fault)
        return Opened(headers.get("sec-websocket-protocol"), self._conn.trailing_data[0], extensions, agreed)

    def _fault(self, headers: Headers) -> str:
        """Tell what is wrong with a 101; "" if nothing."""
        if [value.lower() for value in headers.getall("upgrade")] != ["websocket"]:
            return "its Upgrade is not websocket"
        connection = ",".join(headers.getall("connection")).lower()
        if "upgrade" not in (token.strip() for token in connection.split(",")):
            return "its Connection is not Upgrade"
        if headers.getall("sec-websocket-accept") != [accept_token(self._key).decode()]:
            return "its Sec-WebSocket-Accept does not belong to our key"
        answered = headers.getall("sec-websocket-protocol")
        if len(answered) > 1 or any(name not in self._protocols for name in answered):
            return "it answers a subprotocol that was not offered"
        return ""
