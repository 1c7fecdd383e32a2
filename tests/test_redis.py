"""Facts about `brokers/_redis.py`: one `RedisBroker` without a server, on a Redis that comes, goes, and says no.

What servers do with it is in `test_redis_servers.py`.
"""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from redis_server import RedisServer, redis_server, until

from trio_bunws import BrokerError
from trio_bunws.brokers import Batch, RedisBroker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator


class Link:
    """What a server is to its broker."""

    def __init__(self, *channels: str) -> None:
        self.wanted = list(channels)
        self.episodes: list[str] = []
        self.got: list[tuple[str, bytes]] = []

    def channels(self) -> tuple[str, ...]:
        return tuple(self.wanted)

    def connected(self) -> None:
        self.episodes.append("connected")

    def disconnected(self, reason: str) -> None:
        self.episodes.append(reason)

    def receive(self, channel: str, data: bytes) -> None:
        self.got.append((channel, data))

    @property
    def is_connected(self) -> bool:
        return self.episodes[-1] == "connected"


@pytest.fixture(scope="module")
def redis() -> Generator[RedisServer]:
    with redis_server() as server:
        yield server


@asynccontextmanager
async def running(broker: RedisBroker, *channels: str) -> AsyncGenerator[Link]:
    link = Link(*channels)
    async with trio.open_nursery() as nursery:
        await nursery.start(broker.run, link)
        yield link
        nursery.cancel_scope.cancel()


async def test_batches_go_to_the_channels_of_the_prefix(redis: RedisServer) -> None:
    one, two, other = (RedisBroker(redis.url, prefix=prefix) for prefix in ("app:", "app:", "else:"))
    async with running(one, "room"), running(two, "room", "ä\ud800") as link, running(other, "room") as stranger:
        assert await one.publish([Batch("room", b"\x00\xff", 1), Batch("ä\ud800", b"", 2), Batch("x", b"", 1)]) == []
        await until(lambda: len(link.got) == 2)
        assert link.got == [("room", b"\x00\xff"), ("ä\ud800", b"")]
        assert await one.receivers("room") == 2
        await two.unsubscribe(["room"])
        await two.subscribe(["x"])
        assert redis.ask("PUBLISH", "app:room", "") == ":1"
        assert redis.ask("PUBLISH", "app:x", "") == ":1"
        assert stranger.got == []


async def test_a_redis_that_goes_and_comes_is_found_again_with_the_channels_of_now() -> None:
    with redis_server() as server:
        broker = RedisBroker(server.url, timeout=10)
        async with running(broker, "a") as link:
            for _ in range(2):
                server.kill()
                await until(lambda: not link.is_connected)
                for call in (
                    broker.publish([]),
                    broker.subscribe(["x"]),
                    broker.unsubscribe(["x"]),
                    broker.receivers("a"),
                ):
                    with pytest.raises(BrokerError, match="Redis is away"):
                        await call
                link.wanted = ["b"]
                server.start()
                await until(lambda: link.is_connected)
                assert server.ask("PUBLISH", "bunws:a", "1") == ":0"
                assert server.ask("PUBLISH", "bunws:b", "2") == ":1"
                # Before the next kill: what has only just come may be lost with the connection.
                await until(lambda: link.got)
                assert link.got == [("b", b"2")]
                link.got.clear()
        assert "was lost" in link.episodes[1]


async def test_a_redis_that_is_not_there_yet_is_waited_for_in_the_background() -> None:
    with redis_server() as server:
        server.kill()
        broker = RedisBroker(server.url)
        async with running(broker) as link:
            assert not link.is_connected
            server.start()
            await until(lambda: link.is_connected)


async def test_a_redis_that_hangs_counts_as_away_until_it_goes_on() -> None:
    with redis_server() as server:
        broker = RedisBroker(server.url, timeout=0.5)
        async with running(broker, "a") as link:
            server.pause()
            batches = [Batch("a", b"1", 1), Batch("b", b"2", 1)]
            assert await broker.publish(batches) == batches
            await until(lambda: not link.is_connected)
            server.go_on()
            await until(lambda: link.is_connected)
            for change in (broker.subscribe, broker.unsubscribe):
                server.pause()
                with pytest.raises(BrokerError, match="does not answer"):
                    await change(["b"])
                await until(lambda: not link.is_connected)
                server.go_on()
                await until(lambda: link.is_connected)


async def test_a_wrong_password_is_an_error_at_the_first_try_and_waited_for_later() -> None:
    with redis_server("--requirepass", "secret") as server:
        url = server.url.replace("redis://", "redis://:pa55@")
        with pytest.RaisesGroup(pytest.RaisesExc(BrokerError, match="refuses us")) as raised:
            async with running(RedisBroker(url)):
                raise AssertionError("started")
        assert "pa55" not in str(raised.value.exceptions[0])
        async with running(RedisBroker(server.url.replace("redis://", "redis://:secret@"))) as link:
            server.kill()
            await until(lambda: not link.is_connected)
            server._options = ("--requirepass", "other")
            server.start()
            await until(lambda: "refuses us" in link.episodes[-1])
            assert server.ask("AUTH", "other") == "+OK"
            server.kill()
            server._options = ("--requirepass", "secret")
            server.start()
            await until(lambda: link.is_connected)


