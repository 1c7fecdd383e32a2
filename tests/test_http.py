"""The HTTP state without I/O: which heads pass, how bodies are framed, and where one request ends.

Covers `trio_bunws._wire.http` alone. No input, however cut, may raise anything but `HttpError`, and what passes our
check must mean the same to h11.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

import h11
import pytest
from hypothesis import example, given, strategies as st

from trio_bunws._wire.http import HttpError, HttpProtocol, RequestHead, error_response

HOST: Final = b"Host: a"


def head(*lines: bytes, line: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join([line, *lines, b"", b""])


def protocol(data: bytes = b"", *, size: int = 16384, count: int = 100) -> HttpProtocol:
    http = HttpProtocol(size, count)
    http.feed(data)
    return http


def parsed(data: bytes) -> RequestHead:
    result = protocol(data).next_head()
    assert result is not None
    return result


def refused(data: bytes, **limits: int) -> HttpError:
    with pytest.raises(HttpError) as caught:
        protocol(data, **limits).next_head()
    return caught.value


def test_a_head_is_taken_apart() -> None:
    result = parsed(head(b"HOST:a:80", b"X-Two: \t b c \t", b"Empty:", line=b"POST /a?b HTTP/1.1"))
    assert (result.method, result.target, result.http_version) == (b"POST", b"/a?b", b"1.1")
    assert result.fields == [(b"host", b"a:80"), (b"x-two", b"b c"), (b"empty", b"")]
    assert result.single == {b"host": b"a:80"}
    assert not result.has_body


def test_bytes_above_ascii_pass_in_other_values() -> None:
    assert parsed(head(HOST, b"X: \x80\xff")).fields[1] == (b"x", b"\x80\xff")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (head(), "no host"),
        (head(HOST, HOST), "more than one host"),
        (head(b"Host: a b"), "invalid host"),
        (head(b"Host: a/b"), "invalid host"),
        (head(b"Host: \xe9"), "outside ASCII in host"),
        (head(HOST, b"Sec-WebSocket-Key: a", b"sec-websocket-KEY: a"), "more than one sec-websocket-key"),
        (head(HOST, b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 13"), "more than one sec-websocket-version"),
        (head(HOST, b"Sec-WebSocket-Key: \xe9"), "outside ASCII in sec-websocket-key"),
        (head(HOST, b"Sec-WebSocket-Anything: \xe9"), "outside ASCII in sec-websocket-anything"),
        (head(HOST, b"X: a\x00b"), "control character"),
        (head(HOST, b"X: a\x01b"), "control character"),
        (head(HOST, b"X: a\x7fb"), "control character"),
        (head(HOST, b"X: a\rb"), "CR LF"),
        (head(HOST, b"Content-Length: 1", b"Content-Length: 1"), "more than one content-length"),
        (head(HOST, b"Content-Length: 1, 1"), "invalid content-length"),
        (head(HOST, b"Content-Length: -1"), "invalid content-length"),
        (head(HOST, b"Content-Length:"), "invalid content-length"),
        (head(HOST, b"Content-Length: " + b"1" * 20), "invalid content-length"),
        (head(HOST, b"Content-Length: 1", b"Transfer-Encoding: chunked"), "beside a content-length"),
        (head(HOST, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), "more than one transfer-encoding"),
        (head(HOST, b"Transfer-Encoding: chunked", line=b"GET / HTTP/1.0"), "in HTTP/1.0"),
        (head(HOST, b"X: a", b" b"), "folded"),
        (head(HOST, b"X: a", b"\tb"), "folded"),
        (head(b" " + HOST), "folded"),
        (b"GET / HTTP/1.1\nHost: a\n\n", "CR LF"),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", "CR LF"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\nZ: a\r\n\r\n", "CR LF"),
        (head(HOST, b"no colon"), "malformed"),
        (head(HOST, b"X : a"), "malformed"),
        (head(HOST, b": a"), "malformed"),
        (head(HOST, line=b"GET  / HTTP/1.1"), "malformed"),
        (head(HOST, line=b"GET / HTTP/11"), "malformed"),
        (head(HOST, line=b"GET /"), "malformed"),
        (head(HOST, line=b"GET /\xe9 HTTP/1.1"), "malformed"),
        (head(HOST, line=b"G(T / HTTP/1.1"), "malformed"),
        (head(HOST, line=b"GET a HTTP/1.1"), "invalid request target"),
        (head(HOST, line=b"GET * HTTP/1.1"), "invalid request target"),
        (head(HOST, line=b"GET http:/// HTTP/1.1"), "invalid request target"),
        (head(HOST, line=b"GET ftp://a/ HTTP/1.1"), "invalid request target"),
    ],
)
def test_a_bad_head_is_400(data: bytes, reason: str) -> None:
    error = refused(data)
    assert error.status == 400
    assert reason in error.reason
    assert str(error) == f"400 {error.reason}"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (head(HOST, b"Transfer-Encoding: gzip, chunked"), 501),
        (head(HOST, line=b"CONNECT a:1 HTTP/1.1"), 501),
        (head(HOST, line=b"GET / HTTP/2.0"), 505),
        (head(HOST, line=b"GET / HTTP/0.9"), 505),
    ],
)
def test_what_is_not_spoken_here(data: bytes, status: int) -> None:
    assert refused(data).status == status


@pytest.mark.parametrize("target", [b"/", b"/a?b#c", b"http://a", b"HTTPS://a:1/b?c"])
def test_a_target(target: bytes) -> None:
    assert parsed(head(HOST, line=b"GET %s HTTP/1.1" % target)).target == target
    assert parsed(head(HOST, line=b"OPTIONS * HTTP/1.1")).target == b"*"


@pytest.mark.parametrize("host", [b"", b"a:80", b"[::1]:80", b"%61", b"a_b"])
def test_a_host(host: bytes) -> None:
    assert parsed(head(b"Host:" + host)).single[b"host"] == host


def test_http_1_0_needs_no_host() -> None:
    assert parsed(head(line=b"GET / HTTP/1.0")).http_version == b"1.0"


def test_a_head_up_to_the_limit_passes_and_a_longer_one_is_431() -> None:
    data = head(HOST, b"X: " + b"a" * 50)
    assert protocol(data, size=len(data)).next_head() is not None
    error = refused(data, size=len(data) - 1)
    assert (error.status, error.reason) == (431, f"a request's head of more than {len(data) - 1} bytes")


def test_an_endless_head_is_431_as_soon_as_it_is_too_long() -> None:
    http = protocol(b"GET /" + b"a" * 95, size=100)
    assert http.next_head() is None
    http.feed(b"a")
    with pytest.raises(HttpError, match="431"):
        http.next_head()


def test_too_many_headers_are_431() -> None:
    data = head(HOST, *[b"X: a"] * 9)
    assert protocol(data, count=10).next_head() is not None
    assert refused(data, count=9).status == 431


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\r\nHost: a\nX",
        b"GET / HTTP/1.1\rX",
        b"GET / HTTP/1.1\r\n X",
        b"\x00",
    ],
)
def test_garbage_is_refused_before_the_head_is_complete(data: bytes) -> None:
    assert refused(data).status == 400
    http = protocol()
    with pytest.raises(HttpError, match="400"):  # noqa: PT012  # at whichever byte
        for byte in data:
            http.feed(bytes([byte]))
            assert http.next_head() is None


@pytest.mark.parametrize("rest", [b"\n", b"\r\n\n"])
def test_a_bare_lf_is_refused_at_once_behind_a_body_that_ends_in_cr(rest: bytes) -> None:
    http = protocol(head(HOST, b"Content-Length: 1") + b"\r" + rest)
    assert http.next_head() is not None
    assert (http.next_body(), http.next_body()) == (b"\r", b"")
    http.response_head(204, [], None)
    http.end()
    assert http.next_cycle()
    with pytest.raises(HttpError, match="CR LF"):
        http.next_head()


def test_a_head_may_come_byte_by_byte() -> None:
    data = b"\r\n" + head(HOST, b"X: a")
    http = protocol()
    for at in range(len(data) - 1):
        http.feed(data[at : at + 1])
        assert http.next_head() is None
    assert http.buffered == len(data) - 3
    http.feed(data[-1:])
    result = http.next_head()
    assert result is not None
    assert result.raw == data[2:]
    assert http.buffered == 0


def test_empty_lines_before_a_request_are_skipped() -> None:
    assert parsed(b"\r\n\r\n" + head(HOST)).raw == head(HOST)


def test_what_comes_after_the_head_is_given_away() -> None:
    frames = b"\x81\x80\x00\x00\x00\x00\n\n\r"
    http = protocol(head(HOST) + frames)
    assert http.next_head() is not None
    assert http.buffered == len(frames)
    assert http.take_trailing() == frames
    assert http.buffered == 0


BODY_10: Final = head(HOST, b"Content-Length: 10", line=b"POST / HTTP/1.1")
CHUNKED: Final = head(HOST, b"Transfer-Encoding: Chunked", line=b"POST / HTTP/1.1")


def read(http: HttpProtocol) -> bytes:
    data = b""
    while chunk := http.next_body():
        data += chunk
    return data


def finish(http: HttpProtocol) -> bool:
    http.response_head(200, [], 0)
    http.end()
    return http.next_cycle()


def test_a_request_without_body_has_ended() -> None:
    for data in (head(HOST), head(HOST, b"Content-Length: 0")):
        http = protocol(data)
        http.next_head()
        assert http.body_left == 0
        assert http.body_done
        assert http.next_body() == b""


def test_a_body_with_a_length_ends_there() -> None:
    http = protocol(BODY_10 + b"01234")
    result = http.next_head()
    assert result is not None
    assert result.has_body
    assert http.body_left == 10
    assert http.next_body() == b"01234"
    assert http.next_body() is None
    assert http.body_left == 5
    http.feed(b"56789" + head(HOST, line=b"GET /next HTTP/1.1"))
    assert http.next_body() == b"56789"
    assert http.body_left == 0
    assert not http.body_done
    assert http.next_body() == http.next_body() == b""
    assert http.body_done
    assert finish(http)
    result = http.next_head()
    assert result is not None
    assert result.target == b"/next"


def test_a_chunked_body_ends_where_it_says() -> None:
    following = head(HOST, line=b"GET /next HTTP/1.1")
    data = CHUNKED + b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n" + following
    for size in (1, 2, 7, len(data)):
        http = protocol()
        body = b""
        ended = False
        targets: list[bytes] = []
        for at in range(0, len(data), size):
            http.feed(data[at : at + size])
            if ended or not targets:
                result = http.next_head()
                if result is None:
                    continue
                targets.append(result.target)
            if not ended:
                assert http.body_left is None
                body += read(http)
                if http.next_body() == b"":
                    ended = True
                    assert finish(http)
                    if (result := http.next_head()) is not None:
                        targets.append(result.target)
        assert body == b"abcde"
        assert targets == [b"/", b"/next"]


@pytest.mark.parametrize(
    "data",
    [
        b"x\r\n",
        b"-1\r\n",
        b"\r\n",
        b"3\nabc\r\n",
        b"3;a\nb\r\nabc\r\n",
        b"3\r\nabcd\r\n",
        b"1" * 21 + b"\r\n",
        b"0\r\n\n",
        b"0\r\nX: y\n\r\n",
        b"0\r\nX: y\r\n\n",
        b"0\r\nX: y\n\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"0\r\nno colon\r\n\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_a_malformed_chunked_body_is_400(data: bytes, size: int) -> None:
    http = protocol(CHUNKED)
    http.next_head()
    with pytest.raises(HttpError) as caught:  # noqa: PT012  # at whichever byte
        for at in range(0, len(data), size):
            http.feed(data[at : at + size])
            read(http)
            assert http.next_body() is None
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "data", [b"0\r\nX-Token hunter2\r\n\r\n", b"0\r\nX\x1b[2J: hunter2\r\n\r\n", b"hunter2\r\n", b"2\r\nhunter2\r\n"]
)
def test_what_is_said_of_a_malformed_body_has_nothing_of_it(data: bytes) -> None:
    http = protocol(CHUNKED + data)
    http.next_head()
    with pytest.raises(HttpError) as caught:  # noqa: PT012  # at whichever chunk
        while http.next_body():
            pass
    assert str(caught.value) == "400 a malformed chunked body"


@pytest.mark.parametrize("data", [b"1;" + b"x" * 20000, b"0\r\nX: " + b"x" * 20000])
def test_endless_chunk_extensions_and_trailers_are_refused(data: bytes) -> None:
    http = protocol(CHUNKED + data)
    http.next_head()
    with pytest.raises(HttpError, match="431 a chunk's size or trailers of too many bytes"):
        http.next_body()


def test_a_client_that_waits_is_told_to_continue_once() -> None:
    http = protocol(head(HOST, b"Content-Length: 1", b"Expect: 100-continue", line=b"POST / HTTP/1.1"))
    http.next_head()
    assert http.awaits_continue
    assert http.accept_body() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert not http.awaits_continue
    assert http.accept_body() == b""


def test_a_client_that_does_not_wait_is_told_nothing() -> None:
    for data in (BODY_10, head(HOST, b"Expect: 100-continue")):
        http = protocol(data)
        http.next_head()
        assert not http.awaits_continue
        assert http.accept_body() == b""


def answered(request: bytes, status: int, fields: list[tuple[bytes, bytes]], length: int | None, **more: bool) -> bytes:
    http = protocol(request)
    http.next_head()
    return http.response_head(status, fields, length, **more)


def test_a_response_with_a_length() -> None:
    http = protocol(head(HOST) * 2)
    for _ in range(2):
        assert http.next_head() is not None
        data = http.response_head(200, [(b"X-Y", b"z"), (b"content-LENGTH", b"7"), (b"Transfer-Encoding", b"x")], 5)
        assert data == b"HTTP/1.1 200 OK\r\nX-Y: z\r\nContent-Length: 5\r\n\r\n"
        assert http.body_chunk(b"hel") + http.body_chunk(b"lo") + http.end() == b"hello"
        assert http.keeps_alive
        assert http.next_cycle()
    assert http.next_head() is None


def test_a_response_of_unknown_length_is_chunked() -> None:
    http = protocol(head(HOST))
    http.next_head()
    assert http.response_head(200, [], None) == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert http.body_chunk(b"hello") + http.body_chunk(b"") + http.end() == b"5\r\nhello\r\n0\r\n\r\n"
    assert http.next_cycle()


def test_a_response_of_unknown_length_to_http_1_0_ends_with_the_connection() -> None:
    http = protocol(head(line=b"GET / HTTP/1.0"))
    http.next_head()
    assert http.response_head(200, [], None) == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    assert http.body_chunk(b"hello") + http.end() == b"hello"
    assert not http.keeps_alive
    assert not http.next_cycle()


def test_a_length_of_the_application_is_believed_and_enforced() -> None:
    http = protocol(head(HOST))
    http.next_head()
    assert http.response_head(200, [(b"Content-Length", b"3")], None).endswith(b"Content-Length: 3\r\n\r\n")
    assert http.body_chunk(b"ab") == b"ab"
    with pytest.raises(ValueError, match="cannot be sent: Too much data"):
        http.body_chunk(b"cd")
    http = protocol(head(HOST))
    http.next_head()
    http.response_head(200, [(b"Content-Length", b"3")], None)
    with pytest.raises(ValueError, match="cannot be sent: Too little data"):
        http.end()
    http = protocol(head(HOST))
    http.next_head()
    with pytest.raises(ValueError, match="cannot be sent: bad Content-Length"):
        http.response_head(200, [(b"Content-Length", b"x")], None)


def test_head_has_the_length_and_no_body() -> None:
    request = head(HOST, line=b"HEAD / HTTP/1.1")
    assert answered(request, 200, [], 5) == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    http = protocol(request)
    http.next_head()
    http.response_head(200, [], 5)
    assert http.end() == b""
    assert http.next_cycle()


def test_a_status_without_body_has_no_length() -> None:
    assert answered(head(HOST), 204, [(b"Content-Length", b"0")], None) == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert answered(head(HOST), 204, [], 0) == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert answered(head(HOST), 304, [], 0) == b"HTTP/1.1 304 Not Modified\r\n\r\n"


def test_an_unknown_status_has_no_phrase() -> None:
    assert answered(head(HOST), 299, [], 0).startswith(b"HTTP/1.1 299 \r\n")


def test_the_last_response_says_so() -> None:
    http = protocol(head(HOST))
    http.next_head()
    data = http.response_head(200, [(b"connection", b"keep-alive")], 0, close=True)
    assert data == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    http.end()
    assert not http.next_cycle()


@pytest.mark.parametrize("line", [b"Connection: close", b"Connection: x, Close"])
def test_a_client_may_end_the_connection(line: bytes) -> None:
    http = protocol(head(HOST, line))
    http.next_head()
    assert b"\r\nConnection: close\r\n" in http.response_head(200, [], 0)
    http.end()
    assert not http.next_cycle()


def test_an_unread_body_ends_the_connection() -> None:
    http = protocol(BODY_10)
    http.next_head()
    assert not finish(http)


def test_an_upgrade_that_is_declined_is_an_ordinary_request() -> None:
    http = protocol(head(HOST, b"Upgrade: websocket", b"Connection: upgrade"))
    http.next_head()
    assert finish(http)


def test_a_response_after_a_broken_body_can_be_sent() -> None:
    http = protocol(CHUNKED + b"x\r\n")
    http.next_head()
    with pytest.raises(HttpError):
        http.next_body()
    assert not finish(http)


def test_a_whole_plain_response() -> None:
    data = error_response(426, "caf\xe9", [(b"X", b"y")])
    assert data == (
        b"HTTP/1.1 426 Upgrade Required\r\nContent-Type: text/plain;charset=utf-8\r\nContent-Length: 5\r\n"
        b"Connection: close\r\nX: y\r\n\r\ncaf\xc3\xa9"
    )
    assert error_response(299, "").startswith(b"HTTP/1.1 299 \r\n")


TOKEN_BYTES: Final = st.sampled_from([b"a", b"Host", b"Content-Length", b"X-1", b"Connection", b"Upgrade", b"Expect"])
VALUE_BYTES: Final = st.sampled_from(
    [b"", b" a", b"\tx y\t", b"0", b"5", b"close", b"\xe9", b"chunked", b"\x00", b"\x0b", b"a,b", b"100-continue"]
)
LINE_BYTES: Final = st.builds(
    lambda name, colon, value, end: name + colon + value + end,
    TOKEN_BYTES | st.just(b"Transfer-Encoding") | st.binary(max_size=3),
    st.sampled_from([b":", b":", b":", b": ", b" :", b""]),
    VALUE_BYTES | st.binary(max_size=3),
    st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\n "]),
)
REQUEST_LINES: Final = st.sampled_from(
    [b"GET / HTTP/1.1\r\n", b"POST /a HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n", b"GET /\xe9 HTTP/1.1\r\n", b"\r\n", b"G\n"]
)
HEADS: Final = st.builds(
    lambda line, lines, end: line + b"Host: a\r\n" + b"".join(lines) + end,
    REQUEST_LINES,
    st.lists(LINE_BYTES, max_size=5),
    st.sampled_from([b"\r\n", b"\n", b"", b"\r\n5\r\nabcde\r\n0\r\n\r\n", b"\r\nabcdefgh"]),
)
NICE_LINES: Final = st.builds(
    lambda name, value: name + b":" + value + b"\r\n",
    TOKEN_BYTES | st.from_regex(re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,4}"), fullmatch=True),
    VALUE_BYTES | st.from_regex(re.compile(rb"[\t -~\x80-\xff]{0,6}"), fullmatch=True),
)
NICE_HEADS: Final = st.builds(
    lambda line, lines: line + b"Host: a\r\n" + b"".join(lines) + b"\r\n",
    REQUEST_LINES,
    st.lists(NICE_LINES, max_size=5),
)


def outcome(data: bytes, cuts: set[int]) -> tuple[bytes, bytes] | str | None:
    """Return the first head and what h11 has of its body, None if it is unfinished, or that it is refused."""
    http = protocol(size=200, count=5)
    result = None
    body = b""
    edges = [0, *sorted(cut for cut in cuts if 0 < cut < len(data)), len(data)]
    try:
        for start, stop in pairwise(edges):
            http.feed(data[start:stop])
            result = result or http.next_head()
            if result is not None:
                while chunk := http.next_body():
                    body += chunk
    except HttpError as exc:
        assert 400 <= exc.status < 600  # noqa: PT017  # it is the outcome
        return "refused"
    return None if result is None else (result.raw, body)


@given(st.one_of(st.binary(max_size=40), HEADS, NICE_HEADS), st.sets(st.integers(0, 120)))
@example(b"\r\n\r\n\r", {1, 2, 3})
@example(b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\nz", set())
def test_whatever_comes_however_cut_is_a_head_or_an_http_error(data: bytes, cuts: set[int]) -> None:
    whole = outcome(data, set())
    assert outcome(data, cuts) == whole
    assert outcome(data, set(range(len(data)))) == whole


@given(NICE_HEADS | HEADS)
def test_what_passes_our_check_means_the_same_to_h11(data: bytes) -> None:
    http = protocol(data)
    try:
        ours = http.next_head()
    except HttpError:
        return
    if ours is None:
        return
    conn = h11.Connection(h11.SERVER)
    conn.receive_data(ours.raw)
    theirs = conn.next_event()
    assert isinstance(theirs, h11.Request)
    assert (theirs.method, theirs.target, theirs.http_version) == (ours.method, ours.target, ours.http_version)
    assert [field for field in theirs.headers if field[0] != b"transfer-encoding"] == [
        field for field in ours.fields if field[0] != b"transfer-encoding"
    ]
    assert isinstance(conn.next_event(), h11.EndOfMessage) is not ours.has_body
