"""The duty of the first process of a container: to wait for processes whose parents have died before them.

They become its children, and stay as zombies if nobody waits. `supervisor.py` runs this where it is that process.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Container

SETTLE: Final = 1.0
"""Seconds after which a child that ended has been waited for by whoever started it."""


def is_first() -> bool:
    """Whether this is the first process of a container."""
    return os.getpid() == 1


async def reap_orphans(ours: Callable[[], Container[int | None]]) -> None:
    """Wait for every child that ended and is not one of ours; until cancelled."""
    with trio.open_signal_receiver(signal.SIGCHLD) as signals:
        async for _ in signals:
            await trio.sleep(SETTLE)
            while (child := ended_child()) is not None and child not in ours():
                os.waitpid(child, 0)  # noqa: ASYNC222 - it has ended


def ended_child() -> int | None:
    """Return a child that has ended and nobody has waited for, if there is one."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid
