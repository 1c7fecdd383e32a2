"""A line being typed: keys in, finished lines out, with a cursor and a history. Bytes and text only, no terminal.

`console.py` feeds it what the terminal sends and draws what it shows. It takes the place of the `readline` module,
whose wait for a key blocks its thread and cannot be cancelled.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from typing import TYPE_CHECKING, Final, NamedTuple

from trio_bunws._cli.terminal_text import columns, printable

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_HISTORY: Final = 1000
KEY: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO.|\x1b[^\[O]|[^\x1b]", re.DOTALL)
"""One key: a sequence of a terminal (ECMA-48, section 5.4; application mode), a character with Alt, or a character."""
UNFINISHED: Final = re.compile(r"\x1b(\[[0-?]*[ -/]*|O)?")
END_OF_INPUT: Final = "\x04"


class Shown(NamedTuple):
    """What to draw of the line."""

    text: str
    """The part that fits, printable."""
    cursor: int
    """The column of the cursor in it."""


class LineEditor:
    """One line, and those before it."""

    def __init__(self) -> None:
        self._text = ""
        self._cursor = 0
        self._history: Final[list[str]] = []
        self._at = 0  # in the history; its length: the line that is being typed
        self._draft = ""
        self._decoder: Final = getincrementaldecoder("utf-8")("replace")
        self._rest = ""  # of a key that is not complete
        self._keys: Final[dict[str, Callable[[], None]]] = {
            "\x01": self._home,
            "\x02": self._left,
            "\x05": self._end,
            "\x06": self._right,
            "\x08": self._backspace,
            "\x0b": self._cut_rest,
            "\x0e": self._newer,
            "\x10": self._older,
            "\x15": self._cut_start,
            "\x17": self._cut_word,
            "\x7f": self._backspace,
            "\x1b\x7f": self._cut_word,
            "\x1bb": self._word_left,
            "\x1bf": self._word_right,
            "\x1b[1;5C": self._word_right,
            "\x1b[1;5D": self._word_left,
            "\x1b[3~": self._delete,
            "\x1b[1~": self._home,
            "\x1b[4~": self._end,
            "\x1b[7~": self._home,
            "\x1b[8~": self._end,
        }
        for letter, action in {
            "A": self._older,
            "B": self._newer,
            "C": self._right,
            "D": self._left,
            "F": self._end,
            "H": self._home,
        }.items():
            self._keys[f"\x1b[{letter}"] = self._keys[f"\x1bO{letter}"] = action

    def feed(self, data: bytes) -> list[str | None]:
        """Take what the terminal sent; return the lines that it finished, and `None` for the end of input."""
        text = self._rest + self._decoder.decode(data)
        done: list[str | None] = []
        at = 0
        while at < len(text):
            key = KEY.match(text, at)
            if key is None:
                break
            at = key.end()
            if key[0] in {"\r", "\n"}:
                done.append(self._finish())
            elif key[0] == END_OF_INPUT and not self._text:
                done.append(None)
            else:
                self._press(key[0])
        self._rest = text[at:] if UNFINISHED.fullmatch(text, at) else ""
        return done

    def shown(self, room: int) -> Shown:
        """Return what to draw in so many columns: a window of the line that has the cursor in it."""
        cells = [printable(character) for character in self._text]
        widths = [sum(map(columns, cell)) for cell in cells]
        first = 0
        cursor = sum(widths[: self._cursor])
        while cursor >= room and first < self._cursor:
            cursor -= widths[first]
            first += 1
        last, used = first, 0
        while last < len(cells) and used + widths[last] < room:
            used += widths[last]
            last += 1
        return Shown("".join(cells[first:last]), cursor)

    def _press(self, key: str) -> None:
        if key in self._keys:
            self._keys[key]()
        elif key == END_OF_INPUT:
            self._delete()
        elif key == "\t" or printable(key) == key:  # other control characters and unknown keys do nothing
            self._text = self._text[: self._cursor] + key + self._text[self._cursor :]
            self._cursor += 1

    def _finish(self) -> str:
        line = self._text
        if line and self._history[-1:] != [line]:
            self._history.append(line)
            del self._history[:-MAX_HISTORY]
        self._at = len(self._history)
        self._show("")
        return line

    def _show(self, text: str) -> None:
        self._text = text
        self._cursor = len(text)

    # The cursor

    def _home(self) -> None:
        self._cursor = 0

    def _end(self) -> None:
        self._cursor = len(self._text)

    def _left(self) -> None:
        self._cursor = max(0, self._cursor - 1)

    def _right(self) -> None:
        self._cursor = min(len(self._text), self._cursor + 1)

    def _word_left(self) -> None:
        self._cursor = len(re.sub(r"\S+\s*$|\s+$", "", self._text[: self._cursor]))

    def _word_right(self) -> None:
        found = re.compile(r"\s*\S*").match(self._text, self._cursor)
        assert found is not None  # it may be empty
        self._cursor = found.end()

    # Cutting

    def _cut(self, start: int, end: int) -> None:
        self._text = self._text[:start] + self._text[end:]
        self._cursor = start

    def _backspace(self) -> None:
        self._cut(max(0, self._cursor - 1), self._cursor)

    def _delete(self) -> None:
        self._cut(self._cursor, self._cursor + 1)

    def _cut_rest(self) -> None:
        self._cut(self._cursor, len(self._text))

    def _cut_start(self) -> None:
        self._cut(0, self._cursor)

    def _cut_word(self) -> None:
        end = self._cursor
        self._word_left()
        self._cut(self._cursor, end)

    # The history

    def _older(self) -> None:
        self._go(self._at - 1)

    def _newer(self) -> None:
        self._go(self._at + 1)

    def _go(self, to: int) -> None:
        if not 0 <= to <= len(self._history):
            return
        if self._at == len(self._history):
            self._draft = self._text
        self._at = to
        self._show(self._draft if to == len(self._history) else self._history[to])
