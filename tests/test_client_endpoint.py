"""A client's endpoint alone, over a sink that takes everything: each frame is masked, and it closes as Bun's client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from engine_fakes import FakeDriver, FakeSink

from trio_bunws import MessageSent
from trio_bunws._client_endpoint import ClientEndpoint, closing_frame
from trio_bunws._close import CloseFrame
from trio_bunws._hub import Hub
from trio_bunws._wire.codec import Codec
from trio_bunws._wire.events import Close, Event, Ping, Pong
from trio_bunws._wire.frames import pong_frame

if TYPE_CHECKING:
    from trio.testing import MockClock


def endpoint(sink: FakeSink, driver: FakeDriver | None = None) -> ClientEndpoint:
    return ClientEndpoint(sink=sink, driver=driver or FakeDriver(), hub=Hub(), backpressure_limit=0, protocol="chat")


def decoded(data: bytes) -> list[Event]:
    """Decode as a server does, which refuses what is not masked."""
    codec = Codec(1 << 24, 9)
    codec.feed(data)
    return list(codec.events())


def test_every_kind_of_frame_is_masked_and_in_order() -> None:
    sink = FakeSink()
    ws = endpoint(sink)
    assert ws.send("text") == MessageSent(4)
    assert ws.send_binary(b"x" * 300) == 300
    assert ws.ping(b"p") == 1
    ws._outbox.push_pong(pong_frame(b"q"))
    ws.close_with(CloseFrame(4000, "bye"))
    expected = ["text", b"x" * 300, Ping(b"p"), Pong(b"q"), Close(4000, "bye")]
    assert decoded(b"".join(sink.writes)) == expected
    assert ws.protocol == "chat"


def test_unsent_frames_are_masked_too() -> None:
    sink = FakeSink()
    ws = endpoint(sink)
    sink.room = 0
    ws.send("one")
    ws._outbox.flush()
    assert ws.send("two") == -1
    assert ws.ping() == -1
    for data in (b"first", b"newest"):
        ws._outbox.push_pong(pong_frame(data))
    sink.room = 1000
    ws._outbox.write_more()
    assert decoded(b"".join(sink.writes)) == ["one", "two", Ping(b""), Pong(b"newest")]


def test_no_two_keys_are_alike() -> None:
    sink = FakeSink()
    ws = endpoint(sink)
    for _ in range(9):
        ws.send("")
    ws._outbox.flush()
    data = b"".join(sink.writes)
    assert len({data[at + 2 : at + 6] for at in range(0, len(data), 6)}) == 9


@pytest.mark.parametrize(
    ("code", "reason", "frame"),
    [
        (None, "", CloseFrame(1005, "")),
        (None, "why", CloseFrame(1000, "why")),
        (3000, "", CloseFrame(3000, "")),
        (1000, "x" * 123, CloseFrame(1000, "x" * 123)),
    ],
)
def test_a_close_is_what_it_was_given(code: int | None, reason: str, frame: CloseFrame) -> None:
    assert closing_frame(code, reason) == frame


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (1005, "", ValueError),
        (True, "", TypeError),
        (1000, b"x", TypeError),
        (1000, "x" * 124, ValueError),
        (None, "\u20ac" * 42, ValueError),
    ],
)
def test_a_bad_close_raises(code: int | None, reason: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="close expects"):
        closing_frame(code, reason)


async def test_leaving_waits_for_the_end() -> None:
    sink, driver = FakeSink(), FakeDriver()
    ws = endpoint(sink, driver)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ws.leave, CloseFrame(4000, "bye"), 5)
        await trio.testing.wait_all_tasks_blocked()
        assert driver.calls == ["close_begun"]
        ws._end()
    assert decoded(b"".join(sink.writes)) == [Close(4000, "bye")]
    assert driver.calls == ["close_begun"]


async def test_leaving_aborts_when_the_time_is_over(autojump_clock: MockClock) -> None:  # noqa: ARG001
    driver = FakeDriver()
    began = trio.current_time()
    await endpoint(FakeSink(), driver).leave(CloseFrame(1000, ""), 5)
    assert trio.current_time() - began == 5
    assert driver.calls == ["close_begun", "abort"]


async def test_who_cancels_leaving_aborts() -> None:
    driver = FakeDriver()
    with trio.CancelScope() as scope:
        scope.cancel()
        await endpoint(FakeSink(), driver).leave(CloseFrame(1000, ""), 5)
    assert scope.cancelled_caught
    assert driver.calls == ["close_begun", "abort"]


async def test_abandoning_offers_a_close_and_aborts_also_when_cancelled() -> None:
    sink, driver = FakeSink(), FakeDriver()
    with trio.CancelScope() as scope:
        scope.cancel()
        await endpoint(sink, driver).abandon()
    assert decoded(b"".join(sink.writes)) == [Close(1001, "Going away")]
    assert driver.calls == ["close_begun", "abort"]
