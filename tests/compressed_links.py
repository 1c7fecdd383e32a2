"""WebSockets on which compression was agreed, for the behaviour tests of it: offers, answers, and both ends.

The client's compressors are those of `deflate_fakes.py`. `links.py` has the servers, and the ways to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from deflate_fakes import Deflating
from playground import Socket, settled

from trio_bunws import PerMessageDeflate, WebSocketHandler
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from links import Place

TEXT, BINARY = 1, 2
RSV1 = 4
BROWSER = "permessage-deflate; client_max_window_bits"
WORDS = b"somebody has said something to somebody, "


def extension(*offers: str) -> tuple[tuple[str, str], ...]:
    return tuple(("Sec-WebSocket-Extensions", offer) for offer in offers)


def parameters(answer: str | None) -> dict[str, int]:
    """Read an answer, which must be to permessage-deflate."""
    assert answer is not None
    name, *rest = (part.strip() for part in answer.split(";"))
    assert name == "permessage-deflate"
    return {key: int(value or 1) for key, _, value in (part.partition("=") for part in rest)}


class Link(NamedTuple):
    """An open WebSocket with compression: both ends of it, and the client's compressors as agreed."""

    ws: Socket
    peer: RawPeer
    deflating: Deflating

    async def receive(self, *, compressed: bool | None = None) -> bytes:
        """Receive a message, decompressed; `compressed`: whether it must be."""
        frame = await self.peer.receive()
        assert frame.opcode in {TEXT, BINARY}
        assert frame.fin
        assert compressed in {None, frame.rsv == RSV1}
        return self.deflating.inflate(frame.payload) if frame.rsv else frame.payload

    async def send(self, message: bytes, opcode: int = TEXT) -> None:
        """Send a compressed message in one frame."""
        await self.peer.send(RawPeer.frame(opcode, self.deflating.deflate(message), rsv=RSV1))


async def linked(place: Place, offer: str = BROWSER) -> Link:
    peer = await place.connect()
    headers = await peer.upgrade("/", extension(offer))
    agreed = parameters(headers.get("sec-websocket-extensions"))
    await settled()
    return Link(
        place.sockets[-1],
        peer,
        Deflating(
            takeover_in="server_no_context_takeover" not in agreed,
            takeover_out="client_no_context_takeover" not in agreed,
            bits_in=agreed.get("server_max_window_bits", 15),
            bits_out=agreed.get("client_max_window_bits", 15),
        ),
    )


def handler_with(deflate: bool | PerMessageDeflate = True, **options: Any) -> WebSocketHandler[Any]:
    return WebSocketHandler(per_message_deflate=deflate, **options)
