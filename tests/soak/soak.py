# python tests/soak/soak.py [--minutes 10] [--connections 5000]
"""The soak test: thousands of clients of every kind for minutes, and then the server must be as it was after one.

This process is the clients, with one loop over all their sockets, and starts the server as another. Each kind of client
is a generator that does something and yields the seconds until it goes on; `soak_peer.py` checks what a client hears.
It ends with 0 if nothing was lost, doubled or logged, and the server's memory has not grown.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from soak_peer import FLOOD, Peer, Wrong

if TYPE_CHECKING:
    from collections.abc import Generator

GROWTH = 0.05
"""How much more memory the server may have at the end than after the first minute."""
WARM_UP = 60.0  # seconds after which the server has what it needs
SAMPLES = 30.0  # seconds between two lines of the report
PATIENCE = 120.0  # seconds for everybody to connect, or to hear the rest
MAX_LAG = 8.0  # seconds: a silent client has 16 to answer a ping
HANDSHAKES = 200  # at once
SLOW, SILENT = 0.01, 0.1  # shares of the clients
PER_ROOM = 25  # clients of a room, if each were in one
ROOMS_EACH = 3
INTERVAL = 4.0  # seconds between two actions of a client, on average
LIFE = 5, 45
"""Seconds that a talkative client stays. Several live and die in the first minute: by then the heap of the server has
the holes that it will always have (with lives of 30 to 150 s it grew by a tenth until the fifth minute)."""
Life: TypeAlias = "Generator[float, None, None]"


class Soak:
    """All clients of one server."""

    def __init__(self, port: int, connections: int, random: Random) -> None:
        self.stopping = False
        self.messages_in = 0
        self.connected = 0
        self.vanished = 0
        self.settled = 0
        self.lag = 0.0
        """The most seconds by which anything was late here."""
        self._port = port
        self._random = random
        self._rooms = [f"room{number}" for number in range(max(1, connections // PER_ROOM))]
        self._names = map(str, itertools.count(1))
        self._ticket = itertools.count().__next__
        self._epoll = select.epoll()
        self._peers: dict[int, Peer] = {}
        self._timers: list[tuple[float, int, Peer, Life]] = []

    @property
    def peers(self) -> list[Peer]:
        """Those that are connected."""
        return list(self._peers.values())

    # The loop

    def run(self, seconds: float) -> None:
        """Let the clients live for so long, or until all connections are over."""
        until = time.monotonic() + seconds
        while self._peers and (now := time.monotonic()) < until:
            due = self._timers[0][0] if self._timers else until
            for fd, _ in self._epoll.poll(max(0.0, min(due, until) - now)):
                self._read(self._peers[fd])
            now = time.monotonic()
            if self._timers:
                self.lag = max(self.lag, now - self._timers[0][0])
            if self.lag > MAX_LAG:
                raise Wrong(f"{self.lag:.1f} s late: these clients are too many for this machine")
            while self._timers and self._timers[0][0] <= now:
                _, _, peer, life = heapq.heappop(self._timers)
                self._live(peer, life)

    def _read(self, peer: Peer) -> None:
        fd = peer.socket.fileno()
        before = peer.messages_in
        try:
            peer.read()
        except OSError as exc:
            raise Wrong(f"{peer.name}: {exc}") from exc
        self.messages_in += peer.messages_in - before
        if peer.ended:
            del self._peers[fd]

    def _live(self, peer: Peer, life: Life) -> None:
        fd = peer.socket.fileno()
        try:
            pause = next(life, None)
        except OSError as exc:
            raise Wrong(f"{peer.name}: {exc}") from exc
        if pause is not None:
            heapq.heappush(self._timers, (time.monotonic() + pause, self._ticket(), peer, life))
        elif peer.ended:
            self._peers.pop(fd, None)
            if not self.stopping:
                self._connect(self._talkative)

    # The clients

    def fill(self, connections: int) -> None:
        """Connect them all."""
        slow, silent = int(connections * SLOW), int(connections * SILENT)
        kinds = [self._slow] * slow + [self._silent] * silent + [self._talkative] * (connections - slow - silent)
        self._random.shuffle(kinds)
        until = time.monotonic() + PATIENCE
        for kind in kinds:
            self._connect(kind)
            self.run(0.001)  # who is connected already has to be answered, and pings in time
            while sum(not peer.is_open for peer in self.peers[-HANDSHAKES:]) > HANDSHAKES // 2:
                self.run(0.01)
            if time.monotonic() > until:
                raise Wrong("connecting takes too long")

    def _connect(self, kind: Any) -> None:  # noqa: ANN401 - a method of this class
        peer = Peer(self._port, next(self._names), self._random, slow=kind == self._slow)
        self.connected += 1
        self._peers[peer.socket.fileno()] = peer
        self._epoll.register(peer.socket, select.EPOLLIN)
        self._live(peer, kind(peer))

    def _opening(self, peer: Peer) -> Life:
        while not peer.is_open:
            yield 0.1

    def _talkative(self, peer: Peer) -> Life:
        """Echo, publish, come and go in rooms for `LIFE`; then leave in good order, or vanish: another comes then."""
        random = self._random
        yield from self._opening(peer)
        peer.subscribe(random.choice(self._rooms))
        until = time.monotonic() + random.uniform(*LIFE)
        while time.monotonic() < until and not self.stopping:
            dice = random.random()
            if dice < 0.7:
                peer.echo()
            elif dice < 0.8:
                peer.publish()
            elif dice < 0.9 and peer.rooms < ROOMS_EACH:
                peer.subscribe(random.choice(self._rooms))
            else:
                peer.unsubscribe()
            yield random.uniform(0, 2 * INTERVAL)
        if self.stopping:
            yield from self._settle(peer)
        elif random.randrange(2):
            self.vanished += 1
            peer.vanish()
        else:
            yield from self._heard_all(peer)
            peer.close()
            yield from self._gone(peer)

    def _silent(self, peer: Peer) -> Life:
        """Answer pings, and hear one room."""
        yield from self._opening(peer)
        peer.subscribe(self._random.choice(self._rooms))
        while not self.stopping:
            yield 1.0
        yield from self._settle(peer)

    def _slow(self, peer: Peer) -> Life:
        """Hear the flood, but do not read for long times; then compare what is missing."""
        yield from self._opening(peer)
        peer.subscribe(FLOOD)
        yield from self._heard_all(peer)
        while not self.stopping:
            self._epoll.unregister(peer.socket)
            yield self._random.uniform(10, 20)
            self._epoll.register(peer.socket, select.EPOLLIN)
            yield 5.0
            yield from self._compared(peer)
        yield from self._compared(peer)
        self.settled += 1

    def _compared(self, peer: Peer) -> Life:
        for _ in range(10):
            peer.count()  # the answer may itself be dropped
            for _ in range(20):
                yield 0.25
                if peer.quiet:
                    return
        raise Wrong(f"{peer.name}: does not hear what the server has dropped")

    def _settle(self, peer: Peer) -> Life:
        """Leave all rooms, to learn whether the last messages have come."""
        yield from self._heard_all(peer)
        while peer.rooms:
            peer.unsubscribe()
            yield from self._heard_all(peer)
        self.settled += 1

    def _heard_all(self, peer: Peer) -> Life:
        until = time.monotonic() + PATIENCE
        while not peer.quiet:
            if time.monotonic() > until:
                raise Wrong(f"{peer.name}: does not hear the rest")
            yield 0.1

    def _gone(self, peer: Peer) -> Life:
        until = time.monotonic() + PATIENCE
        while not peer.ended:
            if time.monotonic() > until:
                raise Wrong(f"{peer.name}: does not hear the end")
            yield 0.1
        if peer.close_code != 1000:
            raise Wrong(f"{peer.name}: closed with {peer.close_code}")


class ServerProcess:
    """The server, and what can be seen of it from outside."""

    def __init__(self, log: IO[str]) -> None:
        command = [sys.executable, "-W", "error", str(Path(__file__).with_name("soak_server.py"))]
        self._log = log
        self._asked = False
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def memory(self) -> float:
        """Return what it holds, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) / 1024

    def check_log(self) -> None:
        """Demand that it has logged nothing."""
        self._log.seek(0)
        if logged := self._log.read():
            raise Wrong(f"the server logged:\n{logged}")

    def ask_to_stop(self) -> None:
        """Ask it to end, if that was not done before: the second time it would end at once."""
        if not self._asked:
            self._asked = True
            self.process.send_signal(signal.SIGTERM)

    def stop(self) -> Any:  # noqa: ANN401 - JSON
        """Let it end, and return its counts."""
        self.ask_to_stop()
        output, _ = self.process.communicate(timeout=PATIENCE)
        self.check_log()
        if self.process.returncode != 0:
            raise Wrong(f"the server ended with {self.process.returncode}")
        return json.loads(output)


