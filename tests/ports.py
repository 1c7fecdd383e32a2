"""Ports that stay a test's own while nobody listens there, for servers that are started again where they were.

A Redis is another matter, which may need a second port at a distance: see `redis_server.py`.
"""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def kept_port() -> Generator[int]:
    """Keep a port of this machine for the block: nobody gets it by chance, and a program that is told it may listen.

    It is bound here by a socket that does not listen. The kernel then gives it to nobody who asks for any port, but
    lets those have it that name it and set SO_REUSEADDR, as servers do.
    """
    with socket.socket() as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        yield keeper.getsockname()[1]
