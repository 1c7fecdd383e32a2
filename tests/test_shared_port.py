"""The sockets that workers inherit: whose they are, on one port, and what becomes of connections that wait in them.

Covers `trio_bunws._cli.shared_port` alone, with real sockets on this machine.
"""

from __future__ import annotations

import platform
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from trio_bunws._cli.place import Place
from trio_bunws._cli.shared_port import SharedPort, open_shared_port
from trio_bunws._listeners import Address

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

HERE = Place(port=0, tls=None)


@pytest.fixture(name="port")
async def _port() -> AsyncGenerator[SharedPort]:
    port = await open_shared_port(HERE)
    yield port
    port.close()


def name(sockets: list[socket.socket]) -> tuple[str, int]:
    host, port = sockets[0].getsockname()
    return host, port


@contextmanager
def connected(address: tuple[str, int]) -> Generator[socket.socket]:
    with socket.create_connection(address) as peer:
        yield peer


def waits_in(sockets: list[socket.socket]) -> bool:
    """Take a connection that waits there."""
    try:
        taken, _ = sockets[0].accept()
    except BlockingIOError:
        return False
    taken.close()
    return True


async def test_each_worker_has_sockets_of_its_own_on_one_port(port: SharedPort) -> None:
    mine, others = port.of(1), port.of(2)
    assert port.of(1) is mine
    assert port.of(2) is others
    assert name(mine) == name(others) == ("127.0.0.1", port.address.port)
    assert port.address == Address(f"http://127.0.0.1:{port.address.port}/", "127.0.0.1", port.address.port)
    taken = {id(sockets): 0 for sockets in (mine, others)}
    for _ in range(100):
        with connected(name(mine)):
            for sockets in (mine, others):
                taken[id(sockets)] += waits_in(sockets)
    assert sum(taken.values()) == 100
    assert min(taken.values()) > 10


async def test_without_a_worker_its_place_is_left_to_the_others_until_it_is_back(port: SharedPort) -> None:
    mine, others = port.of(1), port.of(2)
    port.vacate(2)
    assert others[0].fileno() == -1
    for _ in range(20):
        with connected(name(mine)):
            assert waits_in(mine)
    assert name(port.of(2)) == name(mine)
    port.vacate(1)
    assert mine[0].fileno() == -1
    port.vacate(1)  # it has gone already
    port.vacate(2)  # and this is the last
    with connected(name(port.of(2))):
        assert waits_in(port.of(2))


async def test_nobody_is_let_in_beside_another_server_that_shares_its_port(port: SharedPort) -> None:
    with pytest.raises(OSError, match="in use"):
        await open_shared_port(Place(port=port.address.port or 0, tls=None))


async def test_a_port_that_is_free_is_taken() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        free = sock.getsockname()[1]
    port = await open_shared_port(Place(port=free, tls=None, hostname="localhost"))
    assert port.address == Address(f"http://localhost:{free}/", "localhost", free)
    port.close()


async def test_every_address_has_its_socket_for_each_worker() -> None:
    port = await open_shared_port(Place(port=0, tls=None, hostname="::"))
    assert [sock.family for sock in port.of(2)] == [sock.family for sock in port.of(1)]
    assert {sock.getsockname()[1] for sock in (*port.of(1), *port.of(2))} == {port.address.port}
    port.close()


async def test_where_the_kernel_does_not_balance_all_share_one_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    port = await open_shared_port(HERE)
    assert port.of(1) is port.of(2)
    port.vacate(1)
    with connected(name(port.of(1))):
        assert waits_in(port.of(2))
    with pytest.raises(OSError, match="in use"):
        await open_shared_port(Place(port=port.address.port or 0, tls=None))
    port.close()


async def test_a_unix_socket_is_shared_and_its_file_goes_with_the_port(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    port = await open_shared_port(Place(unix=str(path), tls=None))
    assert port.address == Address(f"unix://{path}", None, None)
    assert port.of(1) is port.of(2)
    assert path.is_socket()
    port.close()
    assert not path.exists()
    port.close()


async def test_an_abstract_unix_socket_has_no_file() -> None:
    port = await open_shared_port(Place(unix="\0trio_bunws-test-shared", tls=None))
    assert port.of(3)[0].getsockname() == b"\0trio_bunws-test-shared"
    port.close()
