"""`trio-bunws serve` within the process: on a real port, with real signals, and an application that changes."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from patience import PATIENCE
from terminals import pipes

from trio_bunws import BrokerError, Request, Server, ServerWebSocket, WebSocket, WebSocketHandler
from trio_bunws._cli import serve_command, source_watch
from trio_bunws._cli.application import Application, load
from trio_bunws._cli.arguments import Parser, UsageError
from trio_bunws._cli.inheritance import Inheritance
from trio_bunws._cli.place import Place
from trio_bunws._cli.serve_command import Serving
from trio_bunws._cli.source_watch import SourceWatch
from trio_bunws._listeners import Address
from trio_bunws.brokers import InProcessBroker

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncGenerator, Iterator

    from trio_bunws.brokers import BrokerLink

ENDING = (signal.SIGINT, signal.SIGTERM)
ANYWHERE = Place(port=0, tls=None)
SOURCE = """
from trio_bunws import WebSocketHandler
handler = WebSocketHandler(message=lambda ws, message: ws.send("{}"))
"""
importing = threading.Event()
go_on = threading.Event()


def arguments(*given: str) -> argparse.Namespace:
    parser = Parser()
    serve_command.add_arguments(parser)
    return parser.parse_args(["app", *given])


class Log(logging.Handler):
    """What the command logs, as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self._send, self._receive = trio.open_memory_channel[tuple[str, str]](100)

    def emit(self, record: logging.LogRecord) -> None:
        self._send.send_nowait((record.levelname, record.getMessage()))

    async def next(self) -> tuple[str, str]:
        """Wait for the next line; return its level, and what it says."""
        with trio.fail_after(PATIENCE):
            return await self._receive.receive()


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the current folder, in which the application `app` is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(source_watch, "PERIOD", 0.001)
    (tmp_path / "app.py").write_text(SOURCE.format("old"))
    before = set(sys.modules)
    yield tmp_path
    serve_command.logger.setLevel(logging.NOTSET)  # as it was before the command
    for name in set(sys.modules) - before:
        del sys.modules[name]


@asynccontextmanager
async def running(
    application: Application, reference: str = "app:handler", folder: Path | None = None
) -> AsyncGenerator[str]:
    """Run the command for the block, and then until it has ended; yield its WebSocket URL."""
    send, receive = trio.open_memory_channel[str](1)
    watch = None if folder is None else SourceWatch(folder)
    serving = Serving(reference, folder or Path(), watch, send.send_nowait)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serving.run, application, ANYWHERE)
            line = await receive.receive()
            assert line.startswith("Listening on http://127.0.0.1:")
            yield line.removeprefix("Listening on ").replace("http://", "ws://")


def handling(handler: WebSocketHandler[Any]) -> Application:
    return Application(None, handler, None)


@pytest.mark.parametrize("number", ENDING)
async def test_a_signal_closes_in_good_order(number: signal.Signals) -> None:
    async with running(handling(WebSocketHandler())) as url, WebSocket(url) as ws:
        signal.raise_signal(number)
        assert (await ws.closed()).received == (1001, "Server closed")


async def test_the_second_signal_does_not_wait_for_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, let_go = trio.Event(), trio.Event()
    died: list[int] = []

    async def hang(_ws: ServerWebSocket, _message: str | bytes) -> None:
        begun.set()
        await let_go.wait()

    def die(number: int) -> None:
        died.append(number)
        let_go.set()  # which otherwise would take ten seconds

    monkeypatch.setattr(serve_command, "die_by", die)
    async with running(handling(WebSocketHandler(message=hang))) as url, WebSocket(url) as ws:
        ws.send("x")
        await begun.wait()
        signal.raise_signal(signal.SIGTERM)
        assert (await ws.closed()).received == (1001, "Server closed")
        assert died == []
        signal.raise_signal(signal.SIGINT)
        await let_go.wait()
    assert died == [signal.SIGINT]


