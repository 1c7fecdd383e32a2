"""What holds for every test: in CI nothing is skipped, and no test looks at the clock.

A test may skip itself where a browser, Node or Bun is missing, so that the suite runs on any machine; with the
environment variable CI set a skip is a failure, for there it would hide that nothing was tested.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar, cast

import pytest
from hypothesis import Phase, settings

if TYPE_CHECKING:
    from collections.abc import Generator

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

# Without hypothesis' explanations of a failure: they take longer than the timeout by which a hanging test is found.
PHASES = set(Phase) - {Phase.explain}
settings.register_profile("steady", deadline=None, derandomize="CI" in os.environ, phases=PHASES)
settings.load_profile("steady")


def _without_skips(report: Report) -> Report:
    # An expected failure is reported as a skip too; it has been run.
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI"):
        report.outcome = "failed"
        _path, _line, reason = cast("tuple[str, int, str]", report.longrepr)
        report.longrepr = f"{reason} (in CI every test must run)"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that skips itself in CI."""
    return _without_skips((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a file that skips itself in CI."""
    return _without_skips((yield))
