"""The way through a proxy, without I/O: the CONNECT request, and what the proxy must answer (RFC 9110, section 9.3.6).

`_connect.py` drives it, before TLS and the opening handshake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_bunws._errors import HandshakeError, RemoteProtocolError
from trio_bunws._wire.client_request import PROTOCOL_ERROR, ClientRequest

if TYPE_CHECKING:
    from trio_bunws._headers import Headers


class Tunnel(ClientRequest):
    """One request for a tunnel."""

    __slots__ = ()

    def __init__(self, authority: str, headers: Headers) -> None:
        """`authority` is the server's host and port, `headers` are the proxy's, with its authorization."""
        super().__init__("proxy", "CONNECT", authority, [(b"Host", authority.encode()), *headers.raw()])

    def result(self) -> None:
        """Return if there is a tunnel now.

        Raises:
            HandshakeError: if the proxy refused.
            RemoteProtocolError: if it sent more than its answer: the server does not speak first.
        """
        if self.refused:
            raise HandshakeError(self.status, self.response_headers(), self.body, from_proxy=True)
        if self.trailing:
            raise RemoteProtocolError("the proxy sent more than its answer", PROTOCOL_ERROR)
