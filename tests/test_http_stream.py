"""The I/O of one connection's HTTP: reading heads and bodies, sending responses of each kind, and the time limits.

Covers `trio_bunws._http_stream` alone, with a transport in memory.
"""

from __future__ import annotations

import logging
import re
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from http_fakes import FakeTransport

from trio_bunws._http_stream import BODY_PACE, BODY_PATIENCE, DRAIN_LIMIT, FILE_PIECE, PIECE, HttpStream
from trio_bunws._options import Limits
from trio_bunws._request import Request
from trio_bunws._response import Response
from trio_bunws._wire.http import HttpError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from pathlib import Path

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(length: int, *lines: str) -> bytes:
    return "\r\n".join(["POST / HTTP/1.1", "Host: a", f"Content-Length: {length}", *lines, "", ""]).encode()


def stream_of(transport: FakeTransport, **limits: float) -> HttpStream:
    return HttpStream(transport.real, Limits(**limits), max_body_size=1000)  # type: ignore[arg-type]


@asynccontextmanager
async def request_on(transport: FakeTransport, **limits: float) -> AsyncGenerator[tuple[HttpStream, Request]]:
    """Read a request, and be inside of its scope, with 10 s without progress."""
    stream = stream_of(transport, **limits)
    head = await stream.next_head(10)
    assert head is not None
    with stream.answering(head, 10) as scope:
        yield stream, Request(head.raw, stream)
    assert not scope.cancelled_caught


async def respond(response: Response, *data: bytes, last: bool = False) -> tuple[bool, bytes]:
    """Return whether another request may follow, and the response without its Date, to the first request of `data`."""
    transport = FakeTransport(*data)
    async with request_on(transport) as (stream, request):
        again = await stream.respond(request, response, last=last)
    return again, re.sub(rb"Date: [^\r]*\r\n", b"", transport.sent)


# Heads


async def test_requests_come_one_after_the_other_however_they_are_read() -> None:
    transport = FakeTransport(GET + GET[:5], GET[5:])
    stream = stream_of(transport)
    for _ in range(2):
        head = await stream.next_head(10)
        assert head is not None
        with stream.answering(head, 10):
            assert await stream.respond(Request(head.raw, stream), Response())


async def test_what_somebody_else_has_read_comes_first() -> None:
    transport = FakeTransport(GET[5:])
    stream = stream_of(transport)
    head = stream.first_head(GET + GET[:5])
    assert head is not None
    with stream.answering(head, 10):
        assert await stream.respond(Request(head.raw, stream), Response())
    assert await stream.next_head(10) is not None
    assert stream_of(transport).first_head(GET[:5]) is None
    with pytest.raises(HttpError):
        stream_of(transport).first_head(b"GET /\n")


async def test_the_wait_for_the_first_request_may_have_begun_before(autojump_clock: trio.testing.MockClock) -> None:
    begin = trio.current_time()
    await trio.sleep(3)
    stream = HttpStream(FakeTransport().real, Limits(header_timeout=5), max_body_size=1000, since=begin)
    assert await stream.next_head(10) is None
    assert trio.current_time() - begin == pytest.approx(5)
    assert autojump_clock.autojump_threshold == 0


async def test_a_time_that_is_allowed_before_the_answering_begins_is_kept() -> None:
    stream = stream_of(FakeTransport())
    stream.set_timeout(7)
    assert stream.timeout == 7


async def test_the_end_of_the_stream_is_the_end() -> None:
    for data in ((), (GET[:5],)):
        transport = FakeTransport(*data)
        transport.end()
        assert await stream_of(transport).next_head(10) is None


async def test_a_bad_head_is_an_http_error() -> None:
    with pytest.raises(HttpError, match="400"):
        await stream_of(FakeTransport(b"\n")).next_head(10)


@pytest.mark.parametrize("data", [(), (GET[:5],)])
async def test_a_new_connection_has_the_header_timeout(
    data: tuple[bytes, ...], autojump_clock: trio.testing.MockClock
) -> None:
    stream = stream_of(FakeTransport(*data), header_timeout=3)
    if data:
        with pytest.raises(HttpError, match="408"):
            await stream.next_head(100)
    else:
        assert await stream.next_head(100) is None
    assert trio.current_time() == pytest.approx(3)
    assert autojump_clock.autojump_threshold == 0


