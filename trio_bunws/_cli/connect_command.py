"""`trio-bunws connect URL`: a conversation with a WebSocket server, by hand or through pipes.

One task reads lines and sends them, another shows what comes: neither waits for the other, so that a server that
answers more than it reads cannot hold both up.
"""

from __future__ import annotations

import math
import signal
import textwrap
from typing import TYPE_CHECKING, Final, assert_never

import trio

from trio_bunws._cli.arguments import FAILURE, CommandError, seconds
from trio_bunws._cli.client_arguments import add_client_arguments, client_maker, connected
from trio_bunws._cli.console import Console
from trio_bunws._cli.input_lines import (
    COMMANDS,
    CloseWith,
    Help,
    Line,
    Message,
    SendPing,
    SendPong,
    understand,
)
from trio_bunws._cli.interruption import until_interrupted
from trio_bunws._cli.racing import until_first_ends
from trio_bunws._errors import ConnectionClosed
from trio_bunws._websocket import QUIET_CODES

if TYPE_CHECKING:
    import argparse

    from trio_bunws._client import WebSocket
    from trio_bunws._client_events import MessageEvent

DESCRIPTION: Final = "Talk to a WebSocket server: lines are text messages, and its own are shown."
EPILOG: Final = f"""\
On a terminal there is a prompt, with a history (arrow keys) and commands:
{textwrap.indent(COMMANDS, "  ")}

Without a terminal, lines come from standard input, where the commands work too
unless --no-commands. Messages go to standard output, one in a line, binary ones
as hexadecimal digits; everything else goes to standard error. After the end of
the input, messages are shown until none has come for a second (--wait), or with
--listen until the server closes.

exit codes:
  0    closed in good order
  1    no connection, or it was lost, or closed by the server with an error
  2    wrong usage
  130  Ctrl-C (143: SIGTERM; 141: nobody reads the output any more)

examples:
  trio-bunws connect ws://127.0.0.1:3000/
  trio-bunws connect -H 'Authorization: Bearer abc' -s v1 wss://example.org/
  echo news | trio-bunws connect --listen wss://example.org/feed | jq .title
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `connect` takes."""
    add_client_arguments(parser)
    pipes = parser.add_argument_group("without a terminal")
    pipes.add_argument("--listen", action="store_true", help="go on after the end of the input until the server closes")
    pipes.add_argument(
        "--wait",
        type=seconds,
        default=1.0,
        metavar="SECONDS",
        help="close after so much silence once the input has ended (default: 1)",
    )
    pipes.add_argument("--no-commands", action="store_true", help="lines that begin with a slash are messages too")


def run(given: argparse.Namespace) -> int:
    """Carry the command out; return its exit code."""
    ws = client_maker(given)(None)
    return trio.run(until_interrupted, Conversation(ws, Console(), given).run)


class Conversation:
    """One connection and its user."""

    def __init__(self, ws: WebSocket, console: Console, given: argparse.Namespace) -> None:
        self._ws: Final = ws
        self._console: Final = console
        self._compress: Final[bool] = given.compress
        self._listen: Final[bool] = given.listen
        self._wait: Final[float] = given.wait
        self._commands: Final[bool] = not given.no_commands
        self._pings: Final[dict[str | bytes, float]] = {}  # when the user's were sent
        self._leaving = False  # the user has closed
        self._quiet: Final = trio.CancelScope()  # its deadline: when it was silent for too long after the input's end

    async def run(self) -> int:
        """Talk until one side closes, and return the exit code.

        Raises:
            CommandError: if there is no connection, or the input of a pipe makes no sense.
            OSError: if its output cannot be written.
        """
        self._ws.add_event_listener("pong", self._tell_pong)
        async with connected(self._ws):
            return await self._talk()

    async def _talk(self) -> int:
        ws, console = self._ws, self._console
        agreed = [f"subprotocol {ws.protocol}"] if ws.protocol is not None else []
        agreed += [ws.extensions] if ws.extensions else []
        await console.notice(f"Connected to {ws.url}" + (f" ({', '.join(agreed)})" if agreed else ""))
        if console.interactive:
            await console.notice("Type a message, or /help", "dim")
        with console.prompt():
            await until_first_ends(self._show_messages, self._take_lines, self._follow_terminal)
        ending = await ws.closed()
        words = f"{ending.code} ({ending.reason})" if ending.reason else f"{ending.code}"
        in_order = ending.received is not None and (self._leaving or ending.code in QUIET_CODES)
        await console.notice(f"Connection closed: {words}", "green" if in_order else "red")
        return 0 if in_order else FAILURE

    async def _show_messages(self) -> None:
        """Show what comes until the connection closes, or was quiet for too long after the end of the input."""
        with self._quiet:
            try:
                while True:
                    await self._console.message(await self._ws.receive())
                    if self._quiet.deadline < math.inf:
                        self._quiet.deadline = trio.current_time() + self._wait
            except ConnectionClosed:
                return
        self._leave(CloseWith(1000, ""))

    async def _take_lines(self) -> None:
        """Send what is typed until the end of the input; then another task sees the end of the conversation."""
        try:
            while (line := await self._next_line()) is not None:
                await self._obey(line)
            await self._ws.drained()
        except ConnectionClosed:
            pass  # the other task shows what had come before
        else:
            if self._console.interactive:
                self._leave(CloseWith(1000, ""))
            elif not self._listen:
                self._quiet.deadline = trio.current_time() + self._wait
        await trio.sleep_forever()

    async def _next_line(self) -> str | None:
        try:
            return await self._console.read_line()
        except UnicodeDecodeError:
            raise CommandError("the input is not UTF-8 text: send other bytes by /binary") from None

    async def _obey(self, line: str) -> None:
        """Do what a line says. On a terminal a mistake is told; in a pipe nobody could correct it."""
        if self._console.interactive and not line:
            return  # nobody means to send an empty message by the return key
        try:
            await self._do(understand(line) if self._commands else Message(line))
        except ValueError as exc:
            if not self._console.interactive:
                raise CommandError(str(exc)) from None
            await self._console.notice(str(exc), "red")

    async def _do(self, line: Line) -> None:
        match line:
            case Message(data):
                await self._ws.send_wait(data, self._compress)
            case SendPing(data):
                self._ws.ping(data)
                self._pings[data.encode()] = trio.current_time()
            case SendPong(data):
                self._ws.pong(data)
            case CloseWith():
                self._leave(line)
            case Help():
                await self._console.notice(COMMANDS, "dim")
            case _:
                assert_never(line)

    async def _tell_pong(self, event: MessageEvent) -> None:
        """Tell of the answer to a ping of the user's; those that keep the connection alive are nobody's business."""
        sent = self._pings.pop(event.data, None)
        if sent is not None:
            await self._console.notice(f"pong after {(trio.current_time() - sent) * 1000:.2f} ms", "dim")

    def _leave(self, how: CloseWith) -> None:
        self._ws.close(how.code, how.reason)
        self._leaving = True

    async def _follow_terminal(self) -> None:
        """Draw the prompt; again when the window changes, and when the shell lets us go on after Ctrl-Z."""
        with trio.open_signal_receiver(signal.SIGWINCH, signal.SIGCONT) as signals:
            await self._console.refresh()
            async for _ in signals:
                await self._console.refresh()
