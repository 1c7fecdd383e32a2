"""The optional extension in C, as type checkers see it; its sources are in `_c/`, and `_extension.py` imports it."""

def unmask(data: bytes, key: bytes, offset: int, /) -> bytes:
    """Return ``data`` with the mask taken off, or put on; as `_wire.frames.unmask`."""
