"""A worker's process as its supervisor has it: real processes, but small ones, that say what they inherit.

Covers `trio_bunws._cli.worker_process` alone.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from patience import PATIENCE

from trio_bunws._cli import worker_process
from trio_bunws._cli.place import Place
from trio_bunws._cli.shared_port import SharedPort, open_shared_port
from trio_bunws._cli.worker_process import WorkerProcess, describe_end

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trio.testing import MockClock

HEAD = """\
import json, os, signal, socket, sys
number, supervisor, beat, sockets, address = json.loads(os.environ["TRIO_BUNWS_WORKER"])
ready = lambda: os.write(supervisor, b"\\n")
"""


@pytest.fixture(name="port")
async def _port() -> AsyncGenerator[SharedPort]:
    port = await open_shared_port(Place(port=0, tls=None))
    yield port
    port.close()


def worker(port: SharedPort, source: str, number: int = 1, hang_timeout: float = PATIENCE) -> WorkerProcess:
    return WorkerProcess([sys.executable, "-ISc", HEAD + source], port, hang_timeout, number)


async def serve(process: WorkerProcess, nursery: trio.Nursery) -> None:
    """Run it, and wait until it serves."""
    nursery.start_soon(process.run)
    with trio.fail_after(PATIENCE):
        await process.ready.wait()


async def ended(process: WorkerProcess) -> int:
    with trio.fail_after(PATIENCE):
        await process.ended.wait()
    return process.code


def is_gone(process: WorkerProcess) -> bool:
    """Tell that it is no zombie either."""
    assert process._process is not None
    return not Path(f"/proc/{process._process.pid}").exists()


def sockets_of(process: WorkerProcess) -> list[str]:
    assert process._process is not None
    descriptors = Path(f"/proc/{process._process.pid}/fd").iterdir()
    return [name for name in map(str, map(Path.readlink, descriptors)) if name.startswith("socket:")]


async def test_it_inherits_its_sockets_and_says_when_it_serves(port: SharedPort, nursery: trio.Nursery) -> None:
    source = """
listening = socket.socket(fileno=sockets[0])
assert listening.getsockname() == ("127.0.0.1", address[2])
assert os.getpgrp() == os.getpid()
assert number == 2
assert sys.stdin.read() == ""
ready()
signal.pause()
"""
    process = worker(port, source, 2)
    assert str(process) == "worker 2"
    await serve(process, nursery)
    assert str(process).startswith("worker 2 (process ")
    process.scope.cancel()
    assert await ended(process) == -signal.SIGTERM
    assert is_gone(process)


async def test_how_it_ended_is_known_and_that_it_never_served(port: SharedPort, nursery: trio.Nursery) -> None:
    process = worker(port, "sys.exit(5)")
    nursery.start_soon(process.run)
    assert await ended(process) == 5
    assert not process.ready.is_set()
    assert is_gone(process)


async def test_one_that_is_told_to_end_has_the_time_it_needs(port: SharedPort, nursery: trio.Nursery) -> None:
    source = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); ready(); signal.pause()"
    process = worker(port, source)
    await serve(process, nursery)
    process.scope.cancel()
    assert await ended(process) == 0


async def test_one_that_does_not_end_is_killed(
    port: SharedPort, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_process, "DRAIN", 0.01)
    source = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nready()\nwhile True: signal.pause()"
    process = worker(port, source)
    await serve(process, nursery)
    process.scope.cancel()
    assert await ended(process) == -signal.SIGKILL
    assert is_gone(process)
    assert [record.message for record in caplog.records] == [f"{process} does not end: killed after 0.01 s"]


async def test_one_that_hangs_is_told_to_end(
    port: SharedPort, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    process = worker(port, "ready()\nwhile True: signal.pause()", hang_timeout=0.01)
    nursery.start_soon(process.run)
    assert await ended(process) == -signal.SIGTERM
    assert process.ready.is_set()
    message = f"{process} hangs: its event loop stood still for 0.01 s; it is told to end"
    assert [record.message for record in caplog.records] == [message]


async def test_one_hangs_when_nothing_was_heard_of_it_in_several_looks(
    port: SharedPort,
    nursery: trio.Nursery,
    autojump_clock: MockClock,  # noqa: ARG001
) -> None:
    process = worker(port, "", hang_timeout=60)
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        nursery.start_soon(process._watch, ours)
        for _ in range(100):
            await theirs.send(b"\n")
            await trio.sleep(59)
        assert not process.scope.cancel_called
        await trio.sleep(2)
        assert process.scope.cancel_called


async def test_one_that_has_ended_is_not_waited_for_because_of_what_it_has_forked(
    port: SharedPort, nursery: trio.Nursery
) -> None:
    process = worker(port, "if not os.fork(): signal.pause()\nready()\nsys.exit(7)")
    nursery.start_soon(process.run)
    assert await ended(process) == 7
    assert process.pid is not None
    os.killpg(process.pid, signal.SIGKILL)


async def test_one_is_killed_at_once(port: SharedPort, nursery: trio.Nursery) -> None:
    process = worker(port, "ready(); signal.pause()")
    process.kill()  # nobody yet
    await serve(process, nursery)
    process.kill()
    assert await ended(process) == -signal.SIGKILL


async def test_it_learns_that_its_supervisor_has_gone(port: SharedPort, nursery: trio.Nursery) -> None:
    # The other end is open in the supervisor only, not in workers that were started later.
    first = worker(port, "ready(); os.read(supervisor, 1); sys.exit(7)")
    second = worker(port, "ready(); signal.pause()", 2)
    for process in (first, second):
        await serve(process, nursery)
    assert len(sockets_of(second)) == 2  # its own end, and where it listens
    for process in (first, second):
        process.scope.cancel()
        await ended(process)


async def test_what_cannot_be_started_is_told_and_over(
    port: SharedPort, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    process = WorkerProcess(["/nothing/of/the/kind"], port, 60, 1)
    nursery.start_soon(process.run)
    assert await ended(process) == 1
    (message,) = [record.message for record in caplog.records]
    assert message.startswith("worker 1 cannot be started: [Errno 2] No such file or directory")


def test_how_a_process_ended_is_said_in_words() -> None:
    assert describe_end(0) == "ended with exit code 0"
    assert describe_end(3) == "ended with exit code 3"
    assert describe_end(-9) == "died of SIGKILL"
