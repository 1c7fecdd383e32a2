"""A busy room with compression: how many messages per second do its members receive, and in how many bytes?

Every member offers permessage-deflate as a browser does. Ten of them talk, the others listen; what is said is a JSON
object of a bit more than 1 KiB, different each time, and the server publishes it as it came to all members, compressed.
Each speaker sends its share of a round at once; when everybody has received everything, the next round begins.

`shared` is without context takeover, where a server may compress a message once for everybody (Bun's default and
ours); `dedicated` is with it (the default of ws), where every member has a compressor of its own.

Every frame must be compressed. Without takeover each is compared with a frame that has been inflated and found right.
With takeover every fiftieth member inflates all that it gets, and the frames of the others are counted.
"""

from __future__ import annotations

import ctypes
import json
import random
import sys
import zlib
from itertools import accumulate, chain
from typing import Any

from _bench import Workload
from _command import parser, positive, run
from _load import RECOGNIZE, RSV1, TEXT, client_frame, server_frame

SPEAKERS = 10
MESSAGES = 100
"""What each of them has to say, before it starts over: in all 1 MiB, so that no window of 32 KiB has seen it before."""
RECEIVED = 10_000
"""Messages received in a round, by all members together."""
SMALLEST = 1024
"""Bytes of a message at least: the size from which ws compresses without context takeover."""
INFLATE_EVERY = 50
TAIL = b"\x00\x00\xff\xff"
SETTINGS = ("shared", "dedicated")
PEERS = ("trio_bunws", "bun", "ws")
VOCABULARY = (
    "about above after again against all already also although always and another any anyone around asked away back "
    "because been before began behind being below better between big both branch bring broken bug build called came "
    "can careful change check clear close code coffee come could customer deploy did different does done down draft "
    "during each early else end engineer enough even evening every example expected fact far feature few figures "
    "file find first fix follow for found from full further gave get give going good great group had half hand "
    "happened has have head hear help her here high him his hold hour how idea important in inside instead into "
    "issue it its just keep kind knew know large last late later least left less let like line list little long "
    "look lost made mail make many matter maybe me mean meeting might minute moment monday month more morning most "
    "much must my name near need never new next night no not nothing now number of off often old on once one only "
    "open or order other our out over own page part people perhaps place plan point possible problem pull question "
    "quite rather read ready really release request result review right room run said same saw say screen second "
    "see seems send sent server set several she should show side since slow small so some something soon start "
    "still stop such sure take talk team tell test than that the their them then there these they thing think this "
    "those though three through thursday time to today together told tomorrow too took tried true try turn two "
    "under understand until up upon us use used user version very wait want was way we week weekend well went were "
    "what when where whether which while who whole why will window with within without word work worked would write "
    "wrong year yes yesterday yet you your"
)
WORDS = VOCABULARY.split()
NAMES = ("Ada Lovelace", "Boris Petrov", "Carla Núñez", "Dimitri Ioannou", "Esther Adeyemi", "Felix Baumgärtner")


def _chat_message(rng: random.Random, speaker: int, number: int) -> bytes:
    """What a chat's page might send: the envelope is much the same each time, the text is not."""
    name = NAMES[speaker % len(NAMES)]
    message: dict[str, Any] = {
        "type": "message",
        "id": f"{rng.getrandbits(128):032x}",
        "room": "general",
        "sequence": number,
        "sent_at": f"2026-11-21T09:{number % 60:02}:{rng.randrange(60):02}.{rng.randrange(1000):03}Z",
        "author": {
            "id": 48_000 + speaker,
            "name": name,
            "avatar": f"https://cdn.example.com/avatars/{rng.getrandbits(64):016x}.webp",
            "roles": ["member", "moderator"] if speaker % 3 == 0 else ["member"],
        },
        "reply_to": f"{rng.getrandbits(128):032x}" if rng.random() < 1 / 3 else None,
        "mentions": [{"id": 48_000 + other, "name": NAMES[other % len(NAMES)]} for other in rng.sample(range(10), 2)],
        "reactions": [],
        "text": rng.choice(WORDS).capitalize(),
    }
    size = SMALLEST + rng.randrange(128)
    while len(encoded := json.dumps(message, ensure_ascii=False).encode()) < size:
        message["text"] += rng.choice([" "] * 8 + [", ", ". "]) + rng.choice(WORDS)
    return encoded


