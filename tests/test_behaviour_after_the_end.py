"""BEHAVIOUR.md, 20, sentence by sentence: what the begin and the end of a close mean for topics, messages and handlers.

A test's name begins with the number of its sentence. The peer is a client that chooses every byte.
"""

# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from playground import Socket, playground, settled, texts
from recorder import Recorder

from trio_bunws import ConnectionClosed, Limits, ReadyState, WebSocketHandler
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

PING = 9


@pytest.mark.parametrize("end", ["ours", "theirs", "violation", "terminate"])
async def test_20_a_closing_socket_is_nobodys_receiver(end: str, autojump_clock: MockClock) -> None:
    record = Recorder()
    seen: list[object] = []

    async def message(ws: Socket, _message: str | bytes) -> None:
        await trio.sleep(1)
        seen.extend([ws.subscriptions, ws.is_subscribed("a"), ws.subscribe("a"), play.server.subscriber_count("a")])
        seen.extend([play.server.publish("a", "x"), ws.unsubscribe("a")])

    async with playground(record.handler(message=message)) as play:
        peer = await play.open()
        ws = record.ws
        assert ws.subscribe("a")
        assert ws.subscribe("b")
        await peer.send_text("go")
        await settled()
        if end == "ours":
            ws.close()
        elif end == "theirs":
            await peer.send_close()
        elif end == "violation":
            await peer.send(RawPeer.frame(3))
        else:
            ws.terminate()
        await settled()
        assert play.server.topics() == ()
        await trio.sleep(2)
    assert seen == [[], False, False, 0, 0, False]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("end", [RawPeer.close_frame(4000), b""], ids=["close", "end of stream"])
async def test_20_messages_before_the_peers_end_are_handled(
    is_async: bool, end: bytes, autojump_clock: MockClock
) -> None:
    record = Recorder()

    async def message(ws: Socket, message: str | bytes) -> None:
        await trio.sleep(1)
        record.message(ws, message)

    given = {"message": message, "max_inbox": 2} if is_async else {}
    async with playground(record.handler(**given)) as play:
        peer = await play.open()
        await peer.send(texts(*"abcde") + end + (texts("after") if end else b""))
        if not end:
            await peer.stream.aclose()
        await trio.sleep(10)
        assert record.messages == list("abcde")
        assert record.closes == [(4000 if end else 1006, "")]


@pytest.mark.parametrize("end", ["close", "terminate"])
async def test_20_messages_that_wait_are_discarded_after_our_end(end: str, autojump_clock: MockClock) -> None:
    record = Recorder()

    async def message(ws: Socket, message: str | bytes) -> None:
        record.message(ws, message)
        await trio.sleep(1)
        getattr(ws, end)()
        await trio.sleep(1)

    async with playground(record.handler(message=message)) as play:
        peer = await play.open()
        await peer.send(texts("one", "two", "three") + RawPeer.close_frame())
        # The peer's Close was read while the handler waited; so these are still handled.
        await trio.sleep(20)
        assert record.messages == ["one", "two", "three"]
        peer = await play.open()
        await peer.send(texts("four", "five", "six"))
        await trio.sleep(20)
        assert record.messages == ["one", "two", "three", "four"]


async def test_20_a_session_gets_what_came_before_the_peers_close(autojump_clock: MockClock) -> None:
    got: list[object] = []
    record = Recorder()

    async def session(ws: Socket) -> None:
        async for message in ws:
            got.append(message)
            await trio.sleep(1)
        got.append("end")

    async with playground(record.handler(session=session, max_inbox=2)) as play:
        peer = await play.open()
        await peer.send(texts(*"abcde") + RawPeer.close_frame(1000, "bye"))
        await trio.sleep(10)
        assert got == [*"abcde", "end"]
        assert record.closes == [(1000, "bye")]


@pytest.mark.parametrize("kind", ["message", "session", "open", "ping"])
async def test_20_a_handler_still_running_close_timeout_after_the_end_is_cancelled(
    kind: str, autojump_clock: MockClock
) -> None:
    record = Recorder()

    async def stuck(*_: object) -> None:
        try:
            await trio.sleep_forever()
        finally:
            record.calls.append(("cancelled", trio.current_time()))

    async with playground(record.handler(**{kind: stuck}), limits=Limits(close_timeout=7)) as play:
        peer = await play.open()
        await peer.send(RawPeer.frame(PING) + texts("go"))
        await trio.sleep(3)
        await peer.send_close(4000)
        await trio.sleep(100)
        assert record.calls[-2:] == [("cancelled", 10), ("close", 4000, "")]
        assert play.server.pending_websockets == 0


async def test_20_an_async_close_handler_has_close_timeout(autojump_clock: MockClock) -> None:
    record = Recorder()
    times: list[float] = []

    async def closed(ws: Socket, code: int, reason: str) -> None:
        record.close(ws, code, reason)
        times.append(trio.current_time())
        try:
            await trio.sleep_forever()
        finally:
            times.append(trio.current_time())

    async with playground(record.handler(close=closed), limits=Limits(close_timeout=7)) as play:
        peer = await play.open()
        await peer.send_close(4000)
        await trio.sleep(5)
        assert play.server.pending_websockets == 1
        await trio.sleep(5)
        assert play.server.pending_websockets == 0
    assert record.closes == [(4000, "")]
    assert times == [0, 7]


