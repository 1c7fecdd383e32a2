"""`Relay`: between the hub of one server and its broker, which only moves bytes and knows nothing of what they mean.

What is published in one scheduler tick goes to the broker as one batch per topic, from a queue that has a bound; what
comes from there goes to the hub at once. It knows which batches are the server's own, asks and answers for the count of
subscribers everywhere, counts what is lost, and logs that once per episode. `_relayed_hub.py` and `_run.py` use it.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Final, Protocol

import trio

from trio_bunws._broker import Batch, BrokerStatistics
from trio_bunws._census import Census
from trio_bunws._envelope import (
    NODE,
    NODES,
    TOPIC,
    Answer,
    Publishes,
    Question,
    decode,
    encode_answer,
    encode_question,
    is_echo,
)
from trio_bunws._errors import BrokerError
from trio_bunws._outgoing import Outgoing
from trio_bunws._subscriptions import Subscriptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_bunws._broker import Broker

logger = logging.getLogger("trio_bunws.broker")
MAX_CENSUS: Final = 1024
"""Questions and answers that wait for the broker; a flood of questions is not answered beyond it."""


class RelayedDelivery(Protocol):
    """The hub, as far as the relay needs it."""

    def deliver(self, topic: str, frames: Sequence[bytes], *, compress: bool) -> None:
        """Give messages of another server to a topic's local subscribers."""
        ...

    def subscriber_count(self, topic: str) -> int:
        """Return how many local subscribers a topic has."""
        ...


class Bell:
    """Wakes one task."""

    __slots__ = ("_ring", "_waiting")

    def __init__(self) -> None:
        self._ring, self._waiting = trio.open_memory_channel[None](1)

    def ring(self) -> None:
        """Wake it, now or when it waits next."""
        try:
            self._ring.send_nowait(None)
        except trio.WouldBlock:
            pass  # it has been rung already

    async def wait(self) -> None:
        """Wait until it rings."""
        await self._waiting.receive()