async def test_a_kept_connection_may_be_idle_for_longer_but_not_inside_a_head(
    autojump_clock: trio.testing.MockClock,
) -> None:
    transport = FakeTransport(GET)
    async with request_on(transport, header_timeout=3) as (stream, request):
        await stream.respond(request, Response())
    assert await stream.next_head(100) is None
    assert trio.current_time() == pytest.approx(100)

    transport = FakeTransport(GET)
    async with request_on(transport, header_timeout=3) as (stream, request):
        await stream.respond(request, Response())
    async with trio.open_nursery() as nursery:

        async def client() -> None:
            await trio.sleep(50)
            transport.put(GET[:5])

        nursery.start_soon(client)
        with pytest.raises(HttpError, match="408"):
            await stream.next_head(0)  # for ever
    assert trio.current_time() == pytest.approx(153)
    assert autojump_clock.autojump_threshold == 0


async def test_a_slow_head_in_time_is_fine(autojump_clock: trio.testing.MockClock) -> None:
    transport = FakeTransport()
    async with trio.open_nursery() as nursery:

        async def client() -> None:
            for byte in GET:
                await trio.sleep(2.9 / len(GET))
                transport.put(bytes([byte]))

        nursery.start_soon(client)
        assert await stream_of(transport, header_timeout=3).next_head(10) is not None
    assert autojump_clock.autojump_threshold == 0


@pytest.mark.parametrize("data", [(), (GET[:5],)])
async def test_stop_ends_the_wait_for_a_head_without_a_word(data: tuple[bytes, ...]) -> None:
    transport = FakeTransport(*data)
    stream = stream_of(transport)
    stream.stop()  # nothing waits: nothing to end
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_later, stream)
        assert await stream.next_head(10) is None


async def _stop_later(stream: HttpStream) -> None:
    await trio.testing.wait_all_tasks_blocked()
    stream.stop()


async def test_what_follows_the_head_is_given_away() -> None:
    stream = stream_of(FakeTransport(GET + b"\x81\x00"))
    await stream.next_head(10)
    assert stream.take_trailing() == b"\x81\x00"


async def test_a_refusal_is_sent_but_not_waited_for_without_end(autojump_clock: trio.testing.MockClock) -> None:
    transport = FakeTransport()
    await stream_of(transport).refuse(431, "too long", [(b"X", b"y")])
    assert transport.sent.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert re.search(rb"Connection: close\r\nX: y\r\nDate: [^\r]+\r\n\r\ntoo long\Z", transport.sent)
    transport.room = 0
    await stream_of(transport, header_timeout=3).refuse(431, "too long")
    assert trio.current_time() == pytest.approx(3)
    assert autojump_clock.autojump_threshold == 0


# Bodies of requests


async def test_a_body_is_read_as_it_comes() -> None:
    transport = FakeTransport(post(5) + b"ab", b"cd", b"e")
    async with request_on(transport) as (_, request):
        assert [chunk async for chunk in request.stream()] == [b"ab", b"cd", b"e"]
    transport = FakeTransport(CHUNKED + b"2\r\nab\r\n", b"1\r\nc\r\n0\r\n\r\n")
    async with request_on(transport) as (_, request):
        assert await request.body() == b"abc"


async def test_many_small_chunks_of_one_read_let_others_run() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    transport = FakeTransport(CHUNKED + b"1\r\na\r\n" * 50 + b"0\r\n\r\n")
    async with request_on(transport) as (_, request), trio.open_nursery() as nursery:
        nursery.start_soon(other)
        assert await request.body() == b"a" * 50
        nursery.cancel_scope.cancel()
    assert turns > 40


async def test_a_client_that_waits_is_told_to_continue_when_the_body_is_read() -> None:
    transport = FakeTransport(post(2, "Expect: 100-continue"))
    async with request_on(transport) as (_, request), trio.open_nursery() as nursery:

        async def client() -> None:
            assert await transport.answers() == b"HTTP/1.1 100 Continue\r\n\r\n"
            transport.put(b"ab")

        nursery.start_soon(client)
        assert await request.body() == b"ab"
    assert transport.sent == b""


