"""One benchmark: servers on one core, the load generator on another, measured in alternating rounds.

Every round starts a fresh server per peer, in turn (A B C A B C ...), so that a slow minute of the machine hits all of
them. Called by the benchmarks through `_command.py`; what is sent is theirs (`Script`), the tables are `_report.py`'s.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from _load import Clients, LoadError, Script
from _peers import Found, MissingPeerError, Peer

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Callable, Iterator, Sequence

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
KIB = 1024
START_TIMEOUT = 20.0
# A server that needs longer for a round of the chat than a window lasts is measured in mid-round.
CAP = 1.5
# A share of a core from which on a process counts as always busy, and how much less busy the other one then is if it
# is the one that waits: shares are counted in ticks of 10 ms.
BUSY = 0.9
SLACK = 0.05


@dataclass(frozen=True)
class Settings:
    """How to measure; times in seconds."""

    rounds: int
    seconds: float
    warmup: float
    server_core: int
    load_core: int


@dataclass(frozen=True)
class Workload:
    """One table: what all servers are asked to do."""

    title: str
    arguments: tuple[str, ...]
    """What the servers in `peers/` are started with."""

    script: Script

    compressed: bool = False
    """Whether bytes on the wire and memory are of interest."""

    unit: str = "messages/s"
    """What the rate counts."""

    tls: bool = False
    """Whether the clients speak TLS; that the server does is one of its arguments."""

    def columns(self) -> dict[str, Callable[[Sample], float]]:
        """What else than rates and shares a table of this has."""
        if not self.compressed:
            return {}
        return {
            "bytes/message": lambda sample: sample.frame_size,
            "KiB/connection": lambda sample: sample.loaded_memory / KIB,
        }

    def measure(self, library: ctypes.CDLL, found: Found, settings: Settings) -> Sample:
        """Measure one window of one peer."""
        return _measure(library, found, self, settings)


@dataclass(frozen=True)
class Sample:
    """One window of one peer. The shares are of one core."""

    rate: float
    messages: int
    elapsed: float
    server_share: float
    load_share: float
    server_core_others: float
    load_core_others: float
    """What other processes (or the hypervisor) took of each core; more than a little: repeat."""

    frame_size: float
    """Bytes of a frame received, on average; 0 where only messages are counted."""

    opened_memory: float
    loaded_memory: float
    """Bytes of memory per connection that the server had taken when all were open, and at the end of the window."""

    @property
    def is_valid(self) -> bool:
        """False when the load generator, not the server, was what could not go faster."""
        return self.load_share < BUSY or self.server_share > self.load_share - SLACK


@dataclass
class Result:
    """All windows of one peer, or why there are none."""

    peer: Peer
    version: str = ""
    samples: list[Sample] = field(default_factory=list[Sample])
    missing: str = ""
    failed: str = ""


def _process_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS  # utime, stime


def cpu_seconds(pid: int, settings: Settings) -> tuple[float, float, float]:
    """What the server and both cores have taken so far."""
    return _process_seconds(pid), _busy_seconds(settings.server_core), _busy_seconds(settings.load_core)


def memory(pid: int) -> int:
    """Resident bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * PAGE


def _busy_seconds(core: int) -> float:
    """Time the core was not idle, stolen time included, since the machine started."""
    for line in Path("/proc/stat").read_text("ascii").splitlines():
        name, *values = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, values[:8])
            return (user + nice + system + irq + softirq + steal) / TICKS
    raise LoadError(f"no core {core} in /proc/stat")


@contextmanager
def running_server(found: Found, arguments: tuple[str, ...], settings: Settings) -> Iterator[tuple[int, int]]:
    """A running server: its process id and port. If the block fails, what it wrote to stderr is shown."""
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        os.sched_setaffinity(0, {settings.server_core})  # for the server to inherit
        process = subprocess.Popen(
            [*found.command, *arguments, *found.options],
            env=os.environ | found.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        os.sched_setaffinity(0, {settings.load_core})
        try:
            yield process.pid, _port(process)
        except (LoadError, OSError) as error:
            _stop(process)
            errors.seek(0)
            print(errors.read(), file=sys.stderr)
            raise LoadError(str(error)) from error
        finally:
            _stop(process)


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], START_TIMEOUT)[0]:
        raise LoadError(f"the server has not printed its port within {START_TIMEOUT:g} s")
    line = process.stdout.readline()
    if not line.strip().isdigit():
        raise LoadError(f"the server printed {line!r} instead of its port")
    return int(line)


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _measure(library: ctypes.CDLL, found: Found, workload: Workload, settings: Settings) -> Sample:
    with ExitStack() as stack:
        pid, port = stack.enter_context(running_server(found, workload.arguments, settings))
        alone = memory(pid)
        clients = stack.enter_context(Clients(library, port, workload.script, tls=workload.tls))
        opened = memory(pid)
        clients.run(settings.warmup, settings.warmup * CAP)
        before = cpu_seconds(pid, settings)
        window = clients.run(settings.seconds, settings.seconds * CAP)
        after = cpu_seconds(pid, settings)
        loaded = memory(pid)
    if not window.messages:
        raise LoadError(f"no message in {window.elapsed:.1f} s")
    count = len(workload.script.paths)
    server, server_core, load_core = (end - begin for begin, end in zip(before, after, strict=True))
    return Sample(
        rate=window.messages / window.elapsed,
        messages=window.messages,
        elapsed=window.elapsed,
        server_share=server / window.elapsed,
        load_share=window.cpu / window.elapsed,
        server_core_others=max(0.0, server_core - server) / window.elapsed,
        load_core_others=max(0.0, load_core - window.cpu) / window.elapsed,
        frame_size=window.wire / window.messages,
        opened_memory=(opened - alone) / count,
        loaded_memory=(loaded - alone) / count,
    )


def compare(library: ctypes.CDLL, workload: Workload, peers: Sequence[Peer], settings: Settings) -> list[Result]:
    """Run `workload` against all peers. A peer that is missing or fails is in the results with the reason."""
    results = [Result(peer) for peer in peers]
    ready: list[tuple[Result, Found]] = []
    for result in results:
        try:
            found = result.peer.find()
        except MissingPeerError as reason:
            result.missing = str(reason)
        else:
            result.version = found.version
            ready.append((result, found))
    for number in range(1, settings.rounds + 1):
        for result, found in ready:
            if result.failed:
                continue
            print(f"{workload.title}: round {number}/{settings.rounds}: {result.peer.name}: ", end="", file=sys.stderr)
            try:
                sample = workload.measure(library, found, settings)
            except LoadError as error:
                result.failed = str(error)
                print(f"FAILED: {error}", file=sys.stderr)
            else:
                result.samples.append(sample)
                print(f"{sample.rate:,.0f}/s", file=sys.stderr)
    return results
