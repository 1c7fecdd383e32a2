"""One worker within the process: on an inherited socket, with real signals, and a supervisor that comes and goes.

Covers `trio_bunws._cli.worker` alone.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from patience import PATIENCE

from trio_bunws import Request, Response, Server, ServerWebSocket, WebSocket, WebSocketHandler
from trio_bunws._cli import worker
from trio_bunws._cli.application import Application
from trio_bunws._cli.arguments import UsageError
from trio_bunws._cli.inheritance import Inheritance
from trio_bunws._cli.place import Place
from trio_bunws._cli.worker import DRAIN, Worker, end_with_supervisor, run_worker
from trio_bunws._listeners import Address, Inherited

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

servers: list[Server[Any]] = []


def fetch(request: Request, server: Server) -> Response | None:
    servers[:] = [server]
    return None if server.upgrade(request) else Response(server.url, headers={"Connection": "close"})


PLACE = Place(tls=None)
APPLICATION = Application(fetch, WebSocketHandler(), None)


class Supervisor:
    """What a worker has of its supervisor."""

    def __init__(self, beat: float) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.ours, self._theirs = socket.socketpair()
        self.name = self.sock.getsockname()
        inherited = os.dup(self.sock.fileno())
        address = Address("http://me.test/", "me.test", 80)
        self.inheritance = Inheritance(7, self._theirs.fileno(), beat, (inherited,), address)

    async def sign_of_life(self) -> None:
        await trio.lowlevel.wait_readable(self.ours)
        assert self.ours.recv(1) == b"\n"

    def close(self) -> None:
        for sock in (self.sock, self.ours, self._theirs):
            sock.close()


@asynccontextmanager
async def running(application: Application = APPLICATION, beat: float = PATIENCE) -> AsyncGenerator[Supervisor]:
    """Run a worker for the block, and then until it has ended."""
    supervisor = Supervisor(beat)
    try:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Worker(supervisor.inheritance).run, application, PLACE)
                await supervisor.sign_of_life()
                yield supervisor
    finally:
        supervisor.close()


def url(supervisor: Supervisor) -> str:
    host, port = supervisor.name
    return f"ws://{host}:{port}/"


async def test_it_serves_under_the_address_of_the_supervisor_and_one_signal_ends_it_in_good_order() -> None:
    done: list[str] = []
    let_go = trio.Event()

    async def closed(_ws: ServerWebSocket, _code: int, _reason: str) -> None:
        await let_go.wait()
        done.append("closed")

    application = Application(fetch, WebSocketHandler(close=closed), None)
    async with running(application) as supervisor, WebSocket(url(supervisor)) as ws:
        assert servers[0].url == "http://me.test/"
        signal.raise_signal(signal.SIGTERM)
        assert (await ws.closed()).received == (1001, "Server closed")
        signal.raise_signal(signal.SIGTERM)  # a service manager tells every process, and so does the supervisor
        await trio.testing.wait_all_tasks_blocked()
        let_go.set()
    assert done == ["closed"]
    with socket.socket() as again, pytest.raises(ConnectionRefusedError):
        again.connect(supervisor.name)


async def test_what_is_not_accepted_any_more_waits_for_the_next_worker() -> None:
    async with running() as supervisor:
        signal.raise_signal(signal.SIGTERM)
        listening = supervisor.sock.dup()
    with listening, socket.create_connection(supervisor.name):
        taken, _ = listening.accept()
        taken.close()


async def test_who_was_accepted_last_gets_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LAST_REQUESTS", PATIENCE)
    opened = trio.Event()
    handler = WebSocketHandler[None](open=lambda _ws: opened.set())
    async with running(Application(fetch, handler, None)) as supervisor, WebSocket(url(supervisor)) as ws:
        await opened.wait()
        stream = await trio.open_tcp_stream(*supervisor.name)
        async with stream:
            while servers[0]._admission.count < 2:
                await trio.testing.wait_all_tasks_blocked()
            signal.raise_signal(signal.SIGTERM)
            while not servers[0]._accepting.cancel_called:
                await trio.testing.wait_all_tasks_blocked()
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"".join([part async for part in stream]).endswith(b"\r\n\r\nhttp://me.test/")
        ws.close()


async def test_an_application_may_end_it() -> None:
    async with running() as supervisor, WebSocket(url(supervisor)) as ws:
        servers[0].stop(True)
        await ws.closed()


async def test_it_shows_that_its_event_loop_turns_as_long_as_it_serves() -> None:
    let_go = trio.Event()

    async def closed(_ws: ServerWebSocket, _code: int, _reason: str) -> None:
        await let_go.wait()

    async with (
        running(Application(fetch, WebSocketHandler(close=closed), None), beat=0.001) as supervisor,
        WebSocket(url(supervisor)) as ws,
    ):
        for _ in range(3):
            await supervisor.sign_of_life()
        signal.raise_signal(signal.SIGTERM)
        await ws.closed()
        for _ in range(3):
            await supervisor.sign_of_life()
        let_go.set()


async def test_a_signal_before_it_serves_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve_for_ever(*_arguments: object, listeners: Inherited, **_options: object) -> None:
        listeners.listeners[0].socket.close()
        signal.raise_signal(signal.SIGTERM)
        await trio.sleep_forever()

    monkeypatch.setattr(worker, "serve", resolve_for_ever)
    supervisor = Supervisor(PATIENCE)
    with trio.fail_after(PATIENCE):
        await Worker(supervisor.inheritance).run(APPLICATION, PLACE)
    supervisor.close()


async def test_that_the_supervisor_has_gone_just_now_is_noticed_elsewhere() -> None:
    supervisor = Supervisor(PATIENCE)
    supervisor.ours.close()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Worker(supervisor.inheritance).run, APPLICATION, PLACE)
            async with WebSocket(url(supervisor)) as ws:
                servers[0].stop(True)
                await ws.closed()
    supervisor.close()


@pytest.mark.parametrize("unread", [b"", b"\n"])
def test_without_a_supervisor_it_ends_as_by_sigterm_and_is_killed_if_that_hangs(
    monkeypatch: pytest.MonkeyPatch, unread: bytes
) -> None:
    done: list[object] = []
    over = threading.Event()

    def kill(pid: int, number: int) -> None:
        done.append((pid, number))
        if number == signal.SIGKILL:
            over.set()

    monkeypatch.setattr(worker, "os", SimpleNamespace(read=os.read, kill=kill, getpid=lambda: 42))
    monkeypatch.setattr(worker, "time", SimpleNamespace(sleep=done.append))
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(unread)  # a sign of life that the supervisor did not come to read
        end_with_supervisor(theirs.fileno())
        assert not done
        ours.close()
        assert over.wait(PATIENCE)
    assert done == [(42, signal.SIGTERM), DRAIN, (42, signal.SIGKILL)]


def test_the_worker_is_an_application_served(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[object] = []

    async def serve(*_given: object, listeners: Inherited, tls: object, **_options: object) -> None:
        await trio.lowlevel.checkpoint()
        listeners.listeners[0].socket.close()
        served.append(tls)

    monkeypatch.setattr(worker, "serve", serve)
    watched: list[int] = []
    monkeypatch.setattr(worker, "end_with_supervisor", watched.append)
    monkeypatch.setattr("sys.modules", {**__import__("sys").modules, "app_of_test": SimpleNamespace(fetch=fetch)})
    supervisor = Supervisor(PATIENCE)
    assert run_worker("app_of_test", PLACE, supervisor.inheritance) == 0
    assert served == [None]
    assert watched == [supervisor.inheritance.supervisor]
    supervisor.close()
    with pytest.raises(UsageError, match="cannot import nowhere"):
        run_worker("nowhere", PLACE, supervisor.inheritance)
