"""Attacks by the number of connections: too many, from one address, none left for the process, silent ones under TLS.

On kernel sockets where the kernel is what is attacked. Memory and the answers to others are held by `attacks.py`.
"""

# ruff: noqa: ARG001 - a clock is asked for so that time jumps

from __future__ import annotations

import resource
import socket
import struct
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import trio
import trio.testing
from attacks import ANSWER, KIB, QUESTION, under_attack
from certificates import certified
from patience import PATIENCE, until
from playground import settled

from trio_bunws import Limits
from trio_bunws.testing import RawPeer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from attacks import Connect
    from trio.testing import MockClock

    from trio_bunws import Server

RESET = struct.pack("ii", 1, 0)
"""Of SO_LINGER: closing sends a reset."""


def over_tcp(source: str = "127.0.0.1") -> Callable[[Server[Any]], Connect]:
    """Make what connects to a server by TCP from an address."""

    def connect_to(server: Server[Any]) -> Connect:
        async def connect() -> RawPeer:
            assert server.port is not None
            return RawPeer(await trio.open_tcp_stream("127.0.0.1", server.port, local_address=source))

        return connect

    return connect_to


@contextmanager
def descriptors(count: int) -> Generator[int]:
    """Raise the limit of open files as far as that goes; yield how many of `count` connections fit, with both ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield min(count, (hard - 500) // 2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def begin(port: int) -> socket.socket:
    """Begin a connection without waiting for it."""
    sock = socket.socket()
    sock.setblocking(False)
    try:
        sock.connect(("127.0.0.1", port))
    except BlockingIOError:
        pass
    return sock


async def first_words(sock: socket.socket) -> bytes:
    """Return what the server says first, `b""` for a reset or the end."""
    await trio.lowlevel.wait_readable(sock)
    try:
        return sock.recv(4096)
    except ConnectionError:
        return b""


async def test_of_5000_connections_at_once_the_1000_that_are_allowed_live_and_the_rest_is_refused() -> None:
    """503 or a reset for 4,000 of them; who has a place is served, and a place that becomes free is taken."""
    with descriptors(5000) as count:
        places = count // 5
        limits = Limits(max_connections=places + 3, header_timeout=300)
        async with under_attack(
            f"{count} connections against {places}",
            connect=over_tcp(),
            port=0,
            limits=limits,
            at_most=places * 24 * KIB + count * 4 * KIB,
        ) as attack:
            server = attack.server
            assert server.port is not None
            # Two places are kept for those who ask meanwhile; their connections end with their answers.
            keepers = [await attack.connect() for _ in range(2)]
            await until(lambda: server.statistics().connections == 3)
            attack.restart()
            socks = [begin(server.port) for _ in range(count)]
            words: list[bytes] = []

            async def watch(sock: socket.socket) -> None:
                got = await first_words(sock)
                words.append(got)
                living.remove(sock)
                sock.close()

            living = set(socks)
            async with trio.open_nursery() as nursery:
                for sock in socks:
                    nursery.start_soon(watch, sock)
                await until(lambda: len(words) >= count - places)
                nursery.cancel_scope.cancel()
            assert len(living) == places
            assert all(got == b"" or got.startswith(b"HTTP/1.1 503 ") for got in words)
            assert server.statistics().connections == places + 3
            for keeper in keepers:
                await trio.aclose_forcefully(keeper.stream)
            await until(lambda: server.statistics().connections == places + 1)
            await attack.others_are_answered()

            async def live(sock: socket.socket) -> None:
                peer = RawPeer(trio.SocketStream(trio.socket.from_stdlib_socket(sock)))
                await peer.upgrade()
                await peer.send_text(QUESTION)
                assert await peer.receive_text() == ANSWER
                await peer.stream.aclose()

            async with trio.open_nursery() as nursery:
                for sock in living:
                    nursery.start_soon(live, sock)
            await until(lambda: server.statistics().connections == 1)


async def test_one_address_cannot_take_the_places_of_others() -> None:
    limits = Limits(max_connections_per_ip=10)
    async with under_attack(
        "500 connections of one address", connect=over_tcp("127.0.0.2"), port=0, limits=limits, at_most=4096 * KIB
    ) as attack:
        server = attack.server
        assert server.port is not None
        socks = [begin(server.port) for _ in range(500)]
        refused = 0

        async def watch(sock: socket.socket) -> None:
            nonlocal refused
            got = await first_words(sock)
            assert got == b"" or got.startswith(b"HTTP/1.1 503 ")
            refused += 1

        async with trio.open_nursery() as nursery:
            for sock in socks:
                nursery.start_soon(watch, sock)
            await until(lambda: refused >= 490)
            assert server.statistics().connections == 11
            await attack.others_are_answered()
            nursery.cancel_scope.cancel()
        for sock in socks:
            sock.close()
        await until(lambda: server.statistics().connections == 1)
        # The places are free again.
        async with await over_tcp()(server)() as peer:
            await peer.upgrade()
            await trio.aclose_forcefully(peer.stream)


async def test_connections_that_are_reset_at_once_leave_nothing() -> None:
    async with under_attack("1000 connections and resets", connect=over_tcp(), port=0, at_most=4096 * KIB) as attack:
        server = attack.server
        assert server.port is not None
        for _ in range(10):
            for _ in range(100):
                sock = socket.create_connection(("127.0.0.1", server.port))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                sock.close()
            await attack.others_are_answered()
        await until(lambda: server.statistics().connections == 1)


async def test_who_connects_to_tls_and_is_silent_is_dropped(autojump_clock: MockClock) -> None:
    contexts = certified("localhost")
    raw: list[trio.abc.Stream] = []

    def link() -> tuple[trio.abc.Stream, trio.abc.Stream]:
        ours, theirs = trio.testing.memory_stream_pair()
        raw.append(ours)
        return trio.SSLStream(ours, contexts.client, server_hostname="localhost", https_compatible=True), theirs

    async with under_attack(
        "TLS, silent, 100 peers", tls=contexts.server, link=link, at_most=100 * 256 * KIB
    ) as attack:
        began = trio.current_time()
        raw.clear()
        for _ in range(100):
            await attack.connect()
        silent, raw[:] = raw[:], []
        for stream in silent[::2]:
            await stream.send_all(b"\x16\x03\x01")  # a handshake begins so
        await settled()
        assert attack.server.statistics().connections == 101
        await attack.others_are_answered()
        for stream in silent:
            assert await stream.receive_some() == b""
        assert trio.current_time() - began == Limits().handshake_timeout
        await settled()
        await attack.others_are_answered()


SERVER = """
import resource, sys, trio
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from trio_bunws import WebSocketHandler, serve

