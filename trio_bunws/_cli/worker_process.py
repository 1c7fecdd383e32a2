"""One process of `serve --workers`, as its supervisor sees it: started, serving, perhaps hanging, in the end reaped.

The process lives in a task, `run`: cancelling it is how a worker is told to end in good order. When to do that, and
what follows, is `worker_slot.py`'s.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from trio_bunws._cli.arguments import FAILURE
from trio_bunws._cli.inheritance import Inheritance
from trio_bunws._cli.racing import until_first_ends
from trio_bunws._cli.worker import DRAIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_bunws._cli.shared_port import SharedPort

logger = logging.getLogger("trio_bunws.serve")


LOOKS: Final = 5
"""A worker hangs if so many looks in a row found no sign of life. One would not do: after a sleep of the whole machine
the supervisor may be the first to wake."""
BEATS_PER_LOOK: Final = 2
"""Signs of life that a worker gives from one look to the next."""
AT_MOST: Final = 4096
"""Signs of life that are read at once."""


class WorkerProcess:
    """A worker's process; `number` tells its place, from 1."""

    def __init__(self, command: Sequence[str], port: SharedPort, hang_timeout: float, number: int) -> None:
        """`hang_timeout`: seconds that its event loop may stand still, once it serves."""
        self.number: Final = number
        self.ready: Final = trio.Event()
        """Set when it serves."""
        self.ended: Final = trio.Event()
        """Set when it has been waited for."""
        self.scope: Final = trio.CancelScope()
        """Cancel it to have the process end in good order, and be killed if it does not."""
        self.code: int = FAILURE
        """When it has ended: its exit code, or less than zero: the signal that it died of."""
        self._command: Final = command
        self._port: Final = port
        self._hang_timeout: Final = hang_timeout
        self._process: trio.Process | None = None

    def __str__(self) -> str:
        return f"worker {self.number}" + ("" if self._process is None else f" (process {self.pid})")

    @property
    def pid(self) -> int | None:
        """The process's number, as soon as there is one."""
        return None if self._process is None else self._process.pid

    async def run(self) -> None:
        """Run the process to its end; what goes wrong is logged."""
        try:
            with self.scope:
                await self._run()
        except* OSError as group:
            logger.error("%s cannot be started: %s", self, group.exceptions[0])  # noqa: TRY400 - the line says it all
        finally:
            if self._process is not None and self._process.returncode is not None:
                self.code = self._process.returncode
            self.ended.set()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()

    async def _run(self) -> None:
        sockets = [sock.fileno() for sock in self._port.of(self.number)]
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with trio.socket.from_stdlib_socket(ours) as control:
            async with trio.open_nursery() as nursery:
                with theirs:
                    beat = self._hang_timeout / LOOKS / BEATS_PER_LOOK
                    inheritance = Inheritance(self.number, theirs.fileno(), beat, tuple(sockets), self._port.address)
                    process: trio.Process = await nursery.start(
                        partial(
                            trio.run_process,
                            self._command,
                            stdin=subprocess.DEVNULL,
                            check=False,
                            deliver_cancel=self._end,
                            pass_fds=(theirs.fileno(), *sockets),
                            env={**os.environ, **inheritance.tell()},
                            process_group=0,  # Ctrl-C is for the supervisor, which tells the others
                        )
                    )
                    self._process = process
                # Its end of the socket may outlive it, in a process that it has forked.
                await until_first_ends(process.wait, partial(self._watch, control))

    async def _watch(self, control: trio.socket.SocketType) -> None:
        """Note when the process serves, and have it end if its signs of life cease then."""
        if not await control.recv(1):
            return
        self.ready.set()
        silent = 0
        while silent < LOOKS:
            silent += 1
            with trio.move_on_after(self._hang_timeout / LOOKS):
                if not await control.recv(AT_MOST):
                    return
                silent = 0
        logger.error("%s hangs: its event loop stood still for %g s; it is told to end", self, self._hang_timeout)
        self.scope.cancel()

    async def _end(self, process: trio.Process) -> None:
        process.terminate()
        await trio.sleep(DRAIN)
        logger.error("%s does not end: killed after %g s", self, DRAIN)
        process.kill()


def describe_end(code: int) -> str:
    """Say how a process has ended."""
    if code < 0:
        return f"died of {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
