"""Listening and accepting: on TCP and unix sockets, through a user's listeners, and where the kernel has had enough.

Covers `trio_bunws._listeners` alone. Sockets are real, on this machine; whatever needs an odd kernel is a fake of it.
"""

# ruff: noqa: ARG001 - a clock is asked for so that time jumps

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections import deque
from typing import TYPE_CHECKING, ClassVar, TypeAlias, cast

import pytest
import trio
import trio.testing
from trio.testing import MockClock, memory_stream_pair

from trio_bunws._listeners import (
    ACCEPT_PAUSE,
    ACCEPTS_PER_WAKE,
    PORTS_TRIED,
    Address,
    Inherited,
    ListeningStreams,
    accept_sockets,
    listen_tcp,
    listen_unix,
    open_tcp,
    open_unix,
    take_listeners,
    wrap_listeners,
)
from trio_bunws._seldom import LOG_PAUSE
from trio_bunws._stream_transport import StreamTransport
from trio_bunws._transport import SocketAddress, SocketTransport, Transport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from trio_bunws._listeners import Listening


# Accepting from a kernel socket


async def test_connections_are_accepted_as_they_come(nursery: trio.Nursery) -> None:
    accepted: list[SocketTransport] = []
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        listening.setblocking(False)
        nursery.start_soon(accept_sockets, listening, accepted.append)
        await trio.testing.wait_all_tasks_blocked()
        peers = [socket.create_connection(listening.getsockname()) for _ in range(3)]
        while len(accepted) < 3:
            await trio.testing.wait_all_tasks_blocked()
        ports = sorted(peer.getsockname()[1] for peer in peers)
        assert sorted(transport.remote.port for transport in accepted if transport.remote) == ports
        for transport in accepted:
            assert transport._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert not transport._socket.getblocking()
            transport.abort()
        for peer in peers:
            peer.close()
        nursery.cancel_scope.cancel()


class FakeListening:
    """A listening socket with a script: what each `accept` does; at a `None` it would block, until the next wake."""

    def __init__(self, *script: Exception | socket.socket | None, family: int = socket.AF_UNIX) -> None:
        self.script = deque(script)
        self.family = family
        self.accepts: list[int] = [0]
        """How many times it was asked, wake by wake."""
        self.read_end, self.write_end = socket.socketpair()
        self.write_end.send(b"x")

    def fileno(self) -> int:
        return self.read_end.fileno()

    def accept(self) -> tuple[socket.socket, object]:
        self.accepts[-1] += 1
        if not self.script:
            self.read_end.recv(1)
            raise BlockingIOError
        match self.script.popleft():
            case None:
                self.accepts.append(0)
                raise BlockingIOError
            case Exception() as exc:
                raise exc
            case sock:
                return sock, ("::1", 5, 0, 0) if self.family == socket.AF_INET6 else ""

    @property
    def real(self) -> socket.socket:
        return cast("socket.socket", self)


async def accept_all(listening: FakeListening) -> list[SocketTransport]:
    """Accept what the script has, and close it."""
    accepted: list[SocketTransport] = []
    with listening.read_end, listening.write_end:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_sockets, listening.real, accepted.append)
            await trio.sleep(1)  # of the clock that jumps
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert not listening.script
    for transport in accepted:
        transport.abort()
    return accepted


def ends(count: int) -> list[socket.socket]:
    """Return sockets as the kernel accepts them."""
    ours: list[socket.socket] = []
    for _ in range(count):
        one, other = socket.socketpair()
        other.close()
        ours.append(one)
    return ours


async def test_an_ipv6_peer_has_an_address_of_that_family(autojump_clock: MockClock) -> None:
    # Not every kernel has such sockets.
    (transport,) = await accept_all(FakeListening(*ends(1), family=socket.AF_INET6))
    assert transport.remote == SocketAddress("::1", "IPv6", 5)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_when_descriptors_or_memory_run_out_accepting_pauses_and_goes_on(
    number: int, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = ends(2)
    listening = FakeListening(first, OSError(number, "no more"), OSError(number, "no more"), second)
    assert len(await accept_all(listening)) == 2
    assert caplog.text.count("no more") == 1


async def test_the_pause_when_descriptors_run_out_is_a_tenth_of_a_second(mock_clock: MockClock) -> None:
    listening = FakeListening(OSError(errno.EMFILE, "no more"), None)
    with listening.read_end, listening.write_end:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_sockets, listening.real, lambda _: None)
            await trio.testing.wait_all_tasks_blocked()
            assert listening.accepts == [1]
            mock_clock.jump(ACCEPT_PAUSE * 0.9)
            await trio.testing.wait_all_tasks_blocked()
            assert listening.accepts == [1]
            mock_clock.jump(ACCEPT_PAUSE * 0.2)
            await trio.testing.wait_all_tasks_blocked()
            assert listening.accepts[0] == 2
            nursery.cancel_scope.cancel()


