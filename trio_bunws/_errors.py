"""Every exception class of the package, and nothing that raises one.

    Exception
    └── BunwsError
        ├── LocalProtocolError      we were about to break the protocol
        ├── RemoteProtocolError     the peer broke it
        ├── ConnectionClosed        the connection is over
        ├── HandshakeError          the server refused the opening handshake
        └── BrokerError             the broker is unreachable or out of step

Errors carry data; the words are made from it in ``__str__``. Misuse of the API raises the builtin that a
caller expects (`TypeError`, `ValueError`, `RuntimeError`), so it has no class here. All rows import this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trio_bunws._close import CloseFrame
    from trio_bunws._headers import Headers

NO_CLOSE_FRAME: Final = 1006
"""The code that stands for "no Close frame at all" (RFC 6455, section 7.1.5); never on the wire."""
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
"""Status codes of responses that only say where else to ask."""


class BunwsError(Exception):
    """The base class of all exceptions that the package defines."""


class LocalProtocolError(BunwsError):
    """This side was about to do something that the protocol forbids in its present state."""


class RemoteProtocolError(BunwsError):
    """The peer broke the protocol.

    Args:
        message: what it did, in words.
        close_code: the code that the connection is closed with, such as 1002, 1007 or 1009.
    """

    def __init__(self, message: str, close_code: int) -> None:
        super().__init__(message, close_code)
        self.message = message
        self.close_code = close_code

    def __str__(self) -> str:
        return f"{self.message} (close code {self.close_code})"


class ConnectionClosed(BunwsError):
    """The connection is over, so what was waited for cannot happen any more.

    Args:
        received: the peer's Close frame, or None if none came.
        sent: our Close frame, or None if none was sent.
        code: how the connection ended, as in `CloseInfo`; by default the code of ``received``, else of
            ``sent``, else 1006.
        reason: the reason given with ``code``; without a ``code``, the one in the same frame, or "".
    """

    def __init__(
        self,
        received: CloseFrame | None,
        sent: CloseFrame | None,
        *,
        code: int | None = None,
        reason: str = "",
    ) -> None:
        # Pickle rebuilds an exception from its positional arguments and then restores its attributes.
        super().__init__(received, sent)
        frame = received if received is not None else sent
        if code is None:
            code, reason = (NO_CLOSE_FRAME, reason) if frame is None else (frame.code, reason or frame.reason)
        self.received = received
        self.sent = sent
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        ended = f"connection closed with {_in_words(self.code, self.reason)}"
        frames = [
            f"{verb} {_in_words(*frame)}"
            for verb, frame in (("received", self.received), ("sent", self.sent))
            if frame is not None
        ]
        return f"{ended}: {', '.join(frames) or 'no Close frame was received or sent'}"


class HandshakeError(BunwsError):
    """The server answered the opening handshake with something other than a valid 101.

    Args:
        status: the status code of its response.
        headers: the headers of its response.
        body: the first bytes of the response's body, as far as it was read.
        reason: what is wrong with a response whose status is 101, or "".
        from_proxy: whether it was the proxy that refused, when asked to connect to the server.
    """

    def __init__(
        self, status: int, headers: Headers, body: bytes, *, reason: str = "", from_proxy: bool = False
    ) -> None:
        super().__init__(status, headers, body)
        self.status = status
        self.headers = headers
        self.body = body
        self.reason = reason
        self.from_proxy = from_proxy

    def __str__(self) -> str:
        if self.from_proxy:
            return f"the proxy answered CONNECT with HTTP status {self.status}"
        answered = f"the server answered the WebSocket handshake with HTTP status {self.status}"
        location = self.headers.get("location")
        if self.status in REDIRECTS and location is not None:
            return f"{answered}, a redirect to {location}, which is not followed"
        return f"{answered}, but {self.reason}" if self.reason else answered


class BrokerError(BunwsError):
    """The broker cannot be reached, or what it sent makes no sense."""


def _in_words(code: int, reason: str) -> str:
    return f"{code} ({reason})" if reason else str(code)
