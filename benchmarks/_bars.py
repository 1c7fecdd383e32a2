"""What is asked of trio_bunws, next to what was measured: one line per bar, as Markdown.

A bar compares one quantity of a workload with that of other servers, or with a limit. Called by `table.py`, which says
which bars there are; measures nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from _bench import Result, Sample, Workload

OURS = "trio_bunws"
HEAD = (
    *("workload", "trio_bunws (min - max)", "compared with", "its (min - max)", "ratio (min - max)"),
    *("bar", "met", "CPU of server, generator: ours", "theirs"),
)


@dataclass(frozen=True)
class Quantity:
    """What is read from a window, and how it is written."""

    value: Callable[[Sample], float]
    unit: str
    better: Literal["more", "less"] = "more"

    def write(self, value: float) -> str:
        """With three digits or so."""
        for factor, letter in ((1e6, " M"), (1e3, " k")):
            if value >= 10 * factor or (value >= factor and letter == " M"):
                return f"{value / factor:.4g}{letter}{self.unit}"
        return f"{value:,.3g} {self.unit}" if value < 1000 else f"{value:,.0f} {self.unit}"


CPU_PER_MESSAGE = Quantity(lambda sample: sample.server_share * sample.elapsed / sample.messages * 1e3, "ms", "less")


@dataclass(frozen=True)
class Bar:
    """One line of the table: ours by the best of `peers` must be at least (with `less`: at most) `ratio`, if any."""

    workload: Workload
    quantity: Quantity
    peers: tuple[str, ...]
    ratio: float | None
    name: str = ""
    """What the line is called, if not as the workload."""

    strictly: bool = False
    """Whether the same is not enough: "ahead of"."""


@dataclass(frozen=True)
class Limit:
    """One line of the table: the quantity must be at most `most`. `peers` are shown beside it."""

    workload: Workload
    quantity: Quantity
    peers: tuple[str, ...]
    most: float
    name: str = ""


@dataclass(frozen=True)
class Linear:
    """One line of the table: how much more one of the last subscribers costs than one of the first.

    `workloads` have growing numbers of subscribers; what a publish costs is the processor time of the server. The slope
    from the last but one to the last, by the slope from the first to the last but one, must be at most `most`, or that
    of one of `peers`: with more sockets than the processor's caches hold, the kernel takes longer for each.
    """

    workloads: tuple[Workload, ...]
    peers: tuple[str, ...]
    most: float
    name: str

    @property
    def workload(self) -> Workload:
        """The last of them."""
        return self.workloads[-1]


Line = Bar | Limit | Linear


def _usable(results: Sequence[Result], names: Sequence[str]) -> list[Result]:
    return [result for result in results if result.peer.name in names and result.samples and not result.failed]


def _lacking(results: Sequence[Result], names: Sequence[str]) -> str:
    """Why some of these were not measured."""
    return "; ".join(
        f"{result.peer.title} {'FAILED: ' + result.failed if result.failed else 'missing: ' + result.missing}"
        for result in results
        if result.peer.name in names and (result.failed or result.missing)
    )


def _values(quantity: Quantity, result: Result) -> list[float]:
    return [quantity.value(sample) for sample in result.samples]


def _median(quantity: Quantity, result: Result) -> float:
    return median(_values(quantity, result))


def _spread(quantity: Quantity, result: Result) -> str:
    values = _values(quantity, result)
    text = quantity.write(median(values))
    if len(values) > 1:
        text += f" ({quantity.write(min(values))} - {quantity.write(max(values))})"
    return text + ("" if all(sample.is_valid for sample in result.samples) else " NOT VALID")


def _shares(result: Result) -> str:
    shares = ((sample.server_share, sample.load_share) for sample in result.samples)
    return ", ".join(f"{median(column):.0%}" for column in zip(*shares, strict=True))


def _best(quantity: Quantity, results: Sequence[Result]) -> Result:
    choose = max if quantity.better == "more" else min
    return choose(results, key=lambda result: _median(quantity, result))


def _two(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.3f}"


def _verdict(*, met: bool) -> str:
    return "yes" if met else "**no**"


def _incomplete(name: str, why: str) -> list[str]:
    return [name, why or "not measured", *[""] * (len(HEAD) - 2)]


def _judged(bar: Bar, ratio: float) -> tuple[str, str]:
    """The bar, and whether it is met."""
    if bar.ratio is None:
        return "", ""
    if bar.quantity.better == "less":
        return f"<= {bar.ratio:.1f}", _verdict(met=ratio <= bar.ratio)
    if bar.strictly:
        return f"> {bar.ratio:.1f}", _verdict(met=ratio > bar.ratio)
    return f">= {bar.ratio:.1f}", _verdict(met=ratio >= bar.ratio)


def _bar_row(bar: Bar, results: Sequence[Result]) -> list[str]:
    name = bar.name or bar.workload.title
    mine, others = _usable(results, [OURS]), _usable(results, bar.peers)
    lacking = _lacking(results, [OURS, *bar.peers])
    if not mine:
        return _incomplete(name, lacking)
    if not others:
        return [name, _spread(bar.quantity, mine[0]), lacking or "not measured", *[""] * (len(HEAD) - 3)]
    ours, best = mine[0], _best(bar.quantity, others)
    ratio = _median(bar.quantity, ours) / _median(bar.quantity, best)
    rounds = [one / other for one, other in zip(_values(bar.quantity, ours), _values(bar.quantity, best), strict=False)]
    among = f", the best of {len(others)}" if len(bar.peers) > 1 else ""
    return [
        name,
        _spread(bar.quantity, ours),
        best.peer.title + among + (f" ({lacking})" if lacking else ""),
        _spread(bar.quantity, best),
        _two(ratio) + (f" ({_two(min(rounds))} - {_two(max(rounds))})" if len(rounds) > 1 else ""),
        *_judged(bar, ratio),
        _shares(ours),
        _shares(best),
    ]


def _limit_row(limit: Limit, results: Sequence[Result]) -> list[str]:
    name = limit.name or limit.workload.title
    mine = _usable(results, [OURS])
    if not mine:
        return _incomplete(name, _lacking(results, [OURS]))
    others = [
        f"{result.peer.title} {limit.quantity.write(_median(limit.quantity, result))}"
        for result in _usable(results, limit.peers)
    ]
    return [
        name,
        _spread(limit.quantity, mine[0]),
        ", ".join(others),
        "",
        "",
        f"<= {limit.quantity.write(limit.most)}",
        _verdict(met=_median(limit.quantity, mine[0]) <= limit.most),
        _shares(mine[0]),
        "",
    ]


def _growth(line: Linear, measured: Mapping[str, Sequence[Result]], peer: str) -> tuple[str, float] | None:
    """The costs of a publish, and how much more the last subscribers cost than the first."""
    costs: list[float] = []
    counts = [len(workload.script.paths) for workload in line.workloads]
    for workload, count in zip(line.workloads, counts, strict=True):
        usable = _usable(measured.get(workload.title, ()), [peer])
        if not usable:
            return None
        costs.append(count * _median(CPU_PER_MESSAGE, usable[0]))
    first = (costs[-2] - costs[0]) / (counts[-2] - counts[0])
    last = (costs[-1] - costs[-2]) / (counts[-1] - counts[-2])
    return ", ".join(map(CPU_PER_MESSAGE.write, costs)), last / first if first > 0 else float("inf")


def _linear_row(line: Linear, measured: Mapping[str, Sequence[Result]]) -> list[str]:
    mine = _growth(line, measured, OURS)
    if mine is None:
        return _incomplete(line.name, "")
    costs, growth = mine
    others = [(peer, found) for peer in line.peers if (found := _growth(line, measured, peer)) is not None]
    most = max([line.most, *(found[1] for _, found in others)])
    return [
        line.name,
        costs,
        ", ".join(peer for peer, _ in others),
        "; ".join(f"{found[0]} (growth {_two(found[1])})" for _, found in others),
        f"growth {_two(growth)}",
        f"<= {line.most:.1f} or as {' '.join(line.peers)}",
        _verdict(met=growth <= most),
        "",
        "",
    ]


def row(line: Line, measured: Mapping[str, Sequence[Result]]) -> list[str]:
    """The cells of one line, in the order of `HEAD`; `measured` is by the titles of the workloads."""
    match line:
        case Bar():
            return _bar_row(line, measured.get(line.workload.title, ()))
        case Limit():
            return _limit_row(line, measured.get(line.workload.title, ()))
        case Linear():
            return _linear_row(line, measured)


def bars_table(lines: Sequence[Line], measured: Mapping[str, Sequence[Result]]) -> str:
    """All of them as Markdown."""
    rows = [list(HEAD), ["---"] * len(HEAD), *(row(line, measured) for line in lines)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows) + "\n"
