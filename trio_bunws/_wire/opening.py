"""The opening handshake of a WebSocket, the client's side, without I/O: the request, and what the answer must be.

It checks all that RFC 6455, section 4.1, wants of a 101, and keeps the beginning of any other answer for the error.
`_connect.py` drives it; how it is sent and read is `client_request.py`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from trio_bunws._errors import HandshakeError
from trio_bunws._headers import Headers
from trio_bunws._wire import compression, upgrade
from trio_bunws._wire.client_request import ClientRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_bunws._options import PerMessageDeflate

SWITCHING: Final = 101
OURS: Final = upgrade.OURS | {"sec-websocket-key", "sec-websocket-version"}
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


class Opening(ClientRequest):
    """One handshake."""

    __slots__ = ("_deflate", "_key", "_protocols")

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
        super().__init__("server", "GET", resource, fields)

    def result(self) -> Opened:
        """Return what was agreed on.

        Raises:
            HandshakeError: if the server refused, or its 101 is not an answer to this request.
            RemoteProtocolError: if a header of its answer holds a control character.
        """
        headers = self.response_headers()
        if self.refused:
            raise HandshakeError(self.status, headers, self.body)
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
        return Opened(headers.get("sec-websocket-protocol"), self.trailing, extensions, agreed)

    def _fault(self, headers: Headers) -> str:
        """Tell what is wrong with a 101; "" if nothing."""
        if [value.lower() for value in headers.getall("upgrade")] != ["websocket"]:
            return "its Upgrade is not websocket"
        connection = ",".join(headers.getall("connection")).lower()
        if "upgrade" not in (token.strip() for token in connection.split(",")):
            return "its Connection is not Upgrade"
        if headers.getall("sec-websocket-accept") != [upgrade.accept_token(self._key).decode()]:
            return "its Sec-WebSocket-Accept does not belong to our key"
        answered = headers.getall("sec-websocket-protocol")
        if len(answered) > 1 or any(name not in self._protocols for name in answered):
            return "it answers a subprotocol that was not offered"
        return ""
