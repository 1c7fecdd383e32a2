"""Facts about `testing/_check_broker.py`: ours pass it, and each of these wrong brokers fails with the right words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from redis_server import redis_server

from trio_bunws import BrokerError
from trio_bunws.brokers import Batch, Broker, BrokerLink, InProcessBroker, RedisBroker
from trio_bunws.testing import check_broker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio.testing import MockClock


class Bus(Broker):
    """A right broker, short as one of a user's own: the others here are this one with one mistake."""

    buses: list[Bus]

    def __init__(self) -> None:
        self.link: BrokerLink | None = None
        self.channels: set[str] = set()
        self.buses.append(self)

    async def run(self, link: BrokerLink, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.channels.update(link.channels())
        self.link = link
        link.connected()
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            self.link = None

    async def publish(self, batches: Sequence[Batch]) -> Sequence[Batch] | None:
        await trio.lowlevel.checkpoint()
        if self.link is None:
            raise BrokerError("not connected")
        for batch in batches:
            self.send(batch)
        return None

    def send(self, batch: Batch) -> None:
        for bus in self.buses:
            if bus.link is not None and batch.channel in bus.channels:
                bus.link.receive(batch.channel, batch.data)

    async def subscribe(self, channels: Sequence[str]) -> None:
        await trio.lowlevel.checkpoint()
        self.channels.update(channels)

    async def unsubscribe(self, channels: Sequence[str]) -> None:
        await trio.lowlevel.checkpoint()
        self.channels.difference_update(channels)


def of(kind: type[Bus]) -> Callable[[], Broker]:
    kind.buses = []
    return kind


async def test_a_right_broker_passes_also_if_what_it_publishes_comes_back_to_it() -> None:
    with trio.testing.assert_checkpoints():
        await check_broker(of(Bus))


async def test_the_broker_in_process_passes() -> None:
    first = InProcessBroker()
    await check_broker(lambda: InProcessBroker(first))


async def test_the_redis_broker_passes() -> None:
    with redis_server() as redis:
        await check_broker(lambda: RedisBroker(redis.url, prefix="check:"))


class Reordering(Bus):
    async def publish(self, batches: Sequence[Batch]) -> Sequence[Batch] | None:
        return await super().publish(batches[::-1])


class Doubling(Bus):
    def send(self, batch: Batch) -> None:
        super().send(batch)
        if batch.data == b"299":
            super().send(batch)


class Losing(Bus):
    def send(self, batch: Batch) -> None:
        if batch.data != b"13":
            super().send(batch)


class Changing(Bus):
    def send(self, batch: Batch) -> None:
        super().send(batch._replace(data=batch.data.replace(b"\0", b"")))


class Shouting(Bus):
    def send(self, batch: Batch) -> None:
        for bus in self.buses:
            if bus.link is not None:
                bus.link.receive(batch.channel, batch.data)


class Clinging(Bus):
    async def unsubscribe(self, channels: Sequence[str]) -> None: ...


class Hoarding(Bus):
    """Keeps without a bound what is published while it is not connected."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Batch] = []

    async def publish(self, batches: Sequence[Batch]) -> Sequence[Batch] | None:
        if self.link is None:
            self.kept += batches
            return None
        kept, self.kept = self.kept, []
        return await super().publish([*kept, *batches])


class Slipping(Hoarding):
    """The same, and says that it refuses."""

    async def publish(self, batches: Sequence[Batch]) -> Sequence[Batch] | None:
        if await super().publish(batches) is None and self.link is None:
            raise BrokerError("not connected, and yet")
        return None


class Blocking(Bus):
    async def publish(self, batches: Sequence[Batch]) -> Sequence[Batch] | None:  # noqa: ARG002  # nor anything else
        await trio.sleep_forever()


class Failing(Bus):
    async def publish(self, batches: Sequence[Batch]) -> Sequence[Batch] | None:
        await super().publish(batches)
        return batches


class Boasting(Bus):
    async def receivers(self, channel: str) -> int:
        await super().receivers(channel)
        return 5


class Immortal(Bus):
    async def run(self, link: BrokerLink, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            await super().run(link, task_status=task_status)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1000):
                await trio.sleep_forever()


class Brief(Bus):
    async def run(self, link: BrokerLink, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.move_on_after(1):
            await super().run(link, task_status=task_status)
        self.link = link

    async def receivers(self, channel: str) -> None:
        del channel
        await trio.sleep(2)


class Unstarted(Bus):
    async def run(self, link: BrokerLink, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        del task_status
        await super().run(link)


class Away(Bus):
    async def run(self, link: BrokerLink, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        link.disconnected("no luck")
        task_status.started()
        await trio.sleep_forever()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Reordering, "arrives, unchanged and once"),
        (Doubling, "arrive once, in order"),
        (Losing, "arrive once, in order"),
        (Changing, "unchanged"),
        (Shouting, "not subscribed to: .*t:nobody"),
        (Clinging, "nothing comes from a channel after unsubscribe has returned"),
        (Hoarding, "publish raises BrokerError while not connected, here before run"),
        (Slipping, "nothing is kept that was published while not connected"),
        (Blocking, "Blocking.publish returns within 5"),
        (Failing, "publish returns those that did not get through"),
        (Boasting, "receivers returns how many"),
        (Immortal, "Immortal.run ends within 5.* seconds when it is cancelled"),
        (Brief, "Brief.run goes on until it is cancelled"),
        (Unstarted, r"calls task_status.started\(\) within 5"),
        (Away, "or says why not: 'no luck'"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_wrong_broker_fails_with_the_sentence_that_it_does_not_keep(
    kind: type[Bus], words: str, autojump_clock: MockClock
) -> None:
    with pytest.raises(AssertionError, match=words):
        await check_broker(of(kind))
    assert autojump_clock.autojump_threshold == 0


async def test_another_exception_of_a_broker_comes_out_as_it_is() -> None:
    class Mistaken(Bus):
        async def subscribe(self, channels: Sequence[str]) -> None:
            raise KeyError(channels[0])

    with pytest.raises(KeyError):
        await check_broker(of(Mistaken))


async def test_several_exceptions_come_out_as_a_group() -> None:
    class Exploding(Bus):
        async def run(self, link: BrokerLink, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            try:
                await super().run(link, task_status=task_status)
            finally:
                raise OSError("the end")

    with pytest.RaisesGroup(OSError, OSError, flatten_subgroups=True):
        await check_broker(of(Exploding))


@pytest.mark.parametrize(("maker", "error"), [(1, TypeError), (Bus, ValueError), (str, TypeError)])
async def test_the_arguments_are_checked(maker: Callable[[], Broker], error: type[Exception]) -> None:
    with pytest.raises(error):
        await check_broker(maker, timeout=0 if maker is Bus else 5)
