"""How handlers are called, with a fake socket and real tasks: order, waiting, room, exceptions, sessions, the end.

Each test is what `_connection.py` would report; the bytes and deadlines behind that are `test_connection.py`'s.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from engine_fakes import FakeSocket, nothing

from trio_bunws._close import CloseInfo
from trio_bunws._dispatch import Dispatcher
from trio_bunws._errors import ConnectionClosed
from trio_bunws._handlers import WebSocketHandler
from trio_bunws._status import ReadyState
from trio_bunws._tasks import Role, TaskGroup
from trio_bunws._wire.events import Close, Event, Ping, Pong
from trio_bunws._wire.frames import close_frame, text_frame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_bunws._websocket import ServerWebSocket

    Socket = ServerWebSocket[Any]
    Message = str | bytes | bytearray | memoryview

settled = trio.testing.wait_all_tasks_blocked
LOST = CloseInfo(1006, "", None, None)


class Boom(Exception):
    """What handlers raise here."""


class Log(list[object]):
    """What happened, in order; its methods are handlers that write themselves down."""

    def __init__(self) -> None:
        self.gates: dict[object, trio.Event] = {}

    def gate(self, name: object) -> trio.Event:
        """Return the event for which `waiting` waits in the handling of `name`."""
        return self.gates.setdefault(name, trio.Event())

    def plain(self, _ws: Socket, *args: object) -> None:
        self.append(args[0] if args else "called")

    async def quick(self, _ws: Socket, *args: object) -> None:
        self.append(args[0] if args else "called")

    async def waiting(self, _ws: Socket, *args: object) -> None:
        name = args[0] if args else "called"
        self.append(f"{name!s} begins")
        await self.gate(name).wait()
        self.append(f"{name!s} ends")

    def error(self, exc: Exception, _ws: Socket) -> None:
        self.append(exc)

    async def async_error(self, exc: Exception, _ws: Socket) -> None:
        await trio.lowlevel.checkpoint()
        self.append(exc)


def failing(_ws: Socket, *args: object) -> None:
    raise Boom(*args)


async def failing_async(_ws: Socket, *args: object) -> None:
    await trio.lowlevel.checkpoint()
    raise Boom(*args)


class Rig:
    """A dispatcher on a fake socket, used as the connection uses it."""

    def __init__(self, nursery: trio.Nursery, handler: WebSocketHandler[Any]) -> None:
        self.fake = FakeSocket(handler)
        self.ws = self.fake.ws
        self.tasks = TaskGroup(nursery)
        self.room_made = 0
        self.dispatcher = Dispatcher(self.ws, self.fake.slot, self.tasks, self._made_room)
        self.fake.driver.on_end = self.dispatcher.discard

    def _made_room(self) -> None:
        self.room_made += 1

    def feed(self, *events: Event) -> list[Event]:
        """Give it events; return those for which there was no room, and all after them."""
        iterator = iter(events)
        while (event := self.dispatcher.consume(iterator)) is not None:
            if self.ws.ready_state is not ReadyState.OPEN:
                continue
            assert not isinstance(event, Close)
            if not self.dispatcher.deliver(event):  # type: ignore[arg-type]  # no failure is fed
                return [event, *iterator]
        return list(iterator)


def exceptions(caplog: pytest.LogCaptureFixture) -> list[type[BaseException] | None]:
    """Return the kinds of the exceptions that were logged with their tracebacks."""
    return [record.exc_info[0] if record.exc_info else None for record in caplog.records]


# Plain handlers


async def test_plain_messages_are_handled_at_once_in_order_by_the_handler_of_their_kind(nursery: trio.Nursery) -> None:
    log = Log()
    rig = Rig(nursery, WebSocketHandler(message=log.plain))
    assert rig.feed("a", b"b", "") == []
    assert log == ["a", b"b", ""]
    other = Log()
    rig.fake.slot.swap(WebSocketHandler(text=other.plain, message=log.plain))
    rig.feed("c", b"d")
    rig.fake.slot.swap(WebSocketHandler(binary=other.plain))
    rig.feed("nobody's", b"e")
    assert log == ["a", b"b", "", b"d"]
    assert other == ["c", b"e"]
    assert rig.ws.statistics().messages_in == 7
    assert not rig.tasks._scopes


async def test_consume_returns_what_is_no_message_and_goes_on_behind_it(nursery: trio.Nursery) -> None:
    log = Log()
    dispatcher = Rig(nursery, WebSocketHandler(message=log.plain)).dispatcher
    given: list[Event] = ["a", Ping(b""), "b", Close(1000, "")]
    events = iter(given)
    assert [dispatcher.consume(events), list(log)] == [Ping(b""), ["a"]]
    assert [dispatcher.consume(events), list(log)] == [Close(1000, ""), ["a", "b"]]
    assert dispatcher.consume(events) is None


@pytest.mark.parametrize(
    ("binary_type", "kind"), [("bytes", bytes), ("bytearray", bytearray), ("arraybuffer", memoryview)]
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_binary_messages_come_as_binary_type_says_and_text_as_text(
    nursery: trio.Nursery, binary_type: str, kind: type, is_async: bool
) -> None:
    log = Log()
    rig = Rig(nursery, WebSocketHandler(message=log.quick if is_async else log.plain))
    rig.ws.binary_type = binary_type
    rig.feed(b"data", "text")
    await settled()
    assert [type(message) for message in log] == [kind, str]
    assert log == [b"data", "text"]


async def test_a_handler_that_pauses_gets_nothing_more_until_it_has_resumed(nursery: trio.Nursery) -> None:
    log = Log()

    def message(ws: Socket, message: str | bytes) -> None:
        log.append(message)
        if message == "pause":
            ws.pause()

    rig = Rig(nursery, WebSocketHandler(message=message))
    assert rig.feed("a", "pause", "b", "c") == ["b", "c"]
    rig.ws.resume()
    rig.feed("b", "c")
    assert log == ["a", "pause", "b", "c"]


@pytest.mark.parametrize("end", ["close", "terminate"])
async def test_after_a_close_by_its_handler_all_the_rest_is_skipped_even_if_that_paused(
    nursery: trio.Nursery, end: str
) -> None:
    log = Log()

    def message(ws: Socket, message: str | bytes) -> None:
        log.append(message)
        ws.pause()
        getattr(ws, end)()

    rig = Rig(nursery, WebSocketHandler(message=message))
    assert rig.feed("a", "b", b"c", Ping(b""), "d") == []
    assert log == ["a"]
    assert rig.ws.statistics().messages_in == 1


# Async handlers


async def test_async_messages_run_one_at_a_time_in_order(nursery: trio.Nursery) -> None:
    log = Log()
    rig = Rig(nursery, WebSocketHandler(message=log.waiting))
    assert rig.feed("a", b"b") == []
    await settled()
    assert log == ["a begins"]
    log.gate("a").set()
    log.gate(b"b").set()
    await settled()
    assert log == ["a begins", "a ends", "b'b' begins", "b'b' ends"]
    assert rig.ws.statistics().messages_in == 2
    assert not rig.tasks._scopes


@pytest.mark.parametrize("plain", ["text", "binary"])
async def test_a_plain_handler_waits_for_the_async_one_before_it(nursery: trio.Nursery, plain: str) -> None:
    log = Log()
    handler = WebSocketHandler(text=log.waiting, binary=log.plain)
    first: str | bytes = "a"
    second: str | bytes = b"b"
    if plain == "text":
        handler = WebSocketHandler(text=log.plain, binary=log.waiting)
        first, second = b"a", "b"
    rig = Rig(nursery, handler)
    rig.feed(first, second)
    await settled()
    assert len(log) == 1
    log.gate(first).set()
    await settled()
    assert log[2:] == [second]
    rig.feed(second)
    assert log[3:] == [second]  # at once again


async def test_at_most_max_inbox_messages_wait_and_room_is_announced(nursery: trio.Nursery) -> None:
    log = Log()
    rig = Rig(nursery, WebSocketHandler(message=log.waiting, max_inbox=2))
    assert not rig.dispatcher.is_full
    rig.feed("a")
    await settled()
    assert rig.room_made == 1
    assert rig.feed("b") == []
    assert not rig.dispatcher.is_full
    assert rig.feed("c", "d", "e") == ["d", "e"]
    assert rig.dispatcher.is_full
    log.gate("a").set()
    await settled()
    assert rig.room_made == 2
    assert not rig.dispatcher.is_full
    assert rig.feed("d", "e") == ["e"]
    for name in "bcd":
        log.gate(name).set()
    await settled()
    assert rig.room_made == 5  # with each that was taken, and when none was left
    assert rig.ws.statistics().messages_in == 4


@pytest.mark.parametrize("message", ["é" * 6, b"x" * 12])
async def test_at_most_max_payload_length_bytes_wait_but_one_message_always_fits(
    nursery: trio.Nursery, message: str | bytes
) -> None:
    log = Log()
    rig = Rig(nursery, WebSocketHandler(message=log.waiting, max_payload_length=12))
    rig.feed("a")
    await settled()
    assert rig.feed(message, "") == []
    assert rig.dispatcher.is_full
    assert rig.feed("x") == ["x"]
    rig.fake.slot.swap(WebSocketHandler(message=log.waiting, max_payload_length=5))
    log.gate("a").set()
    await settled()
    assert rig.feed("123456") == ["123456"] or rig.dispatcher.is_full


async def test_messages_for_nobody_cost_no_room_and_no_task(nursery: trio.Nursery) -> None:
    log = Log()
    rig = Rig(nursery, WebSocketHandler(text=log.waiting, max_inbox=1))
    assert rig.feed(*[b"x"] * 10) == []
    rig.feed("a")
    await settled()
    rig.fake.slot.swap(WebSocketHandler())
    rig.feed("b")
    log.gate("a").set()
    await settled()
    assert log == ["a begins", "a ends"]


async def test_a_reload_holds_from_the_next_message_on(nursery: trio.Nursery) -> None:
    log, other = Log(), Log()
    rig = Rig(nursery, WebSocketHandler(message=log.waiting))
    rig.feed("a", "b", "c")
    await settled()
    rig.fake.slot.swap(WebSocketHandler(message=other.plain))
    log.gate("a").set()
    await settled()
    assert log == ["a begins", "a ends"]
    assert other == ["b", "c"]


async def test_a_pause_keeps_what_waits_for_an_async_handler_until_resume(nursery: trio.Nursery) -> None:
    log = Log()
    rig = Rig(nursery, WebSocketHandler(message=log.waiting))
    rig.feed("a", b"b", "c")
    await settled()
    rig.ws.pause()
    log.gate("a").set()
    await settled()
    rig.dispatcher.resumed()  # paused all the same
    await settled()
    assert log == ["a begins", "a ends"]
    rig.ws.resume()
    rig.dispatcher.resumed()
    await settled()
    assert log[2:] == ["b'b' begins"]
    rig.dispatcher.resumed()
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("by_peer", [False, True])
async def test_a_close_ends_the_pause_and_only_ours_forgets_what_waited(nursery: trio.Nursery, by_peer: bool) -> None:
    log = Log()
    rig = Rig(nursery, WebSocketHandler(message=log.quick))
    rig.ws.pause()
    rig.dispatcher.deliver("a")
    rig.dispatcher.deliver(b"b")
    await settled()
    assert log == []
    if by_peer:
        rig.fake.driver.on_end = nothing
    rig.ws.close()
    rig.dispatcher.resumed()
    await settled()
    assert log == (["a", b"b"] if by_peer else [])


# Opening


async def test_a_plain_open_runs_at_once_and_an_async_one_before_all_messages(nursery: trio.Nursery) -> None:
    log = Log()
    rig = Rig(nursery, WebSocketHandler(open=log.plain))
    rig.dispatcher.opened()
    assert log == ["called"]
    rig = Rig(nursery, WebSocketHandler(open=log.waiting, message=log.plain))
    rig.dispatcher.opened()
    assert rig.dispatcher.is_full
    rig.feed("a", "b")
    await settled()
    assert not rig.dispatcher.is_full
    assert log == ["called", "called begins"]
    log.gate("called").set()
    await settled()
    assert log[2:] == ["called ends", "a", "b"]
    quiet = Rig(nursery, WebSocketHandler()).dispatcher
    quiet.opened()
    quiet.input_ended()


@pytest.mark.parametrize("open_handler", [failing, failing_async])
async def test_an_exception_in_open_closes_with_1011_and_is_logged(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, open_handler: Callable[..., object]
) -> None:
    log = Log()
    rig = Rig(nursery, WebSocketHandler(open=open_handler, message=log.plain))
    rig.dispatcher.opened()
    rig.feed("a")
    await settled()
    assert rig.fake.sink.written == close_frame(1011, "Internal server error")
    assert exceptions(caplog) == [Boom]
    assert log == []


@pytest.mark.parametrize("open_handler", [failing, failing_async])
@pytest.mark.parametrize("is_async", [False, True])
async def test_an_exception_in_open_goes_to_error_and_closes_with_1011_whatever_that_does(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, open_handler: Callable[..., object], is_async: bool
) -> None:
    log = Log()

    def error(exc: Exception, ws: Socket) -> None:
        log.append(exc)
        ws.close(4000)

    async def async_error(exc: Exception, ws: Socket) -> None:
        error(exc, ws)
        await trio.sleep_forever()

    rig = Rig(nursery, WebSocketHandler(open=open_handler, error=async_error if is_async else error))
    rig.dispatcher.opened()
    await settled()
    assert [type(exc) for exc in log] == [Boom]
    assert rig.fake.sink.written == close_frame(1011, "Internal server error")
    assert not caplog.records
    nursery.cancel_scope.cancel()


async def test_an_open_that_has_not_begun_when_the_server_closes_runs_all_the_same(nursery: trio.Nursery) -> None:
    log = Log()
    rig = Rig(nursery, WebSocketHandler(open=log.quick, message=log.plain))
    rig.dispatcher.opened()
    rig.feed("a")
    rig.ws.close()
    rig.ws.terminate()
    await settled()
    assert log == ["called"]


# Exceptions


async def test_an_exception_goes_to_error_and_the_socket_stays_open(nursery: trio.Nursery) -> None:
    log = Log()
    kinds: list[WebSocketHandler[Any]] = [
        WebSocketHandler(message=failing, ping=failing, pong=failing, drain=failing, error=log.error),
        WebSocketHandler(
            message=failing_async, ping=failing_async, pong=failing_async, drain=failing_async, error=log.error
        ),
        WebSocketHandler(message=failing, ping=failing, pong=failing, drain=failing, error=log.async_error),
        WebSocketHandler(
            message=failing_async, ping=failing_async, pong=failing_async, drain=failing_async, error=log.async_error
        ),
    ]
    for handler in kinds:
        rig = Rig(nursery, handler)
        rig.feed("text", b"binary", Ping(b"ping"), Pong(b"pong"))
        rig.dispatcher.drained()
        await settled()
        args = [exc.args for exc in log if isinstance(exc, Boom)]
        assert sorted(map(str, args)) == sorted(map(str, [("text",), (b"binary",), (b"ping",), (b"pong",), ()]))
        assert rig.ws.ready_state is ReadyState.OPEN
        log.clear()


@pytest.mark.parametrize("kind", ["message", "ping", "pong", "drain"])
@pytest.mark.parametrize("handler", [failing, failing_async])
async def test_without_error_an_exception_is_logged_and_closes_with_1011(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, kind: str, handler: Callable[..., object]
) -> None:
    rig = Rig(nursery, WebSocketHandler(**{kind: handler}))  # type: ignore[arg-type]
    rig.feed("text", Ping(b"ping"), Pong(b"pong"))
    rig.dispatcher.drained()
    await settled()
    assert rig.fake.sink.written == close_frame(1011, "Internal server error")
    assert exceptions(caplog) == [Boom]
    assert rig.fake.driver.calls == ["close_begun"]


async def test_messages_wait_for_an_async_error_handler(nursery: trio.Nursery) -> None:
    log = Log()
    gate = trio.Event()

    def message(_ws: Socket, message: str | bytes) -> None:
        log.append(message)
        if message == "bad":
            raise Boom

    async def error(_exc: Exception, _ws: Socket) -> None:
        log.append("error begins")
        await gate.wait()
        log.append("error ends")

    rig = Rig(nursery, WebSocketHandler(message=message, error=error))
    rig.feed("bad", "good", b"bytes")
    await settled()
    assert log == ["bad", "error begins"]
    gate.set()
    await settled()
    assert log == ["bad", "error begins", "error ends", "good", b"bytes"]


async def test_an_exception_that_waits_for_an_async_error_handler_survives_a_close(nursery: trio.Nursery) -> None:
    log = Log()
    rig = Rig(nursery, WebSocketHandler(message=failing, error=log.async_error))
    rig.feed("a", "b")
    rig.ws.close()
    await settled()
    assert [exc.args for exc in log if isinstance(exc, Boom)] == [("a",)]


@pytest.mark.parametrize("message", [failing, failing_async])
@pytest.mark.parametrize("is_async", [False, True])
async def test_an_exception_in_error_is_logged_and_the_socket_stays_open(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, message: Callable[..., object], is_async: bool
) -> None:
    def error(_exc: Exception, _ws: Socket) -> None:
        raise KeyError

    async def async_error(_exc: Exception, _ws: Socket) -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError

    rig = Rig(nursery, WebSocketHandler(message=message, error=async_error if is_async else error))
    rig.feed("a", "b")
    await settled()
    assert exceptions(caplog) == [KeyError, KeyError]
    assert rig.ws.ready_state is ReadyState.OPEN


async def coroutine(*_: object) -> None:
    """Never runs."""


class Later:
    """An awaitable that is no coroutine."""

    def __await__(self) -> None: ...


@pytest.mark.parametrize("make", [coroutine, lambda *_: Later()])
@pytest.mark.parametrize("kind", ["open", "message", "ping", "drain"])
async def test_a_plain_handler_that_returns_an_awaitable_is_a_type_error(
    nursery: trio.Nursery, make: Callable[..., Awaitable[None]], kind: str
) -> None:
    log = Log()

    def handler(*args: object) -> Awaitable[None]:
        return make(*args)

    rig = Rig(nursery, WebSocketHandler(error=log.error, **{kind: handler}))  # type: ignore[arg-type]
    rig.dispatcher.opened()
    rig.feed("a", Ping(b""))
    rig.dispatcher.drained()
    await settled()
    [error] = log
    assert isinstance(error, TypeError)
    assert "async def" in str(error)


@pytest.mark.parametrize("kind", ["close", "error", "message behind an async one"])
async def test_an_awaitable_is_refused_everywhere_else_too(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    def handler(*_: object) -> Awaitable[None]:
        return coroutine()

    log = Log()
    handlers: dict[str, WebSocketHandler[Any]] = {
        "close": WebSocketHandler(close=handler),
        "error": WebSocketHandler(text=failing, error=handler),
        "message behind an async one": WebSocketHandler(binary=log.quick, text=handler),
    }
    rig = Rig(nursery, handlers[kind])
    rig.feed(b"a", "b")
    await settled()
    rig.ws._end()
    await rig.dispatcher.closed(LOST, 1)
    assert exceptions(caplog) == [TypeError]


async def test_an_interrupt_is_never_swallowed(nursery: trio.Nursery) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    rig = Rig(nursery, WebSocketHandler(message=interrupted, ping=interrupted, open=interrupted, error=interrupted))
    with pytest.raises(KeyboardInterrupt):
        rig.feed("a")
    with pytest.raises(KeyboardInterrupt):
        rig.feed(Ping(b""))
    with pytest.raises(KeyboardInterrupt):
        rig.dispatcher.opened()
    with pytest.raises(KeyboardInterrupt):
        await rig.dispatcher.report(Boom())
    assert rig.ws.statistics().messages_in == 1


def grouped(*exceptions: BaseException) -> Callable[..., Awaitable[None]]:
    """Make a handler that raises these as a nursery does."""

    async def handler(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise BaseExceptionGroup("from a nursery", exceptions)

    return handler


async def handle_something(handler: WebSocketHandler[Any]) -> None:
    """Be a server whose handlers are all called, until one of them ends it."""
    async with trio.open_nursery() as nursery:
        rig = Rig(nursery, handler)
        rig.dispatcher.opened()
        rig.feed("a", Ping(b""))
        await trio.sleep_forever()


@pytest.mark.parametrize("kind", ["open", "message", "ping", "session", "error"])
async def test_an_interrupt_in_a_group_goes_on_and_the_failures_beside_it_are_logged(
    caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    handler = grouped(Boom(), KeyboardInterrupt())
    kinds: dict[str, Any] = {"message": failing_async, "error": handler} if kind == "error" else {kind: handler}
    with pytest.raises(BaseExceptionGroup) as caught:
        await handle_something(WebSocketHandler(**kinds))
    left, _ = caught.value.split(Exception)
    assert left is None
    assert caught.value.split(KeyboardInterrupt)[1] is None
    assert exceptions(caplog) == [ExceptionGroup]


async def test_a_group_of_interrupts_only_goes_on_unlogged(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(BaseExceptionGroup):
        await handle_something(WebSocketHandler(message=grouped(KeyboardInterrupt(), SystemExit())))
    assert not caplog.records


async def test_a_handler_that_fails_while_it_is_cancelled_ends_nothing_else(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    async def message(*_: object) -> None:
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise Boom

    rig = Rig(nursery, WebSocketHandler(message=message))
    rig.feed("a")
    await settled()
    rig.tasks.cancel(Role.HANDLER)
    await rig.tasks.join(Role.HANDLER)
    assert exceptions(caplog) == [ExceptionGroup]


async def test_a_group_of_exceptions_is_an_exception_like_others(nursery: trio.Nursery) -> None:
    log = Log()
    rig = Rig(nursery, WebSocketHandler(message=grouped(Boom()), error=log.error))
    rig.feed("a")
    await settled()
    assert [type(exc) for exc in log] == [ExceptionGroup]


# Beside the messages


@pytest.mark.parametrize("event", [Ping(b"data"), Pong(b"data")])
async def test_pings_and_pongs_reach_their_handlers_beside_a_waiting_message(
    nursery: trio.Nursery, event: Ping | Pong
) -> None:
    log = Log()
    rig = Rig(nursery, WebSocketHandler(message=log.waiting, ping=log.plain, pong=log.plain))
    rig.feed("a")
    await settled()
    rig.feed(event)
    assert log == ["a begins", b"data"]
    rig = Rig(nursery, WebSocketHandler(message=log.waiting, ping=log.waiting, pong=log.waiting))
    rig.feed("b", event)
    await settled()
    assert sorted(map(str, log[2:])) == ["b begins", "b'data' begins"]
    assert Rig(nursery, WebSocketHandler()).feed(event) == []
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kind", ["ping", "pong", "drain"])
async def test_a_plain_handler_that_loads_an_async_error_handler_and_fails_needs_no_room_among_the_messages(
    nursery: trio.Nursery, kind: str
) -> None:
    log = Log()

    def reloading(_ws: Socket, *args: object) -> None:
        rig.fake.slot.swap(WebSocketHandler(message=log.waiting, error=log.async_error))
        raise Boom(*args)

    handlers: dict[str, Any] = {kind: reloading}
    rig = Rig(nursery, WebSocketHandler(message=log.waiting, max_inbox=1, **handlers))
    rig.feed("a")
    await settled()
    rig.feed("b")
    assert rig.dispatcher.is_full
    if kind == "drain":
        rig.dispatcher.drained()
    else:
        assert rig.feed(Ping(b"x") if kind == "ping" else Pong(b"x")) == []
    await settled()
    assert [type(entry) for entry in log] == [str, Boom]
    for name in ("a", "b"):
        log.gate(name).set()
    await settled()
    assert log[2:] == ["a ends", "b begins", "b ends"]


async def test_an_async_ping_handler_never_overlaps_itself_and_at_most_max_inbox_pings_wait(
    nursery: trio.Nursery,
) -> None:
    log = Log()
    rig = Rig(nursery, WebSocketHandler(ping=log.waiting, pong=log.quick, max_inbox=2))
    assert rig.dispatcher.has_room(Ping(b"1"))
    rig.feed(Pong(b""))
    await settled()
    assert rig.dispatcher.has_room(Ping(b"1"))
    rig.feed(Ping(b"1"))
    await settled()
    assert rig.feed(Ping(b"2"), Ping(b"3")) == []
    assert not rig.dispatcher.has_room(Ping(b"4"))
    assert rig.feed(Ping(b"4")) == [Ping(b"4")]
    made = rig.room_made
    log.gate(b"1").set()
    await settled()
    assert rig.room_made == made + 1
    assert rig.dispatcher.has_room(Ping(b"4"))
    log.gate(b"2").set()
    log.gate(b"3").set()
    await settled()
    assert log == [b"", *(f"b'{n}' {what}" for n in (1, 2, 3) for what in ("begins", "ends"))]


async def test_what_a_plain_drain_sends_is_one_write(nursery: trio.Nursery) -> None:
    def drain(ws: Socket) -> None:
        ws.send("a")
        ws.send("b")

    rig = Rig(nursery, WebSocketHandler(drain=drain))
    rig.dispatcher.drained()
    assert rig.fake.sink.writes == [text_frame(b"a") + text_frame(b"b")]
    Rig(nursery, WebSocketHandler()).dispatcher.drained()


async def test_an_async_drain_still_running_at_the_next_edges_runs_once_more(nursery: trio.Nursery) -> None:
    log = Log()
    rig = Rig(nursery, WebSocketHandler(drain=log.waiting))
    rig.dispatcher.drained()
    await settled()
    for _ in range(3):
        rig.dispatcher.drained()
    await settled()
    assert log == ["called begins"]
    log.gate("called").set()
    await settled()
    assert log == ["called begins", "called ends"] * 2


async def test_no_drain_over_the_limit_nor_while_closing_nor_after_it(nursery: trio.Nursery) -> None:
    log = Log()
    rig = Rig(nursery, WebSocketHandler(drain=log.plain, backpressure_limit=10))
    rig.fake.sink.room = 0
    rig.ws.send(b"x" * 16384)
    rig.dispatcher.drained()
    assert log == []
    rig.fake.sink.room = 16384
    rig.ws._outbox.write_more()
    rig.dispatcher.drained()
    assert log == ["called"]
    rig.ws.close()
    rig.dispatcher.drained()
    rig.ws._end()
    rig.dispatcher.drained()
    assert log == ["called"]


async def test_an_async_drain_that_waits_is_not_begun_after_a_close(nursery: trio.Nursery) -> None:
    for end_by_peer in (False, True):
        log = Log()
        rig = Rig(nursery, WebSocketHandler(drain=log.waiting))
        rig.dispatcher.drained()
        await settled()
        rig.dispatcher.drained()
        if end_by_peer:
            rig.fake.driver.on_end = nothing  # the connection does not discard then
        rig.ws.close()
        log.gate("called").set()
        await settled()
        assert log == ["called begins", "called ends"]


async def test_pings_that_wait_are_handled_after_the_peers_close_but_not_after_ours(nursery: trio.Nursery) -> None:
    log = Log()
    rig = Rig(nursery, WebSocketHandler(ping=log.quick))
    rig.feed(Ping(b"1"))
    rig.fake.driver.on_end = nothing
    rig.ws.close()
    await settled()
    assert log == [b"1"]
    rig = Rig(nursery, WebSocketHandler(ping=log.quick))
    rig.feed(Ping(b"2"))
    rig.ws.close()
    await settled()
    assert log == [b"1"]


# Sessions


async def read_all(ws: Socket, log: Log) -> None:
    log.append("session begins")
    async for message in ws:
        log.append(message)
    log.append("session ends")


class SessionRig(Rig):
    """A rig whose socket reads from its dispatcher."""

    def __init__(self, nursery: trio.Nursery, handler: WebSocketHandler[Any]) -> None:
        super().__init__(nursery, handler)
        self.fake.driver.receive = self.dispatcher.receive  # type: ignore[method-assign,assignment]
        self.dispatcher.opened()


@pytest.mark.parametrize("open_kind", [None, "plain", "async"])
async def test_a_session_begins_after_open_and_reads_the_messages_in_order(
    nursery: trio.Nursery, open_kind: str | None
) -> None:
    log = Log()

    async def session(ws: Socket) -> None:
        await read_all(ws, log)

    opens: dict[str | None, Any] = {None: None, "plain": log.plain, "async": log.quick}
    rig = SessionRig(nursery, WebSocketHandler(open=opens[open_kind], session=session))
    rig.ws.binary_type = "bytearray"
    rig.feed("a", b"b")
    await settled()
    assert log == (["called"] if open_kind else []) + ["session begins", "a", b"b"]
    assert isinstance(log[-1], bytearray)
    assert rig.ws.statistics().messages_in == 2
    rig.dispatcher.input_ended()
    nursery.cancel_scope.cancel()


async def test_a_sessions_inbox_is_bounded_too(nursery: trio.Nursery) -> None:
    log = Log()
    gate = trio.Event()

    async def session(ws: Socket) -> None:
        await gate.wait()
        await read_all(ws, log)

    rig = SessionRig(nursery, WebSocketHandler(session=session, max_inbox=2))
    assert not rig.dispatcher.is_full
    assert rig.feed("a", "b", "c") == ["c"]
    assert rig.dispatcher.is_full
    await settled()
    gate.set()
    await settled()
    assert log == ["session begins", "a", "b"]
    assert rig.room_made == 2
    nursery.cancel_scope.cancel()


async def test_when_a_session_returns_the_connection_closes_with_1000(nursery: trio.Nursery) -> None:
    async def session(ws: Socket) -> None:
        await ws.send_wait("bye")

    rig = SessionRig(nursery, WebSocketHandler(session=session))
    await settled()
    assert rig.fake.sink.written == text_frame(b"bye") + close_frame(1000, "")


@pytest.mark.parametrize("has_error", [False, True])
async def test_when_a_session_raises_the_connection_closes_with_1011(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, has_error: bool
) -> None:
    log = Log()
    rig = SessionRig(nursery, WebSocketHandler(session=failing_async, error=log.error if has_error else None))
    await settled()
    assert rig.fake.sink.written == close_frame(1011, "Internal server error")
    assert [type(exc) for exc in log] == [Boom] * has_error
    assert exceptions(caplog) == [Boom] * (not has_error)


@pytest.mark.parametrize("has_error", [False, True])
async def test_when_a_session_raises_that_another_connection_is_closed_its_own_closes_too(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, has_error: bool
) -> None:
    async def session(_ws: Socket) -> None:
        await trio.lowlevel.checkpoint()
        raise ConnectionClosed(None, None)

    log = Log()
    rig = SessionRig(nursery, WebSocketHandler(session=session, error=log.error if has_error else None))
    await settled()
    assert rig.fake.sink.written == close_frame(1011, "Internal server error")
    assert len(log) + len(caplog.records) == 1


@pytest.mark.parametrize("in_group", [False, True])
@pytest.mark.parametrize("has_error", [False, True])
async def test_a_session_whose_peer_has_vanished_is_told_to_error_and_logged_by_nobody(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, has_error: bool, in_group: bool
) -> None:
    log = Log()

    async def session(ws: Socket) -> None:
        if in_group:
            async with trio.open_nursery() as inner:
                inner.start_soon(read_all, ws, log)
        else:
            await read_all(ws, log)

    rig = SessionRig(nursery, WebSocketHandler(session=session, error=log.error if has_error else None))
    rig.feed("a")
    rig.dispatcher.input_ended()
    rig.ws._begin_abort(LOST)
    await settled()
    assert log[:1] == ["session begins"]
    assert len(log[1:]) == has_error
    assert not caplog.records


async def test_a_session_that_fails_with_more_than_the_closed_connection_is_logged(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    rig = SessionRig(nursery, WebSocketHandler(session=grouped(ConnectionClosed(None, None), Boom())))
    rig.ws._begin_abort(LOST)
    await settled()
    assert exceptions(caplog) == [ExceptionGroup]


async def test_what_came_before_the_peers_end_is_still_read_but_not_what_came_before_ours(
    nursery: trio.Nursery,
) -> None:
    for by_peer in (True, False):
        log = Log()

        async def session(ws: Socket, log: Log = log) -> None:
            await read_all(ws, log)

        rig = SessionRig(nursery, WebSocketHandler(session=session))
        rig.feed("a")
        await settled()
        rig.feed("b", "c")
        if by_peer:
            rig.dispatcher.input_ended()
            rig.fake.driver.on_end = nothing
        rig.ws.close()
        await settled()
        assert log == ["session begins", "a", *(["b", "c"] if by_peer else []), "session ends"]


async def test_a_message_on_its_way_to_a_session_is_forgotten_by_our_close_too(nursery: trio.Nursery) -> None:
    log = Log()

    async def session(ws: Socket) -> None:
        await read_all(ws, log)

    rig = SessionRig(nursery, WebSocketHandler(session=session))
    await settled()
    rig.feed("a")
    rig.ws.close()
    await settled()
    assert log == ["session begins", "session ends"]


async def test_a_session_is_not_begun_on_a_socket_that_open_has_closed(nursery: trio.Nursery) -> None:
    log, sessions = Log(), Log()
    SessionRig(nursery, WebSocketHandler(open=lambda ws: ws.close(), session=sessions.quick))
    rig = SessionRig(nursery, WebSocketHandler(open=log.waiting, session=sessions.quick))
    await settled()
    rig.ws.close()
    log.gate("called").set()
    await settled()
    assert log == ["called begins", "called ends"]
    assert sessions == []


async def test_a_session_whose_open_failed_is_not_begun(nursery: trio.Nursery) -> None:
    log = Log()
    SessionRig(nursery, WebSocketHandler(open=failing, session=log.quick, error=log.error))
    SessionRig(nursery, WebSocketHandler(open=failing_async, session=log.quick, error=log.error))
    await settled()
    assert [type(entry) for entry in log] == [Boom, Boom]


async def test_a_reload_does_not_touch_a_session_running_or_about_to(nursery: trio.Nursery) -> None:
    log, other = Log(), Log()

    async def session(ws: Socket) -> None:
        await read_all(ws, log)

    rig = SessionRig(nursery, WebSocketHandler(open=log.waiting, session=session))
    await settled()
    rig.fake.slot.swap(WebSocketHandler(open=other.plain, message=other.plain))
    rig.feed("a")
    log.gate("called").set()
    await settled()
    rig.feed("b")
    await settled()
    assert log[2:] == ["session begins", "a", "b"]
    assert other == []
    nursery.cancel_scope.cancel()


async def test_iterating_without_a_session_is_a_runtime_error(nursery: trio.Nursery) -> None:
    rig = SessionRig(nursery, WebSocketHandler())
    with pytest.raises(RuntimeError, match="session"):
        await rig.dispatcher.receive()


# The end


async def test_after_our_close_messages_that_wait_are_forgotten(nursery: trio.Nursery) -> None:
    log = Log()
    rig = Rig(nursery, WebSocketHandler(message=log.waiting, max_inbox=2))
    rig.feed("a", "b")
    await settled()
    rig.feed("c")
    rig.ws.close()
    assert not rig.dispatcher.is_full
    log.gate("a").set()
    await settled()
    assert log == ["a begins", "a ends"]
    rig = Rig(nursery, WebSocketHandler(message=log.waiting))
    rig.feed("d")
    rig.ws.terminate()
    await settled()
    assert log == ["a begins", "a ends"]


async def test_the_close_handler_gets_code_and_reason(nursery: trio.Nursery) -> None:
    calls: list[object] = []

    def close(ws: Socket, code: int, reason: str) -> None:
        calls.append((ws, code, reason))

    async def async_close(ws: Socket, code: int, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        close(ws, code, reason)

    for handler in (close, async_close):
        rig = Rig(nursery, WebSocketHandler(close=handler))
        await rig.dispatcher.closed(CloseInfo(4000, "why", None, None), 1)
        assert calls == [(rig.ws, 4000, "why")]
        calls.clear()
    await Rig(nursery, WebSocketHandler()).dispatcher.closed(LOST, 1)


@pytest.mark.parametrize("close", [failing, failing_async, grouped(Boom())])
async def test_an_exception_in_close_is_logged(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, close: Callable[..., object]
) -> None:
    log = Log()
    await Rig(nursery, WebSocketHandler(close=close, error=log.error)).dispatcher.closed(LOST, 1)
    assert len(exceptions(caplog)) == 1
    assert caplog.records[0].levelno == logging.ERROR
    assert log == []


async def test_an_async_close_has_its_time_and_no_more(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    log = Log()

    async def close(*_: object) -> None:
        await trio.sleep(4)
        log.append("half way")
        await trio.sleep(4)
        log.append("never")

    await Rig(nursery, WebSocketHandler(close=close)).dispatcher.closed(LOST, 5)
    assert log == ["half way"]
    assert autojump_clock.current_time() == 5
