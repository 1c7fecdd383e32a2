"""picows' core API, as its README and its broadcast example have it, on uvloop if `--uvloop`; no compression.

The chat encodes a message once; the echo sends the frame's memoryview back without copying it to Python. Started by
the benchmarks with `chat CLIENTS` or `echo`; prints its port.
"""

from __future__ import annotations

import asyncio
import sys
from urllib.parse import parse_qs, urlsplit

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

transports: list[WSTransport] = []


def broadcast(text: str) -> None:
    payload = text.encode()
    for transport in transports:
        transport.send(WSMsgType.TEXT, payload)


class Chat(WSListener):
    def __init__(self, name: str) -> None:
        self.name = name

    def on_ws_connected(self, transport: WSTransport) -> None:
        transports.append(transport)
        if len(transports) == int(sys.argv[2]):
            broadcast("ready")

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        transports.remove(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            broadcast(f"{self.name}: {frame.get_payload_as_utf8_text()}")


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())


def listener(request: WSUpgradeRequest) -> WSListener:
    if sys.argv[1] == "echo":
        return Echo()
    return Chat(parse_qs(urlsplit(request.path.decode()).query)["name"][0])


async def main() -> None:
    server = await ws_create_server(listener, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if "--uvloop" in sys.argv:
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
