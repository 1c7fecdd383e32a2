"""The response that `fetch` returns, and the file that it may stand for.

It does no waiting: a file is opened and read by blocking methods, which the session calls in a worker thread.
How a response is framed is `_wire/http.py`'s business.
"""

from __future__ import annotations

import errno
import json
import mimetypes
import os
import re
import stat
from collections.abc import AsyncIterable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, Union, cast
from urllib.parse import quote

from trio_bunws._headers import Headers

if TYPE_CHECKING:
    from trio_bunws._headers import HeadersLike

StrPath: TypeAlias = Union[str, "os.PathLike[str]"]

EMPTY_STATUSES: Final = frozenset({204, 205, 304})
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))
NOT_THERE: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ENXIO}
)
"""Errors of opening that are the path's fault: a 404, not a 500."""
OPEN_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO must not hold the worker thread
    | getattr(os, "O_NOFOLLOW", 0)  # the path was resolved: a link here is a new one
    | getattr(os, "O_BINARY", 0)
)
TYPES: Final = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
"""What `mimetypes` of some version or system does not know, or knows by an old name."""
RANGE: Final = re.compile(r"bytes=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*", re.IGNORECASE | re.ASCII)


class Response:
    """An HTTP response.

    Args:
        body: text (sent as UTF-8), bytes, or an async iterable of bytes, which is sent as it comes, chunked unless
            ``headers`` have a Content-Length, and closed afterwards whatever happens.
        status: 200 to 599.
        headers: see `Headers`.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if the status is out of range or allows no body, or a header cannot go on the wire.
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

        The file is opened when the response is sent; if there is none by then, it is a 404. Headers that are set on
        the response take the place of ours; with a status other than 200 the whole file is sent, as a page of that
        status.

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


class FileBody:
    """A file to be sent; not yet opened."""

    __slots__ = ("_path", "_root")

    def __init__(self, path: StrPath, root: StrPath | None) -> None:
        self._path: Final = _checked_path("path", path)
        self._root: Final = None if root is None else _checked_path("root", root)

    def open(self, method: str, headers: Headers, status: int = 200) -> OpenFile:
        """Open the file and decide how a request with these headers is answered. Blocks.

        A ``status`` other than 200 makes it the page of that status: no part of it is asked for then.

        Raises:
            OSError: if the system fails; a path that cannot be served is no failure but a 404.
        """
        try:
            path = self._resolve()
            descriptor = os.open(path, OPEN_FLAGS)
        except ValueError:  # a NUL in the path, or one outside the root
            return OpenFile(HTTPStatus.NOT_FOUND)
        except OSError as exc:
            if exc.errno in NOT_THERE:
                return OpenFile(HTTPStatus.NOT_FOUND)
            raise
        file = OpenFile(HTTPStatus.NOT_FOUND, descriptor=descriptor)
        try:
            file.decide(self._path, method, headers if status == 200 else Headers(), status)
        except BaseException:
            file.close()
            raise
        return file

    def _resolve(self) -> str:
        if self._root is None:
            return os.path.realpath(self._path)
        root = os.path.realpath(self._root)
        path = os.path.realpath(Path(root, self._path))
        if not Path(path).is_relative_to(root):
            raise ValueError("outside the root")
        return path


class OpenFile:
    """An answer about a file, and the bytes to send, if any. Somebody must call `close`."""

    __slots__ = ("_descriptor", "fields", "found", "left", "status")

    def __init__(self, status: int, *, descriptor: int | None = None) -> None:
        self.found = False
        self.status = int(status)
        self.fields: list[tuple[str, str]] = []
        self.left = 0
        self._descriptor = descriptor

    def decide(self, path: str, method: str, headers: Headers, status: int) -> None:
        """Find out what answers this request, by ``status`` if by all of the file. Blocks."""
        info = os.fstat(self._open_descriptor())
        if not stat.S_ISREG(info.st_mode):
            return
        self.found = True
        size = info.st_size
        # A validator without Last-Modified: with that, browsers would take the file from their cache unasked.
        etag = f'"{info.st_mtime_ns:x}-{size:x}"'
        self.fields.append(("ETag", etag))
        if method in ("GET", "HEAD") and _matches(headers.get("if-none-match", ""), etag):
            self.status = 304
            return
        span = None
        if method == "GET" and headers.get("if-range", etag) == etag:
            span = parse_range(headers.get("range", ""), size)
        start, stop = span or (0, size)
        if span is not None and start >= stop:
            self.status = 416
            self.fields = [("Content-Range", f"bytes */{size}")]
            return
        self.status = status
        self.left = stop - start
        self.fields += [("Content-Type", content_type(path)), ("Accept-Ranges", "bytes")]
        if span is not None:
            self.status = 206
            self.fields.append(("Content-Range", f"bytes {start}-{stop - 1}/{size}"))
            os.lseek(self._open_descriptor(), start, os.SEEK_SET)

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most ``size``. Blocks. Raises `EOFError` if the file has become shorter."""
        data = os.read(self._open_descriptor(), min(size, self.left))
        if not data:
            raise EOFError("the file became shorter while it was sent")
        self.left -= len(data)
        return data

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError("this file is closed")
        return self._descriptor

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _matches(condition: str, etag: str) -> bool:
    """Be RFC 9110, section 13.1.2: `If-None-Match` compares weakly."""
    return condition == "*" or etag in (value.strip().removeprefix("W/") for value in condition.split(","))


def parse_range(value: str, size: int) -> tuple[int, int] | None:
    """Return the range of bytes asked for, as ``start, stop``; empty if it cannot be served, None if to be ignored.

    Several ranges are ignored, as RFC 9110, section 14.2, allows, and so is what is no range.
    """
    match = RANGE.fullmatch(value)
    if match is None or match[1] == match[2] == "":
        return None
    if not match[1]:
        return max(0, size - int(match[2])), size
    start = int(match[1])
    stop = int(match[2]) + 1 if match[2] else size
    if match[2] and stop <= start:
        return None
    return start, min(stop, size)


def content_type(path: str) -> str:
    """Return the media type by the file's name; text is taken for UTF-8."""
    known = TYPES.get(Path(path).suffix.lower())
    kind, encoding = (known, None) if known else mimetypes.guess_type(quote(Path(path).name))
    if encoding is not None:
        return "application/gzip" if encoding == "gzip" else "application/octet-stream"
    if kind is None:
        return "application/octet-stream"
    return f"{kind};charset=utf-8" if kind.startswith("text/") else kind


def _checked_path(name: str, value: object) -> str:
    path: object = os.fspath(cast("StrPath", value)) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise TypeError(f"file expects {name} to be a str or a path, not {value!r}")
    return path
