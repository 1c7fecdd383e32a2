"""One place among the workers, in which there is always one: a new one follows each that ends, and may replace it.

How long the next start waits is decided here. What a process is is `worker_process.py`'s, what the signals mean
`supervisor.py`'s.
"""

from __future__ import annotations

import logging
from random import random
from typing import TYPE_CHECKING, Final

import trio

from trio_bunws._cli.racing import until_first_ends
from trio_bunws._cli.worker_process import describe_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_bunws._cli.shared_port import SharedPort
    from trio_bunws._cli.worker_process import WorkerProcess

logger = logging.getLogger("trio_bunws.serve")
START: Final = 60.0
"""Seconds that a worker has to import the application and serve."""
STEADY: Final = 10.0
"""Seconds of service after which the next start after a crash does not wait."""
FIRST_PAUSE: Final = 0.5
"""Seconds before the second start in a row; it doubles ..."""
LAST_PAUSE: Final = 30.0
"""... up to this."""


class Slot:
    """One worker after the other."""

    def __init__(
        self,
        number: int,
        make: Callable[[int], WorkerProcess],
        port: SharedPort,
        nursery: trio.Nursery,
        failed: Callable[[WorkerProcess], None],
    ) -> None:
        """Keep workers made by `make` in a nursery; `failed` is called with one that ended before it served."""
        self._number: Final = number
        self._make: Final = make
        self._port: Final = port
        self._nursery: Final = nursery
        self._failed: Final = failed
        self._starting: Final = trio.Lock()
        self._worker: WorkerProcess | None = None
        self._since = 0.0

    @property
    def serves(self) -> bool:
        """Whether there is a worker that takes connections."""
        worker = self._worker
        return worker is not None and worker.ready.is_set() and not worker.ended.is_set()

    async def start(self) -> None:
        """Start a worker, and wait until it serves or has failed to."""
        async with self._starting:
            await self._start()

    async def keep(self) -> None:
        """Start another worker whenever one has ended without being told to; until cancelled."""
        restarts = 0
        while True:
            worker = self._worker
            assert worker is not None  # `start` was first
            await worker.ended.wait()
            if worker is not self._worker:  # it was replaced
                continue
            if worker.ready.is_set() and trio.current_time() - self._since >= STEADY:
                restarts = 0
            pause = pause_before(restarts)
            restarts += 1
            logger.error(
                "%s %s%s; the next starts %s",
                *(worker, describe_end(worker.code), "" if worker.ready.is_set() else " before it served"),
                f"in {pause:.1f} s" if pause else "at once",
            )
            if pause:
                self._port.vacate(self._number)
            await trio.sleep(pause)
            async with self._starting:
                if worker is self._worker:
                    await self._start()

    async def replace(self) -> bool:
        """Put another worker in the place of this one, which ends when the new one serves; or stays if it does not."""
        async with self._starting:
            old = self._worker
            if not await self._start(old):
                return False
        assert old is not None
        old.scope.cancel()
        await old.ended.wait()
        return True

    async def _start(self, instead: WorkerProcess | None = None) -> bool:
        """Start a worker and put it in place; if it fails, it takes no other's place."""
        worker = self._make(self._number)
        self._nursery.start_soon(worker.run)
        with trio.move_on_after(START) as waiting:
            await until_first_ends(worker.ready.wait, worker.ended.wait)
        if waiting.cancelled_caught:
            logger.error("%s does not serve after %g s: ended", worker, START)
            worker.scope.cancel()
            await worker.ended.wait()
        serves = worker.ready.is_set() and not waiting.cancelled_caught
        if serves or instead is None:
            self._worker = worker
            self._since = trio.current_time()
        if not serves:
            self._failed(worker)
        return serves


def pause_before(restarts: int) -> float:
    """Return the seconds to wait before the next start, after so many in a row: none, then ever more, with chance."""
    if restarts == 0:
        return 0.0
    return min(LAST_PAUSE, FIRST_PAUSE * 2.0 ** min(restarts - 1, 10)) * (0.5 + random() / 2)  # noqa: S311 - no secret
