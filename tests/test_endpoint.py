"""What every endpoint can do, with a fake transport and driver: sending, control frames, closing, waiting, state.

Topics are the server's (`test_websocket.py`), the tasks behind the driver `test_connection.py`'s subject.
"""

from __future__ import annotations

import random
from array import array
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from deflate_fakes import Deflating, frames_of
from engine_fakes import FakeEndpoint

from trio_bunws._close import ABNORMAL, CloseFrame, CloseInfo
from trio_bunws._endpoint import Endpoint
from trio_bunws._errors import ConnectionClosed
from trio_bunws._status import MessageBackpressured, MessageDropped, MessageSent, ReadyState
from trio_bunws._wire.compression import Outbound
from trio_bunws._wire.frames import binary_frame, close_frame, ping_frame, pong_frame, text_frame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def compressing(*, limit: int = 0) -> FakeEndpoint:
    return FakeEndpoint(limit=limit, deflate=Outbound(15, takeover=True, min_size=0))


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


async def test_in_a_cork_nothing_leaves_by_the_tick(nursery: trio.Nursery) -> None:
    fake = FakeEndpoint()
    nursery.start_soon(fake.hub.run)
    fake.ws._outbox.corks += 1
    fake.ws.send("a")
    fake.ws.ping(b"b")
    await trio.testing.wait_all_tasks_blocked()
    assert fake.sink.writes == []
    fake.ws._outbox.corks -= 1
    fake.ws._outbox.flush()
    assert fake.sink.writes == [text_frame(b"a") + ping_frame(b"b")]
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
    ("send", "opcode", "message"),
    [
        (lambda ws: ws.send("h\u00e9" * 9, compress=True), 1, ("h\u00e9" * 9).encode()),
        (lambda ws: ws.send(b"data" * 9, compress=True), 2, b"data" * 9),
        (lambda ws: ws.send(bytearray(b"data" * 9), compress=True), 2, b"data" * 9),
        (lambda ws: ws.send_text("text" * 9, compress=True), 1, b"text" * 9),
        (lambda ws: ws.send_binary(memoryview(b"data" * 9), compress=True), 2, b"data" * 9),
    ],
)
async def test_what_is_sent_to_compress_is_compressed_and_its_status_is_the_payloads_length(
    send: Callable[[Endpoint], object], opcode: int, message: bytes
) -> None:
    fake = compressing()
    assert send(fake.ws) == len(message)
    fake.ws.send("plain")
    fake.ws._outbox.flush()
    first, second = frames_of(fake.sink.written)
    assert (first.compressed, first.opcode) == (True, opcode)
    assert len(first.payload) < len(message)
    assert Deflating().inflate(first.payload) == message
    assert second == (8, 1, b"plain")


async def test_without_a_compressor_compress_changes_nothing() -> None:
    fake = FakeEndpoint()
    assert fake.ws.send("text" * 9, compress=True) == 36
    fake.ws._outbox.flush()
    assert fake.sink.written == text_frame(b"text" * 9)


async def test_what_is_dropped_or_comes_after_the_end_is_not_compressed() -> None:
    fake = compressing(limit=100)
    fake.sink.room = 0
    assert fake.ws.send(b"x" * 16384) == -1
    assert fake.ws.send("never seen " * 9, compress=True) == 0
    fake.write_all()
    assert fake.ws.send("seen " * 9, compress=True) == 45
    fake.ws.close()
    assert fake.ws.send("seen " * 9, compress=True) == 0
    _, message, end = frames_of(fake.sink.written)
    assert Deflating().inflate(message.payload) == b"seen " * 9
    assert end.opcode == 8


async def test_what_was_published_before_is_compressed_before_what_is_sent() -> None:
    fake = compressing()
    fake.hub.subscribe(fake.ws, "news")
    messages = [b"%d somebody has said something" % number for number in range(6)]
    for number, message in enumerate(messages):
        if number % 2:
            fake.ws.send(message, compress=True)
        else:
            fake.hub.publish("news", binary_frame(message), len(message), None, compress=True)
    fake.hub.apply()
    peer = Deflating()
    assert [peer.inflate(frame.payload) for frame in frames_of(fake.sink.written)] == messages


