"""How many connections a server has, in all and from each network, and whether one more may come.

It counts, and tells the log of those that may not. `_run.py` asks for each connection, refuses it if need be, and waits
here for the last one.
"""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Final

import trio

from trio_bunws._log_fields import of_peer
from trio_bunws._seldom import SeldomLog

if TYPE_CHECKING:
    from trio_bunws._options import Limits
    from trio_bunws._transport import SocketAddress

logger = logging.getLogger("trio_bunws.server")

IPV4_MAPPED: Final = bytes(10) + b"\xff\xff"
"""How an IPv6 socket that takes IPv4 connections too writes their addresses (RFC 4291, section 2.5.5.2)."""
NETWORK_SIZE: Final = 8
"""Bytes of an IPv6 address that name the network, and are not its owner's to choose (RFC 4291, section 2.5.4)."""


class Admission:
    """The open connections of one server."""

    __slots__ = ("_empty", "_limits", "_per_network", "_refusals", "count")

    def __init__(self, limits: Limits) -> None:
        self._limits: Final = limits
        self._per_network: Final[dict[str | bytes, int]] = {}
        self._empty = trio.Event()
        self._refusals: Final = SeldomLog(logger)
        self.count: int = 0
        """Connections open now."""

    def admit(self, remote: SocketAddress | None) -> bool:
        """Count a connection and return True, or False if it is one too many; who has no address counts only in all."""
        limits = self._limits
        if limits.max_connections is not None and self.count >= limits.max_connections:
            self._log_refusal(remote, "max_connections")
            return False
        per_ip = limits.max_connections_per_ip
        if per_ip is not None and remote is not None:
            network = network_of(remote)
            count = self._per_network.get(network, 0)
            if count >= per_ip:
                self._log_refusal(remote, "max_connections_per_ip")
                return False
            self._per_network[network] = count + 1
        self.count += 1
        return True

    def leave(self, remote: SocketAddress | None) -> None:
        """Count the end of a connection that was admitted."""
        self.count -= 1
        if self._limits.max_connections_per_ip is not None and remote is not None:
            network = network_of(remote)
            self._per_network[network] -= 1
            if not self._per_network[network]:
                del self._per_network[network]
        if not self.count:
            self._empty.set()

    async def wait_empty(self) -> None:
        """Wait until there is no connection. A checkpoint."""
        await trio.lowlevel.checkpoint()
        while self.count:
            self._empty = trio.Event()
            await self._empty.wait()

    def _log_refusal(self, remote: SocketAddress | None, limit: str) -> None:
        fields = of_peer(remote)
        self._refusals.warning("%s: refused, there are too many connections (%s)", fields["peer"], limit, extra=fields)


def network_of(remote: SocketAddress) -> str | bytes:
    """Return what `max_connections_per_ip` counts by: an IPv4 address, or the /64 network of an IPv6 address.

    A customer of a provider gets a whole /64, and could come from a new address with every connection.
    """
    if remote.family == "IPv4":
        return remote.address
    packed = socket.inet_pton(socket.AF_INET6, remote.address.partition("%")[0])
    if packed.startswith(IPV4_MAPPED):
        return socket.inet_ntoa(packed[len(IPV4_MAPPED) :])
    return packed[:NETWORK_SIZE]
