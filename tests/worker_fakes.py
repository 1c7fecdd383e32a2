"""Workers without processes, for the tests of what keeps and moves them: each does what its test tells it."""

from __future__ import annotations

import socket

import trio

from trio_bunws._cli.shared_port import SharedPort
from trio_bunws._cli.worker_process import WorkerProcess
from trio_bunws._listeners import Address

ADDRESS = Address("http://127.0.0.1:3000/", "127.0.0.1", 3000)


class FakeWorker(WorkerProcess):
    """A worker that serves, until it is told to end or crashes."""

    def __init__(self, number: int, port: SharedPort, *, serves: bool = True, code: int = 2) -> None:
        """With `serves` false it ends with the code instead."""
        super().__init__([], port, 60, number)
        self.serves = serves
        self.stubborn = False
        """Whether it does not end when it is told to."""
        self.code = 0 if serves else code
        self.told = False
        self.killed = False
        self.may_serve = trio.Event()
        """Set from the beginning, but where the test makes it another."""
        self.may_serve.set()
        self._over = trio.Event()

    async def _run(self) -> None:
        try:
            await self.may_serve.wait()
            if not self.serves:
                return
            self.ready.set()
            await self._over.wait()
        except trio.Cancelled:
            self.told = True
            if self.stubborn:
                with trio.move_on_after(1000, shield=True):
                    await self._over.wait()
            raise

    def crash(self, code: int = -11) -> None:
        self.code = code
        self._over.set()

    def kill(self) -> None:
        self.killed = True
        self.crash(-9)


class FakePort(SharedPort):
    """A port at which nobody listens."""

    def __init__(self) -> None:
        super().__init__([socket.socket()], ADDRESS, path=None, balanced=True)
        self.vacated: list[int] = []
        self.closed = False

    def vacate(self, number: int) -> None:
        self.vacated.append(number)

    def close(self) -> None:
        super().close()
        self.closed = True


class Makes:
    """What makes workers, and remembers them; those that are not to serve are told before."""

    def __init__(self, port: FakePort) -> None:
        self.port = port
        self.made: list[FakeWorker] = []
        self.next: list[FakeWorker] = []
        """Given out before others."""
        self.another = trio.Event()
        """Set when one is made; then there is a new one."""

    def __call__(self, number: int) -> FakeWorker:
        worker = self.next.pop(0) if self.next else FakeWorker(number, self.port)
        self.made.append(worker)
        self.another.set()
        self.another = trio.Event()
        return worker

    def failing(self, number: int, code: int = 2) -> FakeWorker:
        """Let the next one end before it serves."""
        worker = FakeWorker(number, self.port, serves=False, code=code)
        self.next.append(worker)
        return worker

    @property
    def serving(self) -> list[FakeWorker]:
        return [worker for worker in self.made if worker.ready.is_set() and not worker.ended.is_set()]
