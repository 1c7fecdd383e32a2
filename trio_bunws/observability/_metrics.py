"""A server's statistics as Prometheus' metrics; the names are told in docs/observability.md, and are part of the API.

Everything is read from `Server.statistics` when somebody asks; between two scrapes nothing happens. `prometheus_client`
is imported only then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from trio_bunws._response import Response

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry, Metric

    from trio_bunws._request import Request
    from trio_bunws._server import Server


class Measure(NamedTuple):
    """One metric without labels, and the field of `ServerStatistics` that it shows."""

    name: str
    field: str
    words: str


GAUGES: Final = (
    Measure("connections", "connections", "TCP connections open now, HTTP ones included"),
    Measure("websockets", "websockets", "WebSockets open or closing now"),
    Measure("websockets_backpressured", "backpressured_sockets", "WebSockets that have unsent bytes now"),
    Measure("websockets_paused", "paused_sockets", "WebSockets that the application has paused"),
    Measure("websockets_inbox_full", "full_inboxes", "WebSockets not read now, because their inbox is full"),
    Measure("topics", "topics", "Topics that have a subscriber now"),
)
COUNTERS: Final = (
    Measure("messages_received", "messages_in", "Messages received"),
    Measure("messages_sent", "messages_out", "Messages accepted for sending, once per receiver"),
    Measure("messages_dropped", "drops", "Messages dropped because a receiver was over its backpressure limit"),
    Measure("received_bytes", "bytes_in", "Bytes received on WebSockets, frame headers included"),
    Measure("sent_bytes", "bytes_out", "Bytes written on WebSockets, frame headers and handshakes included"),
    Measure("subscriptions_refused", "refused_subscriptions", "Subscriptions over max_topics_per_socket"),
)
BROKER_COUNTERS: Final = (
    Measure("broker_messages_published", "published", "Messages that the broker has taken over"),
    Measure("broker_messages_received", "received", "Messages of other servers"),
    Measure("broker_messages_lost", "lost", "Messages that other servers do not get, or may not"),
    Measure("broker_batches_skipped", "skipped", "Batches from the broker that no server of this version has made"),
    Measure("broker_reconnects", "reconnects", "How often the broker was there again after it was away"),
)


class ServerCollector:
    """What one server is doing, as a collector for a registry of `prometheus_client`.

    `metrics_response` needs none; this is for other ways to export them, such as a push gateway:
    `registry.register(ServerCollector(server))`. Needs the extra `prometheus`.
    """

    __slots__ = ("_server",)

    def __init__(self, server: Server[Any]) -> None:
        self._server: Final = server

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now; `prometheus_client` calls this. Looks at every socket."""
        from prometheus_client.metrics_core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            InfoMetricFamily,
            SummaryMetricFamily,
        )

        statistics = self._server.statistics()
        for name, field, words in GAUGES:
            yield GaugeMetricFamily(f"trio_bunws_{name}", words, getattr(statistics, field))
        requests = self._server.pending_requests
        yield GaugeMetricFamily("trio_bunws_requests_pending", "HTTP requests being answered now", requests)
        for name, field, words in COUNTERS:
            yield CounterMetricFamily(f"trio_bunws_{name}", words, getattr(statistics, field))
        broker = statistics.broker
        if broker is not None:
            yield GaugeMetricFamily("trio_bunws_broker_connected", "1 while the broker is there", broker.connected)
            for name, field, words in BROKER_COUNTERS:
                yield CounterMetricFamily(f"trio_bunws_{name}", words, getattr(broker, field))
        yield SummaryMetricFamily(
            "trio_bunws_publish_latency_seconds",
            "From the first publish or send of a tick, or the reading that led to it, until all of the tick is written",
            statistics.ticks,
            statistics.tick_seconds,
        )
        parts = {"compression": statistics.compression, "masking": statistics.masking}
        yield InfoMetricFamily("trio_bunws", "What does the heavy work", parts)


def metrics_response(request: Request, server: Server[Any], *, registry: CollectorRegistry | None = None) -> Response:
    """Return the response to a scrape by Prometheus, in the format that it accepts.

    Call it in `fetch`, for a path that only those can reach who may see the metrics::

        if request.path == "/metrics":
            return metrics_response(request, server)

    Needs the extra `prometheus`. Looks at every socket, and never checkpoints.

    Args:
        request: what `fetch` received; its `Accept` header decides between the text format and OpenMetrics.
        server: whose metrics these are.
        registry: more metrics to show, such as the application's own in `prometheus_client.REGISTRY`.

    Raises:
        ModuleNotFoundError: if `prometheus_client` is not installed.
    """
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    shown = CollectorRegistry()
    shown.register(ServerCollector(server))
    if registry is not None:
        shown.register(registry)
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(shown), headers={"Content-Type": content_type})
