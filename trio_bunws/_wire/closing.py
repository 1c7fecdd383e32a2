"""What a peer's Close frame says (RFC 6455, section 5.5.1), and the codes of those that answer a broken protocol.

Pure functions, which the codec calls; what a close means for a connection is not known here.
"""

from __future__ import annotations

from typing import Final

from trio_bunws._close import NO_CODE, is_valid_close_code
from trio_bunws._wire.events import Close, Failure

FRAMING_ERROR: Final = 1002
NOT_UTF8: Final = 1007


def read_close(payload: bytes) -> Close | Failure:
    """Read the body of a Close frame (RFC 6455, section 5.5.1)."""
    if not payload:
        return Close(NO_CODE, "")
    if len(payload) == 1:
        return Failure(FRAMING_ERROR, "Close frame with a body of one byte")
    code = int.from_bytes(payload[:2])
    if not is_valid_close_code(code):
        return Failure(FRAMING_ERROR, f"Close frame with invalid code {code}")
    try:
        return Close(code, payload[2:].decode())
    except UnicodeDecodeError:
        return Failure(NOT_UTF8, "Close frame with a reason that is not UTF-8")
