"""What only a server's connection has: handlers, the tasks that an application starts, the idle timeout, a reload.

The rest of its life is `test_connection.py`'s.
"""

from __future__ import annotations

import gc
import logging
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from connection_fakes import RESPONSE, Link, PolledWire, Surroundings, Wire

from trio_bunws import CloseFrame, CloseInfo, ConnectionClosed, ReadyState, ServerWebSocket, WebSocketHandler
from trio_bunws._wire.frames import ping_frame
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import Callable


where: ContextVar[str] = ContextVar("where", default="nowhere")
PING = 9


class Attended:
    """A connection without a task, until it needs one; what its handlers are told is written down."""

    def __init__(self, nursery: trio.Nursery, **handlers: Any) -> None:
        self.log: list[object] = []
        own: dict[str, Any] = {"message": self.message, "close": self.close}
        handler: WebSocketHandler = WebSocketHandler(**(own | handlers))
        self.wire = PolledWire()
        self.link = Link(self.wire)
        self.surroundings = Surroundings(nursery, handler)

    def attend(self, trailing: bytes = b"") -> bool:
        return self.link.attend(self.surroundings.engine, trailing)

    def message(self, ws: ServerWebSocket, message: object) -> None:
        self.log.append(message)
        ws.send("answer")

    def close(self, _ws: ServerWebSocket, code: int, reason: str) -> None:
        self.log.append((code, reason))

    async def sends(self, data: bytes) -> None:
        self.wire.incoming.append(data)
        self.wire.poll()
        await trio.testing.wait_all_tasks_blocked()


async def test_messages_are_handled_and_answered_without_a_task(nursery: trio.Nursery) -> None:
    attended = Attended(nursery)
    peer = attended.link.peer
    assert attended.attend(peer.frame(1, b"with the handshake"))
    await peer.receive_until(RESPONSE)
    tasks = nursery.child_tasks.copy()
    await attended.sends(peer.frame(1, b"later") + peer.frame(9, b"ping"))
    assert attended.log == ["with the handshake", "later"]
    assert await peer.receive_text() == "answer"
    assert await peer.receive_text() == "answer"
    assert (await peer.receive()).payload == b"ping"
    assert nursery.child_tasks == tasks
    attended.link.ws.terminate()
    await attended.link.over.wait()
    assert attended.log[-1] == (1006, "")
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("how", "code"), [("close of the peer", 1000), ("end of the stream", 1006), ("close", 4000), ("violation", 1002)]
)
async def test_every_end_has_a_task_and_the_close_handler(how: str, code: int, nursery: trio.Nursery) -> None:
    codes: list[int] = []
    attended = Attended(nursery, close=lambda _ws, code, _reason: codes.append(code))
    link = attended.link
    assert attended.attend()
    if how == "close of the peer":
        await attended.sends(link.peer.close_frame(1000, "bye"))
    elif how == "end of the stream":
        attended.wire.at_eof = True
        attended.wire.poll()
    elif how == "close":
        link.ws.close(4000, "enough")
        await attended.sends(link.peer.frame(1, b"too late"))
        await attended.sends(link.peer.close_frame(4000, "enough"))
    else:
        await attended.sends(b"\xff\xff")
    await link.over.wait()
    assert codes == [code]
    assert attended.log == []
    assert attended.surroundings.engine.connections == set()
    nursery.cancel_scope.cancel()


async def test_what_must_wait_at_once_is_not_attended_to(nursery: trio.Nursery) -> None:
    async def opened(ws: ServerWebSocket) -> None:
        await trio.lowlevel.checkpoint()
        ws.send("open")

    slow = Attended(nursery, open=opened)
    assert not slow.attend(slow.link.peer.frame(1, b"one"))
    ended = Attended(nursery)
    assert not ended.attend(ended.link.peer.close_frame(1000, ""))
    for attended in (slow, ended):
        nursery.start_soon(attended.link.resume)
    await slow.link.peer.receive_until(RESPONSE)
    assert await slow.link.peer.receive_text() == "open"
    assert await slow.link.peer.receive_text() == "answer"
    await ended.link.over.wait()
    assert ended.log == [(1000, "")]
    nursery.cancel_scope.cancel()