async def test_what_redis_refuses_to_publish_has_failed_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with redis_server() as server:
        server.ask("ACL", "SETUSER", "default", "resetchannels", "&bunws:ok*")
        broker = RedisBroker(server.url)
        async with running(broker, "ok", "no") as link:
            assert caplog.text.count("refuses SUBSCRIBE") == 1
            for _ in range(2):
                batches = [Batch("ok", b"1", 1), Batch("no", b"2", 1), Batch("ok", b"3", 1)]
                assert await broker.publish(batches) == batches[1:2]
            assert caplog.text.count("refuses to publish") == 1
            await until(lambda: len(link.got) == 4)
            assert link.is_connected


async def test_a_cluster_that_is_too_old_is_an_error_at_the_start() -> None:
    with redis_server("--cluster-enabled", "yes", "--rename-command", "SPUBLISH", "") as server:
        assert server.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383") == "+OK"
        with pytest.RaisesGroup(pytest.RaisesExc(BrokerError, match="cluster=True needs Redis 7")):
            async with running(RedisBroker(server.url, cluster=True)):
                raise AssertionError("started")


async def test_a_cluster_s_channels_are_each_on_their_node() -> None:
    with redis_server("--cluster-enabled", "yes") as one, redis_server("--cluster-enabled", "yes") as two:
        assert one.ask("CLUSTER", "ADDSLOTSRANGE", "0", "8191") == "+OK"
        assert two.ask("CLUSTER", "ADDSLOTSRANGE", "8192", "16383") == "+OK"
        assert one.ask("CLUSTER", "MEET", "127.0.0.1", str(two.port)) == "+OK"
        servers = (one, two)
        await until(lambda: all("cluster_state:ok" in server.ask("CLUSTER", "INFO") for server in servers))
        here, there = (RedisBroker(server.url, cluster=True, timeout=10) for server in servers)
        channels = [f"room{number}" for number in range(20)]
        async with running(here), running(there, *channels) as link:
            batches = [Batch(channel, channel.encode(), 1) for channel in channels]
            assert await here.publish(batches) == []
            await until(lambda: len(link.got) == 20)
            assert sorted(link.got) == sorted((channel, channel.encode()) for channel in channels)
            counts = [int(re_count(server.ask("INFO", "commandstats"))) for server in servers]
            assert sum(counts) == 20
            assert min(counts) > 0
            assert await here.receivers("room1") == 1
            await there.unsubscribe(channels[:10])
            await there.subscribe(["more"])
            assert await here.publish([Batch("more", b"", 1), *batches]) == []
            await until(lambda: len(link.got) == 31)
            # A node that loses a channel makes both ask again.
            for server in servers:
                server.ask("CLUSTER", "DELSLOTSRANGE", "0", "8191")
            await here.publish(batches)
            await until(lambda: not link.is_connected)
            assert one.ask("CLUSTER", "ADDSLOTSRANGE", "0", "8191") == "+OK"
            await until(lambda: link.is_connected)


def re_count(stats: str) -> str:
    """Return how often SPUBLISH was called."""
    return stats.partition("cmdstat_spublish:calls=")[2].partition(",")[0] or "0"


async def test_a_broker_belongs_to_one_server(redis: RedisServer) -> None:
    broker = RedisBroker(redis.url)
    async with running(broker):
        pass
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="one for each")):
        async with running(broker):
            raise AssertionError("started")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"url": 1}, TypeError),
        ({"url": "http://:secret@a"}, ValueError),
        ({"prefix": b"x"}, TypeError),
        ({"cluster": 1}, TypeError),
        ({"tls": True}, TypeError),
        ({"tls": ssl.create_default_context()}, ValueError),
        ({"url": "unix:///a", "cluster": True}, ValueError),
        ({"timeout": 0}, ValueError),
        ({"keepalive": "1"}, TypeError),
        ({"max_queue_size": 0}, ValueError),
        ({"max_message_size": 10}, ValueError),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="RedisBroker expects") as raised:
        RedisBroker(arguments.pop("url", "redis://a"), **arguments)
    assert "secret" not in str(raised.value)


def test_the_url_is_shown_without_its_password() -> None:
    broker = RedisBroker("rediss://me:secret@a", max_queue_size=5, max_message_size=2000)
    assert repr(broker) == "<RedisBroker rediss://me@a:6379/0>"
    assert (broker.max_queue_size, broker.max_message_size) == (5, 2000)
