"""Brokers: what lets one publish reach the sockets of several processes and machines (beyond Bun).

`serve(..., broker=RedisBroker("redis://..."))`. This file only re-exports. `RedisBroker` needs the extra `redis`, and
is looked up when it is asked for, so that nothing else does.
"""

import typing

from trio_bunws._broker import (
    Batch as Batch,
    Broker as Broker,
    BrokerLink as BrokerLink,
    BrokerStatistics as BrokerStatistics,
)
from trio_bunws.brokers._in_process import InProcessBroker as InProcessBroker

if typing.TYPE_CHECKING:
    from trio_bunws.brokers._redis import RedisBroker as RedisBroker

for _public in list(globals().values()):
    if getattr(_public, "__module__", "") in {"trio_bunws._broker", "trio_bunws.brokers._in_process"}:
        _public.__module__ = __name__


def __getattr__(name: str) -> object:
    if name != "RedisBroker":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from trio_bunws.brokers._redis import RedisBroker  # noqa: PLC0415  # see above
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != "coredis":
            raise
        raise ImportError("RedisBroker needs coredis: pip install 'trio-bunws[redis]'", name=exc.name) from exc
    RedisBroker.__module__ = __name__
    return RedisBroker


def __dir__() -> list[str]:
    return [*globals(), "RedisBroker"]
