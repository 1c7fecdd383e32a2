"""What a worker inherits: told and taken, once, and not passed on.

Covers `trio_bunws._cli.inheritance` alone.
"""

from __future__ import annotations

import os
import socket

from trio_bunws._cli.inheritance import Inheritance, take_inheritance
from trio_bunws._listeners import Address


def test_what_is_told_is_taken_and_not_passed_on() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.create_server(("127.0.0.1", 0)) as sock:
        for descriptor in (theirs.fileno(), sock.fileno()):
            os.set_inheritable(descriptor, True)
        address = Address("http://localhost:80/", "localhost", 80)
        inheritance = Inheritance(3, theirs.fileno(), 0.5, (sock.fileno(),), address)
        environment = {"HOME": "/", **inheritance.tell()}
        assert len(environment) == 2
        assert take_inheritance(environment) == inheritance
        assert environment == {"HOME": "/"}
        assert not os.get_inheritable(theirs.fileno())
        assert not os.get_inheritable(sock.fileno())


def test_who_is_no_worker_inherits_nothing() -> None:
    assert take_inheritance({}) is None


def test_what_is_inherited_can_be_served() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    name = sock.getsockname()
    address = Address("http://localhost/", "localhost", 80)
    listeners = Inheritance(1, -1, 0.5, (sock.detach(),), address).listeners()
    places, told = listeners.take_over()
    assert told == address
    with socket.create_connection(name):
        pass
    assert len(places) == 1
    os.close(places[0]._socket.detach())  # type: ignore[attr-defined]
