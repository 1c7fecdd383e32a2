"""`trio-bunws serve module:attribute`: an application served from the command line, and reloaded as it is written.

A reload imports the application again and hands it to `Server.reload`: open sockets and the port stay. Importing runs
in a worker thread, so that neither the sockets nor a signal wait for it.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import textwrap
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_bunws._cli.application import FORMS, load, reload
from trio_bunws._cli.arguments import BY_SIGNAL, UsageError, count, seconds
from trio_bunws._cli.broker_choice import VARIABLE, add_broker_argument, check_broker, make_broker
from trio_bunws._cli.inheritance import take_inheritance
from trio_bunws._cli.interruption import ENDING
from trio_bunws._cli.place import add_place_arguments, place_of
from trio_bunws._cli.racing import until_first_ends
from trio_bunws._cli.source_watch import SourceWatch
from trio_bunws._cli.supervisor import supervise
from trio_bunws._cli.worker import run_worker
from trio_bunws._errors import BrokerError
from trio_bunws._handlers import UNSET
from trio_bunws._serve import serve

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable

    from trio_bunws._cli.application import Application
    from trio_bunws._cli.place import Place
    from trio_bunws._server import Server

DESCRIPTION: Final = "Serve an application: HTTP by its fetch function, WebSockets by its WebSocketHandler."
NAMES: Final = (
    f"APPLICATION is module or module:attribute, imported from the current folder first. It names {FORMS}. "
    "A handler named alone comes without a fetch: ws.data is None."
)
EPILOG: Final = f"""\
{textwrap.fill(NAMES, 79)}

The address is printed once it listens. SIGTERM or Ctrl-C ends it in good order:
it stops listening, open sockets get what was accepted for them and Close 1001,
and have 10 seconds to take it. A second signal ends it at once.

With --reload, a change of any Python file below the current folder imports the
application again. Open sockets and the port stay; if it cannot be imported, the
one before goes on. For development only.

With --workers, so many processes serve the one port, kept by a supervisor: one
that crashes or hangs is followed by another. SIGTERM and Ctrl-C end all in good
order, a second signal kills them; SIGHUP replaces them one by one, by what the
files are then, without closing the port. Several need a broker, by which
publish reaches the sockets of all. Other users can read a command line: a URL
with a password is better in the environment variable {VARIABLE}.

exit codes:
  0    ended by a signal, or by the application itself
  1    no worker could be started, or one had to be killed
  2    wrong usage: also an application that cannot be imported, or an address
       that cannot be listened on

examples:
  trio-bunws serve chat
  trio-bunws serve chat:handler --port 8080 --reload
  trio-bunws serve chat --host :: --tls-cert cert.pem --tls-key key.pem
  trio-bunws serve chat --workers 4 --broker redis://127.0.0.1:6379
"""
LOG_FORMAT: Final = "%(levelname)s %(name)s: %(message)s"
logger = logging.getLogger("trio_bunws.serve")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `serve` takes."""
    parser.add_argument("application", metavar="APPLICATION", help="what to serve: module or module:attribute")
    add_place_arguments(parser)
    parser.add_argument("--workers", type=count, metavar="N", help="serve with so many supervised processes")
    parser.add_argument(
        "--hang-timeout",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="with --workers: replace one whose event loop stands still for so long (default: 60)",
    )
    add_broker_argument(parser)
    parser.add_argument("--reload", action="store_true", help="import the application again when a file changes")