async def test_20_an_async_close_handler_has_close_timeout_also_when_the_server_is_being_cancelled(
    autojump_clock: MockClock,
) -> None:
    times: list[float] = []

    async def closed(_ws: Socket, code: int, _reason: str) -> None:
        times.append(code)
        times.append(trio.current_time())
        await trio.sleep(3)
        times.append(trio.current_time())
        try:
            await trio.sleep_forever()
        finally:
            times.append(trio.current_time())

    async def answer(peer: RawPeer) -> None:
        assert await peer.receive_close() == (1001, "Server closed")
        await trio.sleep(1)
        await peer.send_close(1001)
        await peer.receive_eof()

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(5):
            async with playground(WebSocketHandler(close=closed), limits=Limits(close_timeout=7)) as play:
                nursery.start_soon(answer, await play.open())
                await trio.sleep_forever()
        assert times[:3] == [1001, 6, 9]
        assert times[3] <= 13  # 7 s for the handler


async def test_20_drained_and_send_wait_raise_if_the_socket_closes_first(autojump_clock: MockClock) -> None:
    record = Recorder()
    caught: list[tuple[str, int, str]] = []

    async def waiting(name: str, call: Callable[[], Any]) -> None:
        try:
            await call()
        except ConnectionClosed as exc:
            caught.append((name, exc.code, exc.reason))

    async with playground(record.handler(backpressure_limit=10), lockstep=True) as play:
        peer = await play.open()
        ws = record.ws
        ws.send("in flight")
        await settled()
        ws.send("over the limit")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiting, "drained", ws.drained)
            nursery.start_soon(waiting, "send_wait", lambda: ws.send_wait("not sent"))
            await settled()
            assert caught == []
            await peer.stream.aclose()
        assert sorted(caught) == [("drained", 1006, ""), ("send_wait", 1006, "")]
        for name, call in (("drained", ws.drained), ("send_wait", lambda: ws.send_wait("x"))):
            await waiting(name, call)
        assert len(caught) == 4
        info = await ws.closed()
        assert (info.code, info.reason, info.sent, info.received) == (1006, "", None, None)


async def test_20_send_wait_raises_as_soon_as_a_close_begins(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(backpressure_limit=10), lockstep=True) as play:
        await play.open()
        ws = record.ws
        ws.send("in flight")
        await settled()
        ws.send("over the limit")
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def waiting() -> None:
                with pytest.raises(ConnectionClosed) as caught:
                    await ws.send_wait("not sent")
                assert (caught.value.code, caught.value.sent) == (4000, (4000, "ours"))

            await settled()
            ws.close(4000, "ours")
        assert trio.current_time() == 0


async def test_20_drained_returns_when_a_close_delivers_everything(autojump_clock: MockClock) -> None:
    record = Recorder()
    async with playground(record.handler(), lockstep=True) as play:
        peer = await play.open()
        ws = record.ws
        ws.send("in flight")
        await settled()
        ws.send("unsent")
        ws.close()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ws.drained)
            assert await peer.receive_text() == "in flight"
            assert await peer.receive_text() == "unsent"
            assert await peer.receive_close() == (1000, "")
        assert ws.ready_state is ReadyState.CLOSING


@pytest.mark.parametrize(("code", "ours"), [(1000, False), (1001, False), (1005, False), (1000, True), (1001, True)])
async def test_20_async_for_ends_quietly(code: int, ours: bool, autojump_clock: MockClock) -> None:
    record = Recorder()

    async def session(ws: Socket) -> None:
        async for message in ws:
            record.message(ws, message)
        record.calls.append(("end",))

    async with playground(record.handler(session=session)) as play:
        peer = await play.open()
        await peer.send_text("x")
        await settled()
        if ours:
            record.ws.close(code)
            assert await peer.receive_close() == (code, "")
        await peer.send_close(None if code == 1005 else code)
        await settled()
        assert record.calls == [("open",), ("message", "x"), ("end",), ("close", code, "")]


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (RawPeer.close_frame(4000, "why"), 4000),
        (RawPeer.frame(3), 1002),
        (b"", 1006),
        (RawPeer.close_frame(1011), 1011),
    ],
    ids=["close", "violation", "lost", "1011"],
)
async def test_20_async_for_raises_otherwise(end: bytes, code: int, autojump_clock: MockClock) -> None:
    record = Recorder()
    caught: list[ConnectionClosed] = []

    async def session(ws: Socket) -> None:
        try:
            async for message in ws:
                record.message(ws, message)
        except ConnectionClosed as exc:
            caught.append(exc)
            raise

    async with playground(record.handler(session=session)) as play:
        peer = await play.open()
        await peer.send(texts("before") + end)
        if not end:
            await peer.stream.aclose()
        await settled()
        assert record.messages == ["before"]
        assert [exc.code for exc in caught] == [code]
        assert record.closes == [(code, caught[0].reason)]


async def test_20_a_session_blocked_elsewhere_is_cancelled(autojump_clock: MockClock) -> None:
    record = Recorder()
    cancelled: list[bool] = []

    async def session(_ws: Socket) -> None:
        with trio.CancelScope() as scope:
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                cancelled.append(scope.cancel_called)
                raise

    async with playground(record.handler(session=session)) as play:
        peer = await play.open()
        await peer.send_close(1000)
        await trio.sleep(30)
        assert cancelled == [False]
        assert record.closes == [(1000, "")]
        assert play.server.pending_websockets == 0


async def test_20_tasks_of_the_socket_are_cancelled_when_the_connection_is_over(autojump_clock: MockClock) -> None:
    record = Recorder()

    async def task() -> None:
        try:
            await trio.sleep_forever()
        finally:
            record.calls.append(("cancelled", trio.current_time()))

    async with playground(record.handler()) as play:
        peer = await play.open()
        record.ws.start_soon(task)
        await trio.sleep(1)
        await peer.send_close(1000)
        await settled()
        assert record.calls == [("open",), ("cancelled", 1), ("close", 1000, "")]
        with pytest.raises(ConnectionClosed):
            record.ws.start_soon(task)