async def test_send_wait_compresses_and_never_queues_past_the_limit(nursery: trio.Nursery) -> None:
    fake = compressing(limit=1000)
    fake.sink.room = 0
    noise = [random.Random(seed).randbytes(280) for seed in range(12)]  # gets longer by compression
    most: list[int] = []

    async def send() -> None:
        for message in noise:
            await fake.ws.send_wait(message, compress=True)
            fake.ws._outbox.flush()
            most.append(fake.ws.get_buffered_amount())

    nursery.start_soon(send)
    while len(most) < len(noise):
        await trio.testing.wait_all_tasks_blocked()
        fake.sink.room += 300
        fake.ws._outbox.write_more()
    assert 500 < max(most) <= 1000
    fake.write_all()
    peer = Deflating()
    assert [peer.inflate(frame.payload) for frame in frames_of(fake.sink.written)] == noise


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


class Impatient(Endpoint):
    """Ends when something is dropped, as `close_on_backpressure_limit` has it."""

    def _overflowed(self) -> None:
        self._begin_abort(ABNORMAL)


def overflowing() -> FakeEndpoint:
    """Make an endpoint that will end as soon as it looks at what was published for it."""
    fake = FakeEndpoint(limit=10, kind=Impatient)
    fake.hub.subscribe(fake.ws, "news")
    fake.sink.room = 0
    fake.ws.send(b"x" * 16384)
    publish(fake, b"one too many")
    return fake


@pytest.mark.parametrize("send", [lambda ws: ws.send("y"), lambda ws: ws.ping()])
async def test_a_send_that_finds_its_socket_ended_by_an_earlier_publish_returns_0(
    send: Callable[[Endpoint], object],
) -> None:
    fake = overflowing()
    assert type(send(fake.ws)) is MessageDropped
    assert fake.ws._outbox.empty
    assert fake.ws.statistics().messages_out == 1
    assert fake.driver.calls == ["writer_needed", "abort"]


# Waiting


async def test_send_wait_sends_at_once_what_fits() -> None:
    fake = FakeEndpoint(limit=100)
    assert await fake.ws.send_wait("text") == 4
    assert await fake.ws.send_wait(b"x" * 1000) == 1000  # nothing is unsent, so even what is larger than the limit
    assert await fake.ws.send_wait(bytearray(b"data"), compress=True) == 4
    fake.ws._outbox.flush()
    assert fake.sink.written == text_frame(b"text") + binary_frame(b"x" * 1000) + binary_frame(b"data")


async def test_send_wait_waits_for_room_and_accepts_each_message_once(nursery: trio.Nursery) -> None:
    fake = FakeEndpoint(limit=20_000)
    fake.sink.room = 0
    fake.ws.send(b"x" * 16384)
    fake.ws._outbox.flush()
    statuses: list[int] = []

    async def send(data: bytes) -> None:
        statuses.append(await fake.ws.send_wait(data))

    nursery.start_soon(send, b"y" * 3000)
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(send, b"z" * 3000)
    await trio.testing.wait_all_tasks_blocked()
    assert statuses == [-1]
    assert fake.ws.get_buffered_amount() == 16388 + 3004
    fake.sink.room = 10
    fake.ws._outbox.write_more()  # too little
    await trio.testing.wait_all_tasks_blocked()
    assert len(statuses) == 1
    fake.write_all()
    await trio.testing.wait_all_tasks_blocked()
    assert statuses == [-1, 3000]
    fake.ws._outbox.flush()
    assert fake.sink.written == b"".join([binary_frame(b"x" * 16384), *(binary_frame(c * 3000) for c in (b"y", b"z"))])
    assert fake.ws.statistics().drops == 0


async def test_send_wait_counts_what_was_published_before_it(nursery: trio.Nursery) -> None:
    fake = FakeEndpoint(limit=20_000)
    fake.hub.subscribe(fake.ws, "news")
    fake.sink.room = 0
    fake.ws.send(b"x" * 16384)
    publish(fake, b"y" * 4000)  # lets it pass the limit
    statuses: list[int] = []

    async def send() -> None:
        statuses.append(await fake.ws.send_wait("z"))

    nursery.start_soon(send)
    await trio.testing.wait_all_tasks_blocked()
    assert statuses == []
    fake.write_all()
    await trio.testing.wait_all_tasks_blocked()
    assert statuses == [1]
    assert fake.ws.statistics().drops == 0


