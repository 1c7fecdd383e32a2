"""`trio-bunws` as a whole: which command runs, its help, and how every kind of failure becomes an exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import trio_bunws
from trio_bunws._cli import command_line
from trio_bunws._cli.arguments import CommandError, UsageError
from trio_bunws._cli.command_line import COMMANDS, Command, main

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


@pytest.fixture(name="doing")
def _doing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException | int], None]:
    """Return what makes `connect` return a code, or raise."""

    def install(what: BaseException | int) -> None:
        def run(_given: argparse.Namespace) -> int:
            if isinstance(what, BaseException):
                raise what
            return what

        command = Command("", "", COMMANDS["connect"].add_arguments, run)
        monkeypatch.setitem(command_line.COMMANDS, "connect", command)

    return install


@pytest.mark.parametrize(
    ("what", "code", "complaint"),
    [
        (0, 0, ""),
        (7, 7, ""),
        (UsageError("no such\nthing"), 2, "trio-bunws connect: error: no such\\nthing\n"),
        (CommandError("nobody there"), 1, "trio-bunws connect: error: nobody there\n"),
        (OSError(28, "No space left on device"), 1, "trio-bunws connect: error: [Errno 28] No space left on device\n"),
        (BrokenPipeError(), 141, ""),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_every_end_has_its_exit_code_and_at_most_one_line(
    doing: Callable[[BaseException | int], None],
    capsys: pytest.CaptureFixture[str],
    what: BaseException | int,
    code: int,
    complaint: str,
) -> None:
    doing(what)
    assert main(["connect", "ws://server.test/"]) == code
    assert capsys.readouterr() == ("", complaint)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_fits_and_has_examples_and_exit_codes(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: trio-bunws {name} " in shown
    assert "exit codes:" in shown
    assert f"examples:\n  trio-bunws {name} " in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_the_help_of_all_names_each(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert [name for name in ("connect", "serve", "bench") if f"\n    {name} " in shown] == [*COMMANDS]


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr() == (f"trio-bunws {trio_bunws.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "trio-bunws: error: the following arguments are required: COMMAND (see trio-bunws --help)\n"),
        (["connect"], "the following arguments are required: URL (see trio-bunws connect --help)\n"),
        (
            ["serve", "app", "-p", "x"],
            "a port is a number from 0 to 65535, not 'x' (see trio-bunws serve --help)\n",
        ),
        (["bench", "ws://x", "--si", "3"], "unrecognized arguments: --si 3 (see trio-bunws --help)\n"),
    ],
)
def test_what_is_not_understood_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert shown.endswith(complaint)
    assert shown.count("\n") == 1
