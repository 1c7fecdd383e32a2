"""Files as bodies of responses: where they may be, their type, their ranges, and what a client has already.

Covers `trio_bunws._file_body` alone.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, strategies as st

from trio_bunws._file_body import FileBody, OpenFile, content_type, parse_range
from trio_bunws._headers import Headers

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    inside = tmp_path / "public"
    (inside / "sub").mkdir(parents=True)
    (inside / "a.txt").write_bytes(b"0123456789")
    (inside / "empty").touch()
    (inside / "sub" / "b.html").write_bytes(b"<p>")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "public-too").mkdir()
    (tmp_path / "public-too" / "x").touch()
    (inside / "link").symlink_to(tmp_path / "secret")
    (inside / "good-link").symlink_to(inside / "a.txt")
    (inside / "loop").symlink_to(inside / "loop")
    os.mkfifo(inside / "fifo")
    return inside


def opened(path: str | Path, root: str | Path | None, method: str = "GET", **headers: str) -> OpenFile:
    fields = Headers((name.replace("_", "-"), value) for name, value in headers.items())
    return FileBody(path, root).open(method, fields, 200)


def status(path: str | Path, root: Path, method: str = "GET", **headers: str) -> int:
    file = opened(path, root, method, **headers)
    file.close()
    return file.status


def content(file: OpenFile) -> bytes:
    data = b""
    while file.left:
        data += file.read(4)
    file.close()
    return data


def test_a_file_is_read_in_pieces(root: Path) -> None:
    file = opened(root / "a.txt", None)
    assert file.status == 200
    assert file.left == 10
    fields = Headers(file.fields)
    assert fields["content-type"] == "text/plain;charset=utf-8"
    assert fields["accept-ranges"] == "bytes"
    assert content(file) == b"0123456789"


def test_closing_a_file_twice_is_fine(root: Path) -> None:
    file = opened(root / "a.txt", None)
    file.close()
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read(1)


@pytest.mark.parametrize("path", ["a.txt", "sub/../a.txt", "./a.txt", "good-link"])
def test_a_path_is_relative_to_the_root(root: Path, path: str) -> None:
    assert content(opened(path, root)) == b"0123456789"
    assert content(opened(path, str(root))) == b"0123456789"
    assert content(opened(root / path, root)) == b"0123456789"


@pytest.mark.parametrize(
    "path",
    [
        "missing",
        "",
        ".",
        "sub",
        "..",
        "../secret",
        "sub/../../secret",
        "../public-too/x",
        "/etc/passwd",
        "link",
        "loop",
        "fifo",
        "a.txt/b",
        "a.txt\x00",
        "x" * 300,
    ],
)
def test_what_is_outside_the_root_or_no_regular_file_is_a_404(root: Path, path: str) -> None:
    file = opened(path, root)
    assert (file.found, file.status, file.left) == (False, 404, 0)
    file.close()


@pytest.mark.parametrize("path", ["missing", "fifo", "sub", "loop"])
def test_without_root_too_what_is_no_regular_file_is_a_404(root: Path, path: str) -> None:
    file = opened(root / path, None)
    assert file.status == 404
    file.close()


def test_without_root_links_are_followed(root: Path) -> None:
    assert content(opened(root / "link", None)) == b"secret"


def test_the_type_is_that_of_the_name_asked_for_not_of_a_links_target(root: Path) -> None:
    (root / "page.html").symlink_to(root / "a.txt")
    file = opened("page.html", root)
    assert Headers(file.fields)["content-type"] == "text/html;charset=utf-8"
    assert content(file) == b"0123456789"


def test_a_failure_of_the_system_is_no_404(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> int:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "open", broken)
    with pytest.raises(OSError, match="broken"):
        opened("a.txt", root)


def test_a_failure_after_opening_closes_the_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors: list[int] = []

    def broken(descriptor: int) -> os.stat_result:
        descriptors.append(descriptor)
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", broken)
        with pytest.raises(OSError, match="broken"):
            opened("a.txt", root)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptors[0])


def test_a_file_that_became_shorter_is_an_error_and_one_that_grew_is_not(root: Path) -> None:
    file = opened("a.txt", root)
    with (root / "a.txt").open("ab") as more:
        more.write(b"x")
    assert content(file) == b"0123456789"
    file = opened("a.txt", root)
    os.truncate(root / "a.txt", 3)
    assert file.read(100) == b"012"
    with pytest.raises(EOFError, match="became shorter"):
        file.read(100)
    file.close()


@pytest.mark.parametrize("path", [7, None, b"a"])
def test_a_path_must_be_a_str_or_a_path(path: object) -> None:
    with pytest.raises(TypeError, match="file expects path to be a str or a path"):
        FileBody(cast("str", path), None)
    if path is not None:
        with pytest.raises(TypeError, match="file expects root to be a str or a path"):
            FileBody("a", cast("str", path))


@pytest.mark.parametrize(
    ("asked", "status", "span", "data"),
    [
        ("bytes=0-3", 206, "bytes 0-3/10", b"0123"),
        ("bytes=8-", 206, "bytes 8-9/10", b"89"),
        ("bytes=-3", 206, "bytes 7-9/10", b"789"),
        ("bytes=-30", 206, "bytes 0-9/10", b"0123456789"),
        ("BYTES= 5-500 ", 206, "bytes 5-9/10", b"56789"),
        ("bytes=10-", 416, "bytes */10", b""),
        ("bytes=10-20", 416, "bytes */10", b""),
        ("bytes=-0", 416, "bytes */10", b""),
        ("bytes=3-2", 200, None, b"0123456789"),
        ("bytes=0-1,4-5", 200, None, b"0123456789"),
        ("bytes=-", 200, None, b"0123456789"),
        ("items=0-1", 200, None, b"0123456789"),
        ("nonsense", 200, None, b"0123456789"),
    ],
)
def test_a_range(root: Path, asked: str, status: int, span: str | None, data: bytes) -> None:
    file = opened("a.txt", root, range=asked)
    assert file.status == status
    assert Headers(file.fields).get("content-range") == span
    assert file.left == len(data)
    assert content(file) == data


def test_a_page_of_another_status_is_sent_as_a_whole(root: Path) -> None:
    file = FileBody("a.txt", root).open("GET", Headers({"Range": "bytes=0-3", "If-None-Match": "*"}), 404)
    assert (file.found, file.status, file.left) == (True, 404, 10)
    assert content(file) == b"0123456789"


def test_an_empty_file_has_no_range(root: Path) -> None:
    assert status("empty", root) == 200
    assert status("empty", root, range="bytes=0-") == 416


def test_only_get_has_ranges(root: Path) -> None:
    file = opened("a.txt", root, "HEAD", range="bytes=0-3")
    assert (file.status, file.left) == (200, 10)
    file.close()


def test_a_range_of_a_changed_file_is_the_whole_file(root: Path) -> None:
    etag = validator(root)
    assert status("a.txt", root, range="bytes=0-3", if_range=etag) == 206
    assert status("a.txt", root, range="bytes=0-3", if_range='"other"') == 200
    (root / "a.txt").write_bytes(b"changed")
    assert status("a.txt", root, range="bytes=0-3", if_range=etag) == 200


def validator(root: Path) -> str:
    file = opened("a.txt", root)
    file.close()
    return Headers(file.fields)["etag"]


def test_what_the_client_has_is_not_sent_again(root: Path) -> None:
    etag = validator(root)
    for condition in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        file = opened("a.txt", root, if_none_match=condition)
        file.close()
        assert (file.status, file.left, file.fields) == (304, 0, [("ETag", etag)])
    assert status("a.txt", root, if_none_match='"x"') == 200
    assert status("a.txt", root, "POST", if_none_match=etag) == 200


@given(
    st.text("bytes=0123456789-, \t", max_size=20) | st.from_regex(r"\Abytes=[0-9]{0,25}-[0-9]{0,25}\Z"),
    st.integers(0, 99),
)
def test_a_range_is_always_inside_the_file(value: str, size: int) -> None:
    span = parse_range(value, size)
    if span is not None and span[0] < span[1]:
        assert 0 <= span[0] < span[1] <= size


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("/x/index.html", "text/html;charset=utf-8"),
        ("/x/APP.JS", "text/javascript;charset=utf-8"),
        ("/x/a.css", "text/css;charset=utf-8"),
        ("/x/a.png", "image/png"),
        ("/x/a b#?%.wasm", "application/wasm"),
        ("/x/a#b?c.svg", "image/svg+xml"),
        ("/x/a.tar.gz", "application/gzip"),
        ("/x/a.tar.xz", "application/octet-stream"),
        ("data:x.html", "text/html;charset=utf-8"),
        ("/x/none", "application/octet-stream"),
    ],
)
def test_the_type_follows_the_name(name: str, kind: str) -> None:
    assert content_type(name) == kind
