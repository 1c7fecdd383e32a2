"""Reading and writing file descriptors, waiting in trio and not in a system call.

Terminals, pipes and files all work; they are not made non-blocking, because other processes share them.
"""

from __future__ import annotations

import os
import select
from typing import Final

import trio

AT_ONCE: Final = select.PIPE_BUF
"""Bytes that a pipe said to be writable takes without blocking: pipe(7)."""
AT_MOST: Final = 64 * 1024


async def read_some(descriptor: int) -> bytes:
    """Return what has come, at least a byte; nothing at the end, which a terminal that is gone is too. A checkpoint."""
    try:
        try:
            await trio.lowlevel.wait_readable(descriptor)
        except PermissionError:
            await trio.lowlevel.checkpoint()  # a file, whose reads do not wait
        return os.read(descriptor, AT_MOST)
    except OSError:
        return b""


async def write_all(descriptor: int, text: str) -> None:
    """Write all of it, as UTF-8. A checkpoint. Raises `BrokenPipeError` when the reader of a pipe has gone."""
    data = memoryview(text.encode(errors="backslashreplace"))
    while data:
        try:
            await trio.lowlevel.wait_writable(descriptor)
        except PermissionError:
            await trio.lowlevel.checkpoint()  # a file, whose writes do not wait
        try:
            data = data[os.write(descriptor, data[:AT_ONCE]) :]
        except BlockingIOError:  # somebody else has made it non-blocking, and was quicker
            continue
