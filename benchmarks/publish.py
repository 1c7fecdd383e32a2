"""One publisher and many subscribers: how fast does a message reach all of them?

Everybody is in the room of the chat's servers, and the first client alone talks. It sends a burst (one message, or
eight); when everybody has received it, it sends the next one. Received messages have 32 bytes. What is counted are
messages received; so with bursts of one the time until the last has it is the subscribers divided by the rate.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from _bench import Workload
from _command import parser, positive, run
from _load import TEXT, Uncompressed, client_frame, server_frame

if TYPE_CHECKING:
    import ctypes

NAME = "Ada0"
PREFIX = f"{NAME}: ".encode()
SIZE = 32


class Publisher(Uncompressed):
    """A room in which one client talks (`_load.Script`)."""

    def __init__(self, subscribers: int, burst: int) -> None:
        texts = [f"message {number} of the burst ".ljust(SIZE - len(PREFIX), ".").encode() for number in range(burst)]
        self.paths = [f"/?name={NAME}", *["/?name=Bob"] * (subscribers - 1)]
        self.greeting = server_frame(TEXT, b"ready")
        self._messages_per_round = subscribers * burst
        self._sent = b"".join(client_frame(TEXT, text) for text in texts)
        self._expected = b"".join(server_frame(TEXT, PREFIX + text) for text in texts)

    def load(self, library: ctypes.CDLL, fds: list[int]) -> int:
        """See `_load.Script`."""
        load: int = library.load_new(len(fds), 1)
        library.load_expect(load, 0, self._expected, len(self._expected))
        for index, fd in enumerate(fds):
            sent = b"" if index else self._sent
            library.load_client(load, index, fd, sent, len(sent), 0, 0)
        library.load_rounds(load, self._messages_per_round)
        return load


def workload(subscribers: int, burst: int) -> Workload:
    return Workload(
        f"One publisher, {subscribers:,} subscribers, bursts of {burst}",
        ("chat", str(subscribers)),
        Publisher(subscribers, burst),
    )


def main() -> int:
    """Read the command line, measure, and return the exit code."""
    arguments = parser(str(__doc__))
    arguments.add_argument(
        "--clients", type=positive, nargs="+", default=[1000], help="subscribers (default: 1000); the publisher is one"
    )
    arguments.add_argument("--burst", type=positive, nargs="+", default=[1, 8], help="messages (default: 1 8)")
    options = arguments.parse_args()
    return run(options, [workload(clients, burst) for clients in options.clients for burst in options.burst])


if __name__ == "__main__":
    sys.exit(main())
