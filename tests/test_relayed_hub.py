"""Facts about `_relayed_hub.py`: what a hub tells its relay, and what it takes from it."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from broker_fakes import FakeBroker
from engine_fakes import FakeSocket

from trio_bunws import MessageDropped, MessageSent, WebSocketHandler
from trio_bunws._envelope import Publishes, Section, decode
from trio_bunws._relay import Relay
from trio_bunws._relayed_hub import RelayedHub
from trio_bunws._wire.frames import binary_frame, text_frame


class Place:
    """A relayed hub, with its broker and sockets."""

    def __init__(self, nursery: trio.Nursery, max_topic_length: int = 1024) -> None:
        self.broker = FakeBroker()
        self.relay = Relay(self.broker)
        self.hub = RelayedHub(self.relay, max_topic_length)
        self.nursery = nursery

    async def start(self) -> None:
        await self.nursery.start(self.relay.run)
        self.nursery.start_soon(self.hub.run)

    def socket(self, *topics: str, publish_to_self: bool = False) -> FakeSocket:
        socket = FakeSocket(WebSocketHandler(publish_to_self=publish_to_self), hub=self.hub)
        for topic in topics:
            assert socket.ws.subscribe(topic)
        return socket

    async def published(self) -> list[tuple[str, list[Section]]]:
        await trio.testing.wait_all_tasks_blocked()
        found: list[tuple[str, list[Section]]] = []
        for batch in (batch for batches in self.broker.published for batch in batches):
            envelope = decode(batch.data)
            assert isinstance(envelope, Publishes)
            found.append((batch.channel, list(envelope.sections)))
        self.broker.published.clear()
        return found


async def test_a_publish_goes_to_the_broker_with_its_flag_and_without_its_sender(nursery: trio.Nursery) -> None:
    place = Place(nursery)
    await place.start()
    here, there = place.socket("a"), place.socket("a")
    assert here.ws.publish("a", "one") == MessageSent(3)
    assert here.ws.publish_binary("a", b"two", compress=True) == MessageSent(3)
    expected = [Section(False, [text_frame(b"one")]), Section(True, [binary_frame(b"two")])]
    assert await place.published() == [("t:a", expected)]
    assert here.sink.written == b""
    assert there.sink.written == text_frame(b"one") + binary_frame(b"two")


async def test_a_publish_that_nobody_here_gets_goes_to_the_broker_and_its_status_is_local(
    nursery: trio.Nursery,
) -> None:
    place = Place(nursery)
    await place.start()
    assert place.socket("a").ws.publish("a", "one") == MessageDropped()
    assert await place.published() == [("t:a", [Section(False, [text_frame(b"one")])])]


@pytest.mark.parametrize("topic", ["", "ä" * 9, "x" * 17])
async def test_what_is_no_topic_does_not_go_to_the_broker(topic: str, nursery: trio.Nursery) -> None:
    place = Place(nursery, max_topic_length=16)
    await place.start()
    place.hub.publish(topic, text_frame(b"one"), 3, None)
    place.hub.publish("ä" * 8, text_frame(b"one"), 3, None)
    assert [channel for channel, _ in await place.published()] == [f"t:{'ä' * 8}"]


@pytest.mark.parametrize("publish_to_self", [False, True])
async def test_what_others_publish_reaches_all_sockets_of_the_topic(
    publish_to_self: bool, nursery: trio.Nursery
) -> None:
    place = Place(nursery)
    await place.start()
    one, two, other = (place.socket(topic, publish_to_self=publish_to_self) for topic in ("a", "a", "b"))
    frames = [text_frame(b"one"), text_frame(b"two")]
    place.hub.deliver("a", frames, compress=True)
    place.hub.deliver("nobody", frames, compress=False)
    assert await place.published() == []
    assert one.sink.written == two.sink.written == b"".join(frames)
    assert other.sink.written == b""


async def test_the_broker_is_subscribed_from_a_topic_s_first_member_to_its_last(nursery: trio.Nursery) -> None:
    place = Place(nursery)
    await place.start()
    one, two = place.socket("a"), place.socket("a", "b")
    await trio.testing.wait_all_tasks_blocked()
    assert place.hub.subscriber_count("a") == 2
    one.ws.unsubscribe("a")
    await trio.testing.wait_all_tasks_blocked()
    assert place.broker.subscriptions[1:] == [("subscribe", ["t:a", "t:b"])]
    two.ws.terminate()
    await trio.testing.wait_all_tasks_blocked()
    assert place.broker.subscriptions[2:] == [("unsubscribe", ["t:a", "t:b"])]
    assert place.hub.subscriber_count("a") == 0