@pytest.mark.parametrize("end", [lambda ws: ws.close(4000, "why"), lambda ws: ws.terminate()])
async def test_send_wait_raises_when_the_socket_closes_first(
    nursery: trio.Nursery, end: Callable[[Endpoint], None]
) -> None:
    fake = FakeEndpoint(limit=100)
    fake.sink.room = 0
    fake.ws.send(b"x" * 16384)
    errors: list[ConnectionClosed] = []

    async def send() -> None:
        errors.append(await ended(lambda: fake.ws.send_wait("y")))

    nursery.start_soon(send)
    await trio.testing.wait_all_tasks_blocked()
    end(fake.ws)
    fake.ws._outbox.notify()  # as the writer does when it has written
    await trio.testing.wait_all_tasks_blocked()
    assert len(errors) == 1
    assert (await ended(lambda: fake.ws.send_wait("z"))).code == errors[0].code in (4000, 1006)


async def test_a_cancelled_send_wait_has_sent_nothing() -> None:
    fake = FakeEndpoint()
    with trio.CancelScope() as scope:
        scope.cancel()
        await fake.ws.send_wait("x")
    assert scope.cancelled_caught
    assert fake.ws._outbox.empty


async def test_send_wait_checks_its_arguments() -> None:
    fake = FakeEndpoint()
    with pytest.raises(TypeError, match="send_wait expects data"):
        await fake.ws.send_wait(1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="send_wait expects compress to be a boolean"):
        await fake.ws.send_wait("x", 1)  # type: ignore[arg-type]


async def test_drained_writes_the_batch_and_waits_for_what_is_unsent(nursery: trio.Nursery) -> None:
    fake = FakeEndpoint()
    fake.hub.subscribe(fake.ws, "news")
    publish(fake, b"published")
    fake.ws.send("sent")
    await fake.ws.drained()
    assert fake.sink.written == text_frame(b"published") + text_frame(b"sent")
    fake.sink.room = 2
    fake.ws.send("more")
    returned: list[bool] = []

    async def wait() -> None:
        await fake.ws.drained()
        returned.append(True)

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    assert fake.sink.written.endswith(text_frame(b"more")[:2])
    fake.sink.room = 1
    fake.ws._outbox.write_more()
    await trio.testing.wait_all_tasks_blocked()
    assert not returned
    fake.write_all()
    await trio.testing.wait_all_tasks_blocked()
    assert returned
    assert fake.sink.written.endswith(text_frame(b"more"))


async def test_drained_waits_for_a_close_to_be_written_and_raises_when_the_connection_ends_before(
    nursery: trio.Nursery,
) -> None:
    fake = FakeEndpoint()
    fake.sink.room = 0
    fake.ws.send("x")
    fake.ws.close(4000, "why")
    errors: list[ConnectionClosed] = []

    async def wait() -> None:
        errors.append(await ended(fake.ws.drained))

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    assert errors == []
    fake.ws._end()
    await trio.testing.wait_all_tasks_blocked()
    assert [(error.code, error.reason, error.sent, error.received) for error in errors] == [
        (4000, "why", CloseFrame(4000, "why"), None)
    ]


async def test_drained_raises_for_a_lost_or_closed_connection() -> None:
    fake = FakeEndpoint()
    fake.ws.terminate()
    assert (await ended(fake.ws.drained)).code == 1006
    fake.ws._end()
    assert (await ended(fake.ws.drained)).code == 1006
    assert (await ended(overflowing().ws.drained)).code == 1006


async def test_drained_is_not_fooled_by_a_broken_transport(nursery: trio.Nursery) -> None:
    fake = FakeEndpoint()
    fake.sink.broken = True
    fake.ws.send("x")
    errors: list[ConnectionClosed] = []

    async def wait() -> None:
        errors.append(await ended(fake.ws.drained))

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    assert errors == []  # the reader has not found the end yet
    fake.ws._end()
    await trio.testing.wait_all_tasks_blocked()
    assert len(errors) == 1


