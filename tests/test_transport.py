"""The bytes of one connection over a kernel socket, and how what arrives is handed over.

Covers `trio_bunws._transport` alone. Sockets are pairs and connections to this machine; whatever needs an odd kernel is
a fake of it.
"""

# ruff: noqa: ARG001 - a clock is asked for so that time jumps

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, cast

import pytest
import trio
import trio.testing
from connection_fakes import Wire
from kernel_pairs import Sockets, reset, tcp_pair
from patience import PATIENCE

from trio_bunws._hub import Hub
from trio_bunws._poller import Poller
from trio_bunws._transport import (
    LINGER_BYTES,
    LINGER_TIME,
    READ_SIZE,
    SocketAddress,
    SocketTransport,
    Transport,
    harmless,
    own_socket,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock


@pytest.fixture
async def sockets() -> AsyncIterator[Sockets]:
    made = Sockets()
    with made.peer:
        yield made
    made.transport.abort()  # what a test left open


def test_only_a_socket_has_one_to_send_to() -> None:
    with socket.socket() as sock:
        assert SocketTransport(sock, None).kernel_socket is sock
    assert Wire().kernel_socket is None


async def test_a_socket_receives_what_comes_and_then_the_end(sockets: Sockets) -> None:
    transport = sockets.transport
    assert (transport.direct, transport.tls, transport.remote) == (True, False, None)
    sockets.peer.send(b"hello")
    with trio.testing.assert_checkpoints():
        assert await transport.receive() == b"hello"
    sockets.peer.send(b"last")
    sockets.peer.close()
    assert await transport.receive() == b"last"
    assert await transport.receive() == b""
    assert await transport.receive() == b""
    await transport.aclose()


async def test_one_read_brings_at_most_64_kib(sockets: Sockets) -> None:
    sent = sockets.peer.send(bytes(1 << 20))
    assert sent > READ_SIZE
    assert len(await sockets.transport.receive()) == READ_SIZE


async def test_a_socket_that_has_nothing_after_all_is_waited_for_again(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_readable = trio.lowlevel.wait_readable
    waits = 0

    async def wake_early(sock: socket.socket) -> None:
        nonlocal waits
        waits += 1
        if waits == 1:
            await trio.lowlevel.checkpoint()
        else:
            sockets.peer.send(b"now")
            await wait_readable(sock)

    monkeypatch.setattr(trio.lowlevel, "wait_readable", wake_early)
    assert await sockets.transport.receive() == b"now"
    assert waits == 2


async def test_a_write_that_fits_is_done_at_once_and_one_that_does_not_in_part(sockets: Sockets) -> None:
    transport = sockets.transport
    for data in (b"bytes", bytearray(b"bytearray"), memoryview(b"memoryview"), b""):
        assert transport.try_write(data) == len(data)
        assert sockets.read() == bytes(data)
    size = sockets.fill()
    assert transport.try_write(b"more") == 0
    assert len(sockets.read()) == size


async def test_settle_waits_until_the_kernel_takes_bytes_again(sockets: Sockets, nursery: trio.Nursery) -> None:
    transport = sockets.transport
    with trio.testing.assert_checkpoints():
        assert await transport.settle()
    sockets.fill()
    settled: list[bool] = []

    async def settle() -> None:
        settled.append(await transport.settle())

    nursery.start_soon(settle)
    await trio.testing.wait_all_tasks_blocked()
    assert settled == []
    sockets.read()
    await trio.testing.wait_all_tasks_blocked()
    assert settled == [True]
    assert transport.try_write(b"more") == 4


@pytest.mark.parametrize("size", [0, 1, 1 << 22])
async def test_send_all_writes_everything_and_is_a_checkpoint(
    sockets: Sockets, nursery: trio.Nursery, size: int
) -> None:
    done = trio.Event()

    async def send() -> None:
        with trio.testing.assert_checkpoints():
            await sockets.transport.send_all(bytes(size))
        done.set()

    nursery.start_soon(send)
    received = 0
    while not (done.is_set() and received == size):
        received += len(sockets.read())
        await trio.lowlevel.checkpoint()
    await done.wait()


@pytest.mark.parametrize("method", ["receive", "settle", "send_all"])
async def test_an_abort_wakes_who_waits(sockets: Sockets, method: str, autojump_clock: MockClock) -> None:
    transport = sockets.transport
    calls = {"receive": transport.receive, "settle": transport.settle, "send_all": lambda: transport.send_all(b"x")}
    sockets.fill()

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await cast("Callable[[], Awaitable[object]]", calls[method])()

    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            transport.abort()
    sockets.read()
    assert sockets.at_end()
    transport.abort()


async def test_an_abort_between_the_wake_and_the_read_is_told_from_a_lost_connection(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wait_readable(sock: socket.socket) -> None:
        assert sock.fileno() != -1
        await trio.lowlevel.checkpoint()
        sockets.transport.abort()

    monkeypatch.setattr(trio.lowlevel, "wait_readable", wait_readable)
    with pytest.raises(trio.ClosedResourceError):
        await sockets.transport.receive()


async def test_a_closed_socket_says_so(sockets: Sockets) -> None:
    transport = sockets.transport
    transport.abort()
    for call in (transport.receive, transport.settle):
        with trio.testing.assert_checkpoints(), pytest.raises(trio.ClosedResourceError):
            await call()
    with pytest.raises(trio.BrokenResourceError):
        transport.try_write(b"x")
    with pytest.raises(trio.BrokenResourceError):
        await transport.send_all(b"x")
    with trio.testing.assert_checkpoints():
        await transport.send_eof()
    await transport.aclose()


async def test_a_reset_by_the_peer_is_a_broken_connection() -> None:
    ours, peer = tcp_pair()
    transport = own_socket(ours, None, ours.family)
    reset(peer)
    with pytest.raises(trio.BrokenResourceError, match="reset"):
        await transport.receive()
    with pytest.raises(trio.BrokenResourceError):
        transport.try_write(b"x")
    with trio.testing.assert_no_checkpoints():
        await transport.aclose()  # there is nobody to linger for


async def test_a_write_that_fails_wakes_the_reader(sockets: Sockets, nursery: trio.Nursery) -> None:
    transport = sockets.transport
    sockets.peer.send(b"last words")
    ended: list[bytes] = []

    async def read() -> None:
        while data := await transport.receive():
            ended.append(data)
        ended.append(data)

    class FailingSocket(socket.socket):
        def send(self, *_: object) -> int:
            raise OSError(errno.EPIPE, "broken")

    failing = SocketTransport(FailingSocket(fileno=os.dup(transport._socket.fileno())), None)
    nursery.start_soon(read)
    await trio.testing.wait_all_tasks_blocked()
    assert ended == [b"last words"]
    with pytest.raises(trio.BrokenResourceError, match="broken"):
        failing.try_write(b"x")
    await trio.testing.wait_all_tasks_blocked()
    assert ended == [b"last words", b""]
    failing.abort()


async def test_closing_after_the_peer_s_end_does_not_wait(sockets: Sockets) -> None:
    transport = sockets.transport
    transport.try_write(b"bye")
    sockets.peer.shutdown(socket.SHUT_WR)
    assert await transport.receive() == b""
    with trio.testing.assert_no_checkpoints():
        await transport.aclose()
    assert sockets.read() == b"bye"
    assert sockets.at_end()
    await transport.aclose()


async def test_closing_sends_the_end_and_waits_for_the_peer_s(sockets: Sockets, nursery: trio.Nursery) -> None:
    transport = sockets.transport
    transport.try_write(b"bye")
    closed = trio.Event()

    async def close() -> None:
        await transport.aclose()
        closed.set()

    nursery.start_soon(close)
    await trio.testing.wait_all_tasks_blocked()
    assert sockets.read() == b"bye"
    assert sockets.at_end()
    sockets.peer.send(b"late input, which must not cause a reset")
    await trio.testing.wait_all_tasks_blocked()
    assert not closed.is_set()
    sockets.peer.close()
    await closed.wait()


async def test_closing_waits_for_a_silent_peer_so_long_and_no_longer(
    sockets: Sockets, autojump_clock: MockClock
) -> None:
    await sockets.transport.send_eof()
    assert sockets.at_end()
    began = trio.current_time()
    await sockets.transport.aclose()
    assert trio.current_time() - began == LINGER_TIME


async def test_closing_reads_no_more_than_so_much(monkeypatch: pytest.MonkeyPatch, sockets: Sockets) -> None:
    reads = 0

    async def receive(_self: SocketTransport) -> bytes:
        nonlocal reads
        reads += 1
        await trio.lowlevel.checkpoint()
        return bytes(2**20)

    monkeypatch.setattr(SocketTransport, "receive", receive)
    await sockets.transport.aclose()
    assert reads == LINGER_BYTES / 2**20


async def test_closing_while_another_task_reads_ends_that(sockets: Sockets, nursery: trio.Nursery) -> None:
    async def read() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await sockets.transport.receive()

    async with trio.open_nursery() as readers:
        readers.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await sockets.transport.aclose()
    assert sockets.at_end()


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_an_abort_ends_the_closing(sockets: Sockets, when: str) -> None:
    transport = sockets.transport
    if when == "before":
        transport.abort()
        with trio.testing.assert_no_checkpoints():
            await transport.aclose()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.aclose)
        await trio.testing.wait_all_tasks_blocked()
        transport.abort()
    assert sockets.at_end()


async def test_a_cancelled_closing_closes(sockets: Sockets) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await sockets.transport.aclose()
    assert scope.cancelled_caught
    assert sockets.at_end()
    with pytest.raises(trio.ClosedResourceError):
        await sockets.transport.receive()


async def test_the_end_can_be_sent_to_a_peer_that_is_gone() -> None:
    ours, peer = tcp_pair()
    transport = own_socket(ours, None, ours.family)
    reset(peer)
    await transport.send_eof()
    transport.abort()


async def test_a_socket_becomes_a_stream(sockets: Sockets) -> None:
    transport = sockets.transport
    stream = transport.to_stream()
    await transport.aclose()
    transport.abort()
    await stream.send_all(b"hello")
    assert sockets.read() == b"hello"
    with pytest.raises(trio.ClosedResourceError):
        await transport.receive()
    await stream.aclose()


async def test_a_socket_that_is_taken_over_knows_its_peer_if_that_has_an_address() -> None:
    ours, peer = tcp_pair()
    one, other = socket.socketpair()
    host, port = peer.getsockname()
    for sock, address, remote in (
        (ours, ours.getpeername(), SocketAddress(host, "IPv4", port)),
        (one, "", None),
    ):
        sock.setblocking(True)
        transport = own_socket(sock, address, sock.family)
        assert transport.remote == remote
        assert not sock.getblocking()
        transport.abort()
    peer.close()
    other.close()


def test_a_failure_to_close_is_harmless_and_only_what_is_odd_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    for failure in (trio.BrokenResourceError(), trio.ClosedResourceError()):
        with harmless():
            raise failure
    assert caplog.text == ""
    with harmless():
        raise ValueError("how odd")
    assert "how odd" in caplog.text
    with pytest.raises(KeyboardInterrupt), harmless():
        raise KeyboardInterrupt


# Handing over what arrives


class Reader:
    """Notes what it is handed; takes no more after "stop", fails at "fail"."""

    def __init__(self) -> None:
        self.seen: list[bytes | str] = []

    def absorb(self, data: bytes) -> bool:
        self.seen.append(data)
        if data == b"fail":
            raise ValueError
        return data != b"stop"

    def flush(self) -> None:
        self.seen.append("flushed")


@pytest.fixture
async def poller(nursery: trio.Nursery) -> Poller:
    made = Poller(Hub())
    nursery.start_soon(made.run)
    return made


Pump = Callable[[SocketTransport, Reader], Awaitable[bool]]


@pytest.fixture(params=["any", "socket", "polled"])
def pump(request: pytest.FixtureRequest, sockets: Sockets, poller: Poller) -> Pump:
    """The ways of a transport to hand over: that of every transport, a socket's own, and a socket's by a poller."""
    if request.param == "any":
        return Transport.pump
    if request.param == "polled":
        sockets.transport.poll_with(poller)
    return SocketTransport.pump


async def test_a_reader_is_handed_what_arrives_until_it_refuses_more(
    sockets: Sockets, pump: Pump, nursery: trio.Nursery
) -> None:
    reader = Reader()
    over: list[bool] = []

    async def run() -> None:
        over.append(await pump(sockets.transport, reader))

    nursery.start_soon(run)
    for data in (b"one", b"two", b"stop"):
        await trio.testing.wait_all_tasks_blocked()
        assert over == []
        sockets.peer.send(data)
    await trio.testing.wait_all_tasks_blocked()
    assert over == [True]
    assert reader.seen == [b"one", "flushed", b"two", "flushed", b"stop", "flushed"]


async def test_pumping_ends_with_the_stream(sockets: Sockets, pump: Pump) -> None:
    reader = Reader()
    sockets.peer.send(b"last")
    sockets.peer.shutdown(socket.SHUT_WR)
    assert await pump(sockets.transport, reader) is False
    assert reader.seen == [b"last", "flushed"]


async def test_a_flood_is_handed_over_whole_and_in_order(sockets: Sockets, pump: Pump, nursery: trio.Nursery) -> None:
    reader = Reader()
    data = bytes(range(256)) * (5 * READ_SIZE // 256)

    async def send() -> None:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sockets.peer))
        await stream.send_all(data)
        await stream.send_eof()

    nursery.start_soon(send)
    assert await pump(sockets.transport, reader) is False
    assert b"".join(part for part in reader.seen if isinstance(part, bytes)) == data


async def test_what_a_reader_raises_comes_out_of_the_pumping(sockets: Sockets, pump: Pump) -> None:
    reader = Reader()
    sockets.peer.send(b"fail")
    with pytest.raises(ValueError):  # noqa: PT011 - it has no text
        await pump(sockets.transport, reader)
    assert reader.seen == [b"fail", "flushed"]


async def test_an_abort_ends_the_pumping(sockets: Sockets, pump: Pump, nursery: trio.Nursery) -> None:
    async def abort() -> None:
        await trio.testing.wait_all_tasks_blocked()
        sockets.transport.abort()

    nursery.start_soon(abort)
    with pytest.raises(trio.ClosedResourceError):
        await pump(sockets.transport, Reader())
    with pytest.raises(trio.ClosedResourceError):
        await pump(sockets.transport, Reader())


async def seem_ready(sockets: Sockets, poller: Poller, nursery: trio.Nursery) -> None:
    """Let a polled socket be taken for ready though there is nothing to read, until all wait: "stop" comes then."""

    async def send() -> None:
        await trio.testing.wait_all_tasks_blocked()
        sockets.peer.send(b"stop")

    sockets.transport.poll_with(poller)
    sockets.peer.send(b"one")
    assert await sockets.transport.receive() == b"one"
    assert sockets.transport._watch is not None
    sockets.transport._watch.ready = True
    nursery.start_soon(send)


async def test_a_polled_socket_is_waited_for_again_if_there_is_nothing_after_all(
    sockets: Sockets, poller: Poller, nursery: trio.Nursery
) -> None:
    await seem_ready(sockets, poller, nursery)
    assert await sockets.transport.receive() == b"stop"


async def test_a_polled_socket_receives_what_follows_urgent_data_without_waiting_for_more(poller: Poller) -> None:
    ours, peer = tcp_pair()
    transport = own_socket(ours, None, ours.family)
    transport.poll_with(poller)
    with peer, trio.fail_after(PATIENCE):
        peer.send(b"before")
        peer.send(b"!", socket.MSG_OOB)
        peer.send(b"after")
        assert [await transport.receive(), await transport.receive()] == [b"before", b"after"]
    transport.abort()


async def test_a_polled_socket_that_becomes_a_stream_is_polled_no_more(sockets: Sockets, poller: Poller) -> None:
    sockets.transport.poll_with(poller)
    sockets.peer.send(b"one")
    assert await sockets.transport.receive() == b"one"
    async with sockets.transport.to_stream() as stream:
        sockets.peer.send(b"two")
        assert await stream.receive_some() == b"two"
    assert poller._watches == {}


async def test_only_a_polled_socket_attends_to_a_reader_without_a_task(sockets: Sockets) -> None:
    roused: list[str] = []
    for kind in (Transport, SocketTransport):
        assert not kind.attend(sockets.transport, Reader(), copy_context(), lambda: roused.append("roused"))
        kind.rouse(sockets.transport)
        kind.outcome(sockets.transport)
    assert roused == []


async def test_a_reader_without_a_task_is_handed_what_arrives_until_it_refuses_more(
    sockets: Sockets, poller: Poller
) -> None:
    reader = Reader()
    roused: list[str] = []
    sockets.transport.poll_with(poller)
    assert sockets.transport.attend(reader, copy_context(), lambda: roused.append("roused"))
    assert sockets.transport.attend(reader, copy_context(), lambda: roused.append("roused again"))
    for data in (b"one", b"stop"):
        assert roused == []
        sockets.peer.send(data)
        await trio.testing.wait_all_tasks_blocked()
    assert reader.seen == [b"one", "flushed", b"stop", "flushed"]
    assert roused == ["roused again"]
    sockets.transport.outcome()
    sockets.peer.send(b"two")
    assert await sockets.transport.receive() == b"two"


async def test_an_abort_rouses_a_reader_without_a_task_and_its_outcome_is_kept(
    sockets: Sockets, poller: Poller
) -> None:
    roused: list[str] = []
    sockets.transport.poll_with(poller)
    assert sockets.transport.attend(Reader(), copy_context(), lambda: roused.append("roused"))
    sockets.peer.send(b"fail")
    await trio.testing.wait_all_tasks_blocked()
    sockets.transport.abort()
    assert roused == ["roused"]
    assert not sockets.transport.attend(Reader(), copy_context(), lambda: roused.append("not again"))
    with pytest.raises(ValueError):  # noqa: PT011 - it has no text
        sockets.transport.outcome()
    with pytest.raises(trio.ClosedResourceError):
        await sockets.transport.receive()


async def test_a_reader_without_a_task_may_be_roused(sockets: Sockets, poller: Poller) -> None:
    roused: list[str] = []
    sockets.transport.poll_with(poller)
    assert sockets.transport.attend(Reader(), copy_context(), lambda: roused.append("roused"))
    sockets.transport.rouse()
    sockets.transport.rouse()
    assert roused == ["roused"]


async def test_pumping_goes_on_if_there_is_nothing_after_all(
    sockets: Sockets, poller: Poller, nursery: trio.Nursery
) -> None:
    reader = Reader()
    await seem_ready(sockets, poller, nursery)
    assert await sockets.transport.pump(reader) is True
    assert reader.seen == [b"stop", "flushed"]
