"""`Broker`: what carries the publishes of one server to the others of the same application.

Only the contract lives here, and the numbers that the server shows of it. A broker moves opaque batches between
channels; what is in them, and which are the server's own, is `_relay.py`'s business, which is the only caller.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple, Protocol

import trio
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence


class Batch(NamedTuple):
    """What goes to one channel in one piece."""

    channel: str
    """The channel's name: any non-empty string, of up to `limits.max_topic_length` + 2 bytes of UTF-8."""
    data: bytes
    """What every server gets that is subscribed to the channel: any bytes, to be carried unchanged."""
    messages: int
    """How many published messages are in it; for counting only."""


@frozen
class BrokerStatistics:
    """What the broker has done for this server; `ServerStatistics.broker`. Messages are counted, not batches."""

    connected: bool
    """Whether the broker is connected now."""
    published: int
    """Messages of this server that the broker has taken."""
    received: int
    """Messages of other servers."""
    lost: int
    """Messages of this server that the others do not get, or may not: the broker was away, or too slow."""
    skipped: int
    """Batches from the broker that were ignored, because no server of this version made them."""
    reconnects: int
    """How often the broker connected again after it was away."""


class BrokerLink(Protocol):
    """The server's side, as `Broker.run` gets it. All methods are plain functions that never checkpoint."""

    def channels(self) -> tuple[str, ...]:
        """Return the channels to subscribe to; to be asked once for every new connection, before `connected`."""
        ...

    def connected(self) -> None:
        """Report that the broker is connected, and subscribed to what `channels` returned."""
        ...

    def disconnected(self, reason: str) -> None:
        """Report that the broker is away, or could not be reached: until `connected` all publishes count as lost.

        `reason` goes to the log, once until the next `connected`; it must not hold a password.
        """
        ...

    def receive(self, channel: str, data: bytes) -> None:
        """Take one batch that came from the broker, in the order in which they came. Never raises, never waits."""
        ...


class Broker(ABC):
    """The base of all brokers (beyond Bun): `serve(broker=...)` makes one publish reach all servers that share it.

    A broker is at most once and in order: what one server publishes to one channel reaches each subscriber in the order
    of `publish`, once or not at all. A batch may come back to the server that has published it, which knows its own.
    One object belongs to one server. `trio_bunws.testing.check_broker` tests all of it.
    """

    max_queue_size: int = 8 * 1024 * 1024
    """Bytes of messages that wait for `publish`; what comes beyond is counted as lost. Default: 8 MiB."""
    max_message_size: int = 16 * 1024 * 1024
    """Bytes of the longest `Batch.data`, both ways; a message that does not fit is counted as lost. Default: 16 MiB."""

    @abstractmethod
    async def run(self, link: BrokerLink, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Stay connected until cancelled, pass what arrives to `link.receive`, and reconnect when necessary.

        Called once. It calls `task_status.started()` when the first try to connect is over, and the server waits for
        that: either `link.connected()` or `link.disconnected(reason)` was called before.

        Raises:
            BrokerError: before `task_status.started()` only: what no second try would change, such as a wrong password.
                `serve` raises it.
        """

    @abstractmethod
    async def publish(self, batches: Sequence[Batch]) -> Sequence[Batch] | None:
        """Hand batches over, in this order; return when the broker has taken them. Until then the next ones wait.

        Called by one task at a time, while connected. It must end by itself, also when the broker does not answer.

        Returns:
            Those that did not get through; empty or `None` if all did.

        Raises:
            BrokerError: if it is not connected, or was disconnected meanwhile: all of them count as lost.
        """

    @abstractmethod
    async def subscribe(self, channels: Sequence[str]) -> None:
        """Receive from these channels too; return when what is published to them from now on will come.

        Called while connected, by one task at a time, which is not the one that calls `publish`.

        Raises:
            BrokerError: if that failed. Where the connection is lost, `BrokerLink.channels` will tell them again.
        """

    @abstractmethod
    async def unsubscribe(self, channels: Sequence[str]) -> None:
        """Receive from these channels no more. Called, and raises, as `subscribe`."""

    async def receivers(self, channel: str) -> int | None:
        """Return how many servers get what this one publishes to a channel; `None`, the default: unknown.

        This one counts too, if it is subscribed and its batches come back to it.

        It only lets `Server.subscriber_count_everywhere` return before its deadline. A checkpoint.

        Raises:
            BrokerError: if it cannot be asked.
        """
        del channel
        await trio.lowlevel.checkpoint()
        return None
