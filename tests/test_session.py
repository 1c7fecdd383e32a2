"""One connection: who answers a request and how, what becomes a WebSocket, and how all of it ends.

Covers `trio_bunws._session` alone, with a transport in memory and a server without tasks.
"""

from __future__ import annotations

import gc
import logging
import re
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import trio
import trio.testing
from http_fakes import FakeServer, FakeTransport, websocket_slot

from trio_bunws._headers import Headers
from trio_bunws._options import Limits
from trio_bunws._request import Request, Upgrade
from trio_bunws._response import Response
from trio_bunws._session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

who: ContextVar[str] = ContextVar("who", default="nobody")
GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def handshake(*lines: str, version: str = "13") -> bytes:
    head = [
        "GET /chat HTTP/1.1",
        "Host: a",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        f"Sec-WebSocket-Version: {version}",
    ]
    return "\r\n".join([*head, *lines, "", ""]).encode()


async def serve(server: FakeServer, *data: bytes) -> FakeTransport:
    """Run a session whose client sends this and then ends; return its transport when it is over."""
    transport = FakeTransport(*data)
    transport.end()
    await Session(transport.real, server.real).run()
    assert transport.ended_by[-1] == "aclose"
    assert server._pending_requests == 0
    return transport


def statuses(transport: FakeTransport) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) [A-Z]", transport.sent)]


def ok(request: Request, _server: object) -> Response:
    return Response(f"{request.method} {request.path}")


def upgrading(request: Request, _server: object) -> None:
    request._upgrade = Upgrade({"X": "y"}, "data", None)


class BrokenError(Exception):
    pass


def broken(_request: Request, _server: object) -> NoReturn:
    raise BrokenError("what went wrong")


# fetch


async def test_a_plain_fetch_answers_and_the_connection_is_kept() -> None:
    transport = await serve(FakeServer(ok), GET, GET + GET)
    assert statuses(transport) == [200, 200, 200]
    assert transport.sent.count(b"GET /a") == 3
    assert transport.ended_by == ["aclose"]


async def test_an_async_fetch_answers_after_waiting() -> None:
    pending: list[int] = []

    async def fetch(request: Request, asked: FakeServer) -> Response:
        await trio.lowlevel.checkpoint()
        assert asked is server
        pending.append(server._pending_requests)
        return Response(await request.body())

    server = FakeServer(fetch)
    body = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    transport = await serve(server, body + body)
    assert statuses(transport) == [200, 200]
    assert transport.sent.count(b"\r\n\r\nhello") == 2
    assert pending == [1, 1]


async def test_a_request_tells_its_client_and_is_over_when_it_is_answered() -> None:
    requests: list[Request] = []

    def fetch(request: Request, _server: object) -> Response:
        assert not request._answered
        requests.append(request)
        return Response()

    await serve(FakeServer(fetch), GET)
    request = requests[0]
    assert request._remote is not None
    assert request._remote.address == "192.0.2.1"
    assert request.url == "http://a/a"
    assert request._answered
    assert request._exchange is None


async def test_a_request_counts_as_answered_while_its_response_is_sent() -> None:
    requests: list[Request] = []

    async def body() -> AsyncIterator[bytes]:
        assert requests[0]._answered
        yield b"answered"

    def fetch(request: Request, _server: object) -> Response:
        requests.append(request)
        return Response(body())

    assert b"answered" in (await serve(FakeServer(fetch), GET)).sent


async def test_tls_is_https() -> None:
    def fetch(request: Request, _server: object) -> Response:
        return Response(request.url)

    transport = FakeTransport(GET)
    transport.tls = True
    transport.end()
    await Session(transport.real, FakeServer(fetch).real).run()
    assert transport.sent.endswith(b"https://a/a")


async def test_an_exception_is_a_500_without_traceback_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    transport = await serve(FakeServer(broken), GET, GET)
    assert statuses(transport) == [500, 500]
    assert transport.sent.endswith(b"\r\n\r\nInternal Server Error")
    assert b"wrong" not in transport.sent
    assert "BrokenError: what went wrong" in caplog.text
    assert "<Request GET http://a/a>" in caplog.text


async def test_an_exception_group_is_an_exception(caplog: pytest.LogCaptureFixture) -> None:
    async def fetch(request: Request, server: object) -> Response:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.checkpoint)
            broken(request, server)

    assert statuses(await serve(FakeServer(fetch), GET)) == [500]
    assert "what went wrong" in caplog.text


