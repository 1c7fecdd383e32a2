"""The user's side of `connect`: lines in, messages out, through a terminal with a prompt or through pipes.

Whoever waits here can be cancelled, and pings are answered meanwhile: `descriptors.py` waits in trio. What a line means
is not known here.
"""

from __future__ import annotations

import os
import termios
import tty
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import trio

from trio_bunws._cli.descriptors import read_some, write_all
from trio_bunws._cli.line_editor import LineEditor
from trio_bunws._cli.terminal_text import coloured, printable, width

if TYPE_CHECKING:
    from collections.abc import Generator

ERASE: Final = "\r\x1b[K"
PROMPT: Final = "> "
DEFAULT_COLUMNS: Final = 80
SMALLEST_ROOM: Final = 8
"""Columns for what is typed, however narrow the window is."""


class Console:
    """Standard input, output and error of one conversation; the descriptors stay the caller's."""

    def __init__(self, stdin: int = 0, stdout: int = 1, stderr: int = 2) -> None:
        self._stdin: Final = stdin
        self._stdout: Final = stdout
        self._stderr: Final = stderr
        self.interactive: Final = os.isatty(stdin) and os.isatty(stdout)
        self._plain: Final = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
        self._editor: Final = LineEditor()
        self._lines: Final[list[str | None]] = []  # those of the latest read that nobody has taken; None: the end
        self._input = bytearray()  # a pipe's, after its last complete line
        self._prompting = False
        self._drawing: Final = trio.Lock()  # what is written at once stays together

    # In

    @contextmanager
    def prompt(self) -> Generator[None]:
        """Let the terminal send each key at once for the block, unseen; with pipes this does nothing."""
        if not self.interactive:
            yield
            return
        before = termios.tcgetattr(self._stdin)
        self._prompting = True
        self._set_keys()
        try:
            yield
        finally:
            self._prompting = False
            with suppress(OSError, termios.error):  # the terminal may be gone
                termios.tcsetattr(self._stdin, termios.TCSANOW, before)
                os.write(self._stdout, ERASE.encode())  # a few bytes: not in trio, for this may be cancelled

    def _set_keys(self) -> None:
        """Have each key sent at once and unseen."""
        mode = termios.tcgetattr(self._stdin)
        mode[tty.IFLAG] &= ~termios.IXON  # Ctrl-S would stop the output, and everything that waits for it
        mode[tty.LFLAG] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)  # ISIG stays: Ctrl-C is a signal
        termios.tcsetattr(self._stdin, termios.TCSANOW, mode)

    async def refresh(self) -> None:
        """Draw the prompt: at first, and when the window has another size or the shell had the terminal meanwhile."""
        if self._prompting:
            self._set_keys()
            await self._print("")

    async def read_line(self) -> str | None:
        """Return the next line without its end, or `None` at the end of the input. A checkpoint.

        Raises:
            ValueError: if a line of a pipe is not UTF-8.
        """
        await trio.lowlevel.checkpoint()  # some may be left of the last read
        while not self._lines:
            data = await read_some(self._stdin)
            if self.interactive:
                self._lines.extend(self._editor.feed(data) if data else [None])
                if not self._lines:
                    await self._print("")
            else:
                self._take(data)
        line = self._lines.pop(0)
        if self.interactive and line is not None:
            typed = self._paint(PROMPT, self._stdout, "dim") + printable(line) + "\n"
            await self._print(typed if line else "")
        return line

    def _take(self, data: bytes) -> None:
        """Take more of a pipe's input; nothing is its end."""
        self._input += data
        if data and b"\n" not in data:
            return  # so a long line that comes in many pieces is searched once
        if not data and self._input:
            self._input += b"\n"  # the last line need not have one
        *complete, self._input = self._input.split(b"\n")
        self._lines.extend(bytes(line).removesuffix(b"\r").decode() for line in complete)
        if not data:
            self._lines.append(None)

    # Out

    async def message(self, message: str | bytes) -> None:
        """Show what was received: on a terminal harmless and with a mark, in a pipe as it is, binary as hex digits."""
        if not self.interactive:
            text = message if isinstance(message, str) else message.hex()
            await write_all(self._stdout, f"{text}\n")
            return
        text = printable(message) if isinstance(message, str) else f"(binary, {len(message)} bytes) {message.hex()}"
        await self._print(self._paint(f"< {text}", self._stdout, "cyan") + "\n")

    async def notice(self, text: str, colour: str = "green") -> None:
        """Tell something about the conversation: beside it on a terminal, otherwise on standard error."""
        painted = "".join(f"{self._paint(printable(line), self._stderr, colour)}\n" for line in text.splitlines())
        if self.interactive:
            await self._print(painted)
        else:
            await write_all(self._stderr, painted)

    async def _print(self, text: str) -> None:
        """Print whole lines above the prompt, and draw it."""
        async with self._drawing:
            await write_all(self._stdout, ERASE + text + (self._prompt_line() if self._prompting else ""))

    def _prompt_line(self) -> str:
        """Return the prompt, what is typed, and what puts the cursor into it."""
        try:
            size = os.get_terminal_size(self._stdout).columns or DEFAULT_COLUMNS
        except OSError:  # it is gone, which the next read will tell
            size = DEFAULT_COLUMNS
        shown = self._editor.shown(max(SMALLEST_ROOM, size - len(PROMPT)))
        back = width(shown.text) - shown.cursor
        return self._paint(PROMPT, self._stdout, "dim") + shown.text + (f"\x1b[{back}D" if back else "")

    def _paint(self, text: str, where: int, colour: str) -> str:
        return text if self._plain or not os.isatty(where) else coloured(text, colour)
