"""What a worker inherits from its supervisor: descriptors and what they are, told in one environment variable.

`worker_process.py` writes it, `serve_command.py` takes it. One of them is a socket whose other end is the supervisor's,
and open while that lives; the worker writes a byte to it when it serves, and then one every `beat` seconds.
"""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from trio_bunws._listeners import Address, Inherited

if TYPE_CHECKING:
    from collections.abc import MutableMapping

VARIABLE: Final = "TRIO_BUNWS_WORKER"


class Inheritance(NamedTuple):
    """What one worker inherits; sockets are their descriptors."""

    number: int
    """The worker's, from 1."""
    supervisor: int
    """The worker's end of the socket pair."""
    beat: float
    """Seconds between two signs of life."""
    sockets: tuple[int, ...]
    """Where it is to listen."""
    address: Address
    """What these are called."""

    def tell(self) -> dict[str, str]:
        """Return what is to be added to the worker's environment."""
        return {VARIABLE: json.dumps(self)}

    def listeners(self) -> Inherited:
        """Return what to serve; called once, because the descriptors then belong to it."""
        sockets = [socket.socket(fileno=descriptor) for descriptor in self.sockets]
        return Inherited(
            tuple(trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in sockets), self.address
        )


def take_inheritance(environment: MutableMapping[str, str]) -> Inheritance | None:
    """Return what this process inherits if it is a worker. What it starts in its turn gets nothing of it."""
    told = environment.pop(VARIABLE, None)
    if told is None:
        return None
    number, supervisor, beat, sockets, address = json.loads(told)
    for descriptor in (supervisor, *sockets):
        os.set_inheritable(descriptor, False)
    return Inheritance(number, supervisor, beat, tuple(sockets), Address(*address))
