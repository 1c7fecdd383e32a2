"""`RedisBroker`: topics as the channels of a Redis, or of a Redis cluster.

Here is what outlives a connection: the way back to a Redis that was away, and which node has which channel. What goes
over one connection is `_redis_connection.py`'s; what the batches mean is not known here at all.
"""

from __future__ import annotations

import logging
import random
import ssl
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

from trio_bunws._broker import Broker
from trio_bunws._errors import BrokerError
from trio_bunws._options import check_bool, check_int, check_timeout, check_tls
from trio_bunws.brokers._redis_cluster import ask_for_slots, first_of
from trio_bunws.brokers._redis_connection import RefusedError
from trio_bunws.brokers._redis_node import Node
from trio_bunws.brokers._redis_slots import SlotMap
from trio_bunws.brokers._redis_url import parse_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from trio_bunws._broker import Batch, BrokerLink
    from trio_bunws.brokers._redis_url import RedisURL

    Change: TypeAlias = Callable[[Node, Sequence[bytes]], Awaitable[list[BrokerError]]]

logger = logging.getLogger("trio_bunws.broker")
FIRST_DELAY: Final = 0.05
"""Seconds before the first try to connect again; each further one waits twice as long, and up to half of it less."""
LAST_DELAY: Final = 5.0


class RedisBroker(Broker):
    """Publishes reach all servers that have a `RedisBroker` to the same Redis, with the same prefix.

    A topic is the channel ``<prefix>t:<topic>``. A Redis that is away when the server starts, or goes away, does not
    stop the server: connecting is tried again, after 0.05 to 5 seconds, and what is published for others meanwhile is
    lost and counted. Needs the extra `redis`, and Redis 6 or later (7 with `cluster`). `docs/scale-out.md` has the
    rest.

    Args:
        url: ``redis://[[user]:password@]host[:port][/db]``, ``rediss://...`` for TLS, or ``unix:///path``; user and
            password percent-encoded. The database makes no difference to what is published.
        prefix: what the names of all channels begin with. Servers with different prefixes do not meet.
        cluster: the URL is that of one node of a Redis cluster: use sharded channels, each on its node.
        tls: the context for ``rediss://``. Default: the system's certificates, and the host's name is checked.
        timeout: seconds that connecting, and each answer, may take before Redis counts as away. Default: 5.
        keepalive: seconds between two checks that a silent connection is still alive. Default: 15.
        max_queue_size: bytes of messages that wait for Redis; what comes beyond is lost and counted. Default: 8 MiB.
        max_message_size: bytes of the longest message, both ways. Default: 16 MiB.

    Raises:
        TypeError, ValueError: if an argument is of the wrong type, or makes no sense. No error message repeats the
            password.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "bunws:",
        cluster: bool = False,
        tls: ssl.SSLContext | None = None,
        timeout: float = 5.0,
        keepalive: float = 15.0,
        max_queue_size: int = Broker.max_queue_size,
        max_message_size: int = Broker.max_message_size,
    ) -> None:
        self._url: Final = parse_url(url)
        if not isinstance(prefix, str):
            raise TypeError(f"RedisBroker expects prefix to be a string, not {prefix!r}")
        check_bool("RedisBroker", "cluster", cluster)
        check_tls("RedisBroker", tls)
        if tls is not None and not self._url.tls:
            raise ValueError("RedisBroker expects tls only with a rediss:// URL")
        if cluster and self._url.path:
            raise ValueError("RedisBroker expects no unix:// URL of a cluster")
        check_timeout("RedisBroker", "timeout", timeout)
        check_timeout("RedisBroker", "keepalive", keepalive)
        check_int("RedisBroker", "max_queue_size", max_queue_size, 1)
        check_int("RedisBroker", "max_message_size", max_message_size, 1024)
        self.max_queue_size = max_queue_size
        self.max_message_size = max_message_size
        self._prefix: Final = prefix.encode()
        self._cluster: Final = cluster
        self._tls: Final = ssl.create_default_context() if self._url.tls and tls is None else tls
        self._timeout: Final = timeout
        self._keepalive: Final = keepalive
        self._seeds: list[RedisURL] = [self._url]
        """Nodes to ask for those of the cluster."""
        self._nodes: SlotMap[Node] | None = None
        """`None` while Redis is away."""
        self._broken = trio.Event()
        self._failure = BrokerError("Redis is away")
        self._is_refused = False
        """Whether the log has been told of a refused publish, on this connection."""
        self._ran = False

    def __repr__(self) -> str:
        return f"<RedisBroker {self._url}>"

    async def run(self, link: BrokerLink, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Stay connected to Redis, reconnecting when needed, until cancelled.

        Raises:
            BrokerError: if, at the first try, Redis refuses the password, the user or the database, is not the cluster
                it should be, or is too old.
            RuntimeError: if it was called before: each server needs a broker of its own.
        """
        if self._ran:
            raise RuntimeError("a RedisBroker belongs to one server: make one for each")
        self._ran = True
        is_started = False
        tries = 0
        while True:
            failure: BrokerError | None = None
            try:
                async with trio.open_nursery() as nursery:
                    self._nodes = await self._connect(nursery, link)
                    tries = 0
                    link.connected()
                    if not is_started:
                        is_started = True
                        task_status.started()
                    nursery.start_soon(self._end_when_broken)
            except* BrokerError as group:
                failure = first_of(group)
            finally:
                self._nodes = None
            assert failure is not None  # a connection ends with nothing else
            if not is_started and isinstance(failure, RefusedError):
                raise BrokerError(str(failure)) from failure
            link.disconnected(str(failure))
            if not is_started:
                is_started = True
                task_status.started()
            delay = min(LAST_DELAY, FIRST_DELAY * 2**tries)
            tries += 1
            await trio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - so that not all come at once

    async def publish(self, batches: Sequence[Batch]) -> list[Batch]:
        """Publish; return those that Redis has not taken, or whose answer did not come."""
        nodes = self._nodes_or_error()
        by_node: dict[Node, list[Batch]] = {}
        for batch in batches:
            by_node.setdefault(nodes.node_of(self._name(batch.channel)), []).append(batch)
        failed: list[Batch] = []
        for node, of_node in by_node.items():
            answers, failure = await node.publish([(self._name(batch.channel), batch.data) for batch in of_node])
            if failure is not None:
                self._break(failure)
            failed += of_node[len(answers) :]
            for batch, answer in zip(of_node, answers, strict=False):
                if not isinstance(answer, int):
                    failed.append(batch)
                    self._publish_refused(answer)
        return failed

    def _publish_refused(self, answer: object) -> None:
        if not self._is_refused:
            self._is_refused = True
            logger.warning("Redis refuses to publish: %s", answer)
        if self._cluster:  # most often a channel that has moved to another node
            self._break(BrokerError(f"a node refuses to publish: {answer}"))

    async def subscribe(self, channels: Sequence[str]) -> None:
        """Subscribe; return when Redis has."""
        await self._change_or_break(channels, Node.subscribe)

    async def unsubscribe(self, channels: Sequence[str]) -> None:
        """Unsubscribe; return when Redis has."""
        await self._change_or_break(channels, Node.unsubscribe)

    async def receivers(self, channel: str) -> int:
        """Return how many connections are subscribed to a channel, that of this server included."""
        name = self._name(channel)
        return await self._nodes_or_error().node_of(name).receivers(name)

    def _nodes_or_error(self) -> SlotMap[Node]:
        if self._nodes is None:
            raise BrokerError("Redis is away")
        return self._nodes

    def _name(self, channel: str) -> bytes:
        return self._prefix + channel.encode(errors="surrogatepass")

    async def _change_or_break(self, channels: Sequence[str], change: Change) -> None:
        nodes = self._nodes_or_error()
        try:
            await self._change(nodes, channels, change)
        except BrokerError as exc:
            self._break(exc)
            raise

    async def _change(self, nodes: SlotMap[Node], channels: Sequence[str], change: Change) -> None:
        """Have each node subscribe to, or unsubscribe from, those of the channels that it has."""
        by_node: dict[Node, list[bytes]] = {}
        for channel in channels:
            name = self._name(channel)
            by_node.setdefault(nodes.node_of(name), []).append(name)
        for node, names in by_node.items():
            for refusal in await change(node, names):
                logger.warning("%s", refusal)

    async def _connect(self, nursery: trio.Nursery, link: BrokerLink) -> SlotMap[Node]:
        """Connect to all nodes, and subscribe."""
        self._broken = trio.Event()
        self._is_refused = False

        def receive(name: bytes, data: bytes) -> None:
            link.receive(name.removeprefix(self._prefix).decode(errors="surrogatepass"), data)

        ranges = [(0, self._url)]
        if self._cluster:
            ranges = await ask_for_slots(self._seeds, self._tls, self._timeout)
            self._seeds = [self._url, *dict.fromkeys(url for _, url in ranges)]
        nodes = {
            url: Node(
                url,
                tls=self._tls,
                timeout=self._timeout,
                keepalive=self._keepalive,
                sharded=self._cluster,
                receive=receive,
            )
            for _, url in ranges
        }
        for node in nodes.values():
            await node.open(nursery)
        slots = SlotMap([(first, nodes[url]) for first, url in ranges])
        await self._change(slots, link.channels(), Node.subscribe)
        return slots

    def _break(self, failure: BrokerError) -> None:
        """End this connection, and make a new one."""
        self._failure = failure
        self._broken.set()

    async def _end_when_broken(self) -> None:
        await self._broken.wait()
        raise self._failure
