"""What every endpoint can do, with a fake transport and driver: sending, control frames, closing, waiting, state.

Topics are the server's (`test_websocket.py`), the tasks behind the driver `test_connection.py`'s subject.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from engine_fakes import FakeEndpoint

from trio_bunws._close import CloseFrame, CloseInfo
from trio_bunws._errors import ConnectionClosed
from trio_bunws._hub import Hub
from trio_bunws._status import MessageBackpressured, MessageDropped, MessageSent, ReadyState
from trio_bunws._wire.frames import binary_frame, close_frame, ping_frame, pong_frame, text_frame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_bunws._endpoint import Endpoint


def publish(fake: FakeEndpoint, data: bytes, topic: str = "news") -> None:
    fake.hub.publish(topic, text_frame(data), len(data), None)


async def ended(call: Callable[[], Awaitable[object]]) -> ConnectionClosed:
    """Wait for a call that fails because the connection closes."""
    with pytest.raises(ConnectionClosed) as caught:
        await call()
    return caught.value


# Sending


@pytest.mark.parametrize(
    ("send", "frame", "value"),
    [
        (lambda ws: ws.send("hé"), text_frame("hé".encode()), 3),
        (lambda ws: ws.send("", compress=True), text_frame(b""), 0),
        (lambda ws: ws.send(b"data"), binary_frame(b"data"), 4),
        (lambda ws: ws.send(bytearray(b"data")), binary_frame(b"data"), 4),
        (lambda ws: ws.send(memoryview(b"data")[1:]), binary_frame(b"ata"), 3),
        (lambda ws: ws.send(array("H", [1, 2])), binary_frame(array("H", [1, 2]).tobytes()), 4),
        (lambda ws: ws.send(type("Text", (str,), {})("subclass")), text_frame(b"subclass"), 8),
        (lambda ws: ws.send_text("text"), text_frame(b"text"), 4),
        (lambda ws: ws.send_binary(memoryview(b"data")), binary_frame(b"data"), 4),
        (lambda ws: ws.ping(), ping_frame(b""), 0),
        (lambda ws: ws.ping("hé"), ping_frame("hé".encode()), 3),
        (lambda ws: ws.pong(b"x" * 125), pong_frame(b"x" * 125), 125),
    ],
)
async def test_what_is_sent_leaves_with_the_next_flush_and_its_status_is_the_payloads_length(
    send: Callable[[Endpoint], object], frame: bytes, value: int
) -> None:
    fake = FakeEndpoint()
    status = send(fake.ws)
    assert status == value
    assert type(status) is MessageSent
    assert fake.sink.writes == []
    fake.ws._outbox.flush()
    assert fake.sink.writes == [frame]


async def test_sends_outside_of_a_cork_leave_by_the_next_tick_in_one_write(nursery: trio.Nursery) -> None:
    fake = FakeEndpoint()
    nursery.start_soon(fake.hub.run)
    fake.ws.send("a")
    fake.ws.ping(b"b")
    fake.ws.send_binary(b"c")
    await trio.testing.wait_all_tasks_blocked()
    assert fake.sink.writes == [text_frame(b"a") + ping_frame(b"b") + binary_frame(b"c")]
    fake.ws.pong(b"d")
    await trio.testing.wait_all_tasks_blocked()
    assert fake.sink.writes[1:] == [pong_frame(b"d")]
    nursery.cancel_scope.cancel()


async def test_a_mutable_buffer_may_be_changed_after_the_call() -> None:
    fake = FakeEndpoint()
    data = bytearray(b"before")
    fake.ws.send(data)
    fake.ws.send_binary(data)
    fake.ws.ping(data)
    data[:] = b"after!"
    fake.ws._outbox.flush()
    assert fake.sink.written == binary_frame(b"before") * 2 + ping_frame(b"before")


async def test_with_unsent_bytes_a_message_is_queued_and_the_status_is_minus_one() -> None:
    fake = FakeEndpoint()
    fake.sink.room = 3
    fake.ws.send(b"x" * 16384)
    assert fake.ws.get_buffered_amount() == 16384 + 4 - 3
    assert type(fake.ws.send("y")) is MessageBackpressured
    assert type(fake.ws.ping()) is MessageBackpressured
    assert fake.driver.calls == ["writer_needed"]
    fake.write_all()
    assert fake.sink.written == binary_frame(b"x" * 16384) + text_frame(b"y") + ping_frame(b"")
    assert fake.ws.get_buffered_amount() == 0


async def test_over_the_limit_messages_are_dropped_and_counted_but_control_frames_go_on_up_to_64_kib() -> None:
    fake = FakeEndpoint(limit=100)
    fake.sink.room = 0
    assert fake.ws.send(b"x" * 16384) == -1  # by one message the buffer may pass the limit
    assert type(fake.ws.send("y")) is MessageDropped
    accepted = 0
    while fake.ws.ping(b"z" * 125):
        accepted += 127
    assert accepted <= 65536 < accepted + 127
    assert fake.ws.statistics().drops == 2
    assert fake.ws.get_buffered_amount() == 16388 + accepted


async def test_a_limit_of_0_never_drops() -> None:
    fake = FakeEndpoint(limit=0)
    fake.sink.room = 0
    assert [fake.ws.send(b"x" * 65536) for _ in range(10)] == [-1] * 10


async def test_what_was_published_before_leaves_before_what_is_sent() -> None:
    fake = FakeEndpoint()
    fake.hub.subscribe(fake.ws, "news")
    publish(fake, b"1")
    fake.ws.send("2")
    publish(fake, b"3")
    fake.ws.ping(b"4")
    publish(fake, b"5")
    fake.ws.close()
    fake.ws._outbox.flush()
    frames = [text_frame(b"1"), text_frame(b"2"), text_frame(b"3"), ping_frame(b"4"), text_frame(b"5")]
    assert fake.sink.written == b"".join(frames) + close_frame(1000, "")


@pytest.mark.parametrize(
    ("send", "error", "words"),
    [
        (lambda ws: ws.send(1), TypeError, "send expects data to be a string or a buffer"),
        (lambda ws: ws.send(None), TypeError, "send expects data"),
        (lambda ws: ws.send("x", 1), TypeError, "send expects compress to be a boolean"),
        (lambda ws: ws.send("x", None), TypeError, "send expects compress to be a boolean"),
        (lambda ws: ws.send_text(b"x"), TypeError, "send_text expects data to be a string"),
        (lambda ws: ws.send_text("x", 1), TypeError, "send_text expects compress to be a boolean"),
        (lambda ws: ws.send_binary("x"), TypeError, "send_binary expects data to be a buffer"),
        (lambda ws: ws.send_binary(b"x", 1), TypeError, "send_binary expects compress to be a boolean"),
        (lambda ws: ws.ping(1), TypeError, "ping expects data"),
        (lambda ws: ws.ping(b"x" * 126), ValueError, "ping expects data of at most 125 bytes"),
        (lambda ws: ws.pong("é" * 63), ValueError, "pong expects data of at most 125 bytes"),
        (lambda ws: ws.close(999), ValueError, "999"),
        (lambda ws: ws.close(1005), ValueError, "1005"),
        (lambda ws: ws.close("1000"), TypeError, "code"),
        (lambda ws: ws.close(1000, b"x"), TypeError, "reason"),
    ],
)
async def test_a_wrong_argument_raises_and_nothing_is_sent(
    send: Callable[[Endpoint], object], error: type[Exception], words: str
) -> None:
    fake = FakeEndpoint()
    with pytest.raises(error, match=words):
        send(fake.ws)
    assert fake.ws._outbox.empty
    assert fake.ws.ready_state is ReadyState.OPEN


@pytest.mark.parametrize("end", ["close", "terminate", "_end"])
async def test_after_the_end_every_send_returns_0_and_nothing_is_written(end: str) -> None:
    fake = FakeEndpoint()
    getattr(fake.ws, end)()
    before = fake.sink.written
    statuses = [
        *(fake.ws.send("x"), fake.ws.send_text("x"), fake.ws.send_binary(b"x")),
        *(fake.ws.ping(), fake.ws.pong()),
    ]
    assert [type(status) for status in statuses] == [MessageDropped] * 5
    fake.ws._outbox.flush()
    assert fake.sink.written == before
    assert fake.ws.statistics().drops == 0


class Closing(FakeEndpoint):
    """An endpoint that ends when it drops something, as `close_on_backpressure_limit` does."""

    def __init__(self) -> None:
        super().__init__(limit=10)
        self.hub.subscribe(self.ws, "news")
        self.sink.room = 0
        self.ws.send(b"x" * 16384)
        publish(self, b"one too many")


class Fragile(FakeEndpoint):
    """Placeholder."""


async def test_a_send_that_finds_the_connection_ended_by_an_earlier_publish_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trio_bunws._endpoint.Endpoint._overflowed", lambda ws: ws.terminate())
    for send in (lambda ws: ws.send("y"), lambda ws: ws.ping()):
        fake = Closing()
        assert type(send(fake.ws)) is MessageDropped
        assert fake.ws._outbox.empty
        assert fake.ws.statistics().messages_out == 1
