"""Where `serve` is to listen, as its arguments say it: an address or a unix socket, and the certificate for TLS.

Nothing listens here: the only thing done is that the certificate's files are read. `serve_command.py` asks, in each
process anew, so that a new worker has the certificate as it is then.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Required, TypedDict

from trio_bunws._cli.arguments import UsageError, port

if TYPE_CHECKING:
    import argparse

    from trio_bunws.brokers import Broker


class Place(TypedDict, total=False):
    """Where to listen, and with which broker: as keyword arguments of `trio_bunws.serve`."""

    hostname: str
    port: int
    unix: str
    tls: Required[ssl.SSLContext | None]
    broker: Broker | None


def add_place_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what tells the place."""
    place = parser.add_argument_group("where to listen")
    place.add_argument("-p", "--port", type=port, metavar="PORT", help="0 picks a free one (default: 3000)")
    place.add_argument(
        "--host", metavar="ADDRESS", help="0.0.0.0: every IPv4 address, :: every address (default: 127.0.0.1)"
    )
    place.add_argument("--unix", metavar="PATH", help="listen on a unix socket instead")
    place.add_argument("--tls-cert", metavar="FILE", help="speak TLS with this certificate (PEM)")
    place.add_argument("--tls-key", metavar="FILE", help="its key, if it is not in the same file")


def place_of(given: argparse.Namespace) -> Place:
    """Return where to listen.

    Raises:
        UsageError: if the arguments do not go together, or the certificate cannot be used.
    """
    place = Place(tls=_context(given))
    if given.unix is not None:
        if given.host is not None or given.port is not None:
            raise UsageError("--unix is instead of --host and --port")
        if not given.unix:
            raise UsageError("--unix expects a path")
        place["unix"] = given.unix
    if given.host is not None:
        place["hostname"] = given.host
    if given.port is not None:
        place["port"] = given.port
    return place


def _context(given: argparse.Namespace) -> ssl.SSLContext | None:
    if given.tls_cert is None:
        if given.tls_key is not None:
            raise UsageError("--tls-key needs --tls-cert")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(given.tls_cert, given.tls_key)
    except OSError as exc:  # which an SSLError is too
        files = " and ".join(filter(None, (given.tls_cert, given.tls_key)))
        raise UsageError(f"cannot use {files}: {exc.strerror or exc}") from None
    return context
