"""What a function of the application may return or raise that needs care: awaitables of plain ones, and groups.

Nothing is called here; whoever calls a handler, a listener or a task of the application asks what to do with what came
of it.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from typing import cast

logger = logging.getLogger("trio_bunws.websocket")


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
