"""BEHAVIOUR.md, 30, but for `reload`: `stop`, its deadlines, and leaving `open_server` in every way.

A test's name begins with the number of its sentence. Everything is driven from outside.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from playground import Socket, playground, settled, texts
from recorder import HandlerError, Recorder, library_client, provoke

from trio_bunws import Limits, ReadyState, Request, Response, Server, WebSocketHandler, open_server, serve
from trio_bunws.testing import MemoryListener, RawPeer

if TYPE_CHECKING:
    from trio.testing import MockClock

PING, PONG = 9, 10


async def test_30_stop_stops_listening_at_once_and_leaves_sockets_alone(autojump_clock: MockClock) -> None:
    record = Recorder()
    stopped: list[float] = []

    async def stop() -> None:
        await play.server.stop()
        stopped.append(trio.current_time())

    async with playground(record.handler()) as play, trio.open_nursery() as nursery:
        first, second = await play.open(), await play.open()
        nursery.start_soon(stop)
        await settled()
        with pytest.raises(trio.BrokenResourceError):
            await play.connect()
        await trio.sleep(50)
        for peer in (first, second):
            await peer.send_text("still here")
        await settled()
        assert record.messages == ["still here"] * 2
        await first.send_close()
        await trio.sleep(10)
        assert stopped == []
        await second.send_close()
        await trio.sleep(10)
        assert stopped == [60]


async def test_30_stop_of_a_kernel_listener_refuses_who_comes_later() -> None:
    async with open_server(None, WebSocketHandler(), port=0) as server:
        assert server.port is not None
        async with RawPeer(await trio.open_tcp_stream("127.0.0.1", server.port)) as peer:
            await peer.upgrade()
            stopping = server.stop()
            await settled()
            with pytest.raises(OSError, match="all attempts to connect"):
                await trio.open_tcp_stream("127.0.0.1", server.port)
            await peer.send(RawPeer.frame(PING, b"x"))
            assert await peer.receive() == (PONG, b"x", True, 0)
        await stopping


@pytest.mark.parametrize(
    ("options", "closed"),
    [
        ({"close_active_connections": True}, (1001, "Server closed")),
        ({"close_active_connections": True, "code": 4000, "reason": "bye"}, (4000, "bye")),
        ({"grace": 3}, (1001, "Server closed")),
        ({"grace": 3, "code": 1012, "reason": "restart"}, (1012, "restart")),
    ],
)
async def test_30_stop_closes_sockets_if_told_to(
    options: dict[str, Any], closed: tuple[int, str], autojump_clock: MockClock
) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peers = [await play.open() for _ in range(3)]
        record.sockets[0].send("before")
        stopping = play.server.stop(**options)
        assert all(ws.ready_state is ReadyState.CLOSING for ws in record.sockets)
        assert await peers[0].receive_text() == "before"
        for peer in peers:
            assert await peer.receive_close() == closed
            await peer.send_close(closed[0])
            await peer.receive_eof()
        await stopping
        await stopping
        await play.server.stop()
        assert record.closes == [closed] * 3
        assert play.server.pending_websockets == 0
        assert trio.current_time() == 0


async def test_30_stop_need_not_be_awaited(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with trio.open_nursery() as nursery:
        listener = MemoryListener()
        server: Server[Any] = await nursery.start(partial(serve, None, record.handler(), listeners=[listener]))
        peer = RawPeer(await listener.connect())
        await peer.upgrade()
        server.stop(True)
        assert await peer.receive_close() == (1001, "Server closed")
        await peer.send_close()
    assert record.closes == [(1001, "Server closed")]  # serve has ended by itself


@pytest.mark.parametrize(("grace", "ends"), [(None, 7), (3, 3), (0.5, 0.5), (100, 100)])
async def test_30_what_is_still_open_at_the_deadline_is_aborted(
    grace: float | None, ends: float, autojump_clock: MockClock
) -> None:
    record = Recorder()
    async with playground(record.handler(), limits=Limits(close_timeout=7), lockstep=True) as play:
        answering, stalled = await play.open(), await play.open()
        await settled()
        record.sockets[1].send("never read")
        await settled()
        record.sockets[1].send("nor this")
        stopping = play.server.stop(True, grace=grace)
        assert await answering.receive_close() == (1001, "Server closed")
        await answering.send_close()
        await stopping
        assert trio.current_time() == ends
        assert record.closes == [(1001, "Server closed")] * 2
        await stalled.stream.aclose()


async def test_30_outboxes_drain_until_the_deadline(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(), limits=Limits(close_timeout=7), lockstep=True) as play:
        peer = await play.open()
        await settled()
        for number in range(4):
            record.ws.send(bytes([number]) * 70_000)
            await settled()
        play.server.stop(grace=60)
        for number in range(4):
            await trio.sleep(12)
            assert (await peer.receive()).payload == bytes([number]) * 70_000
        assert await peer.receive_close() == (1001, "Server closed")
        await peer.send_close()
        await play.server.stop()
        assert trio.current_time() == 48


async def test_30_stop_and_then_stop_and_close(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play:
        peer = await play.open()
        play.server.stop()
        await trio.sleep(5)
        assert record.ws.ready_state is ReadyState.OPEN
        play.server.stop(True)
        play.server.stop(True, code=4000)
        assert await peer.receive_close() == (1001, "Server closed")
        await peer.send_close()
        await play.server.stop()


@pytest.mark.parametrize("kind", ["message", "session", "open"])
async def test_30_stop_while_a_handler_waits_lets_it_finish(kind: str, autojump_clock: MockClock) -> None:
    record = Recorder()

    async def handler(*args: object) -> None:
        await trio.sleep(5)
        record.calls.append(("done", trio.current_time()))

    async with playground(record.handler(**{kind: handler})) as play:
        peer = await play.open()
        await peer.send(texts("x"))
        await settled()
        stopping = play.server.stop(True)
        assert await peer.receive_close() == (1001, "Server closed")
        await peer.send_close()
        await stopping
        assert record.calls[-2:] == [("done", 5), ("close", 1001, "Server closed")]
        assert trio.current_time() == 5


async def test_30_stop_while_a_handler_waits_too_long_cancels_it(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def message(_ws: Socket, _message: object) -> None:
        await trio.sleep_forever()

    async with playground(record.handler(message=message), limits=Limits(close_timeout=7)) as play:
        peer = await play.open()
        await peer.send(texts("x"))
        await settled()
        stopping = play.server.stop(True)
        await peer.send_close()
        await stopping
        assert record.closes == [(1001, "Server closed")]
        assert trio.current_time() == 7


@pytest.mark.parametrize("kind", ["open", "message", "close", "ping", "drain", "session", "fetch", "nursery"])
async def test_30_awaiting_stop_in_a_handler_is_a_runtime_error(kind: str, autojump_clock: MockClock) -> None:
    record = Recorder()
    caught: list[RuntimeError] = []

    async def stop() -> None:
        try:
            await play.server.stop(True)
        except RuntimeError as exc:
            caught.append(exc)

    async def handler(*args: object) -> None:
        if kind == "open":
            record.sockets.append(args[0])  # type: ignore[arg-type]
        if kind == "nursery":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stop)
        else:
            await stop()

    async def fetch(request: Request, server: Server[Any]) -> None:
        server.upgrade(request)
        if kind == "fetch":
            await stop()

    event = {"nursery": "message", "fetch": "message"}.get(kind, kind)
    given = {} if kind == "fetch" else {event: handler}
    async with playground(record.handler(**given), fetch, lockstep=True) as play:
        if kind == "fetch":
            peer = await play.connect()
            await peer.send(RawPeer.request())
            await peer.receive_until(b"\r\n\r\n")
        else:
            await provoke(play, record, "message" if kind == "session" else event)
        await settled()
        assert len(caught) == 1
        assert "server.start_soon" in str(caught[0])


async def test_30_awaiting_stop_in_a_task_of_the_server_works(autojump_clock: MockClock) -> None:
    record = Recorder()
    done: list[str] = []

    async def stop(how: str) -> None:
        await play.server.stop(True)
        done.append(how)

    def message(_ws: Socket, _message: object) -> None:
        play.server.start_soon(stop, "task of the server")
        nursery.start_soon(stop, "task of another nursery")

    async with trio.open_nursery() as nursery, playground(record.handler(message=message)) as play:
        peer = await play.open()
        await peer.send(texts("x"))
        assert await peer.receive_close() == (1001, "Server closed")
        await peer.send_close()
        await trio.sleep(5)
        assert sorted(done) == ["task of another nursery", "task of the server"]


async def test_30_awaiting_stop_in_a_drain_handler_is_a_runtime_error_whoever_has_sent(
    autojump_clock: MockClock,
) -> None:
    record = Recorder()
    caught: list[RuntimeError] = []

    async def drain(_ws: Socket) -> None:
        try:
            await play.server.stop()
        except RuntimeError as exc:
            caught.append(exc)

    async with playground(record.handler(drain=drain), lockstep=True) as play:
        await provoke(play, record, "drain")  # sends from the test's own task
        assert len(caught) == 1


async def test_30_a_socket_whose_upgrade_was_granted_is_closed_too(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def fetch(request: Request, server: Server[Any]) -> None:
        assert server.upgrade(request)
        await trio.sleep(2)

    async with playground(record.handler(), fetch) as play:
        peer = await play.connect()
        await peer.send(RawPeer.request() + texts("x"))
        await trio.sleep(1)
        stopping = play.server.stop(True)
        await peer.receive_101()
        assert await peer.receive_close() == (1001, "Server closed")
        await peer.send_close()
        await stopping
        assert record.calls == [("open",), ("close", 1001, "Server closed")]


async def test_30_stop_without_closing_lets_an_upgrade_in_progress_through(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def fetch(request: Request, server: Server[Any]) -> None:
        await trio.sleep(2)
        assert server.upgrade(request)

    async with playground(record.handler(), fetch) as play:
        peer = await play.connect()
        await peer.send(RawPeer.request())
        await trio.sleep(1)
        stopping = play.server.stop()
        await peer.receive_101()
        await trio.sleep(5)
        await peer.send_text("served")
        await settled()
        assert record.messages == ["served"]
        await peer.send_close()
        await stopping
        assert trio.current_time() == 7


async def test_30_a_request_in_progress_is_answered_before_stop_ends(autojump_clock: MockClock) -> None:
    async def fetch(_request: Request, _server: Server[Any]) -> Response:
        await trio.sleep(3)
        return Response("done")

    async with playground(None, fetch) as play:
        idle = await play.connect()
        peer = await play.connect()
        await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        await trio.sleep(1)
        stopping = play.server.stop(True)
        await idle.receive_eof()
        assert trio.current_time() == 1
        head = await peer.receive_until(b"\r\n\r\n")
        assert b"connection: close" in head.lower()
        assert await peer.receive_exactly(4) == b"done"
        await peer.receive_eof()
        await stopping
        assert trio.current_time() == 3


async def test_30_leaving_open_server_is_stop_true(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def answer(peer: RawPeer) -> None:
        assert await peer.receive_close() == (1001, "Server closed")
        await trio.sleep(4)
        await peer.send_close()
        await peer.receive_eof()

    async with trio.open_nursery() as nursery:
        async with playground(record.handler()) as play:
            nursery.start_soon(answer, await play.open())
        assert trio.current_time() == 4
        assert record.closes == [(1001, "Server closed")]


async def test_30_leaving_open_server_by_an_exception_is_stop_true_and_the_exception_comes_out_alone(
    autojump_clock: MockClock,
) -> None:
    record = Recorder()

    async def answer(peer: RawPeer) -> None:
        assert await peer.receive_close() == (1001, "Server closed")
        await trio.sleep(4)
        await peer.send_close()

    async with trio.open_nursery() as nursery:
        with pytest.raises(HandlerError, match="of the block"):  # noqa: PT012 - the server's end is meant
            async with playground(record.handler()) as play:
                nursery.start_soon(answer, await play.open())
                raise HandlerError("of the block")
        assert trio.current_time() == 4
        assert record.closes == [(1001, "Server closed")]


async def test_30_a_group_of_the_block_stays_a_group(autojump_clock: MockClock) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with playground(WebSocketHandler()):
            raise ExceptionGroup("of the block", [HandlerError("one of one")])
    assert caught.value.message == "of the block"
    assert [type(exc) for exc in caught.value.exceptions] == [HandlerError]


@pytest.mark.parametrize("how", ["exception", "cancelled", "serve cancelled"])
@pytest.mark.parametrize("stuck", ["peer", "message", "session"])
async def test_30_leaving_open_server_takes_one_deadline_whoever_is_stuck(
    how: str, stuck: str, autojump_clock: MockClock
) -> None:
    record = Recorder()
    listener = MemoryListener(trio.testing.lockstep_stream_pair)

    async def handler(*_: object) -> None:
        await trio.sleep_forever()

    given = {} if stuck == "peer" else {stuck: handler}
    options: dict[str, Any] = {"listeners": [listener], "limits": Limits(close_timeout=7)}

    async def use() -> None:
        peer = RawPeer(await listener.connect())
        await peer.upgrade()
        await peer.send_text("x")
        await settled()
        record.ws.send("never read")
        await settled()
        record.ws.send("nor this")

    with trio.CancelScope() as scope:
        if how == "serve cancelled":
            async with trio.open_nursery() as nursery:
                await nursery.start(partial(serve, None, record.handler(**given), **options))
                await use()
                scope.cancel()
        else:
            with pytest.raises((HandlerError, trio.Cancelled)):  # noqa: PT012 - the server's end is meant
                async with open_server(None, record.handler(**given), **options):
                    await use()
                    if how == "exception":
                        raise HandlerError
                    scope.cancel()
                    await trio.sleep_forever()
    assert trio.current_time() == 7
    assert record.closes == [(1001, "Server closed")]


async def test_30_a_library_client_is_told(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler()) as play, library_client(await play.connect()) as client:
        await client.send_message("x")
        await settled()
        await play.server.stop(True)
        assert (client.closed.code, client.closed.reason) == (1001, "Server closed")
    assert record.closes == [(1001, "Server closed")]
