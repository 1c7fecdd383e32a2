"""How many connections a server has, in all and from each address, and whether one more may come.

Counting only: who refuses, and how, is `_serve.py`'s affair, the only caller; the server waits here for its last one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from trio_bunws._options import Limits


class Admission:
    """The open connections of one server."""

    __slots__ = ("_empty", "_limits", "_per_address", "count")

    def __init__(self, limits: Limits) -> None:
        self._limits: Final = limits
        self._per_address: Final[dict[str, int]] = {}
        self._empty = trio.Event()
        self.count: int = 0
        """Connections open now."""

    def is_full(self, address: str | None) -> bool:
        """Whether one more connection from this address would be over a limit; `None` is no address, and free."""
        limits = self._limits
        if limits.max_connections is not None and self.count >= limits.max_connections:
            return True
        per_ip = limits.max_connections_per_ip
        return per_ip is not None and address is not None and self._per_address.get(address, 0) >= per_ip

    def enter(self, address: str | None) -> None:
        """Count a connection."""
        self.count += 1
        if address is not None:
            self._per_address[address] = self._per_address.get(address, 0) + 1

    def leave(self, address: str | None) -> None:
        """Count the end of a connection that was counted."""
        self.count -= 1
        if address is not None:
            self._per_address[address] -= 1
            if not self._per_address[address]:
                del self._per_address[address]
        if not self.count:
            self._empty.set()

    async def wait_empty(self) -> None:
        """Wait until there is no connection. A checkpoint."""
        await trio.lowlevel.checkpoint()
        while self.count:
            self._empty = trio.Event()
            await self._empty.wait()
