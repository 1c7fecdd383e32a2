"""A file as the body of a response: whether it may be served, what of it a client wants, and of which type it is.

`Response.file` makes one. It is opened and read by blocking methods, which `_http_stream.py` calls in a worker thread;
nothing here knows of trio. Sources: RFC 9110, sections 13 (conditions) and 14 (ranges).
"""

from __future__ import annotations

import errno
import mimetypes
import os
import re
import stat
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, Union, cast
from urllib.parse import quote

if TYPE_CHECKING:
    from trio_bunws._headers import Headers

StrPath: TypeAlias = Union[str, "os.PathLike[str]"]

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


class FileBody:
    """A file to be sent; not yet opened."""

    __slots__ = ("_path", "_root")

    def __init__(self, path: StrPath, root: StrPath | None) -> None:
        self._path: Final = _checked_path("path", path)
        self._root: Final = None if root is None else _checked_path("root", root)

    def open(self, method: str, headers: Headers, status: int) -> OpenFile:
        """Open the file and decide how a request with these headers is answered, by ``status`` if all is well. Blocks.

        Raises:
            OSError: if the system fails; a path that cannot be served is no failure but a 404.
        """
        try:
            path = self._resolve()
            descriptor = os.open(path, OPEN_FLAGS)
        except ValueError:  # a NUL in the path, or one outside the root
            return OpenFile(None)
        except OSError as exc:
            if exc.errno in NOT_THERE:
                return OpenFile(None)
            raise
        file = OpenFile(descriptor)
        try:
            file.decide(self._path, method, headers, status)
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

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self.found = False
        """Whether there is a file that may be served; if not, the answer is a plain 404."""
        self.status: int = HTTPStatus.NOT_FOUND.value
        self.fields: list[tuple[str, str]] = []
        """Headers that tell of the file."""
        self.left = 0
        """Bytes that are still to be sent."""

    def decide(self, path: str, method: str, headers: Headers, status: int) -> None:
        """Find out what answers this request. Blocks.

        A ``status`` other than 200 makes it the page of that status, which is sent as a whole.
        """
        info = os.fstat(self._open_descriptor())
        if not stat.S_ISREG(info.st_mode):
            return
        self.found = True
        size = info.st_size
        # A validator without Last-Modified: with that, browsers would take the file from their cache unasked.
        etag = f'"{info.st_mtime_ns:x}-{size:x}"'
        self.fields = [("ETag", etag)]
        span = None
        if status == HTTPStatus.OK:
            if method in ("GET", "HEAD") and _matches(headers.get("if-none-match", ""), etag):
                self.status = 304
                return
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
    """Compare as `If-None-Match` does: weakly (RFC 9110, section 13.1.2)."""
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
