"""What `statistics()` returns, of one socket and of a server, and the sums of those sockets that are over.

Plain numbers: nothing is counted here. `_endpoint.py` and `_engine.py` fill them from what sockets and the hub count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from trio_bunws._broker import BrokerStatistics


@frozen
class SocketStatistics:
    """What one socket has done so far: messages, and bytes with headers; `ServerWebSocket.statistics` returns it."""

    messages_in: int
    """Messages received."""
    messages_out: int
    """Messages accepted for sending."""
    bytes_in: int
    """Bytes received, frame headers included."""
    bytes_out: int
    """Bytes taken by the transport, frame headers and the answer to the handshake included."""
    drops: int
    """Messages dropped because the socket was over its backpressure limit."""
    buffered: int
    """Bytes that wait because the transport refused them."""


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
    """Counts since the server started, and current ones; `Server.statistics` returns it."""

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

    All that came together in one scheduler tick, or while sockets were read in a row, counts once.
    """
    tick_seconds: float
    """The sum of the seconds from the first publish or send of each, or from the start of such reading, until all of it
    was written."""
    topics: int
    """Topics that have a subscriber now."""
    refused_subscriptions: int
    """Subscriptions refused because of `limits.max_topics_per_socket`."""
    compression: str
    """What compresses and decompresses: `"zlib"`, or `"isal"` where the extra `speed` is installed."""
    masking: str
    """What unmasks frames: `"c"`, or `"python"` where the package's extension was not built, or is not wanted."""
    broker: BrokerStatistics | None
    """What the broker has done; `None` without one."""
