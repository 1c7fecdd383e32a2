"""A client's connection: `Connection` with a client's endpoint, and an inbox where a server has handlers.

`_client.py` makes one when the opening handshake is done, and runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_bunws._client_endpoint import ClientEndpoint
from trio_bunws._connection import Connection
from trio_bunws._reception import Reception

if TYPE_CHECKING:
    from trio_bunws._engine import Engine
    from trio_bunws._transport import Transport
    from trio_bunws._wire.compression import Agreement


class ClientConnection(Connection[None, ClientEndpoint]):
    """One WebSocket connection of ours to a server: `ClientEndpoint`'s `Driver`."""

    __slots__ = ()

    def __init__(
        self, transport: Transport, engine: Engine[None], protocol: str | None, agreement: Agreement | None = None
    ) -> None:
        """`agreement`: how messages may be compressed; `None`: not at all."""
        super().__init__(transport, engine, agreement, client=True)
        handler = engine.slot.handler
        self.ws = ClientEndpoint(
            sink=transport,
            driver=self,
            hub=engine.hub,
            backpressure_limit=handler.backpressure_limit,
            protocol=protocol,
            deflate=engine.outbound(agreement, client=True),
        )
        self._dispatcher = Reception(self.ws, handler.max_inbox, handler.max_payload_length, self.release)
