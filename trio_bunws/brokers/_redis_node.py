"""One Redis: a connection to publish on and one to be subscribed on, so that neither waits behind the other's bytes.

`RedisBroker` has one of these, or with a cluster one for each primary, where channels are sharded ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import trio

from trio_bunws._errors import BrokerError
from trio_bunws.brokers._redis_connection import Connection, RefusedError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Sequence

    from trio_bunws.brokers._redis_url import RedisURL

FLIGHT: Final = 256 * 1024
"""Bytes that are published in one piece, then their answers are waited for; only a longer message makes it more."""
SLOWEST: Final = 64 * 1024
"""Bytes per second of the slowest link that does not count as broken."""
CHANNELS: Final = 512
"""Channels that are subscribed to, or unsubscribed from, in one piece."""


class Commands(NamedTuple):
    """What Redis calls things, with channels for all and with those of a cluster's shard."""

    publish: bytes
    subscribe: bytes
    unsubscribe: bytes
    receivers: bytes
    message: bytes
    """The kind of a pushed message that somebody has published."""
    unsubscribed: bytes
    """The kind of one that says that a subscription is over."""


PLAIN: Final = Commands(b"PUBLISH", b"SUBSCRIBE", b"UNSUBSCRIBE", b"PUBSUB NUMSUB", b"message", b"unsubscribe")
SHARDED: Final = Commands(
    b"SPUBLISH", b"SSUBSCRIBE", b"SUNSUBSCRIBE", b"PUBSUB SHARDNUMSUB", b"smessage", b"sunsubscribe"
)


class Node:
    """One Redis, for as long as its connections last."""

    def __init__(
        self,
        url: RedisURL,
        *,
        tls: ssl.SSLContext | None,
        timeout: float,
        keepalive: float,
        sharded: bool,
        receive: Callable[[bytes, bytes], None],
    ) -> None:
        """`receive` gets channel and data of each message that was published there."""
        self._url: Final = url
        self._commands: Final = SHARDED if sharded else PLAIN
        self._timeout: Final = timeout
        self._keepalive: Final = keepalive
        self._receive: Final = receive
        self._publishing: Final = Connection(url, tls, timeout)
        self._subscribed: Final = Connection(url, tls, timeout)
        self._in_flight = False
        self._channels: Final[set[bytes]] = set()
        self._asking: Final = trio.Lock()

    async def open(self, nursery: trio.Nursery) -> None:
        """Connect; `nursery` ends with a `BrokerError` when a connection is lost.

        Raises `RefusedError` if it is to shard channels, and is too old for that.
        """
        await nursery.start(self._publishing.run)
        if self._commands is SHARDED and not await self._publishing.knows(SHARDED.publish):
            raise RefusedError(f"{self._url} does not know SPUBLISH; cluster=True needs Redis 7")
        await nursery.start(self._subscribed.run)
        nursery.start_soon(self._subscribed.take_pushed, self._take)
        nursery.start_soon(self._keep_alive)

    async def publish(self, messages: Sequence[tuple[bytes, bytes]]) -> tuple[list[Any], BrokerError | None]:
        """Publish channel and data of each; return Redis's answers: how many have got it, or an error.

        Where the connection is lost, the last answers are missing, and the second is why: those messages may have got
        through or not.
        """
        answers: list[Any] = []
        self._in_flight = True
        try:
            for flight, size in flights(messages):
                commands = [(self._commands.publish, channel, data) for channel, data in flight]
                answers += await self._publishing.request_all(commands, self._timeout + size / SLOWEST)
        except BrokerError as exc:
            return answers, exc
        finally:
            self._in_flight = False
        return answers, None

    async def subscribe(self, channels: Sequence[bytes]) -> list[BrokerError]:
        """Be subscribed to channels when it returns; return what Redis says of those that it refuses."""
        self._channels.update(channels)
        return await self._change(self._commands.subscribe, channels)

    async def unsubscribe(self, channels: Sequence[bytes]) -> list[BrokerError]:
        """As `subscribe`."""
        self._channels.difference_update(channels)
        return await self._change(self._commands.unsubscribe, channels)

    async def receivers(self, channel: bytes) -> int:
        """Return how many connections are subscribed to a channel."""
        match await self._publishing.request(self._commands.receivers, channel):
            case [_, int(count)]:
                return count
            case answer:
                raise BrokerError(f"{self._commands.receivers.decode()} is answered with {answer!r}")

    async def _change(self, command: bytes, channels: Sequence[bytes]) -> list[BrokerError]:
        refusals: list[BrokerError] = []
        async with self._asking:
            for start in range(0, len(channels), CHANNELS):
                some = channels[start : start + CHANNELS]
                try:
                    await self._subscribed.change(self._in_commands(command, some))
                except RefusedError:
                    # Which one it was is not told, and one of many keeps the others out.
                    for channel in some:
                        try:
                            await self._subscribed.change([(command, channel)])
                        except RefusedError as exc:
                            self._channels.discard(channel)
                            refusals.append(exc)
        return refusals

    def _in_commands(self, command: bytes, channels: Sequence[bytes]) -> list[Sequence[bytes]]:
        # The channels of one command for a cluster would have to be of one slot.
        return [(command, c) for c in channels] if self._commands is SHARDED else [(command, *channels)]

    def _take(self, message: list[Any]) -> None:
        kind = message[0]
        if kind == self._commands.message:
            self._receive(message[1], message[2])
        elif kind == self._commands.unsubscribed and message[1] in self._channels:
            raise BrokerError("the cluster has moved a channel to another node")

    async def _keep_alive(self) -> None:
        while True:
            await trio.sleep(self._keepalive)
            async with self._asking:
                await self._subscribed.ping()
            if not self._in_flight:
                await self._publishing.ping()


def flights(messages: Sequence[tuple[bytes, bytes]]) -> Iterator[tuple[Sequence[tuple[bytes, bytes]], int]]:
    """Cut messages into what is sent in one piece, with the bytes of each."""
    start = size = 0
    for end, (_, data) in enumerate(messages):
        if size and size + len(data) > FLIGHT:
            yield messages[start:end], size
            start, size = end, 0
        size += len(data)
    yield messages[start:], size
