"""`MemoryListener`: a server's listener without a kernel socket, for `serve(listeners=[...])`.

With it a whole server runs in memory, so that a mock clock can jump over every wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import trio
import trio.testing

if TYPE_CHECKING:
    from collections.abc import Callable

Pair: TypeAlias = "tuple[trio.abc.Stream, trio.abc.Stream]"


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """Accepts the connections that `connect` makes.

    Args:
        make_pair: makes the two ends of a connection. The default, `trio.testing.memory_stream_pair`, takes everything
            at once; with `trio.testing.lockstep_stream_pair` a write waits for its reader, as under backpressure.
    """

    def __init__(self, make_pair: Callable[[], Pair] = trio.testing.memory_stream_pair) -> None:
        self._make_pair: Final = make_pair
        self._send, self._receive = trio.open_memory_channel[trio.abc.Stream](0)

    async def connect(self) -> trio.abc.Stream:
        """Return the client's end of a new connection, once the server has accepted it.

        A checkpoint. Raises `trio.BrokenResourceError` when the listener is closed.
        """
        ours, servers = self._make_pair()
        await self._send.send(servers)
        return ours

    async def accept(self) -> trio.abc.Stream:
        """Return the server's end of the next connection. A checkpoint."""
        return await self._receive.receive()

    async def aclose(self) -> None:
        """Accept no more. A checkpoint."""
        self._receive.close()
        await trio.lowlevel.checkpoint()
