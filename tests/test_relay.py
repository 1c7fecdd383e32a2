"""Facts about `_relay.py`: what reaches the broker and the hub, what is lost, what is counted, and what is logged.

The broker and the hub are fakes, so that each fact is about the relay alone.
"""
# ruff: noqa: ARG001 - a test gets its clock by asking for it

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from broker_fakes import FakeBroker
from patience import PATIENCE

from trio_bunws import BrokerError
from trio_bunws._envelope import (
    Answer,
    Publishes,
    Question,
    Section,
    decode,
    encode_answer,
    encode_publishes,
    encode_question,
)
from trio_bunws._relay import MAX_CENSUS, Relay
from trio_bunws._wire.frames import text_frame

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from trio.testing import MockClock

    from trio_bunws.brokers import Batch

OTHER = b"other456"
ONE, TWO = text_frame(b"one"), text_frame(b"two")


class FakeHub:
    def __init__(self) -> None:
        self.delivered: list[tuple[str, list[bytes], bool]] = []

    def deliver(self, topic: str, frames: Sequence[bytes], *, compress: bool) -> None:
        self.delivered.append((topic, list(frames), compress))

    def subscriber_count(self, topic: str) -> int:
        return len(topic)


def make(broker: FakeBroker) -> tuple[Relay, FakeHub]:
    relay = Relay(broker)
    hub = FakeHub()
    relay.hub = hub
    return relay, hub


@asynccontextmanager
async def running(broker: FakeBroker) -> AsyncGenerator[tuple[Relay, FakeHub]]:
    relay, hub = make(broker)
    async with trio.open_nursery() as nursery:
        await nursery.start(relay.run)
        yield relay, hub
        nursery.cancel_scope.cancel()


def own_channel(broker: FakeBroker) -> str:
    call, (channel,) = broker.subscriptions[0]
    assert call == "channels"
    return channel


def own_node(broker: FakeBroker) -> bytes:
    return bytes.fromhex(own_channel(broker).removeprefix("n:"))


def from_other(*frames: bytes, compress: bool = False) -> bytes:
    return encode_publishes(OTHER, [Section(compress, frames)])


def messages(batches: Sequence[Batch]) -> list[tuple[str, list[bytes]]]:
    found: list[tuple[str, list[bytes]]] = []
    for batch in batches:
        envelope = decode(batch.data)
        assert isinstance(envelope, Publishes)
        found.append((batch.channel, [frame for section in envelope.sections for frame in section.frames]))
    return found


# Publishing


async def test_the_publishes_of_one_tick_are_one_batch_per_topic() -> None:
    broker = FakeBroker()
    async with running(broker) as (relay, _):
        for topic, frame in (("a", ONE), ("b", TWO), ("a", TWO)):
            relay.publish(topic, frame, compress=False)
        assert broker.published == []
        await relay.flush()
        assert [messages(batches) for batches in broker.published] == [[("t:a", [ONE, TWO]), ("t:b", [TWO])]]
        assert relay.statistics().published == 3
        relay.publish("a", ONE, compress=False)
        await relay.flush()
        assert len(broker.published) == 2


async def test_while_the_broker_takes_a_batch_the_next_ones_wait_and_are_one() -> None:
    broker = FakeBroker()
    async with running(broker) as (relay, _):
        broker.room = trio.Event()
        for frame in (ONE, TWO, ONE):
            relay.publish("a", frame, compress=False)
            await trio.testing.wait_all_tasks_blocked()
        assert len(broker.published) == 1
        broker.room.set()
        await relay.flush()
        assert [messages(batches) for batches in broker.published[1:]] == [[("t:a", [TWO, ONE])]]


