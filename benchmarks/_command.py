"""What all benchmarks share of the command line: which peers, how long, on which cores, and where the result goes.

Called by the benchmarks' `main`; they add the options of their own workload and say which tables to make.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import _peers
from _bench import Result, Settings, Workload, compare
from _load import build_library
from _report import as_json, table, versions

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Iterable, Sequence


# Some servers ping a client after 20 seconds, and the load generator answers no pings.
LONGEST = 8.0


def _cores(text: str) -> tuple[int, int]:
    server, _, load = text.partition(",")
    cores = (int(server), int(load))
    if cores[0] == cores[1]:
        raise argparse.ArgumentTypeError("the server and the load generator need a core each")
    return cores


def _peers_named(text: str) -> list[_peers.Peer]:
    known = {peer.name: peer for peer in _peers.ALL}
    unknown = [name for name in text.split(",") if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"no peer {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in text.split(",")]


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= LONGEST:
        raise argparse.ArgumentTypeError(f"must be positive and at most {LONGEST:g}")
    return seconds


def parser(description: str, default: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The options that every benchmark has; `default` names its peers, if not all."""
    peers = [peer for peer in _peers.ALL if not default or peer.name in default]
    result = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=(
            "A peer that is not installed is in the table as missing, with what to install. The exit code is 1 if a "
            "peer\nfailed (sent a wrong, missing or surplus byte, or closed a connection) or a number is not valid "
            "because the\nload generator was the bottleneck. Peers: pip install -r benchmarks/peers/requirements.txt "
            "and\nnpm install --prefix benchmarks/peers (or BENCH_NODE_MODULES=path/to/node_modules)."
        ),
    )
    result.add_argument(
        "--peers",
        type=_peers_named,
        default=peers,
        metavar="NAME,...",
        help=f"which servers, in which order (default: {','.join(peer.name for peer in peers)})",
    )
    result.add_argument("--rounds", type=positive, default=5, help="alternating rounds (default: %(default)s)")
    result.add_argument(
        "--seconds", type=_seconds, default=2.0, help="measured time per server and round (default: %(default)s)"
    )
    result.add_argument(
        "--warmup", type=_seconds, default=1.0, help="seconds of the same load before that (default: %(default)s)"
    )
    result.add_argument(
        "--cores", type=_cores, default=(0, 1), metavar="SERVER,LOAD", help="the core of each (default: 0,1)"
    )
    result.add_argument("--json", metavar="FILE", help="also write every window's numbers there; - for stdout")
    return result


def prepare(options: argparse.Namespace) -> tuple[ctypes.CDLL, Settings]:
    """What `compare` needs. Ends the program if this machine does not have it."""
    missing = set(options.cores) - os.sched_getaffinity(0)
    if missing:
        sys.exit(f"core {', '.join(map(str, sorted(missing)))} is not available here; see --cores")
    try:
        library = build_library()
    except FileNotFoundError as reason:
        sys.exit(str(reason))
    # For thousands of connections; servers inherit it.
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    return library, Settings(options.rounds, options.seconds, options.warmup, *options.cores)


def run(options: argparse.Namespace, workloads: Sequence[Workload]) -> int:
    """Measure, print the tables, and return the exit code."""
    library, settings = prepare(options)
    tables: list[tuple[Workload, list[Result]]] = []
    for workload in workloads:
        results = compare(library, workload, options.peers, settings)
        tables.append((workload, results))
        print(table(workload, results, settings), flush=True)
    print(versions(tables[0][1]))
    write_json(options, tables, settings)
    return exit_code(results for _, results in tables)


def write_json(
    options: argparse.Namespace, tables: Sequence[tuple[Workload, Sequence[Result]]], settings: Settings
) -> None:
    """Write every window's numbers where `--json` says."""
    if options.json:
        text = json.dumps(as_json(tables, settings), indent=2) + "\n"
        if options.json == "-":
            print(text, end="")
        else:
            Path(options.json).write_text(text, "utf-8")


def exit_code(tables: Iterable[Iterable[Result]]) -> int:
    """1 if anything failed or is not valid."""
    bad = [
        result
        for results in tables
        for result in results
        if result.failed or not all(sample.is_valid for sample in result.samples)
    ]
    return 1 if bad else 0
