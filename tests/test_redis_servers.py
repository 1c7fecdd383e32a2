"""Servers on a real Redis: what their statistics say is what their clients got, whatever happens to it.

BEHAVIOUR of topics over several servers is in `test_behaviour_broker.py`; here it is Redis that is killed, restarted,
paused, full and slow, and servers that go on.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from patience import PATIENCE
from playground import Playground, playground
from redis_server import RedisServer, redis_server, until

from trio_bunws import BrokerError, Limits, MessageDropped, MessageSent, WebSocketHandler, serve
from trio_bunws.brokers import BrokerStatistics, RedisBroker
from trio_bunws.testing import MemoryListener

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_bunws import ServerWebSocket
    from trio_bunws.testing import RawPeer

QUICKLY = Limits(close_timeout=0.2)


def join(ws: ServerWebSocket) -> None:
    ws.subscribe("room")


async def start(
    stack: AsyncExitStack, redis: RedisServer, *, url: str = "", timeout: float = 10, queue: int = 1 << 23
) -> Playground:
    broker = RedisBroker(url or redis.url, timeout=timeout, max_queue_size=queue)
    return await stack.enter_async_context(playground(WebSocketHandler(open=join), broker=broker, limits=QUICKLY))


def of(place: Playground) -> BrokerStatistics:
    statistics = place.server.statistics().broker
    assert statistics is not None
    return statistics


async def connected(*places: Playground) -> None:
    await until(lambda: all(of(place).connected for place in places))


async def away(*places: Playground) -> None:
    await until(lambda: not any(of(place).connected for place in places))


async def open_subscribed(place: Playground, by: Playground) -> RawPeer:
    peer = await place.open()
    with trio.fail_after(PATIENCE):
        while not await by.server.subscriber_count_everywhere("room"):  # noqa: ASYNC110 - Redis tells nobody
            await trio.lowlevel.checkpoint()
    return peer


async def receive(peer: RawPeer, count: int) -> list[str]:
    with trio.fail_after(PATIENCE):  # noqa: ASYNC100  # the list has them
        return [await peer.receive_text() for _ in range(count)]


async def test_while_redis_is_killed_local_delivery_goes_on_and_what_is_lost_is_counted_exactly() -> None:
    with redis_server() as redis:
        async with AsyncExitStack() as stack:
            one, two = await start(stack, redis), await start(stack, redis)
            there = await open_subscribed(two, one)
            for number in range(100):
                one.server.publish("room", f"before {number}")
            assert await receive(there, 100) == [f"before {number}" for number in range(100)]
            redis.kill()
            await away(one, two)
            here = await one.open()
            for number in range(70):
                assert one.server.publish("room", f"while {number}") == MessageSent(len(f"while {number}"))
            assert await receive(here, 70) == [f"while {number}" for number in range(70)]
            redis.start()
            await connected(one, two)
            for number in range(100):
                one.server.publish("room", f"after {number}")
            assert await receive(there, 100) == [f"after {number}" for number in range(100)]
            await until(lambda: of(one).published == 200)
            assert of(one) == BrokerStatistics(
                connected=True, published=200, received=0, lost=70, skipped=0, reconnects=1
            )
            assert of(two) == BrokerStatistics(
                connected=True, published=0, received=200, lost=0, skipped=0, reconnects=1
            )


async def test_a_restart_during_a_burst_loses_some_doubles_none_and_keeps_the_order() -> None:
    with redis_server() as redis:
        async with AsyncExitStack() as stack:
            one, two = await start(stack, redis), await start(stack, redis)
            there = await open_subscribed(two, one)
            sent = 0

            async def burst(enough: Callable[[], bool]) -> None:
                nonlocal sent
                while not enough():
                    for _ in range(20):
                        sent += 1
                        one.server.publish("room", str(sent))
                    await trio.lowlevel.checkpoint()

            async with trio.open_nursery() as nursery:
                # Not just connected: until they have noticed, they are that still, with much of before to read.
                nursery.start_soon(burst, lambda: of(one).reconnects == of(two).reconnects == 1)
                await until(lambda: of(two).received > 100)
                redis.kill()
                await until(lambda: of(one).lost > 0)  # a Redis that is back at once may miss nothing
                redis.start()
            before = of(two).received
            with trio.fail_after(PATIENCE):
                await burst(lambda: of(two).received >= before + 400)
            await until(lambda: of(one).published + of(one).lost == sent)
            last = sent = sent + 1
            one.server.publish("room", str(last))
            got = [0]
            with trio.fail_after(PATIENCE):
                while got[-1] != last:
                    got.append(int(await there.receive_text()))
            assert got == sorted(set(got))
            # What Redis had taken but not handed on, when it was killed, nobody can count.
            assert len(got) - 1 == of(two).received <= of(one).published
            assert of(one).reconnects == of(two).reconnects == 1
            assert of(one).lost > 0


async def test_a_redis_that_hangs_holds_up_nobody_and_what_waited_is_lost() -> None:
    with redis_server() as redis:
        async with AsyncExitStack() as stack:
            one = await start(stack, redis, timeout=2)  # seconds, of a real clock: a slow Redis is not to look dead
            here = await one.open()
            redis.pause()
            for number in range(50):
                one.server.publish("room", str(number))
            assert await receive(here, 50) == [str(number) for number in range(50)]
            await away(one)
            assert of(one).lost == 50
            assert await one.server.subscriber_count_everywhere("room") == 1
            redis.go_on()
            await connected(one)
            assert one.server.publish("room", "x") == MessageSent(1)
            await until(lambda: of(one).published == 1)
            redis.pause()  # and the server ends all the same
            one.server.publish("room", "stuck")


async def test_a_queue_that_is_full_loses_what_comes_and_nothing_else() -> None:
    with redis_server() as redis:
        async with AsyncExitStack() as stack:
            one, two = await start(stack, redis, queue=20_000), await start(stack, redis)
            there = await open_subscribed(two, one)
            for number in range(1000):
                one.server.publish("room", f"{number:036}")
            assert of(one).lost == 1000 - 196  # of 38 bytes with their header, and 64
            assert await receive(there, 196) == [f"{number:036}" for number in range(196)]


async def test_a_redis_whose_memory_is_full_still_publishes() -> None:
    with redis_server("--maxmemory", "1", "--maxmemory-policy", "noeviction") as redis:
        assert redis.ask("SET", "z", "y").startswith("-OOM")
        async with AsyncExitStack() as stack:
            one, two = await start(stack, redis), await start(stack, redis)
            there = await open_subscribed(two, one)
            one.server.publish("room", "z" * 100_000)
            assert await receive(there, 1) == ["z" * 100_000]
            assert of(one).lost == 0


async def throttle(redis: RedisServer, rate: int, task_status: trio.TaskStatus[int]) -> None:
    """Be a slow link to a Redis, of so many bytes per second each way; started with its port."""

    async def copy(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        async for data in source:
            await sink.send_all(data)
            await trio.sleep(len(data) / rate)
        await sink.send_eof()

    async def carry(client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream("127.0.0.1", redis.port)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(copy, client, server)
            nursery.start_soon(copy, server, client)

    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(partial(trio.serve_tcp, carry, 0, host="127.0.0.1"))
        task_status.started(listeners[0].socket.getsockname()[1])


async def test_over_a_slow_link_what_does_not_fit_is_lost_and_counted_and_the_rest_comes_in_order() -> None:
    with redis_server() as redis:
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
            port = await nursery.start(throttle, redis, 400_000)
            slow = await start(stack, redis, url=f"redis://127.0.0.1:{port}", queue=100_000)
            two = await start(stack, redis)
            there = await open_subscribed(two, slow)
            sent = 0
            for _ in range(40):
                for _ in range(10):
                    slow.server.publish("room", f"{sent:01000}")
                    sent += 1
                await trio.lowlevel.checkpoint()  # a pass of the scheduler: far too little time for the link
            await until(lambda: of(slow).published + of(slow).lost == sent)
            await until(lambda: of(two).received == of(slow).published)
            got = [int(text) for text in await receive(there, of(slow).published)]
            assert got == sorted(set(got))
            assert of(slow).lost > 0
            assert of(slow).connected
            assert of(slow).reconnects == 0
            await stack.aclose()
            nursery.cancel_scope.cancel()


async def test_what_others_publish_on_our_channels_is_counted_and_skipped() -> None:
    with redis_server() as redis:
        async with AsyncExitStack() as stack:
            one, two = await start(stack, redis), await start(stack, redis)
            there = await open_subscribed(two, one)
            for poison in ("", "hello", "bw\x01\x00", "x" * 1_000_000):
                assert redis.ask("PUBLISH", "bunws:t:room", poison) == ":1"
            one.server.publish("room", "well")
            assert await receive(there, 1) == ["well"]
            assert of(two).skipped == 4


async def test_a_wrong_password_ends_serve_at_once_and_a_redis_that_is_not_there_does_not() -> None:
    with redis_server("--requirepass", "secret") as redis:
        url = redis.url.replace("redis://", "redis://:nonsense@")
        with pytest.raises(BrokerError, match="refuses us") as raised:
            await serve(websocket=WebSocketHandler(), listeners=[MemoryListener()], broker=RedisBroker(url))
        assert "nonsense" not in str(raised.value)
        redis.kill()
        async with AsyncExitStack() as stack:
            one = await start(stack, redis, url=url)
            assert one.server.publish("room", "x") == MessageDropped()
            assert of(one) == BrokerStatistics(
                connected=False, published=0, received=0, lost=1, skipped=0, reconnects=0
            )
