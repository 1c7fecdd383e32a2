"""Judges Autobahn's report: every case OK, on the wire and in how the connection ended, and none missing.

The suite's own summary lets NON-STRICT pass, and INFORMATIONAL anywhere; this does not. `run.py` asks it, and
tests/test_compliance.py shows that a wrong server does not get through.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from compliance.runs import INFORMATIONAL

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from compliance.runs import Run

Verdicts: TypeAlias = "Mapping[str, tuple[str, str]]"
"""By the number of each case: how the peer behaved, and how it ended the connection, in the suite's words."""


def read_report(folder: Path) -> Verdicts:
    """Read the report that the suite has left in `folder`; where it has left none, nothing was run."""
    try:
        index = json.loads((folder / "index.json").read_text("utf-8"))
    except FileNotFoundError:
        return {}
    return {
        number: (case["behavior"], case["behaviorClose"]) for cases in index.values() for number, case in cases.items()
    }


def findings(run: Run, verdicts: Verdicts) -> list[str]:
    """Tell what is wrong, a line for each case; nothing is wrong if there is none."""
    complaints: list[str] = []
    for number in sorted(verdicts, key=_order):
        good = {"OK", "INFORMATIONAL"} if number in INFORMATIONAL else {"OK"}
        behaviour, ending = verdicts[number]
        if behaviour not in good:
            complaints.append(f"case {number} is {behaviour}")
        if ending not in good:
            complaints.append(f"the end of case {number} is {ending}")
    if len(verdicts) != run.count:
        complaints.append(f"{len(verdicts)} cases were run, not {run.count}")
    return complaints


def judge(run: Run, output: Path, status: int, log: Path) -> list[str]:
    """Say how a run went, and return what was wrong.

    `status` is what the suite's script ended with; to `log` the side of ours has written what it complained of.
    """
    verdicts = read_report(output)
    print(summary(run, verdicts), flush=True)
    complaints = findings(run, verdicts)
    if status:
        complaints.append(f"the suite ended with status {status}; see {output / 'wstest.log'}")
    if written := log.read_text():
        complaints.append(f"our side wrote to its standard error:\n{written}")
    return complaints


def summary(run: Run, verdicts: Verdicts) -> str:
    """Count the verdicts in one line."""
    behaviours = Counter(behaviour for behaviour, _ in verdicts.values())
    endings = Counter(ending for _, ending in verdicts.values())
    return f"{run.name}: {len(verdicts)} cases: {_counts(behaviours)}; their ends: {_counts(endings)}"


def _counts(verdicts: Counter[str]) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common()) or "none"


def _order(number: str) -> list[int]:
    return [int(part) for part in number.split(".")]