def say(text: str) -> None:
    """Tell whoever watches."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def soak(server: ServerProcess, minutes: float, connections: int, seed: int) -> None:
    """Run the test; raises `Wrong`."""
    clients = Soak(server.port, connections, Random(seed))
    began = time.monotonic()
    clients.fill(connections)
    say(f"{connections} connections after {time.monotonic() - began:.1f} s, {server.memory():.1f} MiB")
    began = time.monotonic()
    after_a_minute = memory = 0.0
    while (passed := time.monotonic() - began) < minutes * 60:
        count = clients.messages_in
        clients.run(min(SAMPLES, minutes * 60 - passed))
        took, passed = time.monotonic() - began - passed, time.monotonic() - began
        server.check_log()
        memory = server.memory()
        if passed >= WARM_UP and not after_a_minute:
            after_a_minute = memory
        rate = (clients.messages_in - count) / took
        say(
            f"{passed:5.0f} s: {memory:.1f} MiB, {len(clients.peers)} connections, {clients.connected} so far,"
            f" {rate:,.0f} messages/s received, {clients.messages_in:,} so far, at most {clients.lag:.1f} s late"
        )

    clients.stopping = True
    until = time.monotonic() + PATIENCE
    while clients.settled < len(clients.peers):
        clients.run(0.5)
        if time.monotonic() > until:
            raise Wrong(f"only {clients.settled} of {len(clients.peers)} clients have heard everything")
    last = clients.peers
    server.ask_to_stop()
    clients.run(PATIENCE)
    if codes := {peer.close_code for peer in last} - {1001}:
        raise Wrong(f"at the end of the server sockets were closed with {codes}")
    counts = server.stop()
    missed = sum(peer.missed for peer in last)
    say(f"{clients.connected} connections, {clients.vanished} of which vanished; the server counts {counts}")
    say(f"slow readers missed {missed}; memory {after_a_minute:.1f} MiB after a minute, {memory:.1f} MiB at the end")
    if counts["drops"] != missed:
        raise Wrong(f"{missed} messages are missing, and the server has dropped {counts['drops']}")
    if counts["websockets"] or counts["topics"] or counts["calls"]["open"] != counts["calls"]["close"]:
        raise Wrong("something is left in the server")
    if counts["calls"]["open"] != clients.connected:
        raise Wrong("the server has not seen each connection once")
    if after_a_minute and memory > after_a_minute * (1 + GROWTH):
        raise Wrong("the server's memory grows")


def main() -> int:
    """Start both sides, and end both whatever happens."""
    parser = argparse.ArgumentParser(description="The soak test.")
    parser.add_argument("--minutes", default=10.0, type=float, help="(default: %(default)s)")
    parser.add_argument("--connections", default=5000, type=int, help="(default: %(default)s)")
    parser.add_argument("--seed", default=1, type=int, help="(default: %(default)s)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the server is ended then too
    with tempfile.TemporaryFile("w+") as log:
        server = ServerProcess(log)
        try:
            soak(server, arguments.minutes, arguments.connections, arguments.seed)
        except Wrong as exc:
            say(f"WRONG: {exc}")
            say(f"the server says: {server.stop()}")
            return 1
        finally:
            server.process.kill()
            server.process.wait()
    say("nothing lost, nothing doubled, nothing logged")
    return 0


if __name__ == "__main__":
    sys.exit(main())
