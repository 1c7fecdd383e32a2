"""What all connections of one server share: hub, sweeper, handlers, limits, and the nursery of their tasks.

A plain holder, so that a connection does not know the server. `_run.py` makes one for each server, and
`_client_life.py` one for each client, which has a single connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from weakref import WeakValueDictionary

from trio_bunws._extension import IMPLEMENTATION
from trio_bunws._hub import Hub
from trio_bunws._liveness import Sweeper
from trio_bunws._relayed_hub import RelayedHub
from trio_bunws._statistics import ServerStatistics, Totals
from trio_bunws._topics import CLEAR
from trio_bunws._wire.compression import outbound
from trio_bunws._wire.deflate import BACKEND

if TYPE_CHECKING:
    from collections.abc import Hashable

    import trio

    from trio_bunws._close import CloseFrame
    from trio_bunws._connection import Connection
    from trio_bunws._handlers import HandlerSlot
    from trio_bunws._options import Limits
    from trio_bunws._relay import Relay
    from trio_bunws._wire.compression import Agreement, Outbound

T = TypeVar("T")


class Engine(Generic[T]):
    """The shared parts; `nursery` is that of the sockets and outlives each of them."""

    __slots__ = (
        "_outbounds",
        "close_by",
        "closing",
        "connections",
        "hub",
        "limits",
        "nursery",
        "relay",
        "slot",
        "sweeper",
        "totals",
    )

    def __init__(self, slot: HandlerSlot[T], limits: Limits, nursery: trio.Nursery, relay: Relay | None = None) -> None:
        self.slot: Final = slot
        self.limits: Final = limits
        self.nursery: Final = nursery
        self.relay: Final = relay
        """The way to the broker."""
        self.hub: Final = Hub() if relay is None else RelayedHub(relay, limits.max_topic_length)
        self.sweeper: Final = Sweeper()
        self.totals: Final = Totals()
        self.connections: Final[set[Connection[T, Any, Any]]] = set()
        """The open and closing WebSocket connections."""
        self.closing: CloseFrame | None = None
        """With what sockets are closed since the server closes them all; one that opens now is closed at once."""
        self.close_by: float | None = None
        """The trio time at which those that are still closing are aborted."""
        self._outbounds: Final[WeakValueDictionary[Hashable, Outbound]] = WeakValueDictionary()

    def outbound(self, agreement: Agreement | None, *, client: bool) -> Outbound | None:
        """Return what a new connection compresses with; the same one for all whose frames are interchangeable.

        None if there is no agreement, or the handler's `per_message_deflate` says only to decompress.
        """
        if agreement is None:
            return None
        made = outbound(agreement, self.slot.handler.per_message_deflate, client=client)
        if made is None or made.group is None:
            return made
        return self._outbounds.setdefault(made.group, made)

    def statistics(self, connections: int) -> ServerStatistics:
        """Return the counts of all sockets, past and present; `connections` are the open TCP connections."""
        sockets = [connection.ws for connection in self.connections]
        each = [ws.statistics() for ws in sockets]
        totals = self.totals
        return ServerStatistics(
            connections=connections,
            websockets=len(sockets),
            messages_in=totals.messages_in + sum(one.messages_in for one in each),
            messages_out=totals.messages_out + sum(one.messages_out for one in each),
            bytes_in=totals.bytes_in + sum(one.bytes_in for one in each),
            bytes_out=totals.bytes_out + sum(one.bytes_out for one in each),
            drops=totals.drops + sum(one.drops for one in each),
            backpressured_sockets=sum(ws._outbox.pressure > CLEAR for ws in sockets),
            paused_sockets=sum(ws._paused for ws in sockets),
            full_inboxes=sum(one._held is not None and not one.ws._paused for one in self.connections),
            ticks=self.hub.ticks,
            tick_seconds=self.hub.tick_seconds,
            topics=len(self.hub.topics),
            refused_subscriptions=self.hub.refused_subscriptions,
            compression=BACKEND,
            masking=IMPLEMENTATION,
            broker=None if self.relay is None else self.relay.statistics(),
        )
