"""The response that `fetch` returns: a checked value, made by the application and sent by `_http_stream.py`.

Nothing here waits or writes. How a response is framed is `_wire/http.py`'s business, what a file has to do with it
`_file_body.py`'s.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from trio_bunws._file_body import FileBody
from trio_bunws._headers import Headers

if TYPE_CHECKING:
    from trio_bunws._file_body import StrPath
    from trio_bunws._headers import HeadersLike

EMPTY_STATUSES: Final = frozenset({204, 205, 304})
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class Response:
    """An HTTP response.

    Args:
        body: text (sent as UTF-8), bytes, or an async iterable of bytes, which is sent as it comes, chunked unless
            ``headers`` have a Content-Length, and closed afterwards whatever happens.
        status: 200 to 599.
        headers: see `Headers`.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if the status is out of range or allows no body, or a header cannot be sent.
    """

    __slots__ = ("_body", "headers", "status")

    def __init__(
        self,
        body: str | bytes | AsyncIterable[bytes] | None = None,
        status: int = 200,
        headers: HeadersLike | None = None,
    ) -> None:
        self._body: bytes | AsyncIterable[bytes] | FileBody
        self.status: int = _checked_status(status)
        self.headers: Headers = Headers() if headers is None else Headers(headers)
        given: object = body  # not every application is type-checked
        if body is None:
            self._body = b""
        elif isinstance(body, str):
            self._body = body.encode()
            if "content-type" not in self.headers:
                self.headers.append("Content-Type", "text/plain;charset=utf-8")
        elif isinstance(body, (bytes, bytearray, memoryview)):
            self._body = bytes(body)
        elif isinstance(given, AsyncIterable):
            self._body = body
        else:
            raise TypeError(f"Response expects body to be str, bytes, an async iterable or None, not {body!r}")
        if self._body and status in EMPTY_STATUSES:
            raise ValueError(f"a response of status {status} has no body")

    @classmethod
    def json(
        cls,
        value: Any,  # noqa: ANN401  # user data
        status: int = 200,
        headers: HeadersLike | None = None,
    ) -> Response:
        """Make a response of ``value`` as JSON. Raises as `json.dumps` and `Response` do."""
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        response = cls(text.encode(), status, headers)
        if "content-type" not in response.headers:
            response.headers.append("Content-Type", "application/json;charset=utf-8")
        return response

    @classmethod
    def redirect(cls, url: str, status: int = 302) -> Response:
        """Make a redirect. Raises `ValueError` if ``status`` is not 301, 302, 303, 307 or 308."""
        if _checked_status(status) not in REDIRECTS:
            raise ValueError(f"redirect expects status to be 301, 302, 303, 307 or 308, not {status}")
        return cls(None, status, [("Location", _location(url))])

    @classmethod
    def file(cls, path: StrPath, *, root: StrPath | None = None) -> Response:
        """Make a response of a file's content, its type by the name; a range is served if the client asks for one.

        The file is opened when the response is sent; if there is none by then, it is a 404. Headers that are set on the
        response replace ours; with a status other than 200 the whole file is sent, as a page of that status.

        Args:
            path: the file.
            root: a directory. Then ``path`` is relative to it, and a path that resolves outside it (links
                included) is a 404.
        """
        response = cls()
        response._body = FileBody(path, root)
        return response

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


def _checked_status(status: object) -> int:
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(f"Response expects status to be an integer, not {status!r}")
    if not 200 <= status <= 599:
        raise ValueError(f"Response expects status to be from 200 to 599, not {status}")
    return int(status)


def _location(url: object) -> str:
    if not isinstance(url, str):
        raise TypeError(f"redirect expects url to be a str, not {url!r}")
    return "".join(char if char.isascii() else quote(char) for char in url)
