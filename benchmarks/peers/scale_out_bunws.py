"""One process of `scale_out.py`: a server with a `RedisBroker` that publishes, or has a client that is subscribed.

Each message is 64 bytes: the time at which it was published, and blanks. `single` sends every message to Redis by
itself, which no option of the package does.
"""

from __future__ import annotations

import json
import sys
import time

import trio

from trio_bunws import Server, ServerWebSocket, WebSocketHandler, _outgoing, open_server
from trio_bunws.brokers import RedisBroker
from trio_bunws.testing import RawPeer

SIZE = 64
FRAME = SIZE + 2
BURST = 100


def join(ws: ServerWebSocket) -> None:
    ws.subscribe("room")


async def subscribed(server: Server, messages: int) -> dict[str, object]:
    peer = RawPeer(await trio.open_tcp_stream("127.0.0.1", server.port or 0))
    await peer.upgrade()
    while await server.subscriber_count_everywhere("room", 0.1) < 1:
        pass
    await trio.sleep(0.2)  # until Redis has it
    print("ready", flush=True)
    received = len(peer.received)
    latencies: list[int] = []
    with trio.move_on_after(60):
        while received < messages * FRAME:
            data = await peer.stream.receive_some(1 << 20)
            now = time.monotonic_ns()
            received += len(data)
            # The last whole message of what has come, of those that begin in it.
            end = len(data) - received % FRAME
            if end >= FRAME:
                latencies.append(now - int(data[end - SIZE : end]))
    statistics = server.statistics().broker
    assert statistics is not None
    return {"end": time.monotonic_ns(), "received": received // FRAME, "latencies": latencies}


async def publish(server: Server, messages: int, rate: int) -> dict[str, object]:
    statistics = server.statistics().broker
    while statistics is None or not statistics.connected:
        await trio.sleep(0.01)
        statistics = server.statistics().broker
    begin = time.monotonic_ns()
    burst = BURST if not rate else max(1, rate // 1000)
    for number in range(0, messages, burst):
        if rate:
            await trio.sleep(max(0, begin / 1e9 + number / rate - time.monotonic()))
        for _ in range(burst):
            server.publish("room", str(time.monotonic_ns()).ljust(SIZE), compress=False)
        await trio.lowlevel.checkpoint()
    while True:
        statistics = server.statistics().broker
        assert statistics is not None
        if statistics.published + statistics.lost >= messages:
            return {"begin": begin, "lost": statistics.lost}
        await trio.sleep(0.01)


async def main(role: str, url: str, messages: int, rate: int, mode: str) -> None:
    if mode == "single":
        _outgoing.MAX_FRAMES = 1  # type: ignore[misc]  # what is compared with
    # The whole burst waits in the queue: what Redis takes in a second is measured, and not what is lost.
    broker = RedisBroker(url, max_queue_size=1 << 30, timeout=60)
    async with open_server(websocket=WebSocketHandler(open=join), port=0, broker=broker) as server:
        result = await (subscribed(server, messages) if role == "subscribe" else publish(server, messages, rate))
        print(json.dumps(result), flush=True)
        server.stop(grace=0)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
