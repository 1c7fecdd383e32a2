"""What binary messages are to an application: `bytes`, `bytearray` or `memoryview`, under our names and Bun's.

Pure functions, for both ends of a connection: the property `binary_type` of a socket is checked here, and what it
receives is converted here.
"""

from __future__ import annotations

from typing import Final, Literal

BinaryType = Literal["bytes", "bytearray", "memoryview"]
BINARY_TYPES: Final[dict[str, BinaryType]] = {
    "bytes": "bytes",
    "bytearray": "bytearray",
    "memoryview": "memoryview",
    "nodebuffer": "bytes",
    "uint8array": "bytearray",
    "arraybuffer": "memoryview",
}
"""The kinds of binary messages, with Bun's names for them."""


def check_binary_type(value: object) -> BinaryType:
    """Return the kind of binary messages that a name stands for; raise `ValueError` for another."""
    if not isinstance(value, str) or value not in BINARY_TYPES:
        raise ValueError(f"binary_type expects one of {', '.join(map(repr, BINARY_TYPES))}, not {value!r}")
    return BINARY_TYPES[value]


def convert(message: str | bytes, kind: BinaryType) -> str | bytes | bytearray | memoryview:
    """Return a binary message as `kind` says; text as it is."""
    if isinstance(message, bytes):
        match kind:
            case "bytearray":
                return bytearray(message)
            case "memoryview":
                return memoryview(message)
    return message