async def test_a_task_is_given_back_when_nothing_is_waited_for_any_more(nursery: trio.Nursery) -> None:
    gate = trio.Event()

    async def message(_ws: ServerWebSocket, message: object) -> None:
        attended.log.append(message)
        await gate.wait()

    attended = Attended(nursery, message=message, max_inbox=1)
    link = attended.link
    link.prepare(attended.surroundings.engine)
    await trio.testing.wait_all_tasks_blocked()
    without = nursery.child_tasks.copy()
    nursery.start_soon(link.resume, RESPONSE)
    await link.peer.receive_until(RESPONSE)
    await trio.testing.wait_all_tasks_blocked()
    assert nursery.child_tasks == without
    await attended.sends(b"".join(link.peer.frame(1, b"%d" % number) for number in range(4)))
    assert attended.log == ["0"]
    assert len(nursery.child_tasks - without) == 2  # the reader's, which waits for room, and the handler's
    gate.set()
    await trio.testing.wait_all_tasks_blocked()
    assert attended.log == ["0", "1", "2", "3"]
    assert nursery.child_tasks == without
    await attended.sends(link.peer.close_frame(1000, "bye"))
    await link.over.wait()
    assert attended.log[-1] == (1000, "bye")
    nursery.cancel_scope.cancel()


async def test_what_a_handler_raises_comes_out_of_the_task_after_the_close_handler(nursery: trio.Nursery) -> None:
    class Stop(BaseException):
        pass

    def message(_ws: ServerWebSocket, _message: object) -> None:
        raise Stop

    logs: list[list[object]] = []
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012 - it is raised by the nursery
        async with trio.open_nursery() as inner:
            attended = Attended(inner, message=message)
            logs.append(attended.log)
            assert attended.attend()
            await attended.sends(attended.link.peer.frame(1, b"x"))
    assert caught.value.split(Stop)[1] is None
    assert logs == [[(1006, "")]]
    nursery.cancel_scope.cancel()


async def test_handlers_have_the_context_of_their_connection_with_a_task_or_without(nursery: trio.Nursery) -> None:
    seen: list[str] = []

    def opened(_ws: ServerWebSocket) -> None:
        where.set("set by open")

    def noted(*_: object) -> None:
        seen.append(where.get())

    attended = Attended(nursery, open=opened, message=noted, drain=noted, close=noted)
    assert attended.attend()
    attended.wire.room = 1
    await attended.sends(attended.link.peer.frame(1, b"x"))
    where.set("somebody who sends")
    attended.link.ws.send("more than there is room for")
    await trio.testing.wait_all_tasks_blocked()
    attended.wire.make_room()
    await trio.testing.wait_all_tasks_blocked()
    attended.link.ws.terminate()
    await attended.link.over.wait()
    assert seen == ["set by open"] * 3
    nursery.cancel_scope.cancel()


async def serving(task_status: trio.TaskStatus[str]) -> None:
    task_status.started("begun")
    await trio.sleep_forever()


async def test_tasks_of_the_application_end_with_the_connection() -> None:
    ended: list[str] = []

    async def task(name: str) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(name)

    async with trio.open_nursery() as nursery:
        link = await Surroundings(nursery, WebSocketHandler()).open(Wire())
        link.ws.start_soon(task, "one")
        assert await link.ws.start(serving) == "begun"
        link.ws.terminate()
        await link.ws.closed()
        await link.over.wait()
        assert ended == ["one"]
        with pytest.raises(ConnectionClosed):
            link.ws.start_soon(task, "two")
        nursery.cancel_scope.cancel()


async def test_a_connections_beginning_and_end_are_told_to_who_debugs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "trio_bunws.websocket"):
        async with trio.open_nursery() as nursery:
            link = await Surroundings(nursery, WebSocketHandler()).open(Wire())
            link.ws.terminate()
            await link.over.wait()
            nursery.cancel_scope.cancel()
    assert [record.getMessage().partition(">: ")[2] for record in caplog.records] == ["upgraded", "closed with 1006"]
    assert [vars(record).get("close_code") for record in caplog.records] == [None, 1006]


