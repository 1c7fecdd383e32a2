"""Asking a Redis cluster which of its nodes has which channels.

One question over a connection of its own, which is closed again; what the answer means is `_redis_slots.py`'s.
`RedisBroker` asks before each of its own connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import trio

from trio_bunws._errors import BrokerError
from trio_bunws.brokers._redis_connection import Connection, RefusedError
from trio_bunws.brokers._redis_slots import read_slots

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from trio_bunws.brokers._redis_url import RedisURL


async def ask_for_slots(
    seeds: Sequence[RedisURL], tls: ssl.SSLContext | None, timeout: float
) -> list[tuple[int, RedisURL]]:
    """Return the first slot of each range with the primary that has it, from the first of `seeds` that knows.

    Raises:
        RefusedError: if the last that was asked does not want us, or is of no cluster.
        BrokerError: if none could be asked, or none knows.
    """
    failure = BrokerError("there is no node to ask")
    for url in seeds:
        answer: Any = None
        try:
            async with trio.open_nursery() as nursery:
                connection = Connection(url, tls, timeout)
                await nursery.start(connection.run)
                answer = await connection.request(b"CLUSTER SLOTS")
                nursery.cancel_scope.cancel()
        except* BrokerError as group:
            failure = first_of(group)
        if isinstance(answer, Exception):
            failure = RefusedError(f"{url} refuses CLUSTER SLOTS: {answer}")
        elif answer is not None:
            try:
                ranges = read_slots(answer, (url.host, url.port))
            except ValueError as exc:
                failure = BrokerError(f"{url}: {exc}")
            else:
                return [(first, attrs.evolve(url, host=host, port=port)) for first, (host, port) in ranges]
    raise failure


def first_of(group: BaseExceptionGroup[BrokerError]) -> BrokerError:
    """Return one of a group's exceptions; the others are its consequences."""
    failure: BaseException = group
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    assert isinstance(failure, BrokerError)
    return failure