def _compressed(message: bytes) -> bytes:
    """One message by itself, which fits whatever was agreed on."""
    compressor = zlib.compressobj(wbits=-9)
    return (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


class FanOut:
    """A room in which a few talk and all listen (`_load.Script`)."""

    offer = "permessage-deflate; client_max_window_bits"

    def __init__(self, clients: int, speakers: int, setting: str) -> None:
        self._share = max(1, min(MESSAGES, RECEIVED // (clients * speakers)))
        self._rounds = MESSAGES // self._share
        count = self._rounds * self._share
        rng = random.Random(2026)  # noqa: S311  # the same for all servers and in every run
        said = [[_chat_message(rng, speaker, number) for number in range(count)] for speaker in range(speakers)]
        self._numbers = {message: number for number, message in enumerate(chain.from_iterable(said))}
        assert len(self._numbers) == speakers * count
        self.size = sum(map(len, self._numbers)) / len(self._numbers)
        frames = [[client_frame(RSV1 | TEXT, _compressed(message)) for message in messages] for messages in said]
        self._sent = [b"".join(of_one) for of_one in frames]
        self._ends: list[ctypes.Array[ctypes.c_uint64]] = []
        for of_one in frames:
            ends = list(accumulate(map(len, of_one)))[self._share - 1 :: self._share]
            self._ends.append((ctypes.c_uint64 * self._rounds)(*ends))
        self._takeover = setting == "dedicated"
        self._inflaters: dict[int, Any] = {}
        self._recognize = RECOGNIZE(self._recognized)  # kept as long as the load may call it
        self.paths = ["/"] * clients
        self.greeting = server_frame(TEXT, b"ready")

    def accepts(self, answer: str) -> bool:
        """See `_load.Script`."""
        name, *parameters = [part.strip() for part in answer.split(";")]
        return name == "permessage-deflate" and ("server_no_context_takeover" in parameters) != self._takeover

    def load(self, library: ctypes.CDLL, fds: list[int]) -> int:
        """See `_load.Script`."""
        self._inflaters.clear()
        load: int = library.load_new(len(fds), len(self._sent))
        library.load_fanout(load, self._share, self._rounds, INFLATE_EVERY if self._takeover else 0, self._recognize)
        for index, fd in enumerate(fds):
            sent = self._sent[index] if index < len(self._sent) else b""
            library.load_client(load, index, fd, sent, len(sent), 0, 0)
            if sent:
                library.load_parts(load, index, self._ends[index])
        return load

    def _recognized(self, client: int, payload: int, length: int) -> int:
        """The number of the message that this inflates to, or -1."""
        inflater = self._inflaters.get(client) if self._takeover else None
        if inflater is None:
            inflater = self._inflaters[client] = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            message = inflater.decompress(ctypes.string_at(payload, length) + TAIL)
        except zlib.error:
            return -1
        return self._numbers.get(message, -1)


def main() -> int:
    """Read the command line, measure, and return the exit code."""
    arguments = parser(str(__doc__), PEERS)
    arguments.add_argument(
        "--clients", type=positive, nargs="+", default=[100, 1000], help="members of the room (default: 100 1000)"
    )
    arguments.add_argument(
        "--settings", nargs="+", choices=SETTINGS, default=SETTINGS, help=f"default: {' '.join(SETTINGS)}"
    )
    options = arguments.parse_args()
    options.peers = [peer for peer in options.peers if peer.name in PEERS]
    if not options.peers:
        arguments.error(f"only {', '.join(PEERS)} are compared with compression")
    workloads: list[Workload] = []
    for setting in options.settings:
        for clients in options.clients:
            script = FanOut(clients, min(SPEAKERS, clients), setting)
            title = f"Compressed chat, {clients:,} members, {script.size:,.0f} bytes of JSON, compressors {setting}"
            workloads.append(Workload(title, ("fanout", str(clients), setting), script, compressed=True))
    return run(options, workloads)


if __name__ == "__main__":
    sys.exit(main())
