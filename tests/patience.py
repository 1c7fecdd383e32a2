"""How long tests wait for what must come: far longer than anything takes, so that only a failing test notices.

Used wherever real clocks, threads or other processes are. Under a clock that jumps a test says its own seconds.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from trio.testing import wait_all_tasks_blocked

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 120.0
"""Seconds of a real clock; the suite may run beside other work, on few cores."""


async def until(condition: Callable[[], object]) -> None:
    """Let all tasks do what they can until something holds that sets no event, as what a server counts.

    Whatever the clock of the test is: trio's may stand still, jump, or be real.
    """
    latest = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < latest, "it did not come to pass"
        await wait_all_tasks_blocked()
