"""What all connections of one server share: hub, sweeper, handlers, limits, and the nursery of their tasks.

A plain holder, so that a connection does not know the server; `Server` makes one and shows it to the application.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from weakref import WeakValueDictionary

from attrs import frozen

from trio_bunws._extension import IMPLEMENTATION
from trio_bunws._hub import Hub
from trio_bunws._liveness import Sweeper
from trio_bunws._relayed_hub import RelayedHub
from trio_bunws._topics import CLEAR
from trio_bunws._wire.compression import outbound
from trio_bunws._wire.deflate import BACKEND

if TYPE_CHECKING:
    from collections.abc import Hashable

    import trio

    from trio_bunws._broker import BrokerStatistics
    from trio_bunws._close import CloseFrame
    from trio_bunws._connection import Connection
    from trio_bunws._endpoint import SocketStatistics
    from trio_bunws._handlers import HandlerSlot
    from trio_bunws._options import Limits
    from trio_bunws._relay import Relay
    from trio_bunws._wire.compression import Agreement, Outbound

T = TypeVar("T")


class Totals:
    """What the connections that are over have done."""

    __slots__ = ("bytes_in", "bytes_out", "drops", "messages_in", "messages_out")

    def __init__(self) -> None:
        self.messages_in: int = 0
        self.messages_out: int = 0
        self.bytes_in: int = 0
        self.bytes_out: int = 0
        self.drops: int = 0

    def add(self, statistics: SocketStatistics) -> None:
        """Add what one connection has done."""
        self.messages_in += statistics.messages_in
        self.messages_out += statistics.messages_out
        self.bytes_in += statistics.bytes_in
        self.bytes_out += statistics.bytes_out
        self.drops += statistics.drops


@frozen
class ServerStatistics:
    """Counts since the server began, and of now; `Server.statistics` returns it."""

    connections: int
    """TCP connections open now, HTTP ones included."""
    websockets: int
    """WebSocket connections open or closing now."""
    messages_in: int
    """Messages received."""
    messages_out: int
    """Messages accepted for sending, once per receiver."""
    bytes_in: int
    """Bytes received on WebSockets, frame headers included."""
    bytes_out: int
    """Bytes written on WebSockets, frame headers and the answer to the handshake included."""
    drops: int
    """Messages dropped because a receiver was over its backpressure limit."""
    backpressured_sockets: int
    """Sockets that have unsent bytes now."""
    paused_sockets: int
    """Sockets that the application has paused."""
    full_inboxes: int
    """Sockets that are not read now, because their inbox is full: the handler is slower than the peer."""
    ticks: int
    """Times that the hub has written what was published, or sent outside of the socket's own handlers.

    Once for all that came together in a scheduler tick, or while sockets were read in a row.
    """
    tick_seconds: float
    """Seconds from the first publish or send of each, or the beginning of such reading, until all of it was written,
    added up."""
    topics: int
    """Topics that have a subscriber now."""
    refused_subscriptions: int
    """Subscriptions refused because of `limits.max_topics_per_socket`."""
    compression: str
    """What compresses and decompresses: `"zlib"`, or `"isal"` where the extra `speed` is installed."""
    masking: str
    """What takes masks off: `"c"`, or `"python"` where the package's extension was not built, or is not wanted."""
    broker: BrokerStatistics | None
    """What the broker has done; `None` without one."""


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
