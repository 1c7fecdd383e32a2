"""Cancellation at every checkpoint: run a story again and again, and cancel it one scheduling step later each time.

A story is a whole `trio.run` of its own, with a mock clock that jumps. Between two steps of any task everything waits
at a checkpoint, so these are all the moments at which a cancellation can arrive (of stories with several tasks the
order of steps is trio's, and each run another). Nothing of `trio_bunws` is known here.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MOST_STEPS = 10_000
"""A story that takes more never ends."""
LONGEST = 10_000.0
"""Seconds, of the mock clock, after which a story hangs."""


class Steps(trio.abc.Instrument):
    """Counts the steps of all tasks, and cancels a scope after the n-th of them."""

    def __init__(self, cancel_after: int) -> None:
        self.scope = trio.CancelScope()
        self._left = cancel_after

    def begin(self) -> trio.CancelScope:
        """Count from now on; return the scope to be entered. After no step at all it is cancelled already."""
        if not self._left:
            self.scope.cancel()
        trio.lowlevel.add_instrument(self)
        return self.scope

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002  # whichever it was
        """Be `Instrument.after_task_step`."""
        self._left -= 1
        if not self._left:
            self.scope.cancel()


def cancel_at_every_step(story: Callable[[Steps], Awaitable[None]]) -> int:
    """Run `story(steps)` until its scope is left before it would be cancelled; return how many times it was cancelled.

    The story enters `steps.begin()` once, and looks at what is left behind after it. An exception is noted with the
    number of the step.
    """
    for count in range(MOST_STEPS):
        steps = Steps(count)
        try:
            trio.run(_told, story, steps, clock=MockClock(autojump_threshold=0))
        except BaseException as exc:
            exc.add_note(f"cancelled after {count} steps")
            raise
        if not steps.scope.cancel_called:
            gc.collect()  # a coroutine or socket that was left lying is told of here
            return count
    raise AssertionError("the story does not end")


async def _told(story: Callable[[Steps], Awaitable[None]], steps: Steps) -> None:
    with trio.fail_after(LONGEST):
        await wait_all_tasks_blocked()  # trio's own tasks, whose steps would be counted
        await story(steps)
    if not steps.scope.cancel_called:
        trio.lowlevel.remove_instrument(steps)
