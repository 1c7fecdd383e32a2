"""`MemoryListener`: a server's listener without a kernel socket, for `serve(listeners=[...])`; and its connections.

With it a whole server runs in memory, so that a mock clock can jump over every wait. What can befall a connection is in
`_faults.py`; here is only what a connection needs for it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias

import trio
from trio.testing import MemoryReceiveStream, MemorySendStream

if TYPE_CHECKING:
    from collections.abc import Callable

Pair: TypeAlias = "tuple[trio.abc.Stream, trio.abc.Stream]"


class MemoryStream(trio.abc.HalfCloseableStream):
    """One end of a connection in memory. It takes everything at once, unless it is stalled."""

    def __init__(self) -> None:
        self._sending: Final = MemorySendStream(self._carry, close_hook=self._sender_closed)
        self._receiving: Final = MemoryReceiveStream(close_hook=self._receiver_closed)
        self.other: MemoryStream = self
        """The other end."""
        self._stalls = 0
        self._lost = False
        self._over = False  # nothing more is sent from here
        self._deserted = False  # nobody reads at the other end
        self._changed = trio.Event()  # set, and made anew, when one of these four has changed

    @classmethod
    def pair(cls) -> tuple[MemoryStream, MemoryStream]:
        """Return the two ends of a new connection."""
        one, other = cls(), cls()
        one.other, other.other = other, one
        return one, other

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes."""
        await self._sending.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait for nothing: a stall shows in `send_all`."""
        await self._sending.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Send the end of the stream."""
        await self._sending.aclose()

    async def aclose(self) -> None:
        """Close both halves."""
        self._sending.close()
        await self._receiving.aclose()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive bytes. Once the connection is lost, and what had arrived is read: `trio.BrokenResourceError`."""
        data = await self._receiving.receive_some(max_bytes)
        if not data and self._lost:
            raise trio.BrokenResourceError("the connection is lost")
        return data

    def stall(self, by: int) -> None:
        """Begin (1) or end (-1) one reason for what is sent from here to wait."""
        self._stalls += by
        self._look_again()

    def lose(self) -> None:
        """Break this end: nothing leaves it, and nothing comes, any more."""
        self._lost = True
        self._receiving.put_eof()
        self._look_again()

    def _sender_closed(self) -> None:
        self._over = True
        self._look_again()

    def _receiver_closed(self) -> None:
        self.other._deserted = True
        self.other._look_again()

    def _look_again(self) -> None:
        """Wake a send that waits. Nobody waits with an end of stream: it is delivered here, once nothing stalls it."""
        self._changed.set()
        self._changed = trio.Event()
        if self._over and not self._stalls:
            with suppress(trio.BrokenResourceError):
                self._flow()

    async def _carry(self) -> None:
        """Bring to the other end what is being sent, once nothing stalls it. `MemorySendStream.send_all` calls this."""
        while self._stalls and not (self._over or self._deserted or self._lost):
            await self._changed.wait()
        if self._over:
            raise trio.ClosedResourceError("this end is closed")
        self._flow()

    def _flow(self) -> None:
        """Move what was sent, and an end of stream, to the other end."""
        if self._lost:
            raise trio.BrokenResourceError("the connection is lost")
        try:
            while data := self._sending.get_data_nowait():
                self.other._receiving.put_data(data)
        except trio.WouldBlock:
            return
        except trio.ClosedResourceError:
            raise trio.BrokenResourceError("nobody reads at the other end") from None
        self.other._receiving.put_eof()


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """Accepts the connections that `connect` makes.

    Args:
        make_pair: makes the two ends of a connection. The default takes everything at once, and knows the faults
            `stalled` and `cut`; with `trio.testing.lockstep_stream_pair` each write waits for its reader.
    """

    def __init__(self, make_pair: Callable[[], Pair] = MemoryStream.pair) -> None:
        self._make_pair: Final = make_pair
        self._send, self._receive = trio.open_memory_channel[trio.abc.Stream](0)

    async def connect(self) -> trio.abc.Stream:
        """Return the client's end of a new connection, once the server has accepted it.

        A checkpoint. Raises `trio.BrokenResourceError` when the listener is closed.
        """
        ours, servers = self._make_pair()
        try:
            await self._send.send(servers)
        except BaseException:
            try:  # kernel sockets, perhaps
                await trio.aclose_forcefully(ours)
            finally:  # where this is cancelled, the first one raises
                await trio.aclose_forcefully(servers)
            raise
        return ours

    async def accept(self) -> trio.abc.Stream:
        """Return the server's end of the next connection. A checkpoint."""
        return await self._receive.receive()

    async def aclose(self) -> None:
        """Accept no more. A checkpoint."""
        self._receive.close()
        await trio.lowlevel.checkpoint()
