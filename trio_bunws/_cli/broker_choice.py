"""`--broker URL`, or the environment's: which broker is meant, and what is wrong with it in one line.

Nothing is connected to here. What a URL may hold beyond its scheme, a password above all, is shown in no complaint.
`serve_command.py` calls this; a supervisor only checks, and its workers, which inherit the environment, make brokers.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from trio_bunws import brokers
from trio_bunws._cli.arguments import UsageError
from trio_bunws.brokers._redis_url import SCHEMES, parse_url

if TYPE_CHECKING:
    import argparse

    from trio_bunws.brokers import Broker

VARIABLE: Final = "TRIO_BUNWS_BROKER"


def add_broker_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--broker`, for which the environment may speak: other users of the machine do not see that."""
    parser.add_argument(
        "--broker",
        default=os.environ.get(VARIABLE) or None,
        metavar="URL",
        help=f"publish to all processes by this Redis: redis://HOST:PORT (default: that of {VARIABLE})",
    )


def check_broker(url: str | None) -> None:
    """Complain of what `make_broker` would, but import nothing: a supervisor would start half as fast again.

    Raises:
        UsageError: if it is none that we know, or the library that it needs is not installed.
    """
    if url is None:
        return
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise UsageError(
            f"--broker, or {VARIABLE}, expects redis://HOST:PORT, rediss://HOST:PORT (TLS) or unix:///PATH of a Redis"
        )
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
