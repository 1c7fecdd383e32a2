"""The request that `fetch` gets, and the upgrade that `Server.upgrade` records on it.

A request is the bytes of its head, which the wire has checked, and is parsed where it is looked at, since most
handshakes look at little, and 50,000 open sockets keep theirs. It does no I/O: the session lends it an `Exchange`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar
from urllib.parse import parse_qsl, unquote

from trio_bunws._headers import Headers, MultiDict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_bunws._headers import HeadersLike
    from trio_bunws._transport import SocketAddress
    from trio_bunws._wire.upgrade import Handshake

T = TypeVar("T")
USER: Final = re.compile("//[^/]*@")


class Exchange(Protocol):
    """What a request needs of its session until it is answered."""

    async def read_body(self) -> bytes:
        """Return the next bytes of the body; ``b""`` at its end."""
        ...

    def set_timeout(self, seconds: float) -> None:
        """Allow this request so many seconds without progress; 0: any number."""


class Upgrade(Generic[T]):
    """What `Server.upgrade` was told; the session carries it out when `fetch` has returned.

    Raises:
        TypeError: if ``headers`` are no headers, or ``protocol`` is neither str nor None.
        ValueError: if a header cannot go on the wire.
    """

    __slots__ = ("data", "headers", "protocol")

    def __init__(self, headers: HeadersLike | None, data: T, protocol: str | None) -> None:
        _check_protocol(protocol)
        self.headers = Headers() if headers is None else Headers(headers)
        self.data = data
        self.protocol = protocol


def _check_protocol(value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"upgrade expects protocol to be a str or None, not {value!r}")


class Request:
    """An HTTP request. The server makes it; an application only reads it.

    The body may be read until `fetch` has returned, by one task: as a whole as often as wanted, or once as a stream.
    """

    __slots__ = (
        "__weakref__",
        "_answered",
        "_body",
        "_cookies",
        "_exchange",
        "_handshake",
        "_head",
        "_headers",
        "_line",
        "_query",
        "_remote",
        "_streamed",
        "_tls",
        "_upgrade",
    )

    def __init__(
        self, head: bytes, exchange: Exchange | None = None, remote: SocketAddress | None = None, *, tls: bool = False
    ) -> None:
        self._head = head
        self._exchange = exchange
        self._remote = remote
        self._tls = tls
        self._answered = False
        self._handshake: Handshake | None = None
        self._upgrade: Upgrade[Any] | None = None
        self._body: bytes | None = None
        self._streamed = False
        self._forget()

    def _forget(self) -> None:
        """Drop what can be parsed again."""
        self._line: list[str] | None = None
        self._headers: Headers | None = None
        self._query: MultiDict | None = None
        self._cookies: dict[str, str] | None = None

    def _finish(self) -> None:
        """Note that the request is answered (or about to be upgraded): its session is no longer available."""
        self._answered = True
        self._exchange = None
        self._upgrade = None
        self._forget()

    def _request_line(self) -> list[str]:
        line = self._line
        if line is None:
            line = self._line = self._head[: self._head.index(b"\r\n")].decode("ascii").split(" ")
        return line

    def _split_target(self) -> tuple[str, str]:
        """Return path and query as sent."""
        target = self._request_line()[1].partition("#")[0]
        if not target.startswith(("/", "*")):  # absolute-form, RFC 9112, section 3.2.2
            rest = target.partition("://")[2]
            cut = min(i for i in (rest.find("/"), rest.find("?"), len(rest)) if i >= 0)
            target = rest[cut:]
        path, _, query = target.partition("?")
        return path or "/", query

    def _path_as_sent(self) -> str:
        return self._split_target()[0]

    @property
    def method(self) -> str:
        """The method as sent: ``"GET"``."""
        return self._request_line()[0]

    @property
    def http_version(self) -> str:
        """``"1.1"`` or ``"1.0"``."""
        return self._request_line()[2].removeprefix("HTTP/")

    @property
    def url(self) -> str:
        """The whole URL, percent-encoded as sent; its host is the one the client named."""
        target = self._request_line()[1]
        if not target.startswith(("/", "*")):
            return target
        host = self.headers.get("host") or "localhost"  # HTTP/1.0 need not name one
        return f"{'https' if self._tls else 'http'}://{host}{'' if target == '*' else target}"

    @property
    def path(self) -> str:
        """The path without the query, percent-decoded."""
        return unquote(self._path_as_sent())

    @property
    def query(self) -> MultiDict:
        """The query's parameters, decoded; ``.get`` is the first of a name, ``.getall`` all of them."""
        if self._query is None:
            self._query = MultiDict(parse_qsl(self._split_target()[1], keep_blank_values=True))
        return self._query

    @property
    def headers(self) -> Headers:
        """The header fields; bytes above 0x7F are read as latin-1."""
        if self._headers is None:
            self._headers = Headers._of_head(self._head)
        return self._headers

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies by name, percent-decoded as Bun does; of several with one name the first."""
        if self._cookies is None:
            cookies: dict[str, str] = {}
            for pair in ";".join(self.headers.getall("cookie")).split(";"):
                name, separator, value = pair.partition("=")
                if separator and name.strip():
                    cookies.setdefault(name.strip(), unquote(value.strip()))
            self._cookies = cookies
        return self._cookies

    async def body(self) -> bytes:
        """Read the whole body; calling it again returns the same bytes.

        Raises:
            RuntimeError: if `stream` was begun, another task is reading, or the request has been answered.
            trio.BrokenResourceError: if the client is gone before the end of the body.
        """
        if self._body is None:
            self._body = b"".join([chunk async for chunk in self.stream()])
        return self._body

    async def text(self) -> str:
        """Read the body as UTF-8; what is invalid becomes U+FFFD, a byte order mark is dropped. Raises as `body`."""
        return (await self.body()).decode("utf-8-sig", errors="replace")

    async def json(self) -> Any:  # noqa: ANN401  # user data
        """Read the body as JSON. Raises as `body`, and `json.JSONDecodeError` (a `ValueError`) if it is not JSON."""
        return json.loads(await self.text())

    async def stream(self) -> AsyncIterator[bytes]:
        """Read the body in pieces, as they come; after `body` it is one piece. Raises as `body`."""
        if self._body is not None:
            if self._body:
                yield self._body
            return
        if self._streamed:
            raise RuntimeError("the body of this request has already been read, or is being read, as a stream")
        self._streamed = True
        while chunk := await self._next_chunk():
            yield chunk

    async def _next_chunk(self) -> bytes:
        if self._exchange is None:
            raise RuntimeError("this request has been answered: read its body before fetch returns")
        return await self._exchange.read_body()

    def _set_timeout(self, seconds: float) -> None:
        """Do what `Server.timeout` promises; nothing for a request that has been answered."""
        if self._exchange is not None:
            self._exchange.set_timeout(seconds)

    def __repr__(self) -> str:
        # Without what may be a secret (a query, a password), for this is what logs show.
        where = USER.sub("//", self.url.partition("?")[0].partition("#")[0])
        return f"<Request {self.method} {where}>"


def check_request(method: str, value: object) -> None:
    """Raise `TypeError` unless this is what `fetch` got; `method` is for the message."""
    if not isinstance(value, Request):
        raise TypeError(f"{method} expects a Request, not {type(value).__name__}")
