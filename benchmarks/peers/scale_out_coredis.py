"""One process of `scale_out.py`: coredis as its documentation shows it, without a server: publish, and iterate."""

from __future__ import annotations

import json
import sys
import time

import coredis
import trio

SIZE = 64


async def subscribed(client: coredis.Redis[bytes], messages: int) -> dict[str, object]:
    latencies: list[int] = []
    received = 0
    async with client.pubsub(channels=["room"], ignore_subscribe_messages=True) as pubsub:
        print("ready", flush=True)
        with trio.move_on_after(60):
            async for message in pubsub:
                received += 1
                latencies.append(time.monotonic_ns() - int(message["data"]))
                if received == messages:
                    break
    return {"end": time.monotonic_ns(), "received": received, "latencies": latencies}


async def publish(client: coredis.Redis[bytes], messages: int, rate: int) -> dict[str, object]:
    begin = time.monotonic_ns()
    for number in range(messages):
        if rate:
            await trio.sleep(max(0, begin / 1e9 + number / rate - time.monotonic()))
        await client.publish("room", str(time.monotonic_ns()).ljust(SIZE))
    return {"begin": begin, "lost": 0}


async def main(role: str, url: str, messages: int, rate: int) -> None:
    async with coredis.Redis.from_url(url) as client:
        result = await (subscribed(client, messages) if role == "subscribe" else publish(client, messages, rate))
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
