"""A client's endpoint alone, over a sink that takes everything: each frame is masked, and it closes as Bun's client."""

from __future__ import annotations

import pytest
import trio
from engine_fakes import FakeDriver, FakeSink

from trio_bunws import CloseInfo, ConnectionClosed, MessageSent, ReadyState
from trio_bunws._client_endpoint import ClientEndpoint, Nowhere, closing_frame, never_opened
from trio_bunws._close import CloseFrame
from trio_bunws._hub import Hub
from trio_bunws._keep_alive import KeepAlive
from trio_bunws._wire.codec import Codec
from trio_bunws._wire.events import Close, Event, Ping, Pong
from trio_bunws._wire.frames import pong_frame


def endpoint(sink: FakeSink, *, keep_alive: KeepAlive | None = None) -> ClientEndpoint:
    return ClientEndpoint(
        sink=sink,
        driver=FakeDriver(),
        hub=Hub(),
        backpressure_limit=0,
        protocol="chat",
        keep_alive=keep_alive or KeepAlive(0, 0),
    )


def decoded(data: bytes) -> list[Event]:
    """Decode as a server does, which refuses what is not masked."""
    codec = Codec(1 << 24, 9)
    codec.feed(data)
    return list(codec.events())


async def test_every_kind_of_frame_is_masked_and_in_order() -> None:
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


async def test_unsent_frames_are_masked_too() -> None:
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


async def test_pings_of_the_application_are_measured_if_they_are_sent() -> None:
    keep_alive = KeepAlive(0, 0)
    ws = endpoint(FakeSink(), keep_alive=keep_alive)
    assert ws.ping("p") == 1
    keep_alive.pong_came(b"p", trio.current_time() + 2)
    assert keep_alive.latency == pytest.approx(2, abs=0.5)
    ws.close_with(CloseFrame(1000, ""))
    assert ws.ping("late") == 0
    keep_alive.pong_came(b"late", trio.current_time() + 9)
    assert keep_alive.latency == pytest.approx(2, abs=0.5)


async def test_a_socket_that_never_was_open_is_closed() -> None:
    ws = never_opened()
    assert ws.ready_state is ReadyState.CLOSED
    assert ws.send("x") == ws.ping() == ws.get_buffered_amount() == 0
    ws.close_with(CloseFrame(1000, ""))
    ws.terminate()
    ws.pause()
    ws.resume()
    assert await ws.closed() == CloseInfo(1006, "", None, None)
    for wait in (ws._driver.receive, ws.drained, lambda: ws.send_wait("x")):
        with pytest.raises(ConnectionClosed) as caught:
            await wait()
        assert caught.value.code == 1006


def test_what_never_was_open_writes_nothing() -> None:
    assert Nowhere().try_write(b"x") == 0
