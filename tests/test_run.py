"""One run of a server: its tasks, whom it lets in, TLS, and that it ends, whoever ends it and however.

Whole servers, in memory with a mock clock where a time matters, and on real sockets where the kernel does.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from broker_fakes import FakeBroker
from everywhere import contexts
from faults import count_tasks
from hello import ECHO, GET, BadListener, Log, Socket, chat, connect, echo, hello

from trio_bunws import (
    Limits,
    Request,
    Response,
    Server,
    ServerWebSocket,
    WebSocket,
    WebSocketHandler,
    open_server,
    serve,
)
from trio_bunws._listeners import wrap_listeners
from trio_bunws._run import Run, unwrapped
from trio_bunws.testing import MemoryListener, RawPeer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

settled = trio.testing.wait_all_tasks_blocked


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_idle_websocket_has_no_task_and_is_counted_until_it_ends(is_async: bool) -> None:
    async def fetch(request: Request, server: Server[Any]) -> Response | None:
        await trio.lowlevel.checkpoint()
        return hello(request, server)

    ends = Log()
    handler: WebSocketHandler[Any] = WebSocketHandler(message=echo, close=ends.close)
    async with trio.open_nursery() as nursery:
        server: Server[Any] = await nursery.start(
            lambda task_status: serve(fetch if is_async else hello, handler, port=0, task_status=task_status)
        )
        await settled()
        sockets = server._engine.nursery
        tasks = sockets.child_tasks
        peers = [RawPeer(await trio.open_tcp_stream("127.0.0.1", server.port or 0)) for _ in range(3)]
        for peer in peers:
            await peer.upgrade()
            await peer.send_text("hello?")
            assert await peer.receive_text() == "hello?"
        await settled()
        assert sockets.child_tasks == tasks
        assert (server.statistics().connections, server.pending_websockets) == (3, 3)
        await peers[0].send_close(1000, "bye")
        await peers[1].stream.aclose()
        stopping = server.stop()
        while len(ends) < 2:
            await settled()
        assert sorted(ends) == [(1000, "bye"), (1006, "")]
        await peers[2].send_close(1000, "bye")
        await peers[2].receive_close()
        await peers[2].stream.aclose()
        await peers[0].stream.aclose()
        await stopping
        assert server.statistics().connections == 0


@pytest.fixture(name="tls")
def make_tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the server's context, and a client's that trusts it."""
    return contexts()


async def test_tls(tls: tuple[ssl.SSLContext, ssl.SSLContext], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with open_server(hello, ECHO, port=0, tls=tls[0]) as server:
        assert server.port is not None
        assert server.url == f"https://127.0.0.1:{server.port}/"
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        await chat(trio.SSLStream(stream, tls[1], server_hostname="localhost", https_compatible=True))
        plain = await trio.open_tcp_stream("127.0.0.1", server.port)
        await plain.send_all(GET)
        while await plain.receive_some():
            pass
        await plain.aclose()
        while server.statistics().connections:
            await settled()
    assert ["TLS handshake failed" in record.getMessage() for record in caplog.records] == [True]


async def test_a_tls_handshake_that_takes_too_long_is_dropped(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], autojump_clock: trio.testing.MockClock
) -> None:
    listener = MemoryListener()
    limits = Limits(handshake_timeout=7)
    async with open_server(hello, listeners=[listener], tls=tls[0], limits=limits) as server:
        stream = await listener.connect()
        assert await stream.receive_some() == b""
        await settled()
        assert server.statistics().connections == 0
    assert autojump_clock.current_time() == 7


@pytest.mark.parametrize("closing", [False, True])
async def test_a_stopping_server_does_not_wait_for_tls_handshakes(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], autojump_clock: trio.testing.MockClock, closing: bool
) -> None:
    listener = MemoryListener()
    async with open_server(hello, listeners=[listener], tls=tls[0]) as server:
        stream = await listener.connect()
        await settled()
        await server.stop(closing)
        assert await stream.receive_some() == b""
    assert autojump_clock.current_time() == 0


# Limits on connections


async def test_beyond_max_connections_a_client_gets_503_until_there_is_room(caplog: pytest.LogCaptureFixture) -> None:
    async with open_server(hello, ECHO, port=0, limits=Limits(max_connections=2)) as server:
        assert server.port is not None
        streams = [await trio.open_tcp_stream("127.0.0.1", server.port) for _ in range(2)]
        for stream in streams:
            await RawPeer(stream).upgrade()
        refused = await trio.open_tcp_stream("127.0.0.1", server.port)
        assert b" 503 " in await refused.receive_some()
        assert await refused.receive_some() == b""
        await refused.aclose()
        assert "too many connections" in caplog.text
        await streams.pop().aclose()
        while server.statistics().connections == 2:
            await settled()
        await chat(await trio.open_tcp_stream("127.0.0.1", server.port))
        await streams.pop().aclose()


