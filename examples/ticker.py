# python examples/ticker.py [port]    and open http://127.0.0.1:3000/ in a browser, twice if you like
"""A price and its order book, thirty times a second, for readers of any speed: the latest value wins.

Every reader gets what the same `publish` sends. One who cannot keep up has unsent bytes; with a backpressure limit of
one byte, whatever is published meanwhile is dropped for that reader, and for nobody else. When the unsent bytes have
gone, `drain` sends the newest value. So nobody waits for anybody, and at most one message is stored for who is slow.

    /ticks    {"reader": 3} at first, then {"n": 42, "price": 100.07, "bids": [[100.06, 55], ...], "asks": [...]}
    /board    {"n": 42, "price": 100.07, "readers": [...]}, as often: how each reader fares, as the server sees it
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import socket
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import attrs
import trio

from trio_bunws import Request, Response, Server, ServerWebSocket, WebSocketHandler, open_server

PERIOD = 1 / 30  # seconds between two ticks
LEVELS = 400  # of the order book, on each side; they make a tick weigh some 12 KB
PAGE = Path(__file__).with_name("ticker.html")
# Only a page that is isolated so may share memory with its worker; ticker.html says what for.
ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}


@attrs.define
class Reader:
    """What the server keeps of one reader: numbers, and no messages."""

    number: int = attrs.field(factory=itertools.count(1).__next__)
    drains: int = 0
    drops: int = 0  # as they were at the last drain


Socket: TypeAlias = ServerWebSocket[Reader | None]  # None: it watches the board


class Ticker:
    """A market with one price, and its readers."""

    def __init__(self) -> None:
        self.n = 0
        self.price = 100.0
        self.latest = self.tick()
        self.websocket = WebSocketHandler[Reader | None](open=self.opened, drain=self.drained, backpressure_limit=1)

    async def run(self, server: Server[Reader | None]) -> None:
        """Publish until cancelled."""
        while True:
            self.n += 1
            self.price = round(self.price + random.gauss(0.0, 0.02) + (100 - self.price) / 300, 2)
            self.latest = self.tick()
            server.publish("ticks", self.latest)
            server.publish("board", self.board(server.subscribers("ticks")))
            await trio.sleep(PERIOD)

    def fetch(self, request: Request, server: Server[Reader | None]) -> Response | None:
        """Answer with the page, or make a WebSocket."""
        match request.path:
            case "/":
                response = Response.file(PAGE)
                for name, value in ISOLATED.items():
                    response.headers.set(name, value)
                return response
            case "/ticks" if server.upgrade(request, data=Reader()):
                return None
            case "/board" if server.upgrade(request, data=None):
                return None
        return Response("Nothing here.\n", 404)

    def opened(self, ws: Socket) -> None:
        """Begin with the newest value: who comes late has missed nothing."""
        if ws.data is None:
            ws.subscribe("board")
        else:
            ws.send(json.dumps({"reader": ws.data.number}))
            ws.send(self.latest)
            ws.subscribe("ticks")

    def drained(self, ws: Socket) -> None:
        """Send the newest value to a reader who has room again, if one was dropped meanwhile."""
        if ws.data is not None:
            ws.data.drains += 1
            drops = ws.statistics().drops
            if drops > ws.data.drops:
                ws.data.drops = drops
                ws.send(self.latest)

    def tick(self) -> str:
        """Write down the price and the orders around it."""
        cents = round(100 * self.price)
        bids = [(level / 100, self.orders(level)) for level in range(cents - 1, cents - 1 - LEVELS, -1)]
        asks = [(level / 100, self.orders(level)) for level in range(cents + 1, cents + 1 + LEVELS)]
        return json.dumps({"n": self.n, "price": self.price, "bids": bids, "asks": asks})

    def orders(self, level: int) -> int:
        """Return how much is on offer at a level; it comes and goes slowly."""
        return round(60 + 50 * math.sin(level * 12.9898 + self.n / 25))

    def board(self, readers: tuple[Socket, ...]) -> str:
        """Write down how each reader fares."""
        rows: list[dict[str, int]] = []
        for ws in readers:
            if ws.data is not None:
                seen = ws.statistics()
                rows.append(
                    {
                        "reader": ws.data.number,
                        "sent": seen.messages_out,
                        "dropped": seen.drops,
                        "drains": ws.data.drains,
                        "unsent": ws.get_buffered_amount(),
                    }
                )
        return json.dumps({"n": self.n, "price": self.price, "readers": rows})


async def main(port: int) -> None:
    """Serve until Ctrl-C."""
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    for listener in listeners:
        # Accepted sockets inherit it. What the kernel stores is sent, however old it has become; by itself it would
        # store up to some megabytes for each reader, which is minutes of prices.
        listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    ticker = Ticker()
    async with open_server(ticker.fetch, ticker.websocket, listeners=listeners) as server:
        print("Ticker at http://{}:{}/".format(*listeners[0].socket.getsockname()), flush=True)
        await ticker.run(server)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", nargs="?", default=3000, type=int, help="where to listen (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.port not in range(65536):
        parser.error(f"there is no port {arguments.port}")
    with suppress(KeyboardInterrupt):
        trio.run(main, arguments.port)
