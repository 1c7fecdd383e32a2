"""Several tasks of which the first to end ends the others: a command's work, its user and the signals.

`until_first_ends` raises plain exceptions, no groups, because a command turns them into one line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def until_first_ends(*tasks: Callable[[], Awaitable[object]]) -> None:
    """Run them all, and cancel the rest when one has ended. If one raised, the first exception comes out as it is."""
    failures: list[Exception] = []

    async def run(task: Callable[[], Awaitable[object]], scope: trio.CancelScope) -> None:
        try:
            await task()
        except Exception as exc:  # noqa: BLE001 - raised again below, out of the nursery
            failures.append(exc)
        scope.cancel()

    async with trio.open_nursery() as nursery:
        for task in tasks:
            nursery.start_soon(run, task, nursery.cancel_scope)
    if failures:
        raise failures[0]
