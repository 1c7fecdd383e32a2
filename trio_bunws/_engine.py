"""What all connections of one server share: hub, sweeper, handlers, limits, and the nursery of their tasks.

A plain holder, so that a connection does not know the server; `Server` makes one and shows it to the application.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

from trio_bunws._hub import Hub
from trio_bunws._liveness import Sweeper

if TYPE_CHECKING:
    import trio

    from trio_bunws._connection import Connection
    from trio_bunws._endpoint import SocketStatistics
    from trio_bunws._handlers import HandlerSlot
    from trio_bunws._options import Limits

T = TypeVar("T")


class Totals:
    """What the connections that are over have done."""

    __slots__ = ("bytes_in", "bytes_out", "drops", "messages_in", "messages_out")

    def __init__(self) -> None:
        self.messages_in = 0
        self.messages_out = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.drops = 0

    def add(self, statistics: SocketStatistics) -> None:
        """Add what one connection has done."""
        self.messages_in += statistics.messages_in
        self.messages_out += statistics.messages_out
        self.bytes_in += statistics.bytes_in
        self.bytes_out += statistics.bytes_out
        self.drops += statistics.drops


class Engine(Generic[T]):
    """The shared parts; `nursery` is that of the sockets and outlives each of them."""

    __slots__ = ("connections", "hub", "limits", "nursery", "slot", "sweeper", "totals")

    def __init__(self, slot: HandlerSlot[T], limits: Limits, nursery: trio.Nursery) -> None:
        self.slot: Final = slot
        self.limits: Final = limits
        self.nursery: Final = nursery
        self.hub: Final = Hub()
        self.sweeper: Final = Sweeper()
        self.totals: Final = Totals()
        self.connections: Final[set[Connection[T]]] = set()
        """The open and closing WebSocket connections."""
