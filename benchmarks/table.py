"""The table of bars: everything that trio_bunws is to be measured by, in one run and one table.

For each line the workload runs on trio_bunws and on the servers that the bar names, in alternating rounds; the ratio
is that of the medians, with the smallest and the largest ratio of a round. `--details` adds a table per workload with
every server that was measured. About fifteen minutes; with `--quick` two, which is enough to see that all of it runs.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import chat
import connections
import echo
import publish
from _bars import OURS, Bar, Limit, Line, Linear, Quantity, bars_table
from _bench import KIB, Result, Workload, compare
from _command import exit_code, parser, prepare, write_json
from _peers import ALL
from _report import invalid, table, taken_by_others, versions
from _tls import certificate

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE = Quantity(lambda sample: sample.rate, "/s")
IDLE = Quantity(lambda sample: sample.opened_memory / KIB, "KiB", "less")
PYTHON = tuple(peer.name for peer in ALL if peer.name not in (OURS, "bun", "ws"))
IDLE_PEERS = ("bun", "ws", "websockets", "trio-websocket", "picows", "aiohttp")
ACCEPTING = ("bun", "ws", "websockets", "aiohttp")
SUBSCRIBERS = (10, 100, 1000, 10_000)
MOST_MEMORY = 8.5
MOST_GROWTH = 1.5
QUICK = {"rounds": 1, "seconds": 0.4, "warmup": 0.2, "count": 1000}


def _lines(pem: str, count: int) -> list[Line]:
    """All bars; `pem` is the certificate, empty if there is no TLS here; `count` connections are opened."""
    bun = ("bun",)
    busy, busier, single = chat.workload(16, chat.BURST), chat.workload(32, chat.BURST), chat.workload(16, 1)
    waiting, streaming, large = echo.workload(16, 32, 1), echo.workload(16, 32, 32), echo.workload(8, 65536, 1)
    secure = [Bar(chat.workload(16, chat.BURST, pem), RATE, bun, 0.5)] if pem else []
    opened = connections.workload(count)
    growing = tuple(publish.workload(subscribers, 1) for subscribers in SUBSCRIBERS)
    thousand, most = growing[-2], growing[-1]
    last = Quantity(lambda sample: SUBSCRIBERS[-1] / sample.rate * 1000, "ms", "less")
    return [
        Bar(busy, RATE, bun, 1.5),
        Bar(busy, RATE, ("aiohttp", "aiohttp-uvloop"), 1.0, strictly=True),
        Bar(busier, RATE, bun, 2.5),
        Bar(single, RATE, bun, 0.8, f"{single.title} (one message in flight per client)"),
        Bar(thousand, RATE, bun, 1.0),
        Bar(publish.workload(SUBSCRIBERS[-2], 8), RATE, bun, 1.0),
        Bar(waiting, RATE, bun, 0.5),
        Bar(waiting, RATE, ("ws", "websockets", "aiohttp"), 1.0, strictly=True),
        Bar(streaming, RATE, bun, 0.4),
        Bar(streaming, RATE, PYTHON, 1.0, strictly=True),
        Bar(large, RATE, bun, 1.0),
        *secure,
        Limit(opened, IDLE, IDLE_PEERS, MOST_MEMORY, f"Memory per idle connection, {count:,} of them"),
        Bar(opened, RATE, ("picows-uvloop",), 1.0, "Connections accepted and upgraded"),
        *(Bar(opened, RATE, (name,), None, "the same, for comparison") for name in ACCEPTING),
        Bar(most, last, bun, 1.2, "10,000 subscribers, one publish: time until the last has it"),
        Linear(growing, bun, MOST_GROWTH, "Server CPU per publish with 10, 100, 1,000 and 10,000 subscribers"),
    ]


def _workloads(lines: Sequence[Line]) -> dict[str, tuple[Workload, set[str]]]:
    """What is to be run, by title, with the names of the servers."""
    found: dict[str, tuple[Workload, set[str]]] = {}
    for line in lines:
        for workload in line.workloads if isinstance(line, Linear) else (line.workload,):
            found.setdefault(workload.title, (workload, {OURS}))[1].update(line.peers)
    return found


def main() -> int:
    """Read the command line, measure, and return the exit code."""
    arguments = parser(str(__doc__))
    arguments.set_defaults(seconds=1.0, warmup=0.5, count=connections.COUNT)
    arguments.add_argument("--quick", action="store_true", help="one short round: does everything run?")
    arguments.add_argument("--details", action="store_true", help="also a table per workload")
    arguments.add_argument(
        "--only", nargs="+", default=[], metavar="WORD", help="only lines with one of these words in their name"
    )
    options = arguments.parse_args()
    if options.quick:
        arguments.set_defaults(**QUICK)
        options = arguments.parse_args()
    library, settings = prepare(options)
    started = time.monotonic()
    with ExitStack() as stack:
        try:
            pem = stack.enter_context(certificate())
        except FileNotFoundError as reason:
            pem = ""
            print(f"The chat over TLS is left out: {reason}\n")
        lines = _lines(pem, options.count)
        lines = [line for line in lines if _is_wanted(line, options.only)]
        tables: list[tuple[Workload, list[Result]]] = []
        for workload, names in _workloads(lines).values():
            peers = [peer for peer in options.peers if peer.name in names]
            tables.append((workload, compare(library, workload, peers, settings)))
            if options.details:
                print(table(*tables[-1], settings), flush=True)
    print(bars_table(lines, {workload.title: results for workload, results in tables}))
    print(
        f"Medians of {settings.rounds} alternating rounds of {settings.seconds:g} s after {settings.warmup:g} s of "
        f"warm-up; servers on core {settings.server_core}, load generator on core {settings.load_core}; "
        f"{(time.monotonic() - started) / 60:.0f} minutes in all.\n"
    )
    noise = taken_by_others([sample for _, results in tables for result in results for sample in result.samples])
    remarks = [f"{workload.title}: {note}" for workload, results in tables for note in invalid(results)]
    for remark in filter(None, [noise, *remarks]):
        print(f"- {remark}")
    print("\n" + versions(_seen(tables)))
    write_json(options, tables, settings)
    barred = _barred(lines)
    return exit_code(
        [result for result in results if (workload.title, result.peer.name) in barred] for workload, results in tables
    )


def _barred(lines: Sequence[Line]) -> set[tuple[str, str]]:
    """The workloads and servers that a bar needs; what is shown for comparison only may be wrong."""
    needed: set[tuple[str, str]] = set()
    for line in lines:
        if isinstance(line, Bar) and line.ratio is not None:
            needed.update((line.workload.title, name) for name in (OURS, *line.peers))
        elif isinstance(line, (Limit, Linear)):
            needed.add((line.workload.title, OURS))
    return needed


def _is_wanted(line: Line, words: Sequence[str]) -> bool:
    name = f"{line.name} {line.workload.title}".lower()
    return not words or any(word.lower() in name for word in words)


def _seen(tables: Sequence[tuple[Workload, Sequence[Result]]]) -> list[Result]:
    """A result of every peer, in their order."""
    by_name = {result.peer.name: result for _, results in tables for result in results}
    return [by_name[peer.name] for peer in ALL if peer.name in by_name]


if __name__ == "__main__":
    sys.exit(main())
