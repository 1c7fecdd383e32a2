"""The server of the soak test, a process of its own: rooms that number what is published, and echoes.

It knows nothing of what clients check; `soak_peer.py` tells the protocol. `soak.py` starts it, reads the address and at
last the counts from its output, and takes every line that it logs for a failure. SIGTERM ends it.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections import Counter

import attrs
import trio

from trio_bunws import Request, Response, Server, ServerWebSocket, WebSocketHandler, open_server

FLOOD = "flood"
"""The topic of the slow readers, to which this server publishes by itself."""
FLOOD_PAUSE = 1 / 15  # seconds
FLOOD_FILLING = "x" * 2048
LIMIT = 128 * 1024
"""`backpressure_limit`: what a slow reader misses beyond it is counted on both sides."""
SEND_BUFFER = 32 * 1024
"""Of the kernel, so that a slow reader is one within seconds."""
GRACE = 30.0


@attrs.define(eq=False)
class Sender:
    """One client, and the number of its last message."""

    server: Server[Sender]
    name: str
    heard: int = 0


Socket = ServerWebSocket[Sender]
published: Counter[str] = Counter()
calls: Counter[str] = Counter()


def fetch(request: Request, server: Server[Sender]) -> Response | None:
    assert server.upgrade(request, data=Sender(server, request.query["name"]))
    return None


def opened(_ws: Socket) -> None:
    calls["open"] += 1


def message(ws: Socket, message: str | bytes) -> None:
    """Do what the client wants; its messages are numbered, and none may be missing or come twice."""
    assert isinstance(message, str)
    number, what, rest = message.split(" ", 2)
    sender = ws.data
    sender.heard += 1
    assert int(number) == sender.heard, f"{sender.name}: message {sender.heard} is {number}"
    match what:
        case "echo":
            ws.send_text(f"echo {number} {rest}")
        case "sub":
            assert ws.subscribe(rest)
            ws.send_text(f"sub {rest} {published[rest]}")
        case "unsub":
            assert ws.unsubscribe(rest)
            ws.send_text(f"unsub {rest} {published[rest]}")
        case "publish":  # to the others; the sender is told the number, in place of the message
            room, _, filling = rest.partition(" ")
            published[room] += 1
            ws.publish_text(room, f"room {room} {published[room]} {sender.name} {number} {filling}")
            ws.send_text(f"own {room} {published[room]}")
        case "say":  # to all
            room, _, filling = rest.partition(" ")
            published[room] += 1
            sender.server.publish(room, f"room {room} {published[room]} {sender.name} {number} {filling}")
        case "count":
            ws.send_text(f"count {number} {ws.statistics().drops} {published[FLOOD]}")
        case _:
            raise AssertionError(message)


def closed(_ws: Socket, code: int, reason: str) -> None:
    calls["close"] += 1
    calls[f"close {code} {reason}".rstrip()] += 1


async def flood(server: Server[Sender]) -> None:
    """Publish without end."""
    while True:
        published[FLOOD] += 1
        server.publish(FLOOD, f"room {FLOOD} {published[FLOOD]} server 0 {FLOOD_FILLING}")
        await trio.sleep(FLOOD_PAUSE)


async def main() -> None:
    sock = socket.create_server(("127.0.0.1", 0), backlog=4096)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    handler = WebSocketHandler[Sender](
        open=opened, message=message, close=closed, backpressure_limit=LIMIT, idle_timeout=60
    )
    async with open_server(fetch, handler, listeners=[listener]) as server:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            server.start_soon(flood, server)
            sys.stdout.write(f"{server.port}\n")
            sys.stdout.flush()
            async for _ in signals:
                break
        await server.stop(grace=GRACE)
        counts = attrs.asdict(server.statistics()) | {"calls": calls}
    json.dump(counts, sys.stdout)


trio.run(main)
