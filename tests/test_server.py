"""What a `Server` does when asked, without sockets and without `serve`: upgrade, publish, count, reload, stop.

Connections run on the fake wires of `connection_fakes.py`; that all of it works behind listeners is `test_run.py`'s
subject.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio
import trio.testing
from connection_fakes import Client, Wire

from trio_bunws._close import CloseInfo
from trio_bunws._engine import Engine
from trio_bunws._handlers import HandlerSlot, WebSocketHandler
from trio_bunws._options import Limits
from trio_bunws._request import Request
from trio_bunws._server import Server
from trio_bunws._status import MessageDropped
from trio_bunws._stopping import inside
from trio_bunws._transport import SocketAddress
from trio_bunws._wire.frames import binary_frame, text_frame
from trio_bunws._wire.upgrade import Handshake
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_bunws._response import Response
    from trio_bunws._websocket import ServerWebSocket

    Socket = ServerWebSocket[Any]

HANDSHAKE = Handshake(b"dGhlIHNhbXBsZSBub25jZQ==", ("chat", "superchat"), "")
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def no_response(_request: Request, _server: Server[Any]) -> None:
    """Be a `fetch` that nothing calls here."""


def handshake() -> Request:
    """Make the request of a valid handshake, as the session does."""
    request = Request(b"GET /path HTTP/1.1\r\nHost: x\r\n\r\n", remote=SocketAddress("192.0.2.1", "IPv4", 5))
    request._handshake = HANDSHAKE
    return request


def make(
    nursery: trio.Nursery,
    websocket: WebSocketHandler[Any] | None = None,
    *,
    limits: Limits | None = None,
    fetch: Callable[..., Any] | None = None,
) -> Server[Any]:
    """Make a server whose hub and sweeper run."""
    slot: HandlerSlot[Any] = HandlerSlot(websocket or WebSocketHandler())
    engine: Engine[Any] = Engine(slot, limits or Limits(), nursery)
    nursery.start_soon(engine.hub.run)
    nursery.start_soon(engine.sweeper.run)
    return Server(fetch=fetch, websocket=websocket, error=None, engine=engine, max_request_body_size=10, idle_timeout=5)


class Link:
    """A WebSocket of a server, from its upgrade on."""

    def __init__(self, server: Server[Any], **upgrade: Any) -> None:
        self.wire = Wire()
        self.peer = RawPeer(Client(self.wire))
        self.request = handshake()
        assert server.upgrade(self.request, **upgrade)
        server._engine.nursery.start_soon(self._run, server)

    async def _run(self, server: Server[Any]) -> None:
        upgrade = self.request._upgrade
        assert upgrade is not None
        server._http[self.wire] = lambda: None, trio.CancelScope()
        connection, response = server._open(self.wire, self.request, upgrade, None)
        assert not await connection.run(response, b"")

    async def opened(self) -> dict[str, str]:
        """Return the headers of the answer."""
        return await self.peer.receive_101()


# Upgrading


async def test_upgrade_says_yes_once_to_a_handshake_and_no_to_anything_else(nursery: trio.Nursery) -> None:
    server = make(nursery, WebSocketHandler())
    request = handshake()
    assert server.upgrade(request, data=1)
    assert not server.upgrade(request, data=2)
    assert request._upgrade is not None
    assert request._upgrade.data == 1
    ordinary = Request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert not server.upgrade(ordinary)
    answered = handshake()
    answered._finish()
    assert not server.upgrade(answered)


async def test_upgrade_complains_of_what_can_never_work(nursery: trio.Nursery) -> None:
    server = make(nursery, WebSocketHandler())
    with pytest.raises(TypeError, match="upgrade expects a Request, not str"):
        server.upgrade("request")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="protocol"):
        server.upgrade(handshake(), protocol=1)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="header"):
        server.upgrade(handshake(), headers={"X-Bad": "a\r\nb"})
    request = handshake()
    with pytest.raises(ValueError, match="header"):
        server.upgrade(request, headers=[("X-Bad", "\0")])
    assert server.upgrade(request)  # nothing was recorded
    with pytest.raises(RuntimeError) as caught:
        make(nursery, fetch=no_response).upgrade(handshake())
    for fix in ("pass websocket=WebSocketHandler(...) to serve", "name it websocket in the module"):
        assert fix in str(caught.value)


async def test_the_websocket_gets_what_upgrade_was_given(nursery: trio.Nursery) -> None:
    opened: list[Socket] = []
    server = make(nursery, WebSocketHandler(open=opened.append))
    headers = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Upgrade", "ignored")]
    link = Link(server, data={"name": "Ada"}, headers=headers, protocol="superchat")
    answer = await link.opened()
    assert answer["sec-websocket-accept"] == ACCEPT.decode()
    assert answer["sec-websocket-protocol"] == "superchat"
    assert answer["set-cookie"] == "a=1, b=2"
    assert answer["upgrade"] == "websocket"
    [ws] = opened
    assert (ws.data, ws.protocol, ws.remote_address) == ({"name": "Ada"}, "superchat", "192.0.2.1")
    assert ws.request is link.request
    assert link.wire not in server._http
    assert server.pending_websockets == 1


@pytest.mark.parametrize(
    ("options", "protocol"),
    [
        ({}, None),
        ({"protocol": "chat"}, "chat"),
        ({"protocol": "unasked"}, None),
        ({"headers": {"Sec-WebSocket-Protocol": "chat"}}, "chat"),
        ({"headers": {"Sec-WebSocket-Protocol": "unasked"}}, None),
    ],
)
async def test_only_a_subprotocol_that_was_offered_and_chosen_is_answered(
    nursery: trio.Nursery, options: dict[str, Any], protocol: str | None
) -> None:
    opened: list[Socket] = []
    link = Link(make(nursery, WebSocketHandler(open=opened.append)), **options)
    assert (await link.opened()).get("sec-websocket-protocol") == protocol
    assert opened[0].protocol == protocol


# Topics


def subscribing(ws: Socket) -> None:
    ws.subscribe("news")


async def test_publish_reaches_all_subscribers(nursery: trio.Nursery) -> None:
    server = make(nursery, WebSocketHandler(open=subscribing))
    assert type(server.publish("news", "nobody")) is MessageDropped
    links = [Link(server), Link(server)]
    for link in links:
        await link.opened()
    assert server.publish("news", "hé") == 3
    assert server.publish("news", bytearray(b"data"), compress=False) == 4
    for link in links:
        assert await link.peer.receive_exactly(5 + 6) == text_frame("hé".encode()) + binary_frame(b"data")
    links[0].wire.room = 0
    server.publish("news", b"x" * 65536)
    await trio.testing.wait_all_tasks_blocked()
    assert server.publish("news", "x") == -1


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda server: server.publish("news", 1), TypeError, "publish expects data"),
        (lambda server: server.publish("news", "x", 1), TypeError, "publish expects compress to be a boolean"),
        (lambda server: server.publish(1, "x"), TypeError, "publish expects topic to be a string"),
        (lambda server: server.publish("", "x"), ValueError, "publish expects topic"),
        (lambda server: server.publish("x" * 1025, "x"), ValueError, "at most 1024 bytes"),
        (lambda server: server.subscriber_count(1), TypeError, "subscriber_count expects topic"),
        (lambda server: server.subscribers(""), ValueError, "subscribers expects topic"),
        (lambda server: server.request_ip("x"), TypeError, "request_ip expects a Request"),
        (lambda server: server.timeout("x", 1), TypeError, "timeout expects a Request"),
        (lambda server: server.timeout(handshake(), -1), ValueError, "timeout expects seconds"),
        (lambda server: server.timeout(handshake(), "1"), TypeError, "timeout expects seconds"),
        (lambda server: server.reload(fetch=1), TypeError, "reload expects fetch"),
        (lambda server: server.reload(error=1), TypeError, "reload expects error"),
        (lambda server: server.reload(websocket=None), TypeError, "reload expects websocket"),
        (lambda server: server.stop(1), TypeError, "stop expects close_active_connections to be a boolean"),
        (lambda server: server.stop(True, code=999), ValueError, "stop expects code to be 1000-1003, .*, not 999"),
        (lambda server: server.stop(True, reason=1), TypeError, "stop expects reason to be a string"),
        (lambda server: server.stop(grace=-1), ValueError, r"stop expects grace to be 0 \(at once\) or a number"),
        (lambda server: server.start_soon(1), TypeError, "start_soon expects async_fn to be a function"),
        (lambda server: server.stop(grace="1"), TypeError, "stop expects grace"),
    ],
)
async def test_a_wrong_argument_raises_and_nothing_happens(
    nursery: trio.Nursery, call: Callable[[Server[Any]], object], error: type[Exception], words: str
) -> None:
    server = make(nursery, WebSocketHandler())
    with pytest.raises(error, match=words):
        call(server)
    assert not server._stopping


async def test_counting_and_listing_subscribers_and_topics(nursery: trio.Nursery) -> None:
    opened: list[Socket] = []

    def on_open(ws: Socket) -> None:
        opened.append(ws)
        ws.subscribe("news")

    server = make(nursery, WebSocketHandler(open=on_open))
    assert server.subscriber_count("news") == 0
    assert server.subscribers("news") == ()
    links = [Link(server), Link(server)]
    for link in links:
        await link.opened()
    opened[1].subscribe("more")
    assert server.subscriber_count("news") == 2
    assert server.subscribers("news") == tuple(opened)
    assert server.topics() == ("news", "more")
    opened[0].close()
    assert server.subscribers("news") == (opened[1],)
    assert server.subscriber_count("unknown") == 0


# Requests, and the server itself


async def test_request_ip_is_the_clients_address_or_none(nursery: trio.Nursery) -> None:
    server = make(nursery, WebSocketHandler())
    assert server.request_ip(handshake()) == SocketAddress("192.0.2.1", "IPv4", 5)
    assert server.request_ip(Request(b"GET / HTTP/1.1\r\n\r\n")) is None


async def test_timeout_is_the_sessions_to_keep(nursery: trio.Nursery) -> None:
    class Exchange:
        def __init__(self) -> None:
            self.timeouts: list[float] = []

        async def read_body(self) -> bytes:
            raise NotImplementedError

        def set_timeout(self, seconds: float) -> None:
            self.timeouts.append(seconds)

    server = make(nursery, fetch=no_response)
    exchange = Exchange()
    request = Request(b"GET / HTTP/1.1\r\n\r\n", exchange)
    server.timeout(request, 2.5)
    server.timeout(request, 0)
    request._finish()
    server.timeout(request, 3)
    assert exchange.timeouts == [2.5, 0]


async def test_what_a_server_says_of_itself(nursery: trio.Nursery) -> None:
    server = make(nursery, WebSocketHandler(open=subscribing, message=lambda ws, message: ws.send(message)))
    server._url, server._hostname, server._port = "http://127.0.0.1:1/", "127.0.0.1", 1
    assert (server.url, server.hostname, server.port) == ("http://127.0.0.1:1/", "127.0.0.1", 1)
    assert repr(server) == "<Server http://127.0.0.1:1/>"
    assert (server.pending_requests, server.pending_websockets) == (0, 0)
    link = Link(server)
    await link.opened()
    await link.peer.send_text("abc")
    assert await link.peer.receive_text() == "abc"
    server._admission.admit(None)
    statistics = server.statistics()
    assert (statistics.connections, statistics.websockets, statistics.topics) == (1, 1, 1)
    assert (statistics.messages_in, statistics.messages_out) == (1, 1)


async def test_a_task_of_the_server_may_await_its_end_and_its_exception_is_logged(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    server = make(nursery, WebSocketHandler())
    inside.set(server)
    log: list[object] = []

    async def stopping(name: str) -> None:
        await server.stop()
        log.append(name)

    async def failing() -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError

    server.start_soon(stopping, "stopped")
    server.start_soon(failing)
    await trio.testing.wait_all_tasks_blocked()
    assert [record.exc_info and record.exc_info[0] for record in caplog.records] == [KeyError]
    assert log == []
    server._stopped.set()
    await trio.testing.wait_all_tasks_blocked()
    assert log == ["stopped"]


async def test_a_task_of_the_server_that_fails_while_it_is_cancelled_is_logged_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def failing() -> None:
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError

    async with trio.open_nursery() as nursery:
        make(nursery, WebSocketHandler()).start_soon(failing)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [record.exc_info and record.exc_info[0] for record in caplog.records] == [ExceptionGroup]


async def test_reload_swaps_what_it_is_given_for_open_sockets_too(nursery: trio.Nursery) -> None:
    async def fetch(*_: object) -> Response | None: ...

    async def error(_exc: Exception) -> Response | None: ...

    opened: list[Socket] = []
    server = make(nursery, WebSocketHandler(open=opened.append), fetch=no_response)
    link = Link(server)
    await link.opened()
    server.reload(fetch=fetch)
    assert (server._fetch, server._fetch_async) == (fetch, True)
    server.reload(error=error)
    assert (server._error, server._error_async) == (error, True)
    server.reload(error=None, fetch=None)
    assert (server._error, server._error_async, server._fetch, server._fetch_async) == (None, False, None, False)
    server.reload(websocket=WebSocketHandler(message=lambda ws, _message: ws.send("new"), backpressure_limit=5))
    await link.peer.send_text("x")
    assert await link.peer.receive_text() == "new"
    assert opened[0]._outbox.limit == 5


async def test_reload_may_bring_websockets_but_not_take_everything_away(nursery: trio.Nursery) -> None:
    server = make(nursery, fetch=no_response)
    with pytest.raises(TypeError, match="reload expects fetch"):
        server.reload(fetch=None)
    assert server._fetch is no_response
    server.reload(fetch=None, websocket=WebSocketHandler())
    assert server.upgrade(handshake())


# Stopping


class FakeSession:
    """A connection in the hands of HTTP."""

    def __init__(self, server: Server[Any]) -> None:
        self.stops = 0
        self.scope = trio.CancelScope()
        server._http[Wire()] = self.stop, self.scope

    def stop(self) -> None:
        self.stops += 1


async def test_stop_takes_no_more_connections_and_requests_and_leaves_websockets_alone(nursery: trio.Nursery) -> None:
    server = make(nursery, WebSocketHandler(message=lambda ws, message: ws.send(message)))
    session = FakeSession(server)
    link = Link(server)
    await link.opened()
    server.stop()
    server.stop()
    assert server._accepting.cancel_called
    assert session.stops == 2
    assert not session.scope.cancel_called
    await link.peer.send_text("still here")
    assert await link.peer.receive_text() == "still here"
    assert server.upgrade(handshake())  # fetch was asked before


@pytest.mark.parametrize("options", [{"close_active_connections": True}, {"grace": 3.5}])
async def test_closing_sends_1001_and_aborts_what_is_left_at_the_deadline(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, options: dict[str, Any]
) -> None:
    ended: list[object] = []
    handler: WebSocketHandler[Any] = WebSocketHandler(
        close=lambda _ws, code, reason: ended.append((code, reason, trio.current_time()))
    )
    server = make(nursery, handler, limits=Limits(close_timeout=7))
    session = FakeSession(server)
    polite, rude = Link(server), Link(server)
    for link in (polite, rude):
        await link.opened()
    server.stop(**options)
    for link in (polite, rude):
        assert await link.peer.receive_close() == (1001, "Server closed")
    assert not server.upgrade(handshake())
    await trio.sleep(1)
    await polite.peer.send_close(1001)
    await rude.peer.receive_eof()
    await trio.testing.wait_all_tasks_blocked()
    deadline = options.get("grace", 7)
    assert ended == [(1001, "Server closed", 1), (1001, "Server closed", deadline)]
    assert session.scope.cancel_called
    assert server.pending_websockets == 0
    assert autojump_clock.current_time() == deadline


async def test_code_and_reason_of_a_stop(nursery: trio.Nursery) -> None:
    server = make(nursery, WebSocketHandler())
    link = Link(server)
    await link.opened()
    server.stop(True, code=4000, reason="é" * 100)
    assert await link.peer.receive_close() == (4000, "é" * 61)


async def test_a_later_stop_may_shorten_the_grace_of_an_earlier_but_not_prolong_it(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    for graces, end in (((50.0, 5.0), 5), ((5.0, 50.0), 5)):
        server = make(nursery, WebSocketHandler())
        link = Link(server)
        await link.opened()
        began = autojump_clock.current_time()
        for grace in graces:
            server.stop(grace=grace)
        assert await link.peer.receive_close() == (1001, "Server closed")
        await link.peer.receive_eof()
        assert autojump_clock.current_time() - began == end


async def test_a_grace_longer_than_close_timeout_counts(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    server = make(nursery, WebSocketHandler(), limits=Limits(close_timeout=1))
    link = Link(server)
    await link.opened()
    link.wire.room = 0
    [connection] = server._engine.connections
    connection.ws.send(b"x" * 65536)
    server.stop(grace=30)
    await trio.sleep(20)
    link.wire.make_room()
    assert (await link.peer.receive()).payload == b"x" * 65536
    assert await link.peer.receive_close() == (1001, "Server closed")
    await link.peer.receive_eof()
    assert autojump_clock.current_time() == 30


async def test_no_grace_is_an_abort(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    server = make(nursery, WebSocketHandler())
    link = Link(server)
    await link.opened()
    server.stop(grace=0)
    assert await link.peer.receive_close() == (1001, "Server closed")
    await link.peer.receive_eof()
    assert autojump_clock.current_time() == 0


async def test_what_was_upgraded_before_a_closing_stop_opens_and_is_closed(nursery: trio.Nursery) -> None:
    server = make(nursery, WebSocketHandler(open=lambda ws: ws.send("hello")))
    link = Link(server)
    server.stop(True)
    await link.opened()
    assert await link.peer.receive_text() == "hello"
    assert await link.peer.receive_close() == (1001, "Server closed")


async def test_a_stop_after_the_end_does_nothing_and_may_be_awaited() -> None:
    async with trio.open_nursery() as nursery:
        server = make(nursery, WebSocketHandler())
        nursery.cancel_scope.cancel()
    server._stopped.set()
    await server.stop(True)
    await server.stop(grace=1)


async def test_the_end_can_be_awaited_anywhere_but_in_a_handler(nursery: trio.Nursery) -> None:
    server, other = make(nursery, WebSocketHandler()), make(nursery, WebSocketHandler())
    ended: list[str] = []

    async def wait(name: str, within: Server[Any] | None) -> None:
        inside.set(within)
        stopping = server.stop()
        await stopping
        await stopping
        ended.append(name)

    async def handler(*, nested: bool) -> None:
        inside.set(server)
        with pytest.raises(RuntimeError, match=r"server\.start_soon"):
            await server.stop()
        ended.append("refused")
        if not nested:
            async with trio.open_nursery() as inner:
                inner.start_soon(partial(handler, nested=True))

    nursery.start_soon(wait, "outside", None)
    nursery.start_soon(wait, "in another server", other)
    await trio.testing.wait_all_tasks_blocked()
    assert ended == []
    nursery.start_soon(partial(handler, nested=False))
    await trio.testing.wait_all_tasks_blocked()
    assert ended == ["refused", "refused"]
    server._stopped.set()
    inside.set(server)  # a task that a handler has started elsewhere
    await server.stop()
    await trio.testing.wait_all_tasks_blocked()
    assert sorted(ended[2:]) == ["in another server", "outside"]


async def test_how_it_ends_is_how_the_socket_says_it_ended(nursery: trio.Nursery) -> None:
    server = make(nursery, WebSocketHandler())
    link = Link(server)
    await link.opened()
    [connection] = server._engine.connections
    server.stop(True)
    await link.peer.send_close(1001, "bye")
    info = await connection.ws.closed()
    assert info == CloseInfo(1001, "Server closed", cast("Any", (1001, "Server closed")), cast("Any", (1001, "bye")))


async def test_the_count_everywhere_without_a_broker_is_the_count_here(nursery: trio.Nursery) -> None:
    server = make(nursery, WebSocketHandler(open=lambda ws: cast("None", ws.subscribe("room"))))
    Link(server, data=None)
    await trio.testing.wait_all_tasks_blocked()
    with trio.testing.assert_checkpoints():
        assert await server.subscriber_count_everywhere("room") == 1
    with pytest.raises(ValueError, match="timeout"):
        await server.subscriber_count_everywhere("room", 0)


async def test_the_count_everywhere_is_the_count_here_and_what_the_relay_counts(nursery: trio.Nursery) -> None:
    class Elsewhere:
        async def count_elsewhere(self, topic: str, timeout: float) -> int:
            await trio.lowlevel.checkpoint()
            return {("room", 2.0): 3}[topic, timeout]

    server = make(nursery)
    server._engine = SimpleNamespace(hub=server._engine.hub, relay=Elsewhere())  # type: ignore[misc, assignment]  # has both
    assert await server.subscriber_count_everywhere("room", timeout=2.0) == 3