async def async_error(exc: Exception) -> Response:
    await trio.lowlevel.checkpoint()
    return Response(f"sorry: {exc}", 503)


@pytest.mark.parametrize("on_error", [lambda exc: Response(f"sorry: {exc}", 503), async_error])
async def test_error_makes_the_response(on_error: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    transport = await serve(FakeServer(broken, on_error), GET, GET)
    assert statuses(transport) == [503, 503]
    assert transport.sent.endswith(b"\r\n\r\nsorry: what went wrong")
    assert caplog.text == ""


async def test_an_error_that_returns_nothing_leaves_the_500(caplog: pytest.LogCaptureFixture) -> None:
    assert statuses(await serve(FakeServer(broken, lambda _exc: None), GET)) == [500]
    assert "what went wrong" in caplog.text
    assert "must return" not in caplog.text


def plain_error(exc: Exception) -> Coroutine[Any, Any, Response]:
    return async_error(exc)


def bad_error(_exc: Exception) -> NoReturn:
    raise RuntimeError("second")


@pytest.mark.parametrize(
    ("on_error", "words"),
    [
        (bad_error, "RuntimeError: second"),
        (lambda _exc: "no response", "error must return a Response for <Request GET http://a/a>, not str"),
        (plain_error, "error must return a Response"),
    ],
)
async def test_an_error_that_fails_is_logged_beside_the_exception(
    on_error: Callable[..., Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    transport = await serve(FakeServer(broken, on_error), GET)
    assert statuses(transport) == [500]
    assert words in caplog.text
    assert "BrokenError: what went wrong" in caplog.text


async def test_none_without_an_upgrade_is_a_500_that_says_so_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    transport = await serve(FakeServer(lambda _request, _server: None), GET, GET)
    assert statuses(transport) == [500, 500]
    assert "fetch returned None for <Request GET http://a/a> without upgrading it: return a Response" in caplog.text


async def async_ok(request: Request, server: object) -> Response:
    await trio.lowlevel.checkpoint()
    return ok(request, server)


def plain_ok(request: Request, server: object) -> Coroutine[Any, Any, Response]:
    return async_ok(request, server)


@pytest.mark.parametrize("fetch", [lambda _r, _s: "text", plain_ok, lambda _r, _s: 0])
async def test_another_result_is_a_500_and_a_logged_type_error(
    fetch: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert statuses(await serve(FakeServer(fetch), GET)) == [500]
    gc.collect()  # a coroutine that was never awaited would warn here
    assert "TypeError: fetch must return a Response or None for <Request GET http://a/a>, not" in caplog.text


async def test_a_fetch_that_reloads_itself_is_called_as_what_it_was() -> None:
    server = FakeServer(None)

    def fetch(request: Request, _server: object) -> Response:
        server._fetch, server._fetch_async = async_ok, True
        return Response("old " + request.path)

    server._fetch = fetch
    transport = await serve(server, GET, GET)
    assert statuses(transport) == [200, 200]
    assert b"old /a" in transport.sent
    assert transport.sent.endswith(b"GET /a")


async def test_an_on_error_that_reloads_itself_is_called_as_what_it_was() -> None:
    def on_error(_exc: Exception) -> Response:
        server._error, server._error_async = async_error, True
        return Response("old", 502)

    server = FakeServer(broken, on_error)
    assert statuses(await serve(server, GET, GET)) == [502, 503]


# What the client does wrong


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20000, 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", 413),
    ],
)
async def test_a_bad_request_is_answered_and_the_connection_closed(
    data: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    transport = await serve(FakeServer(ok), GET + data + b"\r\n\r\n" + GET)
    assert statuses(transport) == [200, status]
    assert b"\r\nConnection: close\r\n" in transport.sent
    assert f"request refused: {status} " in caplog.text


async def read_body(request: Request, _server: object) -> Response:
    return Response(await request.body())


async def read_body_in_a_task(request: Request, _server: object) -> Response:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.lowlevel.checkpoint)
        nursery.start_soon(request.body)
    raise AssertionError


@pytest.mark.parametrize("fetch", [read_body, read_body_in_a_task])
@pytest.mark.parametrize(("chunks", "status"), [(b"x\r\n", 400), (b"3e9\r\n" + b"a" * 1001, 413)])
async def test_a_bad_body_is_answered_for_the_application(
    fetch: Callable[..., Any], chunks: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    transport = await serve(FakeServer(fetch, async_error), CHUNKED + chunks)
    assert statuses(transport) == [status]
    assert caplog.text == ""


async def test_the_application_may_answer_a_bad_body_itself() -> None:
    async def fetch(request: Request, _server: object) -> Response:
        try:
            await request.body()
        except Exception as exc:  # noqa: BLE001  # an application may
            return Response(str(exc), 422)
        raise AssertionError

    transport = await serve(FakeServer(fetch), CHUNKED + b"x\r\n" + GET)
    assert statuses(transport) == [422]


async def test_a_client_that_leaves_is_not_logged_above_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await serve(FakeServer(read_body, async_error), b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
    transport = FakeTransport(GET)
    transport.failing = trio.BrokenResourceError("reset")
    await Session(transport.real, FakeServer(ok).real).run()
    assert [record.levelname for record in caplog.records] == ["DEBUG", "DEBUG"]
    assert "connection lost: reset" in caplog.text


async def test_a_broken_resource_of_the_application_is_its_own_exception(caplog: pytest.LogCaptureFixture) -> None:
    def fetch(_request: Request, _server: object) -> NoReturn:
        raise trio.BrokenResourceError("the database")

    assert statuses(await serve(FakeServer(fetch), GET, GET)) == [500, 500]
    assert "the database" in caplog.text


# WebSockets


async def test_an_upgrade_is_handed_over_with_what_came_after_it() -> None:
    server = FakeServer(upgrading, slot=websocket_slot())
    transport = await serve(server, handshake("Sec-WebSocket-Protocol: chat") + b"\x81\x80abcd", b"later")
    [(request, upgrade, trailing, pending)] = server.websockets
    assert (upgrade.headers, upgrade.data) == (Headers({"X": "y"}), "data")
    assert trailing == b"\x81\x80abcd"
    assert request.path == "/chat"
    assert request._handshake is not None
    assert request._handshake.protocols == ("chat",)
    assert request._answered
    assert pending == 0
    assert transport.sent == b""
    assert transport.ended_by == ["aclose"]


async def test_a_handshake_may_be_cut_anywhere_and_follow_other_requests() -> None:
    data = GET + handshake() + b"\x81"
    for at in range(1, len(data)):
        server = FakeServer(lambda r, s: ok(r, s) if r.path == "/a" else upgrading(r, s), slot=websocket_slot())
        transport = await serve(server, data[:at], data[at:])
        assert statuses(transport) == [200]
        # What was cut off is still in the transport; the WebSocket reads on there.
        assert [trailing for _, _, trailing, _ in server.websockets] == [b"" if at == len(data) - 1 else b"\x81"]


async def test_an_upgrade_after_waiting() -> None:
    async def fetch(request: Request, server: object) -> None:
        await trio.lowlevel.checkpoint()
        upgrading(request, server)

    server = FakeServer(fetch, slot=websocket_slot())
    await serve(server, handshake())
    assert len(server.websockets) == 1


async def test_a_response_beside_an_upgrade_is_ignored_and_its_body_closed() -> None:
    closed: list[bool] = []

    class Body:
        def __aiter__(self) -> Body:
            return self

        async def __anext__(self) -> NoReturn:
            raise AssertionError

        async def aclose(self) -> None:
            closed.append(True)

    def fetch(request: Request, server: object) -> Response:
        upgrading(request, server)
        return Response(Body())

    server = FakeServer(fetch, slot=websocket_slot())
    transport = await serve(server, handshake())
    assert len(server.websockets) == 1
    assert transport.sent == b""
    assert closed == [True]


@pytest.mark.parametrize("on_error", [None, async_error])
async def test_an_exception_after_an_upgrade_takes_it_back(
    on_error: Callable[..., Any] | None, caplog: pytest.LogCaptureFixture
) -> None:
    def fetch(request: Request, server: object) -> NoReturn:
        upgrading(request, server)
        broken(request, server)

    server = FakeServer(fetch, on_error, slot=websocket_slot())
    assert statuses(await serve(server, handshake())) == [503 if on_error else 500]
    assert server.websockets == []
    assert ("what went wrong" in caplog.text) is (on_error is None)


async def test_a_handshake_that_is_not_upgraded_is_answered() -> None:
    server = FakeServer(ok, slot=websocket_slot())
    assert statuses(await serve(server, handshake(), GET)) == [200, 200]
    assert server.websockets == []


@pytest.mark.parametrize(
    ("data", "status"), [(handshake(version="8"), 426), (handshake("Content-Length: 1") + b"a", 400)]
)
async def test_a_faulty_handshake_is_refused_by_the_server_itself(
    data: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    transport = await serve(FakeServer(ok, slot=websocket_slot()), data + GET)
    assert statuses(transport) == [status]
    assert (b"\r\nSec-WebSocket-Version: 13\r\n" in transport.sent) is (status == 426)
    assert "handshake refused" in caplog.text


async def test_without_websockets_a_faulty_handshake_is_an_ordinary_request() -> None:
    seen: list[object] = []

    def fetch(request: Request, _server: object) -> Response:
        seen.append(request._handshake)
        return Response()

    assert statuses(await serve(FakeServer(fetch), handshake(version="8"), handshake())) == [200, 200]
    assert seen == [None, None]


async def test_without_fetch_every_handshake_is_upgraded() -> None:
    server = FakeServer(None, slot=websocket_slot())
    await serve(server, handshake() + b"\x81")
    [(request, upgrade, trailing, _)] = server.websockets
    assert (upgrade.headers, upgrade.data, upgrade.protocol) == (Headers(), None, None)
    assert request._answered
    assert trailing == b"\x81"


async def test_without_fetch_another_request_is_told_to_upgrade() -> None:
    server = FakeServer(None, slot=websocket_slot())
    transport = await serve(server, GET, GET)
    assert statuses(transport) == [426, 426]
    assert transport.sent.count(b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n") == 2
    assert server.websockets == []


async def test_a_websocket_holds_nothing_of_http() -> None:
    def of_http() -> set[int]:
        gc.collect()
        return {id(thing) for thing in gc.get_objects() if type(thing).__name__ in unwanted}

    held: list[int] = []
    server = FakeServer(upgrading, slot=websocket_slot())
    transport = FakeTransport(handshake() + b"x" * 1000)
    session = Session(transport.real, server.real)

    def look() -> None:
        held.extend(of_http() - before)
        assert session._stream is None
        _, _, trailing, _ = server.websockets[0]
        # The fake's list, the local name and the argument of getrefcount.
        trailings.append(sys.getrefcount(trailing))

    unwanted = {"HttpStream", "HttpProtocol", "RequestHead"}
    trailings: list[int] = []
    server.on_websocket = look
    before = of_http()  # other tests' may be held by what pytest reports
    await session.run()
    assert held == []
    assert trailings[0] <= 4  # and what is on its way to `run`


async def test_a_websocket_that_fails_is_logged_and_closed(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> NoReturn:
        raise BrokenError("in the socket")

    server = FakeServer(upgrading, slot=websocket_slot())
    server.on_websocket = fail
    assert (await serve(server, handshake())).ended_by == ["aclose"]
    assert "BrokenError: in the socket" in caplog.text


# Without a task, until there must be one


class Polled:
    """A session whose first request a poller reads; `run` is its task, if it is started."""

    def __init__(self, server: FakeServer, *, polled: bool = True) -> None:
        self.transport = FakeTransport()
        self.transport.polled = polled
        self.server = server
        self.starts = 0
        self.session = Session(self.transport.real, server.real)
        self.attended = self.session.attend(self.start)

    def start(self, transport: object, session: object) -> None:
        assert (transport, session) == (self.transport, self.session)
        self.starts += 1

    async def run(self, *data: bytes) -> list[int]:
        """Run the task, whose client sends this more and then ends; return the statuses of all responses."""
        assert self.starts == 1
        assert self.server.arrivals == []
        for one in data:
            self.transport.put(one)
        self.transport.end()
        await self.session.run()
        assert self.transport.ended_by[-1] == "aclose"
        assert self.server._pending_requests == 0
        return statuses(self.transport)


async def test_where_no_poller_reads_a_task_is_needed_at_once() -> None:
    polled = Polled(FakeServer(ok), polled=False)
    assert (polled.attended, polled.starts, polled.server.arrivals) == (False, 0, [])


async def test_a_handshake_that_a_plain_fetch_upgrades_takes_no_task() -> None:
    seen: list[tuple[str, int]] = []

    def fetch(request: Request, server: FakeServer) -> None:
        seen.append((who.get(), server._pending_requests))
        request._upgrade = Upgrade(None, "data", None)

    who.set("the acceptor")
    polled = Polled(FakeServer(fetch, slot=websocket_slot()))
    assert polled.attended
    assert polled.server.arrivals == [polled.session]
    who.set("the poller")
    polled.transport.poll(handshake() + b"frames")
    assert polled.starts == 0
    assert seen == [("the acceptor", 1)]
    assert polled.server.arrivals == []
    [(request, upgrade, trailing, pending)] = polled.server.websockets
    assert (request._answered, request._exchange, upgrade.data, trailing, pending) == (True, None, "data", b"frames", 0)
    [connection] = polled.server.connections
    assert connection.log == ["flushed"]
    assert not polled.session.is_http
    polled.session.stop()  # no WebSocket is touched
    assert polled.starts == 0
    polled.transport.rouse()
    assert await polled.run() == []
    assert connection.log[1:] == ["goes on"]


async def test_without_fetch_a_handshake_takes_no_task_either() -> None:
    polled = Polled(FakeServer(None, slot=websocket_slot()))
    polled.transport.poll(handshake())
    assert (polled.starts, len(polled.server.connections)) == (0, 1)


async def test_a_websocket_that_must_wait_at_once_has_a_task() -> None:
    server = FakeServer(upgrading, slot=websocket_slot())
    server.attended = False
    polled = Polled(server)
    polled.transport.poll(handshake())
    assert await polled.run() == []
    assert server.connections[0].log == ["flushed", "goes on"]


async def test_a_websocket_gives_its_task_back_and_is_not_closed_then() -> None:
    async def fetch(request: Request, server: object) -> None:
        await trio.lowlevel.checkpoint()
        upgrading(request, server)

    polled = Polled(FakeServer(fetch, slot=websocket_slot()))
    polled.server.goes_on = True
    polled.transport.poll(handshake())
    for _ in range(2):
        assert await polled.session.run()
    assert polled.transport.ended_by == []
    polled.server.goes_on = False
    assert await polled.run() == []
    assert polled.server.connections[0].log == ["run", "goes on", "goes on"]


@pytest.mark.parametrize(
    ("first", "rest", "expected"),
    [
        (GET + GET, (), [200, 200]),
        (GET[:5], (GET[5:],), [200]),
        (GET.replace(b"Host", b"H st"), (), [400]),
        (handshake(version="12"), (), [426]),
        (handshake(), (), [200]),
        (CHUNKED, (b"0\r\n\r\n",), [200]),
    ],
    ids=["ordinary", "in parts", "malformed", "refused", "handshake not upgraded", "body"],
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_every_other_request_is_answered_by_the_task(
    first: bytes, rest: tuple[bytes, ...], expected: list[int], is_async: bool
) -> None:
    asked: list[str] = []

    def fetch(request: Request, _server: object) -> Response:
        asked.append(request.path)
        return Response("hello")

    async def slow_fetch(request: Request, server: object) -> Response:
        await trio.lowlevel.checkpoint()
        return fetch(request, server)

    polled = Polled(FakeServer(slow_fetch if is_async else fetch, slot=websocket_slot()))
    polled.transport.poll(first)
    assert polled.transport.sent == b""
    assert await polled.run(*rest) == expected
    assert len(asked) == expected.count(200)


async def test_an_async_fetch_upgrades_in_the_task() -> None:
    async def fetch(request: Request, server: object) -> None:
        await trio.lowlevel.checkpoint()
        upgrading(request, server)

    polled = Polled(FakeServer(fetch, slot=websocket_slot()))
    polled.transport.poll(handshake())
    assert await polled.run() == []
    assert [trailing for _, _, trailing, _ in polled.server.websockets] == [b""]


async def test_a_server_without_websockets_answers_a_handshake_by_the_task() -> None:
    polled = Polled(FakeServer(ok))
    polled.transport.poll(handshake())
    assert await polled.run() == [200]


@pytest.mark.parametrize("with_upgrade", [False, True])
async def test_an_exception_of_fetch_is_dealt_with_by_the_task(
    with_upgrade: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def fetch(request: Request, _server: object) -> NoReturn:
        if with_upgrade:
            request._upgrade = Upgrade(None, None, None)
        raise BrokenError("what went wrong")

    polled = Polled(FakeServer(fetch, async_error, slot=websocket_slot()))
    polled.transport.poll(handshake())
    assert caplog.text == ""
    assert await polled.run() == [503]
    assert polled.server.websockets == []


async def test_a_response_beside_an_upgrade_is_closed_by_the_task() -> None:
    closed: list[bool] = []

    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"x"
        finally:
            closed.append(True)

    async def begun() -> AsyncIterator[bytes]:
        iterator = body()
        await anext(iterator)
        return iterator

    iterator = await begun()

    def fetch(request: Request, server: object) -> Response:
        upgrading(request, server)
        return Response(iterator)

    polled = Polled(FakeServer(fetch, slot=websocket_slot()))
    polled.transport.poll(handshake())
    assert await polled.run() == []
    assert closed == [True]
    assert len(polled.server.websockets) == 1


async def test_the_time_that_fetch_allows_holds_in_the_task(autojump_clock: trio.testing.MockClock) -> None:
    def fetch(request: Request, _server: object) -> Response:
        request._set_timeout(7)
        return Response("hello")

    polled = Polled(FakeServer(fetch, slot=websocket_slot()))
    polled.transport.room = 0
    polled.transport.poll(handshake())
    begin = trio.current_time()
    await polled.session.run()
    assert trio.current_time() - begin == pytest.approx(7)
    assert autojump_clock.autojump_threshold == 0


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
async def test_what_is_no_exception_comes_out_of_the_task(exception: type[BaseException]) -> None:
    def fetch(_request: Request, _server: object) -> NoReturn:
        raise exception

    polled = Polled(FakeServer(fetch, slot=websocket_slot()))
    polled.transport.poll(handshake())
    assert (polled.starts, polled.server._pending_requests) == (1, 0)
    with pytest.raises(exception):
        await polled.session.run()
    assert polled.transport.ended_by == ["abort", "aclose"]


async def test_a_websocket_that_cannot_be_opened_is_logged_and_closed(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> NoReturn:
        raise BrokenError("in the socket")

    server = FakeServer(upgrading, slot=websocket_slot())
    server.on_open = fail
    polled = Polled(server)
    polled.transport.poll(handshake())
    assert await polled.run() == []
    assert "BrokenError: in the socket" in caplog.text


async def test_who_sends_nothing_in_time_is_closed_and_who_sends_half_is_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for data, expected in ((b"", []), (GET[:9], [408])):
        polled = Polled(FakeServer(ok))
        begin = trio.current_time()
        await trio.sleep(6)
        if data:
            polled.transport.poll(data)
        else:
            await trio.sleep(4)
            polled.session.time_over()
        assert polled.starts == 1
        await polled.session.run()
        assert trio.current_time() - begin == pytest.approx(10)  # since it was accepted
        assert statuses(polled.transport) == expected
        assert polled.transport.ended_by == ["aclose"]
    assert autojump_clock.autojump_threshold == 0


async def test_stop_ends_who_has_not_asked_yet() -> None:
    polled = Polled(FakeServer(ok))
    polled.session.stop()
    assert await polled.run(GET) == []


async def test_what_was_asked_before_stop_is_answered_as_the_last() -> None:
    polled = Polled(FakeServer(ok))
    polled.transport.poll(GET)
    polled.session.stop()
    assert await polled.run(GET) == [200]
    assert b"\r\nConnection: close\r\n" in polled.transport.sent


# The end


async def test_cancelling_drops_the_connection() -> None:
    async def fetch(_request: Request, _server: object) -> NoReturn:
        await trio.sleep_forever()
        raise AssertionError

    for data in (GET, GET[:5]):
        server = FakeServer(fetch)
        transport = FakeTransport(data)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Session(transport.real, server.real).run)
                assert await transport.answers() == b""
                assert server._pending_requests == (1 if data == GET else 0)
                scope.cancel()
        assert scope.cancelled_caught
        assert transport.ended_by == ["abort", "aclose"]
        assert server._pending_requests == 0


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
async def test_what_is_no_exception_goes_through(exception: type[BaseException]) -> None:
    def fetch(_request: Request, _server: object) -> NoReturn:
        raise exception

    transport = FakeTransport(GET)
    with pytest.raises(exception):
        await Session(transport.real, FakeServer(fetch, async_error).real).run()
    assert transport.ended_by == ["abort", "aclose"]
    assert transport.sent == b""


async def test_an_answer_without_progress_is_aborted_and_says_how_to_allow_more(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def fetch(request: Request, _server: object) -> Response:
        request._set_timeout(20)
        await trio.sleep(19)
        request._set_timeout(7)
        await trio.sleep_forever()
        raise AssertionError

    transport = FakeTransport(GET)
    server = FakeServer(fetch)
    await Session(transport.real, server.real).run()
    assert trio.current_time() == pytest.approx(26)
    assert transport.ended_by == ["abort", "aclose"]
    assert transport.sent == b""
    assert server._pending_requests == 0
    assert "no progress for 7 s, aborted; server.timeout(request, seconds) allows more" in caplog.text
    assert caplog.records[-1].levelname == "WARNING"
    assert autojump_clock.autojump_threshold == 0


@pytest.mark.parametrize("late", ["body", "reading"])
async def test_a_peer_that_makes_no_progress_cannot_fill_the_log(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, late: str
) -> None:
    async def fetch(request: Request, _server: object) -> Response:
        if late == "body":
            await request.body()
        return Response(b"x")

    length = b"Content-Length: 9\r\n\r\n" if late == "body" else b"\r\n"
    transport = FakeTransport(b"POST / HTTP/1.1\r\nHost: x\r\n" + length)
    transport.room = 0
    with caplog.at_level("INFO"):
        await Session(transport.real, FakeServer(fetch).real).run()
    assert transport.ended_by == ["abort", "aclose"]
    (record,) = caplog.records
    assert (record.levelname, "no progress for" in record.message) == ("INFO", True)
    assert autojump_clock.autojump_threshold == 0


async def test_a_connection_without_request_ends_in_time(autojump_clock: trio.testing.MockClock) -> None:
    for data, seconds in (((), 3), ((GET,), 5)):
        start = trio.current_time()
        transport = FakeTransport(*data)
        server = FakeServer(ok, limits=Limits(header_timeout=3), idle_timeout=5)
        await Session(transport.real, server.real).run()
        assert trio.current_time() - start == pytest.approx(seconds)
        assert transport.ended_by == ["aclose"]
    assert autojump_clock.autojump_threshold == 0


async def test_half_a_head_in_time_is_408(autojump_clock: trio.testing.MockClock) -> None:
    transport = FakeTransport(GET[:9])
    await Session(transport.real, FakeServer(ok).real).run()
    assert statuses(transport) == [408]
    assert autojump_clock.autojump_threshold == 0


async def test_stop_ends_an_idle_connection_at_once() -> None:
    for data in ((), (GET,), (GET[:9],)):
        transport = FakeTransport(*data)
        session = Session(transport.real, FakeServer(ok).real)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run)
            await trio.testing.wait_all_tasks_blocked()
            session.stop()
        assert statuses(transport) == [200] * (data == (GET,))
        assert transport.ended_by == ["aclose"]


async def test_stop_before_the_beginning_ends_at_once() -> None:
    transport = FakeTransport(GET)
    session = Session(transport.real, FakeServer(ok).real)
    session.stop()
    await session.run()
    assert transport.sent == b""
    server = FakeServer(ok)
    server._stopping = True
    assert (await serve(server, GET)).sent == b""


@pytest.mark.parametrize("by_server", [True, False])
async def test_stop_lets_the_current_request_be_answered_as_the_last(by_server: bool) -> None:
    go_on = trio.Event()

    async def fetch(request: Request, server: object) -> Response:
        await go_on.wait()
        return ok(request, server)

    server = FakeServer(fetch)
    transport = FakeTransport(GET + GET)
    session = Session(transport.real, server.real)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        assert await transport.answers() == b""
        if by_server:
            server._stopping = True
        else:
            session.stop()
        assert await transport.answers() == b""
        go_on.set()
    assert statuses(transport) == [200]
    assert b"\r\nConnection: close\r\n" in transport.sent
    assert transport.ended_by == ["aclose"]


async def test_stop_does_not_touch_a_websocket() -> None:
    server = FakeServer(upgrading, slot=websocket_slot())
    transport = FakeTransport(handshake())
    session = Session(transport.real, server.real)
    server.on_websocket = session.stop
    await session.run()
    assert transport.ended_by == ["aclose"]