@pytest.mark.parametrize("call", ["drained", "closed"])
async def test_waiting_is_a_checkpoint_even_if_there_is_nothing_to_wait_for(call: str) -> None:
    fake = FakeEndpoint()
    if call == "closed":
        fake.ws._end()
    with trio.testing.assert_checkpoints():
        await getattr(fake.ws, call)()
    with trio.testing.assert_checkpoints():
        await FakeEndpoint().ws.send_wait("x")


async def test_closed_tells_every_waiter_how_it_ended(nursery: trio.Nursery) -> None:
    fake = FakeEndpoint()
    infos: list[CloseInfo] = []

    async def wait() -> None:
        infos.append(await fake.ws.closed())

    nursery.start_soon(wait)
    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    fake.ws.close(4000, "why")
    await trio.testing.wait_all_tasks_blocked()
    assert infos == []
    fake.ws._end()
    await trio.testing.wait_all_tasks_blocked()
    assert infos == []
    fake.ws._tell_closed()
    await trio.testing.wait_all_tasks_blocked()
    assert infos == [CloseInfo(4000, "why", CloseFrame(4000, "why"), None)] * 2
    assert await fake.ws.closed() == infos[0]


# The end


async def test_close_sends_what_was_accepted_then_its_frame_once() -> None:
    fake = FakeEndpoint()
    fake.ws.send("last")
    fake.ws.close(4000, "é" * 100)
    fake.ws.close(4001, "again")
    assert fake.ws.ready_state is ReadyState.CLOSING
    assert fake.sink.writes == [text_frame(b"last") + close_frame(4000, "é" * 61)]
    assert fake.driver.calls == ["close_begun"]
    assert fake.ws._ending == CloseInfo(4000, "é" * 61, CloseFrame(4000, "é" * 61), None)
    assert fake.ws._end().code == 4000
    assert fake.ws.ready_state.name == "CLOSED"
    fake.ws.close()
    assert fake.ws.ready_state.name == "CLOSED"
    assert fake.driver.calls == ["close_begun"]


async def test_in_a_cork_the_close_leaves_at_once_with_what_the_cork_holds() -> None:
    fake = FakeEndpoint()
    fake.ws._outbox.corks += 1
    fake.ws.send("x")
    fake.ws.close()
    assert fake.ws.send("too late") == 0
    assert fake.sink.writes == [text_frame(b"x") + close_frame(1000, "")]


async def test_under_backpressure_and_over_the_limit_the_close_comes_last() -> None:
    fake = FakeEndpoint(limit=100)
    fake.sink.room = 0
    fake.ws.send(b"x" * 16384)
    assert fake.ws.send("dropped") == 0
    fake.ws.close()
    fake.write_all()
    assert fake.sink.written == binary_frame(b"x" * 16384) + close_frame(1000, "")


async def test_the_answer_to_a_close_without_a_code_is_bodyless() -> None:
    fake = FakeEndpoint()
    frame = CloseFrame(1005, "")
    fake.ws._begin_close(frame, received=frame)
    assert fake.sink.written == close_frame(None, "")


async def test_a_closing_socket_has_left_its_topics() -> None:
    fake = FakeEndpoint()
    fake.hub.subscribe(fake.ws, "news")
    fake.ws.close()
    assert len(fake.hub.topics) == 0
    assert fake.hub.publish("news", text_frame(b"x"), 1, None) == 0


async def test_a_close_that_finds_its_socket_ended_by_an_earlier_publish_leaves_it_at_that() -> None:
    fake = overflowing()
    fake.ws.close(4000)
    assert fake.driver.calls == ["writer_needed", "abort"]
    assert fake.ws._end() is ABNORMAL


async def test_terminate_offers_the_batch_once_and_forgets_the_rest() -> None:
    fake = FakeEndpoint()
    fake.hub.subscribe(fake.ws, "news")
    fake.ws.send("a")
    publish(fake, b"b")
    fake.sink.room = 4
    fake.ws.terminate()
    assert fake.sink.written == (text_frame(b"a") + text_frame(b"b"))[:4]
    assert fake.ws.get_buffered_amount() == 0
    assert fake.ws.ready_state is ReadyState.CLOSING
    assert fake.driver.calls == ["writer_needed", "abort"]
    fake.ws.terminate()
    assert fake.driver.calls == ["writer_needed", "abort"]
    assert fake.ws._end() == CloseInfo(1006, "", None, None)


