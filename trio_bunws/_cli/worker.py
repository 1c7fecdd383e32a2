"""One worker of `serve --workers`: it serves on inherited sockets, and ends in good order when told to, or orphaned.

It obeys one signal and is deaf to further ones: a service manager may send SIGTERM to all processes, and the supervisor
then sends the worker another. Whether it has taken too long to end is the supervisor's to decide.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_bunws._cli.application import load
from trio_bunws._cli.descriptors import write_all
from trio_bunws._cli.interruption import ENDING
from trio_bunws._cli.racing import until_first_ends
from trio_bunws._serve import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_bunws._cli.application import Application
    from trio_bunws._cli.inheritance import Inheritance
    from trio_bunws._cli.place import Place
    from trio_bunws._server import Server

DRAIN: Final = 25.0
"""Seconds that a worker has to end in good order: ten for its sockets, ten for async close handlers, and a margin."""
LAST_REQUESTS: Final = 0.5
"""Seconds in which the connections accepted last may still send a request: their clients cannot know that we leave."""


def run_worker(reference: str, place: Place, inherited: Inheritance) -> int:
    """Import the application and serve it on the inherited sockets; return the exit code.

    Of `place` only the certificate and the broker count.

    Raises:
        UsageError: if it cannot be imported.
        BrokerError: if the broker refuses it.
    """
    end_with_supervisor(inherited.supervisor)  # before the import, which may hang
    application = load(reference)
    # After it, so that this does nothing if the application has configured its log.
    logging.basicConfig(format=f"worker {inherited.number}: %(levelname)s %(name)s: %(message)s")
    trio.run(Worker(inherited).run, application, place)
    return 0


def end_with_supervisor(descriptor: int) -> None:
    """Have this process end when the other end of a descriptor is closed: as by SIGTERM, but killed if that hangs.

    A thread, because the application may block the event loop, or never come to it. Linux's own signal for this
    (PR_SET_PDEATHSIG) comes when the *thread* ends that has started this process, which is one of trio's.
    """

    def watch() -> None:
        with suppress(ConnectionResetError):  # it was closed with signs of life that it had not read
            os.read(descriptor, 1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(DRAIN)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="trio_bunws: end with the supervisor", daemon=True).start()


class Worker:
    """The run of one worker's server, from its start to its orderly end."""

    def __init__(self, inherited: Inheritance) -> None:
        self._inherited: Final = inherited
        self._server: Server[Any] | None = None
        self._serving: Final = trio.Event()

    async def run(self, application: Application, place: Place) -> None:
        """Serve until a signal or the application ends it. Raises `BrokerError`."""
        fetch, websocket, error = application
        listeners = self._inherited.listeners()
        status: trio.TaskStatus[Server[Any]] = self
        with trio.open_signal_receiver(*ENDING) as signals:
            await until_first_ends(
                partial(
                    serve,
                    fetch,
                    websocket,
                    error=error,
                    listeners=listeners,
                    tls=place["tls"],
                    broker=place.get("broker"),
                    task_status=status,
                ),
                partial(self._obey, signals),
                self._beat,
            )

    def started(self, value: Server[Any] | None = None) -> None:
        """Note that it serves; `serve` calls this, as a `trio.TaskStatus`."""
        self._server = value
        self._serving.set()

    async def _beat(self) -> None:
        """Tell the supervisor that it serves, and then ever again that the event loop turns."""
        await self._serving.wait()
        with suppress(OSError):  # the supervisor's end is noticed elsewhere
            while True:
                await write_all(self._inherited.supervisor, "\n")
                await trio.sleep(self._inherited.beat)
        await trio.sleep_forever()

    async def _obey(self, signals: AsyncIterator[int]) -> None:
        """End in good order at the first signal; before it serves there is nothing to end."""
        await anext(signals)
        server = self._server
        if server is None:
            return
        # First only the accepting: what this worker has accepted would be lost if it closed at once.
        server._accepting.cancel()
        if server._admission.count > server.pending_websockets:
            await trio.sleep(LAST_REQUESTS)
        server.stop(True)
        async for _ in signals:
            pass
