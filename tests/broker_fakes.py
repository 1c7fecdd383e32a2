"""A broker that takes what it is given, when the test lets it, and writes down its calls.

Used by the tests of the relay, of the hub before it, and of whole servers whose broker is in trouble.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_bunws.brokers import Batch, Broker, BrokerLink

if TYPE_CHECKING:
    from collections.abc import Sequence


class FakeBroker(Broker):
    """Connected when `run` begins, unless told otherwise."""

    def __init__(self, *, reachable: bool = True, queue: int = 1 << 30, longest: int = 1 << 30) -> None:
        self.max_queue_size = queue
        self.max_message_size = longest
        self.link: BrokerLink
        self.published: list[list[Batch]] = []
        """What each call of `publish` has brought."""
        self.subscriptions: list[tuple[str, list[str]]] = []
        """Each call of `subscribe` and `unsubscribe`, with its channels sorted."""
        self.room = trio.Event()
        """`publish` waits for it."""
        self.room.set()
        self.refuses: BaseException | None = None
        """What `publish`, `subscribe` and `receivers` raise."""
        self.failed: Sequence[Batch] | None = None
        """What `publish` returns."""
        self.expected: int | None = None
        """What `receivers` returns."""
        self.over = trio.Event()
        """`run` returns when it is set."""
        self._reachable = reachable

    async def run(self, link: BrokerLink, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.link = link
        if self._reachable:
            self.subscriptions.append(("channels", sorted(link.channels())))
            link.connected()
        else:
            link.disconnected("nobody there")
        task_status.started()
        await self.over.wait()

    async def publish(self, batches: Sequence[Batch]) -> Sequence[Batch] | None:
        self.published.append(list(batches))
        await self.room.wait()
        await trio.lowlevel.checkpoint()
        self._may_refuse()
        return self.failed

    async def subscribe(self, channels: Sequence[str]) -> None:
        await self._change("subscribe", channels)

    async def unsubscribe(self, channels: Sequence[str]) -> None:
        await self._change("unsubscribe", channels)

    async def receivers(self, channel: str) -> int | None:
        await super().receivers(channel)
        self._may_refuse()
        return self.expected

    async def _change(self, call: str, channels: Sequence[str]) -> None:
        self.subscriptions.append((call, sorted(channels)))
        await self.room.wait()
        await trio.lowlevel.checkpoint()
        self._may_refuse()

    def _may_refuse(self) -> None:
        if self.refuses is not None:
            raise self.refuses
