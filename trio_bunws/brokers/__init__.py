"""Brokers: what lets one publish reach the sockets of several processes and machines (beyond Bun).

This file only re-exports.
"""

from trio_bunws._broker import (
    Batch as Batch,
    Broker as Broker,
    BrokerLink as BrokerLink,
    BrokerStatistics as BrokerStatistics,
)
from trio_bunws.brokers._in_process import InProcessBroker as InProcessBroker

for _public in list(globals().values()):
    if getattr(_public, "__module__", "") in {"trio_bunws._broker", "trio_bunws.brokers._in_process"}:
        _public.__module__ = __name__
