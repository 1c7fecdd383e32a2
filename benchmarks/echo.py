"""Echo: every client keeps a number of messages on the way, and sends the next one when one has come back.

With one in flight this measures what a wake-up and a read and a write cost, with 32 in flight what a message costs.
Messages are binary unless `--text`, so that nobody's way of decoding text is what is measured; their bytes are random
(letters with `--text`), and every byte that comes back is compared. What is counted are messages that came back.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from _bench import Workload
from _command import parser, positive, run
from _load import BINARY, TEXT, Uncompressed, client_frame, server_frame

if TYPE_CHECKING:
    import ctypes

# At most so many bytes of different messages, over and over: they should stay in the processor's cache.
VARIETY = 1 << 20


class Echo(Uncompressed):
    """Clients that each wait for their own messages (`_load.Script`)."""

    def __init__(self, clients: int, size: int, in_flight: int, *, text: bool) -> None:
        first = TEXT if text else BINARY
        count = max(2 * in_flight, min(256, VARIETY // size))
        payloads = [os.urandom(size) for _ in range(count)]
        if text:
            payloads = [bytes(b"abcdefghijklmnop"[byte % 16] for byte in payload) for payload in payloads]
        self.paths = ["/"] * clients
        self.greeting = b""
        self._in_flight = in_flight
        self._count = count
        self._sent = b"".join(client_frame(first, payload) for payload in payloads)
        self._expected = b"".join(server_frame(first, payload) for payload in payloads)

    def load(self, library: ctypes.CDLL, fds: list[int]) -> int:
        """See `_load.Script`."""
        load: int = library.load_new(len(fds), 1)
        frame_out, frame_in = len(self._sent) // self._count, len(self._expected) // self._count
        library.load_expect(load, 0, self._expected, len(self._expected))
        for index, fd in enumerate(fds):
            start = index * 7 % self._count  # everybody elsewhere, so that a mix-up of clients is seen
            library.load_client(load, index, fd, self._sent, len(self._sent), start * frame_out, start * frame_in)
        library.load_echo(load, frame_out, frame_in, self._in_flight)
        return load


def workload(clients: int, size: int, in_flight: int, *, text: bool = False) -> Workload:
    kind = "text" if text else "binary"
    return Workload(
        f"Echo, {clients} clients, {size:,} bytes ({kind}), {in_flight} in flight",
        ("echo",),
        Echo(clients, size, in_flight, text=text),
    )


def main() -> int:
    """Read the command line, measure, and return the exit code."""
    arguments = parser(str(__doc__))
    arguments.add_argument("--clients", type=positive, default=16, help="connections (default: %(default)s)")
    arguments.add_argument("--size", type=positive, default=32, help="bytes of a message (default: %(default)s)")
    arguments.add_argument(
        "--in-flight", type=positive, nargs="+", default=[1, 32], help="messages on the way per client (default: 1 32)"
    )
    arguments.add_argument("--text", action="store_true", help="text messages instead of binary ones")
    options = arguments.parse_args()
    return run(
        options,
        [workload(options.clients, options.size, number, text=options.text) for number in options.in_flight],
    )


if __name__ == "__main__":
    sys.exit(main())
