"""Text on its way to a terminal: made harmless, measured and coloured.

Pure functions. A peer's message must not move the cursor or ring the bell, so control characters are shown, not sent.
"""

from __future__ import annotations

import unicodedata
from typing import Final

ESCAPES: Final = {code: repr(chr(code))[1:-1] for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    code: f"\\u{code:04x}"  # what turns the direction of the text around it, and the ends of lines
    for code in (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000))
}
RESET: Final = "\x1b[0m"
COLOURS: Final = {"dim": "\x1b[2m", "red": "\x1b[31m", "green": "\x1b[32m", "cyan": "\x1b[36m"}


def printable(text: str) -> str:
    """Return it with every control character written as Python would, so that it is one line and moves nothing."""
    return text.translate(ESCAPES)


def coloured(text: str, colour: str) -> str:
    """Return it in a colour of `COLOURS`."""
    return f"{COLOURS[colour]}{text}{RESET}"


def width(text: str) -> int:
    """Return how many columns a terminal needs for it; the text is `printable`."""
    return sum(map(columns, text))


def columns(character: str) -> int:
    """Return how many columns a terminal needs for one character."""
    if unicodedata.combining(character) or unicodedata.category(character) in {"Cf", "Me", "Mn"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