def echo(ws, message):
    ws.send(message)

async def main():
    async with trio.open_nursery() as nursery:
        server = await nursery.start(lambda task_status: serve(
            None, WebSocketHandler(message=echo), port=0, task_status=task_status))
        print(server.port, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()

trio.run(main)
"""


@asynccontextmanager
async def of_64_descriptors() -> AsyncGenerator[tuple[int, trio.abc.ReceiveStream]]:
    """Run an echo server that can have 64 files open; yield its port and what it logs. At the end it ends well."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    async with process.stdin, process.stdout, process.stderr:
        try:
            yield int(await process.stdout.receive_some()), process.stderr
            await process.stdin.aclose()
            assert await process.wait() == 0
        finally:
            process.kill()
            with trio.CancelScope(shield=True):  # as short as killing a process is
                await process.wait()


async def read_away(stream: trio.abc.ReceiveStream) -> None:
    while await stream.receive_some():
        pass


async def test_when_descriptors_run_out_those_who_are_in_live_and_accepting_resumes_by_itself() -> None:
    """Of 100 clients some wait in the kernel's queue, until others leave."""
    served: list[RawPeer] = []

    async def serve(peer: RawPeer) -> None:
        await peer.upgrade()
        served.append(peer)

    async def asks(peer: RawPeer) -> None:
        await peer.send_text(QUESTION)
        assert await peer.receive_text() == QUESTION

    with trio.fail_after(PATIENCE):
        async with of_64_descriptors() as (port, stderr):
            peers = [RawPeer(await trio.open_tcp_stream("127.0.0.1", port)) for _ in range(100)]
            async with trio.open_nursery() as nursery:
                for peer in peers:
                    nursery.start_soon(serve, peer)
                said = b""
                while b"cannot accept connections" not in said:
                    said += await stderr.receive_some()
                assert b"Too many open files" in said
                nursery.start_soon(read_away, stderr)
                await until(lambda: len(served) >= 30)
                full = list(served)
                for peer in full:
                    await asks(peer)
                for peer in full[:25]:
                    await trio.aclose_forcefully(peer.stream)
                while len(served) <= 64:  # more than there ever was room for at a time
                    await settled()
                    await asks(full[-1])
                for peer in served[25:]:
                    await asks(peer)
                nursery.cancel_scope.cancel()
            for peer in peers:
                await trio.aclose_forcefully(peer.stream)
