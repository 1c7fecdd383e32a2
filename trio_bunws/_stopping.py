"""What `Server.stop` returns, and how it is known that the wrong task waits for it.

Nothing is stopped here; `_server.py` and `_run.py` do that.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Generator

    from trio_bunws._server import Server

inside: ContextVar[Server[Any] | None] = ContextVar("inside", default=None)
"""The server whose task this is: it cannot wait for the end of that server."""


class Stopping:
    """What `Server.stop` returns: await it for the end of the last connection, or let it be."""

    __slots__ = ("_server",)

    def __init__(self, server: Server[Any]) -> None:
        self._server: Final = server

    def __await__(self) -> Generator[Any, None, None]:
        # A handler's context goes on in tasks that it starts elsewhere, for which the server does not wait.
        if inside.get() is self._server and is_in(self._server._engine.nursery):
            raise RuntimeError(
                "the end of the server would wait for this handler: await stop() in a task of server.start_soon"
            )
        return self._server._stopped.wait().__await__()


def is_in(nursery: trio.Nursery) -> bool:
    """Whether this task was started in a nursery, or is waited for by one that was."""
    above = trio.lowlevel.current_task().parent_nursery
    while above is not None and above is not nursery:
        above = above.parent_task.parent_nursery
    return above is not None
