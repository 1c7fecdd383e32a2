"""What looking at a server costs: the same server without the libraries, with them but unused, scraped, and traced.

Echo with 32 messages in flight is what a message costs at most; one publisher and 100 subscribers with bursts of one is
what a tick costs. The ratios are to the server that cannot import either library (`peers/bunws_observed.py`).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import echo
import publish
from _bench import compare
from _command import exit_code, positive, prepare
from _peers import Found, Peer, bunws
from _report import environment, invalid, taken_by_others

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _bench import Result, Sample, Settings, Workload

HOW = {
    "without": "neither library is installed",
    "imported": "both are imported, and not used",
    "metrics": "scraped by Prometheus once a second",
    "traced": "every handler call is a span",
}


def found(how: str) -> Found:
    return replace(bunws("bunws_observed.py"), options=(how,))


PEERS = [Peer(how, title, partial(found, how)) for how, title in HOW.items()]


def cost(sample: Sample) -> float:
    """Microseconds of the server's own processor time for each message: what others do meanwhile is not in it."""
    return sample.server_share * sample.elapsed / sample.messages * 1e6


def table(workload: Workload, results: Sequence[Result], settings: Settings) -> str:
    """One workload as Markdown."""
    first = results[0].samples
    lines = [
        f"### {workload.title}",
        "",
        f"Medians of {settings.rounds} alternating rounds of {settings.seconds:g} s.",
        "",
        "| the server | CPU of a message | ratio | of each round | messages/s |",
        "|---|---:|---:|---:|---:|",
    ]
    for result in results:
        if result.missing or result.failed:
            lines.append(f"| {result.peer.title} | {result.missing or f'FAILED: {result.failed}'} | | | |")
            continue
        costs = [cost(sample) for sample in result.samples]
        ratios = [one / cost(base) for one, base in zip(costs, first, strict=True)]
        rate = median(sample.rate for sample in result.samples)
        lines.append(
            f"| {result.peer.title} | {median(costs):.2f} us | {median(ratios):.2f} "
            f"| {min(ratios):.2f} - {max(ratios):.2f} | {rate:,.0f} |"
        )
    noise = ((result.peer.name, taken_by_others(result.samples)) for result in results)
    notes = invalid(results) + [f"{name}: {text}" for name, text in noise if text]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]).rstrip() + "\n"


def main() -> int:
    """Read the command line, measure, and return the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=positive, default=5, help="alternating rounds (default: %(default)s)")
    arguments.add_argument("--seconds", type=float, default=2.0, help="of each window (default: %(default)s)")
    arguments.set_defaults(warmup=1.0, cores=(0, 1))
    options = arguments.parse_args()
    library, settings = prepare(options)
    tables: list[list[Result]] = []
    for workload in (echo.workload(16, 32, 32), publish.workload(100, 1)):
        tables.append(compare(library, workload, PEERS, settings))
        print(table(workload, tables[-1], settings), flush=True)
    print(f"On {environment()}.")
    return exit_code(tables)


if __name__ == "__main__":
    sys.exit(main())