async def test_max_connections_per_ip_counts_each_address() -> None:
    async with open_server(hello, ECHO, hostname="0.0.0.0", port=0, limits=Limits(max_connections_per_ip=1)) as server:
        assert server.port is not None
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        await RawPeer(stream).upgrade()
        refused = await trio.open_tcp_stream("127.0.0.1", server.port)
        assert b" 503 " in await refused.receive_some()
        await refused.aclose()
        await chat(await trio.open_tcp_stream("127.0.0.1", server.port, local_address="127.0.0.2"))
        await stream.aclose()


async def test_who_cannot_be_told_at_once_is_refused_by_closing(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], nursery: trio.Nursery
) -> None:
    limits = Limits(max_connections=1)
    listener = MemoryListener()
    nursery.start_soon(lambda: serve(hello, ECHO, listeners=[listener], limits=limits))
    first = await connect(listener)
    assert await (await listener.connect()).receive_some() == b""
    await first.stream.aclose()
    async with open_server(hello, ECHO, port=0, tls=tls[0], limits=limits) as server:
        streams = [await trio.open_tcp_stream("127.0.0.1", server.port or 0) for _ in range(2)]
        assert await streams[1].receive_some() == b""
        for stream in streams:
            await stream.aclose()
    nursery.cancel_scope.cancel()


async def test_a_client_that_has_gone_before_it_was_refused_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with open_server(hello, ECHO, port=0, limits=Limits(max_connections=1)) as server:
        assert server.port is not None
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        peer = RawPeer(stream)
        await peer.upgrade()
        with socket.create_connection(("127.0.0.1", server.port)) as gone:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets it
        while "too many connections" not in caplog.text:
            await settled()
        await peer.send_text("still here")
        assert await peer.receive_text() == "still here"
        await stream.aclose()


# The end


async def test_leaving_the_block_does_not_wait_for_ever_for_anybody(autojump_clock: trio.testing.MockClock) -> None:
    log = Log()
    listener = MemoryListener()

    async def stuck(*_: object) -> None:
        await trio.sleep_forever()

    async def fetch(request: Request, server: Server[Any]) -> None:
        if not server.upgrade(request):
            await trio.sleep_forever()

    async def close(_ws: Socket, code: int, reason: str) -> None:
        log.append((code, reason))
        await trio.sleep_forever()

    handler: WebSocketHandler[Any] = WebSocketHandler(
        open=stuck, message=stuck, ping=stuck, drain=stuck, close=close, max_inbox=1
    )
    async with open_server(fetch, handler, listeners=[listener], idle_timeout=0) as server:
        server.start_soon(trio.sleep_forever)
        for opcode, data in ((1, b""), (2, b"text" * 3), (9, b"ping")):
            peer = await connect(listener)
            await peer.send(b"".join(peer.frame(opcode, data) for _ in range(3)))
        silent = await listener.connect()
        asking = await listener.connect()
        await asking.send_all(GET)
        await settled()
        assert server.pending_websockets == 3
        assert server.pending_requests == 1
    assert log == [(1001, "Server closed")] * 3
    assert await silent.receive_some() == b""
    assert await asking.receive_some() == b""
    # The close, the handlers that still run, and the async close handlers.
    assert autojump_clock.current_time() == 30


async def test_cancelling_serve_closes_within_close_timeout(autojump_clock: trio.testing.MockClock) -> None:
    log = Log()
    listener = MemoryListener()

    async def message(_ws: Socket, message: str | bytes) -> None:
        log.append(message)
        await trio.sleep_forever()

    async def fetch(request: Request, server: Server[Any]) -> None:
        if not server.upgrade(request):
            await trio.sleep_forever()

    handler: WebSocketHandler[Any] = WebSocketHandler(message=message, close=log.close)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(fetch, handler, listeners=[listener], limits=Limits(close_timeout=7)))
        rude = await connect(listener)
        busy = await connect(listener)
        await busy.send_text("a")
        await (await listener.connect()).send_all(GET)
        await settled()
        nursery.cancel_scope.cancel()
    assert autojump_clock.current_time() == 7
    assert await rude.receive_close() == (1001, "Server closed")
    assert log == ["a", (1001, "Server closed"), (1001, "Server closed")]


