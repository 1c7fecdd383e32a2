"""`--broker URL`: which broker is meant, and what is wrong with it in one line.

Nothing is connected to here. What a URL may hold beyond its scheme, a password above all, is shown in no complaint.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from trio_bunws import brokers
from trio_bunws._cli.arguments import UsageError
from trio_bunws.brokers._redis_url import SCHEMES, parse_url

if TYPE_CHECKING:
    from trio_bunws.brokers import Broker


def check_broker(url: str | None) -> None:
    """Complain of what `make_broker` would, but import nothing: a supervisor would start half as fast again.

    Raises:
        UsageError: if it is none that we know, or the library that it needs is not installed.
    """
    if url is None:
        return
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise UsageError("--broker expects redis://HOST:PORT, rediss://HOST:PORT (TLS) or unix:///PATH of a Redis")
    try:
        parse_url(url)
    except ValueError as exc:
        raise UsageError(f"--broker: {exc}") from None
    if find_spec("coredis") is None:
        raise UsageError(f"--broker {scheme}://... needs coredis: pip install 'trio-bunws[redis]'")


def make_broker(url: str | None) -> Broker | None:
    """Return the broker of a URL, or None without one. Raises as `check_broker`."""
    check_broker(url)
    return None if url is None else brokers.RedisBroker(url)
