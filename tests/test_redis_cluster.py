"""Facts about `brokers/_redis_cluster.py`: whom it asks, and what it makes of the answers."""

from __future__ import annotations

import pytest
from redis_server import redis_server

from trio_bunws import BrokerError
from trio_bunws.brokers._redis_cluster import ask_for_slots
from trio_bunws.brokers._redis_connection import RefusedError
from trio_bunws.brokers._redis_slots import slot_of
from trio_bunws.brokers._redis_url import parse_url


async def test_the_first_node_that_knows_tells_who_has_which_slots() -> None:
    with redis_server() as gone, redis_server("--cluster-enabled", "yes") as node:
        gone.kill()
        url = parse_url(node.url.replace("redis://", "redis://default:any@"))
        with pytest.raises(BrokerError, match="no node has slot 0"):
            await ask_for_slots([url], None, 10)
        assert node.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383") == "+OK"
        # It knows no name of its own, and has that by which it was asked; the rest stays as it was.
        assert await ask_for_slots([parse_url(gone.url), url], None, 10) == [(0, url)]
        for channel in (b"foo", b"x{foo}y", b"{}foo", b"{foo", b"foo}{", b"bunws:t:room"):
            assert node.ask("CLUSTER", "KEYSLOT", channel.decode()) == f":{slot_of(channel)}"


async def test_a_redis_that_is_no_cluster_refuses_to_be_one() -> None:
    with redis_server() as server:
        with pytest.raises(RefusedError, match="refuses CLUSTER SLOTS"):
            await ask_for_slots([parse_url(server.url)], None, 10)
        server.kill()
        with pytest.raises(BrokerError) as raised:
            await ask_for_slots([parse_url(server.url)], None, 10)
        assert not isinstance(raised.value, RefusedError)


async def test_nobody_to_ask_is_a_broker_error() -> None:
    with pytest.raises(BrokerError, match="no node"):
        await ask_for_slots([], None, 10)
