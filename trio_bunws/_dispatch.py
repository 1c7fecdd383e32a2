"""Calls one socket's handlers, plain ones at once and `async` ones in tasks beside the reader; and deals with failures.

`open`, messages and `close` run one at a time and in order; `drain`, `ping` and `pong` run beside them, each never
overlapping itself. `_connection.py` says what happened; nothing here reads, writes or decides about the connection but
for closing it when a handler failed.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, Literal, TypeVar, cast

import trio

from trio_bunws._app_calls import interruptible, interruptibly, refuse_awaitable, without_failures
from trio_bunws._close import CloseFrame
from trio_bunws._errors import ConnectionClosed
from trio_bunws._lane import Inbox, Lane, size_of
from trio_bunws._log_fields import of_request
from trio_bunws._status import OPEN
from trio_bunws._tasks import Role, TaskGroup
from trio_bunws._topics import OVER
from trio_bunws._wire.events import Ping, Pong

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from trio_bunws._close import CloseInfo
    from trio_bunws._handlers import Calls, HandlerSlot, Session
    from trio_bunws._websocket import ServerWebSocket
    from trio_bunws._wire.events import Event

T = TypeVar("T")
logger = logging.getLogger("trio_bunws.websocket")
FAILED: Final = CloseFrame(1011, "Internal server error")
"""What is sent when a handler has failed."""
NO_SESSION: Final = "async for over a socket needs WebSocketHandler(session=...)"


class Dispatcher(Generic[T]):
    """The handlers of one socket, at work."""

    __slots__ = (
        "_beside",
        "_discarding",
        "_first",
        "_lane",
        "_made_room",
        "_resumed",
        "_session",
        "_slot",
        "_tasks",
        "_ws",
    )

    def __init__(
        self, ws: ServerWebSocket[T], slot: HandlerSlot[T], tasks: TaskGroup, made_room: Callable[[], None]
    ) -> None:
        """`made_room` is called when something that had no room may have it now."""
        self._ws: Final = ws
        self._slot: Final = slot
        self._tasks: Final = tasks
        self._made_room: Final = made_room
        # Its jobs: the `Calls` whose `open` is to run, messages, and exceptions for an `async` error handler.
        self._lane: Lane[Calls[T] | str | bytes | Exception] | None = None
        self._first: Calls[T] | Exception | None = None  # the job that no close may discard, while it waits
        self._discarding = False
        self._resumed: trio.Event | None = None  # while a message waits for the end of a pause
        self._beside: dict[str, Lane[tuple[bytes, ...]]] | None = None  # of "drain", "ping" and "pong"
        self._session: Inbox[str | bytes | bytearray | memoryview] | None = None  # where it reads, if there is one

    # What the connection reports

    def opened(self) -> None:
        """The connection is open: call `open`, then start the session if there is one."""
        calls = self._slot.calls
        if calls.session is not None:
            self._session = Inbox(self._slot.handler.max_inbox, self._made_room)
        if calls.open_async:
            self._post_first(calls)
            return
        if calls.open is not None:
            try:
                refuse_awaitable(interruptible(calls.open, self._ws))
            except Exception as exc:
                self._close_failed()
                self._failed(exc)
                return
        self._begin_session(calls)

    @trio.lowlevel.disable_ki_protection  # as `interruptible`, without a call for each message
    def consume(self, events: Iterator[Event]) -> Event | None:
        """Call plain message handlers as long as that is all there is to do.

        Returns the first event that is something else (a message that must wait goes to `deliver`), or `None` when
        there are no more events or a handler paused the socket.
        """
        ws = self._ws
        slot = self._slot
        lane = self._lane
        busy = self._session is not None or (lane is not None and lane.busy)  # `_busy`, without a call for each read
        count = 0
        try:
            # Every line of this loop is paid for every message.
            for event in events:
                calls = slot.calls
                handler: Callable[..., object] | None
                message: object = event
                if type(event) is str:
                    handler = calls.text
                    if busy or calls.text_async or ws._state is not OPEN:
                        return event
                elif type(event) is bytes:
                    handler = calls.binary
                    if busy or calls.binary_async or ws._state is not OPEN:
                        return event
                    if ws._binary_type != "bytes":
                        message = self._ws._converted(event)
                else:
                    return event
                count += 1
                if handler is None:
                    continue
                try:
                    result = handler(ws, message)  # type: ignore[arg-type]  # the kinds of both agree
                    if result is not None:
                        refuse_awaitable(result)
                except Exception as exc:
                    self._failed(exc)
                    busy = self._busy
                if ws._paused and ws._state is OPEN:
                    return None
        finally:
            ws._messages_in += count
        return None

    def deliver(self, event: str | bytes | Ping | Pong) -> bool:
        """Give a message to its handler's task or to the session, or call the ping or pong handler.

        False: there is no room; deliver it again when `made_room` was called.
        """
        handler = self._slot.handler
        if isinstance(event, Ping):
            return self._notify("ping", event.data, handler.max_inbox)
        if isinstance(event, Pong):
            return self._notify("pong", event.data, handler.max_inbox)
        size = size_of(event)
        queue = self._lane if self._session is None else self._session
        if queue is not None and not queue.has_room(size, handler.max_inbox, handler.max_payload_length):
            return False
        self._ws._messages_in += 1
        if self._session is None:
            self._post(event, size)
        else:
            self._session.post(self._ws._converted(event), size)
        return True

    @property
    def is_full(self) -> bool:
        """No message of even one byte may wait, or `open` is still to be entered: it is time to stop reading."""
        if self._first is not None:
            return True
        queue = self._lane if self._session is None else self._session
        if queue is None:
            return False
        handler = self._slot.handler
        return not queue.has_room(1, handler.max_inbox, handler.max_payload_length)

    def has_room(self, ping: Ping) -> bool:
        """Whether `deliver` would take this ping."""
        if self._beside is None:
            return True
        lane = self._beside.get("ping")
        handler = self._slot.handler
        return lane is None or lane.has_room(len(ping.data), handler.max_inbox, handler.max_payload_length)

    def drained(self) -> None:
        """Unsent bytes have been written: call `drain`, unless the socket is still over its limit, or closing."""
        ws = self._ws
        if ws._state is OPEN and ws._outbox.pressure != OVER:
            # An async one that still runs at the next edge runs once more: one job waits, further edges are that one.
            self._notify("drain", b"", 1)

    def discard(self) -> None:
        """Our side closed: forget the messages, pings and pongs whose handling has not begun."""
        self._discarding = True
        if self._lane is not None:
            self._lane.discard()
            if self._first is not None:
                self._post(self._first, 0)  # back again: it has to be done all the same
        if self._session is not None:
            self._session.discard()
            self._session.close()

    def resumed(self) -> None:
        """A pause, or the connection, is over."""
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None

    def input_ended(self) -> None:
        """No message will come any more; those that wait are still handled."""
        if self._session is not None:
            self._session.close()

    async def receive(self) -> str | bytes | bytearray | memoryview:
        """Return the session's next message, or raise `ConnectionClosed`. A checkpoint."""
        if self._session is None:
            raise RuntimeError(NO_SESSION)
        try:
            return await self._session.receive()
        except trio.EndOfChannel:
            raise self._ws._closed_error() from None

    async def closed(self, ending: CloseInfo, at_most: float) -> None:
        """The connection is over, no other handler runs: call `close`, an async one for at most so many seconds."""
        calls = self._slot.calls
        if calls.close is None:
            return
        args = self._ws, ending.code, ending.reason
        try:
            if calls.close_async:
                with trio.move_on_after(at_most):
                    await interruptibly(cast("Callable[..., Awaitable[None]]", calls.close), *args)
            else:
                refuse_awaitable(interruptible(calls.close, *args))
        except Exception:
            logger.exception("the close handler failed", extra=of_request(self._ws.request, close_code=ending.code))

    async def report(self, exc: Exception) -> None:
        """Give an exception to the `error` handler; without one log it and close with 1011."""
        calls = self._slot.calls
        if calls.error is None or not calls.error_async:
            self._failed(exc)
            return
        try:
            await cast("Awaitable[None]", calls.error(exc, self._ws))
        except Exception:
            logger.exception("the error handler failed", extra=of_request(self._ws.request))
        except BaseExceptionGroup as group:
            raise without_failures(group) from None

    # How it is done

    @property
    def _busy(self) -> bool:
        """Messages must wait: `open` or a message handler runs in its task, or a session reads them."""
        return self._session is not None or (self._lane is not None and self._lane.busy)

    def _post_first(self, job: Calls[T] | Exception) -> None:
        """Queue a job that has to be done even if the socket closes; none is being done and none waits."""
        self._first = job
        self._post(job, 0)

    def _post(self, job: Calls[T] | str | bytes | Exception, size: int) -> None:
        """Queue a job behind `open` and the messages before it."""
        if self._lane is None:
            self._lane = Lane(self._do, partial(self._tasks.start_soon, Role.HANDLER), self._made_room)
        self._lane.post(job, size, self._slot.handler.max_inbox)

    async def _do(self, job: Calls[T] | str | bytes | Exception) -> None:
        while self._ws._paused and self._ws._state is OPEN and isinstance(job, (str, bytes)):
            self._resumed = trio.Event()
            await self._resumed.wait()
            if self._discarding:
                return
        calls = self._slot.calls
        if isinstance(job, str):
            await self._call(calls.text, calls.text_async, job)
        elif isinstance(job, bytes):
            await self._call(calls.binary, calls.binary_async, self._ws._converted(job))
        else:
            self._first = None
            if isinstance(job, Exception):
                await self.report(job)
            else:
                await self._open(job)

    async def _open(self, calls: Calls[T]) -> None:
        """Run an `async` open handler, in its task."""
        try:
            await cast("Callable[[ServerWebSocket[T]], Awaitable[None]]", calls.open)(self._ws)
        except Exception as exc:
            self._close_failed()  # first: an error handler may take its time, or close with another code
            await self.report(exc)
        except BaseExceptionGroup as group:
            raise without_failures(group) from None
        else:
            self._begin_session(calls)

    async def _call(self, handler: Callable[..., object] | None, is_async: bool, *args: object) -> None:
        """Call a handler in its task."""
        if handler is None:  # reloaded since
            return
        try:
            if is_async:  # called and awaited in one line, so that Ctrl-C does not come between
                await cast("Callable[..., Awaitable[object]]", handler)(self._ws, *args)
            else:
                refuse_awaitable(handler(self._ws, *args))
        except Exception as exc:
            await self.report(exc)
        except BaseExceptionGroup as group:
            raise without_failures(group) from None

    def _notify(self, kind: Literal["drain", "ping", "pong"], data: bytes, max_jobs: int) -> bool:
        """Call a handler that runs beside the messages; False: it is async, busy, and enough wait already."""
        calls = self._slot.calls
        handler: Callable[..., object] | None = getattr(calls, kind)
        if handler is None:
            return True
        args = () if kind == "drain" else (data,)
        # An async error handler is awaited, so then a plain handler needs a task as well.
        if not getattr(calls, f"{kind}_async") and not calls.error_async:
            try:
                with self._ws.corked():
                    refuse_awaitable(interruptible(handler, self._ws, *map(self._ws._converted, args)))
            except Exception as exc:
                if self._slot.calls.error_async:
                    # It has just loaded this one. The messages' lane may be full, or may hold the first job already.
                    self._tasks.start_soon(Role.HANDLER, partial(self.report, exc))
                else:
                    self._failed(exc)
            return True
        if self._beside is None:
            self._beside = {}
        lane = self._beside.get(kind)
        if lane is None:
            lane = Lane(partial(self._do_beside, kind), partial(self._tasks.start_soon, Role.HANDLER), self._made_room)
            self._beside[kind] = lane
        if not lane.has_room(len(data), max_jobs, self._slot.handler.max_payload_length):
            return False
        lane.post(args, len(data), max_jobs)
        return True

    async def _do_beside(self, kind: Literal["drain", "ping", "pong"], args: tuple[bytes, ...]) -> None:
        # Begun late, after a close: pings that came before the peer's are still handled, but nothing drains any more.
        if self._discarding or (kind == "drain" and self._ws._state is not OPEN):
            return
        calls = self._slot.calls
        await self._call(getattr(calls, kind), getattr(calls, f"{kind}_async"), *map(self._ws._converted, args))

    def _begin_session(self, calls: Calls[T]) -> None:
        """Start the session of the handler that the socket was opened with, even if another was loaded since."""
        if calls.session is not None and self._ws._state is OPEN:
            self._tasks.start_soon(Role.HANDLER, partial(self._run_session, calls.session))

    async def _run_session(self, session: Session[T]) -> None:
        try:
            await session(self._ws)
        except Exception as exc:
            # The ordinary end of an iteration whose peer has vanished is worth a word only to who asks for it.
            if self._slot.calls.error is not None or self._ws._state is OPEN or not is_closing(exc):
                await self.report(exc)
            self._close_failed()
        except BaseExceptionGroup as group:
            raise without_failures(group) from None
        else:
            self._ws._begin_close(CloseFrame(1000, ""))

    def _failed(self, exc: Exception) -> None:
        """Deal with an exception where nothing can be awaited."""
        calls = self._slot.calls
        if calls.error is None:
            fields = of_request(self._ws.request, close_code=FAILED.code)
            logger.error("a handler failed; closing the socket with 1011", exc_info=exc, extra=fields)
            self._close_failed()
        elif calls.error_async:
            # Only `open` and messages come here, and only while nothing is in the lane.
            self._post_first(exc)
        else:
            try:
                refuse_awaitable(interruptible(calls.error, exc, self._ws))
            except Exception:
                logger.exception("the error handler failed", extra=of_request(self._ws.request))

    def _close_failed(self) -> None:
        self._ws._begin_close(FAILED)


def is_closing(exc: Exception) -> bool:
    """Whether an exception, or every one in a group, is a `ConnectionClosed`."""
    if isinstance(exc, ExceptionGroup):
        return exc.split(ConnectionClosed)[1] is None
    return isinstance(exc, ConnectionClosed)
