"""`python -m trio_bunws` is the command line, and importing the file does nothing."""

from __future__ import annotations

import runpy
import sys

import pytest


def test_running_the_package_runs_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["trio_bunws", "connect", "http://server.test/"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("trio_bunws", run_name="__main__")
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("trio-bunws connect: error: ")


def test_importing_it_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_module("trio_bunws.__main__", run_name="something else")
    assert capsys.readouterr() == ("", "")
