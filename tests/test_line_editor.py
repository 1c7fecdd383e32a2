"""A line being typed: keys as terminals send them, the cursor, the history, and what is drawn."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from trio_bunws._cli.line_editor import MAX_HISTORY, LineEditor
from trio_bunws._cli.terminal_text import printable, width

UP, DOWN, RIGHT, LEFT, HOME, END = (f"\x1b[{letter}" for letter in "ABCDHF")
DELETE = "\x1b[3~"


def typed(keys: str) -> LineEditor:
    editor = LineEditor()
    assert editor.feed(keys.encode()) == []
    return editor


@pytest.mark.parametrize(
    ("keys", "text", "cursor"),
    [
        ("abc", "abc", 3),
        (f"abc{LEFT}x", "abxc", 3),
        (f"abc{LEFT}{LEFT}{LEFT}{LEFT}x", "xabc", 1),
        (f"ab{LEFT}{RIGHT}{RIGHT}c", "abc", 3),
        (f"bc{HOME}a", "abc", 1),
        (f"bc\x01a{END}d\x02\x06e", "abcde", 5),
        ("bc\x1bOHa\x1bOFd", "abcd", 4),
        ("bc\x1b[1~a\x1b[4~d\x1b[7~_\x1b[8~!", "_abcd!", 6),
        ("abc\x7f\x08", "a", 1),
        ("\x7f", "", 0),
        (f"abc{HOME}{DELETE}\x04", "c", 0),
        (f"abc{DELETE}\x04", "abc", 3),
        (f"abc{LEFT}\x0b", "ab", 2),
        (f"abc{LEFT}\x15", "c", 0),
        ("one two  \x17", "one ", 4),
        ("one two\x1b\x7f\x17", "", 0),
        ("one two\x1bbx", "one xtwo", 5),
        ("one two\x1b[1;5D\x1b[1;5D\x1b[1;5Cx", "onex two", 4),
        ("one two\x01\x1bf\x1bf\x1bf!", "one two!", 8),
        ("a\x07\x1b[15~\x1b[99;2Z\x1bqb", "ab", 2),
        ("日本\x02語", "日語本", 4),
        ("a\tb", "a\\tb", 4),
    ],
)
def test_keys_edit_the_line(keys: str, text: str, cursor: int) -> None:
    assert typed(keys).shown(80) == (text, cursor)


def test_the_return_key_finishes_a_line_and_begins_an_empty_one() -> None:
    editor = LineEditor()
    assert editor.feed(b"one\rtwo\nthr") == ["one", "two"]
    assert editor.feed(b"ee\r") == ["three"]
    assert editor.shown(80) == ("", 0)


def test_ctrl_d_ends_the_input_only_on_an_empty_line() -> None:
    editor = LineEditor()
    assert editor.feed(b"a\x04\x7f\x04") == [None]


def test_a_key_may_come_in_two_pieces() -> None:
    editor = typed("ac\x1b[")
    assert editor.feed(b"Db\r") == ["abc"]


@given(cuts=st.lists(st.integers(0, 40)))
def test_keys_may_come_in_pieces(cuts: list[int]) -> None:
    data = f"aö日{LEFT}{DELETE}\x1bOH\x1b[1;5Cx\x1bb\r".encode()
    editor = LineEditor()
    done: list[str | None] = []
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in pairwise(edges):
        done += editor.feed(data[start:end])
    assert done == ["aöx"]


@given(data=st.binary(max_size=100), room=st.integers(3, 30))
def test_no_keys_break_it_and_what_is_shown_fits(data: bytes, room: int) -> None:
    editor = LineEditor()
    editor.feed(data)
    text, cursor = editor.shown(room)
    assert printable(text) == text
    assert width(text) < room
    assert 0 <= cursor <= width(text)


def test_the_history_is_walked_through_and_keeps_the_draft() -> None:
    editor = LineEditor()
    editor.feed(b"one\rtwo\rtwo\r\rdra")
    walked = []
    for key in (UP, UP, UP, DOWN, DOWN, DOWN, "\x10", "\x0e"):
        editor.feed(key.encode())
        walked.append(editor.shown(80).text)
    assert walked == ["two", "one", "one", "two", "dra", "dra", "two", "dra"]


def test_a_line_of_the_history_can_be_changed_and_sent() -> None:
    editor = LineEditor()
    assert editor.feed(f"one\r{UP}!\r{UP}{UP}\r".encode()) == ["one", "one!", "one"]


def test_the_history_is_bounded() -> None:
    editor = LineEditor()
    for number in range(MAX_HISTORY + 10):
        editor.feed(f"{number}\r".encode())
    editor.feed(UP.encode() * (MAX_HISTORY + 10))
    assert editor.shown(80).text == "10"


def test_a_long_line_is_shown_around_the_cursor() -> None:
    editor = typed("0123456789")
    assert editor.shown(6) == ("56789", 5)
    editor.feed(HOME.encode())
    assert editor.shown(6) == ("01234", 0)
    editor.feed(RIGHT.encode() * 6)
    assert editor.shown(6) == ("12345", 5)
