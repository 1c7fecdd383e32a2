"""Heads that h11 takes and we refuse: each has one of the faults that BEHAVIOUR.md, 24, names, or is not for a server.

The other direction, that what we take means the same to h11, is in test_http.py. The faults are looked for here by
simple means and one at a time, so that a check that refuses too much is seen.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import h11
import pytest
from hypothesis import HealthCheck, assume, event, example, given, settings, strategies as st
from test_http import HEADS, NICE_HEADS, head

from trio_bunws._wire.http import HttpError, HttpProtocol

if TYPE_CHECKING:
    from collections.abc import Iterator

ONCE = ("host", "content-length", "transfer-encoding", "sec-websocket-key", "sec-websocket-version")


def by_h11(data: bytes) -> tuple[h11.Request, bytes] | None:
    """Return the request that h11 sees at the beginning of the data, and its bytes."""
    conn = h11.Connection(h11.SERVER)
    conn.receive_data(data)
    try:
        request = conn.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(request, h11.Request):
        return None
    end = re.search(rb"\n\r?\n", data)
    assert end
    return request, data[: end.end()]


def faults(request: h11.Request, raw: bytes) -> list[str]:
    """Tell what is wrong with a request, by a look at its bytes and by what h11 has made of it."""
    return [*faults_of_the_bytes(raw), *faults_of_the_request(request)]


def faults_of_the_bytes(raw: bytes) -> Iterator[str]:
    lines = raw.decode("latin-1").split("\n")
    if any(not line.endswith("\r") for line in lines[:-1]):
        yield "a bare LF"
    if any(line.startswith((" ", "\t")) for line in lines):
        yield "obs-fold"
    if any(character < " " and character not in "\t\r\n" for character in raw.decode("latin-1")) or b"\x7f" in raw:
        yield "a control character"
    if b"\r" in raw.replace(b"\r\n", b""):
        yield "a bare CR"
    names = [line.partition(":")[0].lower() for line in lines[1:]]
    if any(names.count(name) > 1 for name in ONCE):
        yield "a field twice"


def faults_of_the_request(request: h11.Request) -> Iterator[str]:
    values = {name.decode(): value for name, value in request.headers}
    if "host" not in values and request.http_version != b"1.0":
        yield "no host"
    if "content-length" in values and "transfer-encoding" in values:
        yield "two lengths"
    if "transfer-encoding" in values and request.http_version == b"1.0":
        yield "chunks in HTTP/1.0"
    if not values.get("content-length", b"0").isdigit() or len(values.get("content-length", b"")) > 19:
        yield "a senseless length"
    if re.search(rb"[^-._~a-zA-Z0-9%!$&'()*+,;=:\[\]]", values.get("host", b"")):
        yield "a senseless host"
    if any(not value.isascii() for name, value in request.headers if name.startswith(b"sec-websocket-")):
        yield "a byte outside ASCII"
    asks_the_server = (request.method, request.target) == (b"OPTIONS", b"*")
    if not asks_the_server and not re.match(rb"/|(?i:https?)://[^/?#]", request.target):
        yield "no target of a server"
    if request.method == b"CONNECT" or not request.http_version.startswith(b"1."):
        yield "nothing that is spoken here"


def refused_by_us(data: bytes) -> bool:
    http = HttpProtocol(16384, 100)
    http.feed(data)
    try:
        assert http.next_head() is not None
    except HttpError:
        return True
    return False


METHODS = st.sampled_from(["GET", "POST", "OPTIONS", "CONNECT", "x!", "HEAD"])
TARGETS = st.sampled_from(["/", "/a?b#c", "*", "http://a", "https://a:1/b", "a:1", "//", "/%00", "ftp://a/", "HTTP:/x"])
VERSIONS = st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0"])
NAMES = st.sampled_from(["Host", *ONCE, "Content-Length", "Sec-WebSocket-Protocol", "Connection", "Expect", "X-!#$%&"])
VALUES = st.sampled_from(
    ["a", "a.b:80", "[::1]:80", "a b", "a/b", "a@b", "", "0", "5", "007", "1" * 19, "1" * 20, "chunked", "Chunked"]
) | st.text(st.characters(max_codepoint=255), max_size=6)
LINES = st.builds(
    lambda name, space, value, end: f"{name}:{space}{value}{end}".encode("latin-1"),
    NAMES,
    st.sampled_from(["", " ", "\t "]),
    VALUES,
    st.sampled_from(["\r\n", "\r\n", "\r\n", "\r\n", " \r\n", "\n", "\r\n "]),
)
REQUESTS = st.builds(
    lambda method, target, version, lines: f"{method} {target} {version}\r\n".encode() + b"".join(lines) + b"\r\n",
    METHODS,
    TARGETS,
    VERSIONS,
    st.lists(LINES, max_size=5).map(lambda lines: [b"Host: a\r\n", *lines]) | st.lists(LINES, max_size=5),
)


@given(REQUESTS | NICE_HEADS | HEADS)
@settings(max_examples=300, suppress_health_check=[HealthCheck.filter_too_much])
@example(head(b"Host: a", b"X: \x80", b"Content-Length: 007"))
@example(head(b"Host: a", b"Sec-WebSocket-Protocol: \x80", b"Sec-WebSocket-Protocol: a"))
def test_what_we_refuse_and_h11_does_not_has_a_fault_that_is_listed(data: bytes) -> None:
    theirs = by_h11(data)
    assume(theirs is not None)
    assert theirs is not None
    found = faults(*theirs)
    for fault in found:
        event(fault)
    assert refused_by_us(data) is bool(found)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (head(b"Host: a", b"X: y", b" z"), "obs-fold"),
        (b"GET / HTTP/1.1\nHost: a\n\n", "a bare LF"),
        (head(b"Host: a", b"X: a\x01b"), "a control character"),
        (head(b"Host: a", b"Content-Length: 1", b"Content-Length: 1"), "a field twice"),
        (head(b"Host: a", b"Content-Length: 1", b"Transfer-Encoding: chunked"), "two lengths"),
        (head(b"Transfer-Encoding: chunked", line=b"GET / HTTP/1.0"), "chunks in HTTP/1.0"),
        (head(b"Host: a/b"), "a senseless host"),
        (head(b"Host: a", b"Sec-WebSocket-Extensions: \xe9"), "a byte outside ASCII"),
        (head(b"Host: a", line=b"GET a HTTP/1.1"), "no target of a server"),
        (head(b"Host: a", line=b"CONNECT a:1 HTTP/1.1"), "nothing that is spoken here"),
    ],
)
def test_h11_lets_these_pass_and_we_do_not(data: bytes, fault: str) -> None:
    theirs = by_h11(data)
    assert theirs is not None
    assert fault in faults(*theirs)
    assert refused_by_us(data)
