"""What needs care where a function of the application is called: Ctrl-C, awaitables of plain ones, and groups.

The server's own tasks are protected from Ctrl-C (`trio.lowlevel.enable_ki_protection`), which would be raised between
any two lines and leave a socket half made; trio gives it to the main task instead. The application's code that runs in
them is not: who waits for a handler that never ends must be able to end it.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, TypeVar, cast

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

R = TypeVar("R")
logger = logging.getLogger("trio_bunws.websocket")


@trio.lowlevel.disable_ki_protection
def interruptible(function: Callable[..., R], *args: object) -> R:
    """Call a function of the application, in which Ctrl-C is raised."""
    return function(*args)


@trio.lowlevel.disable_ki_protection
async def interruptibly(function: Callable[..., Awaitable[R]], *args: object) -> R:
    """As `interruptible`, for an `async` one; called and awaited in one line, so that Ctrl-C does not come between."""
    return await function(*args)


def refuse_awaitable(result: object) -> None:
    """Raise `TypeError` if a plain handler returned an awaitable, and close that if it is a coroutine."""
    if hasattr(result, "__await__"):
        if isinstance(result, Coroutine):
            result.close()
        raise TypeError(
            f"a handler that is not an async function returned an awaitable ({type(result).__name__}): "
            "define it with async def"
        )


def without_failures(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Log the failures of a task that was cancelled or interrupted, and return the rest of the group, to be raised."""
    failures, rest = group.split(Exception)
    if failures is not None:
        logger.error("a handler failed while it was being cancelled", exc_info=failures)
    return cast("BaseException", rest)  # not None, or the group would be an ExceptionGroup
