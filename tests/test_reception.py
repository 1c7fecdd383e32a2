"""A client's inbox and events alone: what waits, what is told, and what becomes of both when the connection ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from engine_fakes import FakeEndpoint

from trio_bunws import (
    CloseEvent,
    CloseInfo,
    ConnectionClosed,
    ErrorEvent,
    MessageEvent,
    OpenEvent,
    RemoteProtocolError,
    WebSocket,
)
from trio_bunws._announcer import Announcer
from trio_bunws._client_events import Listeners
from trio_bunws._close import CloseFrame
from trio_bunws._reception import Reception
from trio_bunws._wire.events import Event, Ping, Pong

if TYPE_CHECKING:
    from collections.abc import Iterator


WS = WebSocket("ws://h/")


class Made:
    """A reception for a socket that no one reads for, and how often it made room."""

    def __init__(self, max_inbox: int = 2, max_bytes: int = 10) -> None:
        self.room = 0
        self.ws = FakeEndpoint().ws
        self.listeners = Listeners()
        self.told: list[object] = []
        self.jobs: list[object] = []
        """What the announcer wants to run in a task; nobody does."""
        announcer = Announcer(
            self.listeners,
            max_inbox,
            max_bytes,
            spawn=self.jobs.append,
            made_room=self._made_room,
            failed=self.told.append,
        )
        self.reception = Reception(
            self.ws, WS, announcer, max_inbox=max_inbox, max_bytes=max_bytes, made_room=self._made_room
        )

    def _made_room(self) -> None:
        self.room += 1

    def listen(self, *types: str) -> None:
        for event_type in types:
            self.listeners.add(event_type, self.told.append)


async def never_ready(event: object) -> None: ...


async def test_messages_wait_in_order_and_are_counted() -> None:
    made = Made()
    assert made.reception.deliver("one")
    assert made.reception.deliver(b"two")
    assert made.ws.statistics().messages_in == 2
    assert [await made.reception.receive(), await made.reception.receive()] == ["one", b"two"]
    assert made.room == 2


async def test_no_more_than_so_many_wait() -> None:
    made = Made(max_inbox=1)
    assert not made.reception.is_full
    assert made.reception.deliver("x")
    assert made.reception.is_full
    assert not made.reception.deliver("y")
    await made.reception.receive()
    assert made.reception.deliver("y")


@pytest.mark.parametrize("message", ["x" * 8, "\u00e4" * 4, b"x" * 8])
async def test_no_more_than_so_many_bytes_wait(message: str | bytes) -> None:
    made = Made(max_inbox=9)
    assert made.reception.deliver("123")
    assert not made.reception.deliver(message)
    await made.reception.receive()
    assert made.reception.deliver(message)


async def test_binary_messages_are_converted() -> None:
    made = Made()
    made.ws.binary_type = "bytearray"
    made.reception.deliver(b"x")
    assert type(await made.reception.receive()) is bytearray


async def test_events_are_handed_on_and_control_frames_are_nobody_s() -> None:
    made = Made()
    reception = made.reception
    reception.announce_opening()
    reception.opened()
    reception.drained()
    events: Iterator[Event] = iter([Ping(b""), "x"])
    assert reception.consume(events) == Ping(b"")
    assert reception.consume(events) == "x"
    assert reception.consume(events) is None
    assert reception.has_room(Ping(b""))
    assert reception.deliver(Ping(b""))
    assert reception.deliver(Pong(b""))
    assert made.ws.statistics().messages_in == 0


async def test_what_waits_is_still_received_after_the_peer_s_end() -> None:
    made = Made()
    made.reception.deliver("last")
    made.reception.input_ended()
    assert await made.reception.receive() == "last"
    with pytest.raises(ConnectionClosed):
        await made.reception.receive()
    await made.reception.closed(CloseInfo(1006, "", None, None), 1)


async def test_what_waits_is_forgotten_after_our_own() -> None:
    made = Made()
    made.reception.deliver("x")
    made.reception.discard()
    with pytest.raises(ConnectionClosed) as caught:
        await made.reception.receive()
    assert caught.value.code == 1006


async def test_an_end_wakes_who_waits() -> None:
    made = Made()

    async def receive() -> None:
        with pytest.raises(ConnectionClosed):
            await made.reception.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        made.reception.input_ended()


async def test_listeners_are_told_instead() -> None:
    made = Made()
    made.listen("open", "message", "ping", "pong")
    made.ws.binary_type = "bytearray"
    made.reception.announce_opening()
    for event in ("text", b"x", Ping(b"i"), Pong(b"o")):
        assert made.reception.deliver(event)
    assert made.told == [
        OpenEvent(WS),
        MessageEvent(WS, "text"),
        MessageEvent(WS, b"x"),
        MessageEvent(WS, b"i", "ping"),
        MessageEvent(WS, b"o", "pong"),
    ]
    assert [type(event.data) for event in made.told[2:]] == [bytearray] * 3  # type: ignore[attr-defined]
    assert made.ws.statistics().messages_in == 2
    made.reception.input_ended()
    with pytest.raises(ConnectionClosed):
        await made.reception.receive()


async def test_where_an_async_listener_is_behind_nothing_more_is_taken() -> None:
    made = Made(max_inbox=1)
    made.listeners.add("message", never_ready)
    made.listeners.add("ping", never_ready)
    assert made.reception.has_room(Ping(b""))
    assert made.reception.deliver("one")
    assert len(made.jobs) == 1
    assert made.reception.is_full
    assert not made.reception.deliver("two")
    assert not made.reception.has_room(Ping(b""))
    assert not made.reception.deliver(Ping(b""))
    assert made.ws.statistics().messages_in == 1


@pytest.mark.parametrize(
    ("ending", "was_clean"),
    [
        (CloseInfo(4000, "bye", CloseFrame(4000, "bye"), CloseFrame(4000, "bye")), True),
        (CloseInfo(1005, "", CloseFrame(1005, ""), None), False),
        (CloseInfo(1006, "", None, None), False),
    ],
)
async def test_the_end_is_told_with_whether_it_was_clean(ending: CloseInfo, was_clean: bool) -> None:
    made = Made()
    made.listen("close", "error")
    await made.reception.closed(ending, 1)
    assert made.told == [CloseEvent(WS, ending.code, ending.reason, was_clean)]


async def test_a_broken_protocol_is_told_before_the_end() -> None:
    made = Made()
    made.listen("close", "error")
    made.reception.failure = RemoteProtocolError("no", 1002)
    await made.reception.closed(CloseInfo(1002, "no", CloseFrame(1002, "no"), None), 1)
    assert made.told == [ErrorEvent(WS, made.reception.failure), CloseEvent(WS, 1002, "no", was_clean=False)]