async def test_what_is_over_the_queue_s_bound_is_lost_and_logged_once_per_episode(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = FakeBroker(queue=3 * (len(ONE) + 64))
    async with running(broker) as (relay, _):
        for episode in (1, 2):
            broker.room = trio.Event()
            relay.publish("a", ONE, compress=False)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(5):
                relay.publish("a", TWO, compress=False)
            assert relay.statistics().lost == 2 * episode
            assert caplog.text.count("too slow") == episode
            broker.room.set()
            await relay.flush()
            assert relay.statistics().published == 5 * episode - 1
            relay.publish("a", ONE, compress=False)  # a tick with room ends the episode
            await relay.flush()


async def test_a_message_longer_than_the_broker_takes_is_lost() -> None:
    broker = FakeBroker(longest=100)
    async with running(broker) as (relay, _):
        relay.publish("a", text_frame(bytes(100)), compress=False)
        relay.publish("a", ONE, compress=False)
        await relay.flush()
        assert (relay.statistics().lost, relay.statistics().published) == (1, 1)


async def test_what_a_publish_that_fails_had_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    broker = FakeBroker()
    async with running(broker) as (relay, _):
        broker.refuses = BrokerError("gone")
        relay.publish("a", ONE, compress=False)
        relay.publish("b", ONE, compress=False)
        await relay.flush()
        assert (relay.statistics().lost, relay.statistics().published) == (2, 0)
        assert caplog.records == []


async def test_what_a_publish_tells_that_failed_is_lost_and_nothing_else() -> None:
    broker = FakeBroker()
    async with running(broker) as (relay, _):
        relay.publish("a", ONE, compress=False)
        await relay.flush()
        broker.failed = broker.published[0]
        relay.publish("b", ONE, compress=False)
        relay.publish("b", ONE, compress=False)
        await relay.flush()
        assert (relay.statistics().lost, relay.statistics().published) == (1, 2)


async def test_another_exception_than_a_broker_error_is_logged_with_its_traceback_and_the_server_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = FakeBroker()
    async with running(broker) as (relay, _):
        broker.refuses = KeyError("a mistake")
        relay.publish("a", ONE, compress=False)
        await relay.flush()
        broker.refuses = None
        relay.publish("a", ONE, compress=False)
        await relay.flush()
        assert (relay.statistics().lost, relay.statistics().published) == (1, 1)
    (record,) = caplog.records
    assert "FakeBroker.publish failed" in record.message
    assert record.exc_info is not None


# The broker comes and goes


async def test_while_the_broker_is_away_all_is_lost_at_once_and_the_log_tells_it_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    broker = FakeBroker()
    async with running(broker) as (relay, _):
        assert relay.statistics().connected
        broker.link.disconnected("pulled the plug")
        broker.link.disconnected("still pulled")
        for _ in range(5):
            relay.publish("a", ONE, compress=False)
        await relay.flush()
        now = relay.statistics()
        assert (now.connected, now.lost, now.reconnects, broker.published) == (False, 5, 0, [])
        broker.link.connected()
        now = relay.statistics()
        assert (now.connected, now.lost, now.reconnects) == (True, 5, 1)
    assert [record.message for record in caplog.records] == [
        "the broker is away, and publishes reach this server's sockets only: pulled the plug",
        "the broker is back; 5 messages for others were lost",
    ]


async def test_a_broker_that_is_away_when_the_server_starts_does_not_keep_it_from_starting() -> None:
    broker = FakeBroker(reachable=False)
    async with running(broker) as (relay, _):
        assert not relay.statistics().connected


async def test_what_waits_when_the_broker_goes_away_is_lost() -> None:
    broker = FakeBroker()
    async with running(broker) as (relay, _):
        relay.publish("a", ONE, compress=False)
        broker.link.disconnected("gone")
        await trio.testing.wait_all_tasks_blocked()
        assert (relay.statistics().lost, broker.published) == (1, [])


@asynccontextmanager
async def flushing(broker: FakeBroker) -> AsyncGenerator[trio.Nursery]:
    """Run a relay whose broker is busy with a publish, and a flush in a nursery of its own."""
    async with running(broker) as (relay, _):
        broker.room = trio.Event()
        relay.publish("a", ONE, compress=False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay.flush)
            await trio.testing.wait_all_tasks_blocked()
            assert len(nursery.child_tasks) == 1
            yield nursery


async def test_a_flush_ends_when_the_broker_goes_away() -> None:
    broker = FakeBroker()
    async with flushing(broker):
        broker.link.disconnected("gone")


async def test_a_flush_of_a_broker_that_is_back_at_once_waits_and_does_not_spin() -> None:
    broker = FakeBroker()
    async with flushing(broker) as nursery:
        broker.link.disconnected("gone")
        broker.link.connected()
        with trio.fail_after(PATIENCE):  # a task that spins is never blocked
            await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        broker.room.set()


async def test_a_broker_whose_run_returns_is_an_error() -> None:
    broker = FakeBroker()
    with pytest.RaisesGroup(BrokerError, flatten_subgroups=True):
        async with running(broker):
            broker.over.set()
            await trio.sleep_forever()


# Subscriptions


async def test_a_topic_is_subscribed_while_it_has_a_local_subscriber() -> None:
    broker = FakeBroker()
    async with running(broker) as (relay, _):
        relay.topic_gained("a")
        relay.topic_gained("b")
        await trio.testing.wait_all_tasks_blocked()
        relay.topic_lost("a")
        relay.topic_gained("c")
        await trio.testing.wait_all_tasks_blocked()
        assert broker.subscriptions[1:] == [
            ("subscribe", ["t:a", "t:b"]),
            ("subscribe", ["t:c"]),
            ("unsubscribe", ["t:a"]),
        ]


async def test_what_comes_and_goes_within_a_tick_does_not_reach_the_broker() -> None:
    broker = FakeBroker()
    async with running(broker) as (relay, _):
        relay.topic_gained("a")
        relay.topic_lost("a")
        await trio.testing.wait_all_tasks_blocked()
        assert len(broker.subscriptions) == 1


async def test_changes_while_the_broker_is_away_are_in_the_channels_of_the_next_connection() -> None:
    broker = FakeBroker()
    async with running(broker) as (relay, _):
        relay.topic_gained("a")
        relay.topic_gained("b")
        await trio.testing.wait_all_tasks_blocked()
        broker.link.disconnected("gone")
        relay.topic_lost("a")
        relay.topic_gained("c")
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(broker.link.channels()) == sorted([own_channel(broker), "t:b", "t:c"])
        relay.topic_gained("d")  # after it was asked, before it is there
        await trio.testing.wait_all_tasks_blocked()
        assert len(broker.subscriptions) == 2
        broker.link.connected()
        await trio.testing.wait_all_tasks_blocked()
        assert broker.subscriptions[2:] == [("subscribe", ["t:d"])]


async def test_a_subscription_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    broker = FakeBroker()
    async with running(broker) as (relay, _):
        broker.refuses = BrokerError("not allowed")
        relay.topic_gained("a")
        await trio.testing.wait_all_tasks_blocked()
        assert "not allowed" in caplog.text


# What comes


async def test_what_others_publish_is_delivered_in_order_with_the_flag() -> None:
    broker = FakeBroker()
    async with running(broker) as (relay, hub):
        sections = [Section(False, [ONE, TWO]), Section(True, [ONE])]
        broker.link.receive("t:a", encode_publishes(OTHER, sections))
        assert hub.delivered == [("a", [ONE, TWO], False), ("a", [ONE], True)]
        assert relay.statistics().received == 3


async def test_the_own_publishes_are_not_delivered_again() -> None:
    broker = FakeBroker()
    async with running(broker) as (relay, hub):
        relay.publish("a", ONE, compress=False)
        await relay.flush()
        (batch,) = broker.published[0]
        broker.link.receive(batch.channel, batch.data)
        assert hub.delivered == []
        assert (relay.statistics().received, relay.statistics().skipped) == (0, 0)


async def test_a_poisoned_or_foreign_batch_is_counted_and_skipped_and_logged_once_per_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = FakeBroker(longest=200)
    async with running(broker) as (relay, hub):
        poison = [
            ("t:a", b"hello"),
            ("t:a", from_other(ONE)[:-1]),
            ("t:a", from_other(text_frame(bytes(200)))),
            ("x:a", from_other(ONE)),
            ("t:a", encode_answer(OTHER, b"12345678", 1)),
            (own_channel(broker), from_other(ONE)),
            (own_channel(broker), encode_question(OTHER, b"12345678")),
        ]
        for channel, data in poison:
            broker.link.receive(channel, data)
        assert hub.delivered == []
        assert relay.statistics().skipped == len(poison)
        assert caplog.text.count("somebody else publishes") == 1
        broker.link.connected()
        broker.link.receive("t:a", b"hello")
        assert caplog.text.count("somebody else publishes") == 2
        broker.link.receive("t:a", from_other(ONE))
        assert hub.delivered == [("a", [ONE], False)]


# Counting


async def test_nobody_is_asked_before_the_own_subscription_has_reached_the_broker() -> None:
    # Else the broker would count the others only, and the own answer would do for one of theirs.
    broker = FakeBroker()
    async with running(broker) as (relay, _):
        broker.room = trio.Event()
        relay.topic_gained("a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay.count_elsewhere, "a", 10)
            await trio.testing.wait_all_tasks_blocked()
            assert broker.subscriptions[1:] == [("subscribe", ["t:a"])]
            assert broker.published == []
            broker.room.set()
            await trio.testing.wait_all_tasks_blocked()
            assert len(broker.published) == 1
            nursery.cancel_scope.cancel()


async def test_many_changes_within_a_tick_are_told_in_one_go() -> None:
    broker = FakeBroker()
    async with running(broker) as (relay, _):
        for topic in "abcd":
            relay.topic_gained(topic)
        await trio.testing.wait_all_tasks_blocked()
        assert broker.subscriptions[1:] == [("subscribe", ["t:a", "t:b", "t:c", "t:d"])]


async def test_other_topics_that_come_and_go_hold_up_no_question() -> None:
    broker = FakeBroker()
    broker.expected = 0
    async with running(broker) as (relay, _):
        broker.room = trio.Event()
        relay.topic_gained("busy")
        await trio.testing.wait_all_tasks_blocked()
        relay.topic_lost("busy")
        with trio.fail_after(PATIENCE):
            assert await relay.count_elsewhere("a", 10) == 0


async def test_the_count_is_what_all_that_are_expected_answer(autojump_clock: MockClock) -> None:
    broker = FakeBroker()
    broker.expected = 3
    async with running(broker) as (relay, _), trio.open_nursery() as nursery:
        node = own_node(broker)

        async def answer() -> None:
            await trio.testing.wait_all_tasks_blocked()
            (question,) = broker.published[0]
            envelope = decode(question.data)
            assert isinstance(envelope, Question)
            assert (question.channel, question.messages, envelope.node) == ("t:a", 0, node)
            broker.link.receive("t:a", question.data)  # it comes back
            broker.link.receive(own_channel(broker), encode_answer(OTHER, envelope.number, 2))
            broker.link.receive(own_channel(broker), encode_answer(b"another!", envelope.number, 5))

        nursery.start_soon(answer)
        assert await relay.count_elsewhere("a", 10) == 7
        with trio.fail_after(1):  # nobody is subscribed
            broker.expected = 0
            assert await relay.count_elsewhere("a", 10) == 0


async def test_who_does_not_answer_in_time_is_not_counted(autojump_clock: MockClock) -> None:
    broker = FakeBroker()
    async with running(broker) as (relay, _):
        began = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def answer() -> None:
                await trio.testing.wait_all_tasks_blocked()
                envelope = decode(broker.published[0][0].data)
                assert isinstance(envelope, Question)
                broker.link.receive(own_channel(broker), encode_answer(OTHER, envelope.number, 2))

            nursery.start_soon(answer)
            assert await relay.count_elsewhere("a", 10) == 2
        assert trio.current_time() - began == pytest.approx(10)


async def test_a_question_is_answered_on_the_channel_of_who_asks() -> None:
    broker = FakeBroker()
    async with running(broker) as (relay, _):
        broker.link.receive("t:abc", encode_question(OTHER, b"12345678"))
        await relay.flush()
        (answer,) = broker.published[0]
        assert answer.channel == f"n:{OTHER.hex()}"
        assert decode(answer.data) == Answer(own_node(broker), b"12345678", len("abc"))


async def test_a_flood_of_questions_is_not_answered_without_bound() -> None:
    broker = FakeBroker()
    async with running(broker) as (relay, _):
        for _ in range(2 * MAX_CENSUS):
            broker.link.receive("t:abc", encode_question(OTHER, b"12345678"))
        await relay.flush()
        assert len(broker.published[0]) == MAX_CENSUS


async def test_while_the_broker_is_away_nobody_is_counted() -> None:
    broker = FakeBroker(reachable=False)
    async with running(broker) as (relay, _):
        assert await relay.count_elsewhere("a", 10) == 0


async def test_a_broker_that_cannot_be_asked_counts_for_nothing() -> None:
    broker = FakeBroker()
    async with running(broker) as (relay, _):
        broker.refuses = BrokerError("gone")
        assert await relay.count_elsewhere("a", 10) == 0