async def test_what_is_no_function_is_refused_where_it_is_given() -> None:
    async with trio.open_nursery() as nursery:
        link = await Surroundings(nursery, WebSocketHandler()).open(Wire())
        with pytest.raises(TypeError, match="start_soon expects async_fn to be a function, not 7"):
            link.ws.start_soon(7)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="start expects async_fn to be a function, not 7"):
            await link.ws.start(7)  # type: ignore[arg-type]
        assert link.ws.ready_state is ReadyState.OPEN
        nursery.cancel_scope.cancel()


async def test_a_task_that_ends_with_the_connection_before_it_has_started_is_a_closed_connection() -> None:
    async def never_started(task_status: trio.TaskStatus[None]) -> None:  # noqa: ARG001
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        link = await Surroundings(nursery, WebSocketHandler()).open(Wire())

        async def start() -> None:
            with pytest.raises(ConnectionClosed):
                await link.ws.start(never_started)

        async with trio.open_nursery() as starting:
            starting.start_soon(start)
            await trio.testing.wait_all_tasks_blocked()
            link.ws.terminate()
        nursery.cancel_scope.cancel()


async def test_a_task_that_forgets_to_start_is_told_so() -> None:
    async def forgetful(task_status: trio.TaskStatus[None]) -> None:  # noqa: ARG001
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        link = await Surroundings(nursery, WebSocketHandler()).open(Wire())
        with pytest.raises(RuntimeError, match="started"):
            await link.ws.start(forgetful)
        nursery.cancel_scope.cancel()


async def waits(ws: ServerWebSocket, _message: object) -> None:
    await trio.lowlevel.checkpoint()
    ws.send("done")


@pytest.mark.parametrize("message", [ServerWebSocket.send, waits])
@pytest.mark.parametrize("end", ["close", "lost"])
async def test_an_ended_connection_is_freed_without_the_garbage_collector(
    message: Callable[[ServerWebSocket, str | bytes], Any], end: str
) -> None:
    gc.collect()
    gc.disable()
    try:
        async with trio.open_nursery() as nursery:
            wire = Wire()
            link = await Surroundings(nursery, WebSocketHandler(message=message)).open(wire)
            await link.peer.send_text("hello")
            await link.peer.receive()
            socket = weakref.ref(link.ws)
            if end == "close":
                await link.peer.send_close(1000)
            else:
                wire.lose()
            await link.over.wait()
            assert socket() is not None
            del link.connection
            assert socket() is None
            nursery.cancel_scope.cancel()
    finally:
        gc.enable()


async def test_the_socket_of_an_ended_connection_still_says_what_it_knows() -> None:
    async with trio.open_nursery() as nursery:
        link = await Surroundings(nursery, WebSocketHandler(message=ServerWebSocket.send)).open(Wire())
        ws = link.ws
        await link.peer.send_text("hello")
        await link.peer.receive()
        ws.pause()
        ws.close(4000, "enough")
        await link.peer.send_close(4000)
        await link.over.wait()
        assert await ws.closed() == CloseInfo(4000, "enough", CloseFrame(4000, "enough"), CloseFrame(4000, ""))
        assert ws.statistics().messages_in == ws.statistics().messages_out == 1
        assert ws.send("late") == ws.ping() == ws.get_buffered_amount() == 0
        ws.resume()
        ws.close()
        ws.terminate()
        with ws.corked():
            ws.send_text("late")
        with pytest.raises(ConnectionClosed, match="enough"):
            await ws.drained()
        with pytest.raises(ConnectionClosed, match="enough"):
            await ws.send_wait("late")
        with pytest.raises(ConnectionClosed, match="enough"):
            await ws.start(serving)
        with pytest.raises(ConnectionClosed, match="enough"):
            ws.start_soon(trio.sleep, 1)
        with pytest.raises(TypeError, match="start expects async_fn to be a function, not 7"):
            await ws.start(7)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="start_soon expects async_fn to be a function, not 7"):
            ws.start_soon(7)  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="session"):
            await anext(ws)
        nursery.cancel_scope.cancel()