def run(given: argparse.Namespace) -> int:
    """Carry the command out, as the only process, as a supervisor or as one of its workers; return the exit code."""
    place = place_of(given)
    sys.path.insert(0, str(Path.cwd()))
    inherited = take_inheritance(os.environ)
    try:
        if inherited is not None:
            place["broker"] = make_broker(given.broker)
            return run_worker(given.application, place, inherited)
        logger.setLevel(logging.INFO)  # what follows a change or a signal is to be seen, and is no warning
        if given.workers is not None:
            _check_workers(given)
            logging.basicConfig(format=LOG_FORMAT)
            return supervise(given.workers, place, given.hang_timeout, say=say, die_by=die_by)
        place["broker"] = make_broker(given.broker)
        _serve_here(given, place)
    except OSError as exc:
        words = exc.strerror or str(exc)  # those of a listener say where it was
        raise UsageError(words if words.startswith("cannot listen on ") else f"cannot listen: {exc}") from exc
    except BrokerError as exc:
        raise UsageError(f"the broker refuses this server: {exc}") from exc
    return 0


def _serve_here(given: argparse.Namespace, place: Place) -> None:
    """Serve with this process, until a signal or the application ends it."""
    folder = Path.cwd()
    watch = None
    if given.reload:
        watch = SourceWatch(folder)  # before the import: a change during it counts
        sys.dont_write_bytecode = True  # a .pyc is taken for right if the second and the size are
    application = load(given.application)
    logging.basicConfig(format=LOG_FORMAT)  # does nothing if the application has configured it
    trio.run(partial(Serving(given.application, folder, watch).run, application, place))


def _check_workers(given: argparse.Namespace) -> None:
    """Complain of what would not work with several processes, before there are any."""
    check_broker(given.broker)
    if given.reload:
        raise UsageError("--reload is for a single process: leave --workers out, or send SIGHUP to replace the workers")
    if given.workers > 1 and given.broker is None:
        raise UsageError(
            f"--workers {given.workers} needs a broker, or publish would reach the sockets of one worker only: "
            f"add --broker redis://..., or set {VARIABLE}"
        )


def say(line: str) -> None:
    """Print a line, which whoever waits for it sees at once; nobody has to."""
    with suppress(OSError):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def die_by(number: int) -> None:
    """Die by a signal, so that whoever waits for the process learns it; handlers that still run do not matter."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    os._exit(BY_SIGNAL + number)  # the first process of a container is not touched by signals of its own


class Serving:
    """One run of a server, from its start to its orderly end."""

    def __init__(
        self, reference: str, folder: Path, watch: SourceWatch | None, say: Callable[[str], object] = say
    ) -> None:
        self._reference: Final = reference
        self._folder: Final = folder
        self._watch: Final = watch
        self._say: Final = say
        self._server: Server[Any] | None = None

    async def run(self, application: Application, place: Place) -> None:
        """Serve until a signal or the application ends it.

        Raises:
            OSError: if it cannot listen.
        """
        fetch, websocket, error = application
        with trio.open_signal_receiver(*ENDING) as signals:
            await until_first_ends(
                partial(serve, fetch, websocket, error=error, task_status=self, **place), partial(self._obey, signals)
            )

    def started(self, server: Server[Any] | None = None) -> None:
        """Say where it listens; `serve` calls this, as a `trio.TaskStatus`."""
        assert server is not None
        self._server = server
        self._say(f"Listening on {server.url}")
        if self._watch is not None:
            server.start_soon(self._follow, self._watch, server)

    async def _obey(self, signals: AsyncIterator[int]) -> None:
        """End in good order at the first signal, and die at the second; before it listens there is nothing to end."""
        await anext(signals)
        if self._server is not None:
            self._server.stop(True)
            die_by(await anext(signals))

    async def _follow(self, watch: SourceWatch, server: Server[Any]) -> None:
        """Import the application again whenever a file has changed."""
        while True:
            changed = await watch.changed()
            try:
                application = await trio.to_thread.run_sync(
                    reload, self._reference, self._folder, abandon_on_cancel=True
                )
            except UsageError as exc:
                logger.error("not reloaded: %s", exc)  # noqa: TRY400 - the line says where; the way there is importlib's
                continue
            handler = UNSET if application.websocket is None else application.websocket
            server.reload(fetch=application.fetch, websocket=handler, error=application.error)
            logger.info("reloaded: %s", ", ".join(path.name for path in changed))
