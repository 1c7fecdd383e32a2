"""A client's connection over a fake wire: it reads unmasked frames, sends masked ones, and has no handlers."""

from __future__ import annotations

import trio
import trio.testing
from connection_fakes import Surroundings, Wire

from trio_bunws import CloseInfo, WebSocketHandler
from trio_bunws._client_connection import ClientConnection
from trio_bunws._close import CloseFrame
from trio_bunws._wire.codec import Codec
from trio_bunws._wire.events import Close, Pong
from trio_bunws._wire.frames import close_frame, ping_frame, text_frame


async def test_it_receives_answers_pings_and_closes() -> None:
    wire = Wire()
    async with trio.open_nursery() as nursery:
        surroundings = Surroundings(nursery, WebSocketHandler(max_inbox=1, max_payload_length=99))
        connection = ClientConnection(wire, surroundings.engine, "chat")
        assert connection.ws.protocol == "chat"
        nursery.start_soon(connection.run, b"", text_frame(b"first"))
        assert await connection.receive() == "first"
        wire.incoming += [ping_frame(b"p"), close_frame(4000, "bye")]
        wire.change()
        info = await connection.ws.closed()
        assert info == CloseInfo(4000, "bye", CloseFrame(4000, "bye"), CloseFrame(4000, "bye"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    codec = Codec(99, 9)
    codec.feed(bytes(wire.written))
    assert list(codec.events()) == [Pong(b"p"), Close(4000, "bye")]
