"""The life of one WebSocket after its handshake: reading, the writer task, the close handshake, the end.

Its own task is there only while something is waited for that no poller sees; others are started at need. Handlers are
`_dispatch.py`'s, frames the codec's, deadlines the sweeper's; here is decided what each event means, on both sides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import attrs
import trio

from trio_bunws._close import ABNORMAL, CloseFrame
from trio_bunws._endpoint import Endpoint
from trio_bunws._status import OPEN, ReadyState
from trio_bunws._tasks import Role, TaskGroup
from trio_bunws._wire.codec import Codec
from trio_bunws._wire.compression import inflater
from trio_bunws._wire.events import Close, Failure, Ping
from trio_bunws._wire.frames import pong_frame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_bunws._dispatch import Dispatcher
    from trio_bunws._engine import Engine
    from trio_bunws._reception import Reception
    from trio_bunws._transport import Transport
    from trio_bunws._wire.compression import Agreement
    from trio_bunws._wire.events import Event

T = TypeVar("T")
E = TypeVar("E", bound=Endpoint)
D = TypeVar("D", bound="Dispatcher[Any] | Reception")
EVENTS_PER_TURN: Final = 2048
"""Messages of one read that are handled before others have their turn; a read may hold ten thousand."""
TURN: Final = 0.01
"""Seconds after which they have it in any case, for handlers that are slow."""
EVENTS_PER_LOOK: Final = 256
"""Messages between two looks at the clock."""
MAX_CLOSING: Final = 60.0
"""Seconds that a close may take in all when `idle_timeout` is off."""


class Connection(ABC, Generic[T, E, D]):
    """One WebSocket: its endpoint's `Driver`, watched by the sweeper. Subclasses set `ws` and `_dispatcher`.

    You must call `run`, in a task; or `begin`, and then `go_on` whenever a task is needed.
    """

    __slots__ = (
        "_bell",
        "_closing_since",
        "_codec",
        "_context",
        "_dispatcher",
        "_engine",
        "_heard",
        "_held",
        "_input_over",
        "_pending",
        "_progressed",
        "_rouse",
        "_tasks",
        "_transport",
        "_wait",
        "ws",
    )

    ws: E
    _dispatcher: D

    def __init__(
        self,
        transport: Transport,
        engine: Engine[T],
        agreement: Agreement | None,
        *,
        client: bool = False,
        rouse: Callable[[], None] | None = None,
    ) -> None:
        """`rouse` starts a task that calls `go_on`; without it there is a task all the time."""
        self._transport: Final = transport
        self._engine: Final = engine
        limits = engine.slot.handler.max_payload_length, engine.limits.max_fragments
        self._codec: Final = Codec(*limits, client=client, inflater=inflater(agreement, client=client))
        self._tasks: Final = TaskGroup(engine.nursery)
        self._pending: Event | None = None  # decoded, and for want of room not delivered
        self._held: trio.Event | None = None  # while a pause or a full inbox keeps us from reading
        self._input_over = False
        self._wait: Callable[[], Awaitable[None]] | None = None  # for what, before the rest of the input is handled
        self._bell: trio.MemorySendChannel[None] | None = None  # the writer's, while there is one
        self._context = trio.lowlevel.current_task().context  # the handlers'
        self._heard = self._progressed = self._closing_since = trio.current_time()
        self._rouse = rouse

    def run(self, response: bytes, trailing: bytes) -> Awaitable[bool]:
        """`begin`, and serve until all is over, or (True) until this task is needed no more: `go_on` in the next."""
        return self._serve(partial(self.begin, response, trailing))

    def go_on(self) -> Awaitable[bool]:
        """As `run`, for a connection that has begun. Raises what handling its input without a task has raised."""
        return self._serve(self._transport.outcome)

    async def _serve(self, first: Callable[[], None]) -> bool:
        self._context = trio.lowlevel.current_task().context
        goes_on = False
        try:
            first()
            del first  # with what had come behind the handshake: it would be held for the life of the connection
            goes_on = await self._read()
            if not goes_on:
                await self._write_rest()
        finally:
            if not goes_on:
                # Three times: handlers may still run, then be slow to be cancelled, then comes an async close handler.
                at_most = self._engine.limits.close_timeout
                with trio.CancelScope(deadline=trio.current_time() + 3 * at_most, shield=True):
                    await self._finish(at_most)
        return goes_on

    def begin(self, response: bytes, trailing: bytes) -> None:
        """Send `response` to a client's handshake, if we are the server, and handle `trailing`, which came behind it.

        If this raises, `go_on` must be called all the same: it raises that again, and ends the connection.
        """
        self._engine.connections.add(self)
        self._listen()
        self._codec.feed(trailing)
        outbox = self.ws._outbox
        outbox.corks += 1
        try:
            if response:
                outbox.push_raw(response)
            self._dispatcher.opened()
            if self._engine.closing is not None:
                self.ws._begin_close(self._engine.closing)  # its upgrade was granted before
        finally:
            outbox.corks -= 1
            outbox.flush()
        self._wait = self._digest()

    # Reading

    async def _read(self) -> bool:
        """Read until no more input matters: the peer has closed, is at fault or gone. True: the poller reads on."""
        more = True
        while more:
            self.flush()
            if self._wait is not None:
                await self._wait()
                self._listen()
                self._wait = self._digest()
                continue
            if self._input_over:
                return False
            if self._rouse is not None and self._transport.attend(self, self._context, self._rouse):
                return True
            try:
                more = await self._transport.pump(self)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                more = False
        self._end_input()
        if self.ws._state is OPEN:
            self.ws._begin_abort(ABNORMAL)
        return False

    def absorb(self, data: bytes) -> bool:
        """Handle what was read; False: `_read` is to go on, for something is to be waited for, or input is over."""
        self._heard = trio.current_time()
        self.ws._bytes_in += len(data)
        self._codec.feed(data)
        self._wait = self._digest()
        return self._wait is None and not self._input_over

    def flush(self) -> None:
        """Write what the handlers of what was read have sent."""
        self.ws._outbox.flush()

    def _digest(self) -> Callable[[], Awaitable[None]] | None:
        """Handle what was fed; what that sends waits for `flush`. Return what to wait for before the rest, if any."""
        ws = self.ws
        outbox, dispatcher = ws._outbox, self._dispatcher
        events = self._codec.events()
        until = self._heard + TURN  # `_heard` is when this was read: to ask the clock again takes 0.15 us
        handled, look_at = 0, EVENTS_PER_LOOK
        outbox.corks += 1
        try:
            while not self._input_over:
                if ws._state is OPEN and (ws._paused or dispatcher.is_full):
                    return self._hold()
                if handled >= look_at:
                    if handled >= EVENTS_PER_TURN or trio.current_time() >= until:
                        return trio.lowlevel.checkpoint
                    look_at = handled + EVENTS_PER_LOOK
                event, self._pending = self._pending, None
                if event is None:
                    handled -= ws._messages_in
                    event = dispatcher.consume(islice(events, EVENTS_PER_LOOK))
                    handled += ws._messages_in
                    if event is None:
                        if handled >= look_at:
                            continue  # there may be more
                        if ws._paused and ws._state is OPEN:
                            return self._hold()
                        # All is handled, unless decompressing it has taken the time of a turn.
                        return trio.lowlevel.checkpoint if self._codec.begin_turn() else None
                handled += 1
                if not self._take(event):
                    self._pending = event
                    return self._hold()
            return None
        finally:
            outbox.corks -= 1

    def _take(self, event: Event) -> bool:
        """Handle one event; False if it must wait."""
        ws = self.ws
        if isinstance(event, Close):
            self._peer_closed(CloseFrame(event.code, event.reason))
        elif isinstance(event, Failure):
            self._end_input()
            ws._begin_close(CloseFrame(event.code, event.reason))
        elif ws._state is OPEN:
            if isinstance(event, Ping):
                if not self._dispatcher.has_room(event):
                    return False
                ws._outbox.push_pong(pong_frame(event.data))
            return self._dispatcher.deliver(event)
        return True

    def _peer_closed(self, frame: CloseFrame) -> None:
        self._end_input()
        ws = self.ws
        if ws._state is OPEN:
            ws._begin_close(frame, received=frame)
        else:
            assert ws._ending is not None  # since it is no longer open
            ws._ending = attrs.evolve(ws._ending, received=frame)

    def _end_input(self) -> None:
        self._input_over = True
        self._dispatcher.input_ended()

    def _hold(self) -> Callable[[], Awaitable[None]]:
        """Return how to wait until a pause or a full inbox may be over. Such silence is ours, not the peer's."""
        self._held = trio.Event()  # not only when its task begins to wait: `release` may come before
        return self._held.wait

    def _listen(self) -> None:
        """Let the peer's silence begin now."""
        now = self._heard = trio.current_time()
        self._engine.sweeper.watch(self, self.look(now))

    # Writing

    @trio.lowlevel.enable_ki_protection
    async def _write(self, bell: trio.MemoryReceiveChannel[None]) -> None:
        """Write what the transport refused, as it takes it; the body of the writer task."""
        outbox = self.ws._outbox
        try:
            while True:
                while outbox.has_work:
                    settled = await self._transport.settle()
                    self._progressed = trio.current_time()
                    if not settled:
                        self._heard = self._progressed
                    elif outbox.write_more() and not outbox.broken:
                        # The peer reads: bytes that had been refused were taken. (The first ones any kernel takes.)
                        self._heard = self._progressed
                        self._dispatcher.drained()
                if self._transport.direct:
                    return  # the next refusal starts a new writer: an idle socket owns none
                await bell.receive()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            outbox.fail()
        finally:
            self._bell = None

    async def _write_rest(self) -> None:
        """Let everything accepted leave, the Close frame last; `look` aborts what takes too long."""
        while not self.ws._outbox.empty:
            await self.ws._outbox.wait_change()
        await self._transport.send_eof()

    # The end

    async def _finish(self, at_most: float) -> None:
        """Whatever happened: end tasks and handlers, and call the close handler."""
        engine, ws = self._engine, self.ws
        ending = ws._end()
        engine.sweeper.watch(self, None)
        try:
            self._end_input()
            if len(self._tasks) > (self._bell is not None):  # more than the writer
                ws._tell_closed()  # a handler may wait for it, and `end` for the handler
            try:
                await self._tasks.end(at_most)
            finally:  # also if the loop was held for so long that all of the time for this is over
                ws._tell_closed()  # who waits goes on after this step, so a plain close handler has been called then
                await self._dispatcher.closed(ending, at_most)  # noqa: ASYNC102  # `Run` shields it
        finally:
            engine.connections.discard(self)
            engine.totals.add(ws.statistics())
            self._ended()

    def _ended(self) -> None:
        """Let go of what a connection that is over needs no more; a subclass adds what is its own."""
        self._rouse = None

    # Deadlines

    def look(self, now: float) -> float | None:
        """Be `Watched`: do what is due at `now`, and return when to look again; `None`: when something changes."""
        ws = self.ws
        if ws._state is not OPEN or ws._outbox.broken:
            return self._look_at_end(now)
        we_listen = not ws._paused and self._held is None
        return self._look_at_peer(now) if we_listen else None

    @abstractmethod
    def _look_at_peer(self, now: float) -> float | None:
        """Ping a silent peer, or give it up; return when to look again."""

    def _look_at_end(self, now: float) -> float | None:
        """Abort what takes too long to end; return when to look again."""
        ws = self.ws
        if ws._lost or ws._state is ReadyState.CLOSED:
            return None
        if now < (deadline := self._end_deadline()):
            return deadline
        if ws._state is OPEN:
            self._end_input()  # the connection is lost, we have not closed it: what was received is still handled
        ws._begin_abort(ABNORMAL)
        return None

    def _end_deadline(self) -> float:
        engine = self._engine
        timeout = engine.limits.close_timeout
        if self.ws._state is OPEN:  # nothing can be written any more, but the reader may find what the peer had sent
            return max(self._heard, self._progressed) + timeout
        if engine.close_by is not None:
            return engine.close_by
        longest = engine.slot.handler.idle_timeout or MAX_CLOSING
        return min(self._progressed + timeout, self._closing_since + longest)

    # What the socket asks of us

    def writer_needed(self) -> None:
        """See that a writer runs, and wake it."""
        if self._bell is None:
            self._bell, bell = trio.open_memory_channel[None](1)
            # The drain handler runs there: in the context of the other handlers, whoever has sent too much.
            self._context.copy().run(self._tasks.start_soon, Role.SERVICE, partial(self._write, bell))
        else:
            with suppress(trio.WouldBlock):  # it has been rung already
                self._bell.send_nowait(None)

    def close_begun(self) -> None:
        """Watch over the close, and let the reader read on, to discard."""
        self._closing_since = self._progressed = trio.current_time()
        if not self._input_over:
            self._dispatcher.discard()
        self._engine.sweeper.watch(self, self._end_deadline())
        self.release()
        self._dispatcher.resumed()

    def abort(self) -> None:
        """End the transport; the reader finds out."""
        if not self._input_over:
            self._dispatcher.discard()
        self._transport.abort()
        self.release()
        self._dispatcher.resumed()

    def resumed(self) -> None:
        """Read on after a pause."""
        self.release()
        self._dispatcher.resumed()
        self._listen()

    def write_failed(self) -> None:
        """Expect the reader to find the end of the stream, and give up if it does not."""
        self._progressed = trio.current_time()
        self._engine.sweeper.watch(self, self.look(self._progressed))

    def release(self) -> None:
        """Let a reader that is held look again."""
        if self._held is not None:
            self._held.set()
            self._held = None

    async def receive(self) -> str | bytes | bytearray | memoryview:
        """Return the session's next message, or raise `ConnectionClosed`."""
        return await self._dispatcher.receive()
