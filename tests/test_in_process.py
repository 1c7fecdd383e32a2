"""Facts about `brokers/_in_process.py`: a group of brokers in one trio run, looked at without a server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from trio_bunws import BrokerError
from trio_bunws.brokers import Batch, InProcessBroker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Link:
    def __init__(self, *channels: str) -> None:
        self.wanted = channels
        self.calls: list[str] = []
        self.received: list[tuple[str, bytes]] = []

    def channels(self) -> tuple[str, ...]:
        self.calls.append("channels")
        return self.wanted

    def connected(self) -> None:
        self.calls.append("connected")

    def disconnected(self, reason: str) -> None:
        self.calls.append(reason)

    def receive(self, channel: str, data: bytes) -> None:
        self.received.append((channel, data))


@asynccontextmanager
async def running(broker: InProcessBroker, link: Link) -> AsyncGenerator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(broker.run, link)
        yield
        nursery.cancel_scope.cancel()


async def test_what_is_published_reaches_the_others_that_are_subscribed() -> None:
    first = InProcessBroker()
    second, stranger = InProcessBroker(first), InProcessBroker()
    own, others, strangers = Link("a"), Link("a", "b"), Link("a")
    async with running(first, own), running(second, others), running(stranger, strangers):
        assert own.calls == ["channels", "connected"]
        await first.publish([Batch("a", b"1", 1), Batch("b", b"2", 1), Batch("c", b"3", 1)])
        assert others.received == [("a", b"1"), ("b", b"2")]
        assert own.received == strangers.received == []


async def test_subscriptions_come_and_go_and_are_counted() -> None:
    first = InProcessBroker()
    second = InProcessBroker(first)
    link = Link()
    async with running(first, Link()), running(second, link):
        assert await first.receivers("a") == 0
        await second.subscribe(["a", "b"])
        assert await first.receivers("a") == 1
        assert await second.receivers("a") == 0
        await second.unsubscribe(["a"])
        await first.publish([Batch("a", b"1", 1), Batch("b", b"2", 1)])
        assert link.received == [("b", b"2")]


async def test_who_does_not_run_neither_publishes_nor_gets_anything() -> None:
    first = InProcessBroker()
    second = InProcessBroker(first)
    link = Link("a")
    with pytest.raises(BrokerError):
        await second.publish([Batch("a", b"1", 1)])
    async with running(first, Link()):
        async with running(second, link):
            pass
        await first.publish([Batch("a", b"1", 1)])
        assert link.received == []
        with pytest.raises(BrokerError):
            await second.publish([Batch("a", b"1", 1)])
