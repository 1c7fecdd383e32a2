"""The process above the workers: what each signal does to them, and how it ends.

Covers `trio_bunws._cli.supervisor` alone, with real signals and workers that are no processes.
"""

# ruff: noqa: ARG001 - a clock is asked for so that time jumps

from __future__ import annotations

import logging
import os
import signal
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
import trio
import trio.testing
from worker_fakes import FakePort, FakeWorker, Makes

from trio_bunws._cli import supervisor
from trio_bunws._cli.place import Place
from trio_bunws._cli.supervisor import Supervisor, supervise

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from pathlib import Path

    from trio.testing import MockClock


class Run:
    """A supervisor of three, and what it says and does."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.port = FakePort()
        self.makes = Makes(self.port)
        self.said: list[str] = []
        self.died: list[int] = []
        self.code: int | None = None
        self.over = trio.Event()
        self._supervisor = Supervisor(3, self.port, self.makes, say=self.said.append, die_by=self.died.append)
        self._nursery = nursery

    async def begin(self) -> list[FakeWorker]:
        """Run it; return its workers when nothing moves any more."""
        self._nursery.start_soon(self._run)
        await settle()
        return self.makes.made

    async def _run(self) -> None:
        self.code = await self._supervisor.run()
        self.over.set()

    async def end(self) -> int | None:
        await self.over.wait()
        return self.code


async def settle() -> None:
    await trio.sleep(0.01)  # signals come by the event loop's own pipe
    await trio.testing.wait_all_tasks_blocked()


async def signalled(number: signal.Signals) -> None:
    signal.raise_signal(number)
    await settle()


@pytest.fixture(name="run")
def _run(nursery: trio.Nursery) -> Iterator[Run]:
    run = Run(nursery)
    yield run
    run.port.close()


async def test_it_says_once_where_they_listen_when_all_serve(run: Run, autojump_clock: MockClock) -> None:
    workers = await run.begin()
    assert sorted(worker.number for worker in workers) == [1, 2, 3]
    assert run.said == ["Listening on http://127.0.0.1:3000/ (3 workers)"]
    await signalled(signal.SIGTERM)
    assert await run.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_has_all_end_in_good_order_and_closes_the_port(
    run: Run, number: signal.Signals, autojump_clock: MockClock
) -> None:
    workers = await run.begin()
    workers[1].stubborn = True
    await signalled(number)
    assert run.port.closed
    assert all(worker.told for worker in workers)
    assert not run.over.is_set()
    workers[1].crash(0)
    assert await run.end() == 0
    assert not any(worker.killed for worker in workers)
    assert run.died == []


async def test_the_second_signal_kills_them_and_itself(run: Run, autojump_clock: MockClock) -> None:
    workers = await run.begin()
    workers[0].stubborn = True
    await signalled(signal.SIGTERM)
    await signalled(signal.SIGHUP)  # is not the second
    assert run.died == []
    await signalled(signal.SIGINT)
    assert [worker.killed for worker in workers] == [True, False, False]
    assert run.died == [signal.SIGINT]
    await run.end()


@pytest.mark.parametrize(("code", "ends_with"), [(-9, 1), (3, 1), (-15, 0)])
async def test_a_worker_that_does_not_end_well_is_in_the_exit_code(
    run: Run, code: int, ends_with: int, autojump_clock: MockClock
) -> None:
    workers = await run.begin()
    workers[0].stubborn = True
    await signalled(signal.SIGTERM)
    workers[0].crash(code)
    assert await run.end() == ends_with


async def test_one_that_crashed_before_is_not_in_the_exit_code(run: Run, autojump_clock: MockClock) -> None:
    workers = await run.begin()
    workers[2].crash()
    await settle()
    assert sorted(worker.number for worker in run.makes.serving) == [1, 2, 3]
    await signalled(signal.SIGTERM)
    assert await run.end() == 0


async def test_sighup_replaces_one_after_the_other(
    run: Run, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    old = sorted(await run.begin(), key=lambda worker: worker.number)
    for worker in old:
        worker.stubborn = True
    caplog.set_level(logging.INFO, supervisor.logger.name)
    await signalled(signal.SIGHUP)
    for done, worker in enumerate(old):
        assert [w.told for w in old] == [True] * (done + 1) + [False] * (2 - done)
        assert len(run.makes.serving) == 4
        worker.crash(0)
        await settle()
    assert sorted(worker.number for worker in run.makes.serving) == [1, 2, 3]
    assert not set(run.makes.serving) & set(old)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "SIGHUP: replacing the workers one by one"),
        ("INFO", "all workers have been replaced"),
    ]
    await signalled(signal.SIGHUP)
    assert len(run.makes.made) == 9
    await signalled(signal.SIGTERM)
    assert await run.end() == 0
    assert len(run.said) == 1


async def test_what_cannot_be_started_replaces_nobody(
    run: Run, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    first, *_ = await run.begin()
    run.makes.next.append(FakeWorker(1, run.port))
    run.makes.failing(2)
    await signalled(signal.SIGHUP)
    assert first.ended.is_set()
    assert sorted(worker.number for worker in run.makes.serving) == [1, 2, 3]
    message = "worker 2 could not be replaced; it goes on, and so do those after it"
    assert caplog.records[-1].message == message
    await signalled(signal.SIGTERM)
    assert await run.end() == 0


@pytest.mark.usefixtures("autojump_clock")
@pytest.mark.parametrize(
    ("code", "ends_with", "words"),
    [(2, 2, []), (3, 1, ["worker 1 ended with exit code 3 before it served: giving up"])],
)
async def test_if_the_first_cannot_be_started_no_other_is_and_it_is_told_once(
    run: Run, code: int, ends_with: int, words: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    run.makes.failing(1, code)
    await run.begin()
    assert await run.end() == ends_with
    assert len(run.makes.made) == 1
    assert run.said == []
    assert [record.message for record in caplog.records] == words


async def test_if_another_cannot_be_started_at_first_all_end(run: Run, autojump_clock: MockClock) -> None:
    run.makes.next.append(FakeWorker(1, run.port))
    failing = run.makes.failing(2)
    failing.may_serve = trio.Event()
    await run.begin()
    assert len(run.makes.serving) == 2
    failing.may_serve.set()
    assert await run.end() == 2
    assert run.makes.serving == []
    assert run.said == []


async def test_later_a_start_that_fails_is_the_end_only_if_nobody_serves(run: Run, autojump_clock: MockClock) -> None:
    workers = await run.begin()
    run.makes.failing(1)
    workers[0].crash()
    await settle()
    assert not run.over.is_set()
    for number in (1, 2, 3):
        run.makes.failing(number)
    for worker in run.makes.serving:
        worker.crash()
    assert await run.end() == 2


async def test_as_the_first_process_of_a_container_it_waits_for_orphans_and_not_for_its_workers(
    run: Run, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours: list[Callable[[], Container[int | None]]] = []

    async def reap(of_ours: Callable[[], Container[int | None]]) -> None:
        ours.append(of_ours)
        await trio.sleep_forever()

    monkeypatch.setattr(supervisor, "is_first", lambda: True)
    monkeypatch.setattr(supervisor, "reap_orphans", reap)
    workers = await run.begin()
    workers[1]._process = cast("trio.Process", SimpleNamespace(pid=17, returncode=0))
    assert 17 in ours[0]()
    assert 18 not in ours[0]()
    await signalled(signal.SIGTERM)
    assert await run.end() == 0


async def test_a_terminal_that_is_closed_is_the_end(
    run: Run, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = True
    monkeypatch.setattr(supervisor, "os", SimpleNamespace(isatty=lambda _: there))
    await run.begin()
    await signalled(signal.SIGHUP)
    assert len(run.makes.made) == 6
    there = False
    await signalled(signal.SIGHUP)
    assert await run.end() == 0


WORKER = """\
import json, os, signal, sys
number, supervisor, beat, sockets, address = json.loads(os.environ["TRIO_BUNWS_WORKER"])
os.write(supervisor, b"\\n")
os.kill(os.getppid(), signal.SIGTERM)
signal.pause()
"""


def test_each_worker_is_this_command_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-IS", str(tmp_path / "worker.py")])
    said: list[str] = []
    path = tmp_path / "socket"
    place = Place(tls=None, unix=str(path))
    assert supervise(1, place, 60, say=said.append, die_by=os._exit) == 0
    assert said in ([], [f"Listening on unix://{path} (1 worker)"])  # as it is quick
    assert not path.exists()
