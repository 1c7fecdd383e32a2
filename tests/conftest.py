"""What holds for every test: no skip in CI, no look at the clock, the same from C and Python; what coverage counts.

A test may skip itself where a browser, Node or Bun is missing, so that the suite runs on any machine; with the
environment variable CI set a skip is a failure, for there it would hide that nothing was tested.
Tests of what the extension in C does run on it and on plain Python (`implementation`).
"""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import pytest
from hypothesis import Phase, is_hypothesis_test, settings

import trio_bunws
from trio_bunws import _multicast
from trio_bunws._extension import IMPLEMENTATION
from trio_bunws._wire import codec, frames
from trio_bunws._wire.ready import ReadyMessages

if TYPE_CHECKING:
    from collections.abc import Generator

    from _typeshed import TraceFunction

IN_C = (
    (frames, "binary_frame", frames.plain_binary_frame),
    (frames, "c_unmask", None),
    (frames, "mask_frame", frames.plain_mask_frame),
    (frames, "text_frame", frames.plain_text_frame),
    (_multicast, "c_send_all", None),
    (codec, "_ready_messages", ReadyMessages),
)
"""Where functions in C stand, and what stands there without the extension."""

TRACER = pytest.StashKey["TraceFunction | None"]()
"""Coverage's, of a run that measures it."""

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

# Without hypothesis' explanations of a failure: they take longer than the timeout by which a hanging test is found.
PHASES = set(Phase) - {Phase.explain}
settings.register_profile("steady", deadline=None, derandomize="CI" in os.environ, phases=PHASES)
settings.load_profile("steady")

# A shell's job in the background ignores Ctrl-C, and so would each program that a test starts and ends by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

PACKAGE = Path(__file__).resolve().parent.parent / "trio_bunws"
# The files that are about one module each; tests/test_architecture.py demands one for every module.
OF_A_MODULE = {f"test_{path.stem.strip('_')}.py" for path in PACKAGE.rglob("*.py")}


@contextmanager
def _unmeasured() -> Generator[TraceFunction | None]:
    """Take coverage's tracer away for the block, which gets it; a debugger's stays.

    Away from this thread only: trio keeps the others from one test to the next.
    """
    tracer = sys.gettrace()
    if not type(tracer).__module__.startswith("coverage"):
        yield None
        return
    sys.settrace(None)
    try:
        yield tracer
    finally:
        sys.settrace(tracer)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Measure how the package is imported, and not how the tests are: pytest rewrites every `assert` of theirs."""
    for module in pkgutil.walk_packages(trio_bunws.__path__, "trio_bunws."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    with _unmeasured():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Measure nothing but what the next hook lets be measured: a tracer costs every call that pytest makes."""
    with _unmeasured() as session.stash[TRACER]:
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Measure coverage in the modules' own tests: a line that nothing but a whole conversation runs is not tested.

    Nor is a line that only random input finds.
    """
    tracer = pyfuncitem.session.stash[TRACER]
    if tracer is None or pyfuncitem.path.name not in OF_A_MODULE or is_hypothesis_test(pyfuncitem.function):
        return (yield)
    sys.settrace(tracer)
    try:
        return (yield)
    finally:
        sys.settrace(None)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Leave the collected tests, some million objects, out of every garbage collection of the tests."""
    gc.collect()
    gc.freeze()


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


@pytest.fixture(scope="module", params=["python", "c"])
def implementation(request: pytest.FixtureRequest) -> Generator[str]:
    """Run a file's tests twice: without the extension, and with it."""
    name: str = request.param
    with pytest.MonkeyPatch.context() as monkeypatch:
        if name == "python":
            for module, function, plain in IN_C:
                monkeypatch.setattr(module, function, plain)
        elif name != IMPLEMENTATION:
            pytest.skip("the extension was not built, or is not wanted: see BUNWS_NO_EXTENSIONS in the README")
        yield name
