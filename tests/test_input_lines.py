"""What a typed line means: messages, commands, and mistakes told in words."""

from __future__ import annotations

import pytest

from trio_bunws._cli.input_lines import CloseWith, Help, Line, Message, SendPing, SendPong, understand


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("hello", Message("hello")),
        ("", Message("")),
        (" /ping", Message(" /ping")),
        ("//ping", Message("/ping")),
        ("//", Message("/")),
        ("/ping", SendPing("")),
        ("/ping are you there", SendPing("are you there")),
        ("/pong  x ", SendPong("x")),
        ("/binary 00ff", Message(b"\x00\xff")),
        ("/binary 0x00 ff", Message(b"\x00\xff")),
        ("/binary", Message(b"")),
        ("/close", CloseWith(1000, "")),
        ("/close 4000", CloseWith(4000, "")),
        ("/close 4000 that's all ", CloseWith(4000, "that's all")),
        ("/help", Help()),
    ],
)
def test_a_line_is_a_message_or_a_command(line: str, meaning: Line) -> None:
    found = understand(line)
    assert (type(found), found) == (type(meaning), meaning)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/binary 0", "/binary expects pairs of hexadecimal digits"),
        ("/binary hello", "not 'hello'"),
        ("/close now", "/close expects a code of four digits first, not 'now'"),
        ("/close 100000", "not '100000'"),
        ("/quit", "there is no command '/quit'"),
        ("/help me", "there is no command '/help me'"),
        ("/", "there is no command '/'"),
        ("/pingpong", "there is no command"),
    ],
)
def test_a_mistake_is_told_in_words(line: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"^/(binary|close) expects|^there is no command") as caught:
        understand(line)
    assert words in str(caught.value)
