"""`trio-bunws serve module:attribute`: an application served from the command line, and reloaded as it is written.

A reload imports the application again and hands it to `Server.reload`: open sockets and the port stay. Importing runs
in a worker thread, so that neither the sockets nor a signal wait for it.
"""

from __future__ import annotations

import logging
import signal
import ssl
import sys
import textwrap
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Required, TypedDict

import trio

from trio_bunws._cli.application import FORMS, load, reload
from trio_bunws._cli.arguments import UsageError, port
from trio_bunws._cli.interruption import ENDING
from trio_bunws._cli.racing import until_first_ends
from trio_bunws._cli.source_watch import SourceWatch
from trio_bunws._handlers import UNSET
from trio_bunws._serve import serve

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable

    from trio_bunws._cli.application import Application
    from trio_bunws._server import Server

DESCRIPTION: Final = "Serve an application: HTTP by its fetch function, WebSockets by its WebSocketHandler."
EPILOG: Final = f"""\
APPLICATION is module or module:attribute, imported from the current folder
first. It names
{textwrap.fill(FORMS, 79)}.

The address is printed once it listens. SIGTERM or Ctrl-C ends it in good order:
it stops listening, open sockets get what was accepted for them and Close 1001,
and have 10 seconds to take it. A second signal ends it at once.

With --reload, a change of any Python file below the current folder imports the
application again. Open sockets and the port stay; if it cannot be imported, the
one before goes on. For development only.

exit codes:
  0    ended by a signal, or by the application itself
  2    wrong usage: also an application that cannot be imported, or an address
       that cannot be listened on

examples:
  trio-bunws serve chat
  trio-bunws serve chat:handler --port 8080 --reload
  trio-bunws serve chat --host :: --tls-cert cert.pem --tls-key key.pem
"""
logger = logging.getLogger("trio_bunws.serve")


class Place(TypedDict, total=False):
    """Where to listen, as arguments of `serve`."""

    hostname: str
    port: int
    unix: str
    tls: Required[ssl.SSLContext | None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `serve` takes."""
    parser.add_argument("application", metavar="APPLICATION", help="what to serve: module or module:attribute")
    place = parser.add_argument_group("where to listen")
    place.add_argument("-p", "--port", type=port, metavar="PORT", help="0 picks a free one (default: 3000)")
    place.add_argument(
        "--host", metavar="ADDRESS", help="0.0.0.0: every IPv4 address, :: every address (default: 127.0.0.1)"
    )
    place.add_argument("--unix", metavar="PATH", help="listen on a unix socket instead")
    place.add_argument("--tls-cert", metavar="FILE", help="speak TLS with this certificate (PEM)")
    place.add_argument("--tls-key", metavar="FILE", help="its key, if it is not in the same file")
    parser.add_argument("--reload", action="store_true", help="import the application again when a file changes")


def run(given: argparse.Namespace) -> int:
    """Carry the command out; return its exit code."""
    place = place_of(given)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    folder = Path.cwd()
    sys.path.insert(0, str(folder))
    watch = None
    if given.reload:
        watch = SourceWatch(folder)  # before the import: a change during it counts
        sys.dont_write_bytecode = True  # a .pyc is taken for right if the second and the size are
    application = load(given.application)
    try:
        trio.run(partial(Serving(given.application, folder, watch).run, application, place))
    except OSError as exc:
        raise UsageError(f"cannot listen: {exc}") from exc
    return 0


def place_of(given: argparse.Namespace) -> Place:
    """Return where to listen.

    Raises:
        UsageError: if the arguments do not go together, or the certificate cannot be used.
    """
    place = Place(tls=_context(given))
    if given.unix is not None:
        if given.host is not None or given.port is not None:
            raise UsageError("--unix is instead of --host and --port")
        if not given.unix:
            raise UsageError("--unix expects a path")
        place["unix"] = given.unix
    if given.host is not None:
        place["hostname"] = given.host
    if given.port is not None:
        place["port"] = given.port
    return place


def _context(given: argparse.Namespace) -> ssl.SSLContext | None:
    if given.tls_cert is None:
        if given.tls_key is not None:
            raise UsageError("--tls-key needs --tls-cert")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(given.tls_cert, given.tls_key)
    except OSError as exc:  # which an SSLError is too
        files = " and ".join(filter(None, (given.tls_cert, given.tls_key)))
        raise UsageError(f"cannot use {files}: {exc.strerror or exc}") from None
    return context


def say(line: str) -> None:
    """Print a line, which whoever waits for it sees at once; nobody has to."""
    with suppress(OSError):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def die_by(number: int) -> None:
    """Die by a signal, so that whoever waits for the process learns it; handlers that still run do not matter."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


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
            logger.warning("reloaded: %s", ", ".join(path.name for path in changed))
