"""Publishing over several servers: what BEHAVIOUR.md says of topics holds on each, and what a broker adds to it.

Whole servers in memory on one `InProcessBroker` group; `test_redis_*.py` has the same on Redis.
"""
# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from broker_fakes import FakeBroker
from playground import Playground, Socket, playground, settled

from trio_bunws import BrokerError, Limits, MessageDropped, MessageSent, Server, WebSocketHandler, serve
from trio_bunws.brokers import BrokerStatistics, InProcessBroker
from trio_bunws.testing import Frame, MemoryListener

if TYPE_CHECKING:
    from trio.testing import MockClock

TEXT = 0x1


def handler(**options: Any) -> WebSocketHandler[Any]:
    """Subscribe to "room" and publish there what comes."""

    def opened(ws: Socket) -> None:
        ws.subscribe("room")

    def message(ws: Socket, message: str | bytes) -> None:
        ws.publish("room", message)

    return WebSocketHandler(open=opened, message=message, **options)


async def two_servers(stack: AsyncExitStack, **options: Any) -> tuple[Playground, Playground]:
    broker = InProcessBroker()
    brokers = (broker, InProcessBroker(broker))
    one, two = [await stack.enter_async_context(playground(handler(**options), broker=broker)) for broker in brokers]
    return one, two


async def test_a_publish_reaches_the_subscribers_of_all_servers_but_its_sender(autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as stack:
        one, two = await two_servers(stack)
        sender, here, there = await one.open(), await one.open(), await two.open()
        await settled()
        await sender.send_text("hello")
        assert await here.receive_text() == "hello"
        assert await there.receive_text() == "hello"
        await there.send_binary(b"back")
        for peer in (sender, here):
            assert (await peer.receive()).payload == b"back"
        assert sender.received == b""
        counts = BrokerStatistics(connected=True, published=1, received=1, lost=0, skipped=0, reconnects=0)
        assert one.server.statistics().broker == two.server.statistics().broker == counts


async def test_publish_to_self_gives_it_to_the_sender_once(autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as stack:
        one, two = await two_servers(stack, publish_to_self=True)
        sender, there = await one.open(), await two.open()
        await settled()
        for text in ("first", "second"):
            await sender.send_text(text)
            assert await sender.receive_text() == text
            assert await there.receive_text() == text


async def test_the_status_is_local_and_a_publish_without_local_receivers_goes_out(autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as stack:
        one, two = await two_servers(stack)
        there = await two.open()
        await settled()
        assert one.server.publish("room", "from afar") == MessageDropped()
        assert await there.receive_text() == "from afar"
        assert two.server.publish("room", "from here") == MessageSent(9)
        assert await there.receive_text() == "from here"


async def test_compression_is_for_who_agreed_to_it_on_the_other_server_too(autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as stack:
        one, two = await two_servers(stack, per_message_deflate=True)
        offer = (("Sec-WebSocket-Extensions", "permessage-deflate"),)
        agreed, plain = await two.open(headers=offer), await two.open()
        await settled()
        one.server.publish("room", "a" * 100)
        one.server.publish("room", "b" * 100, compress=False)
        assert [(await agreed.receive()).rsv for _ in range(2)] == [4, 0]
        assert [await plain.receive() for _ in range(2)] == [Frame(TEXT, x * 100, True, 0) for x in (b"a", b"b")]


async def test_the_order_of_one_publisher_is_kept_in_each_topic(autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as stack:
        one, two = await two_servers(stack)
        there = await two.open()
        await settled()
        for number in range(300):
            one.server.publish("room", str(number), compress=number % 3 == 0)
            if number % 50 == 0:
                await settled()
        assert [await there.receive_text() for _ in range(300)] == [str(number) for number in range(300)]


async def test_the_count_everywhere_is_the_sum_over_all_servers(autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as stack:
        one, two = await two_servers(stack)
        peers = [await place.open() for place in (one, two, two)]
        await settled()
        began = trio.current_time()
        for place, own in ((one, 1), (two, 2)):
            assert place.server.subscriber_count("room") == own
            assert await place.server.subscriber_count_everywhere("room") == 3
            assert await place.server.subscriber_count_everywhere("nobody's") == 0
        assert trio.current_time() == began  # nobody was waited for
        del peers


async def test_without_a_broker_the_count_everywhere_is_the_count_here(autojump_clock: MockClock) -> None:
    async with playground(handler()) as place:
        peer = await place.open()
        await settled()
        with trio.testing.assert_checkpoints():
            assert await place.server.subscriber_count_everywhere("room") == 1
        assert place.server.statistics().broker is None
        del peer


async def test_the_count_everywhere_checks_its_arguments(autojump_clock: MockClock) -> None:
    async with playground(handler()) as place:
        for topic, timeout, error in (
            (1, 1, TypeError),
            ("", 1, ValueError),
            ("a", 0, ValueError),
            ("a", "1", TypeError),
        ):
            with pytest.raises(error, match="subscriber_count"):
                await place.server.subscriber_count_everywhere(topic, timeout)  # type: ignore[arg-type]  # what is tested


async def test_what_close_handlers_publish_while_the_server_stops_goes_out(autojump_clock: MockClock) -> None:
    def closed(ws: Socket, _code: int, _reason: str) -> None:
        ws.publish("room", "left")

    broker = InProcessBroker()
    async with playground(handler(), broker=InProcessBroker(broker)) as two:
        there = await two.open()
        async with playground(WebSocketHandler[Any](close=closed), broker=broker) as one:
            peer = await one.open()
        assert await there.receive_text() == "left"
        del peer


async def test_a_broker_that_takes_nothing_holds_the_end_no_longer_than_close_timeout(
    autojump_clock: MockClock,
) -> None:
    broker = FakeBroker()
    broker.room = trio.Event()
    async with playground(handler(), broker=broker, limits=Limits(close_timeout=7)) as place:
        place.server.publish("room", "stuck")
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(7)


async def test_a_broker_that_refuses_the_server_is_an_error_of_serve(autojump_clock: MockClock) -> None:
    class Refusing(FakeBroker):
        async def run(self, *_: object, **__: object) -> None:
            await trio.lowlevel.checkpoint()
            raise BrokerError("wrong password")

    with pytest.raises(BrokerError, match="wrong password"):
        await serve(websocket=handler(), listeners=[MemoryListener()], broker=Refusing())


async def test_a_broker_that_ends_ends_the_server(autojump_clock: MockClock) -> None:
    broker = FakeBroker()
    broker.over.set()
    with pytest.raises(BrokerError, match="has returned"):
        await serve(websocket=handler(), listeners=[MemoryListener()], broker=broker)


@pytest.mark.parametrize("broker", ["redis://localhost", InProcessBroker, Server])
async def test_what_is_no_broker_is_a_type_error(broker: object, autojump_clock: MockClock) -> None:
    with pytest.raises(TypeError, match="serve expects broker to be a Broker"):
        await serve(websocket=handler(), listeners=[MemoryListener()], broker=broker)  # type: ignore[arg-type]
