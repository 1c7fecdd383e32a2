"""The chat of Bun's documentation: how many messages per second do all members of a busy room receive together?

Bun publishes it as bench/websocket-server in its repository, and this does what that does: every client has a name
and is subscribed to one room; whatever it sends, the server publishes to the room as `name: message`, to the sender as
well. A client sends 1,600 short strings (3 to 28 characters, 12 on average, as in Bun's list) as fast as the socket
takes them; all clients do so at once; when everybody has received everything, the next round begins. With 16 clients a
round is 16 x 1,600 messages in and 16 x 16 x 1,600 = 409,600 out. What is counted are messages received.

Where this differs from Bun's client: the next round begins at once, not at the next tick of a 64 ms timer, which would
hide differences between fast servers; and every byte received is compared with what it must be.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from _bench import Workload
from _command import parser, positive, run
from _load import TEXT, Uncompressed, client_frame, server_frame
from _tls import certificate

if TYPE_CHECKING:
    import ctypes

BURST = 1600
TLS_PEERS = ("trio_bunws", "bun")
# Fifty strings, repeated: lengths and order of lengths are those of Bun's client.
SHORT = ("owl", "aardvark", "walrus", "donkey", "hen", "koala", "budgerigar", "woodpecker")
TITLE, QUESTION, PLACE = "Good day to you", "Who has seen my other shoe?!", "when is the next tram?"
NUMBERED = tuple(f"Good day to {number}." for number in range(1, 10))
PHRASES = (
    *(TITLE[:12], *NUMBERED, QUESTION, PLACE, *SHORT),
    *(*NUMBERED[6:], QUESTION, PLACE, *SHORT),
    *(*NUMBERED[6:], QUESTION, *NUMBERED[6:], QUESTION, PLACE, *SHORT),
)
NAMES = ("Ada", "Boris", "Carla", "Dimitri", "Esther", "Felix", "Greta", "Hassan", "Ines", "Jonas", "Kim", "Lea")


class Chat(Uncompressed):
    """A room full of clients that all talk at once (`_load.Script`)."""

    def __init__(self, clients: int, burst: int) -> None:
        names = [f"{NAMES[i % len(NAMES)]}{i // len(NAMES)}" for i in range(clients)]
        messages = [PHRASES[i % len(PHRASES)] for i in range(burst)]
        self.paths = [f"/?name={name}" for name in names]
        self.greeting = server_frame(TEXT, b"ready")
        self._messages_per_round = clients * clients * burst
        self._sent = [b"".join(client_frame(TEXT, text.encode()) for text in messages) for _ in names]
        self._expected = [
            b"".join(server_frame(TEXT, f"{name}: {text}".encode()) for text in messages) for name in names
        ]

    def load(self, library: ctypes.CDLL, fds: list[int]) -> int:
        """See `_load.Script`."""
        load: int = library.load_new(len(fds), len(fds))
        for index, (fd, sent, expected) in enumerate(zip(fds, self._sent, self._expected, strict=True)):
            library.load_client(load, index, fd, sent, len(sent), 0, 0)
            library.load_expect(load, index, expected, len(expected))
        library.load_rounds(load, self._messages_per_round)
        return load


def workload(clients: int, burst: int, pem: str = "") -> Workload:
    """With the path of a PEM file: over TLS."""
    return Workload(
        f"Chat, {clients} clients, bursts of {burst:,}" + (", TLS" if pem else ""),
        ("chat", str(clients), *(("--tls", pem) if pem else ())),
        Chat(clients, burst),
        tls=bool(pem),
    )


def main() -> int:
    """Read the command line, measure, and return the exit code."""
    arguments = parser(str(__doc__))
    arguments.add_argument(
        "--clients", type=positive, nargs="+", default=[16, 32], help="members of the room (default: 16 32)"
    )
    arguments.add_argument(
        "--burst", type=positive, default=BURST, help="messages per client and round (default: %(default)s)"
    )
    arguments.add_argument("--tls", action="store_true", help=f"over TLS; only {' and '.join(TLS_PEERS)} are compared")
    options = arguments.parse_args()
    if not options.tls:
        return run(options, [workload(clients, options.burst) for clients in options.clients])
    options.peers = [peer for peer in options.peers if peer.name in TLS_PEERS]
    try:
        with certificate() as pem:
            return run(options, [workload(clients, options.burst, pem) for clients in options.clients])
    except FileNotFoundError as reason:
        sys.exit(str(reason))


if __name__ == "__main__":
    sys.exit(main())
