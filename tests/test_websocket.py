"""What only a server's socket can do, with a fake transport and driver and a real hub: topics, corks, data, iteration.

Sending and closing are `test_endpoint.py`'s subject, what a publish does to many sockets `test_hub.py`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from deflate_fakes import Deflating, frames_of
from engine_fakes import FakeSocket

from trio_bunws._errors import ConnectionClosed
from trio_bunws._handlers import WebSocketHandler
from trio_bunws._hub import Hub
from trio_bunws._options import Limits
from trio_bunws._status import MessageBackpressured, MessageDropped, MessageSent, ReadyState
from trio_bunws._wire.compression import Outbound
from trio_bunws._wire.frames import binary_frame, close_frame, ping_frame, text_frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from trio_bunws._websocket import ServerWebSocket

    Socket = ServerWebSocket[Any]

BIG = b"x" * 16384
"""Written as soon as it is sent, so that what the sink refuses is unsent."""


def sockets(count: int, handler: WebSocketHandler[Any] | None = None) -> list[FakeSocket]:
    """Make sockets that are subscribed to "news"."""
    hub = Hub()
    made = [FakeSocket(handler, hub=hub) for _ in range(count)]
    for fake in made:
        assert fake.ws.subscribe("news")
    return made


def delivered(fake: FakeSocket) -> bytes:
    fake.hub.apply()
    return fake.sink.written


# Publishing


@pytest.mark.parametrize(
    ("publish", "frame", "value"),
    [
        (lambda ws: ws.publish("news", "hé"), text_frame("hé".encode()), 3),
        (lambda ws: ws.publish("news", b"data", compress=True), binary_frame(b"data"), 4),
        (lambda ws: ws.publish("news", bytearray(b"data")), binary_frame(b"data"), 4),
        (lambda ws: ws.publish("news", type("Text", (str,), {})("sub")), text_frame(b"sub"), 3),
        (lambda ws: ws.publish(type("Topic", (str,), {})("news"), "x"), text_frame(b"x"), 1),
        (lambda ws: ws.publish_text("news", "text"), text_frame(b"text"), 4),
        (lambda ws: ws.publish_binary("news", memoryview(b"data")), binary_frame(b"data"), 4),
        (lambda ws: ws.publish("news", ""), text_frame(b""), 0),
    ],
)
async def test_a_publish_reaches_all_subscribers_but_the_sender(
    publish: Callable[[Socket], object], frame: bytes, value: int
) -> None:
    sender, one, other = sockets(3)
    status = publish(sender.ws)
    assert status == value
    assert type(status) is MessageSent
    assert [delivered(fake) for fake in (sender, one, other)] == [b"", frame, frame]


@pytest.mark.parametrize(
    ("publish", "opcode"),
    [
        (lambda ws, **options: ws.publish("news", "data" * 9, **options), 1),
        (lambda ws, **options: ws.publish("news", b"data" * 9, **options), 2),
        (lambda ws, **options: ws.publish_text("news", "data" * 9, **options), 1),
        (lambda ws, **options: ws.publish_binary("news", b"data" * 9, **options), 2),
    ],
)
async def test_a_publish_is_compressed_if_it_is_to_be_and_its_status_is_the_payloads_length(
    publish: Callable[..., object], opcode: int
) -> None:
    sender, plain = sockets(2)
    one = FakeSocket(hub=sender.hub, deflate=Outbound(15, takeover=False, min_size=0))
    one.ws.subscribe("news")
    assert publish(sender.ws) == publish(sender.ws, compress=False) == publish(sender.ws, compress=True) == 36
    assert [frame.payload for frame in frames_of(delivered(plain))] == [b"data" * 9] * 3
    frames = list(frames_of(delivered(one)))
    assert [frame.compressed for frame in frames] == [False, False, True]
    assert {frame.opcode for frame in frames} == {opcode}
    assert Deflating().inflate(frames[2].payload) == b"data" * 9


async def test_with_publish_to_self_the_sender_gets_it_too_if_it_is_subscribed() -> None:
    sender, other = sockets(2, WebSocketHandler(publish_to_self=True))
    sender.ws.publish("news", "x")
    assert [delivered(fake) for fake in (sender, other)] == [text_frame(b"x")] * 2
    sender.ws.unsubscribe("news")
    assert sender.ws.publish("news", "y") == 1
    assert [delivered(fake) for fake in (sender, other)] == [text_frame(b"x"), text_frame(b"x") + text_frame(b"y")]


async def test_who_is_not_subscribed_or_closed_still_reaches_the_others() -> None:
    sender, other = sockets(2)
    sender.ws.unsubscribe("news")
    assert sender.ws.publish("news", "a") == 1
    sender.ws.terminate()
    assert sender.ws.publish("news", "b") == 1
    sender.ws._end()
    assert sender.ws.publish("news", "c") == 1
    assert delivered(other) == text_frame(b"a") + text_frame(b"b") + text_frame(b"c")


async def test_the_status_tells_of_the_receivers_not_of_the_sender() -> None:
    sender, slow, other = sockets(3, WebSocketHandler(backpressure_limit=100))
    sender.sink.room = 0
    sender.ws.send(BIG)
    assert sender.ws.publish("news", "x") == 1
    slow.sink.room = 16380
    slow.ws.send(BIG)
    assert type(sender.ws.publish("news", "x")) is MessageBackpressured
    slow.ws.send(b"y" * 100)
    assert type(sender.ws.publish("news", "x")) is MessageDropped
    assert delivered(other) == text_frame(b"x") * 3
    slow.ws.close()
    other.ws.close()
    assert type(sender.ws.publish("news", "x")) is MessageDropped


@pytest.mark.parametrize(
    ("publish", "error", "words"),
    [
        (lambda ws: ws.publish("news", 1), TypeError, "publish expects data to be a string or a buffer"),
        (lambda ws: ws.publish("news", "x", 1), TypeError, "publish expects compress to be a boolean"),
        (lambda ws: ws.publish(1, "x"), TypeError, "publish expects topic to be a string"),
        (lambda ws: ws.publish("", "x"), ValueError, "publish expects topic to be a non-empty string"),
        (lambda ws: ws.publish("é" * 513, "x"), ValueError, "publish expects topic to be at most 1024 bytes"),
        (lambda ws: ws.publish_text("news", b"x"), TypeError, "publish_text expects data to be a string"),
        (lambda ws: ws.publish_text("news", "x", 1), TypeError, "publish_text expects compress to be a boolean"),
        (lambda ws: ws.publish_text("", "x"), ValueError, "publish_text expects topic"),
        (lambda ws: ws.publish_binary("news", "x"), TypeError, "publish_binary expects data to be a buffer"),
        (lambda ws: ws.publish_binary("news", b"x", 1), TypeError, "publish_binary expects compress to be a boolean"),
        (lambda ws: ws.publish_binary(b"news", b"x"), TypeError, "publish_binary expects topic to be a string"),
    ],
)
async def test_a_wrong_argument_raises_and_nothing_is_published(
    publish: Callable[[Socket], object], error: type[Exception], words: str
) -> None:
    sender, other = sockets(2)
    with pytest.raises(error, match=words):
        publish(sender.ws)
    assert delivered(other) == b""


async def test_a_publish_before_a_send_an_unsubscribe_or_a_close_still_arrives_and_in_order() -> None:
    sender, one, other, third = sockets(4)
    sender.ws.publish("news", "a")
    one.ws.send("b")
    assert other.ws.unsubscribe("news")
    other.ws.send("c")
    third.ws.close()
    sender.ws.publish("news", "d")
    for fake in (one, other):
        fake.ws._outbox.flush()
    assert delivered(one) == text_frame(b"a") + text_frame(b"b") + text_frame(b"d")
    assert delivered(other) == text_frame(b"a") + text_frame(b"c")
    assert delivered(third) == text_frame(b"a") + close_frame(1000, "")


async def test_publish_unsubscribe_and_send_in_one_cork_make_one_write_in_order() -> None:
    sender, one = sockets(2)

    def use(ws: Socket) -> None:
        sender.ws.publish("news", "a")
        ws.unsubscribe("news")
        ws.send("b")
        ws.subscribe("news")
        sender.ws.publish("news", "c")
        ws.ping()

    one.ws.cork(use)
    frames = [text_frame(b"a"), text_frame(b"b"), text_frame(b"c"), ping_frame(b"")]
    assert one.sink.writes == [b"".join(frames)]
    assert delivered(one) == b"".join(frames)


# Topics


async def test_subscribing_and_leaving() -> None:
    ws = FakeSocket().ws
    assert ws.subscriptions == []
    assert [ws.subscribe(topic) for topic in ("a", "b", "a")] == [True] * 3
    assert ws.subscriptions == ["a", "b"]
    assert [ws.is_subscribed(topic) for topic in ("a", "c")] == [True, False]
    assert [ws.unsubscribe(topic) for topic in ("a", "a", "c")] == [True, False, False]
    assert ws.subscriptions == ["b"]
    ws.subscriptions.append("mine")
    assert ws.subscriptions == ["b"]


async def test_who_subscribes_after_a_publish_does_not_get_it() -> None:
    sender, _ = sockets(2)
    late = FakeSocket(hub=sender.hub)
    sender.ws.publish("news", "before")
    assert late.ws.subscribe("news")
    sender.ws.publish("news", "after")
    assert delivered(late) == text_frame(b"after")


async def test_subscribing_to_a_second_topic_loses_nothing_of_the_first() -> None:
    sender, one = sockets(2)
    sender.ws.publish("news", "a")
    assert one.ws.subscribe("more")
    sender.ws.publish("news", "b")
    sender.ws.publish("more", "c")
    assert delivered(one) == text_frame(b"a") + text_frame(b"b") + text_frame(b"c")


async def test_beyond_max_topics_per_socket_a_subscription_is_refused_and_counted() -> None:
    fake = FakeSocket(limits=Limits(max_topics_per_socket=2))
    assert [fake.ws.subscribe(topic) for topic in "abca"] == [True, True, False, True]
    assert fake.hub.refused_subscriptions == 1
    fake.ws.unsubscribe("a")
    assert fake.ws.subscribe("c")


@pytest.mark.parametrize("end", ["close", "terminate", "_end"])
async def test_once_it_is_closing_a_socket_has_no_topics_and_gets_no_new_ones(end: str) -> None:
    [fake] = sockets(1)
    getattr(fake.ws, end)()
    assert fake.ws.subscriptions == []
    assert not fake.ws.is_subscribed("news")
    assert not fake.ws.unsubscribe("news")
    assert not fake.ws.subscribe("news")
    assert not fake.ws.subscribe("other")
    assert len(fake.hub.topics) == 0
    assert fake.hub.refused_subscriptions == 0


@pytest.mark.parametrize("method", ["subscribe", "unsubscribe", "is_subscribed"])
@pytest.mark.parametrize(
    ("topic", "error", "words"),
    [
        (1, TypeError, "a string"),
        (b"a", TypeError, "a string"),
        ("", ValueError, "non-empty"),
        ("abcde", ValueError, "4"),
    ],
)
async def test_a_topic_is_a_non_empty_string_of_limited_length(
    method: str, topic: object, error: type[Exception], words: str
) -> None:
    fake = FakeSocket(limits=Limits(max_topic_length=4))
    with pytest.raises(error, match=f"{method} expects topic .*{words}"):
        getattr(fake.ws, method)(topic)
    assert getattr(fake.ws, method)("abcd") is (method == "subscribe")


# Corks


async def test_a_cork_makes_one_write_and_returns_what_its_callback_returns() -> None:
    fake = FakeSocket()

    def use(ws: Socket) -> str:
        assert ws is fake.ws
        ws.send("a")
        with ws.corked():
            ws.send("b")
        assert ws.cork(lambda ws: ws.ping()) == 0
        assert fake.sink.writes == []
        return "result"

    assert fake.ws.cork(use) == "result"
    assert fake.sink.writes == [text_frame(b"a") + text_frame(b"b") + ping_frame(b"")]


async def test_what_a_cork_raises_comes_out_after_the_write() -> None:
    fake = FakeSocket()

    def use(ws: Socket) -> None:
        ws.send("a")
        with ws.corked():
            ws.send("b")
            raise KeyError

    with pytest.raises(KeyError):
        fake.ws.cork(use)
    assert fake.sink.writes == [text_frame(b"a") + text_frame(b"b")]
    assert fake.ws._outbox.corks == 0


async def test_corks_of_several_sockets_do_not_know_each_other() -> None:
    one, other = FakeSocket(), FakeSocket()
    with one.ws.corked():
        one.ws.send("a")
        with other.ws.corked():
            other.ws.send("b")
            one.ws.send("c")
        assert other.sink.writes == [text_frame(b"b")]
        assert one.sink.writes == []
    assert one.sink.writes == [text_frame(b"a") + text_frame(b"c")]


async def test_a_cork_is_written_as_soon_as_it_holds_16_kib() -> None:
    fake = FakeSocket()
    with fake.ws.corked():
        for _ in range(3):
            fake.ws.send(b"x" * 8190)
        assert fake.sink.writes == [binary_frame(b"x" * 8190) * 2]


@pytest.mark.parametrize("end", ["close", "terminate"])
async def test_a_cork_in_which_the_socket_ends(end: str) -> None:
    fake = FakeSocket()

    def use(ws: Socket) -> None:
        ws.send("a")
        getattr(ws, end)()
        assert ws.send("b") == 0

    fake.ws.cork(use)
    assert fake.sink.writes == [text_frame(b"a") + (close_frame(1000, "") if end == "close" else b"")]


async def test_a_cork_of_a_closed_socket_calls_its_callback_all_the_same() -> None:
    fake = FakeSocket()
    fake.ws._end()
    assert fake.ws.cork(lambda ws: ws.send("x")) == 0


@pytest.mark.parametrize("wrong", [None, 1, "callback"])
async def test_a_cork_needs_a_callable(wrong: object) -> None:
    with pytest.raises(TypeError, match="cork expects callback to be callable"):
        FakeSocket().ws.cork(wrong)  # type: ignore[arg-type]


# close_on_backpressure_limit


async def test_the_send_over_the_limit_closes_a_socket_that_wants_it() -> None:
    fake = FakeSocket(WebSocketHandler(backpressure_limit=100, close_on_backpressure_limit=True))
    fake.sink.room = 0
    assert fake.ws.send(BIG) == -1
    assert fake.driver.calls == ["writer_needed"]
    assert type(fake.ws.send("x")) is MessageDropped
    assert fake.driver.calls == ["writer_needed", "abort"]
    assert fake.ws.ready_state is ReadyState.CLOSING
    assert fake.ws.statistics().drops == 1
    assert (fake.ws._end().code, fake.ws._end().reason) == (1006, "")


async def test_a_publish_over_the_limit_closes_it_too_and_costs_the_others_nothing() -> None:
    sender, slow, other = sockets(3, WebSocketHandler(backpressure_limit=100, close_on_backpressure_limit=True))
    slow.sink.room = 0
    slow.ws.send(BIG)
    assert type(sender.ws.publish("news", "x")) is MessageDropped
    assert delivered(other) == text_frame(b"x")
    assert slow.driver.calls == ["writer_needed", "abort"]
    assert sender.ws.publish("news", "y") == 1


@pytest.mark.parametrize(
    ("act", "result"),
    [
        (lambda ws: ws.send("y"), 0),
        (lambda ws: ws.pong(), 0),
        (lambda ws: ws.subscribe("other"), False),
        (lambda ws: ws.unsubscribe("news"), True),
        (lambda ws: ws.close(4000), None),
        (lambda ws: ws.terminate(), None),
    ],
)
async def test_whatever_finds_the_publish_that_closes_it_goes_on_as_on_a_closed_socket(
    act: Callable[[Socket], object], result: object
) -> None:
    sender, slow = sockets(2, WebSocketHandler(backpressure_limit=100, close_on_backpressure_limit=True))
    slow.sink.room = 0
    slow.ws.send(BIG)
    sender.ws.publish("news", "one too many")
    assert act(slow.ws) == result
    assert slow.driver.calls == ["writer_needed", "abort"]
    assert slow.ws.subscriptions == []
    assert slow.ws._end().code == 1006


async def test_without_that_option_the_message_is_only_dropped() -> None:
    fake = FakeSocket(WebSocketHandler(backpressure_limit=100))
    fake.sink.room = 0
    fake.ws.send(BIG)
    assert fake.ws.send("x") == 0
    assert fake.ws.ready_state is ReadyState.OPEN


# What belongs to it


async def test_data_address_and_request() -> None:
    ws = FakeSocket().ws
    assert ws.data is None
    ws.data = {"name": "Ada"}
    assert ws.data == {"name": "Ada"}
    assert ws.remote_address == "192.0.2.1"
    assert ws.request.path == "/path"
    assert repr(ws) == "<ServerWebSocket 192.0.2.1 OPEN>"


async def test_tasks_are_the_drivers() -> None:
    fake = FakeSocket()

    async def task(*_: object, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None: ...

    fake.ws.start_soon(task, 1, "a")
    assert await fake.ws.start(task, 2) == "started"
    assert fake.driver.tasks == [(task, 1, "a"), (task, 2)]


def closed(code: int) -> ConnectionClosed:
    return ConnectionClosed(None, None, code=code)


@pytest.mark.parametrize("code", [1000, 1001, 1005])
async def test_iteration_ends_when_the_connection_has_closed_well(code: int) -> None:
    fake = FakeSocket()
    fake.driver.messages = ["a", b"b", closed(code)]
    assert [message async for message in fake.ws] == ["a", b"b"]


@pytest.mark.parametrize("code", [1002, 1006, 1011, 4000])
async def test_iteration_raises_when_it_has_not(code: int) -> None:
    fake = FakeSocket()
    fake.driver.messages = ["a", closed(code)]
    got: list[str | bytes] = []

    async def read() -> None:
        async for message in fake.ws:
            got.append(message)  # noqa: PERF401  # what came before the exception counts

    with pytest.raises(ConnectionClosed) as caught:
        await read()
    assert caught.value.code == code
    assert got == ["a"]