async def test_a_cancelled_serve_with_polite_peers_ends_at_once_but_async_close_handlers_have_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log = Log()
    listener = MemoryListener()

    async def close(ws: Socket, code: int, reason: str) -> None:
        await trio.sleep(4)
        log.close(ws, code, reason)

    async def answer(peer: RawPeer) -> None:
        with trio.CancelScope(shield=True):
            await peer.receive_close()
            await peer.send_close(1001)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(hello, WebSocketHandler(close=close), listeners=[listener]))
        nursery.start_soon(answer, await connect(listener))
        await settled()
        nursery.cancel_scope.cancel()
    assert log == [(1001, "Server closed")]
    assert autojump_clock.current_time() == 4


async def test_a_run_that_is_ended_before_its_task_began_closes_its_places() -> None:
    listener = MemoryListener()
    places, address = wrap_listeners([listener], "http")
    run: Run[Any] = Run(
        fetch=hello,
        websocket=None,
        error=None,
        limits=Limits(),
        max_request_body_size=0,
        idle_timeout=0,
        broker=None,
        tls=None,
        places=places,
        address=address,
    )
    run.end(1)
    await run.run()
    await run.server.stop()
    with pytest.raises(trio.BrokenResourceError):
        await listener.connect()


async def test_stop_ends_when_the_last_connection_has_gone(autojump_clock: trio.testing.MockClock) -> None:
    listener = MemoryListener()
    log = Log()
    async with open_server(hello, ECHO, listeners=[listener]) as server:
        peer = await connect(listener)
        idle = await listener.connect()
        await settled()

        async def wait() -> None:
            await server.stop()
            log.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            assert await idle.receive_some() == b""
            with pytest.raises(trio.BrokenResourceError):
                await listener.connect()
            await peer.send_text("still here")
            assert await peer.receive_text() == "still here"
            await trio.sleep(50)
            assert log == []
            await peer.send_close(1000)
        assert log == [50]
        assert autojump_clock.current_time() == 50


async def test_fetch_and_handlers_may_stop_the_server_but_not_wait_for_it(nursery: trio.Nursery) -> None:
    listener = MemoryListener()
    errors: list[str] = []

    async def wait(server: Server[Any]) -> None:
        try:
            await server.stop()
        except RuntimeError as exc:
            errors.append(str(exc))

    async def fetch(request: Request, server: Server[Any]) -> None:
        await wait(server)
        server.upgrade(request, data=server)

    async def message(ws: Socket, _message: str | bytes) -> None:
        await wait(ws.data)
        ws.data.start_soon(wait, ws.data)
        ws.data.stop(True)

    handler: WebSocketHandler[Any] = WebSocketHandler(
        open=message_free(wait), message=message, drain=message_free(wait)
    )
    ended = trio.Event()

    async def run() -> None:
        await serve(fetch, handler, listeners=[listener])
        ended.set()

    nursery.start_soon(run)
    peer = await connect(listener)
    await peer.send_text("stop")
    assert await peer.receive_close() == (1001, "Server closed")
    await peer.send_close(1001)
    await ended.wait()
    assert len(errors) == 3
    assert all("server.start_soon" in error for error in errors)


def message_free(wait: Callable[[Server[Any]], Awaitable[None]]) -> Callable[[Socket], Awaitable[None]]:
    async def handler(ws: Socket) -> None:
        await wait(ws.data)

    return handler


async def test_a_listener_that_fails_ends_serve_with_its_exception_and_nobody_waits_for_ever() -> None:
    good, bad = MemoryListener(), BadListener()
    log = Log()
    servers: list[Server[Any]] = []
    with pytest.raises(KeyError, match="accept"):  # noqa: PT012 - the server's end is meant
        async with open_server(hello, WebSocketHandler(close=log.close), listeners=[good, bad]) as server:
            servers.append(server)
            await connect(good)
            bad.fail.set()
            await trio.sleep_forever()
    assert log == [(1006, "")]
    await servers[0].stop(True)
    with pytest.raises(trio.BrokenResourceError):
        await good.connect()


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_interrupt_in_a_handler_comes_out_of_serve(is_async: bool) -> None:
    listener = MemoryListener()
    log = Log()

    def message(*_: object) -> None:
        raise KeyboardInterrupt

    async def async_message(*_: object) -> None:
        raise KeyboardInterrupt

    handler: WebSocketHandler[Any] = WebSocketHandler(message=async_message if is_async else message, close=log.close)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the server's end is meant
        async with open_server(hello, handler, listeners=[listener]):
            peer = await connect(listener)
            await peer.send_text("x")
            await trio.sleep_forever()
    assert log == [(1006, "")]


