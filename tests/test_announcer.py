"""Listeners called alone: in order, one event at a time, with a bounded queue, and what becomes of their exceptions."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from trio_bunws import CloseEvent, MessageEvent, OpenEvent, WebSocket
from trio_bunws._announcer import Announcer, announce
from trio_bunws._client_events import Listeners

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

    from trio_bunws._client_events import ClientEvent

WS = WebSocket("ws://h/")
OPEN = OpenEvent(WS)
CLOSE = CloseEvent(WS, 1000, "", was_clean=True)


def message(data: str) -> MessageEvent:
    return MessageEvent(WS, data)


class Made:
    """An announcer, and what it has called."""

    def __init__(self, nursery: trio.Nursery, max_events: int = 2, max_bytes: int = 10) -> None:
        self.heard: list[object] = []
        self.failures: list[Exception] = []
        self.room = 0
        self.gate = trio.Event()
        """Async listeners wait for it."""
        self.listeners = Listeners()
        self.announcer = Announcer(
            self.listeners,
            max_events,
            max_bytes,
            spawn=nursery.start_soon,
            made_room=self._made_room,
            failed=self.failures.append,
        )

    def _made_room(self) -> None:
        self.room += 1

    def plain(self, event: ClientEvent) -> None:
        self.heard.append(event)

    async def waiting(self, event: ClientEvent) -> None:
        self.heard.append(("begun", event))
        await self.gate.wait()
        self.heard.append(("done", event))

    def listen(self, listener: Callable[[ClientEvent], object]) -> None:
        for name in ("open", "message", "close"):
            self.listeners.add(name, listener)


async def test_plain_listeners_are_called_at_once_in_their_order() -> None:
    async with trio.open_nursery() as nursery:
        made = Made(nursery)
        made.listen(made.plain)
        made.listeners.add("open", lambda event: made.heard.append(("second", event)))
        assert made.announcer.tell(OPEN, 0)
        assert made.heard == [OPEN, ("second", OPEN)]
        assert made.announcer.listens("open")
        assert not made.announcer.listens("ping")


async def test_async_listeners_are_awaited_one_event_at_a_time_and_plain_ones_wait_with_them() -> None:
    async with trio.open_nursery() as nursery:
        made = Made(nursery)
        made.listeners.add("open", made.waiting)
        made.listeners.add("message", made.plain)
        assert made.announcer.tell(OPEN, 0)
        assert made.announcer.tell(message("x"), 1)
        await trio.testing.wait_all_tasks_blocked()
        assert made.heard == [("begun", OPEN)]
        made.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert made.heard == [("begun", OPEN), ("done", OPEN), message("x")]
        assert made.announcer.tell(message("y"), 1)
        assert made.heard[-1] == message("y")


async def test_no_more_events_or_bytes_wait_than_allowed() -> None:
    async with trio.open_nursery() as nursery:
        made = Made(nursery)
        made.listen(made.waiting)
        assert made.announcer.tell(message("0"), 11)
        await trio.testing.wait_all_tasks_blocked()
        assert made.announcer.tell(message("1"), 4)
        assert not made.announcer.has_room(7)
        assert not made.announcer.tell(message("2" * 7), 7)
        assert made.announcer.tell(message("2"), 6)
        assert not made.announcer.tell(message(""), 0)
        before = made.room
        made.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert made.room > before
        assert made.announcer.has_room(7)


async def test_what_waits_is_forgotten_but_the_opening_is_told() -> None:
    async with trio.open_nursery() as nursery:
        made = Made(nursery)
        made.listen(made.waiting)
        made.gate.set()
        made.announcer.tell(OPEN, 0)
        made.announcer.tell(message("x"), 1)
        made.announcer.discard()
        await trio.testing.wait_all_tasks_blocked()
        assert made.heard == [("begun", OPEN), ("done", OPEN)]


async def test_an_exception_is_handed_on() -> None:
    failure = KeyError("mine")

    def fail(event: ClientEvent) -> None:  # noqa: ARG001
        raise failure

    async def fail_later(event: ClientEvent) -> None:  # noqa: ARG001
        await trio.lowlevel.checkpoint()
        raise failure

    async with trio.open_nursery() as nursery:
        made = Made(nursery)
        made.listeners.add("open", fail)
        made.listeners.add("message", fail_later)
        assert made.announcer.tell(OPEN, 0)
        assert made.failures == [failure]
        assert made.announcer.tell(message("x"), 1)
        await trio.testing.wait_all_tasks_blocked()
        assert made.failures == [failure, failure]


async def test_a_plain_listener_that_returns_an_awaitable_is_a_type_error() -> None:
    async with trio.open_nursery() as nursery:
        made = Made(nursery)
        made.listeners.add("open", lambda event: made.waiting(event))  # noqa: PLW0108  # a plain one, on purpose
        made.announcer.tell(OPEN, 0)
        assert isinstance(made.failures[0], TypeError)
        with pytest.raises(TypeError, match="async def"):
            await announce(made.listeners, OPEN)


async def test_a_cancelled_listener_s_failure_is_logged_and_the_cancellation_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def both(event: ClientEvent) -> None:  # noqa: ARG001
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("while cancelled")

    with caplog.at_level(logging.ERROR):
        async with trio.open_nursery() as nursery:
            made = Made(nursery)
            made.listeners.add("open", both)
            made.announcer.tell(OPEN, 0)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert made.failures == []
    assert "while it was being cancelled" in caplog.text


async def test_the_last_events_have_a_time_in_which_to_be_told(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        made = Made(nursery)
        made.listen(made.waiting)
        began = autojump_clock.current_time()
        await made.announcer.finish((CLOSE,), 3)
        assert autojump_clock.current_time() - began == 3
        assert made.heard == [("begun", CLOSE)]


async def test_the_last_events_are_told_one_after_the_other() -> None:
    async with trio.open_nursery() as nursery:
        made = Made(nursery)
        made.listen(made.waiting)
        made.gate.set()
        await made.announcer.finish((message("x"), CLOSE), 3)
        assert made.heard == [("begun", message("x")), ("done", message("x")), ("begun", CLOSE), ("done", CLOSE)]


async def test_in_a_hurry_nothing_is_waited_for(autojump_clock: MockClock) -> None:
    for hurried_before in (True, False):
        async with trio.open_nursery() as nursery:
            made = Made(nursery)
            made.listeners.add("close", made.plain)
            made.listen(made.waiting)
            if hurried_before:
                made.announcer.hurry()
            else:
                nursery.start_soon(make_haste, made.announcer)
            began = autojump_clock.current_time()
            await made.announcer.finish((CLOSE,), 3)
            assert autojump_clock.current_time() == began
            assert made.heard == [CLOSE, ("begun", CLOSE)]


async def make_haste(announcer: Announcer) -> None:
    await trio.testing.wait_all_tasks_blocked()
    announcer.hurry()
