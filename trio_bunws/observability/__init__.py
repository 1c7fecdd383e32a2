"""For who operates a server: metrics for Prometheus and spans for OpenTelemetry, each with its extra.

This file only re-exports, and importing it imports neither library. Nothing of `trio_bunws` itself imports it: what is
not asked for here costs nothing.
"""

from trio_bunws.observability._metrics import ServerCollector as ServerCollector, metrics_response as metrics_response
from trio_bunws.observability._tracing import traced as traced, traced_fetch as traced_fetch

for _public in list(globals().values()):
    if getattr(_public, "__module__", "").startswith(f"{__name__}."):
        _public.__module__ = __name__
