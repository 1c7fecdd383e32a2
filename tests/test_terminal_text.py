"""Text for a terminal: nothing in it moves the cursor, and its width is known."""

from __future__ import annotations

import unicodedata

import pytest

from trio_bunws._cli.terminal_text import coloured, printable, width


def test_no_control_character_is_left() -> None:
    everything = "".join(map(chr, range(0x3000)))
    left = {unicodedata.category(character) for character in printable(everything)}
    assert not left & {"Cc", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ö 日本 \xa0", "plain, ö 日本 \xa0"),
        ("\x1b[2J\a", "\\x1b[2J\\x07"),
        ("a\nb\r\tc\x7f\x9b", "a\\nb\\r\\tc\\x7f\\x9b"),
        ("\u202edesrever", "\\u202edesrever"),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_are_written_as_python_would(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "columns"), [("", 0), ("abc", 3), ("日本", 4), ("e\u0301", 1), ("a\u200db", 2), ("\uff21", 2)]
)
def test_wide_characters_take_two_columns_and_accents_none(text: str, columns: int) -> None:
    assert width(text) == columns


def test_a_colour_ends_with_its_text() -> None:
    assert coloured("text", "red") == "\x1b[31mtext\x1b[0m"
