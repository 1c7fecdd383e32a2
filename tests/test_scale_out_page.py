"""docs/scale-out.md at work: its programs run, its broker keeps the contract, and its ACL is enough."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import attrs
import trio
from patience import PATIENCE
from playground import Playground, playground
from redis_server import redis_server, until

from trio_bunws import WebSocketHandler
from trio_bunws.brokers import BrokerStatistics, RedisBroker

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "scale-out.md").read_text("utf-8")
SERVER, BROKER, TEST = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run(code: str, module: ModuleType) -> ModuleType:
    exec(compile(code, "docs/scale-out.md", "exec"), vars(module))
    return module


async def test_the_broker_on_the_page_keeps_the_contract() -> None:
    assert {"Broker", "BrokerLink", "Batch"} <= set(re.findall(r"\w+", BROKER))
    page = run(BROKER + TEST, ModuleType("page"))
    await page.test_my_broker_keeps_the_contract()
    assert len(BROKER.splitlines()) < 50


def test_the_server_on_the_page_can_be_imported() -> None:
    assert callable(run(SERVER, ModuleType("page")).main)


def test_every_count_is_on_the_page() -> None:
    names = {field.name for field in attrs.fields(BrokerStatistics)}
    assert names == set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))


async def test_a_user_with_the_rights_on_the_page_can_do_all_that_is_needed() -> None:
    (rule,) = re.findall(r"^ACL SETUSER (.*)$", PAGE, re.MULTILINE)
    with redis_server() as redis:
        assert redis.ask("ACL", "SETUSER", *rule.split()) == "+OK"
        broker = RedisBroker(redis.url.replace("redis://", "redis://chat:password@") + "/3")
        handler: WebSocketHandler = WebSocketHandler(open=lambda ws: ws.subscribe("room"))
        other = RedisBroker(redis.url)
        async with playground(handler, broker=broker) as place, playground(handler, broker=other) as there:
            peer = await place.open()
            assert await place.server.subscriber_count_everywhere("room") == 1
            with trio.fail_after(PATIENCE):
                while not await there.server.subscriber_count_everywhere("room"):  # noqa: ASYNC110  # Redis tells nobody
                    await trio.lowlevel.checkpoint()
            there.server.publish("room", "hello")
            assert await peer.receive_text() == "hello"
            place.server.publish("room", "back")
            await until(lambda: of(place).published == 1)
            assert (of(place).published, of(place).received, of(place).lost) == (1, 1, 0)
            await peer.stream.aclose()


def of(place: Playground) -> BrokerStatistics:
    statistics = place.server.statistics().broker
    assert statistics is not None
    return statistics
