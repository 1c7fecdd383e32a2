"""Autobahn's verdicts are judged as strictly as promised, and the server that it tests is an echo.

The suite itself is run by `nox -s compliance`; here its reports are canned, so that a wrong server is seen to fail.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from compliance.echo_server import MAX_FRAGMENTS, handler
from compliance.report import findings, read_report, summary
from compliance.runs import INFORMATIONAL, RUNS, Run

from trio_bunws.testing import open_pair

if TYPE_CHECKING:
    from pathlib import Path

    from compliance.report import Verdicts
    from trio.testing import MockClock

RUN = Run("canned", ("1.*", "7.*"), 3)
GOOD = {"1.1.1": ("OK", "OK"), "7.1.6": ("INFORMATIONAL", "INFORMATIONAL"), "7.7.1": ("OK", "OK")}


def write_report(folder: Path, verdicts: Verdicts) -> None:
    """Write a report as the suite does."""
    cases = {
        number: {"behavior": behaviour, "behaviorClose": ending, "duration": 1, "remoteCloseCode": 1000}
        for number, (behaviour, ending) in verdicts.items()
    }
    (folder / "index.json").write_text(json.dumps({"server": cases}))


def test_a_good_report_has_no_findings(tmp_path: Path) -> None:
    write_report(tmp_path, GOOD)
    verdicts = read_report(tmp_path)
    assert verdicts == GOOD
    assert findings(RUN, verdicts) == []
    assert summary(RUN, verdicts) == "canned: 3 cases: 2 OK, 1 INFORMATIONAL; their ends: 2 OK, 1 INFORMATIONAL"


@pytest.mark.parametrize("verdict", ["FAILED", "NON-STRICT", "UNIMPLEMENTED", "INFORMATIONAL", "WRONG CODE", "UNCLEAN"])
def test_any_other_verdict_than_ok_is_a_finding_in_either_column(verdict: str) -> None:
    assert findings(RUN, GOOD | {"1.1.1": (verdict, "OK")}) == [f"case 1.1.1 is {verdict}"]
    assert findings(RUN, GOOD | {"7.7.1": ("OK", verdict)}) == [f"the end of case 7.7.1 is {verdict}"]


@pytest.mark.parametrize("number", sorted(INFORMATIONAL))
def test_a_case_without_a_right_answer_may_be_ok_or_informational_and_nothing_else(number: str) -> None:
    run = Run("canned", (number,), 1)
    for behaviour in ("OK", "INFORMATIONAL"):
        for ending in ("OK", "INFORMATIONAL"):
            assert findings(run, {number: (behaviour, ending)}) == []
    assert findings(run, {number: ("FAILED", "FAILED")}) == [
        f"case {number} is FAILED",
        f"the end of case {number} is FAILED",
    ]


def test_only_three_cases_have_no_right_answer() -> None:
    assert {"7.1.6", "7.13.1", "7.13.2"} == INFORMATIONAL


def test_a_case_that_was_not_run_is_a_finding() -> None:
    assert findings(RUN, dict(list(GOOD.items())[:2])) == ["2 cases were run, not 3"]


def test_findings_are_in_the_order_of_the_cases() -> None:
    run = Run("canned", ("1.*",), 2)
    bad = {"1.1.10": ("FAILED", "OK"), "1.1.9": ("FAILED", "OK")}
    assert findings(run, bad) == ["case 1.1.9 is FAILED", "case 1.1.10 is FAILED"]


def test_no_report_is_a_finding(tmp_path: Path) -> None:
    verdicts = read_report(tmp_path)
    assert findings(RUN, verdicts) == ["0 cases were run, not 3"]
    assert summary(RUN, verdicts) == "canned: 0 cases: none; their ends: none"


def test_the_groups_of_the_promise_are_run() -> None:
    assert {f"{group}.*" for group in (1, 2, 3, 4, 5, 6, 7, 9, 10)} <= set(RUNS["plain"].cases)


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())
async def test_the_server_is_an_echo(run: Run, autojump_clock: MockClock) -> None:  # noqa: ARG001 - the close waits
    async with open_pair(handler(run)) as (_, client):
        for message in ("\u20ac", b"\x00\xff", "", b"", "x" * 70_000):
            client.send(message)
            assert await client.receive() == message


def test_the_server_takes_as_many_fragments_as_the_suite_sends() -> None:
    assert MAX_FRAGMENTS >= 4 * 1024 * 1024 // 64
