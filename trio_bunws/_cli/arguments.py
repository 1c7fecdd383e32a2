"""What every command's arguments have in common: how they are parsed, and the two ways to fail in one line.

Pure: no command, no I/O but argparse's own. `command_line.py` turns the two exceptions into a line and an exit code.
"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import NoReturn

USAGE: Final = 2
"""The exit code of a command that was given something senseless, as argparse and the shell have it."""
FAILURE: Final = 1
BY_SIGNAL: Final = 128
"""Added to a signal's number: the exit code of what a signal has ended, as in the shell."""


class UsageError(Exception):
    """An argument cannot work: one line on standard error, and exit code 2."""


class CommandError(Exception):
    """The arguments are fine, but it did not work: one line on standard error, and exit code 1."""


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, not the usage first."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def port(text: str) -> int:
    """Take a TCP port; 0 is allowed."""
    return _number(text, 0, 65535, "a port is a number from 0 to 65535")


def count(text: str) -> int:
    """Take a number of things, at least one."""
    return _number(text, 1, 10_000_000, "expected a whole number of at least 1")


def seconds(text: str) -> float:
    """Take a time, more than nothing."""
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text) and float(text) > 0:
        return float(text)
    raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, not {text!r}")


def header(text: str) -> tuple[str, str]:
    """Take `Name: value`; whether HTTP allows it is for the client to say."""
    name, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"expected 'Name: value', not {text!r}")
    return name.strip(), value.strip()


def _number(text: str, least: int, most: int, rule: str) -> int:
    if re.fullmatch(r"[0-9]{1,9}", text) and least <= int(text) <= most:
        return int(text)
    raise argparse.ArgumentTypeError(f"{rule}, not {text!r}")
