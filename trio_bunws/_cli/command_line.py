"""`trio-bunws`: which command is meant, and how it ends: an exit code, and at most one line about what went wrong.

`[project.scripts]` and `__main__.py` call `main`; each command has a file of its own.
"""

from __future__ import annotations

import argparse
import signal
import sys
import textwrap
from typing import TYPE_CHECKING, Final, NamedTuple

from trio_bunws._cli import bench_command, connect_command, serve_command
from trio_bunws._cli.arguments import BY_SIGNAL, FAILURE, USAGE, CommandError, Parser, UsageError
from trio_bunws._cli.terminal_text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PROGRAM: Final = "trio-bunws"
WIDTH: Final = 79


class Command(NamedTuple):
    """What a command's file has."""

    description: str
    epilog: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


COMMANDS: Final = {
    name: Command(module.DESCRIPTION, module.EPILOG, module.add_arguments, module.run)
    for name, module in (("connect", connect_command), ("serve", serve_command), ("bench", bench_command))
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit code. Arguments: those of the process.

    Raises:
        SystemExit: as argparse does, for `--help` and for arguments that it does not understand.
    """
    given = parser().parse_args(arguments)
    try:
        return COMMANDS[given.command].run(given)
    except UsageError as exc:
        return _complain(given.command, exc, USAGE)
    except CommandError as exc:
        return _complain(given.command, exc, FAILURE)
    except BrokenPipeError:  # whoever read the output has seen enough
        return BY_SIGNAL + signal.SIGPIPE
    except OSError as exc:
        return _complain(given.command, exc, FAILURE)
    except KeyboardInterrupt:
        return BY_SIGNAL + signal.SIGINT


def parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    top = Parser(
        prog=PROGRAM,
        description="Talk to, serve and load WebSocket servers.",
        epilog=f"{PROGRAM} COMMAND --help tells about a command.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"{PROGRAM} {version()}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        one = commands.add_parser(
            name,
            help=command.description,
            description=textwrap.fill(command.description, WIDTH),
            epilog=command.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(one)
    return top


def version() -> str:
    """Return the package's version, as its top has it."""
    return str(sys.modules["trio_bunws"].__version__)


def _complain(command: str, exc: Exception, code: int) -> int:
    sys.stderr.write(f"{PROGRAM} {command}: error: {printable(str(exc))}\n")
    return code