async def test_a_fetch_that_fails_while_it_is_cancelled_is_logged_and_harms_nobody(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    listener = MemoryListener()
    log = Log()

    async def fetch(request: Request, server: Server[Any]) -> None:
        if not server.upgrade(request):
            async with trio.open_nursery() as inner:
                inner.start_soon(trio.sleep_forever)
                try:
                    await trio.sleep_forever()
                finally:
                    raise KeyError

    async def close(ws: Socket, code: int, reason: str) -> None:
        await trio.sleep(1)
        log.close(ws, code, reason)

    async with open_server(fetch, WebSocketHandler(close=close), listeners=[listener], idle_timeout=0) as server:
        await connect(listener)
        await (await listener.connect()).send_all(GET)
        await settled()
        await server.stop(grace=5)
        assert autojump_clock.current_time() == 6
    assert log == [(1001, "Server closed")]
    assert [record.exc_info and record.exc_info[0] for record in caplog.records] == [ExceptionGroup]


async def test_an_interrupt_in_fetch_goes_on_and_the_failure_beside_it_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    listener = MemoryListener()

    def fetch(*_: object) -> None:
        raise BaseExceptionGroup("from a nursery", [KeyError(), KeyboardInterrupt()])

    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the server's end is meant
        async with open_server(fetch, listeners=[listener]):
            await (await listener.connect()).send_all(GET)
            await trio.sleep_forever()
    assert [record.exc_info and record.exc_info[0] for record in caplog.records] == [ExceptionGroup]


def test_unwrapping_goes_to_the_single_exception_or_to_the_first_group_of_several() -> None:
    error = KeyError()
    assert unwrapped(error) is error
    assert unwrapped(ExceptionGroup("", [ExceptionGroup("", [error])])) is error
    several = ExceptionGroup("", [error, KeyError()])
    assert unwrapped(ExceptionGroup("", [several])) is several


async def test_where_there_is_no_epoll_sockets_are_waited_for_by_trio(monkeypatch: pytest.MonkeyPatch) -> None:
    def echo(ws: ServerWebSocket[None], message: str | bytes) -> None:
        ws.send(message)

    monkeypatch.setattr("trio_bunws._run.make_poller", lambda _: None)
    async with (
        open_server(websocket=WebSocketHandler(message=echo), port=0) as server,
        WebSocket(server.url.replace("http", "ws")) as ws,
    ):
        for message in ("one", "two"):
            ws.send(message)
            assert await ws.receive() == message


async def test_a_socket_that_was_paused_has_no_task_any_more_when_all_is_handled() -> None:
    messages: list[str | bytes] = []
    sockets: list[ServerWebSocket] = []
    handler: WebSocketHandler = WebSocketHandler(
        open=sockets.append, message=lambda _ws, message: messages.append(message)
    )
    async with open_server(websocket=handler, port=0) as server:
        tasks = count_tasks()
        async with await trio.open_tcp_stream("127.0.0.1", server.port or 0) as stream:
            peer = RawPeer(stream)
            await peer.upgrade()
            sockets[0].pause()
            for message in ("first", "second"):
                await peer.send_text(message)
                await trio.testing.wait_all_tasks_blocked()
            assert count_tasks() == tasks + 1  # which waits for the end of the pause
            sockets[0].resume()
            while len(messages) < 2:
                await trio.testing.wait_all_tasks_blocked()
            await trio.testing.wait_all_tasks_blocked()
            assert messages == ["first", "second"]
            assert count_tasks() == tasks


async def test_what_close_handlers_publish_at_the_end_still_goes_to_the_broker() -> None:
    broker = FakeBroker()
    listener = MemoryListener()

    def closed(ws: Socket, _code: int, _reason: str) -> None:
        ws.publish("room", "gone")

    async with open_server(hello, WebSocketHandler(close=closed), listeners=[listener], broker=broker):
        peer = await connect(listener)
        await peer.stream.aclose()
    assert len(broker.published) == 1
    with pytest.raises(trio.BrokenResourceError):
        await listener.connect()


async def test_a_broker_that_takes_nothing_does_not_keep_a_server_from_its_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    broker = FakeBroker()
    broker.room = trio.Event()
    limits = Limits(close_timeout=7)
    async with open_server(hello, ECHO, listeners=[MemoryListener()], broker=broker, limits=limits) as server:
        server.publish("room", "hello?")
        await settled()
        await server.stop()
    assert autojump_clock.current_time() == 7
