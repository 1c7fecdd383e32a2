"""Close codes and reasons: which may be sent, which may be received, and how an end is told.

Pure functions and values. `_wire` asks for what a peer may send, `_endpoint` for what the application may; an endpoint
makes the `CloseInfo` when it begins to close. Sources: RFC 6455, section 7.4; BEHAVIOUR.md, "Closing".
"""

from __future__ import annotations

from typing import Final, NamedTuple

import attrs

from trio_bunws._errors import NO_CLOSE_FRAME, ConnectionClosed

MAX_REASON_BYTES: Final = 123
"""A control frame holds 125 bytes (RFC 6455, section 5.5), two of which are the code."""
NO_CODE: Final = 1005
"""Stands for the code of a Close frame without a body (RFC 6455, section 7.4.1)."""
_PROTOCOL_CODES: Final = frozenset((*range(1000, 1004), *range(1007, 1015)))


class CloseFrame(NamedTuple):
    """The content of one Close frame; 1005 and "" stand for an empty one."""

    code: int
    """The close code."""
    reason: str
    """The reason, at most 123 bytes as UTF-8."""


@attrs.frozen
class CloseInfo:
    """How a connection ended."""

    code: int
    """What the close handler is given: the code of the side that closed first, 1005 for a Close without a
    code, 1006 for a connection that ended without a Close."""
    reason: str
    """The reason given with `code`, or ""."""
    sent: CloseFrame | None
    """The Close frame that this side sent, or None."""
    received: CloseFrame | None
    """The Close frame that the peer sent, or None."""


ABNORMAL: Final = CloseInfo(NO_CLOSE_FRAME, "", None, None)
"""How a connection ends that is lost or aborted."""
INACTIVE: Final = CloseInfo(NO_CLOSE_FRAME, "WebSocket timed out from inactivity", None, None)
"""How a silent connection ends."""


def is_valid_close_code(code: int) -> bool:
    """Tell whether a Close frame may carry this code, in either direction.

    Allowed are 1000-1003, 1007-1014 and 3000-4999. The others below 5000 are reserved, or stand for the lack
    of a code (1005, 1006, 1015), or belong to future versions of the protocol.
    """
    return code in _PROTOCOL_CODES or 3000 <= code <= 4999


def check_close_code(code: object, method: str = "close") -> int:
    """Return ``code`` if the application may close with it; ``method`` is for the message.

    Raises:
        TypeError: if it is no int, or a bool.
        ValueError: if no Close frame may carry it.
    """
    if not isinstance(code, int) or isinstance(code, bool):
        raise TypeError(f"{method} expects code to be an integer, not {type(code).__name__}")
    if not is_valid_close_code(code):
        raise ValueError(f"{method} expects code to be 1000-1003, 1007-1014 or 3000-4999, not {code}")
    return code


def cut_reason(reason: object, method: str = "close") -> str:
    """Return ``reason``, cut to 123 bytes of UTF-8 at a character's boundary; ``method`` is for the message.

    Raises:
        TypeError: if it is no str.
        ValueError: if it cannot be written as UTF-8 (a lone surrogate).
    """
    if not isinstance(reason, str):
        raise TypeError(f"{method} expects reason to be a string, not {type(reason).__name__}")
    encoded = reason.encode()
    if len(encoded) <= MAX_REASON_BYTES:
        return reason
    return encoded[:MAX_REASON_BYTES].decode(errors="ignore")


def closed_error(ending: CloseInfo) -> ConnectionClosed:
    """Return the exception of who waits for something that cannot happen any more."""
    return ConnectionClosed(ending.received, ending.sent, code=ending.code, reason=ending.reason)