async def test_a_declared_body_over_the_limit_is_413_unread() -> None:
    stream = stream_of(FakeTransport(post(1001)))
    head = await stream.next_head(10)
    assert head is not None
    with pytest.raises(HttpError, match="413 a body of more than 1000 bytes"):
        stream.answering(head, 10)


async def test_a_chunked_body_over_the_limit_is_413_when_it_is_crossed() -> None:
    transport = FakeTransport(CHUNKED + b"3e8\r\n" + b"a" * 1000 + b"\r\n", b"1\r\nb\r\n")
    async with request_on(transport) as (stream, request):
        with pytest.raises(HttpError, match="413") as caught:
            await request.body()
        assert stream.failure is caught.value


async def test_a_malformed_body_is_400() -> None:
    async with request_on(FakeTransport(CHUNKED + b"x\r\n")) as (stream, request):
        with pytest.raises(HttpError, match="400") as caught:
            await request.body()
        assert stream.failure is caught.value


async def test_a_client_that_leaves_inside_a_body_is_gone() -> None:
    transport = FakeTransport(post(5) + b"ab")
    transport.end()
    async with request_on(transport) as (stream, request):
        with pytest.raises(trio.BrokenResourceError, match="inside a body") as caught:
            await request.body()
        assert stream.failure is caught.value


# Responses


async def test_a_response_goes_in_one_write_with_the_date() -> None:
    transport = FakeTransport(GET)
    async with request_on(transport) as (stream, request):
        assert await stream.respond(request, Response("hello", 201, {"X": "y"}))
    head, _, body = transport.sent.partition(b"\r\n\r\n")
    assert body == b"hello"
    assert head.startswith(b"HTTP/1.1 201 Created\r\nX: y\r\nContent-Type: text/plain;charset=utf-8\r\nDate: ")
    assert re.search(rb"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", head)
    assert head.endswith(b"\r\nContent-Length: 5")


async def test_a_date_of_the_application_stays() -> None:
    transport = FakeTransport(GET)
    async with request_on(transport) as (stream, request):
        await stream.respond(request, Response(headers={"date": "today"}))
    assert transport.sent.lower().count(b"date:") == 1


async def test_a_large_body_is_whole() -> None:
    body = bytes(range(256)) * 1000
    again, data = await respond(Response(body), GET)
    assert again
    assert data == b"HTTP/1.1 200 OK\r\nContent-Length: 256000\r\n\r\n" + body


