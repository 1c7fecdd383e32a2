"""`RelayedHub`: a hub whose publishes also go to a broker, and which gets those of other servers from it.

A class of its own, so that a hub without a broker does nothing for one: publishing is what a server does most. It talks
to its `Relay` only; `_engine.py` makes it where there is a broker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trio_bunws._hub import Hub, Subscriber

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_bunws._relay import Relay
    from trio_bunws._status import SendStatus


class RelayedHub(Hub):
    """Topics and delivery of one server of several. The statuses are local: the others' sockets are not in them."""

    __slots__ = ("_max_topic_length", "_relay")

    def __init__(self, relay: Relay, max_topic_length: int) -> None:
        super().__init__()
        self._relay: Final = relay
        self._max_topic_length: Final = max_topic_length
        relay.hub = self

    def publish(
        self, name: str, frame: bytes, size: int, sender: Subscriber | None, compress: bool = False
    ) -> SendStatus:
        """As `Hub.publish`; and hand the frame to the broker, also where nobody is subscribed here."""
        # The caller complains of an invalid name only after this; it must not get to the broker.
        most = self._max_topic_length
        if name and (len(name) * 4 <= most or len(name.encode(errors="surrogatepass")) <= most):
            self._relay.publish(name, frame, compress=compress)
        return Hub.publish(self, name, frame, size, sender, compress)

    def deliver(self, topic: str, frames: Sequence[bytes], *, compress: bool) -> None:
        """Publish messages of another server to all local subscribers of a topic."""
        for frame in frames:
            Hub.publish(self, topic, frame, len(frame), None, compress)

    def subscriber_count(self, topic: str) -> int:
        """Return how many local subscribers a topic has."""
        found = self.topics.get(topic)
        return 0 if found is None else len(found.members)

    def subscribe(self, member: Subscriber, name: str) -> None:
        """As `Hub.subscribe`; a topic's first member subscribes the server to it."""
        is_new = self.topics.get(name) is None
        super().subscribe(member, name)
        if is_new:
            self._relay.topic_gained(name)

    def unsubscribe(self, member: Subscriber, name: str) -> None:
        """As `Hub.unsubscribe`; a topic's last member unsubscribes the server from it."""
        super().unsubscribe(member, name)
        self._report_empty((name,))

    def leave(self, member: Subscriber) -> None:
        """As `Hub.leave`; also for the server, where it was the last."""
        names = tuple(member._topics)
        super().leave(member)
        self._report_empty(names)

    def _report_empty(self, names: Sequence[str]) -> None:
        """Tell the relay of those topics that nobody here is subscribed to any more."""
        for name in names:
            if self.topics.get(name) is None:
                self._relay.topic_lost(name)
