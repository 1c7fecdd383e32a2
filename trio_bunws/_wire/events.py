"""What the codec tells of a peer's frames: plain values, with no behaviour and no reference to a connection.

`codec.py` makes them and `_connection.py` acts on them, for clients as for servers. A message has no class of its own,
because its payload says all: a text message is a `str`, a binary one `bytes`.
"""

from __future__ import annotations

from typing import TypeAlias

import attrs


@attrs.frozen
class Ping:
    """A ping, to be answered with a pong of the same payload (RFC 6455, section 5.5.2)."""

    data: bytes
    """The payload, at most 125 bytes."""


@attrs.frozen
class Pong:
    """An answer to a ping, or an unsolicited pong (RFC 6455, section 5.5.3)."""

    data: bytes
    """The payload, at most 125 bytes."""


@attrs.frozen
class Close:
    """The peer's Close frame (RFC 6455, section 5.5.1); no event follows it."""

    code: int
    """The peer's code, or 1005 where the frame was empty."""
    reason: str
    """The peer's reason, or ""."""


@attrs.frozen
class Failure:
    """The peer broke the protocol or a limit; no event follows it.

    Both fields fit the Close frame that tells the peer (RFC 6455, section 7.1.7).
    """

    code: int
    """1002 (framing), 1007 (text that is not UTF-8) or 1009 (too big, too many fragments)."""
    reason: str
    """What was wrong, in words; at most 123 bytes."""


Message: TypeAlias = str | bytes
"""A whole message: text, or bytes."""

Event: TypeAlias = Message | Ping | Pong | Close | Failure
"""Anything that comes out of `Codec.events`."""