async def test_a_peer_that_gave_up_in_the_queue_does_not_disturb_the_others(autojump_clock: MockClock) -> None:
    first, second = ends(2)
    aborted = OSError(errno.ECONNABORTED, "aborted")
    listening = FakeListening(aborted, first, aborted, OSError(errno.EPROTO, "odd"), second)
    assert len(await accept_all(listening)) == 2
    assert listening.accepts == [6]  # in one wake


async def test_what_nobody_expected_of_the_kernel_is_a_pause_too_and_no_spin(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    listening = FakeListening(*[OSError(errno.EIO, "odd")] * 5)
    with listening.read_end, listening.write_end:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_sockets, listening.real, lambda _: None)
            for failures, pause in enumerate((ACCEPT_PAUSE, ACCEPT_PAUSE, LOG_PAUSE, ACCEPT_PAUSE), 1):
                await trio.testing.wait_all_tasks_blocked()
                assert listening.accepts == [failures]
                mock_clock.jump(pause * 1.1)
            nursery.cancel_scope.cancel()
    assert [words.partition("odd")[2] for words in caplog.messages] == ["", "; 2 more since the last such line"]


@pytest.mark.parametrize("number", [errno.EBADF, errno.EINVAL, errno.ENOTSOCK])
async def test_a_socket_that_does_not_listen_any_more_says_so(number: int) -> None:
    listening = FakeListening(OSError(number, "odd"))
    with listening.read_end, listening.write_end, pytest.raises(OSError, match="odd"):
        await accept_sockets(listening.real, lambda _: None)


async def test_so_many_connections_are_accepted_before_others_have_their_turn(autojump_clock: MockClock) -> None:
    listening = FakeListening(*ends(ACCEPTS_PER_WAKE), *ends(10))
    notes: list[str] = []

    class Steps(trio.abc.Instrument):
        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            if "accept_sockets" in task.name:
                notes.append(f"{len(listening.script)}")

    trio.lowlevel.add_instrument(Steps())
    assert len(await accept_all(listening)) == ACCEPTS_PER_WAKE + 10
    assert "10" in notes


# Accepting from a user's listener


class ScriptedListener(trio.abc.Listener[trio.abc.Stream]):
    """Gives and raises what its script says, and then nothing."""

    def __init__(self, *script: Exception | trio.abc.Stream, failing: Exception | None = None) -> None:
        self.script = deque(script)
        self.failing = failing
        self.closes = 0

    async def accept(self) -> trio.abc.Stream:
        if not self.script:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        match self.script.popleft():
            case Exception() as exc:
                raise exc
            case stream:
                return stream

    async def aclose(self) -> None:
        self.closes += 1
        await trio.lowlevel.checkpoint()


async def test_the_streams_of_a_user_s_listener_become_transports_also_when_descriptors_run_out(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    streams = [memory_stream_pair()[0] for _ in range(2)]
    listening = ListeningStreams(ScriptedListener(streams[0], OSError(errno.EMFILE, "no more"), streams[1]))
    accepted: list[Transport] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listening.accept, accepted.append)
        await trio.sleep(ACCEPT_PAUSE + 1)
        nursery.cancel_scope.cancel()
    assert [transport.to_stream() for transport in accepted] == streams
    assert all(isinstance(transport, StreamTransport) for transport in accepted)
    assert "no more" in caplog.text


async def test_a_user_s_listener_that_fails_says_so() -> None:
    listening = ListeningStreams(ScriptedListener(OSError(errno.EBADF, "odd")))
    with pytest.raises(OSError, match="odd"):
        await listening.accept(lambda _: None)