class Relay:
    """One server's way to its broker; also its `BrokerLink`. What is not `async` never checkpoints."""

    __slots__ = (
        "_broker",
        "_census",
        "_connected",
        "_control",
        "_idle_or_away",
        "_lost",
        "_lost_before",
        "_node",
        "_outgoing",
        "_overflowing",
        "_own_channel",
        "_publish_bell",
        "_published",
        "_publishing",
        "_received",
        "_reconnects",
        "_skipped",
        "_skipping",
        "_subscribe_bell",
        "_subscriptions",
        "_was_away",
        "hub",
    )

    hub: RelayedDelivery
    """Set by the hub, before anything runs."""

    def __init__(self, broker: Broker) -> None:
        self._broker: Final = broker
        self._node: Final = secrets.token_bytes(NODE)
        self._own_channel: Final = NODES + self._node.hex()
        # Publishing
        self._outgoing: Final = Outgoing(self._node, max_size=broker.max_queue_size, max_batch=broker.max_message_size)
        self._census: Final = Census()
        self._control: list[Batch] = []
        """Questions and answers that wait for the broker."""
        self._publishing = False
        """Whether the publishing task has been woken or is at work."""
        self._publish_bell: Final = Bell()
        self._idle_or_away = trio.Event()
        """Set, and made anew, when the broker has taken everything, and when it goes away."""
        # Subscribing
        self._subscriptions: Final = Subscriptions(self._own_channel)
        self._subscribe_bell: Final = Bell()
        # Episodes, of which the log tells once
        self._connected = False
        self._was_away = False
        self._overflowing = False
        self._skipping = False
        self._lost_before = 0
        """What was lost when the broker was there the last time."""
        # Counts
        self._published = 0
        self._received = 0
        self._lost = 0
        self._skipped = 0
        self._reconnects = 0

    def statistics(self) -> BrokerStatistics:
        """Return counts since the server began."""
        return BrokerStatistics(
            connected=self._connected,
            published=self._published,
            received=self._received,
            lost=self._lost,
            skipped=self._skipped,
            reconnects=self._reconnects,
        )

    # The hub's side

    def publish(self, topic: str, frame: bytes, *, compress: bool) -> None:
        """Hand a message on; it is counted as lost if the broker is away, or the queue full."""
        if not self._connected:
            self._lost += 1
        elif self._outgoing.add(topic, frame, compress=compress):
            if not self._publishing:
                self._wake()
        else:
            self._lost += 1
            if not self._overflowing:
                self._overflowing = True
                logger.warning("the broker is too slow, or a message too long for it: messages for others are lost")

    def topic_gained(self, topic: str) -> None:
        """Say that a topic has a local subscriber now."""
        self._subscriptions.add(TOPIC + topic)
        self._subscribe_bell.ring()

    def topic_lost(self, topic: str) -> None:
        """Say that a topic has no local subscriber any more."""
        self._subscriptions.discard(TOPIC + topic)
        self._subscribe_bell.ring()

    async def count_elsewhere(self, topic: str, timeout: float) -> int:
        """Return how many subscribers the other servers tell of within so many seconds; 0 while the broker is away."""
        await trio.lowlevel.checkpoint()
        if not self._connected:
            return 0
        channel = TOPIC + topic
        count = self._census.begin()
        try:
            with trio.move_on_after(timeout):
                # The broker's number and the answers must be of the same servers. While it is being told that this one
                # comes or goes, it may count us although our question does not come back to us, or the other way round.
                await self._subscriptions.wait_told(channel)
                expected = await self._broker.receivers(channel)
                self._send(Batch(channel, encode_question(self._node, count.number), 0))
                if expected is not None:
                    count.expect(expected)
                await count.done.wait()
        except BrokerError as exc:
            logger.debug("could not ask how many subscribers there are: %s", exc)
        finally:
            self._census.end(count)
        return count.total

    # The broker's side

    def channels(self) -> tuple[str, ...]:
        """Return the channels to subscribe to, for a new connection."""
        return self._subscriptions.begin_anew()

    def connected(self) -> None:
        """Note that the broker is there."""
        if self._was_away:
            self._was_away = False
            self._reconnects += 1
            logger.warning("the broker is back; %d messages for others were lost", self._lost - self._lost_before)
        self._lost_before = self._lost
        self._connected = True
        self._skipping = False
        self._subscriptions.end_telling()  # of all that `channels` has returned
        if self._subscriptions.have_changed:
            self._subscribe_bell.ring()

    def disconnected(self, reason: str) -> None:
        """Note that the broker is away."""
        self._connected = False
        if not self._was_away:
            self._was_away = True
            logger.warning("the broker is away, and publishes reach this server's sockets only: %s", reason)
        self._end_flushes()

    def receive(self, channel: str, data: bytes) -> None:
        """Give what came from the broker to the hub."""
        if is_echo(data, self._node):
            return
        envelope = decode(data) if len(data) <= self._broker.max_message_size else None
        is_topic = channel.startswith(TOPIC)
        topic = channel.removeprefix(TOPIC)
        match envelope:
            case Publishes(sections=sections) if is_topic:
                for compress, frames in sections:
                    self._received += len(frames)
                    self.hub.deliver(topic, frames, compress=compress)
            case Question(node=node, number=number) if is_topic:
                # The broker may have counted us too, so that our own answer is waited for: nobody elsewhere.
                if node == self._node:
                    self._census.answered(number, node, 0)
                elif len(self._control) < MAX_CENSUS:
                    answer = encode_answer(self._node, number, self.hub.subscriber_count(topic))
                    self._send(Batch(NODES + node.hex(), answer, 0))
            case Answer(node=node, number=number, subscribers=subscribers) if channel == self._own_channel:
                self._census.answered(number, node, subscribers)
            case _:
                self._skipped += 1
                if not self._skipping:
                    self._skipping = True
                    logger.warning("somebody else publishes on channel %.200r: %d bytes skipped", channel, len(data))

    # Tasks

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the broker until cancelled; started when its first try to connect is over."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._run_broker)
            nursery.start_soon(self._publish)
            nursery.start_soon(self._subscribe)
            task_status.started()

    async def _run_broker(self, *, task_status: trio.TaskStatus[None]) -> None:
        await self._broker.run(self, task_status=task_status)
        raise BrokerError(f"{type(self._broker).__name__}.run has returned; it must go on until it is cancelled")

    async def flush(self) -> None:
        """Wait until the broker has taken what was published, or is away."""
        while self._connected and self._publishing:
            await self._idle_or_away.wait()

    def _end_flushes(self) -> None:
        # A new event, for the broker may be back, and still busy, before a flush looks again.
        self._idle_or_away.set()
        self._idle_or_away = trio.Event()

    def _send(self, batch: Batch) -> None:
        self._control.append(batch)
        if not self._publishing:
            self._wake()

    def _wake(self) -> None:
        self._publishing = True
        self._publish_bell.ring()

    async def _publish(self) -> None:
        while True:
            await self._publish_bell.wait()
            # What is published while the broker takes these is one batch per topic again.
            while self._control or self._outgoing:
                control, self._control = self._control, []
                if self._outgoing.is_half_empty:
                    self._overflowing = False
                await self._hand_over(control + self._outgoing.take())
            self._publishing = False
            self._end_flushes()

    async def _hand_over(self, batches: Sequence[Batch]) -> None:
        failed: Sequence[Batch] | None = batches
        try:
            if self._connected:
                failed = await self._broker.publish(batches)
        except BrokerError as exc:
            logger.debug("the broker did not take %d batches: %s", len(batches), exc)
        except Exception:
            logger.exception("%s.publish failed, and not with a BrokerError", type(self._broker).__name__)
        lost = sum(batch.messages for batch in failed or ())
        self._lost += lost
        self._published += sum(batch.messages for batch in batches) - lost

    async def _subscribe(self) -> None:
        while True:
            await self._subscribe_bell.wait()
            while self._subscriptions.have_changed and self._connected:
                begin, end = self._subscriptions.begin_telling()
                try:
                    if begin:
                        await self._broker.subscribe(begin)
                    if end:
                        await self._broker.unsubscribe(end)
                except BrokerError as exc:
                    logger.warning("the broker did not change what this server is subscribed to: %s", exc)
                self._subscriptions.end_telling()
