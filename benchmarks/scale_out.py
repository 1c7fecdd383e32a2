"""One process publishes, the clients of two others receive, a Redis between them: how many, and how late?

    python benchmarks/scale_out.py [--messages 200000] [--rate 10000] [--seconds 3] [--only trio_bunws,ws]

Each message is 64 bytes to one topic. First as many as one tick after another publishes; the rate is that of the later
of the two subscribers, from the first publish to the last message that its client got. Then so many a second, for the
latency from `publish` to the client. A `redis-server` is started for it. `trio_bunws` sends what one tick has published
in one message to Redis, `trio_bunws, one by one` each message by itself; coredis has no server behind it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PEERS = Path(__file__).parent / "peers"
NODE_MODULES = os.environ.get("BENCH_NODE_MODULES") or str(PEERS / "node_modules")
OURS = [sys.executable, str(PEERS / "scale_out_bunws.py")]
CONTESTANTS = {
    "trio_bunws": (OURS, ["tick"], 1),
    "trio_bunws, one by one": (OURS, ["single"], 5),
    "coredis": ([sys.executable, str(PEERS / "scale_out_coredis.py")], [], 10),
    "ws + redis on Node": ([shutil.which("node") or "node", str(PEERS / "scale_out_ws.cjs")], [], 2),
}
"""Command, last arguments, and by how much fewer messages it is measured with, for it takes longer."""
MILLISECOND = 1e6


@contextmanager
def redis() -> Iterator[str]:
    """Run a Redis; its URL."""
    program = shutil.which("redis-server")
    if program is None:
        sys.exit("redis-server is missing (Debian: apt-get install redis-server)")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--port", port, "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                next(line for line in process.stdout if "Ready to accept" in line)
                yield f"redis://127.0.0.1:{port}"
            finally:
                process.kill()


def run(name: str, url: str, messages: int, rate: int) -> tuple[float, list[float], int]:
    """Measure once: messages per second, latencies in milliseconds, messages lost."""
    command, last, _ = CONTESTANTS[name]
    environment = {**os.environ, "NODE_PATH": NODE_MODULES}

    def start(role: str) -> subprocess.Popen[str]:
        arguments = [*command, role, url, str(messages), str(rate), *last]
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)

    def result(process: subprocess.Popen[str]) -> dict[str, Any]:
        output, _ = process.communicate(timeout=120)
        found: dict[str, Any] = json.loads(output.splitlines()[-1])
        return found

    subscribers = [start("subscribe") for _ in range(2)]
    for process in subscribers:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            sys.exit(f"{name}: a subscriber did not start")
    published = result(start("publish"))
    received = [result(process) for process in subscribers]
    seconds = (max(each["end"] for each in received) - published["begin"]) / 1e9
    latencies = [latency / MILLISECOND for each in received for latency in each["latencies"]]
    missing = sum(messages - each["received"] for each in received)
    return messages / seconds, latencies, missing + published["lost"]


def main() -> None:
    """Read the command line, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=200_000, help="published as fast as it goes (default: 200000)")
    parser.add_argument("--rate", type=int, default=10_000, help="messages per second for the latency (default: 10000)")
    parser.add_argument("--seconds", type=float, default=3, help="of publishing at that rate (default: 3)")
    parser.add_argument("--rounds", type=int, default=3, help="the table has their medians (default: 3)")
    parser.add_argument("--only", default="", help="contestants whose names begin so, with commas between")
    arguments = parser.parse_args()
    only = tuple(arguments.only.split(","))
    print("| | published/s, received by two | p50 ms | p99 ms | lost |\n|---|---|---|---|---|")
    for name, (_, _, fewer) in CONTESTANTS.items():
        if not name.startswith(only):
            continue
        rates: list[float] = []
        latencies: list[float] = []
        lost = 0
        for _ in range(arguments.rounds):
            with redis() as url:
                rate, _, missing = run(name, url, arguments.messages // fewer, 0)
                _, late, missing_too = run(name, url, int(arguments.rate * arguments.seconds), arguments.rate)
            rates.append(rate)
            latencies += late
            lost += missing + missing_too
        hundredths = statistics.quantiles(latencies, n=100)
        print(f"| {name} | {statistics.median(rates):,.0f} | {hundredths[49]:.2f} | {hundredths[98]:.2f} | {lost} |")


if __name__ == "__main__":
    main()
