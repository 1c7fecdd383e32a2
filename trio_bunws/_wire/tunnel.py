"""The way through a proxy, without I/O: the CONNECT request, and what the proxy must answer (RFC 9110, section 9.3.6).

`_connect.py` drives it, before TLS and the opening handshake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trio_bunws._errors import HandshakeError, RemoteProtocolError
from trio_bunws._wire.answer import PROTOCOL_ERROR, Answer

if TYPE_CHECKING:
    from trio_bunws._headers import Headers


class Tunnel:
    """One request for a tunnel. You must send, feed and ask for the result as with `Opening`."""

    __slots__ = ("_answer", "request")

    def __init__(self, authority: str, headers: Headers) -> None:
        """`authority` is the server's host and port, `headers` are the proxy's, with its authorization."""
        fields = [(b"Host", authority.encode()), *headers.raw()]
        self._answer: Final = Answer("proxy", "CONNECT", authority, fields)
        self.request: Final = self._answer.request
        """The bytes to send."""

    @property
    def refused(self) -> bool:
        """Whether the head of a response that refuses has come."""
        return self._answer.refused

    def feed(self, data: bytes) -> bool:
        """Take what was read; True: that was all. Raises as `Answer.feed`."""
        return self._answer.feed(data)

    def result(self) -> None:
        """Return if there is a tunnel now.

        Raises:
            HandshakeError: if the proxy refused.
            RemoteProtocolError: if it sent more than its answer: the server does not speak first.
        """
        if self.refused:
            answer = self._answer
            raise HandshakeError(answer.status, answer.headers(), answer.body, from_proxy=True)
        if self._answer.trailing:
            raise RemoteProtocolError("the proxy sent more than its answer", PROTOCOL_ERROR)