async def test_a_user_s_listener_is_closed_whatever_it_raises(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(ScriptedListener):
        async def aclose(self) -> None:
            self.closes += 1
            raise ValueError("odd")

    for listener in (ScriptedListener(), Failing()):
        listening = ListeningStreams(listener)
        await listening.aclose()
        await listening.aclose()
        assert listener.closes == 2
    assert "odd" in caplog.text


async def test_trio_s_own_listener_gives_up_its_sockets(nursery: trio.Nursery) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    (listening,), address = wrap_listeners(listeners, "http")
    accepted: list[Transport] = []
    nursery.start_soon(listening.accept, accepted.append)
    with socket.create_connection(("127.0.0.1", address.port)):
        while not accepted:
            await trio.testing.wait_all_tasks_blocked()
    assert isinstance(accepted[0], SocketTransport)
    accepted[0].abort()
    nursery.cancel_scope.cancel()
    await listening.aclose()


# Listening on TCP


async def close_all(places: list[Listening]) -> None:
    for place in places:
        await place.aclose()
        await place.aclose()


async def an_ipv4_peer_is_accepted(places: list[Listening], port: int | None) -> None:
    """Connect by IPv4, and see that one of the places accepts it under this peer's own address."""
    accepted: list[Transport] = []
    async with trio.open_nursery() as nursery:
        for place in places:
            nursery.start_soon(place.accept, accepted.append)
        with socket.create_connection(("127.0.0.1", port)) as peer:
            while not accepted:
                await trio.testing.wait_all_tasks_blocked()
            assert accepted[0].remote == SocketAddress("127.0.0.1", "IPv4", peer.getsockname()[1])
        accepted[0].abort()
        nursery.cancel_scope.cancel()


async def test_a_free_port_is_picked_and_connections_are_accepted() -> None:
    places, address = await listen_tcp("127.0.0.1", 0, reuse_port=False, scheme="https")
    assert address.port
    assert address == Address(f"https://127.0.0.1:{address.port}/", "127.0.0.1", address.port)
    await an_ipv4_peer_is_accepted(places, address.port)
    await close_all(places)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", address.port))


async def test_closing_ends_accepting() -> None:
    places, _ = await listen_tcp("127.0.0.1", 0, reuse_port=False, scheme="http")

    async def accept() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await places[0].accept(lambda _: None)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        await trio.testing.wait_all_tasks_blocked()
        await close_all(places)


async def test_a_port_is_shared_only_when_all_who_listen_allow_it() -> None:
    first, address = await listen_tcp("127.0.0.1", 0, reuse_port=True, scheme="http")
    assert address.port
    second, _ = await listen_tcp("127.0.0.1", address.port, reuse_port=True, scheme="http")
    with pytest.raises(OSError, match=f"listen on 127.0.0.1, port {address.port}: .*in use") as caught:
        await listen_tcp("127.0.0.1", address.port, reuse_port=False, scheme="http")
    assert caught.value.errno == errno.EADDRINUSE
    await close_all([*first, *second])


Found: TypeAlias = "tuple[int, str]"
ListenSomewhere: TypeAlias = "Callable[..., Awaitable[tuple[list[Listening], int | None]]]"


@pytest.fixture
def listen_somewhere(monkeypatch: pytest.MonkeyPatch) -> ListenSomewhere:
    """Listen on a name that has the given families and addresses."""

    async def listen(*found: Found) -> tuple[list[Listening], int | None]:
        async def getaddrinfo(host: str, port: int, *, type: int, flags: int) -> list[tuple[object, ...]]:  # noqa: A002
            await trio.lowlevel.checkpoint()
            assert (host, type, flags) == ("somewhere", socket.SOCK_STREAM, socket.AI_PASSIVE)
            return [(family, type, 0, "", (address, port)) for family, address in found]

        monkeypatch.setattr(trio.socket, "getaddrinfo", getaddrinfo)
        places, address = await listen_tcp("somewhere", 0, reuse_port=False, scheme="http")
        assert address == Address(f"http://somewhere:{address.port}/", "somewhere", address.port)
        return places, address.port

    return listen


UNKNOWN_FAMILY = (socket.AF_PACKET + 1000, "::1")
NOT_HERE = (socket.AF_INET, "192.0.2.1")
HERE = (socket.AF_INET, "127.0.0.1")
ALSO_HERE = (socket.AF_INET, "127.0.0.2")


async def test_all_addresses_of_a_name_are_listened_on_with_one_port(listen_somewhere: ListenSomewhere) -> None:
    places, port = await listen_somewhere(HERE, HERE, ALSO_HERE)
    assert len(places) == 2
    for _, address in (HERE, ALSO_HERE):
        socket.create_connection((address, port)).close()
    await close_all(places)


async def test_addresses_that_this_machine_does_not_have_are_left_out(listen_somewhere: ListenSomewhere) -> None:
    places, port = await listen_somewhere(UNKNOWN_FAMILY, NOT_HERE, HERE, NOT_HERE)
    assert len(places) == 1
    socket.create_connection(("127.0.0.1", port)).close()
    await close_all(places)


@pytest.mark.parametrize("found", [[UNKNOWN_FAMILY, NOT_HERE], [NOT_HERE]])
async def test_without_any_address_it_cannot_listen(found: list[Found], listen_somewhere: ListenSomewhere) -> None:
    with pytest.raises(OSError, match="assign") as caught:
        await listen_somewhere(*found)
    assert caught.value.errno == errno.EADDRNOTAVAIL


class Crowded(socket.socket):
    """The port that was picked for the first address is in use at the second one, so many times."""

    times: ClassVar[int]
    made: ClassVar[list[socket.socket]]

    def bind(self, address: object) -> None:
        self.made.append(self)
        host, port = cast("tuple[str, int]", address)
        if host == ALSO_HERE[1] and len(self.made) <= 2 * self.times:
            raise OSError(errno.EADDRINUSE, "in use")
        super().bind((host, port))


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> type[Crowded]:
    monkeypatch.setattr(socket, "socket", Crowded)
    monkeypatch.setattr(Crowded, "made", [], raising=False)
    return Crowded


async def test_another_port_is_picked_where_the_first_is_not_free_everywhere(
    crowded: type[Crowded], listen_somewhere: ListenSomewhere
) -> None:
    crowded.times = PORTS_TRIED - 1
    places, port = await listen_somewhere(HERE, ALSO_HERE)
    assert len(places) == 2
    assert len(crowded.made) == 2 * PORTS_TRIED
    assert [sock.fileno() for sock in crowded.made[:-2]] == [-1] * 2 * (PORTS_TRIED - 1)
    assert {sock.getsockname()[1] for sock in crowded.made[-2:]} == {port}
    await close_all(places)


async def test_where_one_address_is_in_use_none_is_listened_on(
    crowded: type[Crowded], listen_somewhere: ListenSomewhere
) -> None:
    crowded.times = PORTS_TRIED
    with pytest.raises(OSError, match=r"listen on 127.0.0.2, port [1-9].*in use"):
        await listen_somewhere(HERE, ALSO_HERE)
    assert [sock.fileno() for sock in crowded.made] == [-1] * 2 * PORTS_TRIED


class Ipv6Socket(socket.socket):
    """Notes whether it is for IPv6 only; in truth it is an IPv4 socket, as not every kernel has the other kind."""

    told: ClassVar[list[int]] = []

    def __init__(self, _family: int, kind: int) -> None:
        super().__init__(socket.AF_INET, kind)

    def setsockopt(self, *args: int) -> None:  # type: ignore[override]
        if args[:2] == (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
            self.told.append(args[2])

    def bind(self, address: object) -> None:
        host, port, *_ = cast("tuple[str, int]", address)
        super().bind(({"::": "0.0.0.0", "::1": "127.0.0.1"}.get(host, host), port))


async def test_beside_another_address_an_ipv6_socket_does_not_take_ipv4_connections(
    monkeypatch: pytest.MonkeyPatch, listen_somewhere: ListenSomewhere
) -> None:
    monkeypatch.setattr(socket, "socket", Ipv6Socket)
    told: list[int] = []
    monkeypatch.setattr(Ipv6Socket, "told", told)
    places, _ = await listen_somewhere((socket.AF_INET6, "::1"), ALSO_HERE)
    assert told == [1]
    await close_all(places)


async def test_every_address_is_those_of_ipv4_too_and_an_ipv4_peer_is_called_so() -> None:
    places, address = await listen_tcp("::", 0, reuse_port=False, scheme="http")
    assert address == Address(f"http://[::]:{address.port}/", "::", address.port)
    await an_ipv4_peer_is_accepted(places, address.port)
    await close_all(places)


# Listening on unix sockets


def connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(path)


async def test_the_file_of_a_socket_that_is_opened_for_others_stays_until_they_remove_it(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    sock, address = open_unix(path)
    assert address == Address(f"unix://{path}", None, None)
    connect(str(path))
    sock.close()
    assert path.is_socket()


async def test_a_unix_socket_is_there_while_it_is_listened_on(tmp_path: Path, nursery: trio.Nursery) -> None:
    path = tmp_path / "socket"
    (place,), address = listen_unix(path)
    assert address == Address(f"unix://{path}", None, None)
    accepted: list[Transport] = []
    nursery.start_soon(place.accept, accepted.append)
    connect(str(path))
    while not accepted:
        await trio.testing.wait_all_tasks_blocked()
    assert accepted[0].remote is None
    accepted[0].abort()
    nursery.cancel_scope.cancel()
    await close_all([place])
    assert not path.exists()


async def test_closing_does_not_mind_that_the_file_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    (place,), _ = listen_unix(str(path))
    path.unlink()
    await close_all([place])


async def test_closing_leaves_the_file_of_another_server_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    (old,), _ = listen_unix(path)
    path.unlink()
    (new,), _ = listen_unix(path)
    await close_all([old])
    connect(str(path))
    await close_all([new])
    assert not path.exists()


async def test_an_abstract_unix_socket_has_no_file() -> None:
    name = f"\0trio_bunws-test-{os.getpid()}"
    (place,), address = listen_unix(name)
    assert address.url == f"unix://{name}"
    connect(name)
    with pytest.raises(OSError, match="in use"):
        listen_unix(name)
    await close_all([place])


async def test_a_socket_left_by_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    places, _ = listen_unix(path)
    connect(str(path))
    await close_all(places)


@pytest.mark.parametrize("queue_is_full", [False, True])
async def test_a_socket_on_which_somebody_listens_is_left_alone(tmp_path: Path, queue_is_full: bool) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as alive, socket.socket(socket.AF_UNIX) as waiting:
        alive.bind(str(path))
        alive.listen(0)
        if queue_is_full:
            waiting.connect(str(path))
        with pytest.raises(OSError, match="in use"):
            listen_unix(path)
        assert path.is_socket()


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(OSError, match=f"listen on '{path}': .*in use") as caught:
        listen_unix(path)
    assert caught.value.errno == errno.EADDRINUSE
    assert path.read_text() == "precious"


async def test_a_socket_of_another_kind_is_shown_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "datagrams"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        with pytest.raises(OSError, match=f"listen on '{path}': .*wrong type"):
            listen_unix(path)
        assert path.is_socket()


async def test_a_path_that_is_too_long_is_shown(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 200)
    with pytest.raises(OSError, match=f"listen on '{path}': .*too long"):
        listen_unix(path)


# Ready-made listeners


async def test_what_was_inherited_is_accepted_from_and_has_the_address_that_was_asked_for(
    nursery: trio.Nursery,
) -> None:
    (sock,), address = await open_tcp("localhost", 0, reuse_port=True, scheme="https")
    assert address == Address(f"https://localhost:{address.port}/", "localhost", address.port)
    inherited = Inherited((trio.SocketListener(trio.socket.from_stdlib_socket(sock.dup())),), address)
    places, told = take_listeners(inherited, "http")
    assert told == address
    accepted: list[Transport] = []
    nursery.start_soon(places[0].accept, accepted.append)
    with socket.create_connection(sock.getsockname()):
        while not accepted:
            await trio.testing.wait_all_tasks_blocked()
    accepted[0].abort()
    nursery.cancel_scope.cancel()
    await close_all(places)
    with socket.create_connection(sock.getsockname()):  # who opened it listens on
        sock.close()


async def test_what_is_no_listener_is_refused_and_nothing_too() -> None:
    for wrong in ([1], 1, [ScriptedListener(), "x"]):
        with pytest.raises(TypeError, match=r"serve expects listeners to be trio\.abc\.Listener objects, not "):
            take_listeners(cast("list[ScriptedListener]", wrong), "http")
    with pytest.raises(ValueError, match="at least one listener"):
        take_listeners([], "http")
    places, _ = take_listeners(iter([ScriptedListener()]), "http")
    assert len(places) == 1


async def test_the_address_of_ready_made_listeners_is_that_of_the_first_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tcp = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = tcp[0].socket.getsockname()[1]
    sock = trio.socket.socket(socket.AF_UNIX)
    path = tmp_path / "socket"
    await sock.bind(str(path))
    sock.listen()
    unix = trio.SocketListener(sock)
    other = ScriptedListener()
    assert wrap_listeners([*tcp, unix], "http")[1] == (f"http://127.0.0.1:{port}/", "127.0.0.1", port)
    assert wrap_listeners([unix, *tcp], "http")[1] == (f"unix://{path}", None, None)
    assert wrap_listeners([other, *tcp], "https")[1] == ("https://localhost/", None, None)
    secured = trio.SSLListener(tcp[0], ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
    assert wrap_listeners([secured], "http")[1] == (f"https://127.0.0.1:{port}/", "127.0.0.1", port)
    monkeypatch.setattr(type(tcp[0].socket), "getsockname", lambda _: ("::1", 5, 0, 0))
    assert wrap_listeners(tcp, "http")[1] == ("http://[::1]:5/", "::1", 5)
    monkeypatch.setattr(type(tcp[0].socket), "getsockname", lambda _: b"\0abstract")
    assert wrap_listeners(tcp, "http")[1] == ("http://localhost/", None, None)
    places, _ = wrap_listeners([*tcp, unix, other], "http")
    assert len(places) == 3
    await close_all(places)
    assert tcp[0].socket.fileno() == -1
    assert other.closes == 2
