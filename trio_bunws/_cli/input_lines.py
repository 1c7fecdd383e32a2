"""What a line typed into `connect` means: a message, or a command that begins with a slash.

Pure: `connect_command.py` reads the lines and does what they say.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, TypeAlias

COMMANDS: Final = """\
/ping [text]            send a ping
/pong [text]            send a pong that nobody asked for
/binary hex             send a binary message, as /binary 0102ff
/close [code [reason]]  close, as /close 4000 that's all
/help                   show this
//text                  send text with a slash: //text sends /text
Ctrl-D closes with 1000, Ctrl-C leaves with 1001."""


class Message(NamedTuple):
    """Send this: text or binary."""

    data: str | bytes


class SendPing(NamedTuple):
    """Send a ping."""

    data: str


class SendPong(NamedTuple):
    """Send a pong."""

    data: str


class CloseWith(NamedTuple):
    """Close."""

    code: int
    reason: str


class Help(NamedTuple):
    """Tell the commands."""


Line: TypeAlias = Message | SendPing | SendPong | CloseWith | Help


def understand(line: str) -> Line:
    """Return what a line asks for.

    Raises:
        ValueError: if it is a command that does not exist, or is not used as it should be; in words for the user.
    """
    if not line.startswith("/"):
        return Message(line)
    if line.startswith("//"):
        return Message(line[1:])
    command, _, rest = line.partition(" ")
    rest = rest.strip()
    match command:
        case "/ping" | "/pong":
            return SendPing(rest) if command == "/ping" else SendPong(rest)
        case "/binary":
            return Message(_bytes(rest))
        case "/close":
            return _close(rest)
        case "/help" if not rest:
            return Help()
        case _:
            raise ValueError(
                f"there is no command {line!r}: /help shows them, //... sends text that begins with a slash"
            )


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise ValueError(f"/binary expects pairs of hexadecimal digits, as 0102ff, not {text!r}") from None


def _close(text: str) -> CloseWith:
    if not text:
        return CloseWith(1000, "")
    code, _, reason = text.partition(" ")
    if not re.fullmatch("[0-9]{4}", code):
        raise ValueError(f"/close expects a code of four digits first, not {code!r}")
    return CloseWith(int(code), reason.strip())