async def test_head_has_the_length_and_no_body() -> None:
    assert await respond(Response(b"hello"), HEAD) == (True, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    known = Response(headers={"Content-Length": "7"})
    assert await respond(known, HEAD) == (True, b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")
    assert await respond(known, GET) == (True, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def test_the_last_response_says_so() -> None:
    again, data = await respond(Response(), GET, last=True)
    assert not again
    assert data == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def test_http_1_0_is_one_request() -> None:
    again, data = await respond(Response(b"x"), b"GET / HTTP/1.0\r\n\r\n")
    assert not again
    assert data.endswith(b"\r\nConnection: close\r\n\r\nx")


class Body:
    """An async iterable that says how it was treated."""

    def __init__(self, *chunks: object, fail: Exception | None = None) -> None:
        self.chunks = list(chunks)
        self.fail = fail
        self.closed = 0

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> Any:  # noqa: ANN401  # wrong types too
        await trio.lowlevel.checkpoint()
        if self.chunks:
            return self.chunks.pop(0)
        if self.fail is not None:
            raise self.fail
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed += 1
        await trio.lowlevel.checkpoint()


async def test_an_async_iterable_is_sent_chunked_and_closed() -> None:
    body = Body(b"ab", b"", bytearray(b"c"), memoryview(b"d"))
    again, data = await respond(Response(body), GET)
    assert again
    assert data == (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n1\r\nd\r\n0\r\n\r\n")
    assert body.closed == 1


async def test_an_async_iterable_that_cannot_be_closed_is_fine() -> None:
    class Plain:
        def __aiter__(self) -> Plain:
            return self

        async def __anext__(self) -> bytes:
            raise StopAsyncIteration

    assert await respond(Response(Plain()), GET) == (
        True,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    )


async def test_an_async_iterable_with_a_length_is_sent_plain() -> None:
    again, data = await respond(Response(Body(b"ab", b"c"), headers={"Content-Length": "3"}), GET)
    assert again
    assert data == b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"


async def test_the_body_for_head_is_closed_unread() -> None:
    body = Body(b"ab")
    again, data = await respond(Response(body), HEAD)
    assert again
    assert data == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert (body.closed, body.chunks) == (1, [b"ab"])


async def test_a_request_may_be_answered_with_its_own_stream() -> None:
    transport = FakeTransport(post(4) + b"ab", b"cd")
    async with request_on(transport) as (stream, request):
        assert await stream.respond(request, Response(request.stream()))
    assert transport.sent.endswith(b"\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n")


async def test_a_client_that_waits_is_told_to_continue_before_its_body_is_echoed() -> None:
    transport = FakeTransport(post(2, "Expect: 100-continue"))
    async with request_on(transport) as (stream, request), trio.open_nursery() as nursery:

        async def client() -> None:
            assert (await transport.answers()).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
            transport.put(b"ab" + GET)

        nursery.start_soon(client)
        assert await stream.respond(request, Response(request.stream()))
    assert transport.sent == b"2\r\nab\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (Body(b"ab", fail=RuntimeError("broken")), "broken"),
        (Body(b"ab", fail=trio.BrokenResourceError("not the client")), "not the client"),
        (Body(b"ab", "cd"), "must give bytes, not 'cd'"),
    ],
)
async def test_a_body_that_fails_is_logged_and_the_client_sees_it_cut(
    body: Body, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    transport = FakeTransport(GET)
    async with request_on(transport) as (stream, request):
        assert not await stream.respond(request, Response(body))
    assert transport.sent.endswith(b"\r\n\r\n2\r\nab\r\n")
    assert transport.ended_by == ["abort"]
    assert body.closed == 1
    assert words in caplog.text


@pytest.mark.parametrize("length", ["1", "3"])
async def test_a_body_of_another_length_than_promised_is_cut(length: str, caplog: pytest.LogCaptureFixture) -> None:
    transport = FakeTransport(GET)
    async with request_on(transport) as (stream, request):
        assert not await stream.respond(request, Response(Body(b"ab"), headers={"Content-Length": length}))
    assert transport.ended_by == ["abort"]
    assert "cannot be sent" in caplog.text


async def test_a_response_that_fails_before_it_begins_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    body = Body(b"ab")
    transport = FakeTransport(GET)
    async with request_on(transport) as (stream, request):
        with pytest.raises(HttpError, match="500 Internal Server Error"):
            await stream.respond(request, Response(body, headers={"Content-Length": "x"}))
    assert transport.sent == b""
    assert body.closed == 1
    assert "bad Content-Length" in caplog.text


async def test_an_error_while_a_body_is_closed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Bad(Body):
        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()
            raise RuntimeError("broken")

    again, data = await respond(Response(Bad(b"ab")), GET)
    assert again
    assert data.endswith(b"0\r\n\r\n")
    assert "closing the body of a response failed" in caplog.text


async def test_a_client_that_is_gone_is_no_fault_of_the_application(caplog: pytest.LogCaptureFixture) -> None:
    for response in (Response("x"), Response(Body(b"ab"))):
        transport = FakeTransport(GET)
        transport.failing = trio.BrokenResourceError("gone")
        async with request_on(transport) as (stream, request):
            with pytest.raises(trio.BrokenResourceError, match="gone"):
                await stream.respond(request, response)
    assert caplog.text == ""


async def test_a_bad_body_that_is_echoed_cuts_the_response_quietly(caplog: pytest.LogCaptureFixture) -> None:
    transport = FakeTransport(CHUNKED + b"1\r\na\r\nx\r\n")
    async with request_on(transport) as (stream, request):
        assert not await stream.respond(request, Response(request.stream()))
    assert transport.ended_by == ["abort"]
    assert caplog.text == ""


async def test_the_body_of_a_response_that_is_not_sent_is_closed(tmp_path: Path) -> None:
    stream = stream_of(FakeTransport())
    body = Body(b"ab")
    await stream.discard(Response(body))
    assert body.closed == 1
    await stream.discard(Response("x"))
    await stream.discard(Response.file(tmp_path))


async def test_a_body_is_closed_in_peace_but_not_for_ever_when_all_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cleaned: list[float] = []

    class Slow(Body):
        seconds = 0.0

        async def aclose(self) -> None:
            await trio.sleep(self.seconds)
            cleaned.append(self.seconds)

    for seconds, end in ((3, 3), (99, 8)):
        start = trio.current_time()
        transport = FakeTransport(GET)
        transport.room = 1000
        body = Slow(*[b"a"] * 999)
        body.seconds = seconds
        with trio.CancelScope() as scope:
            async with request_on(transport, close_timeout=8) as (stream, request), trio.open_nursery() as nursery:
                nursery.start_soon(stream.respond, request, Response(body))
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
        assert trio.current_time() - start == pytest.approx(end)
    assert cleaned == [3]
    assert autojump_clock.autojump_threshold == 0


# Files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_bytes(b"0123456789")
    return path


def ranged(value: str, method: str = "GET") -> bytes:
    return f"{method} / HTTP/1.1\r\nHost: a\r\nRange: {value}\r\n\r\n".encode()


async def test_a_file_is_sent_with_its_type(file: Path) -> None:
    again, data = await respond(Response.file(file), GET)
    assert again
    head, _, body = data.partition(b"\r\n\r\n")
    assert body == b"0123456789"
    assert b"\r\nContent-Type: text/plain;charset=utf-8\r\n" in head
    assert b"\r\nContent-Length: 10" in head


async def test_a_range_of_a_file(file: Path) -> None:
    _, data = await respond(Response.file(file), ranged("bytes=2-4"))
    assert data.startswith(b"HTTP/1.1 206 Partial Content\r\n")
    assert b"\r\nContent-Range: bytes 2-4/10\r\n" in data
    assert data.endswith(b"\r\n\r\n234")
    again, data = await respond(Response.file(file), ranged("bytes=20-"))
    assert again
    phrase = HTTPStatus(416).phrase.encode()  # "Requested Range Not Satisfiable", without the first word since 3.13
    assert data == b"HTTP/1.1 416 " + phrase + b"\r\nContent-Range: bytes */10\r\nContent-Length: 0\r\n\r\n"


async def test_head_of_a_file(file: Path) -> None:
    again, data = await respond(Response.file(file), ranged("bytes=2-4", "HEAD"))
    assert again
    assert b"\r\nContent-Length: 10\r\n" in data
    assert data.endswith(b"\r\n\r\n")


async def test_headers_of_the_application_take_the_place_of_the_files(file: Path) -> None:
    response = Response.file(file)
    response.headers.set("content-type", "text/x")
    response.headers.set("Cache-Control", "no-store")
    _, data = await respond(response, GET)
    assert data.lower().count(b"content-type") == 1
    assert b"\r\nCache-Control: no-store\r\n" in data


async def test_a_file_may_be_the_page_of_another_status(file: Path) -> None:
    response = Response.file(file)
    response.status = 404
    for request in (GET, ranged("bytes=2-4"), b"GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n"):
        again, data = await respond(response, request)
        assert again
        assert data.startswith(b"HTTP/1.1 404 Not Found\r\n")
        assert b"\r\nContent-Length: 10\r\n" in data
        assert data.endswith(b"\r\n\r\n0123456789")


async def test_a_missing_file_is_a_404(file: Path) -> None:
    for request in (GET, HEAD):
        again, data = await respond(Response.file("../a.txt", root=file.parent / "sub"), request)
        assert again
        assert data.startswith(b"HTTP/1.1 404 Not Found\r\n")
        assert data.endswith(b"\r\n\r\nNot Found" if request is GET else b"\r\n\r\n")


async def test_a_large_file_is_read_in_pieces(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    run_sync = trio.to_thread.run_sync

    async def counted(function: Callable[..., object], *args: object) -> object:
        result = await run_sync(function, *args)
        if isinstance(result, bytes):
            reads.append(len(result))
        return result

    monkeypatch.setattr(trio.to_thread, "run_sync", counted)
    await trio.Path(file).write_bytes(b"ab" * FILE_PIECE)
    reads.clear()
    _, data = await respond(Response.file(file), GET)
    assert data.endswith(b"\r\n\r\n" + b"ab" * FILE_PIECE)
    assert reads == [FILE_PIECE, FILE_PIECE]


async def test_a_file_that_cannot_be_read_is_a_500(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> int:
        raise OSError(5, "broken")

    monkeypatch.setattr("trio_bunws._file_body.os.open", broken)
    async with request_on(FakeTransport(GET)) as (stream, request):
        with pytest.raises(HttpError, match="500"):
            await stream.respond(request, Response.file(file))


# What a response leaves behind


@pytest.mark.parametrize(
    ("data", "again"),
    [
        ((post(5) + b"ab", b"cde" + GET), True),
        ((post(DRAIN_LIMIT) + b"a" * DRAIN_LIMIT + GET,), True),
        ((CHUNKED + b"2\r\nab\r\n", b"0\r\n\r\n" + GET), True),
        ((CHUNKED + b"50000\r\n" + b"a" * 0x50000 + b"\r\n0\r\n\r\n" + GET,), False),
        ((CHUNKED + b"x\r\n" + GET,), False),
    ],
)
async def test_an_unread_body_is_read_away_or_ends_the_connection(data: tuple[bytes, ...], again: bool) -> None:
    transport = FakeTransport(*data)
    stream = HttpStream(transport.real, Limits(), 10**9)
    head = await stream.next_head(10)
    assert head is not None
    with stream.answering(head, 10):
        assert await stream.respond(Request(head.raw, stream), Response()) is again
    assert b"\r\nConnection: close\r\n" not in transport.sent
    if again:
        head = await stream.next_head(10)
        assert head is not None
        assert head.method == b"GET"


@pytest.mark.parametrize("data", [post(DRAIN_LIMIT + 1), post(5, "Expect: 100-continue")])
async def test_a_body_that_cannot_be_read_away_is_the_last(data: bytes) -> None:
    transport = FakeTransport(data)
    stream = HttpStream(transport.real, Limits(), 10**9)
    head = await stream.next_head(10)
    assert head is not None
    with stream.answering(head, 10):
        assert not await stream.respond(Request(head.raw, stream), Response())
    assert b"\r\nConnection: close\r\n" in transport.sent


async def test_a_client_that_leaves_an_unread_body_is_gone() -> None:
    transport = FakeTransport(post(5))
    transport.end()
    async with request_on(transport) as (stream, request):
        with pytest.raises(trio.BrokenResourceError):
            await stream.respond(request, Response())


# Time


async def test_an_answer_without_progress_is_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"ab"
        await trio.sleep_forever()

    transport = FakeTransport(GET)
    stream = stream_of(transport)
    head = await stream.next_head(10)
    assert head is not None
    request = Request(head.raw, stream)
    with stream.answering(head, 10) as scope:
        await stream.respond(request, Response(never()))
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(10)
    assert autojump_clock.autojump_threshold == 0


async def test_a_client_that_does_not_read_is_cut_and_one_that_reads_slowly_is_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    body = b"a" * (4 * PIECE)
    for step, finished in ((0, False), (PIECE, True)):
        transport = FakeTransport(GET)
        transport.room = 0
        stream = stream_of(transport)
        head = await stream.next_head(10)
        assert head is not None
        with stream.answering(head, 10) as scope:
            async with trio.open_nursery() as nursery:

                async def client(transport: FakeTransport = transport, step: int = step) -> None:
                    while True:
                        await trio.sleep(8)
                        transport.read(step)

                nursery.start_soon(client)
                assert await stream.respond(Request(head.raw, stream), Response(body))
                nursery.cancel_scope.cancel()
        assert scope.cancelled_caught is not finished
        assert transport.sent.endswith(body) is finished
    assert autojump_clock.autojump_threshold == 0


async def test_a_slow_upload_with_progress_is_fine(autojump_clock: trio.testing.MockClock) -> None:
    transport = FakeTransport(post(30))
    async with request_on(transport) as (_, request), trio.open_nursery() as nursery:

        async def client() -> None:
            for _ in range(30):
                await trio.sleep(9)
                transport.put(b"a")

        nursery.start_soon(client)
        assert await request.body() == b"a" * 30
    assert autojump_clock.autojump_threshold == 0


async def drip(transport: FakeTransport, piece: bytes, every: float) -> None:
    """Send a piece of a body again and again, never late."""
    while True:
        await trio.sleep(every)
        transport.put(piece)


@pytest.mark.parametrize(("timeout", "end"), [(10, 300), (5, 300), (400, 400)])
async def test_a_body_that_comes_byte_by_byte_is_408_though_it_makes_progress(
    timeout: float, end: float, autojump_clock: trio.testing.MockClock
) -> None:
    transport = FakeTransport(post(1000))
    stream = stream_of(transport)
    head = await stream.next_head(10)
    assert head is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip, transport, b"a", 4.1)
        with stream.answering(head, timeout), pytest.raises(HttpError, match=r"408 .* too slowly") as caught:
            await Request(head.raw, stream).body()
        nursery.cancel_scope.cancel()
    assert stream.failure is caught.value
    assert trio.current_time() == pytest.approx(end, abs=0.1)
    assert autojump_clock.autojump_threshold == 0


@pytest.mark.parametrize(("timeout", "piece"), [(10, bytes(5 * BODY_PACE)), (0, b"a")])
async def test_a_body_may_take_its_time_at_some_pace_or_where_that_is_allowed(
    timeout: float, piece: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    transport = FakeTransport(post(100 * len(piece)))
    stream = HttpStream(transport.real, Limits(), max_body_size=10**6)
    head = await stream.next_head(10)
    assert head is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip, transport, piece, 5)
        with stream.answering(head, timeout):
            assert len(await Request(head.raw, stream).body()) == 100 * len(piece)
        nursery.cancel_scope.cancel()
    assert trio.current_time() == pytest.approx(500)
    assert autojump_clock.autojump_threshold == 0


async def test_only_waiting_for_the_client_counts_for_its_pace(autojump_clock: trio.testing.MockClock) -> None:
    transport = FakeTransport(post(100), *[b"a"] * 99)  # they are here already
    async with request_on(transport) as (_, request):
        async for _ in request.stream():
            await trio.sleep(5)
            if trio.current_time() == 99 * 5:
                transport.put(b"a")
    assert trio.current_time() == 500 > BODY_PATIENCE
    assert autojump_clock.autojump_threshold == 0


async def test_an_unread_body_that_comes_byte_by_byte_ends_the_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    transport = FakeTransport(post(1000))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip, transport, b"a", 5)
        async with request_on(transport) as (stream, request):
            assert not await stream.respond(request, Response())
        nursery.cancel_scope.cancel()
    assert trio.current_time() == pytest.approx(300, abs=0.1)
    assert autojump_clock.autojump_threshold == 0


async def test_a_late_client_is_told_from_an_application_that_gave_up_on_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for seconds, is_late in ((20, True), (5, False)):
        transport = FakeTransport(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        stream = HttpStream(transport.real, Limits(), 100)
        head = await stream.next_head(10)
        assert head is not None
        with stream.answering(head, 10) as scope:
            with trio.move_on_after(seconds):
                await stream.read_body()
            await trio.sleep_forever()
        assert scope.cancelled_caught
        assert stream.is_peer_late is is_late
    assert autojump_clock.autojump_threshold == 0


async def test_the_time_may_be_changed_while_answering(autojump_clock: trio.testing.MockClock) -> None:
    stream = stream_of(FakeTransport(GET))
    head = await stream.next_head(10)
    assert head is not None
    with stream.answering(head, 10) as scope:
        request = Request(head.raw, stream)
        request._set_timeout(30)
        assert stream.timeout == 30
        await trio.sleep(29)
        request._set_timeout(0)
        await trio.sleep(100)
        request._set_timeout(2)
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(131)
    assert autojump_clock.autojump_threshold == 0


async def test_nothing_is_logged_above_info_for_what_a_client_does(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with request_on(FakeTransport(CHUNKED + b"x\r\n")) as (stream, request):
        assert not await stream.respond(request, Response())
    assert caplog.text == ""