def test_to_die_by_a_signal_is_the_default_action(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[object, ...]] = []
    monkeypatch.setattr(signal, "signal", lambda *given: done.append(given))
    monkeypatch.setattr(signal, "raise_signal", lambda number: done.append((number,)))
    monkeypatch.setattr(os, "_exit", lambda code: done.append((code,)))  # for the first process of a container
    serve_command.die_by(signal.SIGTERM)
    assert done == [(signal.SIGTERM, signal.SIG_DFL), (signal.SIGTERM,), (143,)]


async def test_an_application_may_end_it() -> None:
    stop: list[Any] = []

    def fetch(request: Request, server: Server) -> None:
        stop.append(server.stop)
        server.upgrade(request)

    async with running(Application(fetch, WebSocketHandler(), None)) as url, WebSocket(url) as ws:
        stop[0](True)
        assert (await ws.closed()).code == 1001


async def test_a_signal_before_it_listens_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve_for_ever(*_arguments: object, **_options: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        await trio.sleep_forever()

    monkeypatch.setattr(serve_command, "serve", resolve_for_ever)
    with trio.fail_after(PATIENCE):
        await Serving("app", Path(), None).run(handling(WebSocketHandler()), ANYWHERE)


async def test_a_change_reaches_open_sockets_and_a_mistake_leaves_all_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = Log()
    monkeypatch.setattr(serve_command.logger, "handlers", [log])
    caplog.set_level(logging.INFO, serve_command.logger.name)
    sys.path.insert(0, str(folder))
    reloaded = ("INFO", "reloaded: app.py")
    mistake = "not reloaded: cannot import app: SyntaxError: invalid syntax (app.py, line 1)"
    async with running(load("app:handler"), folder=folder) as url, WebSocket(url) as ws:
        for text, said, answer in (
            (SOURCE.format("newer"), reloaded, "newer"),
            ("def (", ("ERROR", mistake), "newer"),
            (SOURCE.format("newest"), reloaded, "newest"),
            ("def handler(request, server):\n    pass\n", reloaded, "newest"),
        ):
            (folder / "app.py").write_text(text)
            assert await log.next() == said
            ws.send("?")
            assert await ws.receive() == answer
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("number", ENDING)
async def test_a_signal_in_the_middle_of_a_reload_ends_it_in_good_order(folder: Path, number: signal.Signals) -> None:
    sys.path.insert(0, str(folder))
    importing.clear()
    go_on.clear()
    try:
        # A module of its own: the thread that is left behind finishes its import whenever it likes.
        source = folder / f"ended_by_{number}.py"
        source.write_text(SOURCE.format("first"))
        reference = f"{source.stem}:handler"
        async with running(load(reference), reference, folder) as url, WebSocket(url) as ws:
            own = "import test_serve_command as test\ntest.importing.set()\ntest.go_on.wait()\n"
            source.write_text(own + SOURCE.format("never"))
            assert await trio.to_thread.run_sync(importing.wait, PATIENCE)
            signal.raise_signal(number)
            assert (await ws.closed()).received == (1001, "Server closed")
    finally:
        go_on.set()


def test_what_it_says_nobody_has_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with pipes(1) as (pipe,), os.fdopen(pipe.writer, "w", closefd=False) as out:
        monkeypatch.setattr(sys, "stdout", out)
        serve_command.say("one")
        assert pipe.get() == "one\n"
        pipe.leave()
        serve_command.say("two")
        monkeypatch.undo()
        with pytest.raises(BrokenPipeError):
            out.close()


# The command


@pytest.fixture(name="served")
def _served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Return what `serve` is called with by the command; it ends at once."""
    calls: list[tuple[object, ...]] = []

    async def serve(*given: object, **options: object) -> None:
        await trio.lowlevel.checkpoint()
        options.pop("task_status")
        calls.append((*given, options))

    monkeypatch.setattr(serve_command, "serve", serve)
    return calls


@pytest.mark.usefixtures("folder")
def test_the_command_serves_what_is_in_the_current_folder(
    served: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    given = arguments("--port", "8080")
    given.application = "app:handler"
    assert serve_command.run(given) == 0
    ((fetch, handler, options),) = served
    assert (fetch, options) == (None, {"error": None, "tls": None, "broker": None, "port": 8080})
    assert isinstance(handler, WebSocketHandler)
    assert not sys.dont_write_bytecode


@pytest.mark.usefixtures("folder", "served")
def test_what_follows_a_change_is_shown_though_it_is_no_warning() -> None:
    assert not serve_command.logger.isEnabledFor(logging.INFO)
    given = arguments()
    given.application = "app:handler"
    assert serve_command.run(given) == 0
    assert serve_command.logger.isEnabledFor(logging.INFO)
    assert not logging.getLogger("trio_bunws").isEnabledFor(logging.INFO)


@pytest.mark.usefixtures("folder", "served")
def test_while_it_reloads_no_stale_bytecode_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    given = arguments("--reload")
    given.application = "app:handler"
    assert serve_command.run(given) == 0
    assert sys.dont_write_bytecode


@pytest.mark.usefixtures("folder")
def test_an_address_that_is_taken_is_wrong_usage() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        given = arguments("--port", str(taken.getsockname()[1]))
        given.application = "app:handler"
        with pytest.raises(UsageError, match=r"^cannot listen on .*: [Aa]ddress already in use"):
            serve_command.run(given)


# Workers


@pytest.fixture(name="supervised")
def _supervised(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Return what is supervised by the command."""
    calls: list[tuple[object, ...]] = []

    def supervise(count: int, place: Place, hang_timeout: float, **_options: object) -> int:
        calls.append((count, place, hang_timeout))
        return 5

    monkeypatch.setattr(serve_command, "supervise", supervise)
    return calls


@pytest.mark.usefixtures("folder")
def test_workers_are_supervised_and_nothing_is_imported_above_them(supervised: list[tuple[object, ...]]) -> None:
    given = arguments("--workers", "1", "--port", "8080", "--hang-timeout", "5")
    given.application = "not:imported"
    assert serve_command.run(given) == 5
    assert supervised == [(1, {"tls": None, "port": 8080}, 5)]


class NoBroker(InProcessBroker):
    """A broker that wants nobody."""

    async def run(self, link: BrokerLink, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        del link, task_status
        await trio.lowlevel.checkpoint()
        raise BrokerError("wrong password")


@pytest.mark.usefixtures("folder")
def test_with_a_broker_there_may_be_several(supervised: list[tuple[object, ...]]) -> None:
    assert serve_command.run(arguments("--workers", "4", "--broker", "redis://127.0.0.1")) == 5
    assert supervised == [(4, {"tls": None}, 60)]


@pytest.mark.usefixtures("folder")
def test_a_broker_that_refuses_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_command, "make_broker", lambda _: NoBroker())
    given = arguments("--port", "0", "--broker", "redis://x")
    given.application = "app:handler"
    with pytest.raises(UsageError, match=r"^the broker refuses this server: wrong password$"):
        serve_command.run(given)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            ["--workers", "2"],
            (
                "--workers 2 needs a broker, or publish would reach the sockets of one worker only: "
                "add --broker redis://..., or set TRIO_BUNWS_BROKER"
            ),
        ),
        (
            ["--workers", "2", "--broker", "kafka://there"],
            (
                "--broker, or TRIO_BUNWS_BROKER, expects "
                "redis://HOST:PORT, rediss://HOST:PORT (TLS) or unix:///PATH of a Redis"
            ),
        ),
        (
            ["--workers", "1", "--reload"],
            "--reload is for a single process: leave --workers out, or send SIGHUP to replace the workers",
        ),
    ],
)
def test_what_workers_cannot_do_is_told_with_what_to_do(
    supervised: list[tuple[object, ...]], given: list[str], words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        serve_command.run(arguments(*given))
    assert str(caught.value) == words
    assert not supervised


@pytest.mark.usefixtures("folder")
def test_who_inherits_is_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[object, ...]] = []

    def run_worker(*given: object) -> int:
        ran.append(given)
        return 0

    monkeypatch.setattr(serve_command, "run_worker", run_worker)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        inheritance = Inheritance(1, theirs.fileno(), 6, (), Address("http://x/", "x", 80))
        for name, value in inheritance.tell().items():
            monkeypatch.setenv(name, value)
        assert serve_command.run(arguments("--workers", "2")) == 0
    assert ran == [("app", {"tls": None, "broker": None}, inheritance)]
