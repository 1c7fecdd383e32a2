# python examples/echo.py [port]    and, to talk to it: trio-bunws connect ws://127.0.0.1:3000/
"""The smallest server there is: whatever a client sends, text or bytes, comes back to it.

There is no `fetch`, so every handshake is upgraded, and a browser that asks for a page is told to upgrade (426).
"""

from __future__ import annotations

import argparse
from contextlib import suppress

import trio

from trio_bunws import ServerWebSocket, WebSocketHandler, open_server


def message(ws: ServerWebSocket, message: str | bytes) -> None:
    """Send it back: a `str` as text, `bytes` as binary."""
    ws.send(message)


ECHO = WebSocketHandler(message=message, per_message_deflate=True)


async def main(port: int) -> None:
    """Serve until Ctrl-C."""
    async with open_server(websocket=ECHO, port=port) as server:
        print(f"Echo at ws://127.0.0.1:{server.port}/", flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", nargs="?", default=3000, type=int, help="where to listen (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.port not in range(65536):
        parser.error(f"there is no port {arguments.port}")
    with suppress(KeyboardInterrupt):
        trio.run(main, arguments.port)
