"""A scrape by Prometheus: every documented metric is there with its type, and says what the statistics say.

Covers `trio_bunws.observability._metrics` alone, by asking a server in memory over HTTP or for its response.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import trio.testing
from playground import Playground, playground
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from trio_bunws import Request, Response, Server, ServerWebSocket, WebSocketHandler
from trio_bunws.brokers import InProcessBroker
from trio_bunws.observability import ServerCollector, metrics_response

if TYPE_CHECKING:
    from trio.testing import MockClock

PAGE = (Path(__file__).parents[1] / "docs" / "observability.md").read_text("utf-8")
TABLE = dict(re.findall(r"^\| `(trio_bunws\w*)` \| (\w+) \|", PAGE, re.MULTILINE))
WITH_BROKER = {"trio_bunws_broker_connected"} | {
    f"trio_bunws_broker_{what}_total"
    for what in ("messages_published", "messages_received", "messages_lost", "batches_skipped", "reconnects")
}
OWN = CollectorRegistry()
SIGNED_UP = Counter("signed_up", "People who have signed up", registry=OWN)


def fetch(request: Request, server: Server) -> Response | None:
    if request.path == "/metrics":
        return metrics_response(request, server)
    if request.path == "/all":
        return metrics_response(request, server, registry=OWN)
    return None if server.upgrade(request) else Response("no")


def opened(ws: ServerWebSocket) -> None:
    ws.subscribe("room")


def message(ws: ServerWebSocket, message: str | bytes) -> None:
    ws.send(message)


HANDLER = WebSocketHandler(open=opened, message=message)


async def scrape(ground: Playground, path: str) -> tuple[str, str]:
    """Return head and body of the response."""
    scraper = await ground.connect()
    await scraper.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = b"".join([data async for data in scraper.stream])
    head, _, body = answer.decode().partition("\r\n\r\n")
    return head, body


async def test_a_scrape_tells_every_documented_metric_and_nothing_else(
    autojump_clock: MockClock,  # noqa: ARG001 - no wait takes time
) -> None:
    async with playground(HANDLER, fetch) as ground:
        peer = await ground.open()
        await peer.send_text("hello")
        assert await peer.receive_text() == "hello"
        ground.server.publish("room", "news")
        assert await peer.receive_text() == "news"
        head, body = await scrape(ground, "/metrics")
        assert "Content-Type: text/plain; version=" in head
        found = {family.name: family for family in read_text(body)}
        kinds = {f"{name}_total" if family.type == "counter" else name: family.type for name, family in found.items()}
        assert {name.replace("trio_bunws_info", "trio_bunws"): kind for name, kind in kinds.items()} == {
            name: "gauge" if kind == "info" else kind for name, kind in TABLE.items() if name not in WITH_BROKER
        }
        assert all(family.documentation for family in found.values())
        values = {sample.name: sample.value for family in found.values() for sample in family.samples}
        assert values["trio_bunws_connections"] == 2
        assert values["trio_bunws_websockets"] == 1
        assert values["trio_bunws_requests_pending"] == 1
        assert values["trio_bunws_messages_received_total"] == 1
        assert values["trio_bunws_messages_sent_total"] == 2
        assert values["trio_bunws_received_bytes_total"] == 2 + 4 + 5
        assert values["trio_bunws_topics"] == 1
        assert values["trio_bunws_messages_dropped_total"] == 0
        statistics = ground.server.statistics()
        assert values["trio_bunws_publish_latency_seconds_count"] == statistics.ticks > 0
        assert 0 < values["trio_bunws_publish_latency_seconds_sum"] == statistics.tick_seconds
        (info,) = found["trio_bunws_info"].samples
        assert info.labels == {"compression": statistics.compression, "masking": statistics.masking}


async def test_a_servers_broker_is_told_of_if_there_is_one() -> None:
    assert {name for name in TABLE if "broker" in name} == WITH_BROKER
    async with playground(HANDLER, fetch, broker=InProcessBroker()) as ground:
        ground.server.publish("room", "news")
        await trio.testing.wait_all_tasks_blocked()
        _, body = await scrape(ground, "/metrics")
        samples = {sample.name: sample.value for family in read_text(body) for sample in family.samples}
        assert {name for name in samples if "broker" in name} == WITH_BROKER
        assert samples["trio_bunws_broker_connected"] == 1
        assert samples["trio_bunws_broker_messages_published_total"] == 1
        assert samples["trio_bunws_broker_messages_lost_total"] == 0


async def test_a_scraper_that_asks_for_openmetrics_gets_it() -> None:
    head = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n"
    async with playground(HANDLER, fetch) as ground:
        response = metrics_response(Request(head), ground.server)
    assert (response.headers.get("content-type") or "").startswith("application/openmetrics-text")
    assert isinstance(response._body, bytes)
    families = {family.name for family in read_openmetrics(response._body.decode())}  # type: ignore[no-untyped-call]
    assert {name.removesuffix("_total") for name in TABLE.keys() - WITH_BROKER} == families


async def test_the_applications_own_metrics_are_shown_beside() -> None:
    async with playground(HANDLER, fetch) as ground:
        SIGNED_UP.inc(3)
        _, body = await scrape(ground, "/all")
        assert "\nsigned_up_total 3.0\n" in body
        assert "\ntrio_bunws_websockets 0.0\n" in body


async def test_a_servers_collector_can_be_registered_elsewhere(
    autojump_clock: MockClock,  # noqa: ARG001 - as above
) -> None:
    registry = CollectorRegistry()
    async with playground(HANDLER) as ground:
        registry.register(ServerCollector(ground.server))
        assert registry.get_sample_value("trio_bunws_websockets") == 0
        await ground.open()
        await trio.testing.wait_all_tasks_blocked()
        assert registry.get_sample_value("trio_bunws_websockets") == 1


def test_importing_the_module_imports_neither_library() -> None:
    script = "import sys, trio_bunws.observability; print(*sys.modules, sep='\\n')"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert "trio_bunws.observability" in loaded
    assert {"prometheus_client", "opentelemetry"} & set(loaded) == set()
