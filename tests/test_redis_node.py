"""Facts about `brokers/_redis_node.py`: publishing in flights, subscribing past refusals, and staying alive."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from patience import PATIENCE
from redis_server import RedisServer, redis_server, until

from trio_bunws import BrokerError
from trio_bunws.brokers._redis_connection import RefusedError
from trio_bunws.brokers._redis_node import CHANNELS, FLIGHT, Node, flights
from trio_bunws.brokers._redis_url import parse_url

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator


@pytest.fixture(scope="module")
def redis() -> Generator[RedisServer]:
    with redis_server() as server:
        yield server


@asynccontextmanager
async def opened(
    redis: RedisServer, got: list[tuple[bytes, bytes]] | None = None, **options: Any
) -> AsyncGenerator[Node]:
    options = {"timeout": 10, "keepalive": 1000, "sharded": False, **options}
    received: list[tuple[bytes, bytes]] = [] if got is None else got
    async with trio.open_nursery() as nursery:
        node = Node(parse_url(redis.url), tls=None, receive=lambda *message: received.append(message), **options)
        await node.open(nursery)
        yield node
        nursery.cancel_scope.cancel()


def test_a_flight_is_complete_when_another_message_would_make_it_too_long() -> None:
    long, half = b"x" * (FLIGHT + 1), b"x" * (FLIGHT // 2)
    messages = [(b"%d" % number, data) for number, data in enumerate([half, half, b"y", long, b"y"])]
    assert list(flights(messages)) == [
        (messages[:2], FLIGHT),
        (messages[2:3], 1),
        (messages[3:4], FLIGHT + 1),
        (messages[4:], 1),
    ]


async def test_what_is_published_reaches_who_is_subscribed_in_order(redis: RedisServer) -> None:
    got: list[tuple[bytes, bytes]] = []
    async with opened(redis, got) as node:
        assert await node.subscribe([b"a", b"b"]) == []
        assert (await node.receivers(b"a"), await node.receivers(b"c")) == (1, 0)
        messages = [(b"abc"[n % 3 : n % 3 + 1], bytes([n]) * (FLIGHT // 3)) for n in range(9)]
        assert await node.publish(messages) == ([1, 1, 0] * 3, None)
        expected = [message for message in messages if message[0] != b"c"]
        await until(lambda: len(got) == len(expected))
        assert got == expected
        assert await node.unsubscribe([b"a"]) == []
        assert await node.publish(messages[:3]) == ([0, 1, 0], None)


async def test_more_channels_than_go_into_one_piece(redis: RedisServer) -> None:
    channels = [b"many%d" % number for number in range(2 * CHANNELS + 1)]
    async with opened(redis) as node:
        assert await node.subscribe(channels) == []
        assert await node.receivers(channels[-1]) == 1
        assert await node.unsubscribe(channels) == []
        assert await node.receivers(channels[0]) == 0


async def test_a_channel_that_is_refused_does_not_keep_the_others_out() -> None:
    with redis_server() as server:
        server.ask("ACL", "SETUSER", "default", "resetchannels", "&ok*")
        async with opened(server) as node:
            (refusal,) = await node.subscribe([b"ok1", b"no", b"ok2"])
            assert "refuses SUBSCRIBE" in str(refusal)
            answers, failure = await node.publish([(b"ok1", b""), (b"no", b""), (b"ok2", b"")])
            assert (answers[0], answers[2], failure) == (1, 1, None)
            assert isinstance(answers[1], Exception)


async def test_an_answer_that_makes_no_sense_is_a_broker_error(redis: RedisServer) -> None:
    async with opened(redis) as node:
        redis.ask("ACL", "SETUSER", "default", "-pubsub")
        with pytest.raises(BrokerError, match="PUBSUB NUMSUB is answered with"):
            await node.receivers(b"a")
        redis.ask("ACL", "SETUSER", "default", "+pubsub")


async def test_a_publish_without_an_answer_has_fewer_answers_than_messages() -> None:
    with redis_server() as server:
        async with opened(server, timeout=0.5) as node:
            server.pause()
            answers, failure = await node.publish([(b"a", b"")])
            assert answers == []
            assert "does not answer" in str(failure)


@pytest.mark.parametrize("in_flight", [False, True])
async def test_a_silent_connection_is_asked_whether_it_lives(in_flight: bool) -> None:
    with redis_server() as server, pytest.RaisesGroup(pytest.RaisesExc(BrokerError, match="does not answer")):
        async with opened(server, timeout=0.5, keepalive=0.02) as node:
            node._in_flight = in_flight  # then its answers will tell, and there is one ping less
            await until(lambda: re.search(r"cmdstat_ping:calls=[3-9]", server.ask("INFO", "commandstats")))
            server.pause()
            with trio.fail_after(PATIENCE):
                await trio.sleep_forever()


async def test_a_redis_without_sharded_channels_is_refused_for_a_cluster_only() -> None:
    with redis_server("--rename-command", "SPUBLISH", "") as server:
        async with opened(server):
            pass
        with pytest.RaisesGroup(pytest.RaisesExc(RefusedError, match="cluster=True needs Redis 7")):
            async with opened(server, sharded=True):
                raise AssertionError("opened")


async def test_a_shard_that_says_that_a_subscription_is_over_was_moved() -> None:
    with redis_server("--cluster-enabled", "yes") as server:
        assert server.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383") == "+OK"
        got: list[tuple[bytes, bytes]] = []
        with pytest.RaisesGroup(pytest.RaisesExc(BrokerError, match="moved a channel")):
            async with opened(server, got, sharded=True) as node:
                while await node.subscribe([b"a", b"b"]):  # noqa: ASYNC110 - until the cluster is there
                    await trio.sleep(0.02)
                await node.unsubscribe([b"b"])
                assert await node.publish([(b"a", b"1"), (b"b", b"2")]) == ([1, 0], None)
                assert await node.receivers(b"a") == 1
                await until(lambda: got == [(b"a", b"1")])
                assert server.ask("CLUSTER", "DELSLOTSRANGE", "0", "16383") == "+OK"
                with trio.fail_after(PATIENCE):
                    await trio.sleep_forever()
