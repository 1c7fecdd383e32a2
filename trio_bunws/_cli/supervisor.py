"""The process above the workers of `serve --workers`: it starts them, keeps them, rolls them and ends them.

It holds the port and never serves; no application is imported here, so that nothing of one can take it down. Signals
are what moves it: the first SIGTERM or SIGINT drains all workers, the second kills them, SIGHUP replaces one by one.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from trio_bunws._cli.arguments import FAILURE, USAGE
from trio_bunws._cli.reaping import is_first, reap_orphans
from trio_bunws._cli.shared_port import open_shared_port
from trio_bunws._cli.worker_process import WorkerProcess, describe_end
from trio_bunws._cli.worker_slot import Slot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from trio_bunws._cli.place import Place
    from trio_bunws._cli.shared_port import SharedPort

logger = logging.getLogger("trio_bunws.serve")
STDIN: Final = 0
IN_GOOD_ORDER: Final = {0, -signal.SIGTERM}
"""How a worker ends that was told to; by the signal itself if it had not yet begun to serve."""


def supervise(
    count: int, place: Place, hang_timeout: float, *, say: Callable[[str], object], die_by: Callable[[int], None]
) -> int:
    """Serve with so many workers; return the exit code. Each is this very command again, and finds that it inherits.

    Raises:
        OSError: if it cannot listen.
    """
    command = [sys.executable, *sys.orig_argv[1:]]

    async def run() -> int:
        port = await open_shared_port(place)
        make = partial(WorkerProcess, command, port, hang_timeout)
        return await Supervisor(count, port, make, say=say, die_by=die_by).run()

    return trio.run(run)


class Supervisor:
    """One run of several workers."""

    def __init__(
        self,
        count: int,
        port: SharedPort,
        make: Callable[[int], WorkerProcess],
        *,
        say: Callable[[str], object],
        die_by: Callable[[int], None],
    ) -> None:
        """Run so many workers, which `make` makes of their numbers; `die_by` ends this process by a signal."""
        self._count: Final = count
        self._port: Final = port
        self._make: Final = make
        self._say: Final = say
        self._die_by: Final = die_by
        self._slots: list[Slot] = []
        self._workers: list[WorkerProcess] = []
        self._scope: Final = trio.CancelScope()
        self._ending = False
        self._up = False
        self._code = 0
        self._roll_wanted = trio.Event()

    async def run(self) -> int:
        """Serve until a signal ends it, or no worker can be started; return the exit code."""
        on_terminal = os.isatty(STDIN)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, signals, on_terminal)
                if is_first():
                    nursery.start_soon(reap_orphans, self._pids)
                with self._scope:
                    async with trio.open_nursery() as workers:
                        await self._serve(workers)
                nursery.cancel_scope.cancel()
        in_good_order = all(worker.code in IN_GOOD_ORDER for worker in self._workers)
        return self._code if in_good_order else self._code or FAILURE

    async def _serve(self, nursery: trio.Nursery) -> None:
        self._slots = [
            Slot(number, self._make_worker, self._port, nursery, self._failed) for number in range(1, self._count + 1)
        ]
        first, *others = self._slots
        # One before the others: what is wrong with all is then told once.
        await first.start()
        async with trio.open_nursery() as starting:
            for slot in others:
                starting.start_soon(slot.start)
        if self._ending:
            return
        self._up = True
        workers = "1 worker" if self._count == 1 else f"{self._count} workers"
        self._say(f"Listening on {self._port.address.url} ({workers})")
        for slot in self._slots:
            nursery.start_soon(slot.keep)
        while True:
            await self._roll_wanted.wait()
            self._roll_wanted = trio.Event()
            await self._roll()

    async def _roll(self) -> None:
        logger.info("SIGHUP: replacing the workers one by one")
        for number, slot in enumerate(self._slots, 1):
            if not await slot.replace():
                logger.error("worker %s could not be replaced; it goes on, and so do those after it", number)
                return
        logger.info("all workers have been replaced")

    def _make_worker(self, number: int) -> WorkerProcess:
        worker = self._make(number)
        self._workers = [*self._alive(), worker]
        return worker

    def _alive(self) -> list[WorkerProcess]:
        return [worker for worker in self._workers if not worker.ended.is_set()]

    def _pids(self) -> list[int | None]:
        return [worker.pid for worker in self._workers]

    def _failed(self, worker: WorkerProcess) -> None:
        """End if a worker could not be started, unless others go on: nobody can be served, and nobody would notice."""
        if self._up and any(slot.serves for slot in self._slots):
            return
        if worker.code != USAGE:  # else it has said itself what is wrong
            logger.error("%s %s before it served: giving up", worker, describe_end(worker.code))
        self._end(USAGE if worker.code == USAGE else FAILURE)

    async def _obey(self, signals: AsyncIterator[int], on_terminal: bool) -> None:
        async for number in signals:
            if number == signal.SIGHUP and not (on_terminal and not os.isatty(STDIN)):
                self._roll_wanted.set()
            elif not self._ending:
                self._end()
            else:
                for worker in self._alive():
                    worker.kill()
                self._die_by(number)

    def _end(self, code: int = 0) -> None:
        """Have all workers end in good order, as they do when their task is cancelled."""
        self._ending = True
        self._code = code
        self._workers = self._alive()
        self._port.close()  # from here on connections are refused, not kept waiting for nobody
        self._scope.cancel()
