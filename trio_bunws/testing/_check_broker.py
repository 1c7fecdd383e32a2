"""`check_broker`: what any broker must do, tried on several of one group. For the tests of brokers of one's own.

It speaks to the brokers as a server does, and knows nothing of how one works. The package's own brokers pass it too.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from trio_bunws._broker import Batch, Broker
from trio_bunws._errors import BrokerError
from trio_bunws._options import check_callable, check_timeout

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

logger = logging.getLogger("trio_bunws.broker")
BYTES: Final = bytes(range(256))
MANY: Final = 300
"""Batches whose order is looked at."""
PAUSE: Final = 0.002
"""Seconds between two looks at what has come."""


async def check_broker(maker: Callable[[], Broker], *, timeout: float = 5.0) -> None:
    """Check that a broker keeps the contract of `trio_bunws.brokers.Broker`; return if it does. Checkpoints.

    It checks that batches arrive unchanged, once and in order, at all who are subscribed and at nobody else; that
    publishing while a broker is not connected raises `BrokerError`, and nothing of it arrives later; that no call goes
    on for ever, and that `run` ends when it is cancelled. A batch may or may not come back to its publisher.

    Args:
        maker: called without arguments, returns a new broker of the same group each time, such as
            ``lambda: RedisBroker(url, prefix="check:")``. Nobody else may use the group meanwhile.
        timeout: seconds within which each step must be done. Default: 5.

    Raises:
        AssertionError: with the sentence of the contract that is not kept. If a broker does not even end when it is
            cancelled, that is logged first, because the check has to wait for it.
        TypeError, ValueError: if an argument is of the wrong type, or `timeout` not above 0.
    """
    check_callable("check_broker", "maker", maker)
    check_timeout("check_broker", "timeout", timeout)
    check = Check(maker, timeout)
    try:
        await check_delivery(check)
        await check_connection(check)
    except BaseExceptionGroup as group:
        # An AssertionError comes out of the nurseries that it has ended as itself.
        failure: BaseException = group
        while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
            failure = failure.exceptions[0]
        raise failure from None  # noqa: ASYNC123  # the groups around it are of our nurseries


class Link:
    """A server, as far as a broker sees it: it writes down what it gets."""

    def __init__(self, *channels: str) -> None:
        self._channels: Final = channels
        self.is_connected = False
        self.reason = ""
        self.got: list[tuple[str, bytes]] = []

    def channels(self) -> tuple[str, ...]:
        """Return what it was made with."""
        return self._channels

    def connected(self) -> None:
        """Note it."""
        self.is_connected = True

    def disconnected(self, reason: str) -> None:
        """Note it."""
        self.is_connected = False
        self.reason = reason

    def receive(self, channel: str, data: bytes) -> None:
        """Note it."""
        self.got.append((channel, data))

    def of(self, channel: str) -> list[bytes]:
        """Return what came from one channel, in order."""
        return [data for its, data in self.got if its == channel]


class Check:
    """One run of the suite."""

    def __init__(self, maker: Callable[[], Broker], timeout: float) -> None:
        self._maker: Final = maker
        self._timeout: Final = timeout

    def make(self) -> Broker:
        """Make a broker."""
        broker = self._maker()
        if not isinstance(broker, Broker):
            raise TypeError(f"check_broker expects maker to return a Broker, not {broker!r}")
        return broker

    @asynccontextmanager
    async def running(self, broker: Broker, link: Link) -> AsyncGenerator[None]:
        """Run a broker within the block, connected."""
        name = type(broker).__name__
        ended = trio.Event()

        async def run(task_status: trio.TaskStatus[None]) -> None:
            try:
                await broker.run(link, task_status=task_status)
            finally:
                ended.set()

        async with trio.open_nursery() as nursery:
            with trio.move_on_after(self._timeout) as starting:
                await nursery.start(run)
            if starting.cancelled_caught:
                raise AssertionError(f"{name}.run calls task_status.started() within {self._timeout} seconds")
            if not link.is_connected:
                raise AssertionError(
                    f"{name}.run calls link.connected() before task_status.started(), or says why not: {link.reason!r}"
                )
            yield
            if ended.is_set():
                raise AssertionError(f"{name}.run goes on until it is cancelled")
            nursery.cancel_scope.cancel()
            await self._see_the_end(ended, name)

    async def _see_the_end(self, ended: trio.Event, name: str) -> None:
        with trio.move_on_after(self._timeout, shield=True):
            await ended.wait()
            return
        words = f"{name}.run ends within {self._timeout} seconds when it is cancelled"
        logger.error("%s; it does not, and is waited for now", words)
        raise AssertionError(words)

    async def call(self, what: str, call: Callable[[], object]) -> object:
        """Await a call of a broker, which must end."""
        with trio.move_on_after(self._timeout):
            return await call()  # type: ignore[misc]  # all are coroutine functions
        raise AssertionError(f"{what} returns within {self._timeout} seconds")

    async def publish(self, broker: Broker, *batches: Batch) -> None:
        """Publish, all of which must get through."""
        failed = await self.call(f"{type(broker).__name__}.publish", lambda: broker.publish(batches))
        if failed:
            raise AssertionError(
                f"publish returns those that did not get through, and none while all is well: {failed}"
            )

    async def comes(self, link: Link, channel: str, expected: Sequence[bytes], fact: str) -> None:
        """See that exactly this comes from a channel, and nothing besides."""
        with trio.move_on_after(self._timeout):
            while len(link.of(channel)) < len(expected):  # noqa: ASYNC110 - a broker tells nobody when it is done
                await trio.sleep(PAUSE)
        if (got := link.of(channel)) != list(expected):
            raise AssertionError(f"{fact}: published were {short(expected)}, and received {short(got)}")


async def check_delivery(check: Check) -> None:
    """Try what arrives, where, and how."""
    sender, receiver = check.make(), check.make()
    own, link = Link("t:own"), Link("t:a", "t:ä {b}* \u2028")
    async with check.running(sender, own), check.running(receiver, link):
        first = [Batch("t:a", BYTES, 1), Batch("t:a", b"", 1), Batch("t:ä {b}* \u2028", BYTES * 400, 3)]
        await check.publish(sender, *first, Batch("t:nobody", b"", 1))
        await check.comes(link, "t:a", [BYTES, b""], "what is published arrives, unchanged and once")
        await check.comes(link, first[2].channel, [first[2].data], "a channel may have any name, and a batch be long")
        if strangers := {channel for channel, _ in (*own.got, *link.got)} - {"t:own", "t:a", first[2].channel}:
            raise AssertionError(f"nothing comes from a channel that is not subscribed to: {sorted(strangers)}")

        await check.call("subscribe", lambda: receiver.subscribe(["t:b", "t:c"]))
        numbers = [b"%d" % number for number in range(MANY)]
        for start in range(0, MANY, 7):
            some = numbers[start : start + 7]
            await check.publish(sender, *(Batch(c, data, 1) for data in some for c in ("t:b", "t:c")))
        for channel in ("t:b", "t:c"):
            await check.comes(link, channel, numbers, "the batches of one server to one channel arrive once, in order")

        await check.call("unsubscribe", lambda: receiver.unsubscribe(["t:b"]))
        await check.publish(sender, Batch("t:b", b"late", 1), Batch("t:c", b"last", 1))
        await check.comes(link, "t:c", [*numbers, b"last"], "who has unsubscribed from one channel has not from others")
        await check.comes(link, "t:b", numbers, "nothing comes from a channel after unsubscribe has returned")

        await check.publish(receiver, Batch("t:own", b"answer", 1))
        await check.comes(own, "t:own", [b"answer"], "both ways work")
        match await check.call("receivers", lambda: sender.receivers("t:c")):
            case None | 1:
                pass
            case other:
                raise AssertionError(f"receivers returns how many get a batch, here 1, or None: {other!r}")


async def check_connection(check: Check) -> None:
    """Try what happens while a broker is not connected, and at its end."""
    link = Link("t:a")
    async with check.running(check.make(), link):
        broker = check.make()
        await refuses(check, broker, b"early", "before run")
        async with check.running(broker, Link()):
            await check.publish(broker, Batch("t:a", b"in time", 1))
            await check.comes(link, "t:a", [b"in time"], "nothing is kept that was published while not connected")
        await refuses(check, broker, b"late", "after run")
        async with check.running(other := check.make(), Link()):
            await check.publish(other, Batch("t:a", b"end", 1))
            await check.comes(link, "t:a", [b"in time", b"end"], "nothing arrives that was published after run")


async def refuses(check: Check, broker: Broker, data: bytes, when: str) -> None:
    """See that a broker that is not connected takes nothing."""
    try:
        await check.call("publish", lambda: broker.publish([Batch("t:a", data, 1)]))
    except BrokerError:
        return
    raise AssertionError(f"publish raises BrokerError while not connected, here {when}: nothing is queued for later")


def short(batches: Sequence[bytes]) -> str:
    """Return some words for a list of batches."""
    shown = ", ".join(repr(data[:12]) for data in batches[:20])
    return f"{len(batches)} [{shown}{', ...' if len(batches) > 20 else ''}]"
