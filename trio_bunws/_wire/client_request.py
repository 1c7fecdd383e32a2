"""A client's request that wants to go on without HTTP, and the response to it, without I/O.

What is asked, and what the response must be, is for the subclasses: `opening.py` (an upgrade) and `tunnel.py`
(CONNECT). `_connect.py` drives both. h11 writes the request and reads the response.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import h11

from trio_bunws._errors import RemoteProtocolError
from trio_bunws._headers import Headers

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_HEAD: Final = 16 * 1024
"""Most bytes of a response's head."""
MAX_BODY: Final = 16 * 1024
"""Most bytes kept of the body of a response that refuses."""
PROTOCOL_ERROR: Final = 1002
NO_ANSWER: Final = 1006


class ClientRequest:
    """One request and its response.

    You must send `request`, and then `feed` each read, `b""` for the end of the stream, until that returns True, or
    until it is `refused` and there is no time to wait for the rest. The `result` of a subclass then tells how it ended.
    """

    __slots__ = ("_conn", "_response", "_who", "body", "request")

    def __init__(self, who: str, method: str, target: str, fields: Sequence[tuple[bytes, bytes]]) -> None:
        """`who` answers, for messages: "server" or "proxy"."""
        self._who: Final = who
        self._conn: Final = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._response: h11.Response | h11.InformationalResponse | None = None
        self.body: bytes = b""
        """What came of the body of a response that refuses."""
        request = self._conn.send(h11.Request(method=method, target=target, headers=list(fields)))
        self.request: Final = request + self._conn.send(h11.EndOfMessage())
        """The bytes to send."""

    @property
    def _switched(self) -> bool:
        return self._conn.their_state is h11.SWITCHED_PROTOCOL

    @property
    def refused(self) -> bool:
        """Whether the head of a response that refuses has come; only its body can still be missing."""
        return self._response is not None and not self._switched

    @property
    def status(self) -> int:
        """The response's status code."""
        assert self._response is not None  # feed() returned True, or `refused` was looked at
        return self._response.status_code

    @property
    def trailing(self) -> bytes:
        """What came behind a response that grants."""
        return self._conn.trailing_data[0]

    def response_headers(self) -> Headers:
        """Return the response's headers. Raises `RemoteProtocolError` if one holds a control character."""
        assert self._response is not None  # as above
        try:
            return Headers([(name.decode(), value.decode("latin-1")) for name, value in self._response.headers])
        except ValueError as exc:
            raise RemoteProtocolError(f"the {self._who}'s answer has a bad header: {exc}", PROTOCOL_ERROR) from exc

    def feed(self, data: bytes) -> bool:
        """Take what was read; True: that was all.

        Raises:
            RemoteProtocolError: if it is no HTTP response, or the stream ended before there was one.
        """
        if not data and not self.refused:
            raise RemoteProtocolError(f"the {self._who} ended the connection without an answer", NO_ANSWER)
        try:
            self._conn.receive_data(data)
            return self._read()
        except h11.RemoteProtocolError as exc:
            if self.refused:
                return True  # its body is broken off, or broken
            raise RemoteProtocolError(f"the {self._who}'s answer is no HTTP response: {exc}", PROTOCOL_ERROR) from exc

    def _read(self) -> bool:
        while True:
            match self._conn.next_event():
                case h11.InformationalResponse() as response:
                    if self._switched:
                        self._response = response
                        return True
                case h11.Response() as response:
                    self._response = response
                    if self._switched:
                        return True
                case h11.Data(data=data):
                    self.body += data[: MAX_BODY - len(self.body)]
                    if len(self.body) == MAX_BODY:
                        return True
                case h11.EndOfMessage():
                    return True
                case _:
                    return False
