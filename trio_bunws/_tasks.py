"""Tasks that belong to one connection: started in the sockets' nursery, cancelled and joined with the connection.

A connection without such tasks owns nothing here but an empty dict. What the tasks do is their starters' affair, and so
are their exceptions: whatever leaves a task from here ends the server.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Role(Enum):
    """What a task is for, and so when it is cancelled."""

    HANDLER = auto()
    """Runs handlers: may finish for a while after the connection has ended."""
    SERVICE = auto()
    """Serves the connection, or was started by the application: cancelled when the connection ends."""


class TaskGroup:
    """The tasks of one connection."""

    __slots__ = ("_changed", "_nursery", "_scopes")

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery: Final = nursery
        self._scopes: Final[dict[trio.CancelScope, Role]] = {}
        self._changed: trio.Event | None = None

    def __len__(self) -> int:
        """Return how many tasks there are."""
        return len(self._scopes)

    def start_soon(self, role: Role, async_fn: Callable[[], Awaitable[object]]) -> None:
        """Start a task. Never checkpoints."""
        scope = trio.CancelScope()
        self._nursery.start_soon(self._run, scope, async_fn)
        self._scopes[scope] = role

    async def start(self, role: Role, async_fn: Callable[[trio.TaskStatus[object]], Awaitable[object]]) -> object:
        """Start a task, and return what it calls `task_status.started()` with."""
        scope = trio.CancelScope()
        self._scopes[scope] = role

        async def run(task_status: trio.TaskStatus[object]) -> None:
            await self._run(scope, lambda: async_fn(task_status))

        try:
            return await self._nursery.start(run)
        except BaseException:
            self._scopes.pop(scope, None)
            raise

    async def _run(self, scope: trio.CancelScope, async_fn: Callable[[], Awaitable[object]]) -> None:
        try:
            with scope:
                await async_fn()
        finally:
            self._scopes.pop(scope, None)
            if self._changed is not None:
                self._changed.set()
                self._changed = None

    def cancel(self, *roles: Role) -> None:
        """Cancel the tasks of these roles."""
        for scope, role in self._scopes.items():
            if role in roles:
                scope.cancel()

    async def join(self, *roles: Role) -> None:
        """Wait until no task of these roles is left. A checkpoint only if there is one."""
        while any(role in roles for role in self._scopes.values()):
            if self._changed is None:
                self._changed = trio.Event()
            await self._changed.wait()

    async def end(self, at_most: float) -> None:
        """End all: services at once, handlers after so many seconds, and wait as long again for the cancelled ones.

        A checkpoint only if there is a task.
        """
        if not self._scopes:  # as of most connections: the two scopes take 9 us
            return
        self.cancel(Role.SERVICE)
        with trio.move_on_after(at_most):
            await self.join(Role.HANDLER)
        self.cancel(Role.HANDLER)
        with trio.move_on_after(at_most):
            await self.join(*Role)
