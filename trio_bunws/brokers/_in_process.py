"""`InProcessBroker`: several servers in one process that publish to each other, as behind one broker.

For tests, and for servers on several addresses; also the shortest example of a broker of one's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trio_bunws._broker import Broker
from trio_bunws._errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_bunws._broker import Batch, BrokerLink


class InProcessBroker(Broker):
    """A broker for servers that share one trio run; `InProcessBroker(other)` joins those that `other` belongs to.

    Nothing waits in it: `publish` has delivered when it returns.

    Args:
        other: a broker of the servers to join; without it, a new group begins.
    """

    def __init__(self, other: InProcessBroker | None = None) -> None:
        self._members: Final[dict[InProcessBroker, BrokerLink]] = {} if other is None else other._members
        self._channels: Final[set[str]] = set()

    async def run(self, link: BrokerLink, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Belong to the group until cancelled."""
        self._channels.update(link.channels())
        self._members[self] = link
        link.connected()
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            del self._members[self]

    async def publish(self, batches: Sequence[Batch]) -> None:
        """Deliver to the others that are subscribed. A checkpoint."""
        await trio.lowlevel.checkpoint()
        if self not in self._members:
            raise BrokerError("this broker does not run")
        for channel, data, _ in batches:
            for member, link in tuple(self._members.items()):
                if member is not self and channel in member._channels:
                    link.receive(channel, data)

    async def subscribe(self, channels: Sequence[str]) -> None:
        """Receive from these channels too. A checkpoint."""
        await trio.lowlevel.checkpoint()
        self._channels.update(channels)

    async def unsubscribe(self, channels: Sequence[str]) -> None:
        """Receive from these channels no more. A checkpoint."""
        await trio.lowlevel.checkpoint()
        self._channels.difference_update(channels)

    async def receivers(self, channel: str) -> int:
        """Return how many others of the group are subscribed. A checkpoint."""
        await trio.lowlevel.checkpoint()
        return sum(channel in member._channels for member in self._members if member is not self)