async def test_a_session_of_an_ended_connection_says_how_it_ended() -> None:
    async def session(ws: ServerWebSocket) -> None:
        async for _ in ws:
            pass

    async with trio.open_nursery() as nursery:
        link = await Surroundings(nursery, WebSocketHandler(session=session)).open(Wire())
        ws = link.ws
        await link.peer.send_close(4000, "enough")
        await link.over.wait()
        with pytest.raises(ConnectionClosed, match="enough"):
            await anext(ws)
        with pytest.raises(ConnectionClosed, match="enough"):
            await ws.start(serving)
        nursery.cancel_scope.cancel()


# Liveness


@pytest.mark.parametrize(
    ("idle_timeout", "pinged_at"), [(1, 0.5), (7.5, 3.75), (8, 4), (15, 11), (16, 8), (31, 23), (32, 16), (960, 944)]
)
async def test_a_silent_peer_is_pinged_and_then_closed_without_a_close_frame(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, idle_timeout: float, pinged_at: float
) -> None:
    closes: list[tuple[object, ...]] = []
    handler: WebSocketHandler = WebSocketHandler(
        idle_timeout=idle_timeout, close=lambda _ws, *ending: closes.append(ending)
    )
    link = await Surroundings(nursery, handler).open(Wire())
    assert await link.next_frame() == (PING, pinged_at)
    await link.peer.receive_eof()
    await link.over.wait()
    assert autojump_clock.current_time() == idle_timeout
    assert closes == [(1006, "WebSocket timed out from inactivity")]
    assert link.wire.written == RESPONSE + ping_frame(b"")


async def test_any_byte_re_arms_the_timeout_and_each_silence_has_its_ping(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    link = await Surroundings(nursery, WebSocketHandler(idle_timeout=10)).open(Wire())
    frame = RawPeer.frame(1, b"half a frame")
    await trio.sleep(5)
    await link.peer.send(frame[:3])
    assert await link.next_frame() == (PING, 11)
    await trio.sleep(3)
    await link.peer.send(frame[3:])
    assert await link.next_frame() == (PING, 20)
    await link.over.wait()
    assert autojump_clock.current_time() == 24


async def test_without_send_pings_the_timeout_still_holds(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    link = await Surroundings(nursery, WebSocketHandler(idle_timeout=10, send_pings=False)).open(Wire())
    await link.over.wait()
    assert autojump_clock.current_time() == 10
    assert link.wire.written == RESPONSE


async def test_0_turns_both_off(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    surroundings = Surroundings(nursery, WebSocketHandler(idle_timeout=0))
    link = await surroundings.open(Wire())
    await trio.sleep(80_000)
    assert link.wire.written == RESPONSE
    assert len(surroundings.engine.sweeper) == 0
    assert autojump_clock.current_time() == 80_000


async def test_sending_does_not_re_arm_the_timeout(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    ended_at: list[float] = []
    handler: WebSocketHandler[Any] = WebSocketHandler(
        idle_timeout=10, close=lambda *_: ended_at.append(trio.current_time())
    )
    link = await Surroundings(nursery, handler).open(Wire())
    while not link.over.is_set():
        link.ws.send("tick")
        await trio.sleep(1)
    assert ended_at == [10]
    assert autojump_clock.current_time() == 11


async def test_a_reload_changes_the_options_of_open_sockets(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    surroundings = Surroundings(nursery, WebSocketHandler(idle_timeout=0))
    link = await surroundings.open(Wire())
    await trio.sleep(100)
    surroundings.engine.slot.swap(WebSocketHandler(idle_timeout=10, backpressure_limit=1000, max_payload_length=4))
    link.connection.options_changed()
    assert link.ws._outbox.limit == 1000
    assert await link.next_frame() == (PING, 106)
    await link.peer.send_text("12345")
    assert (await link.peer.receive_close())[0] == 1009
    await link.over.wait()
    link.connection.options_changed()  # it is over
    assert len(surroundings.engine.sweeper) == 0
    assert autojump_clock.current_time() == 106
