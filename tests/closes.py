"""What the behaviour tests of closing share: which codes may be sent, and what a peer does from open to end.

Used by the tests of BEHAVIOUR.md, 16 to 19 and 29.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from playground import settled

from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from recorder import Recorder

VALID_CODES = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
INVALID_CODES = [1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535, 999, 1, 0]


async def open_over_tcp(port: int | None) -> RawPeer:
    """Open a WebSocket through the kernel."""
    assert port is not None
    peer = RawPeer(await trio.open_tcp_stream("127.0.0.1", port))
    await peer.upgrade()
    return peer


async def closes_at_the_end(peer: RawPeer, record: Recorder) -> list[tuple[object, ...]]:
    """Receive the end of the stream; return code and reason of each call of the close handler."""
    await peer.receive_eof()
    await settled()
    return record.closes


async def take_all(peer: RawPeer) -> bytes:
    """Return everything up to the end of the stream."""
    taken = bytes(peer.received)
    peer.received.clear()
    async for data in peer.stream:
        taken += data
    return taken