async def test_terminate_in_a_cork_offers_what_the_cork_holds() -> None:
    fake = FakeEndpoint()
    fake.ws._outbox.corks += 1
    fake.ws.send("a")
    fake.ws.terminate()
    assert fake.sink.written == text_frame(b"a")


async def test_terminate_after_close_aborts_but_reports_the_close() -> None:
    fake = FakeEndpoint()
    fake.sink.room = 0
    fake.ws.close(4000, "why")
    fake.ws.terminate()
    assert fake.driver.calls == ["writer_needed", "close_begun", "abort"]
    assert (fake.ws._end().code, fake.ws._end().reason) == (4000, "why")


async def test_terminate_that_finds_its_socket_ended_by_an_earlier_publish_aborts_once() -> None:
    fake = overflowing()
    fake.ws.terminate()
    assert fake.driver.calls == ["writer_needed", "abort"]


async def test_terminate_after_the_end_does_nothing() -> None:
    fake = FakeEndpoint()
    fake.ws._end()
    fake.ws.terminate()
    assert fake.driver.calls == []


async def test_the_end_of_an_open_socket_is_abnormal() -> None:
    fake = FakeEndpoint()
    fake.hub.subscribe(fake.ws, "news")
    fake.ws.send("lost")
    assert fake.ws._end() is ABNORMAL
    assert fake.ws._outbox.empty
    assert len(fake.hub.topics) == 0
    error = fake.ws._closed_error()
    assert (error.code, error.reason, error.sent, error.received) == (1006, "", None, None)
    fake.ws._tell_closed()  # nobody waits
    assert await fake.ws.closed() is ABNORMAL


async def test_a_failed_write_is_told_to_the_driver() -> None:
    fake = FakeEndpoint()
    fake.sink.broken = True
    fake.ws.send("x")
    fake.ws._outbox.flush()
    assert fake.driver.calls == ["write_failed"]


# State


async def test_binary_type_takes_our_names_and_buns() -> None:
    ws = FakeEndpoint().ws
    assert ws.binary_type == "bytes"
    names = ["bytes", "bytearray", "memoryview", "nodebuffer", "uint8array", "arraybuffer"]
    taken: list[str] = []
    for name in names:
        ws.binary_type = name
        taken.append(ws.binary_type)
    assert taken == ["bytes", "bytearray", "memoryview"] * 2
    for wrong in ("blob", None, ["bytes"]):
        with pytest.raises(ValueError, match="binary_type expects one of 'bytes', 'bytearray'"):
            ws.binary_type = wrong  # type: ignore[assignment]
    assert ws.binary_type == "memoryview"


async def test_pause_and_resume() -> None:
    fake = FakeEndpoint()
    assert not fake.ws.is_paused
    fake.ws.resume()
    assert fake.driver.calls == []
    fake.ws.pause()
    fake.ws.pause()
    assert fake.ws.is_paused
    fake.ws.resume()
    fake.ws.resume()
    assert not fake.ws.is_paused
    assert fake.driver.calls == ["resumed"]


async def test_what_a_socket_says_of_itself() -> None:
    fake = FakeEndpoint()
    assert fake.ws.protocol == "chat"
    fake.ws.send("abc")
    fake.sink.room = 2
    fake.ws._outbox.flush()
    fake.ws._messages_in += 4
    fake.ws._bytes_in += 5
    statistics = fake.ws.statistics()
    assert (statistics.messages_in, statistics.bytes_in) == (4, 5)
    assert (statistics.messages_out, statistics.bytes_out, statistics.drops, statistics.buffered) == (1, 2, 0, 3)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_binary_messages_are_converted_and_text_is_not(kind: type) -> None:
    ws = FakeEndpoint().ws
    ws.binary_type = kind.__name__
    message = ws._converted(b"x")
    assert type(message) is kind
    assert message == b"x"
    assert ws._converted("x") == "x"


def test_a_corked_ping_waits_for_its_cork() -> None:
    fake = FakeEndpoint()
    fake.ws._outbox.corks += 1
    assert fake.ws.ping(b"x") == 1
    assert not fake.ws._dirty
