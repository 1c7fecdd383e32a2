"""BEHAVIOUR.md, 27, sentence by sentence: `fetch` that fails, bodies, keep-alive, pipelines, and responses that stall.

A test's name begins with the number of its sentence. The client chooses every byte.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
from playground import playground
from raw_http import GET, answer, ask

from trio_bunws import Limits, Request, Response, Server, WebSocketHandler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from trio.testing import MockClock


@pytest.mark.parametrize("is_async", [False, True])
async def test_27_none_without_an_upgrade_is_500_and_a_logged_error_says_so(
    is_async: bool, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async def fetch(_request: Request, _server: Server[Any]) -> None:
        await trio.sleep(1)

    async with playground(WebSocketHandler(), fetch if is_async else lambda _request, _server: None) as play:
        peer = await play.connect()
        assert (await ask(peer, GET)).status == 500
        assert (await ask(peer, GET)).status == 500  # the connection is kept
    assert all(record.levelno == logging.ERROR for record in caplog.records)
    assert "fetch returned None" in caplog.text
    assert "upgrad" in caplog.text


@pytest.mark.parametrize("is_async", [False, True])
async def test_27_an_exception_in_fetch_is_a_plain_500(
    is_async: bool, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    def fetch(_request: Request, _server: Server[Any]) -> Response:
        raise ValueError("a secret")

    async def async_fetch(request: Request, server: Server[Any]) -> Response:
        await trio.sleep(1)
        return fetch(request, server)

    async with playground(WebSocketHandler(), async_fetch if is_async else fetch) as play:
        peer = await play.connect()
        found = await ask(peer, GET)
        assert found.status == 500
        assert b"secret" not in found.body
        assert b"Traceback" not in found.body
        assert (await ask(peer, GET)).status == 500
    assert "ValueError: a secret" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("is_async", [False, True])
async def test_27_error_makes_the_response_of_an_exception(
    is_async: bool, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    def fetch(_request: Request, _server: Server[Any]) -> Response:
        raise ValueError("told to error")

    def error(exc: Exception) -> Response:
        return Response(f"sorry: {exc}", 503)

    async def async_error(exc: Exception) -> Response:
        await trio.sleep(1)
        return error(exc)

    async with playground(None, fetch, error=async_error if is_async else error) as play:
        found = await ask(await play.connect(), GET)
        assert (found.status, found.body) == (503, b"sorry: told to error")
    assert caplog.records == []


def raising(_exc: Exception) -> Response:
    raise KeyError("in error")


@pytest.mark.parametrize("error", [raising, lambda _exc: None, lambda _exc: "no response"])
async def test_27_if_error_has_no_response_it_is_500(
    error: Callable[[Exception], Any], caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    def fetch(_request: Request, _server: Server[Any]) -> Response:
        raise ValueError("from fetch")

    async with playground(None, fetch, error=error) as play:
        assert (await ask(await play.connect(), GET)).status == 500
    assert "from fetch" in caplog.text


async def test_27_head_has_the_head_only(autojump_clock: MockClock) -> None:
    async with playground(None, lambda request, _server: Response(f"{request.method}!")) as play:
        peer = await play.connect()
        await peer.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
        found = await answer(peer, head_only=True)
        assert (found.status, found["content-length"]) == (200, "5")
        assert (await answer(peer)).body == b"GET!"


async def test_27_a_connection_is_kept_until_it_is_idle_or_told_to_close(autojump_clock: MockClock) -> None:
    async with playground(None, lambda request, _server: Response(request.path), idle_timeout=10) as play:
        peer = await play.connect()
        for _ in range(3):
            await trio.sleep(9)
            assert (await ask(peer, GET)).body == b"/a"
        await peer.receive_eof()
        assert trio.current_time() == 37
        peer = await play.connect()
        found = await ask(peer, b"GET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET)
        assert found.body == b"/b"
        await peer.receive_eof()
        peer = await play.connect()
        assert (await ask(peer, b"GET /c HTTP/1.0\r\n\r\n")).body == b"/c"
        await peer.receive_eof()


async def test_27_pipelined_requests_are_answered_in_order(autojump_clock: MockClock) -> None:
    async def fetch(request: Request, _server: Server[Any]) -> Response:
        await trio.sleep(3 - len(request.path))
        return Response(request.path + (await request.text()))

    post = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    async with playground(None, fetch) as play:
        peer = await play.connect()
        await peer.send(GET + post + GET + post)
        assert [(await answer(peer)).body for _ in range(4)] == [b"/a", b"/bhello"] * 2


async def test_27_100_continue_is_sent_when_the_body_is_wanted(autojump_clock: MockClock) -> None:
    async def fetch(request: Request, _server: Server[Any]) -> Response:
        return Response(await request.body() if request.path == "/wanted" else "not wanted")

    fields = b" HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    async with playground(None, fetch) as play:
        peer = await play.connect()
        await peer.send(b"POST /wanted" + fields)
        assert (await answer(peer)).status == 100
        await peer.send(b"hello")
        assert (await answer(peer)).body == b"hello"
        found = await ask(peer, b"POST /unwanted" + fields)
        assert (found.status, found.body) == (200, b"not wanted")


async def test_27_chunked_bodies_go_in_and_out(autojump_clock: MockClock) -> None:
    async def echo(request: Request) -> AsyncGenerator[bytes]:
        async for chunk in request.stream():
            yield chunk.upper()

    async with playground(None, lambda request, _server: Response(echo(request))) as play:
        peer = await play.connect()
        await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        found = await answer(peer)
        assert found["transfer-encoding"] == "chunked"
        assert await peer.receive_until(b"HELLO\r\n") == b"5\r\nHELLO\r\n"
        await peer.send(b"6;x=y\r\n world\r\n0\r\n\r\n" + GET)
        assert await peer.receive_until(b"0\r\n\r\n") == b"6\r\n WORLD\r\n0\r\n\r\n"
        assert (await answer(peer)).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 1001\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + (b"1f4\r\n" + b"x" * 500 + b"\r\n") * 3,
    ],
    ids=["declared", "chunk", "chunks"],
)
async def test_27_a_body_over_the_limit_is_413(body: bytes, autojump_clock: MockClock) -> None:
    async def fetch(request: Request, _server: Server[Any]) -> Response:
        return Response(await request.body())

    async with playground(None, fetch, max_request_body_size=1000) as play:
        peer = await play.connect()
        exactly = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000
        assert (await ask(peer, exactly)).body == b"x" * 1000
        assert (await ask(peer, b"POST / HTTP/1.1\r\nHost: a\r\n" + body)).status == 413
        await peer.receive_eof()


async def test_27_a_response_without_progress_is_aborted(autojump_clock: MockClock) -> None:
    async with playground(None, lambda _r, _s: Response(b"x" * 1_000_000), idle_timeout=7, lockstep=True) as play:
        peer = await play.connect()
        await peer.send(GET)
        for _ in range(5):
            await trio.sleep(6)
            assert await peer.stream.receive_some()
        await trio.sleep(6.5)
        assert play.server.pending_requests == 1
        await trio.sleep(1)
        assert play.server.pending_requests == 0


@pytest.mark.parametrize("stuck_in", ["fetch", "body"])
async def test_27_a_response_that_the_application_does_not_make_is_aborted_too(
    stuck_in: str, autojump_clock: MockClock
) -> None:
    async def body() -> AsyncGenerator[bytes]:
        yield b"begun"
        await trio.sleep_forever()

    async def fetch(_request: Request, _server: Server[Any]) -> Response:
        if stuck_in == "fetch":
            await trio.sleep_forever()
        return Response(body())

    async with playground(None, fetch, idle_timeout=7) as play:
        peer = await play.connect()
        await peer.send(GET)
        async with trio.open_nursery():
            while await peer.stream.receive_some():
                pass
        assert trio.current_time() == 7


@pytest.mark.parametrize("seconds", [100, 0], ids=["100", "any number"])
async def test_27_server_timeout_allows_more(seconds: int, autojump_clock: MockClock) -> None:
    async def fetch(request: Request, server: Server[Any]) -> Response:
        server.timeout(request, seconds)
        await trio.sleep(99)
        return Response("at last")

    async with playground(None, fetch, idle_timeout=7) as play:
        assert (await ask(await play.connect(), GET)).body == b"at last"


async def test_27_a_request_that_does_not_arrive_is_given_up(autojump_clock: MockClock) -> None:
    async with playground(None, lambda _r, _s: Response(), limits=Limits(header_timeout=5)) as play:
        peer = await play.connect()
        await peer.receive_eof()
        assert trio.current_time() == 5
        peer = await play.connect()
        found = await ask(peer, GET[:-2])
        assert found.status == 408
        await peer.receive_eof()
        assert trio.current_time() == 10
