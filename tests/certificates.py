"""Certificates for the tests of TLS: a server's context for a name, and that of a client who believes it.

Each call makes an authority of its own, so what believes one server believes no other.
"""

from __future__ import annotations

import ssl
from typing import NamedTuple

import trustme


class Certified(NamedTuple):
    """The two contexts of one connection."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def certified(*names: str) -> Certified:
    """Make a certificate for these names or addresses of a host, and who believes it."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return Certified(server, client)
