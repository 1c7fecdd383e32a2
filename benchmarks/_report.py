"""The tables: medians, spread, ratio to Bun, and the CPU shares that say whether a number can be believed.

Called by `_command.py` with the results of `_bench.py`; measures nothing.
"""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from _peers import BASELINE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from _bench import Result, Sample, Settings, Workload

# Above this share of a core taken by others, the numbers say more about them.
NOISE = 0.1
MILLION = 1_000_000
SMALL_RATIO = 0.1


def _quantity(rate: float) -> str:
    return f"{rate / MILLION:.2f} M" if rate >= MILLION else f"{rate / 1000:.1f} k"


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= SMALL_RATIO else f"{ratio:.3f}"


def _rate(result: Result) -> float:
    return median(sample.rate for sample in result.samples)


def baseline_rate(results: Sequence[Result]) -> float | None:
    """Bun's median, or None if it could not be run."""
    for result in results:
        if result.peer.name == BASELINE and not result.failed and result.samples:
            return _rate(result)
    return None


def _row(result: Result, baseline: float | None, columns: Collection[Callable[[Sample], float]]) -> list[str]:
    others = [""] * (4 + len(columns))
    if result.missing:
        return [result.peer.title, f"missing: {result.missing}", *others]
    if result.failed:
        return [result.peer.title, f"FAILED: {result.failed}", *others]
    rates = [sample.rate for sample in result.samples]
    valid = all(sample.is_valid for sample in result.samples)
    return [
        result.peer.title,
        _quantity(_rate(result)) + ("" if valid else " (not valid)"),
        f"{_quantity(min(rates))} - {_quantity(max(rates))}",
        _ratio(_rate(result) / baseline) if baseline else "no Bun",
        f"{median(sample.server_share for sample in result.samples):.0%}",
        f"{median(sample.load_share for sample in result.samples):.0%}",
        *(f"{median(map(column, result.samples)):,.1f}" for column in columns),
    ]


def invalid(results: Sequence[Result]) -> list[str]:
    """Which numbers of a workload are not to be believed."""
    return [
        f"{result.peer.name}: NOT VALID: the load generator was busy all the time and the server was not; "
        "the number is the generator's."
        for result in results
        if not all(sample.is_valid for sample in result.samples)
    ]


def taken_by_others(samples: Sequence[Sample]) -> str:
    """What others took of both cores meanwhile, if it was too much."""
    if not samples:
        return ""
    on_server = median(sample.server_core_others for sample in samples)
    on_load = median(sample.load_core_others for sample in samples)
    if max(on_server, on_load) <= NOISE:
        return ""
    return (
        f"meanwhile others took {on_server:.0%} of the server's core and {on_load:.0%} of the generator's; "
        "repeat on an idle machine."
    )


def _notes(results: Sequence[Result]) -> list[str]:
    noise = ((result.peer.name, taken_by_others(result.samples)) for result in results)
    return invalid(results) + [f"{name}: {text}" for name, text in noise if text]


def table(workload: Workload, results: Sequence[Result], settings: Settings) -> str:
    """One workload as Markdown."""
    baseline = baseline_rate(results)
    head = ["server", workload.unit, "min - max", "ratio to Bun", "server CPU", "generator CPU"]
    columns = workload.columns()
    head += columns
    lines = [
        f"### {workload.title}",
        "",
        (
            f"Medians of {settings.rounds} alternating rounds of {settings.seconds:g} s after {settings.warmup:g} s of "
            f"warm-up; server on core {settings.server_core}, load generator on core {settings.load_core}."
        ),
        "",
        "| " + " | ".join(head) + " |",
        "|---" + "|---:" * (len(head) - 1) + "|",
    ]
    lines += ["| " + " | ".join(_row(result, baseline, columns.values())) + " |" for result in results]
    lines += ["", *(f"- {note}" for note in _notes(results))]
    return "\n".join(lines).rstrip() + "\n"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def environment() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}, Linux {platform.release()}, {_processor()}"


def versions(results: Sequence[Result]) -> str:
    lines = [f"- {result.peer.title}: {result.version}" for result in results if result.version]
    return "\n".join(["Versions:", "", *lines, f"- on {environment()}"]) + "\n"


def as_json(tables: Sequence[tuple[Workload, Sequence[Result]]], settings: Settings) -> dict[str, object]:
    """Everything that was measured, every window of it."""
    return {
        "environment": environment(),
        "settings": asdict(settings),
        "workloads": [
            {
                "title": workload.title,
                "ratio_to": BASELINE,
                "servers": [_server_json(result, baseline_rate(results)) for result in results],
            }
            for workload, results in tables
        ],
    }


def _server_json(result: Result, baseline: float | None) -> dict[str, object]:
    has_rate = bool(result.samples) and not result.failed
    return {
        "name": result.peer.name,
        "version": result.version,
        "missing": result.missing,
        "failed": result.failed,
        "median": _rate(result) if has_rate else None,
        "ratio": _rate(result) / baseline if has_rate and baseline else None,
        "valid": has_rate and all(sample.is_valid for sample in result.samples),
        "windows": [asdict(sample) for sample in result.samples],
    }
