"""Connections: how many per second are accepted and upgraded, and how much memory does one take that does nothing?

64 handshakes are on the way at a time, each on a new connection; every answer is checked, and the connections stay
open. The rate is that of 5,000 after the first 500, which are the warm-up. Memory is what the server's resident memory
has grown from before the first of all to a second after the last, by all 5,500. Then every one of the 5,000 must echo a
message, which shows that all are there.
"""

from __future__ import annotations

import ctypes
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from _bench import KIB, Sample, Settings, Workload, cpu_seconds, memory, running_server
from _command import parser, positive, run
from _compile import compiled
from _load import ACCEPT, BINARY, Clients, LoadError, Uncompressed, client_frame, server_frame, upgrade_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from _peers import Found

COUNT = 5000
FIRST = 500
PARALLEL = 64
PATIENCE = 30.0
SETTLE = 1.0
"""Seconds after which what a handshake needed has been given back, if it is."""


class OneEcho(Uncompressed):
    """Everybody sends one message and gets it back (`_load.Script`)."""

    greeting = b""

    def __init__(self, clients: int) -> None:
        payload = bytes(range(32))
        self.paths = ["/"] * clients
        self._sent = client_frame(BINARY, payload)
        self._expected = server_frame(BINARY, payload)

    def load(self, library: ctypes.CDLL, fds: list[int]) -> int:
        """See `_load.Script`."""
        load: int = library.load_new(len(fds), 1)
        library.load_expect(load, 0, self._expected, len(self._expected))
        for index, fd in enumerate(fds):
            library.load_client(load, index, fd, self._sent, len(self._sent), 0, 0)
        library.load_rounds(load, len(fds))
        return load


def _open(port: int, count: int) -> tuple[list[socket.socket], float]:
    """So many upgraded sockets, and the seconds it took to open them."""
    function = compiled("_open.c").open_many
    number, text = ctypes.c_int, ctypes.c_char_p
    function.restype = ctypes.c_double
    function.argtypes = [
        *(number, text, text, number, number, ctypes.c_double),
        *(ctypes.POINTER(number), text, ctypes.c_size_t),
    ]
    fds = (number * count)()
    error = ctypes.create_string_buffer(512)
    elapsed: float = function(
        port, upgrade_request(port, "/"), ACCEPT, count, PARALLEL, PATIENCE, fds, error, len(error)
    )
    if elapsed < 0:
        raise LoadError(error.value.decode("utf-8", "replace"))
    return [socket.socket(fileno=fd) for fd in fds], elapsed


@dataclass(frozen=True)
class Connections(Workload):
    """Opening sockets to an echo server is what is measured; the script comes after that."""

    unit: str = "connections/s"

    def columns(self) -> dict[str, Callable[[Sample], float]]:
        """See `Workload`."""
        return {
            "KiB/connection, idle": lambda sample: sample.opened_memory / KIB,
            "after a message": lambda sample: sample.loaded_memory / KIB,
        }

    def measure(self, library: ctypes.CDLL, found: Found, settings: Settings) -> Sample:
        """See `Workload`; the settings' times do not matter here."""
        count = len(self.script.paths)
        with running_server(found, self.arguments, settings) as (pid, port):
            time.sleep(SETTLE)
            alone = memory(pid)
            sockets, _ = _open(port, FIRST)
            try:
                cpu, before = time.process_time(), cpu_seconds(pid, settings)
                measured, elapsed = _open(port, count)
                cpu, after = time.process_time() - cpu, cpu_seconds(pid, settings)
                with Clients(library, port, self.script, opened=measured) as clients:
                    time.sleep(SETTLE)
                    opened = memory(pid)
                    if clients.run(0, PATIENCE).messages != count:
                        raise LoadError("not every connection has echoed its message")
                    time.sleep(SETTLE)
                    loaded = memory(pid)
            finally:
                for connection in sockets:
                    connection.close()
        server, server_core, load_core = (end - begin for begin, end in zip(before, after, strict=True))
        return Sample(
            rate=count / elapsed,
            messages=count,
            elapsed=elapsed,
            server_share=server / elapsed,
            load_share=cpu / elapsed,
            server_core_others=max(0.0, server_core - server) / elapsed,
            load_core_others=max(0.0, load_core - cpu) / elapsed,
            frame_size=0.0,
            opened_memory=(opened - alone) / (FIRST + count),
            loaded_memory=(loaded - alone) / (FIRST + count),
        )


def workload(count: int = COUNT) -> Connections:
    return Connections(f"Connections, {count:,} opened, {PARALLEL} at a time", ("echo",), OneEcho(count))


def main() -> int:
    """Read the command line, measure, and return the exit code."""
    arguments = parser(str(__doc__))
    arguments.add_argument("--count", type=positive, default=COUNT, help="connections (default: %(default)s)")
    options = arguments.parse_args()
    return run(options, [workload(options.count)])


if __name__ == "__main__":
    sys.exit(main())
