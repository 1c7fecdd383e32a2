"""`trio-bunws serve --workers` as it is run: a supervisor and its workers, signals to them, and clients all the while.

Each fact is tested within the process too, file by file; here it is the whole, with the kernel's sockets and deaths.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
import trio
from commands import Process, at_terminal, started
from patience import PATIENCE

from trio_bunws import ConnectionClosed, HandshakeError, WebSocket

APPLICATION = """
import os, signal, time, trio
from trio_bunws import WebSocketHandler

async def message(ws, message):
    if message == "die":
        os._exit(3)
    if message == "block":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # or it would take 25 seconds until it is killed
        while True:
            time.sleep(1)
    if message == "hang":
        print("hanging")
        await trio.sleep_forever()
    ws.send(str(os.getpid()))

handler = WebSocketHandler(message=message)
"""


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APPLICATION)
    return tmp_path


AWAY = "redis://127.0.0.1:1"  # which keeps nobody from serving
SERVE = ("serve", "app:handler", "--port", "0", "--workers", "1")


async def where(process: Process) -> str:
    """Wait until it serves; return its WebSocket URL."""
    return "ws" + await process.line(r"Listening on http(://127\.0\.0\.1:\d+/) \(\d workers?\)")


def connected(url: str) -> WebSocket:
    """Make a client that waits for the next worker, however slow the machine is."""
    return WebSocket(url, open_timeout=PATIENCE)


async def pid_of(ws: WebSocket) -> int:
    ws.send("who?")
    return int(await ws.receive())


async def worker(url: str) -> int:
    """Connect; return the process that answers."""
    async with connected(url) as ws:
        return await pid_of(ws)


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with trio.fail_after(PATIENCE):
            await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)


def is_alive(pid: int) -> bool:
    """Tell that there is such a process, if only as a zombie."""
    return Path(f"/proc/{pid}").exists()


class Crowd:
    """Clients that connect without pause, each of which must be answered."""

    def __init__(self, url: str) -> None:
        self.answered: list[int] = []
        self.refused: list[str] = []
        self._url = url

    async def run(self) -> None:
        while True:
            try:
                self.answered.append(await worker(self._url))
                await trio.sleep(0.01)  # leave some of the machine to who is replaced
            except ConnectionClosed as exc:
                # Closed in good order by the old worker, after it was open: a client then connects again.
                if exc.received != (1001, "Server closed"):
                    self.refused.append(repr(exc))
            except (OSError, HandshakeError) as exc:
                self.refused.append(repr(exc))


async def workers(url: str) -> set[int]:
    """Connect until two different processes have answered."""
    found: set[int] = set()
    while len(found) < 2:
        found.add(await worker(url))
    return found


async def test_nobody_is_refused_while_two_workers_are_replaced(folder: Path) -> None:
    async with started(folder, *SERVE[:-1], "2", "--broker", AWAY) as process:
        url = await where(process)
        old = await workers(url)
        crowd = Crowd(url)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crowd.run)
            process.signal(signal.SIGHUP)
            await process.line("all workers have been replaced")
            nursery.cancel_scope.cancel()
        assert crowd.refused == []
        assert not any(map(is_alive, old))
        new = await workers(url)
        assert not new & old
        assert {*crowd.answered} <= new | old
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
        assert not any(map(is_alive, new))


async def test_a_crash_and_an_application_that_cannot_be_imported_any_more_are_survived(folder: Path) -> None:
    async with started(folder, *SERVE) as process:
        url = await where(process)
        async with connected(url) as ws:
            first = await pid_of(ws)
            ws.send("die")
            await process.line(rf"worker 1 \(process {first}\) ended with exit code 3; the next starts")
            assert (await ws.closed()).code == 1006
        second = await worker(url)  # which has found us waiting in the queue of the port
        assert second != first

        (folder / "app.py").write_text("def (")
        process.signal(signal.SIGHUP)
        await process.line("worker 1 could not be replaced; it goes on")
        async with connected(url) as ws:
            assert await pid_of(ws) == second
            process.signal(signal.SIGTERM)
            assert (await ws.closed()).received == (1001, "Server closed")
        assert await process.ended() == 0
        assert not is_alive(second)
        with pytest.raises(OSError, match="failed"):
            await worker(url)


async def test_a_worker_whose_event_loop_stands_still_is_replaced(folder: Path) -> None:
    async with started(folder, *SERVE, "--hang-timeout", "3") as process:
        url = await where(process)
        async with connected(url) as ws:
            first = await pid_of(ws)
            ws.send("block")
            await process.line(rf"worker 1 \(process {first}\) hangs: its event loop stood still for 3 s")
            await process.line(rf"worker 1 \(process {first}\) died of SIGTERM; the next starts")
        assert await worker(url) != first


async def test_workers_do_not_outlive_a_supervisor_that_is_killed(folder: Path) -> None:
    async with started(folder, *SERVE) as process:
        url = await where(process)
        async with connected(url) as ws:
            pid = await pid_of(ws)
            process.signal(signal.SIGKILL)
            assert (await ws.closed()).received == (1001, "Server closed")
        await gone(pid)


async def test_a_second_signal_kills_workers_that_hang(folder: Path) -> None:
    async with started(folder, *SERVE) as process:
        async with connected(await where(process)) as ws:
            pid = await pid_of(ws)
            ws.send("hang")
            await process.line("hanging")
            process.signal(signal.SIGTERM)
            await ws.closed()
        assert is_alive(pid)
        process.signal(signal.SIGTERM)
        assert await process.ended() == -signal.SIGTERM
        await gone(pid)


async def test_what_cannot_be_imported_is_told_once_and_not_tried_again(folder: Path) -> None:
    (folder / "app.py").write_text("import nothing_of_the_kind")
    async with started(folder, *SERVE) as process:
        assert await process.ended() == 2
        output = await process.rest()
    assert re.fullmatch(
        r"trio-bunws serve: error: cannot import app: .*No module named 'nothing_of_the_kind'\n", output
    )


async def test_all_workers_listen_on_one_unix_socket(folder: Path) -> None:
    path = folder / "socket"
    async with started(folder, "serve", "app:handler", "--workers", "1", "--unix", str(path)) as process:
        await process.line(re.escape(f"Listening on unix://{path} (1 worker)"))
        async with connected(f"ws+unix://{path}:/") as ws:
            await pid_of(ws)
            process.signal(signal.SIGTERM)
            assert (await ws.closed()).code == 1001
        assert await process.ended() == 0
    assert not path.exists()


async def test_ctrl_c_ends_all_in_good_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with at_terminal(*SERVE) as person:
        shown = await person.until("(1 worker)\n")
        (url,) = re.findall(r"http(://127\.0\.0\.1:\d+/)", shown)
        async with connected("ws" + url) as ws:
            pid = await pid_of(ws)
            person.type("\x03")
            assert (await ws.closed()).received == (1001, "Server closed")
        assert await person.code() == 0
        assert not is_alive(pid)
